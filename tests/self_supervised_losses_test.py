"""Losses and gradients of self-supervised rules over some steps, beside loops by their papers.

The loops are in numpy and have networks of their own. Their temperatures, weights and decays are
the defaults of the rules. Where a rule differs from its paper's equations, its loop says so.
"""

import functools
import importlib

import jax
import numpy as np
import pytest
from flax import linen as nn

from mpl.algorithms import interface
from mpl.models import projector
from mpl.models.network import Definition
from mpl.optimizers import sgd

B, STEPS, RATE = 5, 4, 0.1
WIDTH, PROTOTYPES = 4, 6  # of the projector
SIZES = interface.Sizes(examples=40, unlabeled=40, classes=3)


pytestmark = pytest.mark.usefixtures('x64', 'fast_compile')


class Trunk(nn.Module):
    """A layer on the mean color, so that views may differ in size."""

    @nn.compact
    def __call__(self, image, train):
        x = nn.tanh(nn.Dense(7, name='dense')(image.mean((1, 2))))
        return x, nn.Dense(3, name='head')(x)


# The networks a second time.


def unit(z, axis=-1):
    return z / np.sqrt((z**2).sum(axis, keepdims=True))


def dense(layer, x):
    return x @ layer['kernel'] + layer.get('bias', 0)


def head(params, x, statistics=None):
    """A projector or predictor; batch norm has the statistics of x, or the given ones."""
    x = dense(params['dense_0'], x)
    if 'norm_0' in params:
        mean, var = (x.mean(0), x.var(0)) if statistics is None else statistics
        x = (x - mean) / np.sqrt(var + 1e-5) * params['norm_0']['scale'] + params['norm_0']['bias']
    x = dense(params['dense_1'], np.tanh(x))
    if 'prototypes' in params:
        x = unit(x) @ unit(params['prototypes']['kernel'], 0)
    return x


def embed(params, views, joined=False, statistics=None):
    """The projector's outputs of each view; joined views share their statistics."""
    features = [np.tanh(dense(params['student']['dense'], x.mean((1, 2)))) for x in views]
    if not joined:
        return [head(params['projector'], x, statistics) for x in features]
    ends = np.cumsum([len(x) for x in features])[:-1]
    return np.split(head(params['projector'], np.concatenate(features)), ends)


def predict(params, views):
    return [head(params['predictor'], z) for z in embed(params, views)]


def pair(batch, name='view'):
    return [batch['unlabeled'][f'{name}_{n}'] for n in range(2)]


def fixed(kind, params, averaged, statistics, views):
    """The targets, constants of a step's loss, of the weights or their averages before the step."""
    if kind == 'own':
        return embed(params, views)
    if kind == 'averaged, evaluation mode':  # EMAN (arXiv 2101.08482), MPL's choice with a queue
        return embed(averaged, views, statistics=statistics)
    return kind and embed(averaged, views, joined=kind == 'averaged, joined')


# Losses of the weights, from the targets of the step, and of earlier steps with their images.


def nt_xent(z, temperature):
    """The mean over 2B embeddings, half of which are one view and half the other."""
    z, terms = unit(z), []
    for i in range(2 * B):
        others = sum(np.exp(z[i] @ z[k] / temperature) for k in range(2 * B) if k != i)
        terms.append(-np.log(np.exp(z[i] @ z[(i + B) % (2 * B)] / temperature) / others))
    return np.mean(terms)


def info_nce(q, k, negatives, temperature):
    """The mean over queries, each with its key and negatives [K, D] of its own."""
    q, k, terms = unit(q), unit(k), []
    for i in range(B):
        right = np.exp(q[i] @ k[i] / temperature)
        wrong = sum(np.exp(q[i] @ key / temperature) for key in unit(negatives[i]))
        terms.append(-np.log(right / (right + wrong)))
    return np.mean(terms)


