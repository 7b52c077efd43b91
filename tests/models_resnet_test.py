"""The residual network: size, arithmetic against a plain re-statement and timm, precision, memory, refusals."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util
from jax import lax

from mpl.models import layers, resnet

IMAGE = jax.random.normal(jax.random.key(3), (4, 16, 13, 3))


@pytest.fixture
def short(monkeypatch):
    """Networks of the first groups alone, that compile quickly."""
    monkeypatch.setitem(resnet.BLOCKS, 18, (1, 1))
    monkeypatch.setitem(resnet.BLOCKS, 50, (2, 1))


def shaped(model, image=IMAGE):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))


def drawn(model, dtype='float32', image=IMAGE):
    """Variables away from the initial ones and zeros; a signal keeps its size through the layers."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        values = random.normal(size=leaf.shape) * 0.2
        if path[-1].key == 'kernel':
            values *= (50 / np.prod(leaf.shape[:-1])) ** 0.5
        if path[-1].key in ('scale', 'var'):
            values = np.abs(values) + 0.8
        return jnp.asarray(values, dtype)

    return jax.tree_util.tree_map_with_path(draw, shaped(model, image))


def forward(model, variables, image=IMAGE):
    """((features, logits), changed collections) in training mode."""
    return model.apply(
        variables, image, True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(1)}
    )


@pytest.mark.parametrize(
    'depth, published',
    [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)],
)
def test_number_of_parameters(depth, published):
    params = shaped(resnet.make(1000, depth), jnp.zeros((1, 224, 224, 3)))['params']
    assert sum(x.size for x in jax.tree.leaves(params)) == published


@pytest.mark.parametrize('padding', ['same', 'symmetric'])
@pytest.mark.parametrize('height, width', [(6, 7), (1, 2)])
def test_max_pool_equals_the_window_of_the_library(height, width, padding, fast_compile):
    image, direction = jax.random.normal(jax.random.key(0), (2, 2, height, width, 3)) - 3
    pads = 'SAME' if padding == 'same' else ((1, 1), (1, 1))

    @partial(jax.jit, static_argnums=0)
    def evaluate(pool):
        value, pullback = jax.vjp(pool, image)
        return value, jax.jvp(pool, (image,), (direction,))[1], pullback(jnp.cos(value))

    got = evaluate(lambda x: resnet.max_pool(x, padding))
    want = evaluate(lambda x: nn.max_pool(x, (3, 3), (2, 2), pads))
    chex.assert_trees_all_close(got, want, rtol=1e-5)


