"""Losses of embeddings against loops in float64, and measures of collapse where they are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.algorithms import contrast

B, D, TAU = 5, 4, 0.3


@pytest.fixture(autouse=True)
def wide(x64):
    """Float64 throughout."""


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape or (B, D))


def unit(z):
    return z / np.sqrt((z**2).sum(-1, keepdims=True))


def check(loss, loop, *arrays, fixed=()):
    """Equal values, and the gradient of finite differences; none of the arguments in `fixed`."""
    np.testing.assert_allclose(loss(*arrays), loop(*arrays), rtol=1e-10)
    for place, array in enumerate(arrays):
        got = jax.grad(loss, place)(*map(jnp.asarray, arrays))
        if place in fixed:
            np.testing.assert_array_equal(got, 0)
            continue
        direction = draw(9, *array.shape)
        high, low = (
            loop(*arrays[:place], array + step * direction, *arrays[place + 1 :])
            for step in (1e-6, -1e-6)
        )
        np.testing.assert_allclose(np.sum(got * direction), (high - low) / 2e-6, rtol=1e-6)


def test_nt_xent():
    def loop(a, b):
        z, losses = unit(np.concatenate([a, b])), []
        for i in range(2 * B):
            others = [np.exp(z[i] @ z[j] / TAU) for j in range(2 * B) if j != i]
            losses.append(np.log(sum(others)) - z[i] @ z[(i + B) % (2 * B)] / TAU)
        return np.mean(losses)

    check(lambda a, b: contrast.among_pairs(a, b, TAU)[0], loop, draw(0), draw(1))
    same = np.ones((B, D))
    np.testing.assert_allclose(contrast.among_pairs(same, same, TAU)[0], np.log(2 * B - 1))
    z = np.eye(B)
    assert contrast.among_pairs(z, z, TAU)[1] == 1
    assert contrast.among_pairs(z, np.roll(z, 1, 0), TAU)[1] == 0


def test_info_nce_with_a_queue():
    def loop(q, k, queue):
        losses = []
        for i in range(B):
            right = np.exp(unit(q)[i] @ unit(k)[i] / TAU)
            wrong = sum(np.exp(unit(q)[i] @ key / TAU) for key in queue)
            losses.append(-np.log(right / (right + wrong)))
        return np.mean(losses)

    queue = unit(draw(2, 7, D))
    check(
        lambda q, k, queue: contrast.among_keys(q, k, queue, TAU)[0],
        loop, draw(0), draw(1), queue, fixed=(1, 2),
    )  # fmt: skip
    z = np.eye(D)
    assert contrast.among_keys(z, z, -z, TAU)[1] == 1 and contrast.among_keys(z, -z, z, TAU)[1] == 0


def test_info_nce_in_the_batch():
    def loop(q, k):
        losses = []
        for i in range(B):
            all_keys = [np.exp(unit(q)[i] @ unit(k)[j] / TAU) for j in range(B)]
            losses.append(-np.log(all_keys[i] / sum(all_keys)))
        return np.mean(losses)

    check(lambda q, k: contrast.among_batch(q, k, TAU)[0], loop, draw(0), draw(1), fixed=(1,))


def test_supervised_contrast():
    label = np.array([0, 1, 0, 0, 2])  # one class has a single image: it has no positive

    def loop(z):
        z, losses = unit(z), []
        for i in range(B):
            positives = [j for j in range(B) if j != i and label[j] == label[i]]
            if positives:
                total = sum(np.exp(z[i] @ z[j] / TAU) for j in range(B) if j != i)
                losses.append(
                    -np.mean([np.log(np.exp(z[i] @ z[j] / TAU) / total) for j in positives])
                )
        return np.mean(losses)

    check(lambda z: contrast.among_labels(z, jnp.asarray(label), TAU), loop, draw(0))
    hot = jnp.eye(3)[label]
    np.testing.assert_allclose(contrast.among_labels(draw(0), hot, TAU), loop(draw(0)))
    assert contrast.among_labels(draw(0), jnp.arange(B), TAU) == 0


def test_cosine():
    def loop(a, b):
        return np.mean([unit(a)[i] @ unit(b)[i] for i in range(B)])

    check(contrast.cosine, loop, draw(0), draw(1))
    zero = jnp.zeros((B, D))
    np.testing.assert_array_equal(jax.grad(contrast.cosine)(zero, draw(1)), 0)


def test_terms_of_vicreg():
    def variance(z):
        spread = [np.sqrt(np.var(z[:, d], ddof=1) + 1e-4) for d in range(D)]
        return np.mean([max(0, 1 - s) for s in spread])

    def covariance(z):
        matrix = np.cov(z.T)
        return sum(matrix[i, j] ** 2 for i in range(D) for j in range(D) if i != j) / D

    check(contrast.variance, variance, 0.5 * draw(0))
    check(contrast.covariance, covariance, draw(0))


def test_barlow_twins():
    def loop(a, b):
        total = 0
        for i in range(D):
            for j in range(D):
                first, second = a[:, i] - a[:, i].mean(), b[:, j] - b[:, j].mean()
                scale = np.sqrt((np.var(a[:, i]) + 1e-5) * (np.var(b[:, j]) + 1e-5))
                c = np.mean(first * second) / scale
                total += (1 - c) ** 2 if i == j else 0.3 * c**2
        return total

    check(
        lambda a, b: contrast.redundancy(contrast.cross_correlation(a, b), 0.3),
        loop, draw(0), draw(1),
    )  # fmt: skip


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_self_distillation_of_all_pairs_of_different_views():
    center = draw(7, D)

    def loop(s0, s1, s2, t0, t1):
        terms = []
        for i, t in enumerate((t0, t1)):
            for j, s in enumerate((s0, s1, s2)):
                if i != j:
                    p, q = softmax((t - center) / 0.5), softmax(s / TAU)
                    terms.append(np.mean([-p[n] @ np.log(q[n]) for n in range(B)]))
        assert len(terms) == 4
        return np.mean(terms)

    check(
        lambda *z: contrast.self_distillation(list(z[:3]), list(z[3:]), center, TAU, 0.5),
        loop, *map(draw, range(5)), fixed=(3, 4),
    )  # fmt: skip


@pytest.mark.parametrize('count, size', [(2000, 16), (40, 64)])
def test_measures_of_embeddings_in_all_directions_and_in_one(count, size):
    z, other = draw(0, count, size), draw(1, count, size)
    found = contrast.measure(jnp.asarray(z), jnp.asarray(z))
    eigenvalues = np.linalg.eigvalsh(np.cov(unit(z).T, bias=True))
    np.testing.assert_allclose(found['embedding/positive'], 1)
    np.testing.assert_allclose(
        found['embedding/rank'], eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    )
    pairs = unit(z) @ unit(z).T
    mean = (pairs.sum() - count) / (count * (count - 1))
    np.testing.assert_allclose(found['embedding/negative'], mean, atol=1e-12)
    assert 0.95 < found['embedding/spread'] < 1.05
    assert abs(contrast.measure(z, other)['embedding/positive']) < 0.1
    one = jnp.ones((count, size)) + 1e-4 * z  # collapsed
    found = contrast.measure(one, one)
    assert found['embedding/spread'] < 1e-3 and found['embedding/negative'] > 0.999
    line = draw(2, count, 1) * draw(3, 1, size)  # in one dimension
    assert contrast.measure(line, line)['embedding/rank'] < 1.01
