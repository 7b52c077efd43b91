"""Nearest neighbors and linear probes beside brute force and scikit-learn, in float64."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.neighbors import NearestNeighbors

from mpl.run import linear_probe, measure, neighbors

DRAW = np.random.default_rng(0)
BANK, QUERY = (DRAW.normal(size=(n, 6)).astype(np.float32) + 0.5 for n in (70, 33))
LABEL = DRAW.integers(0, 4, 70)


@pytest.mark.parametrize('count', [1, 5, 70])
def test_neighbors_are_those_of_scikit_learn(count):
    found = NearestNeighbors(n_neighbors=count, metric='cosine', algorithm='brute')
    distance, wanted = found.fit(BANK.astype(np.float64)).kneighbors(QUERY.astype(np.float64))
    similarity, index = neighbors.find(BANK, QUERY, count)
    np.testing.assert_allclose(similarity, 1 - distance, atol=1e-6)
    np.testing.assert_array_equal(index, wanted)


@pytest.mark.parametrize('temperature', [1e-4, 0.07, 10.0])
def test_votes_are_weights_by_class(temperature):
    """Up to a factor for each query; by a loop in float64."""
    similarity, index = neighbors.find(BANK, QUERY, 9)
    votes = neighbors.vote(similarity, LABEL[index], 4, temperature)
    unit = [x.astype(np.float64) / np.linalg.norm(x, axis=1)[:, None] for x in (BANK, QUERY)]
    for query, row in zip(unit[1], votes):
        cosine = unit[0] @ query
        wanted = np.zeros(4)
        for n in sorted(range(70), key=lambda n: -cosine[n])[:9]:
            wanted[LABEL[n]] += np.exp((cosine[n] - cosine.max()) / temperature)
        np.testing.assert_allclose(row, wanted, rtol=1e-2 if temperature < 0.01 else 1e-4)


def test_queries_in_chunks_are_those_in_one(monkeypatch):
    whole = neighbors.find(BANK, QUERY, 7)
    monkeypatch.setattr(neighbors, 'SIMILARITIES', 70 * 8)
    jax.tree.map(np.testing.assert_array_equal, neighbors.find(BANK, QUERY, 7), whole)


def test_scale_of_features_has_no_effect_and_zeros_are_finite():
    index = neighbors.find(BANK, QUERY, 5)[1]
    each = np.float32(2.0) ** DRAW.integers(-9, 9, (70, 1))
    scaled = neighbors.find(BANK * each, QUERY / 2**10, 5)[1]
    np.testing.assert_array_equal(index, scaled)
    assert np.all(neighbors.find(BANK, np.zeros((2, 6), np.float32), 5)[0] == 0)


@pytest.mark.parametrize('classes', [2, 4])
def test_linear_probe_is_the_minimum_of_its_loss(classes):
    """Beside a minimum by scipy of the loss as it is written down; class 4 has no label."""
    x, y = linear_probe.standardize(BANK).apply(BANK), LABEL % classes

    def loss(weights, decay):
        kernel, bias = weights[: 6 * classes].reshape(6, classes), weights[6 * classes :]
        log_p = measure.log_softmax(x @ kernel + bias)
        return -log_p[np.arange(70), y].mean() + decay / 2 * np.sum(kernel**2)

    fits = list(linear_probe.fit(x, y, 5, (0.01, 1.0)))
    assert [fit.decay for fit in fits] == [1.0, 0.01] and all(fit.converged for fit in fits)
    for fit in fits:
        found = minimize(loss, np.zeros(7 * classes), fit.decay, 'BFGS', options={'gtol': 1e-7})
        np.testing.assert_allclose(
            fit.kernel[:, :classes], found.x[: 6 * classes].reshape(6, classes), atol=2e-4
        )
        logits = linear_probe.logits(fit, x)
        assert np.all(logits[:, classes:] == -np.inf)
        weights = np.append(fit.kernel[:, :classes].ravel(), fit.bias[:classes])
        assert loss(weights, fit.decay) == pytest.approx(found.fun, abs=1e-8)


def test_linear_probe_finds_the_minimum_of_separable_classes_with_hardly_any_decay():
    """There the gradient is small long before the minimum: it has to be small beside that of the decay."""
    x = linear_probe.standardize(BANK).apply(BANK)
    y = np.argmax(x[:, :3], -1)
    for fit in linear_probe.fit(x, y, 3, (1e-6, 1e-4)):
        error = np.exp(measure.log_softmax(linear_probe.logits(fit, x))) - np.eye(3)[y]
        decay = fit.decay * fit.kernel
        assert fit.converged
        assert np.abs(x.T @ error / len(x) + decay).max() < 0.02 * np.abs(decay).max()


def test_constant_features_are_kept_finite():
    x = np.concatenate([BANK, np.ones((70, 1), np.float32)], 1)
    scaled = linear_probe.standardize(x).apply(x)
    np.testing.assert_allclose(scaled.std(0), [1] * 6 + [0], atol=1e-6)
    assert np.all(np.isfinite(scaled))
