"""The images whose most probable class has the smallest probability."""

from mpl.acquisition import scores
from mpl.acquisition.interface import Acquire


def make(noise: float = 0.0) -> Acquire:
    """noise: see `scores.ranked`."""
    return scores.highest(lambda log_p: scores.others(scores.mean(log_p)), noise)
