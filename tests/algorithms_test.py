"""The contract that every file of mpl/algorithms keeps."""

import functools
import importlib
import inspect
import pkgutil
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from flax import linen as nn
from jax.sharding import AbstractMesh

from mpl import algorithms
from mpl.algorithms import interface as algorithm
from mpl.models import projector
from mpl.models.network import Definition, Network
from mpl.optimizers import sgd

CLASSES = 3
SIZES = algorithm.Sizes(examples=7, unlabeled=6, classes=CLASSES)
LARGER = algorithm.Sizes(examples=13, unlabeled=12, classes=CLASSES)  # for queues of two batches

# Numbers beside the defaults with which to hold each algorithm to the contract.
VARIANTS = {
    'mpl': [
        {'feedback': 'exact'},
        {'feedback': 'per_example', 'labels': 'sampled'},
        {'feedback': 'dot', 'labels': 'sampled'},
        {'feedback': 'cosine', 'labels': 'sampled'},
        {'feedback': 'difference', 'labels': 'sampled'},
        {'feedback': 'off', 'labels': 'soft'},
        {'feedback': 'exact', 'target_pass': 'joined'},
        {'feedback': 'exact', 'label_view': 'weak'},
        {'feedback': 'exact', 'feedback_statistics': 'student'},
    ],
    'barlow_twins': [{}],
    'byol': [{}, {'targets': 'averaged'}],
    'dino': [{}],
    'distill': [{}, {'teacher': None}],
    'fixmatch': [{'threshold': 0.0}, {'threshold': 0.0, 'target_pass': 'joined'}],
    'flexmatch': [{}, {'target_pass': 'joined'}],
    'freematch': [{}, {'target_pass': 'joined'}],
    'mean_teacher': [{}],
    'moby': [{'queue': 6}],
    'mobyv2al': [{'queue': 6}],
    'moco': [{'queue': 6}, {'queue': 6, 'keys': 'batch'}],
    'moco_v3': [{}],
    'noisy_student': [{}, {'labels': 'hard'}],
    'pi_model': [{}, {'two_sided': True}, {'target_pass': 'joined'}],
    'pseudo_label': [{'threshold': 0.0}],
    'reduced_mpl': [{}, {'feedback': 'dot', 'labels': 'sampled'}],
    'rotation': [{}],
    's4l': [{}],
    'simclr': [{}, {'labeled_weight': 1.0}],
    'simsiam': [{}],
    'softmatch': [{}, {'align': False}, {'target_pass': 'joined'}],
    'supcon': [{'temperature': 1.0}],
    'supervised': [{}],
    'temporal_ensembling': [{}],
    'uda': [
        {'threshold': 0.0},
        {'threshold': 0.0, 'target_pass': 'joined'},
        {'threshold': 0.0, 'target_pass': 'averaged', 'ema_decay': 0.5},
        {'threshold': 0.0, 'annealing': 'log', 'annealing_steps': 1},
    ],
    'vat': [{'iterations': 2}, {'entropy_weight': 1.0}],
    # A fiftieth of the paper's weights: the tests' learning rate is too high for them.
    'vicreg': [{'invariance_weight': 0.5, 'variance_weight': 0.5, 'covariance_weight': 0.02}],
}

