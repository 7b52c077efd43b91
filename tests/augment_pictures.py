"""Pictures that operations are tried on: photos and CIFAR-10 where present, digits, waves."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from sklearn import datasets

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get('MPL_TEST_DATA', ROOT.parent / 'shared' / 'data'))


def waves(channels):
    """Smooth waves with noise, and a flat and a two-valued image, for which tables have special cases."""
    rng = np.random.default_rng(0)
    grid = np.linspace(0, 6, 32)
    wave = np.sin(
        grid[:, None, None] * rng.uniform(0.2, 2, (1, 6, 1, 1, channels))[0]
        + grid[:, None] * rng.uniform(0.2, 2, (6, 1, 1, channels))
    )
    image = np.clip(128 + 90 * wave + rng.normal(0, 12, wave.shape), 0, 255).astype(np.uint8)
    return np.concatenate(
        [image, np.full_like(image[:1], 77), np.where(image[:1] > 99, 200, 40).astype(np.uint8)]
    )


def _photos():
    files = sorted((DATA / 'photos').rglob('*.jp*g'))[:24:3]
    return [np.asarray(ImageOps.fit(Image.open(file).convert('RGB'), (96, 80))) for file in files]


def _cifar():
    folder = DATA / 'cifar10'
    if not folder.exists():
        return []
    import tensorflow_datasets as tfds

    source = tfds.data_source('cifar10', data_dir=str(DATA), split='test', download=False)
    return [source[number]['image'] for number in range(0, 200, 10)]


BATCHES = {
    'synthetic_grey': waves(1),
    'synthetic_rgb': waves(3),
    'digits': (datasets.load_digits().images[:24, :, :, None] * 255 / 16).astype(np.uint8),
    'photos': np.array(_photos()),
    'cifar': np.array(_cifar()),
}
BATCHES = {name: batch for name, batch in BATCHES.items() if len(batch)}


def to_pillow(image: np.ndarray) -> Image.Image:
    """uint8 [H, W, C], C = 1 or 3."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def through_pillow(function, image: np.ndarray) -> np.ndarray:
    """What `function` of a Pillow image makes of each image of a batch, uint8 [B, H, W, C]."""
    result = np.stack([np.asarray(function(to_pillow(one))) for one in image])
    return result.reshape(*result.shape[:3], image.shape[-1])
