"""A set that lies prepared on disk for tensorflow-datasets: its features, and its records by index."""

import io
import os
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.utils import file_utils
from tensorflow_datasets.proto import tf_example_pb2

from mpl.data import cache, encoded, images, names

NAMES = ('id', 'file_name', 'filename')  # features that hold the name of an example


class Prepared:
    """A prepared set of tensorflow-datasets; finding it raises ValueError where there is none."""

    def __init__(self, dataset: str, data_dir: str | None, sized: bool, threads: int):
        """sized: whether `part` returns the heights and widths of the images."""
        self.dataset, self.sized, self.threads = dataset, sized, threads
        self.builder = _find(dataset, data_dir)
        self.image, self.label, self.name = _keys(dataset, self.builder.info)
        self.channels = self.builder.info.features[self.image].shape[-1]
        self.classes = tuple(self.builder.info.features[self.label].names)

    def part(self, split: str) -> tuple[encoded.Part, np.ndarray | None]:
        """The examples of a split, and if `sized` the sizes of images, int32 [N, 2], 0 for damaged ones."""
        records = _open(self.dataset, self.builder, split)
        instructions = self.builder.info.splits[split].file_instructions
        key = [
            'tfds 1',
            self.builder.info.full_name,
            split,
            [self.image, self.label, self.name, self.sized],
            cache.stamps([one.filename for one in instructions]),
            [[one.skip, one.take] for one in instructions],
        ]
        index = cache.load_or_compute('tfds', key, lambda: self._index(split, records))

        def fetch(indices):
            return [_feature(records, i)[self.image].bytes_list.value[0] for i in indices]

        name = names.Names(index['text'].tobytes(), index['end'])

        def sizes():
            return np.array([os.stat(one.filename).st_size for one in instructions], np.int64)

        part = encoded.Part(fetch, index['label'], name, upright=False, sizes=sizes)
        return part, index['size'] if self.sized else None

    def spans(self, split: str) -> list[tuple[str, int, int]]:
        """The files of a split, each with the first index of its examples and the one after the last."""
        _open(self.dataset, self.builder, split)  # Raises for an unknown split.
        instructions = self.builder.info.splits[split].file_instructions
        return [(one.filename, one.skip, one.skip + one.take) for one in instructions]

    def _index(self, split: str, records) -> dict[str, np.ndarray]:
        """Labels, names and sizes, from a pass over all records."""
        count = len(records)
        label, name = np.empty(count, np.int32), [''] * count
        size = np.zeros((count, 2), np.int32)

        def visit(index):
            feature = _feature(records, index)
            label[index] = feature[self.label].int64_list.value[0]
            name[index] = f'{split}/{index}'
            if self.name is not None:
                name[index] = feature[self.name].bytes_list.value[0].decode(errors='replace')
            if self.sized:
                size[index] = _size(feature[self.image].bytes_list.value[0])

        images.each(visit, count, self.threads, f'labels of {self.dataset} {split}')
        packed = names.pack(name)
        text = np.frombuffer(packed.text, np.uint8)
        return {'label': label, 'text': text, 'end': packed.end, 'size': size}


def _feature(records, index: int):
    """The features of one record."""
    return tf_example_pb2.Example.FromString(records[index]).features.feature


def _size(picture: bytes) -> tuple[int, int]:
    """Height and width from the header of an encoded image; 0 if it is damaged."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return image.height, image.width
    except Exception:  # on damaged data Pillow raises errors of many types
        return 0, 0


def _find(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    # Not Path.expanduser, which raises where there is no home directory.
    folders = [Path(os.path.expanduser(place)) for place in file_utils.list_data_dirs(data_dir)]
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
    named = [key for key in NAMES if key in texts]
    return pair[0], pair[1], named[0] if named else None


def _open(dataset: str, builder: tfds.core.DatasetBuilder, split: str):
    """The records of a split, each a serialized tf.train.Example.

    They are parsed in this file, which takes 6 us each; decoding by tensorflow-datasets takes 100.
    """
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
        records = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
    except Exception as error:  # another file format, missing files, a package that is not there
        raise ValueError(
            f'Split {split!r} of {dataset!r} in {builder.data_path} cannot be read: {_cause(error)}. '
            'Reading by index needs a set prepared as array_record or Parquet (tfds convert_format).'
        ) from error
    if len(records) != count:
        raise ValueError(
            f'Split {split!r} of {dataset!r} should have {count} examples, but {len(records)} are '
            'read: in Parquet only whole splits can be; prepare the set as array_record for parts of them.'
        )
    return records


def _cause(error: Exception) -> str:
    """The first sentence of a message that may go on for many lines."""
    return str(error).strip().split('\n')[0].split('. ')[0].rstrip('.')