# Of each knob: numbers of the base run, and the other value.
SHARP = {'temperature': 0.05, 'threshold': 0.9, 'mask_sharpened': True}
UDA = {
    'weight': ({}, 2.0),
    'temperature': ({}, 0.1),
    'threshold': ({}, 0.99),
    'mask_sharpened': (SHARP, False),
    'ramp_steps': ({}, 10),
}
TARGETS = {'target_pass': ({}, 'joined')}
COMMON = {'label_smoothing': ({}, 0.2), 'ema_decay': ({'ema_decay': 0.5}, 0.9)}
PRETRAINING = {  # the common arguments of self-supervised rules
    'ema_decay': ({'ema_decay': 0.5}, 0.9),
    'labeled_weight': ({}, 0.5),
    'probe_rate': ({}, 0.5),
}
TARGETED = PRETRAINING | {'ema_steps': ({}, 4)}
QUEUED = TARGETED | {
    'queue': ({'queue': 6}, 12),
    'temperature': ({'queue': 6}, 1.0),
    'keys': ({'queue': 6}, 'batch'),
}
KNOBS = {
    'mpl': COMMON
    | TARGETS
    | {
        'feedback': ({}, 'off'),
        'feedback_weight': ({}, -1.0),
        'labels': ({'feedback': 'off'}, 'sampled'),
        'label_view': ({}, 'weak'),
        'baseline_decay': ({'feedback': 'dot', 'labels': 'sampled'}, 0.5),
        'student_statistics': ({}, 'joint'),
        'student_labeled_weight': ({'student_statistics': 'joint'}, 1.0),
        'feedback_statistics': ({}, 'student'),
    }
    | {
        f'uda_{knob}': ({f'uda_{name}': value for name, value in base.items()}, other)
        for knob, (base, other) in UDA.items()
    },
    'barlow_twins': PRETRAINING | {'redundancy_weight': ({}, 1.0), 'scale': ({}, 0.1)},
    'byol': TARGETED | {'targets': ({}, 'averaged')},
    'dino': TARGETED
    | {
        'temperature': ({}, 0.5),
        'target_temperature': ({}, 0.1),
        'center_decay': ({}, 0.1),
        'freeze_steps': ({}, 2),
    },
    'distill': COMMON | {'weight': ({}, 0.9), 'temperature': ({}, 1.0)},
    'fixmatch': COMMON | TARGETS | {'weight': ({}, 2.0), 'threshold': ({}, 0.99)},
    'flexmatch': COMMON | TARGETS | {'weight': ({}, 2.0), 'threshold': ({'weight': 30.0}, 0.5)},
    'freematch': COMMON
    | TARGETS
    | {'weight': ({}, 2.0), 'fairness_weight': ({}, 1.0), 'memory_decay': ({}, 0.1)},
    'mean_teacher': COMMON | {'weight': ({}, 2.0), 'ramp_steps': ({}, 10)},
    'moby': QUEUED,
    'mobyv2al': {key: QUEUED[key] for key in QUEUED if key not in ('labeled_weight', 'probe_rate')}
    | {'contrast_weight': ({}, 2.0)},
    'moco': QUEUED,
    'moco_v3': TARGETED | {'temperature': ({}, 0.2)},
    'noisy_student': COMMON
    | {'labels': ({}, 'hard'), 'temperature': ({}, 3.0), 'weight': ({}, 2.0)},
    'pi_model': COMMON
    | TARGETS
    | {'weight': ({}, 2.0), 'ramp_steps': ({}, 10), 'two_sided': ({}, True)},
    'pseudo_label': COMMON
    | {
        'weight': ({}, 2.0),
        'threshold': ({}, 0.99),
        'wait_steps': ({}, 2),
        'ramp_steps': ({}, 10),
    },
    'reduced_mpl': COMMON
    | {
        'feedback': ({}, 'off'),
        'feedback_weight': ({}, -1.0),
        'labels': ({'feedback': 'off'}, 'sampled'),
        'baseline_decay': ({'feedback': 'dot', 'labels': 'sampled'}, 0.5),
        'teacher_labeled_weight': ({}, 2.0),
        'student_statistics': ({}, 'joint'),
    },
    'rotation': PRETRAINING,
    's4l': COMMON | {'weight': ({}, 2.0)},
    'simclr': PRETRAINING | {'temperature': ({}, 1.0)},
    'simsiam': PRETRAINING,
    'softmatch': COMMON
    | TARGETS
    | {
        'weight': ({}, 2.0),
        'deviations': ({'memory_decay': 0.1}, 20.0),
        'align': ({'memory_decay': 0.1, 'deviations': 20.0}, False),
        'memory_decay': ({}, 0.1),
    },
    'supcon': PRETRAINING | {'temperature': ({}, 1.0), 'weight': ({}, 2.0)},
    'supervised': COMMON,
    'temporal_ensembling': COMMON
    | {'weight': ({}, 2.0), 'memory_decay': ({}, 0.1), 'ramp_steps': ({}, 10)},
    'uda': COMMON
    | TARGETS
    | UDA
    | {
        'annealing': ({'annealing_steps': 10}, 'linear'),
        'annealing_steps': ({'annealing': 'linear'}, 100),
    },
    'vat': COMMON
    | {
        'weight': ({}, 2.0),
        'radius': ({}, 1.0),
        'iterations': ({}, 2),
        'entropy_weight': ({}, 1.0),
        'ramp_steps': ({}, 10),
    },
    'vicreg': PRETRAINING
    | {
        'invariance_weight': ({}, 1.0),
        'variance_weight': ({}, 1.0),
        'covariance_weight': ({}, 25.0),
    },
}
BASE = dict.fromkeys(VARIANTS, {}) | {
    'mpl': {'uda_threshold': 0.0},
    'fixmatch': {'threshold': 0.0},
    'moby': {'queue': 6},
    'mobyv2al': {'queue': 6},
    'moco': {'queue': 6},
    'pseudo_label': {'threshold': 0.0},
    'uda': {'threshold': 0.0},
}
# Which put two views of an example, or a view and its number, together.
UNPAIRED = {
    'distill',
    'noisy_student',
    'pseudo_label',
    'reduced_mpl',
    'rotation',
    's4l',
    'supervised',
    'vat',
}
PAIRED = set(VARIANTS) - UNPAIRED
# Whose teacher, or whose target network, is the average.
AVERAGED = ('mean_teacher', 'byol', 'dino', 'moby', 'mobyv2al', 'moco', 'moco_v3')
HEADS = ('projector', 'predictor', 'classifier')  # roles of networks on features
SHAPING = ('labeled_weight', 'queue')  # numbers that the state's shapes depend on
# Files of the folder that are no learning rules.
PARTS = (
    'bilevel',
    'contrast',
    'feedback',
    'interface',
    'losses',
    'pretext',
    'pretraining',
    'queues',
    'student_step',
    'target_network',
)
# Rules of images with tiles, a hole or colors, held to the contract in algorithms_pretext_test.py.
ELSEWHERE = ('colorization', 'inpainting', 'jigsaw')


