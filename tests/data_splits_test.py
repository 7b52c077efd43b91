"""Which examples are labeled, unlabeled and held out."""

import json

import chex
import numpy as np
import pytest
from absl import logging
from etils import epath

from mpl.data import source, splits
from mpl.run import identity, split_files

# 50 of class 0, 30 of class 1, 20 of class 2, 100 without a label, in a mixed order.
LABEL = np.random.RandomState(0).permutation(np.repeat([0, 1, 2, -1], [50, 30, 20, 100]))


def data_set(label, names=None):
    """A data set with these labels."""
    pool = source.from_arrays(np.zeros((len(label), 1, 1, 1), np.uint8), np.array(label), names)
    return source.Source(pool, None, None, ('ant', 'bee', 'cat'), (1, 1, 1))


def save(path, split, label):
    split_files.write(epath.Path(path), split, identity.make(data_set(label)), {'by': 'a test'})


def load(path, label):
    return split_files.load(epath.Path(path), data_set(label))


def counts(numbers):
    return np.bincount(LABEL[numbers], minlength=3).tolist()


@pytest.mark.parametrize('include', [True, False])
def test_parts_are_balanced_stratified_and_cover_everything_once(include):
    split = splits.draw(LABEL, 12, 20, 0, include)
    assert counts(split.labeled) == [4, 4, 4]
    assert counts(split.validation) == [10, 6, 4]
    assert not np.intersect1d(split.validation, split.unlabeled).size
    assert not np.intersect1d(split.validation, split.labeled).size
    if include:
        assert np.isin(split.labeled, split.unlabeled).all()
    else:
        assert not np.intersect1d(split.labeled, split.unlabeled).size
    assert np.isin(np.flatnonzero(LABEL == -1), split.unlabeled).all()
    everything = np.union1d(np.union1d(split.labeled, split.unlabeled), split.validation)
    np.testing.assert_array_equal(everything, np.arange(200))
    for part in split[:3]:
        chex.assert_type(part, np.int64)
        assert (np.diff(part) > 0).all()


def test_zero_labels_keeps_all_that_are_not_held_out():
    split = splits.draw(LABEL, 0, 10, 0, False)
    assert counts(split.labeled) == [45, 27, 18] and counts(split.validation) == [5, 3, 2]
    np.testing.assert_array_equal(split.unlabeled, np.flatnonzero(LABEL == -1))


def test_labels_that_do_not_divide_are_spread_over_classes_drawn_by_the_seed():
    drawn = [counts(splits.draw(LABEL, 10, 0, seed, True).labeled) for seed in range(20)]
    assert all(sorted(each) == [3, 3, 4] for each in drawn)
    assert len({tuple(each) for each in drawn}) == 3


def test_uniform_draws_without_regard_to_classes_and_without_repeats():
    """Unlike `draw`, which gives every class as many: an oracle where labels are bought."""
    pool = np.flatnonzero(np.arange(200) % 5)
    few, held = splits.uniform(pool, 8, 20, 3)
    many, none = splits.uniform(pool[::-1], 30, 0, 3)
    np.testing.assert_array_equal(few, many[:8])
    assert not len(none) and len(held) == 20 and not np.intersect1d(held, many).size
    drawn = np.concatenate([splits.uniform(pool, 8, 0, seed)[0] for seed in range(400)])
    counts = np.bincount(drawn, minlength=200)
    assert not counts[::5].any()
    # 3,200 draws from 160: 20 each, with a standard deviation of 4.4.
    assert counts[pool].min() > 5 and counts[pool].max() < 38
    assert len(np.unique(splits.uniform(pool, 100, 60, 0)[0])) == 100
    with pytest.raises(ValueError, match='101 examples to label and 60 to hold out'):
        splits.uniform(pool, 101, 60, 0)
    with pytest.raises(ValueError, match='from 0 up'):
        splits.uniform(pool, -1, 0, 0)


def test_draw_follows_the_seed_alone():
    one, same, other = (splits.draw(LABEL, 12, 20, seed, True) for seed in (0, 0, 1))
    assert one.hash == same.hash != other.hash
    np.testing.assert_array_equal(one.labeled, same.labeled)
    assert set(one.labeled) != set(other.labeled)


def test_labeled_examples_are_nested_and_do_not_move_with_validation():
    few, many = (splits.draw(LABEL, labels, 0, 5, True) for labels in (6, 30))
    held = splits.draw(LABEL, 6, 40, 5, True)
    assert np.isin(few.labeled, many.labeled).all()
    np.testing.assert_array_equal(few.labeled, held.labeled)