def restated(depth, blocks, stem, padding, variables, x):
    """Training-mode features, logits and moving averages, from the description alone."""
    params, updated = variables['params'], {}

    def conv(x, p, stride=1):
        side = p['kernel'].shape[0]
        pads = 'SAME' if padding == 'same' else [(side // 2, side // 2)] * 2
        return lax.conv_general_dilated(
            x, p['kernel'], (stride, stride), pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )

    def norm(x, *path):
        p, old = params, variables['batch_stats']
        for name in path:
            p, old = p[name], old[name]
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        updated[*path, 'mean'] = 0.99 * old['mean'] + 0.01 * mean
        updated[*path, 'var'] = 0.99 * old['var'] + 0.01 * variance
        return (x - mean) / jnp.sqrt(variance + 1e-3) * p['scale'] + p['bias']

    def relu(x):
        return jnp.where(x > 0, x, 0)

    x = relu(norm(conv(x, params['stem'], 2 if stem == 'imagenet' else 1), 'stem_norm'))
    if stem == 'imagenet':
        pads = 'SAME' if padding == 'same' else [(0, 0), (1, 1), (1, 1), (0, 0)]
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
    for group in range(len(blocks)):
        for i in range(blocks[group]):
            name = f'group_{group}_block_{i}'
            p, stride = params[name], 2 if group and not i else 1
            if depth < 50:
                y = relu(norm(conv(x, p['conv_0'], stride), name, 'norm_0'))
                y = norm(conv(y, p['conv_1']), name, 'norm_1')
            else:
                y = relu(norm(conv(x, p['conv_0']), name, 'norm_0'))
                y = relu(norm(conv(y, p['conv_1'], stride), name, 'norm_1'))
                y = norm(conv(y, p['conv_2']), name, 'norm_2')
            if (group or depth >= 50) and i == 0:
                x = norm(conv(x, p['shortcut'], stride), name, 'shortcut_norm')
            x = relu(x + y)
    features = x.mean((1, 2))
    head = params['head']['dense']
    return features, features @ head['kernel'] + head['bias'], updated


@pytest.mark.parametrize(
    'depth, stem, padding', [(50, 'imagenet', 'same'), (18, 'cifar', 'symmetric')]
)
def test_equals_a_plain_restatement_in_double_precision(
    short, x64, fast_compile, depth, stem, padding
):
    model, image = resnet.make(10, depth, stem, padding), IMAGE.astype('float64')
    variables, updated = drawn(model, 'float64'), {}

    def want(variables):
        features, logits, moments = restated(
            depth, resnet.BLOCKS[depth], stem, padding, variables, image
        )
        return features, logits, traverse_util.unflatten_dict(moments)

    features, logits, updated = jax.jit(want)(variables)
    got, changed = jax.jit(lambda v: forward(model, v, image))(variables)
    np.testing.assert_allclose(got[0], features, rtol=1e-10)
    np.testing.assert_allclose(got[1], logits, rtol=1e-10)
    chex.assert_type(got[1], 'float64')
    chex.assert_trees_all_close(changed['batch_stats'], updated, rtol=1e-9)


def run(**numbers):
    model = resnet.make(10, **{'depth': 18, **numbers})
    return jax.jit(lambda v: forward(model, v))(drawn(model))


def differ(one, other):
    leaves = [jax.tree.leaves(tree) for tree in (one, other)]
    return any(
        a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*leaves)
    )


def test_every_number_matters(short, fast_compile):
    plain = run()
    assert not differ(plain, run())
    for knob in (
        {'stem': 'cifar'},
        {'padding': 'symmetric'},
        {'dropout': 0.5},
        {'stochastic_depth': 0.5},
        {'norm_epsilon': 1e-1},
        {'norm_decay': 0.9},
        {'dtype': 'bfloat16'},
    ):
        assert differ(plain, run(**knob)), knob


def test_zero_init_starts_the_blocks_as_identities(short):
    for zero_init in (False, True):
        model = resnet.make(10, zero_init=zero_init)
        init = jax.jit(
            lambda model=model: {
                path: leaf
                for path, leaf in traverse_util.flatten_dict(
                    model.init(jax.random.key(0), IMAGE, False)['params']
                ).items()
                if path[-1] == 'scale'
            }
        )
        for path, scale in init().items():
            assert (scale == (not zero_init or path[-2] != 'norm_2')).all(), path


def test_stochastic_depth_grows_with_depth(monkeypatch):
    rates = []
    monkeypatch.setattr(layers, 'drop_branch', lambda y, rate, train: rates.append(rate) or y)
    shaped(resnet.make(10, 50, stochastic_depth=0.3))
    np.testing.assert_allclose(rates, [0.02 * i for i in range(16)])


def test_a_dropped_branch_is_zero_or_scaled_up_example_by_example():
    class Branch(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return layers.drop_branch(x, 0.25, train)

    x = jnp.ones((4000, 2, 3, 2))
    got = Branch().apply({}, x, True, rngs={'dropout': jax.random.key(0)})
    assert (got == got[:, :1, :1, :1]).all()
    np.testing.assert_allclose(np.unique(got), [0, 4 / 3], rtol=1e-6)
    assert abs(got.mean() - 1) < 0.05
    assert (Branch().apply({}, x, False) == x).all()


def test_remat_keeps_less_computes_more_and_changes_no_number(monkeypatch, fast_compile):
    monkeypatch.setitem(resnet.BLOCKS, 18, (4,))
    image, grads, kept, flops = IMAGE[:2, :8, :8], [], [], []
    for remat in (False, True):
        model = resnet.make(10, 18, 'cifar', dropout=0.2, stochastic_depth=0.2, remat=remat)
        variables = drawn(model)

        def loss(params, model=model, statistics=variables['batch_stats']):
            (_, logits), changed = forward(
                model, {'params': params, 'batch_stats': statistics}, image
            )
            return jnp.tanh(logits).sum(), changed

        pullback = jax.eval_shape(
            lambda params: jax.vjp(loss, params, has_aux=True)[1], variables['params']
        )
        kept.append(sum(x.size for x in jax.tree.leaves(pullback)))
        lowered = jax.jit(jax.grad(loss, has_aux=True)).lower(variables['params'])
        flops.append(lowered.cost_analysis()['flops'])  # XLA's CPU compiler undoes a part of it.
        grads.append(lowered.compile()(variables['params']))
    for a, b in zip(*map(jax.tree.leaves, grads), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(a).max() + 1e-7)
    parameters = sum(x.size for x in jax.tree.leaves(variables['params']))
    assert kept[1] - parameters < 0.3 * (kept[0] - parameters)
    # One pass more to three, or to two, as far as the kernels' gradients are loops, counted once.
    assert 1.25 * flops[0] < flops[1] < 1.55 * flops[0]


def test_bfloat16_computes_narrow_and_keeps_the_rest_wide(short, fast_compile):
    narrow, plain = run(dtype='bfloat16'), run()
    assert {str(x.dtype) for x in jax.tree.leaves(narrow)} == {'float32'}
    model = resnet.make(10, 18, dtype='bfloat16')
    assert {str(x.dtype) for x in jax.tree.leaves(shaped(model))} == {'float32'}
    equations = jax.make_jaxpr(lambda v: forward(model, v))(drawn(model)).eqns
    convolutions = [e.invars for e in equations if e.primitive.name == 'convolution']
    assert len(convolutions) == 6
    assert {str(x.aval.dtype) for pair in convolutions for x in pair} == {'bfloat16'}
    for got, want in zip(narrow[0], plain[0]):
        np.testing.assert_allclose(got, want, rtol=0, atol=0.02 * jnp.abs(want).max())


def test_evaluation_uses_the_moving_averages(short, fast_compile):
    model = resnet.make(10, 18, dropout=0.5, stochastic_depth=0.5)
    predict = jax.jit(lambda image: model.apply(drawn(model), image, False)[1])
    np.testing.assert_allclose(predict(IMAGE)[:1], predict(IMAGE[:1]), rtol=1e-4, atol=1e-4)


def tensors_for(model):
    """Random tensors of timm's names and shapes, and the variables they stand for."""
    variables = jax.tree.map(np.asarray, drawn(model))
    tensors = {}
    for path, leaf in traverse_util.flatten_dict(variables).items():
        order = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[leaf.ndim]
        tensors[resnet.timm_name(path[1:])] = leaf.transpose(order)
    return tensors | {'bn1.num_batches_tracked': np.asarray(3)}, variables


def test_reads_a_state_dict_and_names_what_does_not_fit(short):
    model = resnet.make(10, 18, padding='symmetric', norm_epsilon=1e-5)
    tensors, variables = tensors_for(model)
    chex.assert_trees_all_equal(resnet.from_timm(model, tensors), variables)
    halves = {name: tensor.astype('float16') for name, tensor in tensors.items()}
    assert {x.dtype.name for x in jax.tree.leaves(resnet.from_timm(model, halves))} == {'float32'}

    headless = {name: tensor for name, tensor in tensors.items() if not name.startswith('fc')}
    del variables['params']['head']
    chex.assert_trees_all_equal(resnet.from_timm(model, headless), variables)
    other = headless | {'fc.weight': np.ones((7, 128)), 'fc.bias': np.ones(7)}
    head = resnet.from_timm(model, other)['params']['head']['dense']
    chex.assert_shape(head['kernel'], (128, 7))

    wrong = np.zeros((128, 64, 1, 3))
    for changed, words in (
        ({'layer2.0.conv1.weight': wrong}, r'layer2.0.conv1.weight .* \(128, 64, 1, 3\)'),
        ({'fc.weight': np.ones((7, 3)), 'fc.bias': np.ones(7)}, 'fc.weight'),
        ({'layer9.bn1.bias': wrong}, 'no place .*layer9.bn1.bias'),
    ):
        with pytest.raises(ValueError, match=words):
            resnet.from_timm(model, tensors | changed)
    for gone in ('layer2.0.downsample.1.running_var', 'fc.bias'):
        with pytest.raises(ValueError, match=f'not there .*{gone}'):
            resnet.from_timm(model, {k: v for k, v in tensors.items() if k != gone})
    for numbers in ({'padding': 'symmetric'}, {'norm_epsilon': 1e-5}):
        with pytest.raises(ValueError, match='timm'):
            resnet.from_timm(resnet.make(10, 18, **numbers), tensors)
    with pytest.raises(ValueError, match='conv1.weight'):
        resnet.from_timm(model, tensors, (32, 32, 1))


@pytest.mark.parametrize('depth, stem, side', [(18, 'imagenet', 65), (50, 'cifar', 16)])
def test_equals_timm(depth, stem, side, fast_compile):
    pytorch, timm = pytest.importorskip('torch'), pytest.importorskip('timm')
    pytorch.manual_seed(0)
    reference = timm.create_model(f'resnet{depth}', num_classes=7).eval()
    if stem == 'cifar':
        reference.conv1 = pytorch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        reference.maxpool = pytorch.nn.Identity()
    random = np.random.default_rng(0)
    for name, tensor in reference.state_dict().items():
        if tensor.ndim == 1:
            positive = name.endswith(('running_var', 'bn1.weight', 'bn2.weight'))
            values = (
                random.uniform(0.5, 1.5, tensor.shape)
                if positive
                else random.normal(0, 0.3, tensor.shape)
            )
            tensor.copy_(pytorch.from_numpy(values))
    image = random.normal(size=(2, side, side, 3)).astype('float32')
    with pytorch.no_grad():
        x = pytorch.from_numpy(image).permute(0, 3, 1, 2)
        features = reference.forward_head(reference.forward_features(x), pre_logits=True).numpy()
        logits = reference(x).numpy()
    model = resnet.make(7, depth, stem, 'symmetric', norm_epsilon=1e-5)
    tensors = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    variables = resnet.from_timm(model, tensors, image.shape[1:])
    for got, want in zip(
        jax.jit(lambda v: model.apply(v, image, False))(variables), (features, logits)
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize(
    'numbers, words',
    [
        ({'num_classes': 1}, 'num_classes=1'),
        ({'depth': 20}, 'depth=20.*50'),
        ({'stem': 'small'}, "stem='small'"),
        ({'padding': 'valid'}, "padding='valid'"),
        ({'dropout': 1.0}, 'dropout=1.0'),
        ({'stochastic_depth': -0.1}, 'stochastic_depth=-0.1'),
        ({'norm_decay': 1.0}, 'norm_decay=1.0'),
        ({'norm_epsilon': 0.0}, 'norm_epsilon=0.0'),
        ({'dtype': 'float16'}, "'float16'"),
    ],
)
def test_refuses(numbers, words):
    with pytest.raises(ValueError, match=words):
        resnet.make(**{'num_classes': 10, **numbers})
