"""Proofs of Meta Pseudo Labels: each estimator against autodiff or its closed form, in float64."""

import functools
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mpl.algorithms import bilevel, mpl, student_step, uda
from mpl.algorithms import feedback as feedbacks
from mpl.algorithms.interface import Sizes
from mpl.models import mlp
from mpl.models.network import Definition, Network
from mpl.optimizers import adamw, sgd

SIZES = Sizes(0, 0, 0)  # of no matter to rules that remember nothing
CLASSES = 3
SAMPLED = ('per_example', 'dot', 'cosine', 'difference')


@pytest.fixture
def x64(x64, fast_compile):
    """Float64, compiled fast."""


class Tiny(nn.Module):
    """One hidden layer, with batch norm and dropout on demand."""

    norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, image, train):
        x = nn.Dense(5)(image.reshape(len(image), -1))
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.tanh(x))
        return x, nn.Dense(CLASSES, name='head')(x)


def record():
    """An optimizer that moves nothing, and whose state is the last gradient."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda gradient, state, params: (jax.tree.map(jnp.zeros_like, params), gradient),
    )


def plain(rate):
    return sgd.make(100, rate, 'constant', momentum=0.0)


def make_batch(unlabeled=4, labeled=6, seed=0):
    draw = np.random.default_rng(seed)
    image, weak, strong = (draw.normal(size=(n, 1, 1, 4)) for n in (labeled, unlabeled, unlabeled))
    label = draw.integers(0, CLASSES, labeled)
    return {
        'labeled': {'image': jnp.array(image), 'label': jnp.array(label, jnp.int32)},
        'unlabeled': {'weak': jnp.array(weak), 'strong': jnp.array(1.5 * strong + 0.3)},
    }


@functools.cache
def initial(norm):
    """Float32 variables of two networks."""
    keys = jax.random.split(jax.random.key(1))
    init = jax.jit(lambda key: Tiny(norm).init(key, jnp.zeros((1, 1, 1, 4), jnp.float32), False))
    return [jax.tree.map(np.array, init(key)) for key in keys]


def start(teacher, student):
    """A float64 state in the midst of training: no slot of the student's optimizer is zero."""
    draw = np.random.default_rng(1)

    def create(definition, variables):
        variables = jax.tree.map(lambda x: jnp.asarray(x, float), variables)
        params, batch_stats = variables['params'], variables.get('batch_stats', {})
        opt_state = jax.tree.map(
            lambda x: jnp.array(draw.uniform(0.1, 1, x.shape) if x.ndim else 5, x.dtype),
            definition.optimizer.init(params),
        )
        return Network(params, batch_stats, opt_state, None)

    return bilevel.State(
        create(teacher, initial(teacher.model.norm)[0]),
        create(student, initial(student.model.norm)[1]),
        jnp.zeros((), jnp.float32),
    )


def feedback(teacher, student, batch, **knobs):
    """A function of state and key, of what feedback_weight 1 adds to the teacher's gradient.

    The teacher's optimizer is `record`. Beside the gradient come the metrics and
    the new student's params.
    """

    @jax.jit
    def update(weight, state, key):
        algorithm = mpl.make(teacher, student, feedback_weight=weight, **knobs)
        new, metrics = algorithm.update(state, batch, 5, jax.random.key(key))
        return new.teacher.opt_state, metrics, new.student.params

    def gradient(state, key=0):
        (on, metrics, params), (off, *_) = (update(weight, state, key) for weight in (1.0, 0.0))
        return jax.tree.map(jnp.subtract, on, off), metrics, params

    return gradient


def flat(tree):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def multiply(tree, factor):
    return jax.tree.map(lambda x: x * factor, tree)


def error(got, expected):
    got, expected = np.array(flat(got)), np.array(flat(expected))
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


# The mathematics a second time, from the modules themselves and by hand.


def run(definition, net, params, images):
    variables = {'params': params, 'batch_stats': net.batch_stats}
    return definition.model.apply(variables, images, train=True, mutable=['batch_stats'])[0][1]


def run_teacher(definition, net, params, batch, view, target_pass='separate'):
    """Logits of one view, normalized by the statistics of all images of its pass."""
    images = {'labeled': batch['labeled']['image'], **batch['unlabeled']}
    if target_pass == 'joined':
        names = ['labeled', 'weak', 'strong']
    else:
        names = ['labeled', 'strong'] if view == 'strong' else ['weak']
    logits = run(definition, net, params, jnp.concatenate([images[name] for name in names]))
    first = sum(len(images[name]) for name in names[: names.index(view)])
    return logits[first : first + len(images[view])]


