"""A run, and the stages before and after its training.

A stage is a run of its own: a config, and a folder inside that of the run it belongs to. It is
resumed as any run is, and hands on what it has learned:

    teacher    before: labels all training examples; hands on logits
    finetune   after: the student alone, on the labeled images; starts from the run's weights
"""

from typing import NamedTuple

from etils import epath
from ml_collections import ConfigDict

from mpl.data.source import Source
from mpl.parallel import processes
from mpl.run import config as configs
from mpl.run import data_record, loop, report, teacher, weights
from mpl.run import experiment as experiments
from mpl.run import workdir as folders
from mpl.run.experiment import Experiment


class Stage(NamedTuple):
    """A run that is part of another one."""

    name: str  # of its folder
    config: ConfigDict
    comes_after: bool  # the training of the run; otherwise before


def run(config: ConfigDict, workdir: epath.Path, source: Source | None = None) -> dict:
    """Trains, or goes on where a run of the same config stopped, and reports.

    Args:
      config: of the run.
      workdir: its folder.
      source: that of the config, where it is at hand already; see experiment.assemble.

    Returns:
      The report, also written to <workdir>/report.json; pictures lie beside it.

    Raises:
      ValueError: the config or the work directory is refused; nothing was written.
      FloatingPointError: a loss is not finite.
      RuntimeError: a checkpoint could not be saved, or not be read back.
      loop.Stopped: SIGTERM or SIGINT came; the same call goes on from there.
    """
    folders.check(config, workdir)
    if (workdir / 'report.json').exists():
        folders.check_finished(config, workdir, source)
        processes.say(f'{workdir} holds a finished run; nothing is left to do.')
        return report.read(workdir)
    begun = data_record.has_started(workdir)
    if begun:
        source = data_record.read_source(config, workdir, source)
    experiment, stages = assemble(config, workdir, source)
    if begun:
        data_record.check(data_record.make(experiment), workdir, experiment.source)
    starts = _find_starts(experiment, workdir)
    processes.wait('checked')  # Before anything is written there.
    folders.prepare(experiment, workdir)
    with folders.lock(workdir):
        reports = {}

        def run_stages(comes_after):
            for stage in stages:
                if stage.comes_after == comes_after:
                    place = workdir / stage.name
                    reports[stage.name] = run(stage.config, place, experiment.source)

        run_stages(comes_after=False)
        experiment = teacher.label(experiment, workdir)
        state, seconds = loop.fit(experiment, workdir, starts)
        run_stages(comes_after=True)
        return report.write(experiment, state, seconds, reports, workdir)


def assemble(
    config: ConfigDict, workdir: epath.Path, source: Source | None
) -> tuple[Experiment, list[Stage]]:
    """The run and its stages.

    Each stage is assembled too, and its own stages: refused now, not after a training.

    Raises:
      ValueError: the run or one of its stages is refused.
    """
    experiment = experiments.assemble(config, source=source)
    experiments.check_memory(experiment)
    teacher.check_section(config)
    stages = []
    if config.teacher.config:
        stage = Stage('teacher', configs.complete(config.teacher.config.to_dict()), False)
        inner, _ = assemble(stage.config, workdir / stage.name, experiment.source)
        teacher.check(experiment, inner)
        stages.append(stage)
    teacher.check_run(experiment, workdir)
    if config.finetune.steps:
        stage = Stage('finetune', finetune_config(experiment, workdir), True)
        assemble(stage.config, workdir / stage.name, experiment.source)
        stages.append(stage)
    return experiment, stages


def finetune_config(experiment: Experiment, workdir: epath.Path) -> ConfigDict:
    """The config of the last stage: labels only, from the trained weights.

    Raises:
      ValueError: the network to start from is not one of the run's.
    """
    config = experiment.config
    stage = config.finetune
    networks = experiment.algorithm.networks(experiment.state)
    if stage.network not in networks:
        raise ValueError(
            f'finetune.network is {stage.network!r}; this run has {", ".join(networks)}.'
        )
    role = stage.network.removesuffix('_ema')
    given = config.to_dict()
    given |= {
        'steps': stage.steps,
        'batch': given['batch'] | {'labeled': stage.labeled, 'unlabeled': 0},
        'networks': {
            'student': given['networks'][role] | {'optimizer': given['finetune']['optimizer']}
        },
        'algorithm': {'name': 'supervised'},
        'init_from': {'workdir': str(workdir), 'network': stage.network},
        'finetune': {},
        'teacher': {},
    }
    return configs.complete(given)


def _find_starts(experiment, workdir):
    """The weights of init_from by role, where the run has no checkpoint yet."""
    checkpoints = workdir / 'checkpoints'
    if checkpoints.exists() and any(checkpoints.iterdir()):
        return {}
    starts = weights.find(experiment)
    for role, found in starts.items():
        processes.say(weights.describe(experiment, role, found))
    return starts
