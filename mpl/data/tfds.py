"""Any image classification set of tensorflow-datasets by name, read without TensorFlow.

Reads what lies prepared on disk in a format with random access (array_record or
Parquet), and downloads nothing. Of a set in Parquet only whole splits can be read,
because tensorflow-datasets ignores the [:100] of 'train[:100]' there, and its file is
held in memory unless the images are (see keep_bytes).
"""

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.utils import file_utils

from mpl.data import images, source

Fetch = Callable[[int], tuple[bytes, int, str]]  # number -> encoded image, label, name


def make(
    dataset: str,
    data_dir: str | None = None,
    train: str = 'train',
    validation: str | None = None,
    test: str | None = 'test',
    unlabeled: str | None = None,
    size: int | None = None,
    keep_bytes: int = 4 << 30,
    threads: int = 8,
) -> source.Source:
    """The set `dataset`: 'cifar10', or with '/config' and ':version' behind it.

    data_dir: where the sets lie; None for tensorflow-datasets' own default.
    train, validation, test: names of splits; None for none. unlabeled: a split that
    follows the training examples, its labels hidden (SVHN 'extra', STL-10 'unlabelled').
    size: pixels; the short side is resized to it and the middle square cut out. Needed
    where images differ in size. keep_bytes: a pool that takes up to so many bytes as
    uint8 is decoded once and kept; of a larger one the labels are read at the start, and
    each image whenever it is asked for. Names are the set's ids or file names, or else
    'train/17'. EXIF orientation is ignored, as by tensorflow-datasets itself.

    Raises ValueError where the set, a split or a feature is not there.
    """
    if threads < 1 or (size is not None and size < 1):
        raise ValueError(f'threads is {threads} and size {size}: give numbers from 1 up.')
    builder = _find(dataset, data_dir)
    image_key, label_key, name_key = _keys(dataset, builder.info)
    channels = builder.info.features[image_key].shape[-1]

    def pool(split: str, hidden: str | None = None) -> tuple[source.Pool, tuple[int, int, int]]:
        splits = [split] if hidden is None else [split, hidden]
        files = [_open(dataset, builder, part, image_key) for part in splits]
        starts = np.cumsum([0] + [len(file) for file in files])

        def fetch(number: int) -> tuple[bytes, int, str]:
            part = int(np.searchsorted(starts, number, side='right')) - 1
            place = int(number - starts[part])
            example = files[part][place]
            name = (
                f'{splits[part]}/{place}'
                if name_key is None
                else example[name_key].decode(errors='replace')
            )
            return example[image_key], -1 if part else int(example[label_key]), name

        return _pool(
            fetch, int(starts[-1]), f'{dataset} {split}', size, channels, keep_bytes, threads
        )

    trained, shape = pool(train, unlabeled)
    measured = {}
    for role, split in (('validation', validation), ('test', test)):
        measured[role], other = (None, shape) if split is None else pool(split)
        if other != shape:
            raise ValueError(
                f'Images of {dataset} are {shape} in {train!r} but {other} in {split!r}: '
                'give size=... to bring them to one size.'
            )
        if split is not None and (measured[role].label < 0).any():
            raise ValueError(
                f'Split {split!r} of {dataset} has examples without a label, so it cannot serve '
                f'as {role}: name another split, or None for none.'
            )
    classes = tuple(builder.info.features[label_key].names)
    return source.Source(trained, measured['validation'], measured['test'], classes, shape)


def _pool(
    fetch: Fetch,
    count: int,
    what: str,
    size: int | None,
    channels: int,
    keep_bytes: int,
    threads: int,
) -> tuple[source.Pool, tuple[int, int, int]]:
    """One pass over all examples for their labels and, if they fit, the images."""

    def decode(encoded: bytes, name: str) -> np.ndarray:
        try:
            return images.decode(encoded, size, channels, upright=False)
        except Exception as error:  # on damaged data Pillow raises errors of many types
            raise ValueError(f'Image {name!r} of {what} cannot be decoded: {error}.') from error

    encoded, _, first = fetch(0)
    shape = decode(encoded, first).shape
    keep = count * math.prod(shape) <= keep_bytes
    kept = np.empty((count, *shape), np.uint8) if keep else None
    label, name = np.empty(count, np.int32), [''] * count

    def visit(number: int) -> None:
        encoded, label[number], name[number] = fetch(number)
        if keep:
            image = decode(encoded, name[number])
            here = image.shape
        elif size is None:
            with Image.open(io.BytesIO(encoded)) as file:  # reads the head of the file only
                here = (file.height, file.width, channels)
        else:
            here = shape
        if here != shape:
            raise ValueError(
                f'Images of {what} differ in size: {first!r} is {shape[0]} x {shape[1]} pixels, '
                f'{name[number]!r} is {here[0]} x {here[1]}; give size=... to bring them to one size.'
            )
        if keep:
            kept[number] = image

    images.each(visit, count, threads, what)
    if keep:
        return source.from_arrays(kept, label, name), shape

    def load(number: int) -> np.ndarray:
        encoded, _, name = fetch(number)
        return decode(encoded, name)

    return source.Pool(images.reader(load, threads), label, name), shape