def student_loss(definition, net, params, batch, target, smoothing):
    target = target * (1 - smoothing) + smoothing / CLASSES
    log_p = jax.nn.log_softmax(run(definition, net, params, batch['unlabeled']['strong']))
    return -(target * log_p).sum(1).mean()


def labeled_loss(definition, net, params, batch):
    log_p = jax.nn.log_softmax(run(definition, net, params, batch['labeled']['image']))
    return -log_p[jnp.arange(len(log_p)), batch['labeled']['label']].mean()


def slots(opt_state, kind):
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda s: isinstance(s, kind))
    (slot,) = (s for s in leaves if isinstance(s, kind))
    return slot


def hand_sgd(rate, momentum=0.0, nesterov=False, decay=0.0, clip=math.inf):
    def step(params, gradient, opt_state):
        g = jax.tree.map(lambda g, p: g + decay * p * (p.ndim > 1), gradient, params)
        if clip < math.inf:
            g = multiply(g, clip / jnp.linalg.norm(flat(g)))
        if momentum:
            old = slots(opt_state, optax.TraceState).trace
            trace = jax.tree.map(lambda m, x: momentum * m + x, old, g)
            g = jax.tree.map(lambda m, x: momentum * m + x, trace, g) if nesterov else trace
        return jax.tree.map(lambda p, x: p - rate * x, params, g)

    return step


def hand_adamw(rate, decay, beta1=0.9, beta2=0.999, epsilon=1e-8):
    def step(params, gradient, opt_state):
        old = slots(opt_state, optax.ScaleByAdamState)
        count = old.count + 1

        def move(p, g, mu, nu):
            mean = (beta1 * mu + (1 - beta1) * g) / (1 - beta1**count)
            square = (beta2 * nu + (1 - beta2) * g**2) / (1 - beta2**count)
            return p - rate * (mean / (jnp.sqrt(square) + epsilon) + decay * p * (p.ndim > 1))

        return jax.tree.map(move, params, gradient, old.mu, old.nu)

    return step


def hand_slowed(step, rate):
    """The step, of which all but the head goes only a part of the way."""

    def slowed(params, gradient, opt_state):
        new = step(params, gradient, opt_state)
        backbone = jax.tree.map(lambda p, q: p + rate * (q - p), params, new)
        return backbone | {'head': new['head']}

    return slowed


def hand_frozen(step):
    """The step of the head alone, in an optimizer that knows nothing of the rest."""

    def is_params(node):
        return isinstance(node, dict) and 'head' in node

    def frozen(params, gradient, opt_state):
        state = jax.tree.map(
            lambda node: {'head': node['head']} if is_params(node) else node,
            opt_state.inner_states['head'],
            is_leaf=is_params,
        )
        return params | step({'head': params['head']}, {'head': gradient['head']}, state)

    return frozen


def composite(teacher, student, batch, state, step, view, smoothing, target_pass):
    """Teacher's params -> labels -> the student's step -> its labeled loss after it."""

    def loss(teacher_params):
        logits = run_teacher(teacher, state.teacher, teacher_params, batch, view, target_pass)
        gradient = jax.grad(student_loss, 2)(
            student, state.student, state.student.params, batch, jax.nn.softmax(logits), smoothing
        )
        new = step(state.student.params, gradient, state.student.opt_state)
        return labeled_loss(student, state.student, new, batch)

    return loss


