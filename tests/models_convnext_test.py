"""ConvNeXt: size, arithmetic against a plain re-statement and timm, precision, names, refusals."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.models import convnext, layers

pytestmark = pytest.mark.usefixtures('fast_compile')

IMAGE = np.random.default_rng(3).normal(size=(2, 17, 24, 3))
# Parameters in timm, without the head.
PUBLISHED = {
    ('atto', 1): 3_374_520,
    ('femto', 1): 4_832_784,
    ('pico', 1): 8_532_672,
    ('nano', 1): 14_952_560,
    ('tiny', 1): 27_820_128,
    ('base', 1): 87_566_464,
    ('atto', 2): 3_387_400,
    ('tiny', 2): 27_866_496,
}


@pytest.fixture
def small(monkeypatch):
    """Two stages have a block, the others none."""
    for size in convnext.SIZES:
        monkeypatch.setitem(convnext.SIZES, size, ((1, 0, 1, 0), 4))


def shaped(model, image=IMAGE):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.array(image), False))


def drawn(model, dtype='float32'):
    """Variables away from the initial ones; a signal keeps its size through the layers."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        values = random.normal(size=leaf.shape) * np.prod(leaf.shape[:-1] or (9,)) ** -0.5
        return jnp.array(values + (path[-1].key == 'scale'), dtype)

    return jax.tree_util.tree_map_with_path(draw, shaped(model))


@pytest.mark.parametrize('size, version', PUBLISHED)
def test_number_of_parameters(size, version, monkeypatch):
    """The blocks of a stage are equal, and tracing all would take long."""
    blocks, width = convnext.SIZES[size]

    def count(number):
        monkeypatch.setitem(convnext.SIZES, size, (number, width))
        params = shaped(convnext.make(2, size, version, 2))['params']
        del params['head']
        # That of patches of 4, not 2.
        return sum(x.size for x in jax.tree.leaves(params)) + 12 * 3 * width

    one = count((1, 1, 1, 1))
    more = [count(tuple(1 + (i == stage) for i in range(4))) - one for stage in range(4)]
    total = one + sum((number - 1) * step for number, step in zip(blocks, more))
    assert total == PUBLISHED[size, version]


def restated(params, image, version):
    """Features and logits of the small network of patches of 2, by numpy, from the description alone."""

    def dense(x, p):
        return x @ p['kernel'] + p['bias']

    def norm(x, p):
        center = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((center**2).mean(-1, keepdims=True) + 1e-6)
        return center / deviation * p['scale'] + p['bias']

    def shrink(x, p):
        rows, columns = x.shape[1] // 2, x.shape[2] // 2
        parts = [x[:, i::2, j::2][:, :rows, :columns] for i in range(2) for j in range(2)]
        flat = p['kernel'].reshape(-1, p['kernel'].shape[-1])
        return dense(np.concatenate(parts, -1), {'kernel': flat, 'bias': p['bias']})

    x = norm(shrink(image, params['stem']), params['stem_norm'])
    for stage in range(4):
        if stage:
            x = norm(x, params[f'stage_{stage}_norm'])
            x = shrink(x, params[f'stage_{stage}_downsample'])
        if stage in (1, 3):
            continue
        p = params[f'stage_{stage}_block_0']
        padded, y = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0))), p['depthwise']['bias']
        for i in range(7):
            for j in range(7):
                window = padded[:, i : i + x.shape[1], j : j + x.shape[2]]
                y = y + window * p['depthwise']['kernel'][i, j, 0]
        y = dense(norm(y, p['norm']), p['dense_0'])
        y = y * (1 + np.asarray(jax.scipy.special.erf(y / np.sqrt(2)))) / 2
        if version == 2:
            length = np.sqrt((y**2).sum((1, 2), keepdims=True))
            weight = length / (length.mean(-1, keepdims=True) + 1e-6)
            y = y + p['response']['scale'] * y * weight + p['response']['bias']
        y = dense(y, p['dense_1'])
        x = x + (y * p['layer_scale'] if version == 1 else y)
    features = norm(x.mean((1, 2)), params['norm'])
    return features, dense(features, params['head']['dense'])


