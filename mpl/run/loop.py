"""The training loop of a run: steps, logs, evaluations, checkpoints, signals."""

import contextlib
import math
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from etils import epath

from mpl.data import batches, stream
from mpl.models import network
from mpl.parallel import processes, sharding
from mpl.run import (
    checkpoint,
    collapse,
    folders,
    measure,
    metrics,
    neighbors,
    train_log,
)
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment
from mpl.run.trackers import interface as trackers

# Maximum number of unlabeled examples on which pseudo-labels are evaluated, if their labels are known.
UNLABELED_MEASURED = 2048


class Stopped(Exception):
    """The run was stopped by a signal; everything is saved."""

    def __init__(self, caught: signal.Signals, message: str):
        super().__init__(message)
        self.signal = caught


def fit(
    experiment: Experiment,
    workdir: epath.Path,
    find_starts: Callable[[], dict[str, network.Variables]] = dict,
) -> tuple[Any, float]:
    """Trains from the newest checkpoint, or from initial weights.

    Args:
      experiment: the run.
      workdir: its folder.
      find_starts: called if there is no checkpoint, which a kill while the first one is written may
        leave; returns the initial weights by role. Those of other networks are random.

    Returns:
      The last state, and the seconds of training over all restarts.
    """
    config, every = experiment.config, experiment.config.every
    size = _count_steps_per_call(config)
    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(checkpoint.open_folder(workdir / 'checkpoints'))
        signals = stack.enter_context(Signals())
        step, state, record = _begin(experiment, workdir, manager, find_starts)
        started = time.monotonic() - record['seconds']
        track = partial(trackers.start, config.track, config=config.to_dict())
        opened = metrics.Writer(workdir, step, record['lines'], track)
        writer = stack.enter_context(contextlib.closing(opened))
        forward = measure.make_forward(experiment)
        steps, resident = make_steps(experiment), batches.resident(experiment.pipeline)
        root = jax.random.key(config.seed)
        calls = range(step, config.steps, size)
        fetched = stream.prefetch(batches.make_fetch(experiment.pipeline, size), calls)
        with contextlib.closing(fetched), train_log.make_bar(config, workdir, step) as bar:
            log = train_log.Log(config, writer, bar, started, metrics.Window(record['window']))
            for step, batch in zip(calls, fetched):
                state, values = steps(state, resident, batch, root)
                log.flush()  # Fetches the last window while the device computes this call.
                log.window.add(step, values)
                step += size
                bar.update(size)
                last = step == config.steps
                evaluates = step % every.evaluate == 0 or last
                probes = config.probe.every and (step % config.probe.every == 0 or last)
                # Read once: a later signal stops the next iteration.
                caught = (
                    signals.caught or processes.should_stop(step // size - 1) and signal.SIGTERM
                )
                saves = step % every.save == 0 or last or caught
                if step % every.log == 0 or last:
                    log.close_window(step)
                if evaluates or probes or saves:
                    log.flush()
                if evaluates:
                    _evaluate(experiment, forward, state, step, writer)
                if probes:
                    writer.write(step, neighbors.evaluate(experiment, forward, state))
                if evaluates or probes or saves:
                    writer.save()
                if evaluates and processes.is_primary():
                    _warn(experiment, workdir, step)
                if saves:
                    record = _make_record(started, log.window, writer)
                    checkpoint.save(manager, step, state, record)
                if caught and not last:
                    break
        if calls:  # Report, and confirm as saved, only a state that was read from the disk.
            del state  # Frees its memory first.
            state = checkpoint.read_back(manager, step, experiment.state)
        if step != config.steps:
            raise Stopped(
                caught,
                f'{caught.name} received: saved step {step} of {config.steps} in {workdir}. '
                'The same command resumes from there.',
            )
        return state, record['seconds']


def make_steps(experiment: Experiment):
    """The compiled function of several training steps, as many as its batch has.

    Returns:
      (state, resident images, batch of batches.make_fetch, root key) -> (state, metrics, each
      [steps]).
    """
    pipeline = experiment.pipeline

    def steps(state, resident, batch, root):
        def train_step(state, batch):
            step = batch.pop('step')
            batch = batches.augment(pipeline, batch, resident, root, step)
            key = stream.derive(root, step, 'update')
            return experiment.algorithm.update(state, batch, step, key)

        return jax.lax.scan(train_step, state, batch)

    shardings = jax.tree.map(lambda s: s.sharding, experiment.state)
    replicated = sharding.replicated(experiment.mesh)
    return jax.jit(steps, donate_argnums=0, out_shardings=(shardings, replicated))


def _count_steps_per_call(config):
    """The largest divisor of all intervals that is at most config.steps_per_call."""
    every = config.every
    common = math.gcd(config.steps, every.log, every.evaluate, every.save, config.probe.every)
    return max(d for d in range(1, config.steps_per_call + 1) if common % d == 0)


def _begin(experiment, workdir, manager, find_starts):
    """The step to start from, its state, and the record of the run so far."""
    restored = checkpoint.restore(
        manager, experiment.state, lambda step: folders.set_aside(manager, step)
    )
    if restored is None:
        record = {'seconds': 0.0, 'window': {}, 'lines': 0}
        return 0, experiments.initialize(experiment, find_starts()), record
    processes.print_line(f'{workdir}: resumes from step {restored[0]}.')
    return restored


def _make_record(started, window, writer):
    """The record that is saved with a checkpoint; `_begin` restores it."""
    return {
        'seconds': time.monotonic() - started,
        'window': window.values(),
        'lines': writer.written,
    }


def _evaluate(experiment, forward, state, step, writer):
    """Writes the accuracy of every network on validation, and of its pseudo-labels."""
    if not experiments.has_head(experiment.config):
        return  # There is no accuracy of a last layer that is not trained.
    values = {}
    pool, indices = experiments.validation(experiment)
    outputs = measure.outputs(experiment, forward, state, pool, indices) if len(indices) else {}
    for name, output in outputs.items():
        for key, value in measure.summarize(output.logits, pool.label[indices]).items():
            values[f'validation/{name}/{key}'] = value
    pool = experiment.source.train
    indices = np.setdiff1d(experiment.split.unlabeled, experiment.split.labeled)
    if len(indices) and experiment.config.batch.unlabeled:
        chosen = indices[:: math.ceil(len(indices) / UNLABELED_MEASURED)]
        for name, output in measure.outputs(experiment, forward, state, pool, chosen).items():
            logits, label = output.logits, pool.label[chosen]
            if np.any(label >= 0):
                values[f'unlabeled/{name}/accuracy'] = measure.accuracy(
                    logits[label >= 0], label[label >= 0]
                )
            values[f'unlabeled/{name}/histogram'] = np.bincount(
                np.argmax(logits, -1), minlength=logits.shape[-1]
            ).tolist()
    writer.write(step, values)
    accuracies = {
        k.split('/')[1]: v
        for k, v in values.items()
        if k.startswith('validation/') and k.endswith('/accuracy')
    }
    if accuracies:
        processes.print_line(
            f'step {step}: validation ' + ', '.join(f'{k} {v:.4f}' for k, v in accuracies.items())
        )


def _warn(experiment, workdir, step):
    """Logs the warnings that are new since the previous evaluation."""
    every = experiment.config.every.evaluate
    for finding in collapse.of_run(experiment, metrics.read(workdir / 'metrics.jsonl')):
        if finding.step > (step - 1) // every * every:
            processes.print_line(f'warning: {finding.sentence}')


class Signals:
    """Context in which SIGTERM and SIGINT are recorded in `caught` instead of ending the process.

    With several processes jax handles SIGTERM for all of them; see processes.should_stop.
    """

    caught = None

    def __enter__(self):
        def record(number, frame):
            self.caught = signal.Signals(number)
            signal.signal(number, self._before[number])  # A second signal ends the process.

        handled = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ()
        self._before = {s: signal.signal(s, record) for s in handled}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