# Rates that float32, in which schedules count, holds exactly.
# name: (the library's optimizer, the same by hand at the sixth step)
STUDENTS = {
    'plain': (lambda: plain(0.25), hand_sgd(0.25)),
    'momentum': (
        lambda: sgd.make(100, 0.25, 'constant', momentum=0.9, nesterov=False),
        hand_sgd(0.25, 0.9),
    ),
    'nesterov': (
        lambda: sgd.make(100, 0.25, 'constant', momentum=0.9),
        hand_sgd(0.25, 0.9, nesterov=True),
    ),
    'decay': (
        lambda: sgd.make(100, 0.25, 'constant', momentum=0.0, weight_decay=0.1),
        hand_sgd(0.25, decay=0.1),
    ),
    'clip': (
        lambda: sgd.make(100, 0.25, 'constant', momentum=0.0, clip_norm=0.02),
        hand_sgd(0.25, clip=0.02),
    ),
    'all': (
        lambda: sgd.make(100, 0.25, 'cosine', 4, 3, weight_decay=0.1, clip_norm=0.02),
        hand_sgd(0.75 * 0.25, 0.9, True, 0.1, 0.02),
    ),
    'adamw': (
        lambda: adamw.make(100, 0.125, 'constant', weight_decay=0.1),
        hand_adamw(0.125, 0.1),
    ),
    'slow backbone': (
        lambda: sgd.make(
            100, 0.25, 'constant', weight_decay=0.1, clip_norm=0.02, backbone_rate=0.125
        ),
        hand_slowed(hand_sgd(0.25, 0.9, True, 0.1, 0.02), 0.125),
    ),
    'slow backbone, adamw': (
        lambda: adamw.make(100, 0.125, 'constant', weight_decay=0.1, backbone_rate=0.125),
        hand_slowed(hand_adamw(0.125, 0.1), 0.125),
    ),
    'frozen backbone': (
        lambda: sgd.make(
            100, 0.25, 'constant', weight_decay=0.1, clip_norm=0.02, backbone_rate=0.0
        ),
        hand_frozen(hand_sgd(0.25, 0.9, True, 0.1, 0.02)),
    ),
    'frozen backbone, adamw': (
        lambda: adamw.make(100, 0.125, 'constant', weight_decay=0.1, backbone_rate=0.0),
        hand_frozen(hand_adamw(0.125, 0.1)),
    ),
}
CASES = [
    ('plain', False, 0.0, 'weak', 'separate'),
    ('plain', False, 0.15, 'strong', 'separate'),
    ('plain', True, 0.0, 'strong', 'separate'),
    ('plain', True, 0.15, 'weak', 'separate'),
    ('plain', True, 0.0, 'strong', 'joined'),
    ('plain', True, 0.15, 'weak', 'joined'),
    *[(name, True, 0.15, 'strong', 'separate') for name in STUDENTS if name != 'plain'],
    ('all', False, 0.0, 'weak', 'separate'),
]


@pytest.mark.parametrize('name, norm, smoothing, view, target_pass', CASES)
def test_exact_is_the_derivative_through_the_students_real_step(
    name, norm, smoothing, view, target_pass, x64
):
    """d L(theta') / d teacher, where theta' comes from the optimizer with all its state.

    It is a derivative of one step: the momentum buffer that the step reads is a
    constant, and what the labels do to later steps through the buffer that the
    step writes is left out. Weight decay moves theta', and thus where L is taken,
    but is no part of the derivative unless a clip scales it with the gradient.
    """
    optimizer, step = STUDENTS[name]
    teacher, student = Definition(Tiny(norm), record()), Definition(Tiny(norm), optimizer())
    batch = make_batch()
    state = start(teacher, student)
    knobs = {'label_smoothing': smoothing, 'label_view': view, 'target_pass': target_pass}
    got, metrics, _ = feedback(teacher, student, batch, **knobs)(state)
    loss = composite(teacher, student, batch, state, step, view, smoothing, target_pass)
    value, expected = jax.jit(jax.value_and_grad(loss))(state.teacher.params)
    assert jnp.linalg.norm(flat(expected)) > 1e-5
    np.testing.assert_allclose(metrics['loss/student_labeled'], value, rtol=1e-12)
    assert error(got, expected) < 1e-9


def test_exact_with_the_statistics_of_the_students_pass(x64):
    """The labeled loss is that of evaluation with the batch statistics of the strong views."""
    optimizer, step = STUDENTS['plain']
    teacher, student = Definition(Tiny(True), record()), Definition(Tiny(True), optimizer())
    batch = make_batch()
    batch['unlabeled']['strong'] = 3.0 * batch['unlabeled']['strong'] + 1.0
    state = start(teacher, student)
    net, strong = state.student, batch['unlabeled']['strong']
    hidden = strong.reshape(len(strong), -1) @ net.params['Dense_0']['kernel']
    hidden += net.params['Dense_0']['bias']
    stats = {'BatchNorm_0': {'mean': hidden.mean(0), 'var': hidden.var(0)}}

    def loss(teacher_params):
        target = jax.nn.softmax(
            run_teacher(teacher, state.teacher, teacher_params, batch, 'strong')
        )
        gradient = jax.grad(student_loss, 2)(student, net, net.params, batch, target, 0.0)
        new = step(net.params, gradient, net.opt_state)
        variables = {'params': new, 'batch_stats': stats}
        _, logits = student.model.apply(variables, batch['labeled']['image'], train=False)
        log_p = jax.nn.log_softmax(logits)
        return -log_p[jnp.arange(len(log_p)), batch['labeled']['label']].mean()

    value, expected = jax.value_and_grad(loss)(state.teacher.params)
    knobs = {'label_view': 'strong', 'feedback_statistics': 'student'}
    got, metrics, _ = feedback(teacher, student, batch, **knobs)(state)
    np.testing.assert_allclose(metrics['loss/student_labeled'], value, rtol=1e-5)
    assert error(got, expected) < 1e-4  # The statistics come from running ones.
    other, *_ = feedback(teacher, student, batch, label_view='strong')(state)
    assert error(other, expected) > 0.05