@pytest.mark.parametrize('version', [1, 2])
def test_equals_a_plain_restatement_in_double_precision(small, x64, version):
    """On an image with a row that fills no window."""
    model = convnext.make(5, 'atto', version, 2)
    variables = drawn(model, 'float64')
    got = jax.jit(lambda v: model.apply(v, jnp.array(IMAGE), False))(variables)
    want = restated(jax.device_get(variables['params']), IMAGE, version)
    chex.assert_type(got, 'float64')
    chex.assert_trees_all_close(got, want, rtol=1e-8)


@pytest.fixture
def single(monkeypatch):
    """One block, in the last stage."""
    monkeypatch.setitem(convnext.SIZES, 'atto', ((0, 0, 0, 1), 2))


@pytest.mark.parametrize('version', [1, 2])
def test_bfloat16_with_remat_is_float32_but_for_rounding(single, version):
    image, outputs = jnp.array(IMAGE[:, :16, :16], 'float32'), []
    for numbers in ({}, {'dtype': 'bfloat16', 'remat': True}):
        model = convnext.make(5, 'atto', version, 2, **numbers)
        assert {x.dtype for x in jax.tree.leaves(shaped(model))} == {np.dtype('float32')}
        outputs.append(jax.jit(lambda v, model=model: model.apply(v, image, True))(drawn(model)))
    for plain, narrow in zip(*outputs, strict=True):
        chex.assert_type((plain, narrow), 'float32')
        assert 1e-5 < np.linalg.norm(plain - narrow) / np.linalg.norm(plain) < 0.05


def test_normalization_of_responses_has_a_gradient_where_a_channel_is_zero():
    params = {'scale': jnp.ones(2), 'bias': jnp.zeros(2)}

    @jax.jit
    @jax.grad
    def gradient(image):
        return convnext.Response(None).apply({'params': params}, image)[..., 1].sum()

    assert np.isfinite(gradient(jnp.ones((1, 2, 2, 2)).at[..., 0].set(0))).all()


def test_dropout_and_stochastic_depth_act_in_training(single):
    image, key = jnp.array(IMAGE[:, :16, :16], 'float32'), jax.random.key(1)

    def run(train, **rates):
        model = convnext.make(5, 'atto', 1, 2, **rates)
        return jax.jit(lambda v: model.apply(v, image, train, rngs={'dropout': key}))(drawn(model))

    plain, dropped = run(False, dropout=0.5, stochastic_depth=0.5), run(True, dropout=0.5)
    chex.assert_trees_all_close(dropped[0], plain[0], rtol=1e-4)
    assert np.abs(dropped[1] - plain[1]).max() > 1e-3
    chex.assert_trees_all_close(run(True), plain, rtol=1e-4)


def test_stochastic_depth_grows_with_depth(monkeypatch):
    rates = []
    monkeypatch.setattr(layers, 'drop_branch', lambda y, rate, train: rates.append(rate) or y)
    model = convnext.make(5, 'atto', stochastic_depth=0.22)
    shaped(model, np.zeros((1, 32, 32, 3)))
    np.testing.assert_allclose(rates, [0.02 * i for i in range(12)])


def test_initial_kernels(monkeypatch):
    """Normal, of standard deviation 0.02, depthwise ones too; LayerScale nearly closes each branch."""
    monkeypatch.setitem(convnext.SIZES, 'atto', ((1, 0, 0, 0), 40))
    model = convnext.make(500, 'atto')
    draw = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False))
    params = draw()['params']
    block = params['stage_0_block_0']
    for layer in (block['depthwise'], block['dense_0'], params['stem'], params['head']['dense']):
        np.testing.assert_allclose(layer['kernel'].std(), 0.02, rtol=0.1)
    np.testing.assert_array_equal(block['layer_scale'], np.full(40, 1e-6, np.float32))


