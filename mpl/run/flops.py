"""FLOPs of the convolutions and matrix products of a program, from its jaxpr."""

import math
from typing import Any

import jax

from mpl.run.experiment import Experiment


def of_step(experiment: Experiment) -> int:
    """FLOPs of one update of the algorithm, counted in its trace; those of the views are not in it."""
    # Without the places of arrays, so that the trace is the one that `experiment.assemble` has made.
    state = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), experiment.state)
    update = jax.make_jaxpr(experiment.algorithm.update)
    return count(update(state, experiment.batch, 0, jax.random.key(0)))


def count(jaxpr: Any) -> int:
    """FLOPs over all devices, two per multiply-add; loop bodies count once per iteration.

    The compiler's own count takes loop bodies once, adds elementwise operations, and leaves out
    products with padding, which are counted here. The most expensive of several branches counts;
    loops of unknown length count once.

    Args:
      jaxpr: from jax.make_jaxpr, or the `jaxpr` of a jitted function's `trace`.
    """
    total = 0
    for equation in getattr(jaxpr, 'jaxpr', jaxpr).eqns:
        name, params = equation.primitive.name, equation.params
        if name == 'dot_general':
            (contracted, _), _ = params['dimension_numbers']
            shape = equation.invars[0].aval.shape
            total += 2 * _results(equation) * math.prod(shape[axis] for axis in contracted)
        elif name in ('conv_general_dilated', 'convolution'):  # the second is mpl.models.conv's
            kernel = equation.invars[1].aval.shape
            taps = math.prod(kernel) // kernel[params['dimension_numbers'].rhs_spec[0]]
            # A dilated input, as in the gradient of a strided convolution, has zeros between rows.
            total += 2 * _results(equation) * taps // math.prod(params['lhs_dilation'])
        elif name == 'cond':
            total += max(count(branch) for branch in params['branches'])
        else:
            total += _repeats(name, params) * sum(map(count, _inside(params)))
    return total


def _results(equation):
    return math.prod(equation.outvars[0].aval.shape)


def _repeats(name, params):
    if name == 'scan':
        return params['length']
    # In a shard_map shapes are those of one device.
    return params['mesh'].size if name == 'shard_map' else 1


def _inside(params):
    """The jaxprs among the parameters of an equation."""
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if hasattr(getattr(one, 'jaxpr', one), 'eqns'):
                yield one