@pytest.mark.parametrize('weight', [0.0, 0.5])
def test_exact_with_the_labeled_images_in_the_students_pass(weight, x64):
    """The derivative through a student step that has statistics, and perhaps a loss, of labels."""
    optimizer, step = STUDENTS['plain']
    teacher, student = Definition(Tiny(True), record()), Definition(Tiny(True), optimizer())
    batch = make_batch()
    state = start(teacher, student)
    net = state.student
    images = jnp.concatenate([batch['unlabeled']['strong'], batch['labeled']['image']])

    def loss(teacher_params):
        target = jax.nn.softmax(
            run_teacher(teacher, state.teacher, teacher_params, batch, 'strong')
        )

        def student_loss(params):
            log_p = jax.nn.log_softmax(run(student, net, params, images))
            of_pseudo_labels = -(target * log_p[: len(target)]).sum(1).mean()
            labeled = log_p[len(target) :]
            of_labels = -labeled[jnp.arange(len(labeled)), batch['labeled']['label']].mean()
            return of_pseudo_labels + weight * of_labels

        new = step(net.params, jax.grad(student_loss)(net.params), net.opt_state)
        return labeled_loss(student, net, new, batch)

    knobs = {'student_statistics': 'joint', 'student_labeled_weight': weight}
    got, metrics, _ = feedback(teacher, student, batch, **knobs)(state)
    value, expected = jax.jit(jax.value_and_grad(loss))(state.teacher.params)
    np.testing.assert_allclose(metrics['loss/student_labeled'], value, rtol=1e-12)
    assert error(got, expected) < 1e-9


def test_labels_in_the_students_loss_are_smoothed_as_pseudo_labels_are(x64):
    """The student's own step, by the gradient of both cross-entropies."""
    student, batch = Definition(Tiny(), plain(0.25)), make_batch()
    net, logits = start(student, student).student, jnp.array(np.random.RandomState(0).randn(4, 3))
    step = student_step.build(
        student, 'off', 'soft', 0.9, label_smoothing=0.2, ema_decay=0.0,
        student_statistics='joint', student_labeled_weight=0.5, feedback_statistics='labeled',
    )  # fmt: skip
    after = step(net, jnp.zeros(()), batch, logits, 5, jax.random.split(jax.random.key(0), 3))

    def loss(params):
        log_p = jax.nn.log_softmax(run(student, net, params, batch['labeled']['image']))
        target = 0.8 * jax.nn.one_hot(batch['labeled']['label'], CLASSES) + 0.2 / CLASSES
        of_labels = -(target * log_p).sum(1).mean()
        return student_loss(student, net, params, batch, jax.nn.softmax(logits), 0.2) + (
            0.5 * of_labels
        )

    gradient = jax.grad(loss)(net.params)
    expected = jax.tree.map(lambda p, g: p - 0.25 * g, net.params, gradient)
    chex.assert_trees_all_close(after.student.params, expected, rtol=1e-10)


