"""The rules beside MPL, against what their papers' equations give when worked out by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mpl.algorithms import (
    distill,
    fixmatch,
    flexmatch,
    freematch,
    losses,
    mean_teacher,
    noisy_student,
    pi_model,
    pseudo_label,
    softmatch,
    temporal_ensembling,
    uda,
    vat,
)
from mpl.algorithms.interface import Sizes
from mpl.models import network
from mpl.models.network import Definition
from mpl.optimizers import schedules

pytestmark = pytest.mark.usefixtures('fast_compile', 'x64')

CLASSES = 3
SIZES = Sizes(examples=8, unlabeled=6, classes=CLASSES)
RATE = 0.1


class Linear(nn.Module):
    """Logits are the four numbers of an image times a matrix."""

    @nn.compact
    def __call__(self, image, train):
        x = image.reshape(len(image), -1)
        return x, nn.Dense(CLASSES, use_bias=False, param_dtype=jnp.float64)(x)


DEFINITION = Definition(Linear(), optax.sgd(RATE))


def draw(seed=0):
    random = np.random.default_rng(seed)
    image, weak, strong = (random.normal(size=(n, 2, 2, 1)) for n in (4, 6, 6))
    return {
        'labeled': {'image': image, 'label': random.integers(0, CLASSES, 4)},
        'unlabeled': {'weak': weak, 'strong': strong, 'index': np.array([7, 1, 4, 0, 2, 5])},
    }


def taught():
    """The batch, with what a teacher said of its images."""
    random = np.random.default_rng(1)
    return {
        name: part | {'logits': 2 * random.normal(size=(size, CLASSES))}
        for (name, part), size in zip(BATCH.items(), (4, 6))
    }


BATCH = draw()


def matrix(state):
    net = getattr(state, 'net', state)
    return net.params['Dense_0']['kernel']


def logits(w, image):
    return image.reshape(len(image), -1) @ w


def cross_entropy(w):
    log_p = jax.nn.log_softmax(logits(w, BATCH['labeled']['image']))
    return -jnp.mean(log_p[jnp.arange(4), BATCH['labeled']['label']])


def steps(learner, count=1, batches=None):
    """The states before the first and after each of `count` steps, and the metrics of each."""
    states = [learner.init(jax.random.key(0), BATCH, SIZES)]
    said = []
    for step in range(count):
        batch = BATCH if batches is None else batches[step]
        state, metrics = learner.update(states[-1], batch, step, jax.random.key(step))
        states.append(state)
        said.append(metrics)
    return states, said


def check_gradient(learner, unlabeled, first=0):
    """One step of plain descent moves the weights by the derivative of the loss written here."""
    (before, after), _ = steps(learner)
    w = matrix(before)
    expected = jax.grad(lambda w: cross_entropy(w) + unlabeled(w))(w)
    np.testing.assert_allclose((w - matrix(after)) / RATE, expected, atol=1e-9)
    assert np.abs(jax.grad(unlabeled)(w)).max() > 1e-3


def softmax_of(w, view):
    return jax.nn.softmax(logits(w, BATCH['unlabeled'][view]))


def test_pi_model():
    w = matrix(steps(pi_model.make(DEFINITION), 0)[0][0])
    fixed = softmax_of(w, 'weak')
    check_gradient(
        pi_model.make(DEFINITION, weight=7.0),
        lambda w: 7 * jnp.mean((softmax_of(w, 'strong') - fixed) ** 2),
    )


def test_two_sided_pi_model_is_that_of_the_paper():
    """Both predictions have a gradient (arXiv 1610.02242, algorithm 1)."""
    check_gradient(
        pi_model.make(DEFINITION, weight=7.0, two_sided=True),
        lambda w: 7 * jnp.mean((softmax_of(w, 'strong') - softmax_of(w, 'weak')) ** 2),
    )


def test_mean_teacher_trains_the_student_towards_the_average():
    """Its own logits stand in the loss: with those of the weak view the gradient would be 0."""
    learner = mean_teacher.make(DEFINITION, weight=20.0, ema_decay=0.9)
    states, _ = steps(learner, 3)
    w, average = matrix(states[2]), states[2].ema.params['Dense_0']['kernel']
    assert np.abs(w - average).max() > 1e-3
    target = softmax_of(average, 'weak')
    expected = jax.grad(
        lambda w: cross_entropy(w) + 20 * jnp.mean((softmax_of(w, 'strong') - target) ** 2)
    )(w)
    np.testing.assert_allclose((w - matrix(states[3])) / RATE, expected, atol=1e-7)
    with pytest.raises(ValueError, match='ema_decay'):
        mean_teacher.make(DEFINITION, ema_decay=0.0)


def test_temporal_ensembling_corrects_for_the_start():
    """Targets are Z / (1 - a^t) of the t visits before; an example without one has no loss."""
    a = 0.6
    learner = temporal_ensembling.make(DEFINITION, weight=5.0, memory_decay=a)
    index = BATCH['unlabeled']['index']
    states, metrics = steps(learner, 3)
    average = np.zeros((SIZES.examples, CLASSES))
    for visits, (before, after) in enumerate(zip(states, states[1:])):
        w = matrix(before)
        target = average[index] / (1 - a**visits) if visits else 0
        expected = jax.grad(
            lambda w, visits=visits, target=target: (
                cross_entropy(w)
                + (visits > 0) * 5 * jnp.mean((softmax_of(w, 'weak') - target) ** 2)
            )
        )(w)
        np.testing.assert_allclose((w - matrix(after)) / RATE, expected, atol=1e-6)
        average[index] = a * average[index] + (1 - a) * np.array(softmax_of(w, 'weak'))
        np.testing.assert_allclose(after.memory, average, atol=1e-6)
        assert not after.memory[np.array([3, 6])].any()
        assert metrics[visits]['mask_rate'] == (visits > 0)


def test_an_example_several_times_in_a_batch_is_averaged():
    batch = draw()
    batch['unlabeled']['index'] = np.array([2, 2, 4, 2, 1, 5])
    learner = temporal_ensembling.make(DEFINITION, memory_decay=0.6)
    (before, after), _ = steps(learner, 1, [batch])
    all_three = softmax_of(matrix(before), 'weak')[np.array([0, 1, 3])].mean(0)
    np.testing.assert_allclose(after.memory[2], 0.4 * all_three, atol=1e-6)  # One visit.


def test_worst_direction_is_that_of_the_paper():
    """Against the difference of gradients over a step of 1e-6, and the Hessian itself."""
    random = np.random.default_rng(3)
    first, second = random.normal(size=(4, 5)), random.normal(size=(5, CLASSES))
    image = random.normal(size=(6, 2, 2, 1))

    def said(x):
        return jnp.tanh(x.reshape(len(x), -1) @ first) @ second

    fixed = said(image)

    def divergence(change):
        return losses.kl_divergence(fixed, said(image + change)).sum()

    def unit(x):
        return x / np.sqrt((np.array(x) ** 2).sum((1, 2, 3), keepdims=True))

    key, tiny = jax.random.key(5), 1e-6
    d = unit(jax.random.normal(key, image.shape, image.dtype))
    for iterations in (1, 2):
        d = unit(jax.grad(divergence)(tiny * d))
        got = vat.adversarial_direction(said, jnp.asarray(image), key, iterations)
        np.testing.assert_allclose(got, d, atol=1e-4)
    many = vat.adversarial_direction(said, jnp.asarray(image), key, 300)
    for i in range(len(image)):
        hessian = jax.hessian(
            lambda r, i=i: losses.kl_divergence(fixed[i : i + 1], said(image[i : i + 1] + r))[0]
        )(np.zeros((1, 2, 2, 1)))
        greatest = np.linalg.eigh(hessian.reshape(4, 4))[1][:, -1]
        assert abs(abs(greatest @ many[i].ravel()) - 1) < 1e-6


def test_vat_in_bfloat16_finds_the_same_direction():
    random = np.random.default_rng(3)
    w, image = random.normal(size=(4, CLASSES)), random.normal(size=(6, 2, 2, 1))
    exact, short = (
        vat.adversarial_direction(
            lambda x, t=t: logits(w.astype(t), x.astype(t)).astype(jnp.float32),
            jnp.asarray(image, jnp.float32),
            jax.random.key(5),
            1,
        )
        for t in (jnp.float32, jnp.bfloat16)
    )
    assert (jnp.sum(exact * short, (1, 2, 3)) > 0.99).all()


def test_vat():
    learner = vat.make(DEFINITION, weight=0.7, radius=0.5, entropy_weight=0.2)
    w = matrix(steps(learner, 0)[0][0])
    image = jnp.asarray(BATCH['unlabeled']['weak'])
    key = jax.random.split(jax.random.key(0))[0]
    change = 0.5 * vat.adversarial_direction(lambda x: logits(w, x), image, key, 1)
    assert np.allclose(jnp.sum(change**2, (1, 2, 3)), 0.25)
    fixed = jax.nn.log_softmax(logits(w, image))

    def unlabeled(w):
        moved = jax.nn.log_softmax(logits(w, image + change))
        p = softmax_of(w, 'weak')
        away = jnp.sum(jnp.exp(fixed) * (fixed - moved), -1)
        return jnp.mean(0.7 * away - 0.2 * jnp.sum(p * jnp.log(p), -1))

    check_gradient(learner, unlabeled)


class Noisy(nn.Module):
    """A layer with batch norm and dropout."""

    @nn.compact
    def __call__(self, image, train):
        x = nn.Dense(5)(image.reshape(len(image), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return x, nn.Dense(CLASSES)(x)


def test_passes_of_vat_differ_by_the_perturbation_alone():
    """They share a dropout mask, and running statistics are of the images as they are."""
    definition = Definition(Noisy(), optax.sgd(RATE))
    state = vat.make(definition).init(jax.random.key(0), BATCH, SIZES)
    none, metrics = vat.make(definition, radius=0.0).update(state, BATCH, 0, jax.random.key(0))
    far, others = vat.make(definition, radius=9.0).update(state, BATCH, 0, jax.random.key(0))
    assert metrics['loss/unlabeled'] < 1e-12 < 1e-3 < others['loss/unlabeled']
    chex.assert_trees_all_close(none.batch_stats, far.batch_stats)


def hard(w, target, mask):
    log_p = jax.nn.log_softmax(logits(w, BATCH['unlabeled']['strong']))
    return -jnp.mean(mask * log_p[jnp.arange(6), target])


def test_fixmatch():
    w = matrix(steps(fixmatch.make(DEFINITION), 0)[0][0])
    p = np.array(softmax_of(w, 'weak'))
    middle = np.sort(p.max(-1))[3]
    mask = p.max(-1) >= middle
    assert mask.sum() == 3
    check_gradient(
        fixmatch.make(DEFINITION, weight=2.0, threshold=float(middle)),
        lambda w: 2 * hard(w, p.argmax(-1), mask),
    )


def test_flexmatch_lowers_thresholds_as_the_paper_says():
    """Equations 5, 6, 9 and 11: counts 4, 2, 0 of 6 and none left; then with 6 that are unseen."""
    label = np.array([0, 0, 0, 0, 1, 1, -1, -1], np.int32)
    status = flexmatch.learning_status({'label': jnp.array(label), 'unlabeled': 6}, CLASSES)
    np.testing.assert_allclose(status, [1, 0.5, 0])
    status = flexmatch.learning_status({'label': jnp.array(label), 'unlabeled': 14}, CLASSES)
    np.testing.assert_allclose(status, [4 / 8, 2 / 8, 0])
    learner = flexmatch.make(DEFINITION, threshold=0.6)
    state = steps(learner, 0)[0][0]
    state = state._replace(memory={'label': jnp.array(label), 'unlabeled': jnp.array(6)})
    p = np.array(softmax_of(matrix(state), 'weak'))
    learned = np.array([1, 0.5, 0])
    mask = p.max(-1) >= 0.6 * (learned / (2 - learned))[p.argmax(-1)]
    after, metrics = learner.update(state, BATCH, 0, jax.random.key(0))
    np.testing.assert_allclose(metrics['mask_rate'], mask.mean())
    assert 0 < (p.max(-1) >= 0.6).mean() < 1
    for i, number in enumerate(BATCH['unlabeled']['index']):
        sure = p[i].max() >= 0.6
        assert after.memory['label'][number] == (p[i].argmax() if sure else label[number])
    expected = jax.grad(lambda w: cross_entropy(w) + hard(w, p.argmax(-1), mask))(matrix(state))
    np.testing.assert_allclose((matrix(state) - matrix(after)) / RATE, expected, atol=1e-9)


def test_thresholds_of_flexmatch_are_convex_in_the_status():
    """Of a class with the status 3/4 it is 3/5 of the threshold (section 3.3)."""
    learner = flexmatch.make(DEFINITION, threshold=0.7)
    state = learner.init(jax.random.key(0), BATCH, SIZES)
    label = jnp.array([0, 0, 0, 0, 1, 2, 2, 2], jnp.int32)
    state = state._replace(memory={'label': label, 'unlabeled': jnp.array(6)})
    p = np.array(softmax_of(matrix(state), 'weak'))
    convex, linear = (
        p.max(-1) >= 0.7 * np.array(shares)[p.argmax(-1)]
        for shares in ((1, 1 / 7, 3 / 5), (1, 1 / 4, 3 / 4))
    )
    _, metrics = learner.update(state, BATCH, 0, jax.random.key(0))
    np.testing.assert_allclose(metrics['mask_rate'], convex.mean())
    assert convex.sum() > linear.sum()


def test_flexmatch_lets_all_images_pass_at_first():
    """A step notes what it is sure of for the next one, and not for itself."""
    (before, after), (said,) = steps(flexmatch.make(DEFINITION, threshold=0.5))
    assert said['mask_rate'] == 1
    noted = np.array(after.memory['label'])[BATCH['unlabeled']['index']]
    p = np.array(softmax_of(matrix(before), 'weak'))
    assert 0 < (noted >= 0).sum() < 6 and ((noted < 0) == (p.max(-1) < 0.5)).all()


def test_flexmatch_notes_each_example_once():
    label = jnp.array([2, -1, 1, -1], jnp.int32)
    got = flexmatch.update_labels(
        label, jnp.array([0, 1, 1, 3]), jnp.array([0, 2, 1, 1]), np.array([True, True, True, False])
    )
    np.testing.assert_array_equal(got, [0, 2, 1, -1])


@pytest.mark.parametrize('start', [None, (0.6, [0.2, 0.3, 0.5], [0.2, 0.2, 0.6])])
def test_freematch(start):
    """Equations 5 to 12, after one step from 1 / K, where all pass, and from averages where some do."""
    m = 0.9
    learner = freematch.make(DEFINITION, weight=2.0, fairness_weight=0.5, memory_decay=m)
    before = learner.init(jax.random.key(0), BATCH, SIZES)
    names = ('confidence', 'probability', 'histogram')
    if start is not None:
        before = before._replace(memory=dict(zip(names, map(jnp.asarray, start))))
    memory = [np.array(before.memory[name]) for name in names]
    if start is None:
        np.testing.assert_allclose(np.hstack(memory), 1 / 3, rtol=1e-6)
    after, said = learner.update(before, BATCH, 0, jax.random.key(0))
    w = matrix(before)
    p = np.array(softmax_of(w, 'weak'))
    own = p.argmax(-1)
    sure, average, counts = (
        m * old + (1 - m) * new
        for old, new in zip(memory, (p.max(-1).mean(), p.mean(0), np.eye(3)[own].mean(0)))
    )
    mask = p.max(-1) >= sure * (average / average.max())[own]
    assert mask.all() if start is None else 0 < mask.sum() < 6
    assert start is None or (mask & (p.max(-1) < sure)).any()  # By the share of its class.
    np.testing.assert_allclose(said['mask_rate'], mask.mean())
    np.testing.assert_allclose(after.memory['confidence'], sure, rtol=1e-6)
    np.testing.assert_allclose(after.memory['probability'], average, rtol=1e-6)
    np.testing.assert_allclose(after.memory['histogram'], counts, rtol=1e-6)
    target = (average / counts) / (average / counts).sum()

    def unlabeled(w):
        q = softmax_of(w, 'strong')[mask]
        share = np.eye(3)[np.array(q.argmax(-1))].mean(0)
        ratio = jnp.where(share > 0, q.mean(0) / np.where(share > 0, share, 1), 0)
        fairness = jnp.sum(target * jnp.log(ratio / ratio.sum() + 1e-12))
        return 2 * hard(w, own, mask) + 0.5 * fairness

    expected = jax.grad(lambda w: cross_entropy(w) + unlabeled(w))(w)
    np.testing.assert_allclose((w - matrix(after)) / RATE, expected, atol=1e-6)


def test_fairness_of_nothing_is_nothing():
    memory = dict.fromkeys(('probability', 'histogram'), jnp.full(3, 1 / 3))
    p = jax.nn.softmax(jnp.asarray(np.random.default_rng(0).normal(size=(6, 3))))
    value, gradient = jax.value_and_grad(
        lambda p: freematch.fairness_loss(memory, p, jnp.zeros(6))
    )(p)
    assert value == 0 and not gradient.any()


def test_softmatch():
    m, n = 0.1, 2.0
    learner = softmatch.make(DEFINITION, weight=2.0, memory_decay=m, deviations=n)
    (before, after), (said,) = steps(learner)
    w = matrix(before)
    p = np.array(softmax_of(w, 'weak'))
    aligned = p / p.mean(0)
    sure = (aligned / aligned.sum(-1, keepdims=True)).max(-1)
    mean = m / 3 + (1 - m) * sure.mean()
    variance = m + (1 - m) * sure.var(ddof=1)
    share = np.where(sure >= mean, 1, np.exp(-((sure - mean) ** 2) * n**2 / (2 * variance)))
    np.testing.assert_allclose(said['mask_rate'], share.mean(), rtol=1e-6)
    np.testing.assert_allclose(after.memory['variance'], variance, rtol=1e-6)
    expected = jax.grad(lambda w: cross_entropy(w) + 2 * hard(w, p.argmax(-1), share))(w)
    np.testing.assert_allclose((w - matrix(after)) / RATE, expected, atol=1e-6)
    assert 0 < (share < 0.999).sum() < 6


def test_distillation():
    """(1 - a) CE + a T^2 KL; for high temperatures it is the distance of centered logits (section 2.1)."""
    learner = distill.make(DEFINITION, DEFINITION, weight=0.3, temperature=3.0)
    (before, after), _ = steps(learner)
    w, t = matrix(before), before.teacher.params['Dense_0']['kernel']
    images = jnp.concatenate([BATCH['labeled']['image'], BATCH['unlabeled']['strong']])

    def soft(w, temperature):
        there = jax.nn.log_softmax(logits(t, images) / temperature)
        here = jax.nn.log_softmax(logits(w, images) / temperature)
        return temperature**2 * jnp.mean(jnp.sum(jnp.exp(there) * (there - here), -1))

    expected = jax.grad(lambda w: 0.7 * cross_entropy(w) + 0.3 * soft(w, 3.0))(w)
    np.testing.assert_allclose((w - matrix(after)) / RATE, expected, atol=1e-6)
    np.testing.assert_array_equal(after.teacher.params['Dense_0']['kernel'], t)

    def distance(w):
        gap = logits(w, images) - logits(t, images)
        return jnp.mean(jnp.sum((gap - gap.mean(-1, keepdims=True)) ** 2, -1)) / (2 * CLASSES)

    np.testing.assert_allclose(jax.grad(soft)(w, 1e4), jax.grad(distance)(w), atol=1e-3)


def test_cached_answers_are_distilled_in_place_of_a_teacher():
    learner, batch = distill.make(DEFINITION, None, weight=0.3, temperature=3.0), taught()
    before = learner.init(jax.random.key(0), batch, SIZES)
    after, _ = learner.update(before, batch, 0, jax.random.key(0))
    w = matrix(before)
    images = jnp.concatenate([batch['labeled']['image'], batch['unlabeled']['strong']])
    there = np.concatenate([batch[name]['logits'] for name in ('labeled', 'unlabeled')])

    def total(w):
        said, here = (jax.nn.log_softmax(x / 3.0) for x in (there, logits(w, images)))
        soft = 9 * jnp.mean(jnp.sum(jnp.exp(said) * (said - here), -1))
        return 0.7 * cross_entropy(w) + 0.3 * soft

    np.testing.assert_allclose((w - matrix(after)) / RATE, jax.grad(total)(w), atol=1e-9)
    assert set(learner.networks(after)) == {'student'}
    alone = {'labeled': batch['labeled']}
    learner.update(learner.init(jax.random.key(0), alone, SIZES), alone, 0, jax.random.key(0))


@pytest.mark.parametrize('labels', ['soft', 'hard'])
def test_noisy_student(labels):
    """The gradient of a linear network is X^T (p - q) / B, for targets q of either part."""
    learner = noisy_student.make(
        DEFINITION, labels, temperature=2.0, weight=5.0, label_smoothing=0.1
    )
    batch = taught()
    before = learner.init(jax.random.key(0), batch, SIZES)
    after, metrics = learner.update(before, batch, 0, jax.random.key(0))
    w, eye = matrix(before), np.eye(CLASSES)
    given = batch['unlabeled']['logits']
    if labels == 'soft':
        target = np.exp(given / 2) / np.exp(given / 2).sum(-1, keepdims=True)
    else:
        target = 0.9 * eye[given.argmax(-1)] + 0.1 / CLASSES
    expected, losses_ = 0, []
    for weight, image, q in (
        (1, batch['labeled']['image'], 0.9 * eye[batch['labeled']['label']] + 0.1 / CLASSES),
        (5, batch['unlabeled']['strong'], target),
    ):
        x = np.asarray(image).reshape(len(image), -1)
        p = np.exp(x @ w) / np.exp(x @ w).sum(-1, keepdims=True)
        expected += weight * x.T @ (p - q) / len(x)
        losses_.append(-np.mean(np.sum(q * np.log(p), -1)))
    np.testing.assert_allclose((w - matrix(after)) / RATE, expected, atol=1e-9)
    np.testing.assert_allclose(
        [metrics['loss/labeled'], metrics['loss/unlabeled']], losses_, rtol=1e-9
    )


def test_noisy_student_refuses_other_labels():
    with pytest.raises(ValueError, match="labels 'firm' is unknown; choose one of soft, hard"):
        noisy_student.make(DEFINITION, 'firm')


def test_distillation_needs_no_unlabeled_images():
    learner = distill.make(DEFINITION, DEFINITION)
    batch = {'labeled': BATCH['labeled']}
    learner.update(learner.init(jax.random.key(0), batch, SIZES), batch, 0, jax.random.key(0))


def test_pseudo_labels_of_lee_wait_and_rise():
    """Weight 0 for 100 steps, then linear to its end within 500 (section 3.2, in epochs there)."""
    w = [float(schedules.ramp(t, 500, 100)) for t in (0, 100, 225, 350, 600, 10_000)]
    np.testing.assert_allclose(w, [0, 0, 0.25, 0.5, 1, 1])
    learner = pseudo_label.make(DEFINITION, weight=3.0, threshold=0.0, wait_steps=1)
    states, _ = steps(learner, 2)
    first, second = matrix(states[0]), matrix(states[1])
    np.testing.assert_allclose((first - second) / RATE, jax.grad(cross_entropy)(first), atol=1e-9)
    p = softmax_of(second, 'weak')
    own = np.array(p.argmax(-1))

    def total(w):
        log_p = jax.nn.log_softmax(logits(w, BATCH['unlabeled']['weak']))
        return cross_entropy(w) - 3 * jnp.mean(log_p[jnp.arange(6), own])

    np.testing.assert_allclose(
        (second - matrix(states[2])) / RATE, jax.grad(total)(second), atol=1e-9
    )


@pytest.mark.parametrize(
    'make, step, numbers, share',
    [
        (pi_model.make, 2, {}, np.exp(-1.25)),
        (mean_teacher.make, 2, {}, np.exp(-1.25)),
        (temporal_ensembling.make, 2, {}, np.exp(-1.25)),
        (vat.make, 1, {}, 0.25),
        (uda.make, 1, {'threshold': 0.0}, 0.25),
        (pseudo_label.make, 3, {'threshold': 0.0, 'wait_steps': 2}, 0.25),
    ],
)
def test_weights_rise_by_the_ramp_of_the_rule(make, step, numbers, share):
    """Gaussian for squared errors, else linear: the share of the unlabeled part of a step."""
    state = make(DEFINITION).init(jax.random.key(0), BATCH, SIZES)
    if make is temporal_ensembling.make:
        state = state._replace(memory=jnp.full_like(state.memory, 0.2))

    def after(**more):
        rule = make(DEFINITION, **numbers, **more)
        return np.array(matrix(rule.update(state, BATCH, step, jax.random.key(0))[0]))

    none, part, whole = after(weight=0.0), after(ramp_steps=4), after()
    assert np.abs(whole - none).max() > 1e-4
    np.testing.assert_allclose(part - none, share * (whole - none), atol=1e-7)


@pytest.mark.parametrize('rule', [fixmatch, flexmatch, pseudo_label])
def test_an_image_at_the_threshold_counts(rule):
    """Of a network without an opinion, at a threshold of 1 / K."""
    learner = rule.make(DEFINITION, threshold=1 / CLASSES)
    state = learner.init(jax.random.key(0), BATCH, SIZES)
    state = jax.tree.map(lambda x: jnp.zeros_like(x) if x.ndim == 2 else x, state)
    after, metrics = learner.update(state, BATCH, 0, jax.random.key(0))
    assert metrics['mask_rate'] == 1
    if rule is flexmatch:
        assert (after.memory['label'][BATCH['unlabeled']['index']] >= 0).all()


def test_gaussian_ramp():
    got = [float(schedules.gaussian_ramp(t, 80)) for t in (0, 40, 80, 200)]
    np.testing.assert_allclose(got, [np.exp(-5), np.exp(-1.25), 1, 1], rtol=1e-6)
    assert schedules.gaussian_ramp(0, 0) == 1


@pytest.mark.parametrize(
    'shape, middle', [('linear', 0.5), ('log', 1 - np.exp(-2.5)), ('exp', np.exp(-2.5))]
)
def test_signal_annealing(shape, middle):
    """At half of the way, for 10 classes; at the end every label counts (nearly, for 'log')."""
    got = [float(schedules.signal_annealing(t, 100, shape, 10)) for t in (0, 50, 100)]
    start = np.exp(-5) if shape == 'exp' else 0
    end = 1 - np.exp(-5) if shape == 'log' else 1
    np.testing.assert_allclose(got, [0.1 + 0.9 * x for x in (start, middle, end)], rtol=1e-6)


def test_uda_leaves_out_labels_that_are_learned():
    learner = uda.make(DEFINITION, weight=0.0, annealing='linear', annealing_steps=10)
    (before, after), _ = steps(learner)
    w = matrix(before)
    true = jax.nn.softmax(logits(w, BATCH['labeled']['image']))[
        jnp.arange(4), BATCH['labeled']['label']
    ]
    kept = np.array(true <= 1 / 3)
    assert 0 < kept.sum() < 4

    def total(w):
        log_p = jax.nn.log_softmax(logits(w, BATCH['labeled']['image']))
        own = log_p[jnp.arange(4), BATCH['labeled']['label']]
        return -jnp.sum(kept * own) / kept.sum()

    np.testing.assert_allclose((w - matrix(after)) / RATE, jax.grad(total)(w), atol=1e-9)
    none = losses.annealed_cross_entropy(
        logits(w, BATCH['labeled']['image']), BATCH['labeled']['label'], 0.0, 0
    )
    assert none == 0
    with pytest.raises(ValueError, match='annealing'):
        uda.make(DEFINITION, annealing='cosine')


def test_frozen_teacher_may_be_another_network():
    class Wide(nn.Module):
        @nn.compact
        def __call__(self, image, train):
            x = nn.tanh(nn.Dense(9)(image.reshape(len(image), -1)))
            return x, nn.Dense(CLASSES)(x)

    learner = distill.make(DEFINITION, Definition(Wide(), optax.sgd(0.0)))
    state = learner.init(jax.random.key(0), BATCH, SIZES)
    teacher = learner.networks(state)['teacher']
    features = network.predict(teacher, BATCH['labeled']['image']).features
    chex.assert_shape(features, (4, 9))