pytestmark = pytest.mark.usefixtures('fast_compile')


class Tiny(nn.Module):
    """One hidden layer, in which no parameter is idle."""

    norm: bool = False
    dropout: float = 0.0
    dtype: str | None = None

    @nn.compact
    def __call__(self, image, train):
        image = image.reshape(len(image), -1)
        x = nn.Dense(5, use_bias=not self.norm, dtype=self.dtype)(image)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.tanh(x)).astype(jnp.float32)
        return x, nn.Dense(CLASSES, name='head')(x)


def discover():
    """The `make` of every file of the folder that is a learning rule."""
    return {
        found.name: importlib.import_module(f'mpl.algorithms.{found.name}').make
        for found in pkgutil.iter_modules(algorithms.__path__)
        if found.name not in PARTS + ELSEWHERE
    }


MAKES = discover()
ALL = [(name, numbers) for name in MAKES for numbers in VARIANTS[name]]
ONE_EACH = [(name, VARIANTS[name][0]) for name in MAKES]


def roles(name):
    """Parameters of `make` that are networks, with those it can do without."""
    parameters = inspect.signature(MAKES[name]).parameters.values()
    return [p.name for p in parameters if p.annotation in (Definition, Definition | None)]


def knobs(name):
    """Parameters of `make` that are no networks."""
    return [p for p in inspect.signature(MAKES[name]).parameters if p not in roles(name)]


def build(name, numbers, shards=1, **model):
    mesh = AbstractMesh((shards, 1), ('data', 'model'))
    norm = 'batch' if 'norm' in model and model['norm'] else 'none'
    head = projector.make((6, 4), 'tanh', norm, prototypes=5 if name == 'dino' else 0)
    definitions = {
        role: Definition(head if role in HEADS else Tiny(**model), sgd.make(2000, 0.25), mesh)
        for role in roles(name)
    }
    return MAKES[name](**(definitions | numbers))


def starting(name, learner):
    return functools.partial(learner.init, sizes=LARGER if 'queue' in BASE[name] else SIZES)


