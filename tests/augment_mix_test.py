"""mixup and CutMix: shares, boxes, labels, and their way into a batch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.augment import images, mix
from mpl.data import batches
from mpl.run import config as configs
from mpl.run import experiment as experiments

pytestmark = pytest.mark.usefixtures('fast_compile')
SIZE, KEY = 64, jax.random.key(3)


def numbered():
    """Images all of one value, their number, and labels that are all different."""
    image = jnp.broadcast_to(
        jnp.arange(SIZE, dtype=jnp.float32)[:, None, None, None], (SIZE, 12, 16, 1)
    )
    return image, jnp.eye(SIZE)


@pytest.mark.parametrize('per_image', [False, True])
def test_mixup_mixes_images_as_it_mixes_labels(per_image):
    image, label = numbered()
    mixed, target = jax.jit(lambda key: mix.mix_up(key, image, label, 1.0, per_image))(KEY)
    np.testing.assert_allclose(target.sum(1), 1, rtol=1e-5)
    expected = target @ jnp.arange(SIZE, dtype=jnp.float32)  # the mean number under the label
    np.testing.assert_allclose(
        mixed, np.broadcast_to(expected[:, None, None, None], mixed.shape), rtol=1e-4
    )
    share = np.asarray(target.diagonal())
    partnered = share < 1 - 1e-6
    assert partnered.sum() >= SIZE - 4  # a permutation leaves about one in place
    assert (np.ptp(share[partnered]) > 0.5) == per_image
    assert (
        len(set(np.argmax(np.asarray(target) * (1 - np.eye(SIZE)), 1)[partnered]))
        == partnered.sum()
    )


@pytest.mark.parametrize('alpha', [0.2, 1.0, 4.0])
def test_shares_are_beta(alpha):
    image, label = (
        jnp.zeros((4000, 1, 1, 1)),
        jnp.broadcast_to(jnp.eye(2)[:1], (4000, 2)).at[::2].set(jnp.eye(2)[1]),
    )
    _, target = jax.jit(lambda key: mix.mix_up(key, image, label, alpha, True))(KEY)
    own = np.where(np.arange(4000) % 2 == 0, target[:, 1], target[:, 0])
    crossed = own[own < 1]  # where the partner has the other label: half
    assert 1700 < len(crossed) < 2300
    np.testing.assert_allclose(crossed.mean(), 0.5, atol=0.04)
    np.testing.assert_allclose(crossed.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.12)


@pytest.mark.parametrize('per_image', [False, True])
def test_cutmix_has_the_label_of_what_is_seen(per_image):
    image, label = numbered()
    cut = jax.jit(lambda key: mix.cut_mix(key, image, label, 1.0, per_image))
    areas = []
    for seed in range(30):
        mixed, target = map(np.asarray, cut(jax.random.key(seed)))
        seen = (mixed.reshape(SIZE, -1, 1) == np.arange(SIZE)).mean(
            1
        )  # part of the pixels from each image
        np.testing.assert_allclose(seen, target, atol=1e-5)
        foreign = mixed[..., 0] != np.arange(SIZE)[:, None, None]
        for one in foreign:
            if one.any():  # a box: the same columns in every row that has any
                assert (one == one.any(1)[:, None] & one.any(0)).all()
                areas.append((one.any(1).sum(), one.any(0).sum()))
        if not per_image:
            assert (foreign[foreign.any((1, 2))] == foreign.any(0)).all()
    height, width = np.array(areas).T
    ratio = width / height
    assert np.median(ratio) > 1.1  # the box has the form of the image, 16 to 12
    assert height.max() > 9 and height.min() < 4
    assert len(np.unique(ratio.round(2))) > 10  # clipped at edges


def test_box_before_clipping_has_the_area_of_the_share(monkeypatch):
    image, label = numbered()
    image = jnp.broadcast_to(image[:, :1, :1], (SIZE, 40, 80, 1))
    monkeypatch.setattr(jax.random, 'beta', lambda key, a, b, shape: jnp.full(shape, 0.75))
    monkeypatch.setattr(jax.random, 'randint', lambda key, shape, low, high: jnp.array([[20, 40]]))
    mixed, target = mix.cut_mix(KEY, image, label, 1.0)
    foreign = mixed[1, ..., 0] != 1
    assert foreign[10:30, 20:60].all() and foreign.sum() == 20 * 40  # a quarter
    np.testing.assert_allclose(target[1, 1], 0.75)


def test_both_are_switched():
    image, label = numbered()
    both = mix.mixing(mixup=1.0, cutmix=1.0, switch=0.3, per_image=True)
    mixed, _ = jax.jit(lambda key: both(key, image, jnp.arange(SIZE), SIZE))(KEY)
    whole = np.asarray((mixed % 1 != 0).any((1, 2, 3)))  # fractions come from mixup alone
    assert 0.5 < whole.mean() < 0.9
    batch = mix.mixing(mixup=1.0, cutmix=1.0)
    kinds = {
        bool(
            (
                jax.jit(batch, static_argnums=3)(jax.random.key(s), image, jnp.arange(SIZE), SIZE)[
                    0
                ]
                % 1
                != 0
            ).any()
        )
        for s in range(6)
    }
    assert kinds == {True, False}
    assert mix.mixing() is None


def test_each_of_both_has_its_own_alpha(monkeypatch):
    """With shares that are the alphas: mixup keeps 3/4 of each image, and CutMix all."""
    monkeypatch.setattr(jax.random, 'beta', lambda key, a, b, shape: jnp.full(shape, a))
    image, _ = numbered()
    for switch, share in ((0.0, 0.75), (1.0, 1.0)):
        both = mix.mixing(mixup=0.75, cutmix=1.0, switch=switch)
        _, target = both(KEY, image, jnp.arange(SIZE), SIZE)
        np.testing.assert_allclose(np.median(target.diagonal()), share)


@pytest.mark.parametrize('numbers', [{'mixup': -1.0}, {'cutmix': -0.1}, {'switch': 1.5}])
def test_refuses(numbers):
    with pytest.raises(ValueError, match='augment mix: ' + next(iter(numbers))):
        mix.mixing(**numbers)
    with pytest.raises(ValueError, match='mix has no blend'):
        images.make(0.0, 1.0, mix={'blend': 1})


def test_a_run_is_given_distributions():
    """Through the config: labels of the batch become float32 [B, K]; the views themselves stay."""
    plain, mixed = (
        experiments.assemble(configs.load('configs/smoke.py', options), jax.devices()[:1])
        for options in ([], ['--config.views.mix.mixup=0.5'])
    )
    number = plain.config.batch.labeled
    chex.assert_shape(plain.batch['labeled']['label'], (number,))
    label = mixed.batch['labeled']['label']
    chex.assert_shape(label, (number, len(plain.source.classes)))
    chex.assert_type(label, jnp.float32)
    image = plain.source.train.read(np.arange(number))
    labeled = {'image': image, 'index': np.arange(number), 'label': np.arange(number) % 10}
    seen = {
        name: jax.jit(lambda batch, views=run.views: batches.view(views, batch, KEY, 0))(
            {'labeled': labeled, 'unlabeled': {'image': image, 'index': np.arange(number)}}
        )
        for name, run in (('plain', plain), ('mixed', mixed))
    }
    np.testing.assert_array_equal(
        seen['plain']['unlabeled']['strong'], seen['mixed']['unlabeled']['strong']
    )
    target = np.asarray(seen['mixed']['labeled']['label'])
    np.testing.assert_allclose(target.sum(1), 1, rtol=1e-5)
    own = target[np.arange(number), np.arange(number) % 10]
    assert (own > 0).all() and (own < 1).any()
    assert (seen['plain']['labeled']['image'] != seen['mixed']['labeled']['image']).any()