def test_draw_is_uniform_over_a_class():
    label = np.repeat([0, 1], 10)
    drawn = np.zeros(20)
    for seed in range(1000):
        drawn[splits.draw(label, 4, 0, seed, True).labeled] += 1
    assert np.abs(drawn - 200).max() < 60  # 4.7 standard deviations of a binomial(1000, 0.2)


def test_draw_is_the_one_of_the_first_release():
    """Another order would make old results impossible to repeat: only on purpose."""
    split = splits.draw(np.arange(100) % 4, 8, 8, 0, True)
    assert split.labeled.tolist() == [28, 34, 40, 51, 57, 82, 91, 93]
    assert split.hash == 'c7726e2de9cf'


@pytest.mark.parametrize(
    'labels, validation, message',
    [
        (63, 0, r"Class 2 \('cat'\) has 20 labeled examples, but labels=63 .* need 21 to train"),
        (60, 20, r"Class 2 \('cat'\) has 20 .* need 20 to train on and 4 to hold out"),
        (0, 100, r"Class 0 \('ant'\) has 50 .* need 1 to train on and 50 to hold out"),
        (0, 500, r"Class 0 \('ant'\) has 50 "),
        (2, 0, 'labels is 2 but there are 3 classes'),
        (-1, 0, 'labels is -1 and validation 0'),
        (3, -5, 'labels is 3 and validation -5'),
    ],
)
def test_refuses_what_the_classes_cannot_give(labels, validation, message):
    with pytest.raises(ValueError, match=message):
        splits.draw(LABEL, labels, validation, 0, True, ('ant', 'bee', 'cat'))


@pytest.mark.parametrize('given', [{'labels': 3}, {'validation': 2}, {'imbalance': 2.0}])
def test_without_any_label_all_are_unlabeled_and_nothing_else_can_be_drawn(given):
    split = splits.draw(np.full(5, -1))
    assert [part.tolist() for part in split[:3]] == [[], [0, 1, 2, 3, 4], []]
    with pytest.raises(ValueError, match='No example has a label: set split.labels'):
        splits.draw(np.full(5, -1), **given)


TAIL = np.random.RandomState(1).permutation(np.repeat([0, 1, 2, -1], [120, 120, 120, 7]))


def tail(numbers):
    return np.bincount(TAIL[numbers] + 1, minlength=4).tolist()


@pytest.mark.parametrize('include', [True, False])
def test_imbalance_leaves_a_geometric_series_of_the_classes(include):
    """100 of the first class and 100 / sqrt(10) and 100 / 10 of the others, once 20 each are held out."""
    split = splits.draw(TAIL, 15, 60, 3, include, None, 10.0)
    assert tail(split.validation) == [0, 20, 20, 20]
    assert tail(split.labeled) == [0, 11, 3, 1]  # 15 times 1, 0.316, 0.1 over their sum
    trained = np.union1d(split.labeled, split.unlabeled)
    assert tail(trained) == [7, 100, 32, 10]
    assert len(split.unlabeled) == 149 - (0 if include else 15)
    assert not np.intersect1d(split.validation, trained).size
    assert np.isin(split.labeled, split.unlabeled).all() == include


def test_imbalance_is_limited_by_any_class():
    label = np.repeat([0, 1, 2], [500, 40, 9])
    split = splits.draw(label, 0, 0, 0, True, None, 4.0)
    # 36, 18, 9: the last class has no more.
    assert np.bincount(label[split.unlabeled]).tolist() == [36, 18, 9]
    np.testing.assert_array_equal(split.labeled, split.unlabeled)
    assert np.bincount(label[splits.draw(label, imbalance=100.0).labeled]).tolist() == [400, 40, 4]


def test_fewer_labels_are_among_more_under_imbalance_too():
    before = np.zeros(0, int)
    for labels in range(3, 60):
        split = splits.draw(TAIL, labels, 0, 7, True, None, 10.0)
        assert len(split.labeled) == labels and np.isin(before, split.labeled).all()
        assert min(tail(split.labeled)[1:]) >= 1
        before = split.labeled
    held = splits.draw(TAIL, 59, 60, 7, True, None, 10.0)
    np.testing.assert_array_equal(before, held.labeled)


def test_no_imbalance_changes_nothing():
    one, other = splits.draw(LABEL, 12, 20), splits.draw(LABEL, 12, 20, imbalance=1.0)
    assert one.hash == other.hash and len(one.unlabeled) == 180


@pytest.mark.parametrize(
    'labels, imbalance, message',
    [
        (15, 0.5, 'imbalance is 0.5: give 1 or more'),
        (15, float('nan'), 'imbalance is nan'),
        (171, 10.0, r"has 120 labeled examples, (120|38|12) of them left by imbalance=10, but labels=171"),
        (15, 1e4, r"Class 2 .* has 120 labeled examples, 0 of them left by imbalance=10000"),
    ],
)  # fmt: skip
def test_refuses_what_imbalance_cannot_leave(labels, imbalance, message):
    with pytest.raises(ValueError, match=message):
        splits.draw(TAIL, labels, 0, 0, True, ('ant', 'bee', 'cat'), imbalance)


