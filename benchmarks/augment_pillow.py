"""What benchmarks.augment measures, by Pillow: one image after the other."""

import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from mpl.augment import randaugment

FILL = (128, 128, 128)
SIGMA = 1.0
# About a rotation by 20 degrees; the last two coefficients are of the perspective alone.
PERSPECTIVE = np.array([0.94, -0.34, 3.0, 0.34, 0.94, -3.0, 1e-3, 5e-4], np.float32)
TABLE = 3 * [min(value + 110, 255) if value < 128 else value for value in range(256)]


def boxes(count: int, height: int, width: int) -> np.ndarray:
    """Parts of images: float32 [count, 4], left, upper, right, lower."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0.3, 1, (count, 2)) * [width, height]
    start = rng.uniform(0, 1, (count, 2)) * ([width, height] - share)
    return np.concatenate([start, start + share], 1).astype(np.float32)


def _transform(image, numbers, resample=Image.Resampling.NEAREST):
    kind = Image.Transform.AFFINE if len(numbers) == 6 else Image.Transform.PERSPECTIVE
    return image.transform(image.size, kind, numbers, resample, fillcolor=FILL)


def _cutout(image, side):
    result, (x, y) = image.copy(), (image.width // 2 - side // 2, image.height // 2 - side // 2)
    result.paste(FILL, (x, y, x + side, y + side))
    return result


def _hue(image, amount):
    hue, saturation, value = image.convert('HSV').split()
    byte = np.asarray(hue) + np.int32(amount * 255).astype(np.uint8)
    return Image.merge('HSV', (Image.fromarray(byte), saturation, value)).convert('RGB')


OPERATIONS = {
    'AutoContrast': lambda image, _: ImageOps.autocontrast(image),
    'Equalize': lambda image, _: ImageOps.equalize(image),
    'Invert': lambda image, _: ImageOps.invert(image),
    'Rotate': lambda image, degrees: image.rotate(degrees, fillcolor=FILL),
    'Posterize': lambda image, bits: ImageOps.posterize(image, int(bits)),
    'Solarize': lambda image, threshold: ImageOps.solarize(image, threshold),
    'Color': lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    'Contrast': lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    'Brightness': lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    'Sharpness': lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    'ShearX': lambda image, slope: _transform(image, (1, slope, 0, 0, 1, 0)),
    'ShearY': lambda image, slope: _transform(image, (1, 0, 0, slope, 1, 0)),
    'TranslateX': lambda image, pixels: _transform(image, (1, 0, pixels, 0, 1, 0)),
    'TranslateY': lambda image, pixels: _transform(image, (1, 0, 0, 0, 1, pixels)),
    'Cutout': _cutout,
    'SolarizeAdd': lambda image, _: image.point(TABLE),
    'Identity': lambda image, _: image,
}


def make(
    pictures: list[Image.Image], arguments: dict[str, tuple[float, float]], rng: random.Random
) -> dict[str, Callable]:
    """By name, (number of an image) -> the image after the operation or policy of that name.

    Args:
      pictures: in RGB, of one size.
      arguments: of RandAugment's operations, as `randaugment.arguments`.
      rng: for what policies draw.
    """
    width, height = pictures[0].size
    box = boxes(len(pictures), height, width).tolist()
    numbers = PERSPECTIVE.tolist()

    def alone(name):
        return lambda n: OPERATIONS[name](pictures[n], arguments[name][0])

    def resized(resample):
        return lambda n: pictures[n].resize((width, height), resample, box=tuple(box[n]))

    def cut(n):
        result, (x, y) = pictures[n].copy(), (width // 4, height // 4)
        part = pictures[n - 1].crop((x, y, x + width // 2, y + height // 2))
        result.paste(part, (x, y))
        return result

    def weak(n):
        image = ImageOps.mirror(pictures[n]) if rng.random() < 0.5 else pictures[n]
        return _transform(image, (1, 0, rng.randint(-4, 4), 0, 1, rng.randint(-4, 4)))

    def color(n, strength, hue, blurred):
        image = pictures[n]
        if rng.random() < 0.8:
            factor = lambda: rng.uniform(1 - strength, 1 + strength)  # noqa: E731
            steps = [
                lambda image: ImageEnhance.Brightness(image).enhance(factor()),
                lambda image: ImageEnhance.Contrast(image).enhance(factor()),
                lambda image: ImageEnhance.Color(image).enhance(factor()),
                lambda image: _hue(image, rng.uniform(-hue, hue)),
            ]
            for step in rng.sample(steps, 4):
                image = step(image)
        if rng.random() < 0.2:
            image = image.convert('L').convert('RGB')
        if rng.random() < blurred:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2)))
        return image

    def rand(n):
        image = pictures[n]
        for name in rng.choices(randaugment.OPERATIONS, k=2):
            image = OPERATIONS[name](image, rng.choice(arguments[name]))
        return image

    bilinear = Image.Resampling.BILINEAR
    return {name: alone(name) for name in OPERATIONS} | {
        'affine, bilinear': lambda n: _transform(pictures[n], numbers[:6], bilinear),
        'perspective, bilinear': lambda n: _transform(pictures[n], numbers, bilinear),
        'grayscale': lambda n: pictures[n].convert('L').convert('RGB'),
        'hue': lambda n: _hue(pictures[n], 0.1),
        'blur': lambda n: pictures[n].filter(ImageFilter.GaussianBlur(SIGMA)),
        'resized crop, bilinear': resized(bilinear),
        'resized crop, bicubic': resized(Image.Resampling.BICUBIC),
        'mixup': lambda n: Image.blend(pictures[n], pictures[n - 1], 0.3),
        'cutmix': cut,
        'weak: mirror, shift': weak,
        'color': lambda n: color(n, 0.8, 0.2, 0.5),
        'color without blur': lambda n: color(n, 0.4, 0.1, 0.0),
        'randaugment': rand,
    }
