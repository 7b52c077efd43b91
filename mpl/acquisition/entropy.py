"""The images with the highest entropy of the predicted class, averaged over the passes."""

from mpl.acquisition import scores
from mpl.acquisition.interface import Acquire


def make(noise: float = 0.0) -> Acquire:
    """noise: see `scores.ranked`."""
    return scores.highest(lambda log_p: scores.log_entropy(scores.mean(log_p)), noise)
