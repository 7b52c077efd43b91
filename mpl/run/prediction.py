"""Labels pictures with a finished run: python -m mpl.predict --workdir=runs/x --images=folder
--output=out.csv, or one of the run's splits: --split=unlabeled.

The CSV file has one line per example: name, class, confidence and a column of
probabilities for each class. --features=out.npz keeps features [N, D], logits [N, K],
names [N] and numbers [N]: the places in the split's pool, or in the sorted folder.

--logits=out.npy, of a split, has a row of logits for every example of the pool, by number, NaN
where it is none of the split. It is written as the examples are asked, whatever their number,
and the same command goes on where it stopped; --output may then be left out. mpl.select reads it.

Every file carries what made it: out.csv.json and out.npy.json lie beside theirs, features have it
under made_by. Pictures of a folder are labeled without the data of the run, with its own classes.
"""

import argparse
import contextlib
import csv
import functools
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from tqdm import tqdm

from mpl.data import files, images, source, stream
from mpl.data.source import Pool
from mpl.models.network import Outputs
from mpl.run import command, logits, measure, origin
from mpl.run import evaluation as evaluate
from mpl.run import features as features_files
from mpl.run.evaluation import Stage
from mpl.run.experiment import Experiment

THREADS = 8  # that decode pictures


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

    Damaged ones are named in a warning each, and left out.

    Raises:
      ValueError: the folder has no pictures, or the run's images are no pictures.
    """
    height, width, channels = experiment.source.image_shape
    if height != width or channels not in (1, 3):
        raise ValueError(
            f'The images of the run are {height} x {width} with {channels} channels; only square ones '
            'with 1 or 3 channels can be read from files. Give --split instead of --images.'
        )
    if not folder.is_dir():
        raise ValueError(f'{folder} is not a folder; give one with pictures in it.')
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.suffix.lower() in files.EXTENSIONS and path.is_file()
    )
    if not names:
        raise ValueError(
            f'{folder} has no pictures ({", ".join(files.EXTENSIONS)}); give another folder.'
        )
    decode = functools.partial(
        images.decode,
        size=height,
        channels=channels,
        upright=True,
        central=experiment.source.central,
    )
    return len(names), _read(folder, names, decode, experiment.config.batch.evaluate)


def _read(folder: Path, names: list[str], decode: Callable, size: int) -> Iterator[Chunk]:
    def load(name):
        try:
            return decode((folder / name).read_bytes())
        except Exception as error:  # on damaged data Pillow raises errors of many types
            return error

    def fetch(start):
        return start, list(executor.map(load, names[start : start + size]))

    count = 0
    with (
        futures.ThreadPoolExecutor(THREADS) as executor,
        contextlib.closing(stream.prefetch(fetch, range(0, len(names), size))) as parts,
    ):
        for start, loaded in parts:
            good = [n for n, image in enumerate(loaded) if not isinstance(image, Exception)]
            for n in np.setdiff1d(np.arange(len(loaded)), good):
                place = folder / names[start + n]
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
    with features_files.whole(output, 'w', newline='', encoding='utf-8') as file:
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
    origin.write_beside(output, made_by)
    return count


def check_outputs(given: argparse.Namespace) -> None:
    """Raises ValueError where the command says nothing to write, or what can not be written."""
    if not (given.output or given.logits):
        raise ValueError('There is nothing to write: give --output=out.csv or --logits=out.npy.')
    if given.features and not given.output:
        raise ValueError('--features is written beside --output; give that too.')
    if given.logits and not given.split:
        raise ValueError('--logits goes by the numbers of a split; give --split, not --images.')
    for path in filter(None, (given.output, given.features, given.logits)):
        evaluate.check_output(path)


def _left(rows: logits.Rows, numbers: np.ndarray) -> np.ndarray:
    """Which examples have no row in the file of logits yet; what is there is told."""
    left = logits.missing(rows, numbers)
    if len(left) < len(numbers):
        print(f'{rows.path} has {len(numbers) - len(left):,} of them already.')
    if changed := np.count_nonzero(rows.checksums[left]):
        print(f'{changed:,} rows are not as they were written, and are computed anew.')
    return left


def main():
    parser = command.parser(__doc__)
    parser.add_argument('--workdir', required=True, help='folder of a finished run')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--images', help=f'folder of {", ".join(files.EXTENSIONS)} of any size')
    what.add_argument('--split', help=f'one of {", ".join(evaluate.SPLITS)}')
    parser.add_argument('--output', help='CSV file to write')
    parser.add_argument('--features', help='npz file to write beside it')
    parser.add_argument('--logits', help='npy file to write, or to go on with; of a --split')
    parser.add_argument('--network', help='student_ema, or student, where left out')
    given, overrides = command.parse(parser)
    if overrides:
        raise ValueError(f'{overrides[0]} has no use here: the config is that of the run.')
    check_outputs(given)
    stages = evaluate.load(epath.Path(given.workdir), images=bool(given.split))
    there = [name for stage in stages for name in stage.names.values()]
    network = given.network or ('student_ema' if 'student_ema' in there else 'student')
    stage, inner = evaluate.find(network, stages)
    classes, size = stage.experiment.source.classes, stage.experiment.config.batch.evaluate
    if given.split:
        pool, numbers = evaluate.part(stages[0].experiment, given.split)
    made_by = origin.of(stage, network, given.split, given.images)
    with contextlib.ExitStack() as stack:
        rows = None
        if given.logits:
            shape = len(pool.label), len(classes)
            rows = stack.enter_context(logits.open_rows(given.logits, *shape, made_by))
            numbers = numbers if given.output else _left(rows, numbers)
        if given.split:
            total, chunks = len(numbers), from_pool(pool, numbers, size)
        else:
            total, chunks = from_folder(stages[0].experiment, Path(given.images))
        bar = stack.enter_context(tqdm(chunks, unit='batch', total=-(-total // size)))
        said = predict(stage, inner, iter(bar))
        said = said if rows is None else logits.keep(rows, said)
        if given.output:
            count = write(said, classes, given.output, given.features, made_by)
        else:
            count = sum(len(names) for names, _, _ in said)
    written = given.output or given.logits
    print(f'{network} of {given.workdir} labeled {count:,} examples: {written}')
    if given.features:
        print(f'Features, logits, names and numbers: {given.features}')
    if given.logits and given.output:
        print(f'Logits by number: {given.logits}')
    if count < total:
        print(f'{total - count:,} of {total:,} pictures could not be read and were left out.')


if __name__ == '__main__':
    command.main(main)
