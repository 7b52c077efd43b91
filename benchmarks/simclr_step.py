"""Our step of SimCLR with the fast network, one side of torch_simclr.py. Knows no torch."""

import jax
import numpy as np

from benchmarks import jax_side
from benchmarks.jax_side import SIZES
from mpl.algorithms import simclr
from mpl.models import fast_cnn, projector
from mpl.models.network import Definition
from mpl.optimizers import sgd
from mpl.run import command


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
    """See jax_side.make_run."""
    return jax_side.make_run(make_learner(rule), named(views), steps)


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
    """The state with noise on all weights and on the fixed filters."""

    def shake(net):
        stats = net.batch_stats
        if 'whitening' in stats:
            stats = stats | {'whitening': jax_side.add_noise(stats['whitening'], key)}
        return net.replace(params=jax_side.add_noise(net.params, key), batch_stats=stats)

    return state._replace(nets={role: shake(net) for role, net in state.nets.items()})


def in_torch(state) -> dict[str, dict[str, np.ndarray]]:
    """By role arrays as torch_simclr_step names them; not the head's, which is not trained."""
    return {
        role: {
            name: array
            for name, array in jax_side.in_torch(net).items()
            if not name.startswith('head.')
        }
        for role, net in state.nets.items()
    }