def test_rare_classes_have_a_share_of_every_other_class():
    """Step imbalance (arXiv 1710.05381): one of three classes at a tenth; 20 of each are held out."""
    split = splits.draw(TAIL, 21, 60, 3, True, ('ant', 'bee', 'cat'), 10.0, ('bee',))
    assert tail(split.validation) == [0, 20, 20, 20]
    assert tail(np.union1d(split.labeled, split.unlabeled)) == [7, 100, 10, 100]
    assert tail(split.labeled) == [0, 10, 1, 10]
    label = np.repeat([0, 1, 2], [500, 40, 9])
    every = splits.draw(label, 0, 0, 0, True, ('ant', 'bee', 'cat'), 4.0, ('bee', 'cat'))
    assert np.bincount(label[every.unlabeled]).tolist() == [36, 9, 9]


@pytest.mark.parametrize(
    'rare, imbalance, message',
    [
        (('dog',), 10.0, "split.rare has 'dog', which is no class that is learned; give some of 'ant', 'bee'"),
        (('ant',), 1.0, r"split.rare is \('ant',\) and imbalance 1: .* give an imbalance above 1"),
        (('ant', 'bee', 'cat'), 10.0, 'leave at least one class out of rare'),
    ],
)  # fmt: skip
def test_refuses_rare_classes_that_are_none(rare, imbalance, message):
    with pytest.raises(ValueError, match=message):
        splits.draw(TAIL, 0, 0, 0, True, ('ant', 'bee', 'cat'), imbalance, rare)


def test_save_and_load_give_the_same_split(tmp_path):
    path = str(tmp_path / 'split.json')
    split = splits.draw(LABEL, 12, 20, 0, False)
    save(path, split, LABEL)
    loaded = load(path, LABEL)
    for part, other in zip(split[:3], loaded[:3]):
        np.testing.assert_array_equal(part, other)
        chex.assert_type(other, np.int64)
    assert loaded.hash == split.hash
    assert [entry.name for entry in tmp_path.iterdir()] == ['split.json']


def test_hash_tells_parts_apart():
    """The same numbers, otherwise divided into parts, are another split."""
    label = np.zeros(4, int)
    with_, without = (splits.draw(label, 2, 0, 0, include) for include in (True, False))
    held = splits.draw(label, 2, 2, 0, True)
    assert len({with_.hash, without.hash, held.hash}) == 3


def changed(record, **changes):
    kept = {key: value for key, value in record.items() if key not in ('hash', 'checksum')}
    return {**kept, **changes}


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda r: changed(r, examples=7), 'is of 7 training examples, but this data set has 200'),
        (lambda r: changed(r, labeled=[0, 200]), "has example 200 in 'labeled'.* from 0 to 199"),
        (
            lambda r: changed(r, labeled=[-1]),
            "has example -1 in 'labeled', but the indices go from 0",
        ),
        (lambda r: changed(r, labeled=r['labeled'] * 2), "has an example twice in 'labeled'"),
        (
            lambda r: changed(r, validation=r['validation'] * 2),
            "has an example twice in 'validation'",
        ),
        (lambda r: changed(r, examples='many'), 'is of many training examples'),
        (lambda r: changed(r, labeled=[0.5]), "list of whole numbers as 'labeled'"),
        (lambda r: changed(r, labeled=[True]), "list of whole numbers as 'labeled'"),
        (lambda r: changed(r, labeled=[[1], [2, 3]]), "list of whole numbers as 'labeled'"),
        (lambda r: changed(r, labeled='all'), "list of whole numbers as 'labeled'"),
        (lambda r: changed(r, validation=r['labeled']), "both in 'validation' and in training"),
        (
            lambda r: changed(r, unlabeled=[], validation=np.flatnonzero(LABEL == -1)[:1].tolist()),
            "in 'validation', but it has no label",
        ),
        (
            lambda r: changed(r, labeled=[], unlabeled=r['validation']),
            "both in 'validation' and in training",
        ),
        (
            lambda r: changed(r, labeled=np.flatnonzero(LABEL == -1)[:1].tolist()),
            "in 'labeled', but it has no label",
        ),
        (lambda r: {'labeled': r['labeled']}, 'must be a JSON object with the keys'),
        (lambda r: [1, 2], 'must be a JSON object with the keys'),
        (lambda r: {**r, 'labeled': r['labeled'][1:]}, 'has the hash'),
    ],
)
def test_load_refuses(tmp_path, change, message):
    path = tmp_path / 'split.json'
    record = splits.to_record(splits.draw(LABEL, 12, 20, 0, True), len(LABEL))
    path.write_text(json.dumps(change(record)))
    with pytest.raises(ValueError, match=message):
        load(path, LABEL)