def earlier_keys(batch, past, view):
    """For each query the keys of the last two batches, but (MPL's choice) those of its image."""
    keys = np.concatenate([targets[view] for targets, _ in past[-2:]])
    images = np.concatenate([index for _, index in past[-2:]])
    return [keys[images != image] for image in batch['unlabeled']['index']]


def simclr(params, batch, targets, past):
    """arXiv 2002.05709, equation 1 and algorithm 1."""
    return nt_xent(np.concatenate(embed(params, pair(batch), joined=True)), 0.2)


def supcon(params, batch, targets, past):
    """arXiv 2004.11362, equation 2, of labeled images with one view, plus SimCLR of the others.

    The mean over images that have a positive, where the paper has a sum over all.
    """
    *z, labeled = embed(params, [*pair(batch), batch['labeled']['image']], joined=True)
    label, labeled, terms = batch['labeled']['label'], unit(labeled), []
    for i in range(len(label)):
        others = [a for a in range(len(label)) if a != i]
        positives = [p for p in others if label[p] == label[i]]
        total = sum(np.exp(labeled[i] @ labeled[a] / 0.1) for a in others)
        if positives:
            logs = [np.log(np.exp(labeled[i] @ labeled[p] / 0.1) / total) for p in positives]
            terms.append(-np.sum(logs) / len(positives))
    return nt_xent(np.concatenate(z), 0.1) + np.mean(terms)


def moco(params, batch, targets, past):
    """arXiv 1911.05722, equation 1 and algorithm 1: view_0 are queries, view_1 are keys."""
    (q,) = embed(params, pair(batch)[:1])
    return info_nce(q, targets[1], earlier_keys(batch, past, 1), 0.2)


def moby(params, batch, targets, past):
    """arXiv 2105.04553, section 3 and algorithm 1: a queue for the keys of each view."""
    q = predict(params, pair(batch))
    negatives = [earlier_keys(batch, past, 1 - n) for n in range(2)]
    return sum(info_nce(q[n], targets[1 - n], negatives[n], 0.2) for n in range(2))


def moco_v3(params, batch, targets, past, temperature=1.0):
    """arXiv 2104.02057, equation 1 and algorithm 1: negatives are the other keys of the batch."""
    q, total = predict(params, pair(batch)), 0
    for n, k in enumerate(targets[::-1]):
        negatives = [np.delete(k, i, 0) for i in range(B)]
        total += 2 * temperature * info_nce(q[n], k, negatives, temperature)
    return total


def byol(params, batch, targets, past):
    """arXiv 2006.07733, equation 2, and the sum with that of exchanged views."""
    p = predict(params, pair(batch))
    return sum(np.sum((unit(p[n]) - unit(targets[1 - n])) ** 2, -1).mean() for n in range(2))


def simsiam(params, batch, targets, past):
    """arXiv 2011.10566, equations 1 and 4."""
    p = predict(params, pair(batch))
    distances = [-np.sum(unit(p[n]) * unit(targets[1 - n]), -1).mean() for n in range(2)]
    return distances[0] / 2 + distances[1] / 2


def vicreg(params, batch, targets, past):
    """arXiv 2105.04906, equations 1 to 6, with averages as in the released code.

    Equation 5 is not divided by D, and equation 6 has twice this part of the variances.
    """
    z = embed(params, pair(batch))
    invariance = np.mean([(z[0][i] - z[1][i]) ** 2 for i in range(B)])
    variance = covariance = 0
    for one in z:
        spread = [np.sqrt(np.var(one[:, d], ddof=1) + 1e-4) for d in range(WIDTH)]
        variance += np.mean([max(0, 1 - s) for s in spread])
        matrix = sum(np.outer(row, row) for row in one - one.mean(0)) / (B - 1)
        covariance += (np.sum(matrix**2) - np.sum(np.diagonal(matrix) ** 2)) / WIDTH
    return 25 * invariance + 25 * variance / 2 + 1 * covariance


