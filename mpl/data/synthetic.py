"""Made-up pictures that can be learned: a smooth pattern for each class, moved about, under noise.

Every image is computed from its number when it is read, so a set may be as large as ImageNet
and takes no room. For trying a recipe where its data are not at hand, and for measuring speed.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpl.data import source

_WAVES = 3  # along each axis: a pattern is a sum of waves with up to so many periods
_CONTRAST = 50.0  # root mean square of a pattern, in units of [0, 255]
_PARTS = ('patterns', 'train', 'test')  # tell apart the random streams of one seed


def make(
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    examples: int = 1000,
    unlabeled: int = 0,
    test_examples: int = 1000,
    noise: float = 30.0,
    shift: float = 0.1,
    seed: int = 0,
) -> source.Source:
    """Images [size, size, channels] uint8; example n is of class n modulo `classes`.

    The pattern of a class is random, periodic and smooth. An image is its pattern,
    moved along each axis by up to `shift` of the size, at 0.7 to 1.3 of its contrast,
    brighter or darker by up to 20, plus Gaussian noise of standard deviation `noise`
    (both in units of [0, 255]).

    examples: labeled ones of the training part; `unlabeled` more follow them, whose
    labels are hidden. The same number gives the same image whatever the sizes of the
    parts.
    """
    for key, count, least, most in (
        ('classes', classes, 2, 10**5),
        ('size', size, 1, 4096),
        ('channels', channels, 1, 16),
        ('examples', examples, classes, 10**8),
        ('unlabeled', unlabeled, 0, 10**8),
        ('test_examples', test_examples, 1, 10**8),
        ('seed', seed, 0, 2**31 - 1),
    ):
        if not least <= count <= most:
            raise ValueError(f'{key} is {count}: give a whole number from {least} to {most:,}.')
    if noise < 0 or shift < 0:
        raise ValueError(f'noise is {noise} and shift {shift}: give numbers from 0 up.')
    # Not of the pixels, whose last bit may depend on the processor.
    settings = source.checksum(json.dumps([size, channels, noise, shift, seed]).encode())
    frequencies = np.arange(-_WAVES, _WAVES + 1)
    patterns = _patterns(seed, classes, channels, frequencies)
    # [frequency, pixel]: a wave of each frequency along one axis.
    waves = np.exp(2j * np.pi / size * np.outer(frequencies, np.arange(size))).astype(np.complex64)

    def pool(part: str, labeled: int, hidden: int = 0) -> source.Pool:
        def read(numbers: np.ndarray) -> np.ndarray:
            images = np.empty((len(numbers), size, size, channels), np.uint8)
            for place, number in enumerate(numbers):
                images[place] = draw(part, int(number))  # whole numbers, rounded down
            return images

        label = np.arange(labeled + hidden, dtype=np.int32) % classes
        label[labeled:] = -1
        name = [str(number) for number in range(len(label))]
        return source.Pool(read, label, name, content=lambda: {'settings': settings})

    def draw(part: str, number: int) -> np.ndarray:
        random = _generator(seed, part, number)
        contrast = random.uniform(0.7, 1.3)
        brightness = 127.5 + random.uniform(-20, 20)
        # A periodic pattern is moved by turning the phases of its waves.
        row, column = np.exp(2j * np.pi * np.outer(random.uniform(-shift, shift, 2), frequencies))
        moved = patterns[number % classes] * np.outer(row, column)
        picture = (waves.T @ moved.astype(np.complex64) @ waves).real.transpose(1, 2, 0)
        static = random.standard_normal(picture.shape, np.float32)
        return np.clip(brightness + contrast * picture + noise * static, 0, 255)

    return source.Source(
        pool('train', examples, unlabeled),
        None,
        pool('test', test_examples),
        tuple(str(number) for number in range(classes)),
        (size, size, channels),
    )


def arguments_for(numbers: Mapping[str, Any]) -> dict[str, int]:
    """Classes, size and channels, as `make` wants them, of a source that is perhaps not at hand.

    numbers: of the source, as in a config. Of a tfds set the description is looked up,
    which neither reads nor downloads its images. A folder is taken to have color
    pictures of 10 classes.

    Raises ValueError for a set that tensorflow-datasets does not know.
    """
    if numbers['name'] != 'tfds':
        return {'classes': 10, 'size': numbers['size'], 'channels': 3}
    import tensorflow_datasets as tfds  # here, because this alone takes seconds

    try:
        info = tfds.builder(numbers['dataset'], data_dir=numbers['data_dir']).info
    except Exception as error:  # an unknown name, or a description that cannot be read
        raise ValueError(
            f'tensorflow-datasets does not know the set {numbers["dataset"]!r}; '
            'give the name of one of its sets, or data_dir of one prepared.'
        ) from error
    image, label = info.supervised_keys
    height, _, channels = info.features[image].shape
    return {
        'classes': info.features[label].num_classes,
        'size': numbers['size'] or height,
        'channels': channels,
    }


def blank(numbers: Mapping[str, Any], examples: int) -> source.Source:
    """Black pictures in the form of a source that is not at hand, to plan a run of; they take no room.

    numbers: of the source, as for `arguments_for`. examples: labeled ones; where the source has others
    beside them, as many without a label follow. Where pictures are resized when they are read, the
    parts that views begin with are cut out then too.
    """
    form = arguments_for(numbers)
    shape = (form['size'], form['size'], form['channels'])
    more = any(numbers.get(key) for key in ('unlabeled', 'unlabeled_folder', 'path'))
    label = np.arange((1 + more) * examples, dtype=np.int32) % form['classes']
    label[examples:] = -1

    def read(numbers, shape=shape):
        return np.broadcast_to(np.uint8(0), (len(numbers), *shape))

    def crop(numbers, box, size):
        return read(numbers, (size, size, form['channels']))

    cuts = crop if numbers['size'] is not None else None
    train = source.Pool(read, label, range(len(label)), cuts)
    classes = tuple(str(number) for number in range(form['classes']))
    return source.Source(train, None, source.take(train, np.arange(examples)), classes, shape)


def _patterns(seed, classes, channels, frequencies):
    """The coefficients of the waves of each class, complex [classes, channel, row, column]."""
    shape = (classes, channels, len(frequencies), len(frequencies))
    random = _generator(seed, 'patterns', 0)
    coefficients = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    # Low frequencies are the strongest, as in photos; a constant would only be brightness.
    distance = np.hypot(*np.meshgrid(frequencies, frequencies))
    coefficients *= np.where(distance == 0, 0, 1 / np.maximum(distance, 1))
    power = np.sum(np.abs(coefficients) ** 2, axis=(2, 3), keepdims=True)
    # The real part of the sum has half of its power, which lies evenly on all pixels.
    return coefficients * _CONTRAST * np.sqrt(2 / power)


def _generator(seed: int, part: str, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, _PARTS.index(part), number]))