@pytest.mark.parametrize('nesterov, factor', [(True, 1.9), (False, 1.0)])
def test_momentum_multiplies_the_feedback_by_what_one_step_shows(nesterov, factor, x64):
    """Nesterov's step holds (1 + mu) times the gradient; all later steps, 1 / (1 - mu) times.

    So the feedback is (1 + mu) times, and for plain momentum 1 times, the formula
    of plain SGD at the same new params, rate * mean_i sum_k softmax(T(x_i))_k d_ik
    with d = the derivative of the student's log-softmax along grad L(theta').
    """
    optimizer = sgd.make(100, 0.25, 'constant', momentum=0.9, nesterov=nesterov)
    teacher, student = Definition(Tiny(True), record()), Definition(Tiny(True), optimizer)
    batch = make_batch()
    state = start(teacher, student)
    got, *_ = feedback(teacher, student, batch)(state)

    def labels(params):
        return jax.nn.softmax(run_teacher(teacher, state.teacher, params, batch, 'strong'))

    def log_p(params):
        return jax.nn.log_softmax(run(student, state.student, params, batch['unlabeled']['strong']))

    @jax.jit
    def formula(teacher_params):
        net, old = state.student, state.student.params
        gradient = jax.grad(student_loss, 2)(student, net, old, batch, labels(teacher_params), 0.0)
        new = hand_sgd(0.25, 0.9, nesterov)(old, gradient, net.opt_state)
        v = jax.grad(labeled_loss, 2)(student, net, new, batch)
        _, d = jax.jvp(log_p, (old,), (v,))
        surrogate = jax.grad(lambda params: 0.25 * (labels(params) * d).sum(1).mean())
        return factor * flat(surrogate(teacher_params))

    assert error(got, formula(state.teacher.params)) < 1e-9


# Sampled labels.


def possible_labels(batch):
    """Every way to label the unlabeled images, int [K ** B, B]."""
    size = len(batch['unlabeled']['strong'])
    return jnp.array(list(itertools.product(range(CLASSES), repeat=size)))


def student_gradients(student, state, batch, smoothing=0.0):
    """The student's flat gradient for each of `possible_labels`."""

    def gradient(label):
        target = jax.nn.one_hot(label, CLASSES, dtype=float)
        loss = jax.grad(student_loss, 2)
        net = state.student
        return flat(loss(student, net, net.params, batch, target, smoothing))

    return jax.jit(jax.vmap(gradient))(possible_labels(batch))


@pytest.mark.parametrize(
    'name, view', [('per_example', 'weak'), *[(name, 'strong') for name in SAMPLED]]
)
def test_credit_goes_to_the_labels_that_the_student_saw(name, view, x64):
    """The labels are read off the student's own step, then the feedback is made by hand."""
    rate, smoothing, baseline = 0.25, 0.15, jnp.float32(0.01)
    teacher, student = Definition(Tiny(True), record()), Definition(Tiny(True), plain(rate))
    batch = make_batch()
    state = start(teacher, student).replace(baseline=baseline)
    net, old = state.student, state.student.params
    gradients = student_gradients(student, state, batch, smoothing)
    knobs = dict(feedback=name, labels='sampled', label_view=view, label_smoothing=smoothing)
    update = feedback(teacher, student, batch, **knobs)

    def own(logits, label):
        return jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1)[:, 0]

    @jax.jit
    def by_hand(label, new, g):
        v = jax.grad(labeled_loss, 2)(student, net, new, batch)
        norms = jnp.linalg.norm(g) * jnp.linalg.norm(flat(v))
        strong = batch['unlabeled']['strong']
        _, d = jax.jvp(lambda params: own(run(student, net, params, strong), label), (old,), (v,))
        h = {
            'per_example': -rate * (1 - smoothing) * d,
            'dot': rate * flat(v) @ g,
            'cosine': flat(v) @ g / norms,
            'difference': labeled_loss(student, net, old, batch)
            - labeled_loss(student, net, new, batch),
        }[name]

        def surrogate(params):
            logits = run_teacher(teacher, state.teacher, params, batch, view)
            return jnp.mean((h - baseline) * -own(logits, label))

        return h, jax.grad(surrogate)(state.teacher.params)

    seen = set()
    for key in range(4):
        got, metrics, new = update(state, key)
        moved = (flat(old) - flat(new)) / rate
        distance = np.linalg.norm(gradients - moved, axis=1) / np.linalg.norm(moved)
        assert np.sort(distance)[0] < 1e-12 < 1e-3 < np.sort(distance)[1]
        label = possible_labels(batch)[np.argmin(distance)]
        h, expected = by_hand(label, new, moved)
        np.testing.assert_allclose(metrics['feedback/h'], np.mean(h), rtol=1e-9)
        assert name != 'cosine' or 0 < abs(h) <= 1
        assert error(got, expected) < 1e-9
        seen.add(tuple(label.tolist()))
    assert len(seen) > 1


