"""Lowering of convolutions for CPUs, where XLA has one fast kernel, with one layout and no groups.

`lower` and its variants have the arguments and results of lax.conv_general_dilated_p.
"""

import itertools
import math
from functools import partial

import jax.numpy as jnp
from jax import lax

from mpl.models.cpu import depthwise as depthwise_on_cpu

ordinary_p = lax.conv_general_dilated_p

LARGE = 2**26  # multiplications; below this the single-threaded kernel is at least as fast
WIDE = 2**20  # elements of a result; from this size on a dilated input costs more than it saves


def lower(lhs, rhs, **params):
    """Many groups with few channels as shifted products, others by XLA's kernel."""
    groups = params['feature_group_count'] * params['batch_group_count']  # one of the two is 1
    lhs_axes, rhs_axes, _ = params['dimension_numbers']  # each (batch or out, feature or in, ...)
    lhs_axis = lhs_axes[0 if params['batch_group_count'] > 1 else 1]
    pairs = lhs.shape[lhs_axis] // groups * (rhs.shape[rhs_axes[0]] // groups)  # in one group
    lowering = depthwise_on_cpu.shift_and_multiply if 8 * pairs <= groups else multiply_groups
    return lowering(lhs, rhs, **params)


def multiply_groups(
    lhs, rhs, *, dimension_numbers, feature_group_count, batch_group_count, **params
):
    """One group after another, in the layout [B, H, W, in] with [h, w, in, out]."""
    lhs_axes, rhs_axes, out_axes = dimension_numbers  # each (batch or out, feature or in, *spatial)
    channels_last = (0, lhs.ndim - 1, *range(1, lhs.ndim - 1))
    kernel_last = (lhs.ndim - 1, lhs.ndim - 2, *range(lhs.ndim - 2))

    def one_group(lhs, rhs):
        if is_kernel_gradient(lhs, rhs, dimension_numbers, params):
            return by_chunk(lhs, rhs, dimension_numbers, **params)
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


def by_all_threads(lhs, rhs, *, padding, window_strides, lhs_dilation, **params):
    """A convolution in the layout above, by the faster of XLA's two kernels.

    XLA (jaxlib 0.10) has a single-threaded kernel for small convolutions. It is not used at stride 1
    with more padding than keeps the size, so large convolutions get one column of padding too many,
    which is sliced off. On two cores 112 images of 32x32x32 with 3x3x32x32 then take 13 ms, not 23.
    With many weights and at most 15 output columns XLA uses several threads anyway, and the column
    costs more than it saves.
    """
    params |= {'window_strides': window_strides, 'lhs_dilation': lhs_dilation}
    bind = partial(ordinary_p.bind, lhs, rhs, **params)
    out = ordinary_p.abstract_eval(lhs.aval, rhs.aval, padding=padding, **params)[0]
    small = out.size * math.prod(rhs.shape[:-1]) < LARGE
    is_threaded = rhs.size >= 2**17 and out.shape[-2] < 16
    if small or is_threaded or set(window_strides) != {1}:
        return bind(padding=padding)
    gaps = set(lhs_dilation) != {1} and set(params['rhs_dilation']) == {1}
    if gaps and out.size >= WIDE and all(side >= d for side, d in zip(rhs.shape, lhs_dilation)):
        return by_phase(lhs, rhs, out.shape[1:-1], padding, params)
    *others, (low, high) = padding
    return bind(padding=(*others, (low, high + 1)))[..., : out.shape[-2], :]