def barlow_twins(params, batch, targets, past):
    """arXiv 2103.03230, equations 1 and 2; the weight and 1e-5 are those of the released code."""
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in embed(params, pair(batch)))
    total = 0
    for i in range(WIDTH):
        for j in range(WIDTH):
            c = np.mean(a[:, i] * b[:, j])
            total += (1 - c) ** 2 if i == j else 0.0051 * c**2
    return total


def dino(params, batch, targets, past):
    """arXiv 2104.14294, equations 3 and 4; the mean over pairs of views, as in the released code."""
    center = 0
    for earlier, _ in past:
        center = 0.9 * center + 0.1 * np.mean(np.concatenate(earlier), 0)
    outputs = embed(params, pair(batch), joined=True)
    if 'small_0' in batch['unlabeled']:
        outputs += embed(params, pair(batch, 'small'), joined=True)
    terms = []
    for i, target in enumerate(targets):
        wanted = np.exp((target - center) / 0.04)
        for j, output in enumerate(outputs):
            if i != j:
                p = np.exp(output / 0.1)
                log_p = np.log(p / p.sum(-1, keepdims=True))
                terms.append(-np.mean(np.sum(wanted * log_p, -1) / np.sum(wanted, -1)))
    return np.mean(terms)


RULES = {
    'simclr': (None, simclr),
    'supcon': (None, supcon),
    'moco': ('averaged, evaluation mode', moco),
    'moby': ('averaged, evaluation mode', moby),
    'moco_v3': ('averaged', moco_v3),
    'moco_v3 of transformers': ('averaged', functools.partial(moco_v3, temperature=0.2)),
    'byol': ('averaged', byol),
    'simsiam': ('own', simsiam),
    'vicreg': (None, vicreg),
    'barlow_twins': (None, barlow_twins),
    'dino': ('averaged, joined', dino),
    'dino with small crops': ('averaged, joined', dino),
}
PREDICTED = ('moby', 'moco_v3', 'byol', 'simsiam')
QUEUE = {'moco': 2, 'moby': 2}  # batches
MORE = dict.fromkeys(RULES, {}) | {  # arguments that are not the defaults
    'moco': {'queue': QUEUE['moco'] * B},
    'moby': {'queue': QUEUE['moby'] * B},
    'moco_v3 of transformers': {'temperature': 0.2},
}


def build(name):
    rule = name.split()[0]
    prototypes = PROTOTYPES if rule == 'dino' else 0
    models = {
        'student': Trunk(),
        'projector': projector.make((5, WIDTH), 'tanh', 'batch', prototypes=prototypes),
    }
    if rule in PREDICTED:
        models['predictor'] = projector.make((3, WIDTH), 'tanh', 'none')
    optimizer = sgd.make(100, RATE, 'constant', momentum=0.0)
    make = importlib.import_module(f'mpl.algorithms.{rule}').make
    definitions = {role: Definition(model, optimizer) for role, model in models.items()}
    return make(**definitions, **MORE[name])


def make_batch(name, step):
    """Its first two images are the last two of the batch before; one label has no positive."""
    draw = np.random.default_rng(step)
    index = np.arange(B, dtype=np.int32) + (B - 2) * step
    images = {'view_0': (2, 2), 'view_1': (2, 2)}
    if name == 'dino with small crops':
        images |= {'small_0': (1, 1), 'small_1': (1, 1)}
    unlabeled = {view: draw.normal(size=(B, *size, 6)) for view, size in images.items()}
    batch = {'unlabeled': unlabeled | {'index': index}}
    if name == 'supcon':
        image, label = draw.normal(size=(6, 2, 2, 6)), np.array([0, 1, 0, 2, 1, 0], np.int32)
        batch['labeled'] = {'image': image, 'label': label, 'index': 34 + np.arange(6)}
    return batch


