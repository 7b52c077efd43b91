"""The convolution equals lax.conv_general_dilated under every transform, in the layout each platform wants."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from mpl.models.conv import convolve
from mpl.models.cpu import conv as conv_on_cpu

CANONICAL = '[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]'


def ordinary(image, kernel, stride=1, padding='same', groups=1):
    pads = 'SAME' if padding == 'same' else [((side - 1) // 2,) * 2 for side in kernel.shape[:2]]
    return lax.conv_general_dilated(
        image,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=groups,
    )


def depthwise(conv):
    """conv with one group per channel."""
    return lambda image, kernel, stride=1, padding='same': conv(
        image, kernel, stride, padding, image.shape[-1]
    )


def draw(dtype, *shapes):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]


def evaluate(conv, stride, image, kernel, d_image, d_kernel):
    """Value, forward and reverse derivatives, the transposed linear map, second derivatives."""

    def f(image, kernel):
        return conv(image, kernel, stride)

    def cubed(image, kernel):
        return (f(image, kernel) ** 3).sum()

    def slope(image, kernel):
        return sum(
            (g * d).sum()
            for g, d in zip(jax.grad(cubed, (0, 1))(image, kernel), (d_image, d_kernel))
        )

    value, pullback = jax.vjp(f, image, kernel)
    _, linear = jax.linearize(f, image, kernel)
    return {
        'value': value,
        'jvp': jax.jvp(f, (image, kernel), (d_image, d_kernel))[1],
        'vjp': pullback(jnp.cos(value)),
        'linearize': linear(d_image, d_kernel),
        'linear_transpose': jax.linear_transpose(linear, image, kernel)(jnp.cos(value)),
        'reverse over reverse': jax.grad(slope, (0, 1))(image, kernel),
        'remat': jax.grad(jax.checkpoint(cubed), (0, 1))(image, kernel),
    }


def assert_equal(got, want, dtype, tolerance):
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)
    chex.assert_type(got['value'], dtype)
    for name in want:
        for a, b in zip(jax.tree.leaves(got[name]), jax.tree.leaves(want[name])):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=name)


@pytest.mark.parametrize('dtype, tolerance', [('float32', 2e-5), ('float64', 1e-13)])
@pytest.mark.parametrize('kernel_size, stride', [(3, 1), (3, 2), (1, 1), (1, 2)])
def test_equals_the_ordinary_convolution(kernel_size, stride, dtype, tolerance):
    with jax.enable_x64(dtype == 'float64'):
        shapes = (4, 6, 5, 3), (kernel_size, kernel_size, 3, 5)
        args = draw(dtype, *shapes, *shapes)
        got, want = (
            jax.jit(evaluate, static_argnums=(0, 1))(conv, stride, *args)
            for conv in (convolve, ordinary)
        )
        assert_equal(got, want, dtype, tolerance)


@pytest.mark.parametrize('kernel_size, stride', [(3, 1), (3, 2), (1, 1)])
def test_large_ones_are_the_same(kernel_size, stride, x64, monkeypatch):
    """As large as those of a real network, or taken for it."""
    monkeypatch.setattr(conv_on_cpu, 'LARGE', 0)
    shapes = (4, 5, 7, 3), (kernel_size, kernel_size, 3, 4)  # Not compiled before.
    args = draw('float64', *shapes, *shapes)
    got, want = (
        jax.jit(evaluate, static_argnums=(0, 1))(conv, stride, *args)
        for conv in (convolve, ordinary)
    )
    assert_equal(got, want, 'float64', 1e-13)
    # One column more is asked for, where it helps.
    text = jax.jit(convolve, static_argnums=2).lower(*args[:2], stride).as_text()
    assert ('pad = [[1, 1], [1, 2]]' in text) == ((kernel_size, stride) == (3, 1)), text


@pytest.mark.parametrize('padding', ['same', 'symmetric'])
@pytest.mark.parametrize('kernel, stride', [((3, 3), 2), ((5, 7), 2), ((5, 4), 3), ((2, 2), 2)])
def test_large_gradients_of_strides_have_no_gaps(kernel, stride, padding, x64, monkeypatch):
    monkeypatch.setattr(conv_on_cpu, 'LARGE', 0)
    monkeypatch.setattr(conv_on_cpu, 'WIDE', 0)

    def gradient(conv, image, weights, cotangent):
        return jax.vjp(lambda image: conv(image, weights, stride, padding), image)[1](cotangent)

    ours = jax.jit(partial(gradient, convolve))
    for sides in ((9, 12), (10, 11)):
        image, weights = draw('float64', (2, *sides, 3), (*kernel, 3, 4))
        args = image, weights, jnp.cos(ordinary(image, weights, stride, padding))
        chex.assert_trees_all_close(ours(*args), gradient(ordinary, *args), rtol=0, atol=1e-12)
        assert 'lhs_dilate = [1, 1]' in ours.lower(*args).as_text()


@pytest.mark.parametrize('shape, column', [((112, 16, 16, 128), True), ((112, 8, 8, 128), False)])
def test_a_column_too_many_only_where_it_is_faster(shape, column):
    kernel = jax.ShapeDtypeStruct((3, 3, 128, 128), 'float32')
    text = jax.jit(convolve).lower(jax.ShapeDtypeStruct(shape, 'float32'), kernel).as_text()
    assert ('pad = [[1, 1], [1, 2]]' in text) == column, text


@pytest.mark.parametrize(
    'kernel_size, stride, padding, dtype, tolerance',
    [
        (3, 1, 'same', 'float32', 2e-5),
        (3, 2, 'same', 'float64', 1e-13),
        (5, 2, 'symmetric', 'float64', 1e-13),
        (3, 3, 'symmetric', 'float64', 1e-13),
        (1, 2, 'same', 'float64', 1e-13),
    ],
)
def test_equals_the_ordinary_depthwise_convolution(
    fast_compile, kernel_size, stride, padding, dtype, tolerance
):
    def conv(base):
        return lambda image, kernel, stride: depthwise(base)(image, kernel, stride, padding)

    with jax.enable_x64(dtype == 'float64'):
        shapes = (3, 7, 4, 8), (kernel_size, kernel_size, 1, 8)
        args = draw(dtype, *shapes, *shapes)
        got, want = (
            jax.jit(evaluate, static_argnums=(0, 1))(conv(base), stride, *args)
            for base in (convolve, ordinary)
        )
        assert_equal(got, want, dtype, tolerance)


@pytest.mark.parametrize('images', [4, 192])  # in one part, and in several
def test_kernel_gradient_in_bfloat16_is_summed_in_float32(images):
    image, kernel = draw('bfloat16', (images, 16, 16, 4), (3, 3, 4, 8))

    def gradient(conv, image, kernel):
        return jax.grad(lambda kernel: (conv(image, kernel) * image[..., :1]).sum())(kernel)

    got = jax.jit(lambda *args: gradient(convolve, *args))(image, kernel)
    want = gradient(ordinary, image.astype('float32'), kernel.astype('float32'))
    chex.assert_type(got, 'bfloat16')
    np.testing.assert_allclose(got.astype('float32'), want, rtol=2**-7, atol=2**-7)


def test_depthwise_sums_in_bfloat16_are_rounded_once():
    image, kernel = draw('bfloat16', (2, 6, 6, 8), (5, 5, 1, 8))
    got = jax.jit(depthwise(convolve))(image, kernel)
    want = depthwise(ordinary)(image.astype('float32'), kernel.astype('float32'))
    chex.assert_type(got, 'bfloat16')
    np.testing.assert_allclose(got.astype('float32'), want, rtol=2**-8)


@pytest.mark.parametrize('axes', [(0, 0), (0, None), (None, 0), (1, 3)])
@pytest.mark.parametrize('stride', [1, 2])
def test_equals_under_vmap_and_its_gradient(axes, stride):
    image, kernel = draw('float32', (4, 6, 5, 3), (3, 3, 3, 5))
    image, kernel = (
        x if axis is None else jnp.stack([x, 2 * x[::-1], -x], axis)
        for x, axis in zip((image, kernel), axes)
    )

    def grads(conv):
        return jax.grad(
            lambda *pair: (jax.vmap(lambda x, w: conv(x, w, stride), axes)(*pair) ** 2).sum(),
            (0, 1),
        )

    got, want = jax.jit(grads(convolve))(image, kernel), jax.jit(grads(ordinary))(image, kernel)
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('axes', [(0, 0), (0, None), (None, 0), (1, 3)])
def test_depthwise_equals_under_vmap_and_its_gradient(fast_compile, axes):
    image, kernel = draw('float32', (4, 6, 5, 24), (3, 3, 1, 24))
    image, kernel = (
        x if axis is None else jnp.stack([x, 2 * x[::-1], -x], axis)
        for x, axis in zip((image, kernel), axes)
    )

    def grads(conv):
        return jax.jit(
            jax.grad(
                lambda *pair: (jax.vmap(lambda x, w: conv(x, w, 2), axes)(*pair) ** 2).sum(),
                (0, 1),
            )
        )(image, kernel)

    got, want = (grads(depthwise(conv)) for conv in (convolve, ordinary))
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-3)


def looped_gradients(conv):
    """Gradients inside a loop, for two seeds at once."""

    def step(carry, _):
        one = jax.grad(
            lambda image, kernel: (conv(conv(image, kernel, 2), kernel) ** 2).sum(), (0, 1)
        )
        return jax.vmap(one)(*carry), None

    return lambda image, kernel: lax.scan(step, (image, kernel), None, length=2)[0]


def lowered(function, platform, kernel=(2, 3, 3, 3, 3)):
    image, kernel = draw('float32', (2, 4, 8, 8, kernel[-1]), kernel)
    return jax.jit(function).trace(image, kernel).lower(lowering_platforms=(platform,)).as_text()


def test_every_convolution_on_the_cpu_is_canonical_and_ungrouped():
    def layouts(conv):
        text = lowered(looped_gradients(conv), 'cpu')
        return set(re.findall(r'dim_numbers = (.*?), window', text)), set(
            re.findall(r'_group_count = (\d+)', text)
        )

    assert layouts(convolve) == ({CANONICAL}, {'1'})
    assert layouts(ordinary) != ({CANONICAL}, {'1'})  # else this test could not fail


def test_no_depthwise_convolution_on_the_cpu_is_a_convolution():
    got, want = (
        lowered(looped_gradients(depthwise(conv)), 'cpu', (2, 3, 3, 1, 8)).count(
            'stablehlo.convolution'
        )
        for conv in (convolve, ordinary)
    )
    assert got == 0 and want


@pytest.mark.parametrize('platform', ['tpu', 'cuda'])
@pytest.mark.parametrize('kernel', [(2, 3, 3, 3, 3), (2, 3, 3, 1, 8)])
def test_other_platforms_get_the_ordinary_program(platform, kernel):
    kind = depthwise if kernel[3] == 1 else lambda conv: conv
    got, want = (
        lowered(looped_gradients(kind(conv)), platform, kernel) for conv in (convolve, ordinary)
    )
    assert 'stablehlo.convolution' in want
    assert got == want


@pytest.mark.parametrize('groups, kernel', [(1, (3, 3, 3, 5)), (8, (3, 3, 1, 8))])
def test_equals_on_a_sharded_batch(groups, kernel):
    devices = jax.devices()
    mesh = jax.make_mesh((len(devices),), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    image, kernel = draw('float32', (8, 6, 6, 3 if groups == 1 else 8), kernel)
    sharded = jax.device_put(image, NamedSharding(mesh, PartitionSpec('data')))

    def grads(conv):
        return jax.jit(
            jax.grad(
                lambda image, kernel: (conv(image, kernel, 2, 'same', groups) ** 2).sum(), (0, 1)
            )
        )

    chex.assert_trees_all_close(
        grads(convolve)(sharded, kernel), grads(ordinary)(image, kernel), rtol=1e-4, atol=1e-4
    )
