"""Pretext tasks: their transformations, their losses beside loops in float64, and the contract."""

import functools
import importlib
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from mpl.algorithms import interface, pretext
from mpl.augment import colorization, lab
from mpl.models import cnn, network, projector
from mpl.models.network import Definition
from mpl.optimizers import sgd

pytestmark = pytest.mark.usefixtures('fast_compile')

BINS = len(pretext.color_bins(40.0))
# Arguments of each rule, its head's role and outputs, and the channels of its images of 8 x 8.
RULES = {
    'rotation': ({}, 'classifier', 4, 1),
    's4l': ({}, 'classifier', 4, 1),
    'jigsaw': (dict(tile=3, grid=2, permutations=6), 'classifier', 6, 1),
    'inpainting': (dict(hole=4, overlap=1), 'decoder', 16, 1),
    'colorization': (dict(layer='stage_1', spacing=40.0), 'classifier', BINS, 3),
}
# Other values of numbers that have an effect.
KNOBS = {
    'jigsaw': dict(tile=2, grid=3, permutations=6),
    'inpainting': dict(overlap=0, overlap_weight=1.0),
    'colorization': dict(rebalance=1.0, memory_decay=0.1),
    's4l': dict(weight=2.0, label_smoothing=0.3),
}
SIZES = interface.Sizes(examples=13, unlabeled=12, classes=3)
KEY = jax.random.key(3)


def make_batch(channels, seed=0):
    draw = np.random.default_rng(seed)
    image, view = (draw.normal(size=(n, 8, 8, channels)) for n in (4, 6))
    color = draw.uniform(-60, 60, (6, 8, 8, 2))
    color[2] = draw.uniform(-4, 4, (8, 8, 2))  # A gray image.
    label = draw.integers(0, 3, 4).astype(np.int32)
    return {
        'labeled': {'image': image, 'label': label, 'index': np.arange(4)},
        'unlabeled': {'view_0': view, 'color': color, 'index': np.arange(6)},
    }


def build(name, shards=1, outputs=None, **more):
    numbers, role, count, _ = RULES[name]
    mesh = AbstractMesh((shards, 1), ('data', 'model'))
    trunk = cnn.make(3, (4, 5), (1, 2), norm='batch', pool='mean', activation='tanh')
    head = projector.make((outputs or count,), 'tanh')
    definitions = {
        role: Definition(model, sgd.make(100, 0.1), mesh)
        for role, model in {'student': trunk, role: head}.items()
    }
    make = importlib.import_module(f'mpl.algorithms.{name}').make
    return make(**(definitions | numbers | more)), definitions


def as_float32(tree):
    return jax.tree.map(lambda x: np.float32(x) if np.asarray(x).dtype == np.float64 else x, tree)


@functools.cache
def state_of(name, **more):
    rule, _ = build(name, **more)
    init = functools.partial(rule.init, sizes=SIZES)
    state = jax.jit(init)(jax.random.key(0), as_float32(make_batch(RULES[name][3])))
    return jax.tree.map(np.asarray, state)


def passed(definitions, state, *images, joined=True):
    """Features of a training-mode pass over all images together."""
    net = state.nets['student']
    outputs, _ = network.forward(
        definitions['student'], net.params, net.batch_stats, KEY, jnp.concatenate(images)
    )
    return outputs[0]


def headed(definitions, state, role, features):
    net = state.nets[role]
    (found,), _ = network.forward(definitions[role], net.params, net.batch_stats, KEY, features)
    return np.asarray(found.logits, np.float64)


def entropy(logits, label):
    total = 0.0
    for row, k in zip(logits, label):
        total += np.log(np.sum(np.exp(row - row.max()))) + row.max() - row[k]
    return total / len(label)


def turned(image):
    return [np.rot90(image, k, (1, 2)) for k in range(4)]


def rotation(rule, definitions, state, batch):
    view = batch['unlabeled']['view_0']
    features = passed(definitions, state, *turned(view)).features
    logits = headed(definitions, state, 'classifier', features)
    return entropy(logits, np.repeat(np.arange(4), 6))


