"""Vision transformers from and to timm: names, arguments, logits of every variant where timm is installed."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mpl.models import vit, vit_timm

pytestmark = pytest.mark.usefixtures('fast_compile')

DINOV2 = dict(patch=14, layer_scale=1e-5)
REGISTERS = DINOV2 | dict(registers=4, positions='patches')
DINOV3 = dict(layer_scale=1e-5, registers=4, positions='rotary', qkv_bias=False, norm_epsilon=1e-5)
CLIP = dict(pre_norm=True, norm_epsilon=1e-5)
SIGLIP = dict(class_token=False, pool='attention')
# Name in timm: size, options, side of the images of its file, parameters in timm without the head.
PUBLISHED = {
    'vit_tiny_patch16_224': ('Ti', {}, 224, 5_524_416),
    'vit_small_patch8_224': ('S', dict(patch=8, pool='mean'), 224, 21_670_272),
    'vit_base_patch16_224': ('B', dict(pool='norm_mean'), 224, 85_798_656),
    'vit_small_patch14_dinov2': ('S', DINOV2, 518, 22_056_192),
    'vit_base_patch14_dinov2': ('B', DINOV2, 518, 86_579_712),
    'vit_large_patch14_dinov2': ('L', DINOV2, 518, 304_367_616),
    'vit_giant_patch14_dinov2': (
        'g', DINOV2 | dict(mlp='swiglu', mlp_width=4096), 518, 1_136_479_232
    ),
    'vit_small_patch14_reg4_dinov2': ('S', REGISTERS, 518, 22_057_344),
    'vit_base_patch14_reg4_dinov2': ('B', REGISTERS, 518, 86_582_016),
    'vit_large_patch14_reg4_dinov2': ('L', REGISTERS, 518, 304_370_688),
    'vit_small_patch16_dinov3': ('S', DINOV3, 256, 21_586_944),
    'vit_base_patch16_dinov3': ('B', DINOV3, 256, 85_641_216),
    'vit_small_plus_patch16_dinov3': ('S', DINOV3 | dict(mlp='swiglu'), 256, 28_683_264),
    'vit_base_patch16_clip_224': ('B', CLIP, 224, 85_799_424),
    'vit_base_patch16_clip_quickgelu_224': ('B', CLIP | dict(mlp='quick_gelu'), 224, 85_799_424),
    'vit_large_patch14_clip_224': ('L', CLIP | dict(patch=14), 224, 303_179_776),
    'vit_base_patch16_siglip_224': ('B', SIGLIP, 224, 92_884_224),
    'vit_base_patch16_siglip_gap_224': (
        'B', dict(class_token=False, pool='norm_mean'), 224, 85_797_120
    ),
    'vit_so400m_patch16_siglip_256': (
        'So', SIGLIP | dict(mlp_width=4304, mlp='gelu_tanh'), 256, 427_888_064
    ),
}  # fmt: skip
# Those whose options differ in more than the size.
DIFFERENT = [
    name
    for name in PUBLISHED
    if name != 'vit_base_patch16_dinov3' and not name.startswith(('vit_base_patch14', 'vit_large'))
]


def count(size, options, side):
    model, image = vit.make(2, size, **options), jnp.zeros((1, side, side, 3))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))['params']
    return sum(x.size for name in params if name != 'head' for x in jax.tree.leaves(params[name]))


@pytest.mark.parametrize('name', PUBLISHED)
def test_number_of_parameters_is_that_of_timm(name, monkeypatch):
    """Each block has as many as any other, and tracing all would take long."""
    size, options, side, published = PUBLISHED[name]
    width, blocks, heads = vit.SIZES[size]
    counts = []
    for few in (1, 2):
        monkeypatch.setitem(vit.SIZES, size, (width, few, heads))
        counts.append(count(size, options, side))
    assert counts[0] + (blocks - 1) * (counts[1] - counts[0]) == published


def drawn(model, image_shape):
    """Variables away from the initial ones; a signal keeps its size through the layers."""
    image = jnp.zeros((1, *image_shape))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    random = np.random.default_rng(0)

    def draw(path, leaf):
        values = random.normal(size=leaf.shape) * np.prod(leaf.shape[:-1] or (9,)) ** -0.5
        return (values + (path[-1].key == 'scale')).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture
def narrow(monkeypatch):
    """All sizes are two blocks of width 24."""
    for size in vit.SIZES:
        monkeypatch.setitem(vit.SIZES, size, (24, 2, 3))


@pytest.mark.parametrize('name', DIFFERENT)
def test_names_go_both_ways(name, narrow):
    size, options, _, _ = PUBLISHED[name]
    options = options | dict(mlp_width=40 if 'mlp_width' in options else 0)
    model = vit.make(5, size, **options | dict(patch=4))
    variables = drawn(model, (8, 12, 3))
    timm = vit.to_timm(model, variables, (8, 12, 3))
    assert ('blocks.0.mlp.fc1.weight' in timm.tensors) == ('plus' not in name)
    chex.assert_trees_all_equal(vit.from_timm(model, timm.tensors, (8, 12, 3)), variables)


@pytest.mark.parametrize('name', DIFFERENT)
def test_logits_of_a_file_and_of_an_export_are_those_of_timm(name, monkeypatch):
    """Random weights of two blocks of width 96, in rectangular images; timm reads what is written here."""
    torch, timm = pytest.importorskip('torch'), pytest.importorskip('timm')
    small = dict(embed_dim=96, depth=2, num_heads=3)
    size, options, _, _ = PUBLISHED[name]
    monkeypatch.setitem(vit.SIZES, size, tuple(small.values()))
    if size in ('g', 'So'):
        options = options | dict(mlp_width={'g': 256, 'So': 358}[size])
    model = vit.make(7, size, **options)
    shape = (3 * model.patch, 2 * model.patch, 3)
    own = dict(global_pool=vit_timm.POOLS[model.pool])
    if model.pool == 'norm_mean':
        own |= dict(fc_norm=False)
    reference = timm.create_model(name, img_size=shape[:2], num_classes=7, **own, **small).eval()
    random = np.random.default_rng(0)
    for leaf, tensor in reference.state_dict().items():
        values = random.normal(size=tensor.shape) * np.prod(tensor.shape[1:] or (9,)) ** -0.5
        values += 'norm' in leaf and leaf.endswith('weight')
        tensor.copy_(torch.from_numpy(values))
    tensors = {leaf: tensor.numpy() for leaf, tensor in reference.state_dict().items()}
    variables = vit.from_timm(model, tensors, shape)
    image = random.normal(size=(2, *shape)).astype('float32')
    got = jax.jit(lambda v: model.apply(v, image, False))(variables)

    written = vit.to_timm(model, variables, shape)
    arguments = small | written.arguments | dict(num_classes=7)
    made = timm.create_model(written.architecture, **arguments).eval()
    made.load_state_dict({leaf: torch.from_numpy(x) for leaf, x in written.tensors.items()})
    x = torch.from_numpy(image).permute(0, 3, 1, 2)
    for other in (reference, made):
        with torch.no_grad():
            features = other.forward_head(other.forward_features(x), pre_logits=True)
            for mine, theirs in zip(got, (features.numpy(), other(x).numpy()), strict=True):
                error = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
                assert error < 1e-5, (other, error)


def test_reads_a_state_dict_and_names_what_does_not_fit(narrow):
    model = vit.make(10, 'Ti', 4)
    image = jnp.zeros((1, 12, 12, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    random, tensors, variables = np.random.default_rng(0), {}, {}
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        variables[path] = random.normal(size=leaf.shape).astype('float32')
        order = {1: (0,), 2: (1, 0), 3: (0, 1, 2), 4: (3, 2, 0, 1)}[leaf.ndim]
        tensors[vit_timm.timm_name(model, path[1:])] = variables[path].transpose(order)
    variables = traverse_util.unflatten_dict(variables)
    for shape in (None, (12, 12, 3)):
        got = vit.from_timm(model, tensors, shape)
        chex.assert_trees_all_equal(got, variables)

    other = vit.from_timm(model, tensors, (8, 20, 3))['params']
    positions = variables['params']['positions']
    np.testing.assert_array_equal(other['positions'], vit_timm.resize_positions(positions, (2, 5)))
    headless = {name: tensor for name, tensor in tensors.items() if 'head' not in name}
    assert 'head' not in vit.from_timm(model, headless)['params']

    for changed, words in (
        ({'cls_token': np.zeros((1, 1, 3))}, 'cls_token'),
        ({'pos_embed': np.zeros((1, 9, 24))}, r'\(1, 9, 24\).*square'),
        ({'blocks.0.ls1.gamma': np.zeros(24)}, 'no place .*ls1.gamma'),
    ):
        with pytest.raises(ValueError, match=words):
            vit.from_timm(model, tensors | changed)
    with pytest.raises(ValueError, match='pos_embed'):
        vit.from_timm(model, {})
    with pytest.raises(ValueError, match='no place .*norm.bias'):
        vit.from_timm(vit.make(10, 'Ti', 4, 'mean'), tensors)
    with pytest.raises(ValueError, match=r'patch_embed.proj.weight .*\(24, 3, 4, 4\)'):
        vit.from_timm(vit.make(10, 'Ti', 6), tensors)


@pytest.mark.parametrize('grid, before', [((7, 7), 0), ((2, 5), 1), ((3, 4), 5), ((4, 4), 1)])
def test_resized_positions_equal_those_of_timm(grid, before):
    pytorch, timm = pytest.importorskip('torch'), pytest.importorskip('timm')
    positions = np.random.default_rng(0).normal(size=(1, before + 16, 6)).astype('float32')
    want = timm.layers.resample_abs_pos_embed(
        pytorch.from_numpy(positions), list(grid), num_prefix_tokens=before
    ).numpy()
    got = vit_timm.resize_positions(positions, grid, before)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_resized_positions_of_a_plane_stay_a_plane():
    """What bicubic weights that sum to 1 keep, away from the border; the class token's stays."""
    rows, columns = np.mgrid[:12, :12]
    plane = np.stack([rows + 0.5, columns + 0.5], -1).reshape(1, -1, 2)
    positions = np.concatenate([[[[7.0, 8.0]]], plane], 1).astype('float32')
    got = vit_timm.resize_positions(positions, (6, 24))
    chex.assert_shape(got, (1, 1 + 6 * 24, 2))
    np.testing.assert_array_equal(got[:, 0], [[7, 8]])
    inner = got[0, 1:].reshape(6, 24, 2)[2:-2, 4:-4]
    np.testing.assert_allclose(inner[:, :, 0], 2 * np.mgrid[2:4, 4:20][0] + 1, rtol=1e-5)
    np.testing.assert_allclose(inner[:, :, 1], np.mgrid[2:4, 4:20][1] / 2 + 0.25, rtol=1e-5)


