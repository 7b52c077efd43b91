"""Convolution that is fast on the CPU too: inside loops and under every transform.

XLA's fast CPU kernel takes one layout, [B, H, W, in] with [h, w, in, out]. XLA rewrites other
layouts to it in a program's outermost computation only, so that inside lax.scan the gradients of an
ordinary convolution fall to a naive kernel: a training step of the default `cnn` took 76 ms there
and takes 3.2 ms with this one (batch 128 of 8x8 images, one thread). jax.vmap over kernels (seeds)
gives grouped convolutions, which are slow on the CPU anywhere: 4.3 times in a layer of WRN-28-2.

So convolution_p is lax.conv_general_dilated_p with a CPU lowering of its own, which writes every
convolution in that layout and group by group. It takes all its rules (derivatives of any order, forward and
reverse, and batching) from the original, with itself put in the original's place. A lowering is
chosen by the platform that is compiled for, so a TPU or GPU program is the ordinary one, letter by
letter, wherever it is compiled.
"""

import itertools
import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal, Primitive
from jax.interpreters import ad, batching, mlir

from mpl.models import layers

ordinary_p = lax.conv_general_dilated_p
convolution_p = Primitive('convolution')


def convolve(image, kernel, stride=1, padding='same', groups=1):
    """Convolution of [B, H, W, in] with [h, w, in / groups, out], of one dtype -> [B, H', W', out].

    H' = ceil(H / stride). padding: 'same' puts the extra row and column of an odd amount of padding at the end, as
    TensorFlow does; 'symmetric' pads both ends by (h - 1) / 2 and (w - 1) / 2, as torch models do.
    """
    pads = 'SAME' if padding == 'same' else [((side - 1) // 2,) * 2 for side in kernel.shape[:2]]

    def ordinary(image, kernel):
        return lax.conv_general_dilated(
            image,
            kernel,
            (stride, stride),
            pads,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=groups,
        )

    return substituted(ordinary, image, kernel)


def substituted(function, *args):
    """function(*args) with each ordinary convolution replaced by convolution_p; one array in return."""
    closed = jax.make_jaxpr(function)(*args)
    values = dict(zip(closed.jaxpr.constvars, closed.consts)) | dict(zip(closed.jaxpr.invars, args))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in closed.jaxpr.eqns:
        primitive = convolution_p if equation.primitive is ordinary_p else equation.primitive
        out = primitive.bind(*map(read, equation.invars), **equation.params)
        values.update(zip(equation.outvars, out if primitive.multiple_results else [out]))
    return read(closed.jaxpr.outvars[0])


def transpose_lhs(cotangent, lhs, rhs, **params):
    def transposed(cotangent, rhs):
        return jax.linear_transpose(lambda lhs: ordinary_p.bind(lhs, rhs, **params), lhs.aval)(
            cotangent
        )[0]

    return substituted(transposed, cotangent, rhs)


def transpose_rhs(cotangent, lhs, rhs, **params):
    def transposed(cotangent, lhs):
        return jax.linear_transpose(lambda rhs: ordinary_p.bind(lhs, rhs, **params), rhs.aval)(
            cotangent
        )[0]

    return substituted(transposed, cotangent, lhs)


def batch(args, axes, **params):
    out_spec = params['dimension_numbers'].out_spec
    out_axis = (
        out_spec[0] if axes[1] is None else out_spec[1]
    )  # as the original has it: no transpose is added
    mapped = jax.vmap(partial(ordinary_p.bind, **params), in_axes=axes, out_axes=out_axis)
    return substituted(mapped, *args), out_axis


def lower_on_cpu(lhs, rhs, *, dimension_numbers, feature_group_count, batch_group_count, **params):
    """The ordinary convolution in the layout of the CPU's kernel, one group after another."""
    lhs_axes, rhs_axes, out_axes = dimension_numbers  # each (batch or out, feature or in, *spatial)
    channels_last = (0, lhs.ndim - 1, *range(1, lhs.ndim - 1))
    kernel_last = (lhs.ndim - 1, lhs.ndim - 2, *range(lhs.ndim - 2))

    def one_group(lhs, rhs):
        if is_kernel_gradient(lhs, rhs, dimension_numbers, params):
            return by_position(lhs, rhs, dimension_numbers, **params)
        out = ordinary_p.bind(
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
    lhs = lax.pad(
        lhs, lax.full((), 0, lhs.dtype), [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)]
    )
    window = rhs.shape[1:-1]
    reach = [(side - 1) * step + 1 for side, step in zip(window, rhs_dilation)]
    counts = [
        (side - span) // stride + 1
        for side, span, stride in zip(lhs.shape[1:-1], reach, window_strides)
    ]
    images = chunk(rhs.shape[0], math.prod(window))
    out_type = params['preferred_element_type'] or lhs.dtype
    total_type = jnp.promote_types(out_type, jnp.float32)
    firsts = np.array(list(itertools.product(*map(range, counts)))) * window_strides

    def products(start):
        few = lax.dynamic_slice_in_dim(lhs, start, images)
        other = lax.dynamic_slice_in_dim(rhs, start, images).reshape(-1, rhs.shape[-1])

        def product(first):
            seen = lax.dynamic_slice(few, (0, *first, 0), (images, *reach, lhs.shape[-1]))
            seen = lax.slice(seen, (0,) * dims, seen.shape, (1, *rhs_dilation, 1))
            return lax.dot_general(
                seen.reshape(-1, lhs.shape[-1]),
                other,
                (((0,), (0,)), ((), ())),
                precision=params['precision'],
                preferred_element_type=total_type,
            )

        return lax.map(product, firsts)

    shape = (len(firsts), lhs.shape[-1], rhs.shape[-1])
    out = lax.fori_loop(
        0,
        rhs.shape[0] // images,
        lambda i, total: total + products(i * images),
        lax.full(shape, 0, total_type),
    )
    out = out.reshape(*counts, *out.shape[1:])  # [*spatial, kept of lhs, kept of rhs]
    return move(out, (dims - 2, dims - 1, *range(dims - 2)), out_spec).astype(out_type)


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


convolution_p.def_impl(ordinary_p.bind)
convolution_p.def_abstract_eval(
    lambda lhs, rhs, **params: ordinary_p.abstract_eval(lhs, rhs, **params)[0]
)
ad.defbilinear(convolution_p, transpose_lhs, transpose_rhs)
batching.primitive_batchers[convolution_p] = batch
mlir.register_lowering(convolution_p, mlir.lower_fun(ordinary_p.bind, multiple_results=False))
mlir.register_lowering(
    convolution_p, mlir.lower_fun(lower_on_cpu, multiple_results=False), platform='cpu'
)


class Conv(nn.Module):
    """Convolution, [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features].

    dtype: None computes in the promoted type of input and kernel; a name casts both to it first.
    padding, groups: as for `convolve`.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    bias: bool = False
    dtype: str | None = None
    padding: str = 'same'
    groups: int = 1

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.features)
        kernel = self.param('kernel', layers.conv_init, shape)
        dtype = self.dtype or jnp.promote_types(x.dtype, kernel.dtype)
        y = convolve(x.astype(dtype), kernel.astype(dtype), self.stride, self.padding, self.groups)
        if self.bias:
            y += self.param('bias', nn.initializers.zeros, (self.features,)).astype(dtype)
        return y