def draws(teacher, student, batch, count, **knobs):
    """A function of a state and a baseline, to be drawn from with `count` keys.

    Its values are the teacher's flat feedback gradients, h and the student's params.
    """

    def draw(weight, state, key):
        algorithm = mpl.make(teacher, student, labels='sampled', feedback_weight=weight, **knobs)
        new, metrics = algorithm.update(state, batch, 5, key)
        return flat(new.teacher.opt_state), metrics['feedback/h'], flat(new.student.params)

    keys = jax.random.split(jax.random.key(7), count)
    compiled = jax.jit(jax.vmap(draw, (None, None, 0)))

    def sample(state, baseline=0.0):
        state = state.replace(baseline=jnp.float32(baseline))
        (on, h, params), (off, _, _) = (compiled(weight, state, keys) for weight in (1.0, 0.0))
        return np.array(on - off), np.array(h), np.array(params)

    return sample


@pytest.mark.parametrize('view', ['weak', 'strong'])
def test_labels_are_drawn_from_the_teachers_distribution_of_the_view(view, x64):
    rate, count = 0.25, 4000
    teacher, student = Definition(Tiny(True), record()), Definition(Tiny(True), plain(rate))
    batch = make_batch()
    state = start(teacher, student)
    *_, params = draws(teacher, student, batch, count, feedback='dot', label_view=view)(state)
    gradients = student_gradients(student, state, batch)
    moved = (flat(state.student.params) - params) / rate
    label = possible_labels(batch)[jnp.argmax(moved @ gradients.T - (gradients**2).sum(1) / 2, 1)]
    share = jax.nn.one_hot(label, CLASSES).mean(0)
    p = jax.nn.softmax(run_teacher(teacher, state.teacher, state.teacher.params, batch, view))
    assert jnp.abs((share - p) / jnp.sqrt(p * (1 - p) / count)).max() < 4.5


def z_scores(sample, wanted):
    """How many standard errors the mean of sample [N, P] is from wanted [P]."""
    deviation = sample.std(0, ddof=1) / math.sqrt(len(sample))
    return (sample.mean(0) - wanted) / deviation


def scale(sample, wanted):
    """Size of the mean of sample [N, P] along wanted [P], and its standard error."""
    along = sample @ wanted / (wanted @ wanted)
    return along.mean(), along.std(ddof=1) / math.sqrt(len(along))


@pytest.mark.parametrize('smoothing', [0.0, 0.15])
def test_per_example_is_exact_in_the_mean_and_its_error_falls_like_the_root(smoothing, x64):
    """With any baseline, at a rate whose bias, of the order of the rate, is out of sight."""
    teacher, student = Definition(Tiny(True), record()), Definition(Tiny(True), plain(1e-5))
    batch = make_batch()
    state = start(teacher, student)
    knobs = {'label_smoothing': smoothing}
    exact, metrics, _ = feedback(teacher, student, batch, **knobs)(state)
    exact = np.array(flat(exact))
    informative = np.abs(exact) > 1e-9 * np.abs(exact).max()  # biases before batch norm are not
    sample = draws(teacher, student, batch, 2**14, feedback='per_example', **knobs)
    for baseline in (0.0, 3 * metrics['feedback/h']):
        got, *_ = sample(state, baseline)
        z = z_scores(got[:, informative], exact[informative])
        assert np.abs(z).max() < 4.5 and np.mean(z**2) < 3
        size, deviation = scale(got, exact)
        assert deviation < 0.02 and abs(size - 1) < 4 * deviation
        sizes = 2 ** np.arange(4, 11)
        errors = [
            np.sqrt(np.mean((got.reshape(-1, n, len(exact)).mean(1) - exact) ** 2)) for n in sizes
        ]
        slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
        assert abs(slope + 0.5) < 0.06


@pytest.mark.parametrize('size', [4, 8])
def test_dot_is_the_derivative_over_the_number_of_images_in_the_mean(size, x64):
    """Noisy, and less so with a baseline, which leaves the mean where it is."""
    teacher, student = Definition(Tiny(True), record()), Definition(Tiny(True), plain(1e-5))
    batch = make_batch(size)
    state = start(teacher, student)
    exact, metrics, _ = feedback(teacher, student, batch)(state)
    sample = draws(teacher, student, batch, 2**15, feedback='dot')
    deviations = []
    for baseline in (0.0, metrics['feedback/h']):
        got, *_ = sample(state, baseline)
        measured, deviation = scale(got, np.array(flat(exact)))
        assert abs(measured - 1 / size) < 4 * deviation
        assert measured > 8 * deviation
        deviations.append(deviation)
    assert deviations[1] < deviations[0]