def test_load_takes_a_file_written_by_hand_and_warns_that_it_names_no_data(tmp_path, caplog):
    path = tmp_path / 'split.json'
    labeled = np.flatnonzero(LABEL == 0)[[3, 1]].tolist()
    path.write_text(
        json.dumps({'examples': 200, 'labeled': labeled, 'unlabeled': [], 'validation': []})
    )
    logging.use_absl_handler()
    split = load(path, LABEL)
    assert split.labeled.tolist() == sorted(labeled) and not len(split.unlabeled)
    assert f'{path} does not record its data' in caplog.text


def test_file_of_other_data_is_refused(tmp_path, caplog):
    """By names, labels, class names or pixels; a test part is no matter of the numbers."""
    path, split = tmp_path / 'split.json', splits.draw(LABEL, 12, 20, 0, True)
    save(path, split, LABEL)
    here = data_set(LABEL)
    image = np.ones((200, 1, 1, 1), np.uint8)
    others = {
        r'classes: ant, bee, cat -> ant, bee, dog': here._replace(classes=('ant', 'bee', 'dog')),
        r'labels of the train examples': data_set(np.roll(LABEL, 1)),
        r'names of the train examples': data_set(LABEL, [f'x{n}' for n in range(200)]),
        r'pixels of the train images': here._replace(train=source.from_arrays(image, LABEL)),
        r'train: 200 -> 199 examples': data_set(LABEL[:-1]),
    }
    for said, other in others.items():
        with pytest.raises(ValueError, match=rf'is of other data than these \({said}\)'):
            split_files.load(epath.Path(path), other)
    assert split_files.load(epath.Path(path), here._replace(test=here.train)).hash == split.hash
    assert not caplog.records
    text = path.read_text()
    for old, new in (('"by": "a test"', '"by": "another"'), ('"hash": "', '"hash": "0')):
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match='was changed after it was written'):
            load(path, LABEL)


def test_unlabeled_examples_may_be_repeated(tmp_path):
    path = str(tmp_path / 'split.json')
    drawn = splits.draw(LABEL, 12, 20, 0, True)
    repeated = np.concatenate([drawn.unlabeled[5:], drawn.unlabeled[9:10].repeat(3)])
    split = splits.from_indices(drawn.labeled, repeated, drawn.validation)
    assert split.hash != drawn.hash
    save(path, split, LABEL)
    loaded = load(path, LABEL)
    np.testing.assert_array_equal(loaded.unlabeled, np.sort(repeated))
    assert loaded.hash == split.hash


def test_indices_of_large_splits_are_in_a_mapped_file(tmp_path, monkeypatch):
    path = tmp_path / 'split.json'
    split = splits.draw(LABEL, 12, 20, 0, True)
    monkeypatch.setattr(split_files, 'LARGE', 20)
    monkeypatch.setattr(splits, 'CHUNK', 7)
    save(path, split, LABEL)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ['split.json', 'split.json.npy']
    record = json.loads(path.read_text())
    assert 'unlabeled' not in record and record['sizes']['validation'] == 20
    loaded = load(path, LABEL)
    chex.assert_trees_all_equal(loaded[:3], split[:3])
    assert loaded.hash == split.hash == splits.from_indices(*split[:3]).hash
    assert isinstance(loaded.unlabeled.base, np.memmap)
    beside = tmp_path / 'split.json.npy'
    content = beside.read_bytes()
    for damaged in (content[:-8], content[:-8] + bytes(8), b'', None):
        beside.unlink() if damaged is None else beside.write_bytes(damaged)
        with pytest.raises(ValueError, match='not in .*npy as they were written; keep the two'):
            load(path, LABEL)


def test_parts_are_sorted_unless_they_are_sorted():
    part = np.arange(5)
    assert splits.from_indices(part, part, part).labeled is part
    mixed = splits.from_indices(part[::-1], part, part)
    assert mixed.labeled.tolist() == part.tolist()
    assert mixed.hash == splits.from_indices(part, part, part).hash


def test_load_refuses_a_file_that_is_missing_or_no_json(tmp_path):
    path = tmp_path / 'split.json'
    with pytest.raises(ValueError, match='cannot be read as JSON: .*No such file'):
        load(path, LABEL)
    path.write_text('{"labeled": [1,')
    with pytest.raises(ValueError, match='cannot be read as JSON'):
        load(path, LABEL)
