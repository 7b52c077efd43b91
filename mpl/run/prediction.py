"""Features and logits of a finished network for the examples of a pool or the pictures of a folder."""

import contextlib
import csv
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from mpl.data import files, images, source, stream
from mpl.data import names as data_names
from mpl.data.source import Pool
from mpl.models.network import Outputs
from mpl.run import features as features_files
from mpl.run import logits, measure, provenance
from mpl.run.evaluation import Stage
from mpl.run.experiment import Experiment

THREADS = 8  # that decode pictures
NAMED = 100  # pictures that cannot be read that are named in a warning each; the others are counted


class Chunk(NamedTuple):
    """Examples that are in memory at the same time."""

    pool: Pool
    numbers: np.ndarray  # int [n], of the examples in `pool`
    public: np.ndarray  # int [n], what they are called in the npz file


def predict(
    stage: Stage, network: str, chunks: Iterator[Chunk]
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """What one network, by its name in the stage, says of chunks of examples.

    Yields:
      For each chunk the names of its n examples, their public numbers [n] and the
      outputs, features [n, D] and logits [n, K].

    Raises:
      FloatingPointError: one of them is not finite.
    """
    everything = measure.make_forward(stage.experiment)
    forward = jax.jit(lambda state, image: {network: everything(state, image)[network]})
    for pool, numbers, public in chunks:
        said = measure.outputs(stage.experiment, forward, stage.state, pool, numbers)
        names = [pool.name[n] for n in numbers]
        logits.check_finite(names, said[network])
        yield names, public, said[network]


def from_pool(pool: Pool, numbers: np.ndarray, size: int) -> Iterator[Chunk]:
    """The examples of these numbers [n], so many at a time."""
    cuts = (numbers[start : start + size] for start in range(0, len(numbers), size))
    return (Chunk(pool, cut, cut) for cut in cuts)


def from_folder(experiment: Experiment, folder: Path) -> tuple[int, Iterator[Chunk]]:
    """The number of pictures at any depth of a folder, and the pictures, in the order of their paths.

    They are found as those of a training folder are (see `walk`), each file once. Damaged ones
    are named in a warning each, and left out.

    Raises:
      ValueError: the folder has no pictures, or the run's images are no pictures.
    """
    height, width, channels = experiment.source.image_shape
    if height != width or channels not in (1, 3):
        raise ValueError(
            f'The images of the run are {height} x {width} with {channels} channels; only square ones '
            'with 1 or 3 channels can be read from files. Give --split instead of --images.'
        )
    root, found = files.find_unlabeled(str(folder))
    names = data_names.pack(file.name for file in found)
    decode = functools.partial(
        images.decode,
        size=height,
        channels=channels,
        upright=True,
        central=experiment.source.central,
    )
    return len(names), _read(root, names, decode, experiment.config.batch.evaluate)


def _read(folder: Path, names: Sequence[str], decode: Callable, size: int) -> Iterator[Chunk]:
    def load(name):
        try:
            return decode((folder / name).read_bytes())
        except (OSError, images.Damaged) as error:
            return error

    def fetch(start):
        return start, list(executor.map(load, names[start : start + size]))

    count = bad = 0
    with (
        futures.ThreadPoolExecutor(THREADS) as executor,
        contextlib.closing(stream.prefetch(fetch, range(0, len(names), size))) as parts,
    ):
        for start, loaded in parts:
            good = [n for n, image in enumerate(loaded) if not isinstance(image, Exception)]
            for n in np.setdiff1d(np.arange(len(loaded)), good):
                bad += 1
                place = data_names.shown(str(folder / names[start + n]))
                if bad <= NAMED:
                    logging.warning('%s cannot be read and is left out: %s', place, loaded[n])
            if good:
                image = np.stack([loaded[n] for n in good])
                name = [names[start + n] for n in good]
                pool = source.from_arrays(image, np.full(len(good), -1), name)
                yield Chunk(pool, np.arange(len(good)), start + np.array(good))
            count += len(good)
    if not count:
        raise ValueError(f'None of the {len(names)} pictures in {folder} can be read.')


def write(
    said: Iterator[tuple[list[str], np.ndarray, Outputs]],
    classes: tuple[str, ...],
    output: str,
    features: str | None,
    made_by: dict,
) -> int:
    """Writes what `predict` yields as CSV and, if wanted, as npz; returns how many examples."""
    kept, count = [], 0
    with features_files.open_atomic(output, 'w', newline='', encoding='utf-8') as file:
        lines = csv.writer(file)
        lines.writerow(['name', 'class', 'confidence', *classes])
        for names, numbers, outputs in said:
            probability = np.exp(measure.log_softmax(outputs.logits))
            for name, row in zip(names, probability):
                best = int(np.argmax(row))
                texts = [f'{p:.6g}' for p in row]
                lines.writerow([name, classes[best], texts[best], *texts])
            count += len(names)
            if features:
                kept.append((names, numbers, outputs))
    if kept:
        features_files.write(features, kept, made_by)
    provenance.write_beside(output, made_by)
    return count
