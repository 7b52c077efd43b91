"""Our step of SimCLR with the fast network, one side of torch_simclr.py. Knows no torch."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.mpl_step import peak_memory, torch_name
from mpl.algorithms import simclr
from mpl.algorithms.interface import Sizes
from mpl.models import fast_cnn, projector
from mpl.models.network import Definition
from mpl.optimizers import sgd
from mpl.run import command

SIZES = Sizes(0, 0, 10)  # The rule remembers nothing of the examples.

__all__ = ['check', 'make_run', 'peak_memory']


def make_learner(rule: dict) -> simclr.Algorithm:
    """Our algorithm under the rule of torch_simclr.py."""
    models = {
        'student': fast_cnn.make(10, rule['channels']),
        'projector': projector.make(rule['widths']),
    }
    optimizer = sgd.make(
        10**6, rule['learning_rate'], 'constant', weight_decay=rule['weight_decay']
    )
    networks = {role: Definition(model, optimizer) for role, model in models.items()}
    return simclr.make(**networks, temperature=rule['temperature'])


def named(views: list[np.ndarray]) -> dict:
    return {'unlabeled': {f'view_{n}': view for n, view in enumerate(views)}}


def make_run(rule: dict, views: list[np.ndarray], steps: int):
    """For timing: a function that takes some steps, all done when it returns; and the device."""
    learner = make_learner(rule)
    placed, key = jax.device_put(named(views)), jax.random.key(0)
    state = jax.jit(lambda key: learner.init(key, placed, SIZES))(key)

    def take(state, placed, key):  # In one call, as training does: a loop of the program.
        return jax.lax.scan(
            lambda state, step: learner.update(state, placed, step, key), state, jnp.arange(steps)
        )

    program = jax.jit(take, donate_argnums=0).lower(state, placed, key).compile()

    def run():
        nonlocal state
        state, _ = program(state, placed, key)
        jax.block_until_ready(state)

    return run, jax.devices()[0].device_kind


def check(rule: dict, views: list[np.ndarray], steps: int) -> dict:
    """The first steps, and what the other side needs to take the same ones; as mpl_step.check."""
    command.cache()
    learner = make_learner(rule)
    state = jax.jit(lambda key: begin(learner.init(key, named(views), SIZES), key))(
        jax.random.key(0)
    )
    before, metrics, update = in_torch(state), [], jax.jit(learner.update)
    for step in range(steps):
        state, line = update(state, named(views), step, jax.random.key(step))
        metrics.append({'loss': float(line['loss/unlabeled'])})
    return {'before': before, 'metrics': metrics, 'after': in_torch(state)}


def begin(state, key: jax.Array):
    """The state with noise on all weights and fixed filters; else all norms were alike."""

    def shake(tree):
        leaves, structure = jax.tree.flatten(tree)
        keys = jax.random.split(key, len(leaves))
        return structure.unflatten(
            leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)
        )

    def changed(net):
        stats = net.batch_stats
        if 'whitening' in stats:
            stats = stats | {'whitening': shake(stats['whitening'])}
        return net.replace(params=shake(net.params), batch_stats=stats)

    return state._replace(nets={role: changed(net) for role, net in state.nets.items()})


def in_torch(state) -> dict[str, dict[str, np.ndarray]]:
    """By role parameters and statistics as torch_simclr_step names them; not the head, which is not trained."""
    return {
        role: dict(
            torch_name(path, leaf)
            for tree in (net.params, net.batch_stats)
            for path, leaf in jax.tree.leaves_with_path(tree)
            if path[0].key != 'head'
        )
        for role, net in state.nets.items()
    }