def test_difference_is_dot_to_first_order_in_the_rate(x64):
    """With batch norm and dropout on: both losses share statistics and mask."""
    teacher, batch = Definition(Tiny(True, 0.5), record()), make_batch()
    state = start(teacher, Definition(Tiny(True, 0.5), plain(0.1)))

    @jax.jit
    def gap(rate):
        student, h = Definition(Tiny(True, 0.5), plain(rate)), {}
        for name in ('dot', 'difference'):
            algorithm = mpl.make(teacher, student, feedback=name, labels='sampled')
            _, metrics = algorithm.update(state, batch, 5, jax.random.key(3))
            h[name] = metrics['feedback/h']
        return abs(h['difference'] / h['dot'] - 1)

    rates = (1e-2, 1e-3, 1e-4, 1e-5)
    gaps = [float(gap(rate)) for rate in rates]
    slope = np.polyfit(np.log(rates), np.log(gaps), 1)[0]
    assert gaps[-1] < 1e-3 and abs(slope - 1) < 0.05


# The rest of the teacher's gradient, and the baseline.


@pytest.mark.parametrize('compiled', [False, True])
def test_off_is_uda_bit_for_bit(compiled):
    """With dropout where compiled; the teacher's key is the first of the four of a step."""
    optimizer = sgd.make(20, 0.1, clip_norm=1.0, weight_decay=1e-3) if compiled else plain(0.1)
    definition = Definition(Tiny(compiled, 0.3 * compiled), optimizer)
    numbers = {'temperature': 0.7, 'threshold': 0.4, 'mask_sharpened': True, 'ramp_steps': 4}
    one = mpl.make(
        definition,
        definition,
        feedback='off',
        label_smoothing=0.1,
        **{f'uda_{name}': number for name, number in numbers.items()},
    )
    two = uda.make(definition, label_smoothing=0.1, **numbers)
    batch = jax.tree.map(lambda x: x.astype(jnp.float32) if x.ndim > 1 else x, make_batch())
    state, net = one.init(jax.random.key(1), batch, SIZES), None
    net = state.teacher
    wrap = jax.jit if compiled else lambda f: f
    update_one, update_two = wrap(one.update), wrap(two.update)
    for step in range(3 if compiled else 1):
        key = jax.random.key(step)
        state, metrics = update_one(state, batch, step, key)
        net, others = update_two(net, batch, step, jax.random.split(key, 4)[0])
        chex.assert_trees_all_equal(state.teacher, net)
        assert metrics['loss/teacher_unlabeled'] == others['loss/unlabeled']
        assert 0 < metrics['mask_rate']


def test_cross_entropy_with_ones_own_soft_labels_teaches_nothing_and_must_not_return(x64):
    """The released code's feedback: target and logits are the same, so its gradient is 0.

    Whatever h is. `exact` keeps the derivative that this term loses.
    """
    teacher, student = Definition(Tiny(), record()), Definition(Tiny(), plain(0.25))
    batch = make_batch()
    state = start(teacher, student)

    def released(params, h=3.0):
        logits = run_teacher(teacher, state.teacher, params, batch, 'strong')
        target = jax.lax.stop_gradient(jax.nn.softmax(logits))
        return h * -(target * jax.nn.log_softmax(logits)).sum(1).mean()

    assert jnp.abs(flat(jax.grad(released)(state.teacher.params))).max() < 1e-12
    got, *_ = feedback(teacher, student, batch)(state)
    assert jnp.linalg.norm(flat(got)) > 1e-3


@pytest.mark.parametrize('name', SAMPLED)
def test_soft_labels_are_refused_where_their_credit_would_be_zero(name):
    definition = Definition(Tiny(), plain(0.1))
    with pytest.raises(ValueError, match=f"'soft'.*{name!r}.*set labels to sampled"):
        mpl.make(definition, definition, feedback=name, labels='soft')


def test_unknown_names_are_refused():
    definition = Definition(Tiny(), plain(0.1))
    for wrong in (
        {'feedback': 'dots'},
        {'labels': 'hard'},
        {'label_view': 'labeled'},
        {'student_statistics': 'labeled'},
        {'feedback_statistics': 'unlabeled'},
    ):
        with pytest.raises(ValueError, match='|'.join(wrong.values())):
            mpl.make(definition, definition, **wrong)
    with pytest.raises(ValueError, match='set labels to soft'):
        mpl.make(definition, definition, feedback='exact', labels='sampled')
    with pytest.raises(ValueError, match="set algorithm.student_statistics to 'joint'"):
        mpl.make(definition, definition, student_labeled_weight=1.0)


