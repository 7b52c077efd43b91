"""Our step of Meta Pseudo Labels, one side of torch_mpl.py. Knows no torch."""

import jax
import jax.numpy as jnp
import numpy as np

from mpl.algorithms import mpl
from mpl.algorithms.interface import Sizes
from mpl.models import wide_resnet
from mpl.models.network import Definition, Variables
from mpl.optimizers import sgd
from mpl.run import command

SIZES = Sizes(0, 0, 10)  # The rule remembers nothing of the examples.
NORM = {'bias': 'bias', 'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}


def make_learner(rule: dict, depth: int, width: int, dtype: str) -> mpl.Algorithm:
    """Our algorithm under the rule of torch_mpl.py."""
    rule = dict(rule)
    definition = Definition(
        wide_resnet.make(10, depth=depth, width=width, dtype=None if dtype == 'float32' else dtype),
        sgd.make(
            10**6, rule.pop('learning_rate'), 'constant', weight_decay=rule.pop('weight_decay')
        ),
    )
    labels = 'soft' if rule['feedback'] == 'exact' else 'sampled'
    return mpl.make(definition, definition, labels=labels, **rule)


def named(batch: list[np.ndarray]) -> dict:
    image, label, weak, strong = batch
    return {
        'labeled': {'image': image, 'label': label},
        'unlabeled': {'weak': weak, 'strong': strong},
    }


def make_run(rule: dict, depth: int, width: int, batch: list, dtype: str, compile: str, steps: int):
    """For timing: a function that takes some steps, all done when it returns; and the device."""
    learner = make_learner(rule, depth, width, dtype)
    placed, key = jax.device_put(named(batch)), jax.random.key(0)
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


def peak_memory() -> int | None:
    """Bytes on the GPU or TPU since its process began, or None on a CPU."""
    return (jax.local_devices()[0].memory_stats() or {}).get('peak_bytes_in_use')


def check(rule: dict, depth: int, width: int, batch: list[np.ndarray], steps: int) -> dict:
    """The first steps in float32, and what the other side needs to take the same ones.

    Returns:
      before, after: the networks' arrays under torch's names and in its layouts; metrics of each
      step; noises, the Gumbel noise that drew each step's labels.
    """
    command.cache()
    learner = make_learner(rule, depth, width, 'float32')
    state = jax.jit(lambda key: begin(learner.init(key, named(batch), SIZES), key))(
        jax.random.key(0)
    )
    before, metrics, noises, update = in_torch(state), [], [], jax.jit(learner.update)
    for step in range(steps):
        key = jax.random.key(step)
        state, line = update(state, named(batch), step, key)
        metrics.append({name: float(value) for name, value in line.items()})
        label_key = jax.random.split(key, 4)[3]  # as mpl.update splits it, to sample labels with
        noises.append(np.asarray(jax.random.gumbel(label_key, (len(batch[2]), 10))))
    return {'before': before, 'metrics': metrics, 'noises': noises, 'after': in_torch(state)}


def begin(state: mpl.State, key: jax.Array) -> mpl.State:
    """The state with noise on all parameters; else all norms were alike, and could be mixed up."""

    def shake(net, key):
        leaves, tree = jax.tree.flatten(net.params)
        keys = jax.random.split(key, len(leaves))
        params = tree.unflatten(
            leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)
        )
        return net.replace(
            params=params, ema=None if net.ema is None else Variables(params, net.batch_stats)
        )

    teacher, student = jax.random.split(key)
    return state.replace(
        teacher=shake(state.teacher, teacher), student=shake(state.student, student)
    )


def in_torch(state: mpl.State) -> dict[str, dict[str, np.ndarray]]:
    """Every network's parameters and running statistics as torch_step.WideResNet names them."""
    nets = {'teacher': state.teacher, 'student': state.student, 'student_ema': state.student.ema}
    return {
        role: dict(
            torch_name(*leaf)
            for tree in (net.params, net.batch_stats)
            for leaf in jax.tree.leaves_with_path(tree)
        )
        for role, net in nets.items()
    }


def torch_name(path, leaf) -> tuple[str, np.ndarray]:
    *layers, last = (entry.key for entry in path)
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[leaf.ndim]
    return '.'.join([*layers, NORM.get(last, 'weight')]), np.asarray(jnp.transpose(leaf, axes))
