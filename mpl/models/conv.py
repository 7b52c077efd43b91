"""Convolution that is also fast on CPUs, inside loops and under all transformations.

XLA's fast CPU kernel has one layout, [B, H, W, in] with [h, w, in, out]. XLA rewrites other layouts
to it in a program's outermost computation only, so inside lax.scan the gradients of an ordinary
convolution use a naive kernel: a training step of the default `cnn` took 76 ms there and takes
3.2 ms with this convolution (batch 128 of 8x8 images, one thread). Grouped convolutions are slow on
CPUs everywhere: those of jax.vmap over kernels (seeds) by a factor of 4.3 in a layer of WRN-28-2,
and depthwise ones even more.

So convolution_p is lax.conv_general_dilated_p with a CPU lowering of its own, `conv_on_cpu`. All its
rules (derivatives of any order, forward and reverse, and batching) are those of the original, with
convolution_p substituted for it. The lowering depends on the target platform, so programs for TPU or
GPU are identical to those of the original.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from mpl.models import layers
from mpl.models.cpu import conv as conv_on_cpu
from mpl.parallel import spatial

ordinary_p = lax.conv_general_dilated_p
convolution_p = Primitive('convolution')


def convolve(image, kernel, stride=1, padding='same', groups=1):
    """Convolution of [B, H, W, in] with [h, w, in / groups, out], of one dtype -> [B, H', W', out].

    H' = ceil(H / stride). padding: 'same' puts the extra row and column of an odd amount of padding at the end, as
    TensorFlow does; 'symmetric' pads both ends by (h - 1) / 2 and (w - 1) / 2, as torch models do.
    """
    sides, strides = kernel.shape[:2], (stride, stride)
    pads = [((side - 1) // 2,) * 2 for side in sides]
    if padding == 'same':
        pads = lax.padtype_to_pads(image.shape[1:3], sides, strides, 'SAME')

    def ordinary(image, kernel, pads):
        return lax.conv_general_dilated(
            image,
            kernel,
            strides,
            pads,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=groups,
        )

    def convolved(image, kernel, pads):
        return substituted(partial(ordinary, pads=pads), image, kernel)

    return spatial.windows(convolved, image, kernel, stride, pads)


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


def with_ordinary(function: Callable) -> Callable:
    """`function` with ordinary convolutions, also inside of loops and branches.

    For programs that leave this project: for no platform do they have the lowering of this file.
    """

    def replaced(*args):
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        closed = closed.replace(jaxpr=_replace(closed.jaxpr))
        leaves = jaxpr_as_fun(closed)(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    return replaced


def _replace(value):
    """A jaxpr, or a parameter of an equation, with ordinary_p in place of convolution_p."""
    if isinstance(value, ClosedJaxpr):
        return value.replace(jaxpr=_replace(value.jaxpr))
    if isinstance(value, Jaxpr):
        return value.replace(
            eqns=[
                equation.replace(
                    primitive=ordinary_p
                    if equation.primitive is convolution_p
                    else equation.primitive,
                    params={name: _replace(inner) for name, inner in equation.params.items()},
                )
                for equation in value.eqns
            ]
        )
    if type(value) in (tuple, list):  # Not a NamedTuple.
        return type(value)(map(_replace, value))
    return value


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


convolution_p.def_impl(ordinary_p.bind)
convolution_p.def_abstract_eval(
    lambda lhs, rhs, **params: ordinary_p.abstract_eval(lhs, rhs, **params)[0]
)
ad.defbilinear(convolution_p, transpose_lhs, transpose_rhs)
batching.primitive_batchers[convolution_p] = batch
mlir.register_lowering(convolution_p, mlir.lower_fun(ordinary_p.bind, multiple_results=False))
mlir.register_lowering(
    convolution_p, mlir.lower_fun(conv_on_cpu.lower, multiple_results=False), platform='cpu'
)


class Conv(nn.Module):
    """Convolution, [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features].

    dtype: None computes in the promoted type of input and kernel; a name casts both to it first.
    padding, groups: as for `convolve`; groups = C = features is a depthwise convolution.
    kernel_init: initializer of the kernel.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    bias: bool = False
    dtype: str | None = None
    padding: str = 'same'
    groups: int = 1
    kernel_init: Callable = layers.conv_init

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.features)
        scale = self.groups**0.5  # counts the outputs of one group only as fan-out
        kernel = self.param('kernel', lambda *args: scale * self.kernel_init(*args), shape)
        dtype = self.dtype or jnp.promote_types(x.dtype, kernel.dtype)
        y = convolve(x.astype(dtype), kernel.astype(dtype), self.stride, self.padding, self.groups)
        if self.bias:
            y += self.param('bias', nn.initializers.zeros, (self.features,)).astype(dtype)
        return y
