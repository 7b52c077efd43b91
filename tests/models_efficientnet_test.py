"""EfficientNet: size, arithmetic against a plain re-statement and timm, stacks, precision, refusals."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax import lax

from mpl.models import efficientnet, efficientnet_blocks, efficientnet_timm
from mpl.models.conv import Conv

IMAGE = jax.random.normal(jax.random.key(3), (4, 15, 16, 3))
STAGES = ((1, 5, 1, 1, 8), (4, 3, 2, 2, 16))
PLACES = [0 / 5, 2 / 5, 3 / 5, 4 / 5]  # of the blocks that add their input


@pytest.fixture(autouse=True)
def quick(fast_compile):
    """Programs compiled fast."""


@pytest.fixture
def short(monkeypatch):
    """Two stages of few channels; three equal blocks in the second."""
    monkeypatch.setattr(efficientnet_blocks, 'STAGES', STAGES)


def make(**numbers):
    return efficientnet.make(10, **{'width': 0.1, **numbers})


def shaped(model):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE, False))


def drawn(model, dtype='float32'):
    """Variables of single blocks, away from the initial ones; a signal keeps its size through the layers."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        values = random.normal(size=leaf.shape) * 0.2
        if path[-1].key == 'kernel':
            values *= (50 / np.prod(leaf.shape[:-1])) ** 0.5
        if path[-1].key in ('scale', 'var'):
            values = np.abs(values) + 0.8
        return np.asarray(values, dtype)

    return jax.tree_util.tree_map_with_path(draw, shaped(model.clone(scan=False)))


def stacked(model, variables):
    return {name: efficientnet_timm.stack(model, blocks) for name, blocks in variables.items()}


def forward(model, variables, image=IMAGE):
    """((features, logits), changed collections) in training mode."""
    return model.apply(
        variables, image, True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(1)}
    )


@pytest.mark.parametrize(
    'variant, scan, published',
    [
        ('b0', False, 5_288_548),
        ('b0', True, 5_288_548),
        ('b4', True, 19_341_616),
        ('b6', True, 43_040_704),
        ('b7', True, 66_347_960),
        ('b6_wide', True, 316_649_180),
        ('l2', True, 480_309_308),
    ],
)
def test_number_of_parameters(variant, scan, published):
    params = shaped(efficientnet.make(1000, variant, scan=scan))['params']
    assert sum(x.size for x in jax.tree.leaves(params)) == published


def restated(variables, x, small_image):
    """Training-mode features, logits and moving averages, from the description alone."""
    params, updated = variables['params'], {}

    def conv(x, p, stride=1):
        y = lax.conv_general_dilated(
            x,
            p['kernel'],
            (stride, stride),
            'SAME',
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=x.shape[-1] // p['kernel'].shape[2],
        )
        return y + p.get('bias', 0)

    def conv_norm(x, path, stride=1):
        p, old = params, variables['batch_stats']
        for name in path:
            p, old = p[name], old[name]
        y = conv(x, p['conv'], stride)
        mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
        updated[*path, 'norm', 'mean'] = 0.99 * old['norm']['mean'] + 0.01 * mean
        updated[*path, 'norm', 'var'] = 0.99 * old['norm']['var'] + 0.01 * variance
        y = (y - mean) / jnp.sqrt(variance + 1e-3) * p['norm']['scale'] + p['norm']['bias']
        return y if path[-1] == 'project' else swish(y)

    def sigmoid(x):
        return 1 / (1 + jnp.exp(-x))

    def swish(x):
        return x * sigmoid(x)

    x = conv_norm(x, ('stem',), 1 if small_image else 2)
    for name, stride in [
        ('stage_0_block_0', 1),
        ('stage_1_block_0', 1 if small_image else 2),
        ('stage_1_block_1', 1),
        ('stage_1_block_2', 1),
        ('stage_1_block_3', 1),
    ]:
        y = conv_norm(x, (name, 'expand')) if name != 'stage_0_block_0' else x
        y = conv_norm(y, (name, 'depthwise'), stride)
        p = params[name]
        assert p['squeeze']['kernel'].shape[-1] == x.shape[-1] // 4  # of the block's input
        y *= sigmoid(conv(swish(conv(y.mean((1, 2), keepdims=True), p['squeeze'])), p['excite']))
        y = conv_norm(y, (name, 'project'))
        x = y if name.endswith('block_0') else x + y
    features = conv_norm(x, ('top',)).mean((1, 2))
    head = params['head']['dense']
    return features, features @ head['kernel'] + head['bias'], traverse_util.unflatten_dict(updated)


@pytest.mark.parametrize('small_image', [False, True])
def test_equals_a_plain_restatement_in_double_precision(short, small_image):
    with jax.enable_x64(True):
        model = make(small_image=small_image, width=1.0)
        image = np.asarray(IMAGE, 'float64')
        variables = drawn(model, 'float64')
        (features, logits), changed = jax.jit(lambda v: forward(model, v, image))(variables)
        want = jax.jit(lambda v: restated(v, image, small_image))(variables)
        chex.assert_shape(features, (4, 1280))
        assert np.std(want[1], 0).min() > 1e-3
        got = (features, logits, changed['batch_stats'])
        chex.assert_trees_all_close(got, want, rtol=1e-9, atol=1e-12)