def make_batch(step=0):
    """Unlabeled examples carry no label, by the contract."""
    draw = np.random.default_rng(step)
    image, weak, strong = (draw.normal(size=(n, 2, 2, 1)).astype(np.float32) for n in (4, 6, 6))
    label = draw.integers(0, CLASSES, 4).astype(np.int32)
    said = [draw.normal(size=(n, CLASSES)).astype(np.float32) for n in (4, 6)]
    return {
        'labeled': {
            'image': image,
            'label': label,
            'index': np.arange(4, dtype=np.int32),
            'logits': said[0],
        },
        'unlabeled': {
            'weak': weak,
            'strong': weak + strong,
            'view_0': weak,
            'view_1': weak + strong,
            'index': np.arange(6, dtype=np.int32),
            'logits': said[1],
        },
    }


KEY = jax.random.key(0)
BATCHES = jax.tree.map(lambda *x: np.stack(x), *map(make_batch, range(3)))


def train(learner, first=0):
    """A function of state, seed and batches: the state after three steps, metrics [3] of each."""

    def body(state, inputs):
        return learner.update(state, *inputs)

    @jax.jit
    def scan(state, inputs):
        return jax.lax.scan(body, state, inputs)

    def run(state, seed=0, batches=BATCHES):
        keys = jax.random.split(jax.random.key(seed), 3)
        return scan(state, (batches, first + jnp.arange(3), keys))

    return run


def start(name, ema_decay=0.0, numbers={}, **model):
    """A state as new; of the numbers of `make`, it may depend on this one and on SHAPING alone."""
    kept = {key: n for key, n in numbers.items() if key in SHAPING or key in roles(name)}
    return _start(name, ema_decay, tuple(kept.items()), **model)


@functools.cache
def _start(name, ema_decay, kept, **model):
    if name in AVERAGED:
        ema_decay = ema_decay or 0.5
    learner = build(name, {'ema_decay': ema_decay} | dict(kept), **model)
    state = jax.jit(starting(name, learner))(jax.random.key(0), make_batch())
    return jax.tree.map(np.array, state)


def nets(state):
    leaves = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Network))
    return [leaf for leaf in leaves if isinstance(leaf, Network)]


def distance(one, two):
    gaps = jax.tree.map(lambda a, b: np.abs(np.array(a) - np.array(b)).max(), one, two)
    return max(jax.tree.leaves(gaps))


def weights(state):
    """All that the next batch is seen with, averages included."""
    return [(net.params, net.ema) for net in nets(state)]


def test_tables_are_complete():
    assert set(VARIANTS) == set(KNOBS) == set(BASE) == set(MAKES)
    assert {name: set(KNOBS[name]) for name in MAKES} == {name: set(knobs(name)) for name in MAKES}
    assert {'mpl', 'pseudo_label', 'supervised', 'uda'} <= set(MAKES)


@pytest.mark.parametrize('name, numbers', ONE_EACH, ids=str)
def test_labels_may_be_distributions(name, numbers):
    """One-hot labels teach what their numbers teach; mixed ones teach something else."""
    update = jax.jit(build(name, numbers).update)
    batch, before = make_batch(), start(name, numbers=numbers)
    label = np.eye(CLASSES, dtype=np.float32)[batch['labeled']['label']]
    states = [
        update(before, batch | {'labeled': batch['labeled'] | {'label': given}}, 0, KEY)
        for given in (batch['labeled']['label'], label, (label + label[::-1]) / 2)
    ]
    plain, hot, mixed = ((weights(state), metrics) for state, metrics in states)
    assert distance(plain, hot) < 1e-6 < 1e-4 < distance(plain, mixed)


@functools.cache
def full(name, number):
    """A rule with the numbers of one of its VARIANTS and everything on, and its compiled steps."""
    numbers = VARIANTS[name][number] | {'ema_decay': 0.9}
    learner = build(name, numbers, norm=True, dropout=0.3)
    return learner, train(
        learner
    )  # lax.scan refuses a state whose structure, shapes or dtypes change


