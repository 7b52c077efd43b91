"""Any image classification set of tensorflow-datasets by name, read without TensorFlow.

Sets must be prepared on disk in a format with random access, array_record or Parquet; nothing is
downloaded. Of a set in Parquet only whole splits can be read, because tensorflow-datasets ignores
the [:100] of 'train[:100]' there, and its file is held in memory. Records of array_record are read
from disk by index: the format for large sets.
"""

import itertools

import numpy as np

from mpl.data import encoded, files, folder, names, source
from mpl.data.prepared import Prepared


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
    """The set `dataset`: 'cifar10', or with '/config' and ':version' appended.

    Labels and names are read once and cached until the prepared files change. Names are the set's ids or file
    names, or else 'train/17'. EXIF orientation is ignored, as by tensorflow-datasets (but not in
    unlabeled_folder).

    Args:
      dataset: the name.
      data_dir: folder of the sets; None for the default of tensorflow-datasets.
      train, validation, test: names of splits; None for none.
      unlabeled: a split whose examples follow the training examples without their labels (SVHN 'extra',
        STL-10 'unlabelled').
      unlabeled_dataset: the set of that split, if it is another one (for 'imagenet2012_subset/10pct' the
        'train' of 'imagenet2012').
      unlabeled_folder: a folder whose images, at any depth, follow last.
      unlabeled_without_train: leaves out those of these unlabeled examples that have the name of a training
        example: imagenet2012 and its subsets share names, and each image then has one index.
      size: pixels; the short side is resized to size / central and the center square is cropped. Needed if
        images differ in size.
      central: see size.
      corrupt: with 'gray' a damaged image is gray, and a warning names it when it is first read; 'refuse'
        decodes all images at the start.
      keep_bytes: a pool of at most this size as uint8 is decoded once and kept in memory; larger pools
        decode images whenever they are read.
      threads: for decoding; None for one per core.

    Raises:
      ValueError: the set, a split or a feature does not exist; two parts share examples (train and unlabeled
        may, with unlabeled_without_train); or an image is damaged and refused.
    """
    encoded.check(size, central, corrupt, ('gray', 'refuse'))
    threads = encoded.count_threads(threads)
    main = Prepared(dataset, data_dir, size is None, threads)
    extra = main
    if unlabeled is not None and unlabeled_dataset is not None:
        extra = Prepared(unlabeled_dataset, data_dir, size is None, threads)
    elif unlabeled_dataset is not None:
        raise ValueError(
            f'unlabeled_dataset is {unlabeled_dataset!r}: name its split as unlabeled.'
        )
    form = encoded.Format(size, main.channels, central)

    def pool(parts, what):
        parts, sizes = zip(*parts)
        shape = (size or 0, size or 0, main.channels)
        if size is None:
            shape = (*_one_size(what, parts, sizes), main.channels)
        if corrupt == 'refuse':
            _refuse_damaged(parts, form, what, threads)
        return encoded.pool(parts, form, shape, what, keep_bytes, threads), shape

    first = main.part(train)
    others = [] if unlabeled is None else [_hide_labels(extra.part(unlabeled))]
    if unlabeled_folder is not None:
        others.append((_folder(unlabeled_folder, size), None))
    if unlabeled_without_train:
        others = [_without(part, sizes, first[0], dataset) for part, sizes in others]
    splits = {'validation': validation, 'test': test}
    splits = {role: split for role, split in splits.items() if split is not None}
    spans = {'train': main.spans(train)}
    if unlabeled is not None and not unlabeled_without_train:
        spans['unlabeled'] = extra.spans(unlabeled)
    spans |= {role: main.spans(split) for role, split in splits.items()}
    _check_disjoint(dataset, spans)
    training, shape = pool([first, *others], f'{dataset} {train}')
    measured = {'validation': None, 'test': None}
    for role, split in splits.items():
        measured[role], other = pool([main.part(split)], f'{dataset} {split}')
        _check_measured(dataset, role, split, measured[role], other, train, shape)
    return source.Source(
        training, measured['validation'], measured['test'], main.classes, shape, central
    )


def _check_measured(dataset, role, split, pool, shape, train, train_shape):
    if shape != train_shape:
        raise ValueError(
            f'Images of {dataset} are {train_shape} in {train!r} but {shape} in {split!r}: '
            'give size=... to bring them to one size.'
        )
    if (pool.label < 0).any():
        raise ValueError(
            f'Split {split!r} of {dataset} has examples without a label, so it cannot serve '
            f'as {role}: name another split, or None for none.'
        )


def _one_size(what: str, parts, sizes) -> tuple[int, int]:
    """Height and width of all images but damaged ones; raises ValueError if they differ."""
    first = None
    for part, size in zip(parts, sizes):
        valid = np.flatnonzero(size.all(1))
        if first is None and len(valid):
            first = part.name[valid[0]], *size[valid[0]].tolist()
        for index in valid[(size[valid] != first[1:]).any(1)][:1] if first else ():
            raise ValueError(
                f'Images of {what} differ in size: {first[0]!r} is {first[1]} x {first[2]} pixels, '
                f'{part.name[index]!r} is {size[index, 0]} x {size[index, 1]}; '
                'give size=... to bring them to one size.'
            )
    if first is None:
        raise ValueError(f'No image of {what} can be decoded.')
    return first[1:]


def _check_disjoint(dataset: str, spans: dict[str, list[tuple[str, int, int]]]) -> None:
    """Raises ValueError if two parts share examples; spans: of `Prepared.spans`, by part."""
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


def _hide_labels(found):
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
    """The part and its sizes without the examples that have the name of a training example."""
    train_names = set(train.name)
    left = np.array([n for n, name in enumerate(part.name) if name not in train_names], np.int64)
    if len(left) == len(part.label) or not len(left):
        share = 'None' if len(left) else 'All'
        raise ValueError(
            f'{share} of the {len(part.label)} unlabeled examples have the name of one of {dataset} '
            f'({part.name[0]!r} beside {train.name[0]!r}): set unlabeled_without_train to False.'
        )
    name = names.pack(part.name[n] for n in left)

    def fetch(indices):
        return part.fetch(left[indices].tolist())

    kept = part._replace(fetch=fetch, label=part.label[left], name=name)
    return kept, None if sizes is None else sizes[left]


def _refuse_damaged(parts, form: encoded.Format, what: str, threads: int) -> None:
    for part in parts:
        for index, error in encoded.find_damaged(part, form, what, threads).items():
            raise ValueError(
                f'Image {part.name[index]!r} of {what} cannot be decoded: {error}. '
                "Repair it, or set corrupt='gray'."
            )
