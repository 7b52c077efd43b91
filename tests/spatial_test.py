"""Convolutions over images that several devices share by columns equal those of one device.

In every case here the gradients are checked too: those of the compiler's own partition are wrong,
while all values are right, in the cases that are marked so (jaxlib 0.10.2).
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mpl.models.conv import convolve
from mpl.parallel import sharding, spatial
from mpl.planning import collectives, hlo

MESHES = [2, 4, 8]  # devices that share an image, of 8
WIDTHS = [3, 8, 16]
# kernel, stride, depthwise, padding. Wrong if left to the compiler, by devices that share and width:
CASES = [
    (1, 1, False, 'same'),
    (3, 1, False, 'same'),  # 2: 3, 4 columns and less
    (5, 1, False, 'same'),
    (1, 2, False, 'same'),
    (3, 2, False, 'symmetric'),
    (5, 2, False, 'same'),  # one column on each device
    (3, 1, True, 'same'),  # a width that cannot be dealt out
    (3, 2, True, 'same'),  # one column on each device
    (7, 2, True, 'symmetric'),
]


def all_cases(draws):
    """Values and gradients of every case, of a sum that weighs each output differently."""

    def total(draws):
        values = []
        for (_, stride, depthwise, padding), (image, weights) in draws.items():
            groups = image.shape[-1] if depthwise else 1
            values.append(convolve(spatial.shard_columns(image), weights, stride, padding, groups))
        return sum(
            jnp.sum(jnp.sin(v * (1 + jnp.arange(v.size).reshape(v.shape)))) for v in values
        ), values

    (_, values), gradients = jax.value_and_grad(total, has_aux=True)(draws)
    return values, gradients


def draw(width):
    random = np.random.default_rng(width)
    return {
        case: (
            random.normal(size=(8, 4, width, 2)),
            random.normal(size=(case[0], case[0], 1 if case[2] else 2, 2)),
        )
        for case in CASES
    }


@functools.cache
def of_whole_images():
    return {width: jax.jit(all_cases)(draw(width)) for width in WIDTHS}


@pytest.mark.parametrize('model', MESHES)
def test_convolutions_of_shared_images_are_those_of_whole_ones(model, x64, fast_compile):
    mesh = sharding.make_mesh(jax.devices(), model)

    def shared(given):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return {width: all_cases(draws) for width, draws in given.items()}

    given = {width: draw(width) for width in WIDTHS}
    got = jax.jit(shared, in_shardings=sharding.replicated(mesh))(given)
    chex.assert_trees_all_close(got, of_whole_images(), rtol=1e-9, atol=1e-9)


def test_images_stay_in_parts_beside_weights_in_parts():
    """A norm's scale lies in parts by channels; left to the compiler, so would the images around it.

    They were put together then for each product of channels: in EfficientNet-L2 170 GB a step.
    """
    mesh = sharding.make_mesh(jax.devices(), 4)
    by_channels = NamedSharding(mesh, PartitionSpec('model'))
    image = jax.ShapeDtypeStruct((8, 16, 16, 64), jnp.float32, sharding=sharding.rows(mesh, 0))
    kernel = jax.ShapeDtypeStruct((1, 1, 64, 64), jnp.float32, sharding=sharding.replicated(mesh))
    scale = jax.ShapeDtypeStruct((64,), jnp.float32, sharding=by_channels)

    def total(weights, image):
        first, scale, second = weights
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            image = convolve(spatial.shard_columns(image), first) * scale
            return jnp.sum(jnp.sin(convolve(image, second)))

    program = jax.jit(jax.grad(total)).lower((kernel, scale, kernel), image).compile()
    moved = collectives.count(hlo.parse(program.as_text()))
    assert moved.get('all-gather', (0, 0))[1] <= 2 * 64 * 4  # the scale, forward and back
    assert 'all-to-all' not in moved