@pytest.mark.parametrize('name, numbers', ALL, ids=str)
def test_contract(name, numbers):
    learner, run = full(name, VARIANTS[name].index(numbers))
    before = start(name, 0.9, numbers, norm=True, dropout=0.3)
    after, metrics = run(before)

    assert metrics and all(isinstance(key, str) for key in metrics)
    values = list(metrics.values())
    chex.assert_type(values, jnp.float32)
    chex.assert_shape(values, (3,))
    chex.assert_tree_all_finite(metrics)

    assert nets(before)
    for old, new in zip(nets(before), nets(after), strict=True):
        for part in ('params', 'batch_stats', 'ema'):
            for (path, a), b in zip(
                jax.tree.leaves_with_path(getattr(old, part)),
                jax.tree.leaves(getattr(new, part)),
                strict=True,
            ):
                assert not np.array_equal(a, b), (part, path)

    same, again = run(before)
    chex.assert_trees_all_equal((after, metrics), (same, again))
    other, _ = run(before, seed=1)
    assert distance(weights(after), weights(other)) > 1e-3

    frozen = learner.networks(after)
    average = 'student_target' if name in AVERAGED and name != 'mean_teacher' else 'student_ema'
    assert {'student', average} <= set(frozen)
    image = jnp.ones((7, 2, 2, 1)) * jnp.arange(7.0)[:, None, None, None]
    outputs = jax.jit(lambda state: algorithm.predict(learner, state, image))(after)
    assert set(outputs) == set(frozen)
    for output in outputs.values():
        chex.assert_shape([output.features, output.logits], [(7, 5), (7, CLASSES)])
        chex.assert_type(output.logits, jnp.float32)
    assert len({np.array(output.logits).tobytes() for output in outputs.values()}) == len(outputs)


class Variants(chex.TestCase):
    """Three updates one by one are those of the loop, which scans them.

    Without jit too, where every operation is compiled by itself: for rules whose parts all others have.
    """

    @chex.variants(with_jit=True)
    @parameterized.parameters(*MAKES)
    def test_update(self, name):
        self.check(name)

    @chex.variants(without_jit=True)
    @parameterized.parameters('mpl', 'uda', 'moco', 'byol')
    def test_update_eagerly(self, name):
        self.check(name)

    def check(self, name):
        learner, run = full(name, 0)
        before = start(name, 0.9, VARIANTS[name][0], norm=True, dropout=0.3)
        state = jax.tree.map(jnp.asarray, before)
        wanted, metrics = run(state)
        update = self.variant(learner.update)
        for step, key in enumerate(jax.random.split(jax.random.key(0), 3)):
            state, got = update(state, make_batch(step), step, key)
            expected = {name: value[step] for name, value in metrics.items()}
            chex.assert_trees_all_equal_shapes_and_dtypes(got, expected)
            chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_equal_shapes_and_dtypes(state, wanted)
        chex.assert_trees_all_close(state, wanted, rtol=1e-4, atol=1e-5)


GAPS = (0.0, 100.0, 1e4)  # between logits
HEAD, LAST = re.compile("'head'"), re.compile(r"'head'|'dense_1'")  # layers
UNBOUNDED = ('vicreg',)  # its loss grows with the fourth power of embeddings, and its steps with it


def force(name, state, gap, alike):
    """The state with networks whose logits are about `gap` apart: one class for all images, or not."""

    last = HEAD if name in UNBOUNDED else LAST

    def scale(path, leaf):
        leaf_name = jax.tree_util.keystr(path)
        if 'params' not in leaf_name or not last.search(leaf_name) or 'opt_state' in leaf_name:
            return leaf
        if leaf.ndim == 2:
            return leaf * (0 if alike else gap)
        return gap * np.arange(len(leaf), dtype=leaf.dtype) if alike else leaf

    return jax.tree_util.tree_map_with_path(scale, state)


def teach(batch, gap):
    """The batch with a teacher's logits so far apart."""
    return {part: one | {'logits': one['logits'] * np.float32(gap)} for part, one in batch.items()}