def by_phase(lhs, rhs, sides, padding, params):
    """A convolution of a dilated image, as in the gradient of a strided one, without the zeros.

    Along an axis with dilation d every d-th output uses the same phase of the kernel, one of d. All
    phases become output channels of one convolution, from which each output takes its own. On two
    cores 240 images of 16x16x64 with a result of 32x32x32 take 24 ms, not 70.
    """
    dilation = params['lhs_dilation']
    axes = list(zip(dilation, padding, rhs.shape))
    before = [-(-low // d) for d, (low, _), _ in axes]  # pixels before the phases' place
    reach = [-(-(d * n - low + size + d - 1) // d) for n, (d, (low, _), size) in zip(before, axes)]
    kernels = []
    for phase in itertools.product(*map(range, dilation)):
        fronts = [d * n - low + p for p, n, (d, (low, _), _) in zip(phase, before, axes)]
        ends = [
            (front, d * seen - front - size, 0)
            for front, seen, (d, _, size) in zip(fronts, reach, axes)
        ]
        part = lax.pad(rhs, lax.full((), 0, rhs.dtype), [*ends, (0, 0, 0), (0, 0, 0)])
        kernels.append(part[tuple(slice(None, None, d) for d in dilation)])
    places = [-(-side // d) for side, d in zip(sides, dilation)]
    out = by_all_threads(
        lhs,
        lax.concatenate(kernels, rhs.ndim - 1),
        padding=tuple(
            (n, many - size + seen - 1 - n)
            for n, many, size, seen in zip(before, places, lhs.shape[1:], reach)
        ),
        **params | {'lhs_dilation': (1,) * len(axes)},
    )
    out = out.reshape(len(lhs), *places, *dilation, -1)
    pairs = [(1 + axis, 1 + len(axes) + axis) for axis in range(len(axes))]
    out = out.transpose(0, *itertools.chain(*pairs), out.ndim - 1)
    out = out.reshape(len(lhs), *(n * d for n, d in zip(places, dilation)), -1)
    return out[(slice(None), *map(slice, sides))]


def is_kernel_gradient(lhs, rhs, dimension_numbers, params):
    """Whether the window of a convolution is larger than its result, as in a kernel's gradient."""
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


def by_chunk(lhs, rhs, dimension_numbers, *, window_strides, padding, rhs_dilation, **params):
    """A convolution as one matrix product for a few images at a time.

    The sum of a kernel's gradient is over all pixels of all images, and XLA's CPU kernel first copies
    its whole input into one matrix, larger than any cache: ten times slower for 144 images of
    32x32x32. So a few images at a time are copied, once per position of the output, concatenated as channels.
    Without stride and dilation the positions along the first axis are copies of rhs instead, moved the other
    way: 3 + 3 copies for a kernel of 3x3, not 9.
    """
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    dims = lhs.ndim
    summed_first = (dims - 1, 0, *range(1, dims - 1))  # of [summed, *spatial, kept], as a spec
    lhs = move(lhs, lhs_spec, summed_first)
    rhs = move(rhs, rhs_spec, summed_first)
    window, padding = rhs.shape[1:-1], list(padding)
    reach = [(side - 1) * step + 1 for side, step in zip(window, rhs_dilation)]
    counts = [
        (low + side + high - span) // stride + 1
        for side, (low, high), span, stride in zip(lhs.shape[1:-1], padding, reach, window_strides)
    ]
    rows, tall, around = 1, window[0], (0, 0, 0)  # positions as copies of rhs, with their padding
    if window_strides[0] == rhs_dilation[0] == 1:
        rows, tall, low = counts[0], lhs.shape[1], padding[0][0]
        around = (rows - 1 - low, tall + low - window[0], 0)
        counts[0], reach[0], padding[0] = 1, tall, (0, 0)
    left, right = rows * rhs.shape[-1], math.prod(counts) * lhs.shape[-1]
    images = chunk(rhs.shape[0], tall * math.prod(window[1:]) * (left + right))
    out_type = params['preferred_element_type'] or lhs.dtype
    total_type = jnp.promote_types(out_type, jnp.float32)

    def product(start):
        # In float32 at least: not all forms of the product of bfloat16 matrices are supported.
        few, other = (
            lax.dynamic_slice_in_dim(x, start, images).astype(total_type) for x in (lhs, rhs)
        )
        few = pad(few, [(*ends, 0) for ends in padding])
        other = pad(other, [around, *[(0, 0, 0)] * (dims - 3)])

        def seen(position):
            first = [place * stride for place, stride in zip(position, window_strides)]
            last = [place + span for place, span in zip(first, reach)]
            return lax.slice(
                few, (0, *first, 0), (images, *last, lhs.shape[-1]), (1, *rhs_dilation, 1)
            )

        few = lax.concatenate(list(map(seen, itertools.product(*map(range, counts)))), dims - 1)
        moved = [lax.slice_in_dim(other, row, row + tall, axis=1) for row in reversed(range(rows))]
        other = lax.concatenate(moved, dims - 1)
        pair = other.reshape(-1, left), few.reshape(-1, right)
        narrow, wide = pair if left <= right else pair[::-1]
        return jnp.dot(narrow.T, wide, precision=params['precision'])

    out = lax.fori_loop(
        0,
        rhs.shape[0] // images,
        lambda i, total: total + product(i * images),
        lax.full_like(rhs, 0, total_type, sorted((left, right))),
    )
    out = out if left <= right else out.T
    out = out.reshape(rows, rhs.shape[-1], *counts, lhs.shape[-1]).swapaxes(0, 1)
    out = out.reshape(rhs.shape[-1], rows * counts[0], *counts[1:], lhs.shape[-1])
    return move(out, (dims - 1, 0, *range(1, dims - 1)), out_spec).astype(out_type)


def pad(x, spatial):
    """Zeros around, between or, if negative, less of the spatial axes of [batch, *spatial, channels]; as lax.pad."""
    return lax.pad(x, lax.full((), 0, x.dtype), [(0, 0, 0), *spatial, (0, 0, 0)])


def chunk(images, elements):
    """The largest divisor of the number of images with at most 2^19 elements together, at least 1."""
    return max(
        n for n in range(1, images + 1) if images % n == 0 and (n == 1 or n * elements <= 2**19)
    )


def move(x, source, target):
    """Transposes x such that axis source[i] becomes axis target[i]."""
    return lax.transpose(x, [axis for _, axis in sorted(zip(target, source))])


def split(x, parts, axis):
    return lax.split(x, [x.shape[axis] // parts] * parts, axis)
