"""FLOPs of the convolutions and matrix products of a program, from its trace."""

import math
from typing import Any


def count(jaxpr: Any) -> int:
    """FLOPs over all devices, two for each product; what a loop repeats counts as often as it turns.

    The compiler's own count takes the body of a loop once, adds elementwise work, and leaves out
    products with padding, which are counted here. Of several branches the dearest one counts; loops
    of unknown length count once.

    Args:
      jaxpr: as jax.make_jaxpr gives it, or the `jaxpr` of what a jitted function's `trace` gives.
    """
    total = 0
    for equation in getattr(jaxpr, 'jaxpr', jaxpr).eqns:
        name, numbers = equation.primitive.name, equation.params
        if name == 'dot_general':
            (contracted, _), _ = numbers['dimension_numbers']
            shape = equation.invars[0].aval.shape
            total += 2 * _results(equation) * math.prod(shape[axis] for axis in contracted)
        elif name in ('conv_general_dilated', 'convolution'):  # the second is mpl.models.conv's
            kernel = equation.invars[1].aval.shape
            taps = math.prod(kernel) // kernel[numbers['dimension_numbers'].rhs_spec[0]]
            # Of an image with zeros between its rows, as in the gradient of a stride.
            total += 2 * _results(equation) * taps // math.prod(numbers['lhs_dilation'])
        elif name == 'cond':
            total += max(count(branch) for branch in numbers['branches'])
        else:
            total += _repeats(name, numbers) * sum(map(count, _inside(numbers)))
    return total


def _results(equation):
    return math.prod(equation.outvars[0].aval.shape)


def _repeats(name, numbers):
    if name == 'scan':
        return numbers['length']
    return (
        numbers['mesh'].size if name == 'shard_map' else 1
    )  # where shapes are those of one device


def _inside(numbers):
    """The programs among the parameters of an operation."""
    for value in numbers.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if hasattr(getattr(one, 'jaxpr', one), 'eqns'):
                yield one