@pytest.mark.parametrize('name', feedbacks.LABELS)
def test_feedback_weight_scales_the_feedback_alone_and_minus_one_turns_it_round(name, x64):
    teacher, student = Definition(Tiny(True), record()), Definition(Tiny(True), plain(0.25))
    batch = make_batch()
    state = start(teacher, student).replace(baseline=jnp.float32(0.01))

    @jax.jit
    def update(weight):
        knobs = {'feedback': name, 'labels': feedbacks.LABELS[name][-1], 'feedback_weight': weight}
        new, _ = mpl.make(teacher, student, **knobs).update(state, batch, 5, jax.random.key(0))
        return flat(new.teacher.opt_state), (new.student, new.baseline)

    (none, zero), (on, one), (flipped, minus) = (update(weight) for weight in (0.0, 1.0, -1.0))
    chex.assert_trees_all_equal(one, minus, zero)
    np.testing.assert_allclose(flipped - none, none - on, rtol=0, atol=1e-15)
    assert (np.abs(on - none).max() > 1e-6) == (name != 'off')


@pytest.mark.parametrize('decay', [0.9, 1.0])
def test_baseline_is_a_moving_average_and_the_one_before_the_step_is_subtracted(decay, x64):
    teacher, student = Definition(Tiny(), record()), Definition(Tiny(), plain(0.25))
    state = start(teacher, student)
    knobs = {'feedback': 'dot', 'labels': 'sampled', 'baseline_decay': decay}
    update = feedback(teacher, student, make_batch(), **knobs)
    expected = 0.0
    for key in range(4):
        got, metrics, _ = update(state, key)
        raw, *_ = update(state.replace(baseline=jnp.float32(0)), key)
        # Both gradients are a multiple of one score: their ratio is (h - b) / h.
        ratio = (flat(got) @ flat(raw)) / (flat(raw) @ flat(raw))
        h = metrics['feedback/h']
        np.testing.assert_allclose(ratio, (h - float(state.baseline)) / h, rtol=1e-9)
        expected = decay * expected + (1 - decay) * float(h)
        np.testing.assert_allclose(metrics['feedback/baseline'], expected, rtol=1e-6)
        state = state.replace(baseline=metrics['feedback/baseline'])
        chex.assert_type(state.baseline, jnp.float32)
    assert (expected != 0) == (decay < 1)


# Cost.


def flops(name, labeled=64, unlabeled=192):
    """Of the compiled update of multi-layer perceptrons: (measured, sum by hand)."""
    inputs, widths = 256, (384, 320)
    definition = Definition(mlp.make(128, widths), plain(0.1))
    algorithm = mpl.make(definition, definition, feedback=name, labels=feedbacks.LABELS[name][0])
    image = {n: jax.ShapeDtypeStruct((n, 16, 16, 1), jnp.float32) for n in (labeled, unlabeled)}
    batch = {
        'labeled': {
            'image': image[labeled],
            'label': jax.ShapeDtypeStruct((labeled,), jnp.int32),
        },
        'unlabeled': {'weak': image[unlabeled], 'strong': image[unlabeled]},
    }
    state = jax.eval_shape(functools.partial(algorithm.init, sizes=SIZES), jax.random.key(0), batch)
    compiled = jax.jit(algorithm.update).lower(state, batch, 0, jax.random.key(0)).compile()

    sizes = (inputs, *widths, 128)
    first = 2 * inputs * widths[0]
    forward = sum(2 * a * b for a, b in zip(sizes, sizes[1:]))
    backward = 2 * forward - first  # the images need no gradient
    push = 2 * forward - first  # the images have no tangent
    total = (labeled + 2 * unlabeled) * (forward + backward)  # both networks' training passes
    total += unlabeled * forward + labeled * forward  # weak views give targets alone
    if name == 'difference':
        total += labeled * forward
    elif name != 'off':
        total += labeled * backward
    if name in ('exact', 'per_example'):
        total += unlabeled * push
    return compiled.cost_analysis()['flops'], total


@pytest.mark.parametrize('name', ['exact', 'per_example', 'dot', 'difference', 'off'])
def test_no_pass_is_made_twice(name):
    measured, by_hand = flops(name)
    assert abs(measured / by_hand - 1) < 0.03