def test_scan_and_remat_change_no_number(short, fast_compile):
    models = [make(), make(scan=True), make(remat=True), make(scan=True, remat=True)]
    variables = drawn(models[0])

    def evaluate(model, variables):
        def loss(params):
            (_, logits), changed = forward(model, {**variables, 'params': params})
            return jnp.tanh(logits).sum(), changed['batch_stats']

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables['params'])

    (want, statistics), gradients = evaluate(models[0], variables)
    for model in (models[1], models[3]):
        (got, changed), grads = evaluate(model, stacked(model, variables))
        np.testing.assert_allclose(got, want, rtol=1e-5)
        expected = (
            efficientnet_timm.stack(model, statistics),
            efficientnet_timm.stack(model, gradients),
        )
        chex.assert_trees_all_close((changed, grads), expected, rtol=1e-3, atol=2e-5)
    assert models[1].scan and 'stage_1_blocks' in shaped(models[1])['params']
    texts = [
        str(jax.make_jaxpr(forward, static_argnums=0)(model, stacked(model, variables)))
        for model in models
    ]
    assert ['scan[' in text for text in texts] == [False, True, False, True]
    assert [text.count('prevent_cse') for text in texts] == [0, 0, 5, 3]


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    y = jnp.ones((4000, 2, 1, 3), 'bfloat16')
    dropped = efficientnet_blocks.drop_images(y, 0.25, jax.random.key(0))
    chex.assert_type(dropped, 'bfloat16')
    kept = dropped[:, 0, 0, 0] > 0
    np.testing.assert_allclose(kept.mean(), 0.75, atol=0.03)
    for values in (dropped[kept], dropped[~kept]):
        np.testing.assert_allclose(
            values.astype('float32'), np.unique(values.astype('float32')).item()
        )
    np.testing.assert_allclose(dropped.astype('float32').mean(), 1, atol=0.04)


@pytest.mark.parametrize('scan', [False, True])
def test_stochastic_depth_grows_from_block_to_block(short, scan, monkeypatch):
    seen = []

    def record(y, rate, key):
        jax.debug.callback(lambda *x: seen.append(x), rate, jax.random.key_data(key))
        return y

    monkeypatch.setattr(efficientnet_blocks, 'drop_images', record)
    model = make(scan=scan, stochastic_depth=0.5)
    variables = stacked(model, drawn(model))
    jax.block_until_ready(jax.jit(lambda v: forward(model, v))(variables))
    jax.effects_barrier()
    np.testing.assert_allclose(sorted(float(rate) for rate, _ in seen), 0.5 * np.array(PLACES))
    assert len({tuple(np.asarray(key).tolist()) for _, key in seen}) == len(PLACES)
    seen.clear()
    jax.block_until_ready(jax.jit(lambda v: model.apply(v, IMAGE, False))(variables))
    jax.effects_barrier()
    assert not seen


def test_initial_values():
    kernel = Conv(512, 5, groups=512).init(jax.random.key(0), jnp.zeros((1, 4, 4, 512)))
    kernel = kernel['params']['kernel']
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 25), rtol=0.02)


def test_initial_values_differ_within_a_stack(short):
    kernel = make(scan=True).init(jax.random.key(0), IMAGE, False)
    kernel = kernel['params']['stage_1_blocks']['depthwise']['conv']['kernel']
    chex.assert_shape(kernel, (3, 3, 3, 1, 16))
    assert not np.allclose(kernel[0], kernel[1])
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 9), rtol=0.15)


def run(**numbers):
    model = make(**numbers)
    return jax.jit(lambda v: forward(model, v))(stacked(model, drawn(model)))


@pytest.mark.parametrize(
    'knob',
    [
        {'small_image': True},
        {'stochastic_depth': 0.9},
        {'dropout': 0.5},
        {'norm_epsilon': 1e-1},
        {'norm_decay': 0.9},
    ],
)
def test_every_number_matters(short, knob):
    assert not all(
        np.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(jax.tree.leaves(run()), jax.tree.leaves(run(**knob)), strict=True)
    )


@pytest.mark.parametrize('scan', [False, True])
def test_bfloat16_computes_narrow_and_keeps_the_rest_wide(short, scan):
    model = make(dtype='bfloat16', scan=scan, stochastic_depth=0.5)
    text = str(jax.make_jaxpr(lambda v: forward(model, v))(stacked(model, drawn(model))))
    convolutions = [line for line in text.splitlines() if '= convolution[' in line]
    assert convolutions and all(':bf16[' in line for line in convolutions)
    narrow, plain = run(dtype='bfloat16', scan=scan), run(scan=scan)
    assert {str(x.dtype) for x in jax.tree.leaves((narrow, shaped(model)))} == {'float32'}
    for a, b in zip(narrow[0], plain[0]):
        assert not np.array_equal(a, b)
        np.testing.assert_allclose(a, b, rtol=0, atol=0.04 * jnp.abs(b).max())