@pytest.mark.parametrize('name', ['vit_small_patch14_reg4_dinov2', 'vit_base_patch16_siglip_224'])
def test_parameters_of_every_kind_of_positions_are_resized(name, narrow):
    """Of 3 x 3 patches for 2 x 4; rotary ones are no parameters; those of a rectangle stay as they are."""
    size, options, _, _ = PUBLISHED[name]
    model = vit.make(5, size, **options | dict(patch=4))
    leaf = 'positions' if model.positions == 'tokens' else 'patch_positions'
    params = drawn(model, (12, 12, 3))['params']
    resized = vit.resize(params, (8, 16, 3))
    want = vit_timm.resize_positions(params[leaf], (2, 4), 0)
    np.testing.assert_array_equal(resized[leaf], want)
    assert vit.resize(resized, (8, 16, 3))[leaf] is resized[leaf]
    with pytest.raises(ValueError, match=r'\(1, 8, 24\).* square grid'):
        vit.resize(resized, (8, 8, 3))
    rotary = {'patches': params['patches'], 'token': np.zeros((1, 1, 24))}
    assert vit.resize(rotary, (8, 16, 3)) == rotary


@pytest.mark.parametrize('name', DIFFERENT)
def test_a_file_of_another_model_is_refused_with_the_options_that_it_shows(name, narrow):
    """Given to a model of the defaults; what is shown is what the model of the file has."""
    size, options, _, _ = PUBLISHED[name]
    options = options | dict(mlp_width=40 if 'mlp_width' in options else 0, patch=4)
    model, default = vit.make(5, size, **options), vit.make(5, size, patch=4)
    tensors = vit.to_timm(model, drawn(model, (8, 8, 3)), (8, 8, 3)).tensors
    shown = vit_timm.differences(default, tensors)
    # Other options are seen by shapes alone, or not at all.
    options = {key: options[key] for key in options.keys() - {'patch', 'norm_epsilon', 'mlp_width'}}
    unseen = ('norm_mean', 'quick_gelu', 'gelu_tanh', *['swiglu'] * (size == 'g'))
    wanted = {f'{key}={value!r}' for key, value in options.items() if value not in unseen}
    assert set(shown) == wanted
    if shown:
        with pytest.raises(ValueError, match='The file is of a model with .*=') as caught:
            vit.from_timm(default, tensors)
        assert all(word in str(caught.value) for word in shown)
    assert not vit_timm.differences(model, tensors)
