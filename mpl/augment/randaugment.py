"""RandAugment (arXiv 1909.13719): a few random operations per image, with one common magnitude."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from mpl.augment import layer, ops
from mpl.augment.layer import Draw, Operation

# Operations as in Pillow; SolarizeAdd and Cutout, which Pillow does not have, as in AutoAugment.
LIBRARY = {
    'AutoContrast': Operation('table', lambda image, _: ops.autocontrast_table(image)),
    'Equalize': Operation('table', lambda image, _: ops.equalize_table(image)),
    'Invert': Operation('table', lambda image, _: ops.invert_table()),
    'Rotate': Operation('map', lambda image, degrees: ops.rotate_map(degrees, image.shape)),
    'Posterize': Operation('table', lambda image, bits: ops.posterize_table(bits)),
    'Solarize': Operation('table', lambda image, threshold: ops.solarize_table(threshold)),
    'Color': Operation('image', ops.color),
    'Contrast': Operation('table', ops.contrast_table),
    'Brightness': Operation('table', lambda image, factor: ops.brightness_table(factor)),
    'Sharpness': Operation('image', ops.sharpness),
    'ShearX': Operation('map', lambda image, slope: ops.shear_x_map(slope)),
    'ShearY': Operation('map', lambda image, slope: ops.shear_y_map(slope)),
    'TranslateX': Operation('map', lambda image, pixels: ops.translate_x_map(pixels)),
    'TranslateY': Operation('map', lambda image, pixels: ops.translate_y_map(pixels)),
    'Cutout': Operation('box', lambda image, side: side),
    'SolarizeAdd': Operation('table', lambda image, amount: ops.solarize_add_table(amount)),
    'Identity': Operation('image', lambda image, _: image),
}
OPERATIONS = tuple(LIBRARY)[:15]
SCALES = ('rising', 'original')


def policy(
    layers: int = 2,
    magnitude: float = 10.0,
    operations: Sequence[str] = OPERATIONS,
    scale: str = 'rising',
    probability: Sequence[float] = (1.0, 1.0),
    translate: float = 4.0,
    patch: int = 8,
    cutout: int = 0,
    fill: float = ops.FILL,
) -> Callable:
    """(key, image float32 [B, H, W, C] in [0, 255]) -> the same shape, whole numbers in the same range.

    Args:
        layers: operations per image, in sequence, each sampled uniformly from `operations`.
        magnitude: their common strength; 10 is AutoAugment's maximum, and larger values are allowed.
        operations: names from LIBRARY, each once. The default has 15. Noisy Student has SolarizeAdd
            too; for SVHN, Rotate and TranslateX are left out, since they change the digit or show its
            neighbor.
        scale: the mapping of `magnitude` to arguments, 'rising' or 'original'; see `arguments`.
        probability: (lowest, highest) of the probability, sampled uniformly per image, of applying
            each layer. The paper has (1, 1).
        translate: pixels of TranslateX and TranslateY at magnitude 10.
        patch: side in pixels of the box of Cutout at magnitude 10.
        cutout: side in pixels of a final cutout in every image; 0 for none.
        fill: the pixel value in boxes and around warped images.

    Raises ValueError for a name or value that is not allowed.
    """
    if scale not in SCALES:
        raise ValueError(f'augment randaugment: scale={scale!r}; give one of {", ".join(SCALES)}.')
    check('randaugment', operations, probability, fill, layers=layers, magnitude=magnitude,
          translate=translate, patch=patch, cutout=cutout)  # fmt: skip
    argument = arguments(scale, magnitude, translate, patch)
    chosen = {name: (LIBRARY[name], argument[name]) for name in operations}
    return build(chosen, layers, probability, cutout, fill)


def build(
    operations: dict[str, tuple[Operation, tuple[float, float]]],
    layers: int,
    probability: Sequence[float],
    cutout: int,
    fill: float,
) -> Callable:
    """A policy as `policy`, of operations with two arguments each, sampled with equal probability."""
    library = {name: operation for name, (operation, _) in operations.items()}
    argument = [argument for _, argument in operations.values()]

    def change(key, image):
        chance_key, cutout_key, key = jax.random.split(key, 3)
        low, high = probability
        chance = low + (high - low) * jax.random.uniform(chance_key, image.shape[:1])

        def one(index, image):
            draw = draw_layer(jax.random.fold_in(key, index), image.shape, argument, chance)
            return layer.apply(image, draw, library, fill)

        # fori_loop, so that XLA does not recompute the first layer for each use in the second.
        image = jax.lax.fori_loop(0, layers, one, image)
        if cutout:
            image = ops.cutout(image, ops.draw_place(cutout_key, image.shape), cutout, fill)
        return image

    return change


def draw_layer(key, shape, argument, chance) -> Draw:
    """For images of shape [B, H, W, C]: with probability `chance` [B] one of the operations, else none.

    argument: [(first, second)] for each operation.
    """
    operation_key, chance_key, second_key, place_key = jax.random.split(key, 4)
    operation = jax.random.randint(operation_key, shape[:1], 0, len(argument))
    applied = jax.random.uniform(chance_key, shape[:1]) < chance
    second = jax.random.bernoulli(second_key, shape=shape[:1]).astype(jnp.int32)
    return Draw(
        jnp.where(applied, operation, -1),
        jnp.asarray(argument, jnp.float32)[operation, second],
        ops.draw_place(place_key, shape),
    )


def arguments(
    scale: str, magnitude: float, translate: float, patch: float
) -> dict[str, tuple[float, float]]:
    """The two arguments of each operation, sampled with equal probability per image; x = magnitude / 10.

    'rising' is neutral at 0, and all operations get stronger: Color, Contrast, Brightness and Sharpness
    blend with the factors 1 + 0.9 x and 1 - 0.9 x, at least 0; Posterize drops round(4 x) bits, at
    most 7; Solarize inverts from 256 - int(256 x) upwards.

    'original' has the mapping of the first code of AutoAugment and RandAugment: the factor is
    0.1 + 1.8 x (neutral at x = 0.5), Posterize keeps int(4 x) bits, at most 8, Solarize inverts from
    int(256 x) upwards, nothing from x = 1 on. Posterize and Solarize get weaker with the magnitude.

    Both: Rotate by 30 x degrees, Shear by 0.3 x, Translate by `translate` x pixels, either way;
    SolarizeAdd adds int(110 x); the box of Cutout has a side of 2 int(`patch` x / 2) pixels.
    """
    x = magnitude / 10
    if scale == 'original':
        factor, bits, threshold = (0.1 + 1.8 * x,) * 2, min(int(4 * x), 8), min(int(256 * x), 256)
    else:
        factor = (1 + 0.9 * x, max(1 - 0.9 * x, 0.0))
        bits, threshold = max(8 - round(4 * x), 1), max(256 - int(256 * x), 0)
    either_way = {
        'Rotate': 30 * x,
        'ShearX': 0.3 * x,
        'ShearY': 0.3 * x,
        'TranslateX': translate * x,
        'TranslateY': translate * x,
    }
    single = {
        'Posterize': bits,
        'Solarize': threshold,
        'SolarizeAdd': int(110 * x),
        'Cutout': 2 * int(patch * x / 2),
        'AutoContrast': 0,
        'Equalize': 0,
        'Invert': 0,
        'Identity': 0,
    }
    return (
        {name: (size, -size) for name, size in either_way.items()}
        | {name: factor for name in ('Color', 'Contrast', 'Brightness', 'Sharpness')}
        | {name: (value, value) for name, value in single.items()}
    )


def check(where: str, operations, probability, fill, **nonnegative) -> None:
    """Raises ValueError for arguments that no policy of this kind allows."""
    names = tuple(operations)
    if not names or not set(names) <= set(LIBRARY) or len(set(names)) < len(names):
        raise ValueError(
            f'augment {where}: operations={names!r}; give some of {", ".join(LIBRARY)}, each once.'
        )
    if len(probability) != 2 or not 0 <= probability[0] <= probability[1] <= 1:
        raise ValueError(
            f'augment {where}: probability={probability!r}; give (lowest, highest) within [0, 1].'
        )
    for name, value in nonnegative.items():
        if not value >= 0:
            raise ValueError(f'augment {where}: {name}={value!r}; give a number >= 0.')
    if not 0 <= fill <= 255:
        raise ValueError(f'augment {where}: fill={fill!r}; give a pixel value in [0, 255].')
