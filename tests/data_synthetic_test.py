"""Made-up pictures: told by their numbers alone, and learnable."""

import chex
import numpy as np
import pytest

from mpl.data import synthetic


def read(pool, count):
    return pool.read(np.arange(count)).astype(float)


def test_shapes_labels_and_names():
    found = synthetic.make(classes=3, size=9, channels=1, examples=7, unlabeled=2, test_examples=4)
    assert found.image_shape == (9, 9, 1) and len(found.classes) == 3
    np.testing.assert_array_equal(found.train.label, [0, 1, 2, 0, 1, 2, 0, -1, -1])
    np.testing.assert_array_equal(found.test.label, [0, 1, 2, 0])
    image = found.train.read(np.array([8, 0]))
    chex.assert_shape(image, (2, 9, 9, 1))
    chex.assert_type(image, np.uint8)
    assert len(found.train.name) == 9 and len(set(found.train.name)) == 9


def test_an_image_depends_on_its_number_seed_and_part_alone():
    one, larger = synthetic.make(examples=20), synthetic.make(examples=30, unlabeled=9)
    image = one.train.read(np.array([5, 3, 5]))
    np.testing.assert_array_equal(image[0], image[2])
    np.testing.assert_array_equal(image, larger.train.read(np.array([5, 3, 5])))
    for other in (synthetic.make(seed=1).train, one.test):
        assert np.abs(other.read(np.array([5])).astype(int) - image[:1]).mean() > 10


def test_a_set_of_the_size_of_imagenet_takes_no_room():
    found = synthetic.make(classes=1000, size=224, examples=1_281_167)
    chex.assert_shape(found.train.read(np.array([1_281_166])), (1, 224, 224, 3))
    assert len(found.train.label) == 1_281_167


@pytest.mark.parametrize('shift, easy', [(0.1, True), (0.5, False)])
def test_templates_tell_the_classes_apart_as_far_as_nothing_moves(shift, easy):
    """Nearest class mean on the test part: far above 10 % here, and lost when all is moved."""
    found = synthetic.make(shift=shift, test_examples=200)
    image = read(found.train, 500).reshape(500, -1)
    image -= image.mean(1, keepdims=True)
    means = np.stack([image[found.train.label[:500] == k].mean(0) for k in range(10)])
    test = read(found.test, 200).reshape(200, -1)
    distance = np.sum(means**2, 1) - 2 * (test - test.mean(1, keepdims=True)) @ means.T
    accuracy = np.mean(np.argmin(distance, 1) == found.test.label)
    assert accuracy > 0.95 if easy else accuracy < 0.7


def test_noise_and_shift_are_what_they_say():
    still = synthetic.make(classes=2, examples=40, noise=0.0, shift=0.0).train
    noisy = synthetic.make(classes=2, examples=40, noise=12.0, shift=0.0).train
    calm, rough = read(still, 40), read(noisy, 40)
    middle = (calm > 60) & (calm < 195)  # where nothing is clipped
    assert abs((rough - calm)[middle].std() - 12) < 0.5

    def alike(pool):  # of images 0 and 2, both of class 0
        return np.corrcoef(*read(pool, 3)[::2].reshape(2, -1))[0, 1]

    assert alike(still) > 0.98
    assert alike(synthetic.make(classes=2, examples=40, noise=0.0, shift=0.3).train) < 0.9


def test_resembles_a_set_that_is_not_there():
    numbers = {'name': 'tfds', 'data_dir': '/nowhere', 'size': None}
    assert synthetic.arguments_for(numbers | {'dataset': 'fashion_mnist'}) == {
        'classes': 10,
        'size': 28,
        'channels': 1,
    }
    expected = {'classes': 1000, 'size': 224, 'channels': 3}
    numbers['size'] = 224
    assert synthetic.arguments_for(numbers | {'dataset': 'imagenet2012_subset/10pct'}) == expected
    with pytest.raises(ValueError, match="has no set 'no_such_set'"):
        synthetic.arguments_for(numbers | {'dataset': 'no_such_set'})


@pytest.mark.parametrize(
    'numbers, message',
    [
        ({'classes': 1}, 'classes is 1: give a whole number from 2 to 100,000'),
        ({'examples': 5}, 'examples is 5: give a whole number from 10 to'),
        ({'unlabeled': -1}, 'unlabeled is -1'),
        ({'size': 10**6}, 'size is 1000000: give a whole number from 1 to 4,096'),
        ({'channels': 10**6}, 'channels is 1000000'),
        ({'seed': -1}, 'seed is -1: give a whole number from 0'),
        ({'noise': -1.0}, 'noise is -1.0'),
        ({'shift': -0.1}, 'shift -0.1'),
    ],
)
def test_refuses(numbers, message):
    with pytest.raises(ValueError, match=message):
        synthetic.make(**numbers)
