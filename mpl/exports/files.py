"""Exported files: written with a record beside them, read back, checked, run on folders."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from mpl.exports import interface
from mpl.exports.interface import Predict
from mpl.exports.model import Model, make_forward
from mpl.models.network import Outputs
from mpl.run import measure, prediction, provenance, records, row_files

KIND, REMEDY = 'the record of an exported network', 'export the network again'
TOLERANCE = 1e-4  # of logits that are read back, as a share of the largest


def write(model: Model, name: str, path: Path) -> list[Path]:
    """Writes a network in the format of a name, and its record in <path>.json; returns all files.

    The content is run first, with two sizes of batch, and compared with the network.

    Raises:
      ValueError: unknown format, a model that it cannot hold, or a folder with another model.
      RuntimeError: the logits of the file differ from those of the network.
    """
    format = interface.find(name)
    for record in beside(path.parent):
        if lines := provenance.differences(record['made_by'], model.description['made_by']):
            raise ValueError(
                f'{path.parent} has an export of another network ({record["file"]}: '
                f'{"; ".join(lines)}); give another --output.'
            )
    content, others = format.encode(model)
    _compare(format.decode(content, model.description), model, name)
    record = model.description | {
        'format': name,
        'file': path.name,
        'sha256': hashlib.sha256(content).hexdigest(),
    }
    for file, data in others.items():
        if (path.parent / file).exists() and (path.parent / file).read_bytes() != data:
            raise ValueError(
                f'{path.parent / file} is there already and is not that of this network; give an '
                '--output in another folder.'
            )
    files = {path.name: content} | others
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        records.write_bytes(epath.Path(path.parent / file), data)
    written = epath.Path(f'{path}.json')
    records.write(written, record)
    return [*(path.parent / file for file in files), Path(written)]


def beside(folder: Path) -> list[dict]:
    """The records of the exported files in a folder, by name of the file."""
    formats = {interface.find(name).suffix for name in interface.names()}
    paths = sorted(path for path in folder.glob('*.json') if path.with_suffix('').suffix in formats)
    return [records.read(epath.Path(path), KIND, REMEDY) for path in paths]


def load(path: Path) -> tuple[dict, Predict]:
    """The description of an exported file, and the function that it holds.

    Raises:
      ValueError: the file or its record is missing, damaged or changed.
    """
    beside = epath.Path(f'{path}.json')
    for file in (path, beside):
        if not file.exists():
            raise ValueError(
                f'There is no {file}; an exported network is a file and a record beside it, both '
                'written by mpl.export.'
            )
    record = records.read(beside, KIND, REMEDY)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record['sha256']:
        raise ValueError(
            f'{path} is not the file that was exported (its SHA-256 is another than that in '
            f'{beside.name}): it was changed or damaged since; {REMEDY}.'
        )
    try:
        return record, interface.find(record['format']).decode(content, record)
    except ValueError as error:
        raise ValueError(f'{path} cannot be run: {error}') from error


def predict(
    description: dict, function: Predict, chunks: Iterator[prediction.Chunk]
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """What prediction.predict gives for the run; an exported network gives no features, [n, 0].

    Raises:
      FloatingPointError: an output is not finite.
    """
    size = description['batch']
    for pool, indices, written in chunks:
        found = function(pool.read(measure.pad(indices, size)))[: len(indices)]
        names = [pool.name[n] for n in indices]
        outputs = Outputs(np.zeros((len(found), 0), np.float32), found)
        row_files.check_finite(names, outputs)
        yield names, written, outputs


def label(path: Path, folder: str, output: str) -> str:
    """Writes the CSV of mpl.predict for a folder of images; returns what was done, as text.

    Raises:
      ValueError: as `load`, or the folder has no images.
    """
    description, function = load(path)
    shape, size = tuple(description['image_shape']), description['batch']
    total, chunks = prediction.from_folder(Path(folder), shape, description['central'], size)
    bar = tqdm(chunks, unit='batch', total=-(-total // size))
    predicted = predict(description, function, iter(bar))
    made_by = description['made_by'] | {'images': folder}
    count = prediction.write(predicted, description['classes'], output, None, made_by)
    done = f'{path} labeled {count:,} examples: {output}'
    if count < total:
        done += f'\n{total - count:,} of {total:,} images could not be read and were left out.'
    return done


def _compare(function, model, name):
    """Refuses a function whose logits differ from those of the network, for two sizes of batch."""
    forward = jax.jit(make_forward(model))
    random, shape = np.random.default_rng(0), model.description['image_shape']
    for size in (3, 2):
        image = random.integers(0, 256, (size, *shape)).astype(model.description['dtype'])
        got, want = function(image), np.asarray(forward(image))
        largest = np.abs(want).max()
        if got.shape != want.shape or not np.abs(got - want).max() <= TOLERANCE * largest:
            raise RuntimeError(
                f'The logits of the network --to={name} are not those of the run: they differ by '
                f'{np.abs(got - want).max():.2g}, of at most {largest:.2g}. Nothing was written.'
            )
