"""The vision transformer: size, arithmetic against a plain re-statement, options, precision, memory, refusals."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.models import layers, vit

IMAGE = jax.random.normal(jax.random.key(3), (3, 8, 12, 3))


@pytest.fixture
def small(monkeypatch):
    """ViT-Ti is a network of two narrow blocks, that compiles quickly."""
    monkeypatch.setitem(vit.SIZES, 'Ti', (24, 2, 3))


def shaped(model, image=IMAGE):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))


def drawn(model, dtype='float32'):
    """Variables away from the initial ones and zeros; a signal keeps its size through the layers."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        values = random.normal(size=leaf.shape)
        if path[-1].key == 'kernel':
            values *= np.prod(leaf.shape[:-1]) ** -0.5
        if path[-1].key == 'scale':
            values = 1 + 0.3 * values
        return jnp.asarray(values, dtype)

    return jax.tree_util.tree_map_with_path(draw, shaped(model))


def forward(model, variables, image=IMAGE):
    """(features, logits) in training mode."""
    return model.apply(variables, image, True, rngs={'dropout': jax.random.key(1)})


@pytest.mark.parametrize(
    'size, patch, published',
    [
        ('Ti', 16, 5_717_416),
        ('S', 16, 22_050_664),
        ('B', 16, 86_567_656),
        ('B', 32, 88_224_232),
        ('L', 16, 304_326_632),
        ('H', 14, 632_045_800),
    ],
)
@pytest.mark.parametrize('pool', ['token', 'mean'])
def test_number_of_parameters(size, patch, pool, published):
    params = shaped(vit.make(1000, size, patch, pool), jnp.zeros((1, 224, 224, 3)))['params']
    assert sum(x.size for x in jax.tree.leaves(params)) == published


def restated(params, image, pool, patch=4, heads=3):
    """Features and logits of the small network, from the description alone."""

    def dense(x, p):
        return x @ p['kernel'] + p['bias']

    def norm(x, p):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(variance + 1e-6) * p['scale'] + p['bias']

    rows, columns = image.shape[1] // patch, image.shape[2] // patch
    tokens = [jnp.broadcast_to(params['token'][0], (image.shape[0], 24))]
    for row in range(rows):
        for column in range(columns):
            part = image[:, row * patch :, column * patch :][:, :patch, :patch]
            kernel = params['patches']['kernel'].reshape(-1, 24)
            flat = part.reshape(image.shape[0], -1)
            tokens.append(dense(flat, {'kernel': kernel, 'bias': params['patches']['bias']}))
    x = jnp.stack(tokens, 1) + params['positions']
    for i in range(2):
        p = params[f'block_{i}']
        query, key, value = jnp.split(dense(norm(x, p['norm_0']), p['qkv']), 3, -1)
        joined = []
        for part in np.split(np.arange(24), heads):
            scores = jnp.einsum('bnd,bmd->bnm', query[..., part], key[..., part])
            weights = jax.nn.softmax(scores / jnp.sqrt(24 / heads))
            joined.append(jnp.einsum('bnm,bmd->bnd', weights, value[..., part]))
        x = x + dense(jnp.concatenate(joined, -1), p['out'])
        y = dense(norm(x, p['norm_1']), p['dense_0'])
        y = y * (1 + jax.scipy.special.erf(y / jnp.sqrt(2))) / 2
        x = x + dense(y, p['dense_1'])
    if pool == 'token':
        features = norm(x, params['norm'])[:, 0]
    else:
        features = norm(x[:, 1:].mean(1), params['norm'])
    return features, dense(features, params['head']['dense'])


@pytest.mark.parametrize('pool', ['token', 'mean'])
def test_equals_a_plain_restatement_in_double_precision(small, x64, fast_compile, pool):
    model, image = vit.make(10, 'Ti', 4, pool), IMAGE.astype('float64')
    variables = drawn(model, 'float64')
    got = jax.jit(lambda v: forward(model, v, image))(variables)
    want = jax.jit(lambda v: restated(v['params'], image, pool))(variables)
    chex.assert_type(got, 'float64')
    chex.assert_trees_all_close(got, want, rtol=1e-10)


def test_initial_values(small, fast_compile):
    params = jax.jit(lambda: vit.make(1000, 'Ti', 4).init(jax.random.key(0), IMAGE, False))()
    params = params['params']
    for kernel in (
        params['block_1']['qkv']['kernel'],
        params['block_1']['dense_1']['kernel'],
        params['head']['dense']['kernel'],
        params['positions'],
    ):
        np.testing.assert_allclose(kernel.std(), 0.02, rtol=0.2)
    np.testing.assert_allclose(params['patches']['kernel'].std(), 48**-0.5, rtol=0.1)
    assert 0 < jnp.abs(params['token']).max() < 1e-5
    # The first of some, as when a checkpoint of them was written.
    first = [params['positions'][0, 1, 0], params['block_1']['qkv']['kernel'][0, 0]]
    np.testing.assert_allclose(first, [0.01054384, 0.02102201], rtol=1e-5)
    names = {'dense_0', 'dense_1', 'norm_0', 'norm_1', 'out', 'qkv'}
    assert params['block_0'].keys() == names
    assert params.keys() == {'block_0', 'block_1', 'head', 'norm', 'patches', 'positions', 'token'}


def run(**numbers):
    model = vit.make(10, **{'size': 'Ti', 'patch': 4, **numbers})
    return jax.jit(lambda v: forward(model, v))(drawn(model))


