"""Any image classification set of tensorflow-datasets by name, read without TensorFlow.

Reads what lies prepared on disk in a format with random access (array_record or
Parquet), and downloads nothing. Of a set in Parquet only whole splits can be read,
because tensorflow-datasets ignores the [:100] of 'train[:100]' there, and its file is
held in memory. Array_record is read from disk by number: the format for large sets.
"""

import io
import itertools
import os
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.utils import file_utils
from tensorflow_datasets.proto import tf_example_pb2

from mpl.data import cache, encoded, files, folder, images, names, source

NAMES = ('id', 'file_name', 'filename')  # features that hold the name of an example


def make(
    dataset: str,
    data_dir: str | None = None,
    train: str = 'train',
    validation: str | None = None,
    test: str | None = 'test',
    unlabeled: str | None = None,
    unlabeled_dataset: str | None = None,
    unlabeled_folder: str | None = None,
    unlabeled_without_train: bool = False,
    size: int | None = None,
    central: float = 1.0,
    corrupt: str = 'gray',
    keep_bytes: int = 4 << 30,
    threads: int | None = None,
) -> source.Source:
    """The set `dataset`: 'cifar10', or with '/config' and ':version' behind it.

    data_dir: where the sets lie; None for tensorflow-datasets' own default.
    train, validation, test: names of splits; None for none. unlabeled: a split that
    follows the training examples, its labels hidden (SVHN 'extra', STL-10 'unlabelled').
    unlabeled_dataset: the set that split is of, where it is another one (for
    'imagenet2012_subset/10pct' the 'train' of 'imagenet2012'). unlabeled_folder: pictures at
    any depth of a folder that follow last. unlabeled_without_train: leaves out of these
    unlabeled examples those with the name of a training example, which are the same in
    imagenet2012 and its subsets, so that each picture has one number.
    size: pixels; the short side is resized to size / central and the middle square cut
    out. Needed where images differ in size. corrupt: with 'gray' a damaged picture is
    gray and named in a warning when it is first met; 'refuse' decodes all at the start and
    raises ValueError. keep_bytes: a pool that takes up to so many bytes as uint8 is decoded once
    and kept; the images of a larger one are decoded whenever asked for. Labels
    and names are read once and remembered until the prepared files change. Names are the
    set's ids or file names, or else 'train/17'. EXIF orientation is ignored, as by
    tensorflow-datasets itself (but not in unlabeled_folder). threads: that decode; None for
    one on each core.

    Raises ValueError where the set, a split or a feature is not there, or two parts share
    examples (train and unlabeled may, with unlabeled_without_train).
    """
    encoded.check(size, central, corrupt, ('gray', 'refuse'))
    threads = encoded.count_threads(threads)
    prepared = _Prepared(dataset, data_dir, size is None, threads)
    form = encoded.Format(size, prepared.channels, central)

    def pool(parts, what):
        parts, sizes = zip(*parts)
        shape = (size or 0, size or 0, prepared.channels)
        if size is None:
            shape = (*_one_size(what, parts, sizes), prepared.channels)
        if corrupt == 'refuse':
            _refuse_damaged(parts, form, what, threads)
        return encoded.pool(parts, form, shape, what, keep_bytes, threads), shape

    first = prepared.part(train)
    parts, spans = [first], {'train': prepared.spans(train)}
    if unlabeled is not None:
        other = prepared
        if unlabeled_dataset is not None:
            other = _Prepared(unlabeled_dataset, data_dir, size is None, threads)
        parts.append(_hidden(other.part(unlabeled)))
        if not unlabeled_without_train:
            spans['unlabeled'] = other.spans(unlabeled)
    elif unlabeled_dataset is not None:
        raise ValueError(
            f'unlabeled_dataset is {unlabeled_dataset!r}: name its split as unlabeled.'
        )
    if unlabeled_folder is not None:
        parts.append((_folder(unlabeled_folder, size), None))
    if unlabeled_without_train:
        parts[1:] = [_without(part, sizes, first[0], dataset) for part, sizes in parts[1:]]
    spans |= {
        role: prepared.spans(split)
        for role, split in (('validation', validation), ('test', test))
        if split is not None
    }
    _check_apart(dataset, spans)
    trained, shape = pool(parts, f'{dataset} {train}')
    measured = {}
    for role, split in (('validation', validation), ('test', test)):
        what = f'{dataset} {split}'
        measured[role], there = (
            (None, shape) if split is None else pool([prepared.part(split)], what)
        )
        if there != shape:
            raise ValueError(
                f'Images of {dataset} are {shape} in {train!r} but {there} in {split!r}: '
                'give size=... to bring them to one size.'
            )
        if split is not None and (measured[role].label < 0).any():
            raise ValueError(
                f'Split {split!r} of {dataset} has examples without a label, so it cannot serve '
                f'as {role}: name another split, or None for none.'
            )
    return source.Source(
        trained, measured['validation'], measured['test'], prepared.classes, shape, central
    )