@pytest.mark.parametrize('size, version', [('atto', 1), ('tiny', 2)])
def test_names_of_timm_go_both_ways(small, size, version):
    model = convnext.make(5, size, version)
    image = np.zeros((1, 32, 32, 3))
    variables = jax.tree.map(
        lambda x: np.random.normal(size=x.shape).astype('f4'), shaped(model, image)
    )
    timm = convnext.to_timm(model, variables, (32, 32, 3))
    assert timm.architecture == {1: 'convnext_atto', 2: 'convnextv2_tiny'}[version]
    assert timm.tensors['stages.0.blocks.0.mlp.fc1.weight'].ndim == {1: 4, 2: 2}[version]
    chex.assert_trees_all_equal(convnext.from_timm(model, timm.tensors), variables)

    bare = {name: x for name, x in timm.tensors.items() if not name.startswith('head')}
    found = convnext.from_timm(model, bare)['params']
    assert 'head' not in found
    np.testing.assert_array_equal(found['norm']['scale'], np.ones(32))
    other = {1: 'mlp.grn.weight', 2: 'gamma'}[version]
    with pytest.raises(ValueError, match=f'no place .*blocks.0.{other}'):
        convnext.from_timm(model, timm.tensors | {f'stages.0.blocks.0.{other}': np.zeros(4)})


@pytest.mark.parametrize('size, version', [('atto', 1), ('atto', 2), ('tiny', 1)])
def test_logits_of_a_file_are_those_of_timm(size, version, monkeypatch):
    torch, timm = pytest.importorskip('torch'), pytest.importorskip('timm')
    monkeypatch.setitem(convnext.SIZES, size, ((1, 1, 2, 1), 16))
    small = dict(depths=(1, 1, 2, 1), dims=(16, 32, 64, 128))
    name = f'convnext{["", "v2"][version - 1]}_{size}'
    reference = timm.create_model(name, num_classes=7, **small).eval()
    random = np.random.default_rng(0)
    for leaf, tensor in reference.state_dict().items():
        values = random.normal(size=tensor.shape) * np.prod(tensor.shape[1:] or (9,)) ** -0.5
        values += 'norm' in leaf and leaf.endswith('weight')
        tensor.copy_(torch.from_numpy(values))
    model = convnext.make(7, size, version)
    tensors = {leaf: tensor.numpy() for leaf, tensor in reference.state_dict().items()}
    variables = convnext.from_timm(model, tensors)
    written = convnext.to_timm(model, variables, (32, 32, 3))
    assert written.architecture == name
    for leaf, tensor in tensors.items():
        np.testing.assert_array_equal(written.tensors[leaf], tensor)
    image = random.normal(size=(2, 48, 70, 3)).astype(
        'float32'
    )  # Sides that are no multiples of 32.
    got = jax.jit(lambda v: model.apply(v, image, False))(variables)
    with torch.no_grad():
        x = torch.from_numpy(image).permute(0, 3, 1, 2)
        features = reference.forward_head(reference.forward_features(x), pre_logits=True)
        for mine, theirs in zip(got, (features.numpy(), reference(x).numpy()), strict=True):
            assert np.linalg.norm(mine - theirs) < 1e-5 * np.linalg.norm(theirs)


@pytest.mark.parametrize(
    'numbers, words',
    [
        ({'num_classes': 1}, 'num_classes=1'),
        ({'size': 'S'}, "size='S'.*'tiny'"),
        ({'version': 3}, 'version=3'),
        ({'patch': 0}, 'patch'),
        ({'dropout': 1.0}, 'dropout=1.0'),
        ({'stochastic_depth': 1.0}, 'stochastic_depth=1.0'),
        ({'dtype': 'float16'}, "'float16'"),
    ],
)
def test_refuses(numbers, words):
    with pytest.raises(ValueError, match=words):
        convnext.make(**{'num_classes': 10, **numbers})


def test_refuses_small_images_and_what_timm_has_not():
    with pytest.raises(ValueError, match='17 x 24 .*32 x 32'):
        shaped(convnext.make(10))
    for model in (convnext.make(10, patch=2), convnext.make(10, 'xlarge', 2)):
        with pytest.raises(ValueError, match='patches of 4 and no size'):
            convnext.to_timm(model, {}, (32, 32, 3))
