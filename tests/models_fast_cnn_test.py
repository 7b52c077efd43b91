"""The fast network: its whitening layer, its pooling, its start from images, precision, no dead argument."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import linen as nn

from mpl.models import fast_cnn
from mpl.models.conv import convolve
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import folders, stages, weights

IMAGE = np.random.default_rng(0).normal(size=(4, 9, 8, 3)).astype(np.float32)
SMALL = {'channels': (8, 8), 'depth': 1}
RUN = [
    '--config.networks.student.model.name=fast_cnn',
    '--config.networks.student.model.channels=(4,4)',
    '--config.networks.student.optimizer.warmup_steps=0',
]


def forward(model, variables, image=IMAGE):
    """((features, logits), changed collections) in training mode."""
    return model.apply(
        variables, image, True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(1)}
    )


def correlated(shape):
    """Images whose neighboring pixels and channels are alike."""
    noise = np.random.default_rng(0).normal(size=shape)
    smooth = noise + 2 * np.roll(noise, 1, 1) + 3 * np.roll(noise, 1, 2)
    return (smooth + smooth.mean(-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize('channels', [1, 3])
def test_whitened_patches_are_uncorrelated_with_variance_one(channels):
    image = correlated((50, 12, 12, channels))
    kernel = fast_cnn.start(image, epsilon=0)['batch_stats']['whitening']['kernel']
    size = 4 * channels
    chex.assert_shape(kernel, (2, 2, channels, 2 * size))
    inside = np.asarray(convolve(image, kernel))[:, :-1, :-1, :size].reshape(-1, size)
    np.testing.assert_allclose(inside.T @ inside / len(inside), np.eye(size), atol=1e-3)
    np.testing.assert_array_equal(kernel[..., size:], -kernel[..., :size])


def test_patches_without_variance_do_not_divide_by_zero():
    kernel = fast_cnn.start(np.ones((2, 6, 6, 1), np.float32))['batch_stats']['whitening']['kernel']
    chex.assert_tree_all_finite(kernel)
    assert np.abs(kernel).max() < 50


def test_pool_is_that_of_flax_and_so_is_its_gradient():
    def score(pool):
        return lambda x: jnp.sum(jnp.sin(pool(x)))

    def other(x):
        return nn.max_pool(x, (2, 2), (2, 2))

    np.testing.assert_array_equal(fast_cnn.pool(IMAGE), other(IMAGE))
    mine, theirs = (jax.grad(score(pool))(IMAGE) for pool in (fast_cnn.pool, other))
    np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_first_channels_copy_the_input():
    kernel = fast_cnn.dirac_init(jax.random.key(0), (3, 3, 3, 5))
    out = convolve(IMAGE, kernel)
    np.testing.assert_allclose(out[..., :3], IMAGE, rtol=1e-6)
    assert np.abs(kernel[..., 3:]).max() <= 27**-0.5
    assert np.abs(kernel[..., 3:]).max() > 0.8 * 27**-0.5


def test_parameters_and_shapes():
    model = fast_cnn.make(10)
    image = jnp.zeros((2, 32, 32, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    sizes = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]
    kernels = sum(9 * before * after for before, after in sizes)
    biases = sum(after for _, after in sizes)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes['params']))
    assert count == 24 + kernels + biases + 256 * 10 + 10
    features, logits = jax.eval_shape(lambda v: model.apply(v, image, False), shapes)
    assert features.shape == (2, 256) and logits.shape == (2, 10)


@pytest.mark.parametrize(
    'changed',
    [
        {'channels': (8, 4)},
        {'depth': 2},
        {'norm_decay': 0.5},
        {'logit_scale': 1.0},
        {'dropout': 0.5},
        {'dtype': 'bfloat16'},
    ],
    ids=str,
)
def test_no_argument_is_dead(changed):
    results = []
    for arguments in (SMALL, SMALL | changed):
        model = fast_cnn.make(3, **arguments)
        results.append(forward(model, model.init(jax.random.key(0), IMAGE, False)))
    one, two = map(jax.tree.leaves, results)
    assert len(one) != len(two) or any(not np.array_equal(a, b) for a, b in zip(one, two))


def test_remat_is_the_same_function():
    models = [fast_cnn.make(3, **SMALL, remat=remat) for remat in (False, True)]
    variables = models[0].init(jax.random.key(0), IMAGE, False)

    def gradient(model):
        def loss(params):
            (_, logits), changed = forward(model, variables | {'params': params})
            return jnp.sum(jnp.sin(logits)), changed

        return jax.grad(loss, has_aux=True)(variables['params'])

    chex.assert_trees_all_close(*map(gradient, models), rtol=1e-5, atol=1e-6)


def test_bfloat16_keeps_variables_features_and_logits_in_float32():
    model = fast_cnn.make(3, **SMALL, dtype='bfloat16')
    variables = model.init(jax.random.key(0), IMAGE, False)
    outputs, changed = forward(model, variables)
    chex.assert_type(jax.tree.leaves((variables, outputs, changed)), jnp.float32)
    exact, _ = forward(fast_cnn.make(3, **SMALL), variables)
    np.testing.assert_allclose(outputs[1], exact[1], atol=0.02)


def test_a_run_starts_from_its_images_and_keeps_the_filters(tmp_path):
    """Also a resumed one, and one that starts from the weights of another run."""
    config = configs.load('configs/digits.py:supervised', [*RUN, '--config.steps=4'])
    folder = epath.Path(tmp_path)
    experiment = experiments.assemble(config)
    (found,) = weights.from_images(experiment, ['student']).values()
    wanted = found.batch_stats['whitening']['kernel']
    stages.run(config, folder / 'first')
    _, state, _ = folders.load_networks(folder / 'first')
    np.testing.assert_array_equal(state.batch_stats['whitening']['kernel'], wanted)
    again = configs.load(
        'configs/digits.py:supervised',
        [*RUN, '--config.steps=2', '--config.seed=1', f'--config.init_from.workdir={folder}/first'],
    )
    stages.run(again, folder / 'second')
    _, state, _ = folders.load_networks(folder / 'second')
    np.testing.assert_array_equal(state.batch_stats['whitening']['kernel'], wanted)


@pytest.mark.parametrize(
    'arguments, match',
    [
        ({'num_classes': 1}, 'at least 2'),
        ({'channels': ()}, 'channels='),
        ({'depth': 0}, 'depth='),
        ({'norm_decay': 1.0}, 'norm_decay='),
        ({'logit_scale': 0.0}, 'logit_scale=0.0: give a number above 0'),
        ({'dropout': 1.0}, 'dropout='),
        ({'dtype': 'float16'}, 'dtype='),
    ],
)
def test_refusals(arguments, match):
    with pytest.raises(ValueError, match=match):
        fast_cnn.make(**({'num_classes': 10} | arguments))


def test_images_that_no_pixel_is_left_of_are_refused():
    model = fast_cnn.make(10, (4, 4, 4))
    with pytest.raises(
        ValueError, match='7 x 9 pixels is too small: 3 stages halve it; give .* 8 x 8'
    ):
        model.init(jax.random.key(0), jnp.zeros((1, 7, 9, 3)), train=False)
    _, logits = model.init_with_output(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)[0]
    assert logits.shape == (1, 10)
