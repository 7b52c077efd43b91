"""The training loop of a run: steps, logs, evaluations, checkpoints, signals."""

import contextlib
import functools
import math
import signal
import sys
import time
from typing import Any

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from mpl.data import batches, stream
from mpl.models import network
from mpl.parallel import processes, sharding
from mpl.run import (
    checkpoint,
    collapse,
    measure,
    metrics,
)
from mpl.run import experiment as experiments
from mpl.run import workdir as folders
from mpl.run.experiment import Experiment

# Unlabeled examples whose labels, known but never trained on, measure the pseudo-labels.
UNLABELED_MEASURED = 2048


class Stopped(Exception):
    """A signal asked the run to end; everything is saved."""

    def __init__(self, caught: signal.Signals, message: str):
        super().__init__(message)
        self.signal = caught


def fit(
    experiment: Experiment, workdir: epath.Path, starts: dict[str, network.Variables] = {}
) -> tuple[Any, float]:
    """The training loop, from the newest checkpoint, `starts` or random weights.

    Returns:
      The last state, and the seconds it took over all restarts.
    """
    config, every = experiment.config, experiment.config.every
    size = math.gcd(config.steps, every.log, every.evaluate, every.save)
    size = max(d for d in range(1, config.steps_per_call + 1) if size % d == 0)
    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(checkpoint.open_folder(workdir / 'checkpoints'))
        signals = stack.enter_context(Signals())
        step, state, record = _begin(experiment, workdir, manager, starts)
        started = time.monotonic() - record['seconds']
        opened = metrics.Writer(workdir, step, record['lines'])
        writer = stack.enter_context(contextlib.closing(opened))
        window, due = metrics.Window(record['window']), None
        forward = measure.make_forward(experiment)
        steps, resident = make_steps(experiment), batches.resident(experiment.pipeline)
        root = jax.random.key(config.seed)
        calls = range(step, config.steps, size)
        fetched = stream.prefetch(batches.make_fetch(experiment.pipeline, size), calls)
        with contextlib.closing(fetched), _progress(config, workdir, step) as bar:
            log = functools.partial(_log, config, writer, bar, started)
            for step, batch in zip(calls, fetched):
                state, values = steps(state, resident, batch, root)
                if due is not None:  # Read while the device is at work on this call.
                    log(*due)
                    due = None
                window.add(step, values)
                step += size
                bar.update(size)
                last = step == config.steps
                evaluates = step % every.evaluate == 0 or last
                # Asked once: a signal from here on stops the next turn.
                caught = (
                    signals.caught or processes.should_stop(step // size - 1) and signal.SIGTERM
                )
                saves = step % every.save == 0 or last or caught
                if step % every.log == 0 or last:
                    due, window = (step, window), metrics.Window({})
                if due is not None and (evaluates or saves):
                    log(*due)
                    due = None
                if evaluates:
                    _evaluate(experiment, forward, state, step, writer)
                if evaluates or saves:
                    writer.save()
                if evaluates and processes.is_primary():
                    _warn(experiment, workdir, step)
                if saves:
                    record = {
                        'seconds': time.monotonic() - started,
                        'window': window.values(),
                        'lines': writer.written,
                    }
                    checkpoint.save(manager, step, state, record)
                if caught and not last:
                    break
        if calls:  # What is reported, and said to be saved, is what lies on the disk.
            del state  # Before there is another one.
            state = checkpoint.read_back(manager, step, experiment.state)
        if step != config.steps:
            raise Stopped(
                caught,
                f'{caught.name} came: saved step {step} of {config.steps} in {workdir}. '
                'The same command goes on from there.',
            )
        return state, record['seconds']


def make_steps(experiment: Experiment):
    """The compiled call of as many steps as its batch has.

    Returns:
      (state, resident images, batch of batches.make_fetch, root key) -> (state, metrics, each
      [steps]).
    """
    pipeline = experiment.pipeline

    def steps(state, resident, batch, root):
        def one(state, batch):
            step = batch.pop('step')
            batch = batches.augment(pipeline, batch, resident, root, step)
            key = stream.derive(root, step, 'update')
            return experiment.algorithm.update(state, batch, step, key)

        return jax.lax.scan(one, state, batch)

    places = jax.tree.map(lambda s: s.sharding, experiment.state)
    replicated = sharding.replicated(experiment.mesh)
    return jax.jit(steps, donate_argnums=0, out_shardings=(places, replicated))


def _begin(experiment, workdir, manager, starts):
    """The step to go on from, the state there, and the record of the run so far."""
    restored = checkpoint.restore(
        manager, experiment.state, lambda step: folders.set_aside(manager, step)
    )
    if restored is None:
        record = {'seconds': 0.0, 'window': {}, 'lines': 0}
        return 0, experiments.initialize(experiment, starts), record
    processes.print_line(f'{workdir}: goes on from step {restored[0]}.')
    return restored


def _progress(config, workdir, step):
    return tqdm(
        total=config.steps,
        initial=step,
        unit='step',
        desc=workdir.name,
        mininterval=0.5,
        disable=not processes.is_primary(),
        dynamic_ncols=True,
        file=sys.stderr,
    )


def _log(config, writer, bar, started, step, window):
    values = window.read()
    writer.write(step, values | {'seconds': time.monotonic() - started})
    if bar.disable:
        return
    rate = bar.format_dict['rate'] or 0.0
    images = f'{rate * (config.batch.labeled + config.batch.unlabeled):,.0f}'
    losses = {
        name.removeprefix('loss/'): f'{value:.3f}'
        for name, value in values.items()
        if name.startswith('loss/')
    }
    bar.set_postfix({'images/s': images} | losses, refresh=False)


def _evaluate(experiment, forward, state, step, writer):
    """Accuracy of every network on validation, and of its labels on unlabeled images."""
    values = {}
    pool, numbers = experiments.validation(experiment)
    said = measure.outputs(experiment, forward, state, pool, numbers) if len(numbers) else {}
    for name, output in said.items():
        for key, value in measure.summarize(output.logits, pool.label[numbers]).items():
            values[f'validation/{name}/{key}'] = value
    pool = experiment.source.train
    numbers = np.setdiff1d(experiment.split.unlabeled, experiment.split.labeled)
    if len(numbers) and experiment.config.batch.unlabeled:
        chosen = numbers[:: math.ceil(len(numbers) / UNLABELED_MEASURED)]
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
    best = {
        k.split('/')[1]: v
        for k, v in values.items()
        if k.startswith('validation/') and k.endswith('/accuracy')
    }
    if best:
        processes.print_line(
            f'step {step}: validation ' + ', '.join(f'{k} {v:.4f}' for k, v in best.items())
        )


def _warn(experiment, workdir, step):
    """Says what has gone wrong since the evaluation before."""
    config = experiment.config
    counts = experiments.labeled_counts(experiment)
    lines = metrics.read(workdir / 'metrics.jsonl')
    for finding in collapse.find(lines, counts, config.steps):
        if finding.step > (step - 1) // config.every.evaluate * config.every.evaluate:
            processes.print_line(f'warning: {finding.sentence}')


class Signals:
    """Within it, SIGTERM and SIGINT are noted instead of ending the process.

    Where there are several processes jax notes SIGTERM, for all; see processes.should_stop.
    """

    caught = None

    def __enter__(self):
        def note(number, frame):
            self.caught = signal.Signals(number)
            signal.signal(number, self._before[number])  # A second one acts at once.

        noted = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ()
        self._before = {s: signal.signal(s, note) for s in noted}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