def test_every_number_matters(small, fast_compile):
    def differ(one, other):
        return any(not np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(one, other))

    plain = run()
    assert not differ(plain, run())
    for knob in (
        {'patch': 2},
        {'pool': 'mean'},
        {'pool': 'norm_mean'},
        {'pool': 'attention'},
        {'qkv_bias': False},
        {'pre_norm': True},
        {'norm_epsilon': 0.1},
        {'dropout': 0.5},
        {'hidden_dropout': 0.5},
        {'stochastic_depth': 0.5},
        {'dtype': 'bfloat16'},
    ):
        assert differ(plain, run(**knob)), knob


def test_stochastic_depth_grows_with_depth(monkeypatch):
    rates = []
    monkeypatch.setattr(layers, 'drop_branch', lambda y, rate, train: rates.append(rate) or y)
    shaped(vit.make(10, 'Ti', 4, stochastic_depth=0.22))
    np.testing.assert_allclose(rates, np.repeat([0.02 * i for i in range(12)], 2))


def test_remat_keeps_less_computes_more_and_changes_no_number(monkeypatch, fast_compile):
    monkeypatch.setitem(vit.SIZES, 'Ti', (24, 4, 3))
    grads, kept, flops = [], [], []
    for remat in (False, True):
        model = vit.make(10, 'Ti', 2, hidden_dropout=0.2, stochastic_depth=0.2, remat=remat)
        variables = drawn(model)

        def loss(variables, model=model):
            return jnp.tanh(forward(model, variables)[1]).sum()

        pullback = jax.eval_shape(lambda v: jax.vjp(loss, v)[1], variables)
        kept.append(sum(x.size for x in jax.tree.leaves(pullback)))
        lowered = jax.jit(jax.grad(loss)).lower(variables)
        flops.append(lowered.cost_analysis()['flops'])
        grads.append(lowered.compile()(variables))
    for a, b in zip(*map(jax.tree.leaves, grads), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(a).max() + 1e-7)
    parameters = sum(x.size for x in jax.tree.leaves(variables))
    assert kept[1] - parameters < 0.3 * (kept[0] - parameters)
    assert 1.2 * flops[0] < flops[1] < 1.5 * flops[0]


@pytest.mark.parametrize('pool', ['token', 'mean'])
def test_bfloat16_computes_narrow_and_keeps_the_rest_wide(small, fast_compile, pool):
    narrow, plain = run(dtype='bfloat16', pool=pool), run(pool=pool)
    model = vit.make(10, 'Ti', 4, pool, dtype='bfloat16')
    assert {str(x.dtype) for x in jax.tree.leaves((narrow, shaped(model)))} == {'float32'}
    equations = jax.make_jaxpr(lambda v: forward(model, v))(drawn(model)).eqns
    products = [e.invars for e in equations if e.primitive.name == 'dot_general']
    widths = [{str(x.aval.dtype) for x in pair} for pair in products]
    assert widths == 13 * [{'bfloat16'}] + [{'float32'}]  # Only the head's is wide.
    for got, want in zip(narrow, plain):
        np.testing.assert_allclose(got, want, rtol=0, atol=0.01 * jnp.abs(want).max())


def test_options_in_bfloat16_with_remat(monkeypatch, fast_compile):
    """The gradients are, but for rounding, those in float32 of blocks that are kept."""
    monkeypatch.setitem(vit.SIZES, 'Ti', (24, 1, 3))
    gradients = []
    options = dict(positions='rotary', registers=2, layer_scale=0.5, pre_norm=True)
    for numbers in ({}, {'dtype': 'bfloat16', 'remat': True}):
        model = vit.make(10, 'Ti', 4, 'attention', **options, **numbers)

        def loss(variables, model=model):
            features, logits = forward(model, variables)
            chex.assert_type((features, logits), 'float32')
            return jnp.tanh(logits).sum()

        gradients.append(jax.jit(jax.grad(loss))(drawn(model)))
    for plain, narrow in zip(*map(jax.tree.leaves, gradients), strict=True):
        assert np.linalg.norm(plain - narrow) < 0.05 * np.linalg.norm(plain) + 1e-5


def test_evaluation_draws_nothing(small, fast_compile):
    model = vit.make(10, 'Ti', 4, dropout=0.5, hidden_dropout=0.5, stochastic_depth=0.5)
    predict = jax.jit(lambda image: model.apply(drawn(model), image, False)[1])
    np.testing.assert_allclose(predict(IMAGE)[:1], predict(IMAGE[:1]), rtol=1e-4, atol=1e-4)


def test_refuses_an_image_that_patches_do_not_fill():
    with pytest.raises(ValueError, match='8 x 12.*5 x 5'):
        shaped(vit.make(10, patch=5))


@pytest.mark.parametrize(
    'numbers, words',
    [
        ({'num_classes': 1}, 'num_classes=1'),
        ({'size': 'T'}, "size='T'.*'Ti'"),
        ({'patch': 0}, 'patch'),
        ({'pool': 'max'}, "pool='max'"),
        ({'positions': 'sine'}, "positions='sine'.*'rotary'"),
        ({'class_token': False}, "pool='token' needs a class token"),
        ({'registers': -1}, 'registers=-1'),
        ({'layer_scale': -0.1}, 'layer_scale=-0.1'),
        ({'mlp': 'relu'}, "mlp='relu'.*'swiglu'"),
        ({'mlp': 'swiglu', 'pool': 'attention'}, "pool='attention' .*choose another mlp"),
        ({'mlp_width': -1}, 'mlp_width=-1'),
        ({'norm_epsilon': 0.0}, 'norm_epsilon=0.0'),
        ({'dropout': 1.0}, 'dropout=1.0'),
        ({'hidden_dropout': 1.0}, 'hidden_dropout=1.0'),
        ({'stochastic_depth': 1.0}, 'stochastic_depth=1.0'),
        ({'dtype': 'float16'}, "'float16'"),
    ],
)
def test_refuses(numbers, words):
    with pytest.raises(ValueError, match=words):
        vit.make(**{'num_classes': 10, **numbers})