def _find(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    folders = [Path(folder).expanduser() for folder in file_utils.list_data_dirs(data_dir)]
    folder = None if data_dir is None else str(folders[0])
    try:
        return read_only_builder.builder_from_files(dataset, data_dir=folder)
    except Exception as error:  # not found, a bad name, an unreadable or broken description
        prepared = sorted(
            {str(path.parent.relative_to(place)) for place in folders for path in _described(place)}
        )
        looked = ', '.join(
            f'{place}' if place.is_dir() else f'{place} (no such folder)' for place in folders
        )
        raise ValueError(
            f'The set {dataset!r} cannot be opened in {looked}: {_cause(error)}; sets prepared there: '
            f'{", ".join(prepared) if prepared else "none"}. Name one of these, point data_dir at '
            f'the folder above {dataset.split("/")[0].split(":")[0]!r}, or prepare the set with '
            'tensorflow-datasets first (nothing is downloaded here).'
        ) from error


def _described(folder: Path) -> list[Path]:
    """Descriptions of the sets in a folder: <set>[/<config>]/<version>/dataset_info.json."""
    return [*folder.glob('*/*/dataset_info.json'), *folder.glob('*/*/*/dataset_info.json')]


def _keys(dataset: str, info: tfds.core.DatasetInfo) -> tuple[str, str, str | None]:
    """The keys of the image, the label and the name (None without) among the set's features."""
    features = info.features
    pictures = [key for key in sorted(features) if type(features[key]) is tfds.features.Image]
    labels = [
        key for key in sorted(features) if isinstance(features[key], tfds.features.ClassLabel)
    ]
    pair = info.supervised_keys
    if pair is None or len(pair) != 2 or pair[0] not in pictures or pair[1] not in labels:
        if len(pictures) != 1 or len(labels) != 1:
            raise ValueError(
                f'The set {dataset!r} is not one image and one class label: its images are '
                f'{pictures}, its class labels {labels} and its supervised keys {pair}.'
            )
        pair = pictures[0], labels[0]
    feature = features[pair[0]]
    if feature.np_dtype != np.uint8 or feature.shape[-1] not in (1, 3):
        raise ValueError(
            f'Images of {dataset!r} are {np.dtype(feature.np_dtype)} of {feature.shape[-1]} channels: '
            'uint8 of 1 or 3 can be read.'
        )
    texts = [key for key in features if isinstance(features[key], tfds.features.Text)]
    names = [key for key in ('id', 'file_name', 'filename') if key in texts]
    return pair[0], pair[1], names[0] if names else None


def _open(dataset: str, builder: tfds.core.DatasetBuilder, split: str, image_key: str):
    """The examples of a split by number, their images still encoded."""
    info = builder.info
    try:
        count = info.splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise ValueError(
            f'The set {dataset!r} has no split {split!r}: its splits are {", ".join(info.splits)} '
            '(validation, test and unlabeled may be None).'
        ) from error
    if not count:
        raise ValueError(f'Split {split!r} of {dataset!r} has no examples.')
    try:
        examples = builder.as_data_source(split, decoders={image_key: tfds.decode.SkipDecoding()})
    except Exception as error:  # another file format, missing files, a package that is not there
        raise ValueError(
            f'Split {split!r} of {dataset!r} in {builder.data_path} cannot be read: {_cause(error)}. '
            'Reading by number wants a set prepared as array_record or Parquet (tfds convert_format).'
        ) from error
    if len(examples) != count:
        raise ValueError(
            f'Split {split!r} of {dataset!r} should have {count} examples, but {len(examples)} are '
            'read: in Parquet only whole splits can be; prepare the set as array_record for parts of them.'
        )
    return examples


def _cause(error: Exception) -> str:
    """The first sentence of a message that may go on for many lines."""
    return str(error).strip().split('\n')[0].split('. ')[0].rstrip('.')
