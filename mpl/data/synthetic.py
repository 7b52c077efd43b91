"""Synthetic images: a smooth pattern for each class, shifted, with noise.

Every image is computed from its index when it is read, so a set may be as large as ImageNet and
needs no storage. For trying a recipe without its data, and for measuring speed.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpl.data import source

_WAVES = 3  # along each axis: a pattern is a sum of waves with up to so many periods
_CONTRAST = 50.0  # root mean square of a pattern, in units of [0, 255]
_PARTS = ('patterns', 'train', 'test')  # random streams of a seed


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

    The pattern of a class is random, periodic and smooth. An image is its pattern, shifted along
    each axis by up to `shift` of the size, with 0.7 to 1.3 times its contrast, a brightness offset
    of up to 20, and Gaussian noise of standard deviation `noise` (both in units of [0, 255]).

    examples: labeled training examples; `unlabeled` examples without labels follow them. An index
    gives the same image for all sizes of the parts.
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
    # The checksum is not of the pixels, whose last bit may depend on the processor.
    settings = source.checksum(json.dumps([size, channels, noise, shift, seed]).encode())
    frequencies = np.arange(-_WAVES, _WAVES + 1)
    patterns = _patterns(seed, classes, channels, frequencies)
    # [frequency, pixel]: a wave of each frequency along one axis.
    waves = np.exp(2j * np.pi / size * np.outer(frequencies, np.arange(size))).astype(np.complex64)

    def pool(part: str, labeled: int, unlabeled: int = 0) -> source.Pool:
        def read(indices: np.ndarray) -> np.ndarray:
            images = np.empty((len(indices), size, size, channels), np.uint8)
            for place, index in enumerate(indices):
                images[place] = generate(part, int(index))  # The cast rounds down.
            return images

        label = np.arange(labeled + unlabeled, dtype=np.int32) % classes
        label[labeled:] = -1
        name = [str(index) for index in range(len(label))]
        return source.Pool(read, label, name, content=lambda: {'settings': settings})

    def generate(part: str, index: int) -> np.ndarray:
        random = _generator(seed, part, index)
        contrast = random.uniform(0.7, 1.3)
        brightness = 127.5 + random.uniform(-20, 20)
        # Phases of the waves shift a periodic pattern.
        row, column = np.exp(2j * np.pi * np.outer(random.uniform(-shift, shift, 2), frequencies))
        shifted = patterns[index % classes] * np.outer(row, column)
        image = (waves.T @ shifted.astype(np.complex64) @ waves).real.transpose(1, 2, 0)
        added = random.standard_normal(image.shape, np.float32)
        return np.clip(brightness + contrast * image + noise * added, 0, 255)

    return source.Source(
        pool('train', examples, unlabeled),
        None,
        pool('test', test_examples),
        tuple(str(k) for k in range(classes)),
        (size, size, channels),
    )


def arguments_for(config: Mapping[str, Any]) -> dict[str, int]:
    """Arguments of `make` (classes, size and channels) that resemble a source without its data.

    config: section of the source. For a tfds set the description is looked up, which neither reads
    nor downloads its images. A folder is assumed to have color images of 10 classes.

    Raises ValueError for a set that tensorflow-datasets does not have.
    """
    if config['name'] != 'tfds':
        return {'classes': 10, 'size': config['size'], 'channels': 3}
    import tensorflow_datasets as tfds  # here, because this import takes seconds

    try:
        info = tfds.builder(config['dataset'], data_dir=config['data_dir']).info
    except Exception as error:  # an unknown name, or a description that cannot be read
        raise ValueError(
            f'tensorflow-datasets has no set {config["dataset"]!r}; '
            'give the name of one of its sets, or data_dir of one prepared.'
        ) from error
    image, label = info.supervised_keys
    height, _, channels = info.features[image].shape
    return {
        'classes': info.features[label].num_classes,
        'size': config['size'] or height,
        'channels': channels,
    }


def blank(config: Mapping[str, Any], examples: int) -> source.Source:
    """Black images in the shape of a source, to plan a run without its data; they need no memory.

    config: section of the source. examples: labeled examples; if the source has unlabeled ones, as
    many without a label follow. If images are resized when they are read, they are also cropped
    then.
    """
    form = arguments_for(config)
    shape = (form['size'], form['size'], form['channels'])
    has_unlabeled = any(config.get(key) for key in ('unlabeled', 'unlabeled_folder', 'path'))
    label = np.arange((1 + has_unlabeled) * examples, dtype=np.int32) % form['classes']
    label[examples:] = -1

    def read(indices, shape=shape):
        return np.broadcast_to(np.uint8(0), (len(indices), *shape))

    def crop(indices, box, size):
        return read(indices, (size, size, form['channels']))

    crops = crop if config['size'] is not None else None
    train = source.Pool(read, label, range(len(label)), crops)
    classes = tuple(str(k) for k in range(form['classes']))
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
    # The real part of the sum has half of the power, spread evenly over all pixels.
    return coefficients * _CONTRAST * np.sqrt(2 / power)


def _generator(seed: int, part: str, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, _PARTS.index(part), index]))
