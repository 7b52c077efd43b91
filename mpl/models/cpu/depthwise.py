"""Lowering of depthwise convolutions, their derivatives and batches for CPUs.

XLA's kernel is slow if each group has a single channel. As products of shifted images, which XLA
fuses into one pass, the output and the gradients of image and kernel take 2, 2 and 7 ms for 16
images of 16x16x144 and a 5x5 kernel on one thread; as ordinary grouped convolutions 54, 45 and
109 ms, and the last one 5.7 s inside lax.scan.
"""

import itertools
import math

import jax.numpy as jnp
from jax import lax


def shift_and_multiply(
    lhs,
    rhs,
    *,
    window_strides,
    padding,
    lhs_dilation,
    rhs_dilation,
    dimension_numbers,
    feature_group_count,
    batch_group_count,
    preferred_element_type,
    **_,
):
    """Sums of products of shifted images, in float32 or wider, as in XLA's kernel."""
    lhs_axes, rhs_axes, out_axes = dimension_numbers
    groups = feature_group_count * batch_group_count
    dtype = preferred_element_type or lhs.dtype
    wide = jnp.promote_types(dtype, jnp.float32)
    # Both [batch, out, in, height, width, group].
    grouped = 0 if batch_group_count > 1 else 1
    lhs = groups_last(lhs.astype(wide), lhs_axes, grouped, groups)[:, None]
    rhs = groups_last(rhs.astype(wide), rhs_axes, 0, groups)[None]
    lows = [low for low, _ in padding]
    out = [
        ((size - 1) * dilation + sum(pads) - (taps - 1) * step) // stride + 1
        for size, taps, pads, dilation, step, stride in zip(
            lhs.shape[3:5], rhs.shape[3:5], padding, lhs_dilation, rhs_dilation, window_strides
        )
    ]
    if batch_group_count > 1:  # the gradient of a kernel: few outputs, each a sum over an image
        lhs = dilate(lhs, lhs_dilation)
        y = sum_by_output(lhs, rhs, out, lows, window_strides, rhs_dilation)
    else:
        y = sum_by_tap(lhs, rhs, out, lows, window_strides, rhs_dilation, lhs_dilation)
    y = jnp.moveaxis(y, 1, -1).reshape(y.shape[0], *out, -1).astype(dtype)
    return jnp.moveaxis(y, (0, 3, 1, 2), out_axes)


def groups_last(x, axes, grouped, groups):
    """Transposes by `axes`, then cuts `groups` parts out of the axis `grouped`, into a last axis."""
    x = lax.transpose(x, axes)
    shape = list(x.shape)
    shape[grouped : grouped + 1] = groups, shape[grouped] // groups
    return jnp.moveaxis(x.reshape(shape), grouped, -1)


def sum_by_tap(lhs, rhs, out, lows, strides, steps, dilations):
    """A sum over the taps of the window: a shifted image times one weight per group."""
    axes = [phases(*axis) for axis in zip(rhs.shape[3:5], lows, strides, steps, dilations)]
    lengths = [-(-size // len(axis)) for size, axis in zip(out, axes)]
    view = reader(
        lhs,
        [[start for phase in axis for _, start in phase] for axis in axes],
        [stride * len(axis) // d for stride, axis, d in zip(strides, axes, dilations)],
        lengths,
    )
    zeros = jnp.zeros((lhs.shape[0], rhs.shape[1], lhs.shape[2], *lengths, lhs.shape[5]), lhs.dtype)

    def one_phase(rows, columns):
        products = [
            view(row, column) * rhs[:, :, :, i : i + 1, j : j + 1]
            for i, row in rows
            for j, column in columns
        ]
        return sum(products, zeros).sum(2)

    y = jnp.stack(
        [jnp.stack([one_phase(rows, columns) for columns in axes[1]], 4) for rows in axes[0]], 3
    )
    padded = [length * len(axis) for length, axis in zip(lengths, axes)]
    return y.reshape(*y.shape[:2], *padded, -1)[:, :, : out[0], : out[1]]


def phases(taps, low, stride, step, dilation):
    """For each p below the period, the taps with nonzero input at outputs p, p + period, ...

    The input of output p at tap i is row p * stride + i * step - low of the dilated image, which has
    dilation - 1 zero rows between two rows. So the taps with nonzero input are periodic in p.

    Returns:
      For each p, pairs of (tap, the row of the image at output p).
    """
    period = dilation // math.gcd(stride, dilation)
    places = [[(i, p * stride + i * step - low) for i in range(taps)] for p in range(period)]
    return [[(i, x // dilation) for i, x in phase if x % dilation == 0] for phase in places]


def sum_by_output(lhs, rhs, out, lows, strides, steps):
    """A product with the whole window for every output position, for few outputs and large windows."""
    starts = [
        [p * stride - low for p in range(size)] for size, stride, low in zip(out, strides, lows)
    ]
    view = reader(lhs, starts, steps, rhs.shape[3:5])
    products = [view(row, column) * rhs for row, column in itertools.product(*starts)]
    zero = jnp.zeros((), lhs.dtype)
    sums = lax.reduce(  # all at once, or each would be a pass over memory
        products, [zero] * len(products), lambda a, b: [x + y for x, y in zip(a, b)], (3, 4)
    )
    y = jnp.stack([one.sum(2) for one in sums], 2)
    return y.reshape(*y.shape[:2], *out, -1)


def dilate(image, dilations):
    """Zeros between rows and between columns."""
    interior = [(0, 0, dilation - 1) for dilation in dilations]
    none = (0, 0, 0)
    return lax.pad(image, jnp.zeros((), image.dtype), [none, none, none, *interior, none])


def reader(image, starts, strides, lengths):
    """A function of (row, column) that slices lengths[0] x lengths[1] positions from there on.

    image: [batch, out, in, height, width, group], zero outside. starts: all rows, all columns that
    occur as arguments.
    """
    first = [min(axis) for axis in starts]
    spans = [(length - 1) * stride + 1 for length, stride in zip(lengths, strides)]
    pads = [
        (-low, max(axis) + span - size, 0)
        for low, axis, span, size in zip(first, starts, spans, image.shape[3:5])
    ]
    none = (0, 0, 0)
    image = lax.pad(image, jnp.zeros((), image.dtype), [none, none, none, *pads, none])
    image = lax.optimization_barrier(image)  # else each view pads again, element by element

    def view(*at):
        slices = [
            slice(start - low, start - low + span, stride)
            for start, low, span, stride in zip(at, first, spans, strides)
        ]
        return image[:, :, :, *slices]

    return view
