"""Trains a run with the stages before and after it.

A stage is a run with its own config, in a folder inside that of the run it belongs to. It is resumed
as any run is, and passes on its result:

    pretrain   before training: initial weights of the networks
    teacher    before training: its logits label all training examples
    finetune   after training: the student, on the labeled images, from the weights of the run
"""

import functools
from typing import NamedTuple

from etils import epath
from ml_collections import ConfigDict

from mpl.data.source import Source
from mpl.parallel import processes
from mpl.run import checks, data_record, folders, loop, memory, report, schema, teacher, weights
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

# Of a run and a stage before it, both assembled: refuses what does not fit.
CHECKS = {'init_from': weights.check, 'teacher': teacher.check}


class Stage(NamedTuple):
    """A run that is part of another one."""

    name: str  # of its folder
    config: ConfigDict
    comes_after: bool  # the training of the run; else before


def run(config: ConfigDict, workdir: epath.Path, source: Source | None = None) -> dict:
    """Trains a run, or resumes one of the same config, and returns its report.

    Args:
      config: of the run.
      workdir: its folder.
      source: that of the config, if it is loaded already; see experiment.assemble.

    Returns:
      The report, also written to <workdir>/report.json, with figures beside it.

    Raises:
      ValueError: the config or the work directory is refused; nothing was written.
      FloatingPointError: a loss is not finite.
      RuntimeError: a checkpoint could not be saved or read back.
      loop.Stopped: SIGTERM or SIGINT was received; the same call resumes from there.
    """
    folders.check(config, workdir)
    if (workdir / 'report.json').exists():
        folders.check_finished(config, workdir, source)
        report.read_metrics(workdir)  # Raises if lines were lost.
        processes.print_line(f'{workdir} holds a finished run; there is nothing to do.')
        return report.read(workdir)
    has_started = data_record.has_started(workdir)
    if has_started:
        source = data_record.read_source(config, workdir, source)
    experiment, stages = assemble(config, workdir, source)
    if has_started:
        data_record.check(data_record.make(experiment), workdir, experiment.source)
    find_starts = functools.cache(functools.partial(_find_starts, experiment, workdir))
    if not config.init_from.config and not (workdir / 'checkpoints').exists():
        find_starts()  # Refuses weights that do not fit.
    processes.wait('checked')  # Before anything is written there.
    folders.prepare(experiment, workdir)
    with folders.lock(workdir):
        reports = {}

        def run_stages(comes_after):
            for stage in stages:
                if stage.comes_after == comes_after:
                    folder = workdir / stage.name
                    reports[stage.name] = run(stage.config, folder, experiment.source)

        run_stages(comes_after=False)
        experiment = teacher.label(experiment, workdir)
        state, seconds = loop.fit(experiment, workdir, find_starts)
        run_stages(comes_after=True)
        return report.write(experiment, state, seconds, reports, workdir)


def assemble(
    config: ConfigDict, workdir: epath.Path, source: Source | None
) -> tuple[Experiment, list[Stage]]:
    """The run and its stages.

    Assembles all stages recursively, so that errors are raised before any training.

    Raises:
      ValueError: the run or one of its stages is refused.
    """
    experiment = experiments.assemble(config, source=source)
    memory.check(experiment)
    checks.check_crops(experiment.source, experiment.views)
    teacher.check_section(config)
    weights.check_section(config)
    stages = []
    for section, name in schema.STAGES.items():
        if config[section].config:
            stage = Stage(name, configs.complete(config[section].config.to_dict()), False)
            inner, _ = assemble(stage.config, workdir / name, experiment.source)
            CHECKS[section](experiment, inner)
            stages.append(stage)
    teacher.check_run(experiment, workdir)
    if config.finetune.steps:
        stage = Stage('finetune', finetune_config(experiment, workdir), True)
        assemble(stage.config, workdir / stage.name, experiment.source)
        stages.append(stage)
    return experiment, stages


def finetune_config(experiment: Experiment, workdir: epath.Path) -> ConfigDict:
    """The config of the fine-tuning stage: labels only, from the trained weights.

    After a rule with heads, whose labeled images may have been those of a probe, they are augmented.

    Raises:
      ValueError: the run has no network of that name.
    """
    config = experiment.config
    stage = config.finetune
    networks = experiment.algorithm.networks(experiment.state)
    if stage.network not in networks:
        raise ValueError(
            f'finetune.network is {stage.network!r}; this run has {", ".join(networks)}.'
        )
    start = {'workdir': str(workdir), 'network': stage.network}
    optimizer = stage.optimizer.to_dict()
    config = labels_only(config, stage.network, stage.steps, stage.labeled, optimizer, start)
    return augmented(config) if experiment.algorithm.heads(experiment.state) else config


def augmented(config: ConfigDict) -> ConfigDict:
    """The config with weak views of labeled images instead of none, as a probe of fixed features has them."""
    if 'labeled' in config.views and config.views.labeled == 'none':
        config.views.labeled = 'weak'
    return config


def labels_only(
    config: ConfigDict, network: str, steps: int, labeled: int, optimizer: dict, init_from: dict
) -> ConfigDict:
    """The config of training one network of a run on its labels alone.

    Args:
      config: of the run.
      network: its name in the algorithm.
      steps: of the new run.
      labeled: images per step.
      optimizer: as in `networks`.
      init_from: the section of that name.
    """
    given = config.to_dict()
    student = given['networks'][network.split('_')[0]] | {'optimizer': optimizer}
    if 'trained' not in optimizer or 'lora' not in optimizer['trained']:
        student['lora'] = {}  # They are part of the weights from here on, see network.merge.
    given |= {
        'steps': steps,
        'batch': given['batch'] | {'labeled': labeled, 'unlabeled': 0},
        'networks': {'student': student},
        'algorithm': {'name': 'supervised'},
        'init_from': init_from,
        'finetune': {},
        'teacher': {},
        'probe': {},
    }
    return configs.complete(given)


def _find_starts(experiment, workdir):
    """Weights from images and of init_from, by role."""
    starts = weights.find(experiment, workdir / schema.STAGES['init_from'])
    for role, found in starts.items():
        processes.print_line(weights.describe(experiment, role, found))
    return starts | weights.from_images(experiment, experiment.definitions.keys() - starts)