def s4l(rule, definitions, state, batch):
    labeled, view = batch['labeled'], batch['unlabeled']['view_0']
    outputs = passed(definitions, state, *turned(labeled['image']), *turned(view))
    logits = headed(definitions, state, 'classifier', outputs.features)
    supervised = entropy(np.asarray(outputs.logits)[:16], np.tile(labeled['label'], 4))
    of_labeled = entropy(logits[:16], np.repeat(np.arange(4), 4))
    of_unlabeled = entropy(logits[16:], np.repeat(np.arange(4), 6))
    return supervised + (of_labeled + of_unlabeled) / 2


def jigsaw(rule, definitions, state, batch):
    """Tiles and permutations by the keys of the rule, put in order one by one."""
    view = batch['unlabeled']['view_0']
    tile_key, label_key, _, _ = jax.random.split(KEY, 4)
    label = np.asarray(jax.random.randint(label_key, (6,), 0, 6))
    tiles = np.asarray(pretext.cut_tiles(tile_key, jnp.asarray(view), 2, 3))
    order = pretext.permutations(4, 6)
    mixed = [[tiles[i, order[label[i], place]] for i in range(6)] for place in range(4)]
    features = passed(definitions, state, *map(np.stack, mixed)).features
    features = np.concatenate(np.split(np.asarray(features), 4), -1)
    return entropy(headed(definitions, state, 'classifier', features), label)


def inpainting(rule, definitions, state, batch):
    view = batch['unlabeled']['view_0']
    masked = view.copy()
    masked[:, 3:5, 3:5] = 0
    features = passed(definitions, state, masked).features
    pixels = headed(definitions, state, 'decoder', features).reshape(6, 4, 4, 1)
    total = 0.0
    for i, row, column in itertools.product(range(6), range(4), range(4)):
        weight = 1 if row in (1, 2) and column in (1, 2) else 10
        total += weight * (pixels[i, row, column, 0] - view[i, 2 + row, 2 + column, 0]) ** 2
    return total / (6 * 16)


def colors(rule, definitions, state, batch):
    view, color = batch['unlabeled']['view_0'], batch['unlabeled']['color']
    net, bins = state.nets['student'], pretext.color_bins(40.0)
    maps, _ = network.forward_layer(
        definitions['student'], net.params, net.batch_stats, KEY, jnp.asarray(view), 'stage_1'
    )
    logits = headed(definitions, state, 'classifier', maps)
    small = np.asarray(jax.image.resize(jnp.asarray(color), (6, 4, 4, 2), 'linear'))
    places = [*itertools.product(range(6), range(4), range(4))]
    code = {place: np.zeros(BINS) for place in places}
    for place in places:
        square = np.sum((small[place] - bins) ** 2, -1)
        near = np.argsort(square)[:10]
        weight = np.exp(-(square[near] - square.min()) / (2 * 5.0**2))
        code[place][near] = weight / weight.sum()
    share = 0.99 / BINS + 0.01 * np.mean([code[place] for place in places if place[0] != 2], 0)
    weight = 1 / (0.5 * share + 0.5 / BINS)
    weight /= np.sum(share * weight)
    total, count = 0.0, 0
    for place in places:
        if place[0] != 2:
            row = logits[place]
            log_p = row - row.max() - np.log(np.sum(np.exp(row - row.max())))
            total -= weight[np.argmax(code[place])] * np.sum(code[place] * log_p)
            count += 1
    return total / count


LOOPS = dict(rotation=rotation, s4l=s4l, jigsaw=jigsaw, inpainting=inpainting, colorization=colors)


@pytest.mark.parametrize('name', RULES)
def test_loss_is_that_of_a_loop(name):
    rule, definitions = build(name)
    batch, state = as_float32(make_batch(RULES[name][3])), state_of(name)
    if name == 's4l':
        _, metrics = jax.jit(rule.update)(state, batch, 0, KEY)
        got = metrics['loss/unlabeled']
    else:
        _, metrics = jax.jit(rule.update)(state, {'unlabeled': batch['unlabeled']}, 0, KEY)
        got = metrics['loss/unlabeled']
    assert float(got) == pytest.approx(LOOPS[name](rule, definitions, state, batch), rel=2e-4)


def run(rule, state, channels, batch=None):
    """Three steps."""

    @jax.jit
    def scan(state, batches):
        def body(state, inputs):
            return rule.update(state, *inputs)

        return jax.lax.scan(body, state, batches)

    given = [as_float32(make_batch(channels, seed)) for seed in range(3)]
    given = [one if batch is None else batch(one) for one in given]
    stacked = jax.tree.map(lambda *x: np.stack(x), *given)
    return scan(state, (stacked, jnp.arange(3), jax.random.split(KEY, 3)))


