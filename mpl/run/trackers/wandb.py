"""Weights & Biases: offline in <folder>/wandb, for `wandb sync`; online with WANDB_MODE=online."""

import hashlib
import os

from etils import epath

from mpl.run.trackers.interface import Tracker, local

PACKAGES = ('wandb',)


def make(folder: epath.Path, step: int, config: dict) -> Tracker:
    """A run that is named after the folder and resumed by its path."""
    import wandb

    place = local(folder)
    run = wandb.init(
        project=os.environ.get('WANDB_PROJECT', 'mpl'),
        id=hashlib.sha256(place.encode()).hexdigest()[:16],
        name=folder.name,
        dir=place,
        config=config,
        mode=os.environ.get('WANDB_MODE', 'offline'),
        resume='allow',
        reinit='create_new',  # Stages of a run are open one after the other.
        settings=wandb.Settings(console='off', silent=True),
    )

    def write(step, values):
        run.log(values, step=step)

    return Tracker(write, run.finish)
