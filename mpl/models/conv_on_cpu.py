"""How a convolution is written for the CPU, where XLA has one fast kernel, of one layout and no groups.

`lower` and the ways it chooses from take what lax.conv_general_dilated_p takes, and give the same.
"""

import itertools
import math
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import lax

from mpl.models import depthwise_on_cpu

ordinary_p = lax.conv_general_dilated_p

LARGE = 2**26  # products of numbers; from here on one thread is as fast either way


def lower(lhs, rhs, **params):
    """Many groups of hardly any channels as shifted products, others by XLA's kernel."""
    groups = params['feature_group_count'] * params['batch_group_count']  # one of the two is 1
    lhs_axes, rhs_axes, _ = params['dimension_numbers']  # each (batch or out, feature or in, ...)
    lhs_axis = lhs_axes[0 if params['batch_group_count'] > 1 else 1]
    pairs = lhs.shape[lhs_axis] // groups * (rhs.shape[rhs_axes[0]] // groups)  # in one group
    way = depthwise_on_cpu.shift_and_multiply if 8 * pairs <= groups else multiply_groups
    return way(lhs, rhs, **params)


def multiply_groups(
    lhs, rhs, *, dimension_numbers, feature_group_count, batch_group_count, **params
):
    """One group after another, in the layout [B, H, W, in] with [h, w, in, out]."""
    lhs_axes, rhs_axes, out_axes = dimension_numbers  # each (batch or out, feature or in, *spatial)
    channels_last = (0, lhs.ndim - 1, *range(1, lhs.ndim - 1))
    kernel_last = (lhs.ndim - 1, lhs.ndim - 2, *range(lhs.ndim - 2))

    def one_group(lhs, rhs):
        if is_kernel_gradient(lhs, rhs, dimension_numbers, params):
            return by_position(lhs, rhs, dimension_numbers, **params)
        out = by_all_threads(
            move(lhs, lhs_axes, channels_last),
            move(rhs, rhs_axes, kernel_last),
            dimension_numbers=lax.ConvDimensionNumbers(channels_last, kernel_last, channels_last),
            feature_group_count=1,
            batch_group_count=1,
            **params,
        )
        return move(out, channels_last, out_axes)

    groups = feature_group_count * batch_group_count  # one of the two is 1
    lhs_split = split(lhs, groups, lhs_axes[0 if batch_group_count > 1 else 1])
    rhs_split = split(rhs, groups, rhs_axes[0])
    return lax.concatenate([one_group(*pair) for pair in zip(lhs_split, rhs_split)], out_axes[1])


def by_all_threads(lhs, rhs, *, padding, window_strides, **params):
    """A convolution in the layout above, by the one of XLA's two kernels that is faster.

    XLA (jaxlib 0.10) has a kernel that is good at small work and keeps to one thread. It does not take
    windows at steps of 1 with more padding than keeps the size, so large work gets a column too many,
    which is cut off. On two cores 112 images of 32x32x32 with 3x3x32x32 take 19 ms then, not 34.
    """
    bind = partial(ordinary_p.bind, lhs, rhs, window_strides=window_strides, **params)
    out = ordinary_p.abstract_eval(
        lhs.aval, rhs.aval, padding=padding, window_strides=window_strides, **params
    )[0]
    if out.size * math.prod(rhs.shape[:-1]) < LARGE or set(window_strides) != {1}:
        return bind(padding=padding)
    *others, (low, high) = padding
    return bind(padding=(*others, (low, high + 1)))[..., : out.shape[-2], :]


def is_kernel_gradient(lhs, rhs, dimension_numbers, params):
    """Whether a convolution has a larger window than result, as the gradient of a kernel has."""
    out = ordinary_p.abstract_eval(
        lhs.aval,
        rhs.aval,
        dimension_numbers=dimension_numbers,
        feature_group_count=1,
        batch_group_count=1,
        **params,
    )[0]
    window = math.prod(rhs.shape[axis] for axis in dimension_numbers.rhs_spec[2:])
    positions = math.prod(out.shape[axis] for axis in dimension_numbers.out_spec[2:])
    return window > positions and set(params['lhs_dilation']) <= {1}


def by_position(lhs, rhs, dimension_numbers, *, window_strides, padding, rhs_dilation, **params):
    """A convolution as one product of matrices for each position of its result, over a few images at a time.

    The sum for a kernel's gradient goes over all pixels of all images, and XLA's CPU kernel first copies all that it
    multiplies into one matrix, larger than any cache: with 144 images of 32x32x32 that took ten times as long as this.
    Both loops are loops of the program too: with a product written out for each of 3x3 positions it took 2.5 times as
    long to compile, and with 8x8x128 1.5 times as long to run.
    """
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    dims = lhs.ndim
    summed_first = (dims - 1, 0, *range(1, dims - 1))  # of [summed, *spatial, kept], as a spec
    lhs = move(lhs, lhs_spec, summed_first)
    rhs = move(rhs, rhs_spec, summed_first)
    window = rhs.shape[1:-1]
    reach = [(side - 1) * step + 1 for side, step in zip(window, rhs_dilation)]
    counts = [
        (low + side + high - span) // stride + 1
        for side, (low, high), span, stride in zip(lhs.shape[1:-1], padding, reach, window_strides)
    ]
    images = chunk(rhs.shape[0], math.prod(window))
    out_type = params['preferred_element_type'] or lhs.dtype
    total_type = jnp.promote_types(out_type, jnp.float32)
    firsts = np.array(list(itertools.product(*map(range, counts)))) * window_strides

    def products(start):
        # In float32 at least: the product of bfloat16 matrices is not there in every form.
        few, other = (
            lax.dynamic_slice_in_dim(x, start, images).astype(total_type) for x in (lhs, rhs)
        )
        other = other.reshape(-1, rhs.shape[-1]).T
        border = [(0, 0, 0), *((*ends, 0) for ends in padding), (0, 0, 0)]
        few = lax.pad(few, lax.full((), 0, few.dtype), border)

        def product(first):
            seen = lax.dynamic_slice(few, (0, *first, 0), (images, *reach, lhs.shape[-1]))
            seen = lax.slice(seen, (0,) * dims, seen.shape, (1, *rhs_dilation, 1))
            return lax.dot_general(
                other,
                seen.reshape(-1, lhs.shape[-1]),
                (((1,), (0,)), ((), ())),
                precision=params['precision'],
            )

        return lax.map(product, firsts)

    shape = (len(firsts), rhs.shape[-1], lhs.shape[-1])
    out = lax.fori_loop(
        0,
        rhs.shape[0] // images,
        lambda i, total: total + products(i * images),
        lax.full_like(rhs, 0, total_type, shape),
    )
    out = out.reshape(*counts, *out.shape[1:])  # [*spatial, kept of rhs, kept of lhs]
    return move(out, (dims - 1, dims - 2, *range(dims - 2)), out_spec).astype(out_type)


def chunk(images, pixels):
    """How many images, a divisor of all, have at most 4,096 pixels together; one has more where it must."""
    return max(
        n for n in range(1, images + 1) if images % n == 0 and (n == 1 or n * pixels <= 4096)
    )


def move(x, source, target):
    """Transposes x such that axis source[i] becomes axis target[i]."""
    return lax.transpose(x, [axis for _, axis in sorted(zip(target, source))])


def split(x, parts, axis):
    return lax.split(x, [x.shape[axis] // parts] * parts, axis)
