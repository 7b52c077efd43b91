"""Features and logits of a trained network for the examples of a pool or the images of a folder."""

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
from mpl.run import measure, prediction_files, provenance, records, row_files
from mpl.run.evaluation import FinishedRun
from mpl.run.random_passes import RandomPass

THREADS = 8  # for decoding images
NAMED = 100  # maximum number of unreadable images with a warning each; all are counted


class Chunk(NamedTuple):
    """Examples that are read and predicted together."""

    pool: Pool
    indices: np.ndarray  # int [n], into `pool`
    written: np.ndarray  # int [n], the indices that are written to files


def columns(
    stage: FinishedRun, network: str, kind: row_files.Kind, random: RandomPass | None = None
) -> int:
    """The number of columns of a network's outputs: classes, or dimensions of the features."""
    experiment = stage.experiment
    if random:
        one = random.read(np.zeros(1, np.int64))
        outputs = jax.eval_shape(random.forward, random.key, experiment.state, one)
    else:
        image = jax.ShapeDtypeStruct((1, *experiment.source.image_shape), np.float32)
        outputs = jax.eval_shape(measure.make_forward(experiment), experiment.state, image)
    return getattr(outputs[network], kind.name).shape[-1]


def write_rows(
    stage: FinishedRun,
    network: str,
    examples: tuple[Pool, np.ndarray],
    paths: dict[row_files.Kind, str],
    made_by: dict,
    random: RandomPass | None = None,
) -> list[row_files.Rows]:
    """Writes the outputs of a network to files of rows, and returns the files, open for reading.

    Rows that the files have already are kept; the rest has the bits of an unbroken write.

    Args:
      stage: that has the network.
      network: its name in the algorithm.
      examples: a pool, and the indices of its examples to predict.
      paths: of a file for each kind of output.
      made_by: the provenance of the rows.
      random: a random pass over this pool; None for plain images.
    """
    pool, indices = examples
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(
                row_files.open_rows(
                    path, len(pool.label), columns(stage, network, kind, random), made_by, kind
                )
            )
            for kind, path in paths.items()
        ]
        missing = row_files.missing_in_any(files, indices)
        chunks = from_pool(pool, indices, stage.experiment.config.batch.evaluate, missing)
        for _ in row_files.store(files, predict(stage, network, iter(chunks), random)):
            pass
    return [row_files.read(path, kind) for kind, path in paths.items()]


def predict(
    stage: FinishedRun,
    network: str,
    chunks: Iterator[Chunk],
    random: RandomPass | None = None,
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """Outputs of one network, by its name in the algorithm, for chunks of examples.

    random: the pass they are of, over the pool of the chunks; None for plain images.

    Yields:
      For each chunk the names of its n examples, their `written` indices [n] and the
      outputs: features [n, D] and logits [n, K].

    Raises:
      FloatingPointError: an output is not finite.
    """
    forward_all = random.forward if random else measure.make_forward(stage.experiment)
    forward = jax.jit(lambda *given: {network: forward_all(*given)[network]})
    for pool, indices, written in chunks:
        of_chunk = forward
        if random:
            pool = pool._replace(read=random.read)
            of_chunk = functools.partial(forward, jax.random.fold_in(random.key, indices[0]))
        outputs = measure.outputs(stage.experiment, of_chunk, stage.state, pool, indices)[network]
        names = [pool.name[n] for n in indices]
        row_files.check_finite(names, outputs)
        yield names, written, outputs


def from_pool(
    pool: Pool, indices: np.ndarray, size: int, missing: np.ndarray | None = None
) -> list[Chunk]:
    """The examples with these indices [n], in chunks of `size`.

    Only chunks with one of `missing`, ascending, if it is given: chunks are left out whole, since
    outputs can depend, in their last bits, on the other images of a batch.
    """
    chunks = [indices[start : start + size] for start in range(0, len(indices), size)]
    if missing is not None:
        chunks = [chunk for chunk in chunks if np.isin(chunk, missing, assume_unique=True).any()]
    return [Chunk(pool, chunk, chunk) for chunk in chunks]


def find_missing(
    files: list[row_files.Rows], pieces: prediction_files.Pieces | None, indices: np.ndarray
) -> np.ndarray:
    """The indices that one of the files lacks, ascending; prints how many are there already.

    Args:
      files: of rows.
      pieces: of predictions; None for none.
      indices: int [n], of all examples to predict.
    """
    for rows in files:
        missing = row_files.missing(rows, indices)
        if len(missing) < len(indices):
            print(f'{rows.path} has {len(indices) - len(missing):,} of them already.')
        if changed := np.count_nonzero(rows.checksums[missing]):
            print(f'{changed:,} rows are not as they were written and are computed again.')
    found = row_files.missing_in_any(files, indices)
    return found if pieces is None else np.union1d(found, prediction_files.find_missing(pieces))


def from_folder(
    folder: Path, image_shape: tuple[int, int, int], central: float, size: int
) -> tuple[int, Iterator[Chunk]]:
    """The number of image files at any depth of a folder, and the images in the order of their paths.

    Files are found by the rules of training folders (see `walk`), each file once. Damaged images are
    skipped with a warning each.

    Args:
      folder: of the images.
      image_shape: (H, W, C) of the run's images.
      central: see `Source`.
      size: images per chunk.

    Raises:
      ValueError: the folder has no images, or the run's images cannot come from files.
    """
    height, width, channels = image_shape
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
        central=central,
    )
    return len(names), _read(root, names, decode, size)


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
                shown = data_names.printable(str(folder / names[start + n]))
                if bad <= NAMED:
                    logging.warning('%s cannot be read and is left out: %s', shown, loaded[n])
            if good:
                image = np.stack([loaded[n] for n in good])
                name = [names[start + n] for n in good]
                pool = source.from_arrays(image, np.full(len(good), -1), name)
                yield Chunk(pool, np.arange(len(good)), start + np.array(good))
            count += len(good)
    if not count:
        raise ValueError(f'None of the {len(names)} images in {folder} can be read.')


def write(
    predicted: Iterator[tuple[list[str], np.ndarray, Outputs]],
    classes: tuple[str, ...],
    output: str,
    features: str | None,
    made_by: dict,
) -> int:
    """Writes the chunks of `predict` as CSV and optionally as npz; returns the number of examples."""
    kept, count = [], 0
    how = dict(newline='', encoding='utf-8', errors='backslashreplace')  # Of names not in UTF-8.
    with records.open_atomic(Path(output), 'w', **how) as file:
        lines = csv.writer(file)
        lines.writerow(['name', 'class', 'confidence', *classes])
        for names, indices, outputs in predicted:
            probability = np.exp(measure.log_softmax(outputs.logits))
            for name, row in zip(names, probability):
                best = int(np.argmax(row))
                texts = [f'{p:.6g}' for p in row]
                lines.writerow([name, classes[best], texts[best], *texts])
            count += len(names)
            if features:
                kept.append((names, indices, outputs))
    if kept:
        features_files.write(features, kept, made_by)
    provenance.write_beside(output, made_by)
    return count