@functools.cache
def ran(name):
    rule, _ = build(name)
    return run(rule, state_of(name), RULES[name][3])


@pytest.mark.parametrize('name', RULES)
def test_every_weight_learns_and_everything_is_finite(name):
    after, metrics = ran(name)
    before = state_of(name)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, before)
    chex.assert_tree_all_finite((after, metrics))
    for role in before.nets:
        for part in ('params', 'batch_stats'):
            old, new = (getattr(state.nets[role], part) for state in (before, after))
            for (path, a), b in zip(jax.tree.leaves_with_path(old), jax.tree.leaves(new)):
                assert not np.array_equal(a, b), (role, path)


@pytest.mark.parametrize('name', ['inpainting', 'colorization', 'jigsaw', 'rotation'])
def test_labels_touch_the_probe_alone(name):
    def shuffle(batch):
        return batch | {
            'labeled': batch['labeled'] | {'label': (batch['labeled']['label'] + 1) % 3}
        }

    rule, _ = build(name)
    other, _ = run(rule, state_of(name), RULES[name][3], shuffle)
    one, two = ({**s.nets['student'].params} for s in (ran(name)[0], other))
    heads = one.pop('head'), two.pop('head')
    chex.assert_trees_all_equal(one, two)
    assert not np.array_equal(*(head['dense']['kernel'] for head in heads))


@pytest.mark.parametrize('name', ['inpainting', 'colorization', 'jigsaw'])
def test_number_of_shards_changes_nothing(name):
    two, _ = run(build(name, shards=2)[0], state_of(name), RULES[name][3])
    chex.assert_trees_all_close(two.nets, ran(name)[0].nets, atol=1e-4)


@pytest.mark.parametrize('name, knob', [(n, k) for n, knobs in KNOBS.items() for k in knobs])
def test_no_knob_is_dead(name, knob):
    """By the loss after three steps."""
    more = KNOBS[name] if name == 'jigsaw' and knob == 'grid' else {knob: KNOBS[name][knob]}
    if knob == 'permutations':
        more = {knob: 5}
    shaping = more | {'outputs': 5} if knob == 'permutations' else more
    state = state_of(name, **shaping) if name == 'jigsaw' else state_of(name)
    _, metrics = run(build(name, **shaping)[0], state, RULES[name][3])
    assert abs(float(metrics['loss/unlabeled'][-1] - ran(name)[1]['loss/unlabeled'][-1])) > 1e-6


def test_permutations_are_chosen_greedily():
    every = [*itertools.permutations(range(4))]
    chosen = [every[0]]
    while len(chosen) < 8:
        chosen.append(
            max(
                (p for p in every if p not in chosen),
                key=lambda p: sum(np.sum(np.array(p) != c) for c in chosen),
            )
        )
    np.testing.assert_array_equal(pretext.permutations(4, 8), chosen)
    nine = pretext.permutations(9, 20)
    assert len(np.unique(nine, axis=0)) == 20 and (np.sort(nine) == np.arange(9)).all()