class _Prepared:
    """A set on disk."""

    def __init__(self, dataset: str, data_dir: str | None, sized: bool, threads: int):
        """sized: whether the heights and widths of the images are wanted."""
        self.dataset, self.sized, self.threads = dataset, sized, threads
        self.builder = _find(dataset, data_dir)
        self.image, self.label, self.name = _keys(dataset, self.builder.info)
        self.channels = self.builder.info.features[self.image].shape[-1]
        self.classes = tuple(self.builder.info.features[self.label].names)

    def part(self, split: str) -> tuple[encoded.Part, np.ndarray | None]:
        """The examples of a split, and if wanted their sizes, int32 [N, 2], 0 for damaged ones."""
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
        found = cache.load_or_compute('tfds', key, lambda: self._index(split, records))

        def fetch(numbers):
            return [_feature(records, number)[self.image].bytes_list.value[0] for number in numbers]

        name = names.Names(found['text'].tobytes(), found['end'])

        def sizes():
            return np.array([os.stat(one.filename).st_size for one in instructions], np.int64)

        part = encoded.Part(fetch, found['label'], name, upright=False, sizes=sizes)
        return part, found['size'] if self.sized else None

    def spans(self, split: str) -> list[tuple[str, int, int]]:
        """Where the examples of a split lie: files, each with the first number and that after the last."""
        _open(self.dataset, self.builder, split)  # Refuses one that is not there.
        instructions = self.builder.info.splits[split].file_instructions
        return [(one.filename, one.skip, one.skip + one.take) for one in instructions]

    def _index(self, split: str, records) -> dict[str, np.ndarray]:
        """Labels, names and sizes, by a pass over all records."""
        count = len(records)
        label, name = np.empty(count, np.int32), [''] * count
        size = np.zeros((count, 2), np.int32)

        def visit(number):
            feature = _feature(records, number)
            label[number] = feature[self.label].int64_list.value[0]
            name[number] = f'{split}/{number}'
            if self.name is not None:
                name[number] = feature[self.name].bytes_list.value[0].decode(errors='replace')
            if self.sized:
                size[number] = _size(feature[self.image].bytes_list.value[0])

        images.each(visit, count, self.threads, f'labels of {self.dataset} {split}')
        packed = names.pack(name)
        text = np.frombuffer(packed.text, np.uint8)
        return {'label': label, 'text': text, 'end': packed.end, 'size': size}


def _feature(records, number: int):
    """The features of one record."""
    return tf_example_pb2.Example.FromString(records[number]).features.feature


def _size(picture: bytes) -> tuple[int, int]:
    """Height and width, read from the head of the picture."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return image.height, image.width
    except Exception:  # on damaged data Pillow raises errors of many types
        return 0, 0


def _one_size(what: str, parts, sizes) -> tuple[int, int]:
    """Height and width of all images; those that are damaged do not count."""
    first = None
    for part, size in zip(parts, sizes):
        seen = np.flatnonzero(size.all(1))
        if first is None and len(seen):
            first = part.name[seen[0]], *size[seen[0]].tolist()
        for number in seen[(size[seen] != first[1:]).any(1)][:1] if first else ():
            raise ValueError(
                f'Images of {what} differ in size: {first[0]!r} is {first[1]} x {first[2]} pixels, '
                f'{part.name[number]!r} is {size[number, 0]} x {size[number, 1]}; '
                'give size=... to bring them to one size.'
            )
    if first is None:
        raise ValueError(f'No image of {what} can be decoded.')
    return first[1:]


def _check_apart(dataset: str, spans: dict[str, list[tuple[str, int, int]]]) -> None:
    """Refuses two parts of the same examples; spans: as of `_Prepared.spans`, by part."""
    for (one, of_one), (other, of_other) in itertools.combinations(spans.items(), 2):
        shared = sum(
            max(0, min(stop, end) - max(start, begin))
            for file, start, stop in of_one
            for path, begin, end in of_other
            if file == path
        )
        if shared:
            raise ValueError(
                f'The splits of {dataset} for {one} and {other} share {shared} examples: give some that '
                "do not overlap, such as 'train[:90%]' and 'train[90%:]'."
            )


def _hidden(found):
    part, sizes = found
    return part._replace(label=np.full_like(part.label, -1)), sizes


def _folder(path: str, size: int | None) -> encoded.Part:
    if size is None:
        raise ValueError(
            f'unlabeled_folder is {path!r}: give size=... to bring pictures to one size.'
        )
    root, found = files.find_unlabeled(path)
    return folder.part_of(root, found, [-1] * len(found))


def _without(part: encoded.Part, sizes, train: encoded.Part, dataset: str):
    """The part and its sizes without examples of the names of training examples."""
    known = set(train.name)
    left = np.array([n for n, name in enumerate(part.name) if name not in known], np.int64)
    if len(left) == len(part.label) or not len(left):
        share = 'None' if len(left) else 'All'
        raise ValueError(
            f'{share} of the {len(part.label)} unlabeled examples have the name of one of {dataset} '
            f'({part.name[0]!r} beside {train.name[0]!r}): set unlabeled_without_train to False.'
        )
    name = names.pack(part.name[n] for n in left)

    def fetch(numbers):
        return part.fetch(left[numbers].tolist())

    kept = part._replace(fetch=fetch, label=part.label[left], name=name)
    return kept, None if sizes is None else sizes[left]


def _refuse_damaged(parts, form: encoded.Format, what: str, threads: int) -> None:
    for part in parts:
        for number, error in encoded.find_damaged(part, form, what, threads).items():
            raise ValueError(
                f'Image {part.name[number]!r} of {what} cannot be decoded: {error}. '
                "Mend it, or set corrupt='gray'."
            )


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
    """The records of a split by number, each a serialized tf.train.Example.

    They are parsed here, in 6 us each, because decoding by tensorflow-datasets takes 100.
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
            'Reading by number wants a set prepared as array_record or Parquet (tfds convert_format).'
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
