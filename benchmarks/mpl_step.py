"""Our step of Meta Pseudo Labels, one side of torch_mpl.py. Knows no torch."""

import jax
import numpy as np

from benchmarks import jax_side
from benchmarks.jax_side import SIZES
from mpl.algorithms import bilevel, mpl
from mpl.models import wide_resnet
from mpl.models.network import Definition, Variables
from mpl.optimizers import sgd
from mpl.run import command


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
    return mpl.make(definition, definition, labels=labels, target_pass='joined', **rule)


def named(batch: list[np.ndarray]) -> dict:
    image, label, weak, strong = batch
    return {
        'labeled': {'image': image, 'label': label},
        'unlabeled': {'weak': weak, 'strong': strong},
    }


def make_run(rule: dict, depth: int, width: int, batch: list, dtype: str, compile: str, steps: int):
    """See jax_side.make_run; `compile` is for the other side."""
    return jax_side.make_run(make_learner(rule, depth, width, dtype), named(batch), steps)


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


def begin(state: bilevel.State, key: jax.Array) -> bilevel.State:
    """The state with noise on all parameters."""

    def shake(net, key):
        params = jax_side.add_noise(net.params, key)
        return net.replace(
            params=params, ema=None if net.ema is None else Variables(params, net.batch_stats)
        )

    teacher, student = jax.random.split(key)
    return state.replace(
        teacher=shake(state.teacher, teacher), student=shake(state.student, student)
    )


def in_torch(state: bilevel.State) -> dict[str, dict[str, np.ndarray]]:
    """Every network's arrays as torch_step.WideResNet names them."""
    nets = {'teacher': state.teacher, 'student': state.student, 'student_ema': state.student.ema}
    return {role: jax_side.in_torch(net) for role, net in nets.items()}