def test_tiles_are_of_their_cells_and_standardized():
    """Pixels that number themselves: each tile is a square of whole neighbors within its cell."""
    image = np.arange(2 * 81, dtype=np.float32).reshape(2, 9, 9, 1)
    tiles = np.asarray(pretext.cut_tiles(KEY, jnp.asarray(image), 3, 2))
    assert tiles.shape == (2, 9, 2, 2, 1)
    np.testing.assert_allclose(tiles.mean((2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(tiles.std((2, 3)), 1, atol=1e-4)
    mean = 40.0
    rows, seen = np.where(image[0, :, :, 0] >= 0, image[0, :, :, 0], mean), set()
    for place, tile in enumerate(tiles[0, ..., 0]):
        found = []
        for top, left in itertools.product(range(8), range(8)):
            part = rows[top : top + 2, left : left + 2]
            if np.allclose((part - part.mean()) / part.std(), tile, atol=1e-4):
                found.append((top, left))
        corner = place // 3 * 3, place % 3 * 3
        inside = [f for f in found if all(0 <= a - c <= 1 for a, c in zip(f, corner))]
        assert inside
        seen |= {(top % 3, left % 3) for top, left in inside}
    assert len(seen) > 1


WHITE, RED, GREEN, BLUE = (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)
LAB = {  # CIE, D65
    WHITE: (100, 0, 0),
    RED: (53.24, 80.09, 67.20),
    GREEN: (87.73, -86.18, 83.18),
    BLUE: (32.30, 79.19, -107.86),
    (0.0, 0.0, 0.0): (0, 0, 0),
    (0.5, 0.5, 0.5): (53.39, 0, 0),
}


def test_colors_of_lab():
    got = lab.from_rgb(jnp.array([*LAB], jnp.float32))
    np.testing.assert_allclose(got, [*LAB.values()], atol=0.02)
    gray = jnp.linspace(0, 1, 50)[:, None]
    lightness = lab.from_rgb(jnp.repeat(gray, 3, -1))[:, :1]
    np.testing.assert_allclose(lab.to_gray(lightness), gray, atol=1e-4)


def test_bins_are_those_of_the_gamut():
    bins = pretext.color_bins(10.0)
    assert 240 <= len(bins) <= 313
    assert (0, 0) in {*map(tuple, bins)} and (-110, -110) not in {*map(tuple, bins)}
    codes = np.asarray(pretext.color_codes(jnp.array([[12.0, -33.0], [0.0, 0.0]]), bins))
    np.testing.assert_allclose(codes.sum(-1), 1, rtol=1e-5)
    assert ((codes > 0).sum(-1) == 10).all()
    np.testing.assert_array_equal(bins[codes.argmax(-1)], [[10, -30], [0, 0]])


def test_views_of_colorization_are_gray_and_keep_the_colors():
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    views = colorization.make(100.0, 50.0, mirror=False)
    got = views.unlabeled(jax.random.key(0), jnp.asarray(image))
    wanted = lab.from_rgb(image / np.float32(255))
    np.testing.assert_allclose(got['color'], wanted[..., 1:], atol=1e-3)
    gray = np.asarray(got['view_0']) * 50 + 100
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])
    np.testing.assert_allclose(
        lab.from_rgb(jnp.asarray(gray / 255))[..., 0], wanted[..., 0], atol=0.05
    )
    np.testing.assert_allclose(views.evaluate(image), (image - 100.0) / 50, rtol=1e-5)
    with pytest.raises(ValueError, match='the images have 1 channels and no colors'):
        views.unlabeled(jax.random.key(0), jnp.asarray(image[..., :1]))


def refuse(name, change=None, **more):
    rule, _ = build(name, **more)
    batch = as_float32(make_batch(RULES[name][3]))
    if change:
        batch['unlabeled']['view_0'] = change(batch['unlabeled']['view_0'])
    state = jax.eval_shape(functools.partial(rule.init, sizes=SIZES), KEY, batch)
    jax.eval_shape(rule.update, state, batch, 0, KEY)


REFUSED = {
    'Rotations are of square images.* 8 x 6; crop or resize them': (
        'rotation',
        lambda x: x[:, :, :6],
        {},
    ),
    'Tiles are of square images, and these are 8 x 6': ('jigsaw', lambda x: x[:, :, :6], {}),
    'has 3 outputs, but the task has 4, one for each rotation': ('rotation', None, dict(outputs=3)),
    'algorithm.tile is 5, but images of 8 x 8 have 2 x 2 cells of 4 pixels': (
        'jigsaw',
        None,
        dict(tile=5),
    ),
    'algorithm.permutations is 25; give a number from 2 to 24': (
        'jigsaw',
        None,
        dict(permutations=25),
    ),
    'algorithm.grid is 4; give 2 or 3': ('jigsaw', None, dict(grid=4)),
    'algorithm.hole is 8 and overlap 1': ('inpainting', None, dict(hole=8)),
    'algorithm.hole is 2 and overlap 1': ('inpainting', None, dict(hole=2)),
    'has 9 outputs, but the task has 16': ('inpainting', None, dict(outputs=9)),
    "no layer 'stage_9'; give one of": ('colorization', None, dict(layer='stage_9')),
    "algorithm.layer is 'head', whose outputs": ('colorization', None, dict(layer='head')),
    'algorithm.rebalance is 0; give': ('colorization', None, dict(rebalance=0)),
    'algorithm.spacing is 1.0': ('colorization', None, dict(spacing=1.0)),
}


@pytest.mark.parametrize('message', REFUSED)
def test_refusals(message):
    name, change, more = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        refuse(name, change, **more)
