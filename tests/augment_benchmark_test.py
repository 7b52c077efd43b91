"""The benchmark of augmentation compares like with like, and its rows are complete."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from benchmarks import augment, augment_pillow
from mpl.run import config as configs

# One of each kind, and those whose arguments could differ in sign or place.
SAME = (
    'Rotate', 'ShearX', 'TranslateY', 'Cutout', 'Posterize', 'Color', 'Identity', 'hue',
    'perspective, bilinear', 'resized crop, bicubic',
)  # fmt: skip


def test_pillow_does_the_same(fast_compile):
    image = np.random.default_rng(1).integers(0, 256, (2, 12, 12, 3), np.uint8)
    pictures = [Image.fromarray(one) for one in image]
    theirs = augment_pillow.make(pictures, augment.ARGUMENTS, random.Random(0))
    ours = augment.make_operations(image.shape)
    assert set(ours) <= set(theirs)
    for name in SAME:
        result = jax.jit(ours[name])(jax.random.key(0), jnp.asarray(image, jnp.float32))
        expected = np.stack(augment.one_by_one(theirs[name], len(image))).astype(float)
        assert np.mean(np.abs(result - expected) > 1.01) < 0.01, name


def test_rows_of_images_and_ways(fast_compile):
    row, policy = augment.measure_images(2, 8, 0.0, ['Invert', 'affine'])
    assert (row['what'], policy['what']) == ('Invert', 'affine') and 'pillow' not in policy
    for spent in (row['ours'], row['pillow'], policy['ours']):
        assert spent['images_per_second'] == pytest.approx(2 / spent['processor'])
        assert spent['wall'] > 0
    ways = augment.measure_ways(16, 8, 0.0, ['Invert', 'Rotate', 'Cutout'])
    assert [way['way'] for way in ways] == list(augment.WAYS)
    assert all(way['largest_difference'] == 0 for way in ways)
    table = augment.show({'images': [row, policy], 'ways': ways, 'share': []})
    assert f'{row["ours"]["images_per_second"]:,.0f}' in table and 'loop over the images' in table


def test_pairs_are_those_of_the_config(fast_compile):
    config = augment.pair_config('cnn')
    given = configs.load('configs/laptop_pretrain.py:simclr,model=cnn', [])
    assert configs.differences(given.views.to_dict(), config.views.to_dict()) == []
    assert config.batch == given.batch and config.source.name == 'synthetic'
    small = configs.complete(config.to_dict() | {'batch': {'labeled': 8, 'unlabeled': 16}})
    row = augment.measure_pairs('pairs', small, 0.0)
    assert row['batch'] == '8+16' and 0 < row['share']['processor'] < 1
    assert 'pairs' in augment.show({'images': [], 'ways': [], 'share': [row]})


def test_share_says_what_was_scaled(fast_compile):
    config = configs.load('configs/smoke.py', [])
    rows = augment.measure_share(config, {'own': config.views}, 64, 0.0)
    assert [row['batch'] for row in rows] == ['16+32', '64+128']
    assert [row['step'] for row in rows] == ['measured', '4 x that of 16']
    for clock in ('wall', 'processor'):
        assert rows[1]['update_seconds'][clock] == pytest.approx(
            4 * rows[0]['update_seconds'][clock]
        )
        for row in rows:
            part, rest = row['views_seconds'][clock], row['update_seconds'][clock]
            assert row['share'][clock] == pytest.approx(part / (part + rest))
    assert '4 x that of 16' in augment.show({'images': [], 'ways': [], 'share': rows})