@pytest.mark.parametrize('gap', GAPS)
@pytest.mark.parametrize('name, numbers', ALL, ids=str)
def test_extreme_logits_leave_everything_finite(name, numbers, gap):
    """Steps 0, 1 and 2 of networks that are sure from the start, of one class or of several."""
    _, run = full(name, VARIANTS[name].index(numbers))
    for alike in (True, False):
        before = force(name, start(name, 0.9, numbers, norm=True, dropout=0.3), gap, alike)
        chex.assert_tree_all_finite(run(before, batches=teach(BATCHES, gap)))


@pytest.mark.parametrize('name', MAKES)
def test_same_key_same_start(name):
    learner = build(name, BASE[name] | {'ema_decay': 0.9}, norm=True)
    init = jax.jit(starting(name, learner))
    one, same, other = (init(jax.random.key(seed), make_batch()) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(one, same)
    assert distance(weights(one), weights(other)) > 0.1
    for net in nets(one):
        if net.ema is not None:
            chex.assert_trees_all_equal(net.ema.params, net.params)


@pytest.mark.parametrize(
    'name, numbers', [one for one in ONE_EACH if one[0] not in AVERAGED], ids=str
)
def test_no_average_is_kept_or_reported_unless_asked_for(name, numbers):
    learner = build(name, numbers)
    state = jax.eval_shape(starting(name, learner), jax.random.key(0), make_batch())
    assert all(net.ema is None for net in nets(state))
    assert not any(key.endswith(('_ema', '_target')) for key in learner.networks(state))


def test_supervised_needs_no_unlabeled_examples():
    learner, batch = build('supervised', {}), {'labeled': make_batch()['labeled']}
    state = jax.eval_shape(starting('supervised', learner), jax.random.key(0), batch)
    jax.eval_shape(learner.update, state, batch, 0, jax.random.key(0))


# Of the others, vat draws a direction for each row.
@pytest.mark.parametrize('name, numbers', [one for one in ONE_EACH if one[0] != 'vat'], ids=str)
def test_order_of_unlabeled_examples_does_not_matter_but_their_pairing_does(name, numbers):
    run = train(build(name, numbers))
    order = np.array([3, 0, 5, 1, 4, 2])
    views = BATCHES['unlabeled']
    turned = {key: view[:, order] for key, view in views.items()}
    before = start(name, numbers=numbers)
    one, _ = run(before)
    two, _ = run(before, batches=BATCHES | {'unlabeled': turned})
    whole = {key: views[key] for key in ('weak', 'view_0')}
    torn, _ = run(before, batches=BATCHES | {'unlabeled': turned | whole})
    assert distance(weights(one), weights(two)) < 1e-5
    assert (distance(one, torn) > 1e-4) == (name in PAIRED)


@pytest.mark.parametrize('name, numbers', ONE_EACH, ids=str)
def test_number_of_shards_changes_the_order_of_rows_alone(name, numbers):
    one, two = (
        train(build(name, numbers, shards, norm=True))(start(name, numbers=numbers, norm=True))
        for shards in (1, 2)
    )
    assert distance(one, two) < 1e-4


@functools.cache
def trained(name, first, norm, **numbers):
    numbers = {'ema_decay': 0.5 if name in AVERAGED else 0.0} | BASE[name] | numbers
    before = start(name, numbers['ema_decay'], numbers, norm=norm)
    state, _ = train(build(name, numbers, norm=norm), first)(before)
    return jax.tree.map(np.array, weights(state))


# The common arguments of self-supervised rules act in one function: two rules stand for all.
OWN = [
    (name, knob)
    for name in MAKES
    for knob in knobs(name)
    if knob not in {*PRETRAINING, 'ema_steps'} or 'projector' not in roles(name)
]
COMMON_ONES = [('simclr', knob) for knob in PRETRAINING] + [('byol', 'ema_steps')]


@pytest.mark.parametrize('name, knob', OWN + COMMON_ONES)
def test_no_knob_is_dead(name, knob):
    """After three steps, or three late ones where the ramp of the average is past."""
    first = 1000 if knob == 'ema_decay' else 0
    numbers, other = KNOBS[name][knob]
    norm = knob in ('student_statistics', 'feedback_statistics', 'target_pass', 'keys', 'targets')
    one = trained(name, first, norm, **numbers)
    two = trained(name, first, norm, **{**numbers, knob: other})
    assert distance(one, two) > 1e-4