def test_evaluation_uses_the_moving_averages(short):
    model = make(dropout=0.5, stochastic_depth=0.5)
    predict = jax.jit(lambda image: model.apply(drawn(model), image, False)[1])
    np.testing.assert_allclose(predict(IMAGE)[:1], predict(IMAGE[:1]), rtol=1e-4, atol=1e-4)


def tensors_of(model):
    """A file for it, and what the file has under each name, in the layout of Linen."""
    leaves = traverse_util.flatten_dict(drawn(model))
    named = {efficientnet_timm.timm_name(path[1:]): leaf for path, leaf in leaves.items()}
    named['bn1.num_batches_tracked'] = np.array(3)
    return {name: x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T for name, x in named.items()}


@pytest.mark.parametrize('scan', [False, True])
def test_reads_files_of_timm(short, scan):
    model = make(scan=scan)
    tensors = tensors_of(model)
    got, want = efficientnet.from_timm(model, tensors), stacked(model, drawn(model))
    chex.assert_trees_all_equal(got, want)
    chex.assert_trees_all_equal_structs(got, shaped(model))
    backbone = {name: x for name, x in tensors.items() if not name.startswith('classifier')}
    del want['params']['head']
    chex.assert_trees_all_equal_structs(efficientnet.from_timm(model, backbone), want)


def test_refuses_files_of_other_models(short):
    model = make()
    tensors = tensors_of(model)
    name = 'blocks.1.2.se.conv_reduce.bias'
    other = {**tensors, name: np.zeros(9)}
    with pytest.raises(ValueError, match=name):
        efficientnet.from_timm(model, other)
    with pytest.raises(ValueError, match=name):
        efficientnet.from_timm(model, {n: x for n, x in tensors.items() if n != name})
    with pytest.raises(ValueError, match='blocks.1.4.bn1.bias'):
        efficientnet.from_timm(model, {**tensors, 'blocks.1.4.bn1.bias': np.zeros(2)})
    with pytest.raises(ValueError, match='norm_epsilon=0.1'):
        efficientnet.from_timm(make(norm_epsilon=0.1), tensors)


@pytest.mark.parametrize('width, depth, side, scan', [(1.0, 1.0, 64, False), (0.25, 1.4, 50, True)])
def test_equals_timm(width, depth, side, scan):
    torch = pytest.importorskip('torch')
    timm = pytest.importorskip('timm.models.efficientnet')
    theirs = timm._gen_efficientnet(
        'tf_efficientnet_b0', width, depth, bn_eps=1e-3, pad_type='same', num_classes=10
    )
    random = np.random.default_rng(0)
    state = {}
    for name, tensor in theirs.state_dict().items():
        values = random.normal(size=tensor.shape).astype('float32')
        if tensor.ndim == 4:
            values *= (3 / np.prod(tensor.shape[1:])) ** 0.5
        elif name.endswith('var') or (tensor.ndim == 1 and name.endswith('weight')):
            values = 0.5 + np.abs(values)
        state[name] = values
    theirs.load_state_dict({name: torch.tensor(x) for name, x in state.items()})
    theirs.eval()
    image = random.normal(size=(3, side, side, 3)).astype('float32')
    with torch.no_grad():
        maps = theirs.forward_features(torch.tensor(image.transpose(0, 3, 1, 2)))
        want = maps.mean((2, 3)).numpy(), theirs.forward_head(maps).numpy()
    model = efficientnet.make(10, width=width, depth=depth, scan=scan)
    variables = efficientnet.from_timm(model, state)
    got = jax.jit(lambda v: model.apply(v, image, False))(variables)
    for a, b in zip(got, want):
        assert b.std(0).mean() > 0.1 * np.abs(b).mean()  # the images can be told apart
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * b.std(0).mean())


@pytest.mark.parametrize(
    'numbers, words',
    [
        ({'num_classes': 1}, 'num_classes=1'),
        ({'variant': 'b9'}, "variant='b9'.*'l2'"),
        ({'width': 0.0}, 'width=0.0'),
        ({'depth': -1.0}, 'depth=-1.0'),
        ({'depth': 1e6}, 'depth=1000000.0: .*up to 100'),
        ({'stochastic_depth': 1.0}, 'stochastic_depth=1.0'),
        ({'dropout': 1.0}, 'dropout=1.0'),
        ({'norm_decay': 1.0}, 'norm_decay=1.0'),
        ({'norm_epsilon': 0.0}, 'norm_epsilon=0.0'),
        ({'dtype': 'float16'}, "'float16'"),
    ],
)
def test_refuses(numbers, words):
    with pytest.raises(ValueError, match=words):
        efficientnet.make(**{'num_classes': 10, **numbers})