def scatter(state):
    """Float64, and all weights and statistics drawn anew, so that no average is its network."""
    draw = np.random.default_rng(9)

    def drawn(variables):
        def fill(tree, low):
            return jax.tree.map(lambda leaf: draw.uniform(low, 1.5, leaf.shape), tree)

        return variables.replace(
            params=fill(variables.params, -1), batch_stats=fill(variables.batch_stats, 0.5)
        )

    state = jax.tree.map(lambda x: np.asarray(x, float) if x.dtype == 'float32' else x, state)
    nets = {role: drawn(net) for role, net in state.nets.items()}
    return state._replace(
        nets={role: net.replace(ema=net.ema and drawn(net.ema)) for role, net in nets.items()}
    )


@functools.cache
def ran(name):
    """The batches, the states before, between and after STEPS steps, and their losses."""
    learner = build(name)
    batches = [make_batch(name, step) for step in range(STEPS)]
    start = jax.jit(learner.init, static_argnums=2)(jax.random.key(0), batches[0], SIZES)
    states, losses, update = [scatter(start)], [], jax.jit(learner.update)
    for step, batch in enumerate(batches):
        state, metrics = update(states[-1], batch, step, jax.random.key(step))
        states.append(state)
        losses.append(metrics['loss/unlabeled'])
    return batches, jax.device_get(states), jax.device_get(losses)


def weights(nets):
    """By role, without the classifier of the trunk."""
    return {
        role: {name: layer for name, layer in net.params.items() if name != 'head'}
        for role, net in nets.items()
    }


def loops(name):
    """The loss of each step as a function of the weights, whose targets are fixed."""
    batches, states, _ = ran(name)
    kind, loss = RULES[name]
    kept = {role: net.ema for role, net in states[0].nets.items() if net.ema is not None}
    averaged, decay, past, found = weights(kept), 0.996 if 'dino' in name else 0.99, [], []
    for batch, before, after in zip(batches, states, states[1:]):
        statistics = None
        if kept:
            norm = before.nets['projector'].ema.batch_stats['norm_0']
            statistics = norm['mean'], norm['var']
        targets = fixed(kind, weights(before.nets), averaged, statistics, pair(batch))
        found.append(functools.partial(loss, batch=batch, targets=targets, past=[*past]))
        past.append((targets, batch['unlabeled']['index']))
        new = weights({role: after.nets[role] for role in kept})
        averaged = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, averaged, new)
    return found


@pytest.mark.parametrize('name', RULES)
def test_losses_are_those_of_the_paper(name):
    """Those after the first also depend on averages, centers and queues of the steps before."""
    _, states, losses = ran(name)
    known = QUEUE[name] if name in QUEUE else 0  # Before it a queue has random keys.
    steps = [*zip(loops(name), states)][known:]
    wanted = [loop(weights(state.nets)) for loop, state in steps]
    np.testing.assert_allclose(losses[known:], wanted, rtol=1e-9)


@pytest.mark.parametrize('name', RULES)
def test_gradients_are_those_of_the_loss_with_fixed_targets(name):
    """By the change of weights in the last step, beside finite differences."""
    _, states, _ = ran(name)
    before, after = (weights(state.nets) for state in states[-2:])
    loss, draw = loops(name)[-1], np.random.default_rng(7)
    for role in before:
        leaves, tree = jax.tree.flatten(before[role])
        direction = [draw.normal(size=leaf.shape) for leaf in leaves]
        high, low = (
            loss(before | {role: tree.unflatten([a + s * b for a, b in zip(leaves, direction)])})
            for s in (1e-6, -1e-6)
        )
        changes = [(a - b) / RATE for a, b in zip(leaves, jax.tree.leaves(after[role]))]
        slope = sum(np.sum(a * b) for a, b in zip(changes, direction))
        wanted = (high - low) / 2e-6
        assert abs(wanted) > 1e-3, role
        np.testing.assert_allclose(slope, wanted, rtol=1e-5, err_msg=role)
