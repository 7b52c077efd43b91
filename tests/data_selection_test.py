"""Selection against a search in plain Python; the same however the pool is cut or shared out."""

import chex
import numpy as np
import pytest

from benchmarks import selection as large_pool
from mpl.data import selection, splits
from mpl.data.selection import Rule

EXAMPLES, CLASSES = 211, 5


def draw(seed=0, scale=1.0):
    """Logits on a coarse grid, so that many confidences are equal; some rows not asked for."""
    random = np.random.default_rng(seed)
    logits = scale * random.integers(0, 4, (EXAMPLES, CLASSES)).astype(np.float32)
    logits[random.integers(0, EXAMPLES, 20)] = np.nan
    return logits


FILES = [draw(0), draw(1)]
CANDIDATES = np.setdiff1d(np.arange(EXAMPLES), np.arange(0, EXAMPLES, 7))
DUPLICATE = np.arange(EXAMPLES) % 11 == 3


def probabilities(files, number):
    """The mean over the networks that were asked, or None."""
    rows = [file[number].astype(float) for file in files if not np.isnan(file[number]).any()]
    powers = [np.exp(row - row.max()) for row in rows]
    return sum(power / power.sum() for power in powers) / len(rows) if rows else None


def search(files, rule, duplicate):
    """What is kept of each class, from the most confident on, and what was dropped."""
    of = {label: [] for label in range(CLASSES)}
    dropped = dict.fromkeys(('confidence', 'duplicates', 'rank'), 0)
    for number in CANDIDATES:
        said = probabilities(files, number)
        if said is None:
            continue
        if said.max() < rule.confidence:
            dropped['confidence'] += 1
        elif duplicate[number]:
            dropped['duplicates'] += 1
        else:
            of[int(said.argmax())].append((-said.max(), int(number)))
    kept = {label: [n for _, n in sorted(found)] for label, found in of.items()}
    if rule.per_class:
        dropped['rank'] = sum(max(0, len(found) - rule.per_class) for found in kept.values())
        kept = {label: found[: rule.per_class] for label, found in kept.items()}
    return kept, dropped


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('rule', [Rule(), Rule(0.5), Rule(0.4, 9), Rule(0, 1), Rule(0.3, 500)])
@pytest.mark.parametrize('rows', [1, 8, 1000])
def test_it_is_what_a_search_finds(count, rule, rows):
    files = FILES[:count]
    part = selection.scan(files, CANDIDATES, rule, DUPLICATE, rows=rows)
    kept, dropped = search(files, rule, DUPLICATE)
    assert {k: part.index[part.label == k].tolist() for k in range(CLASSES)} == kept
    counts = selection.summarize(part, rule, CLASSES)
    assert counts['dropped'] == dropped
    sizes = [len(found) for found in kept.values()]
    assert counts['kept'] == counts['drawn'] == sum(sizes)
    assert counts['kept_per_class'] == {
        'min': min(sizes), 'median': np.median(sizes), 'max': max(sizes)
    }  # fmt: skip
    assert counts['candidates'] == len(CANDIDATES)
    nobody = [probabilities(files, number) is None for number in CANDIDATES]
    assert counts['without_logits'] == sum(nobody) > 0
    np.testing.assert_array_equal(selection.indices(part, rule), sorted(sum(kept.values(), [])))


@pytest.mark.parametrize('shares', [2, 3, 8])
def test_shares_come_to_the_same_bits(shares):
    rule = Rule(0.3, 7, balance=True)
    whole = selection.scan(FILES, CANDIDATES, rule, DUPLICATE)
    parts = [
        selection.scan(FILES, CANDIDATES, rule, DUPLICATE, (i, shares), rows=5)
        for i in range(shares)
    ]
    for order in (parts, parts[::-1]):
        chex.assert_trees_all_equal(selection.merge(order, rule), whole)


def test_balance_repeats_from_the_most_confident_on():
    logits = np.zeros((9, 3), np.float32)
    logits[:6, 0] = [1, 5, 3, 2, 4, 6]
    logits[6:8, 1] = [1, 2]
    logits[8] = np.nan
    rule = Rule(0.0, 5, balance=True)
    part = selection.scan([logits], np.arange(9), rule)
    drawn = selection.indices(part, rule)
    # Of six the best five; of two the better one three times; of the third class there is none.
    assert drawn.tolist() == [1, 2, 3, 4, 5, 6, 6, 7, 7, 7]
    split = splits.from_indices(np.array([0]), np.arange(9), np.array([], int))
    chosen = selection.apply(part, rule, split)
    assert chosen.unlabeled.tolist() == drawn.tolist() and chosen.labeled.tolist() == [0]
    assert selection.summarize(part, rule, 3)['drawn'] == 10


def test_memory_holds_no_more_than_twice_what_is_kept(monkeypatch):
    logits = np.random.default_rng(0).normal(size=(4000, 4)).astype(np.float32)
    sizes, true = [], selection.merge
    monkeypatch.setattr(
        selection,
        'merge',
        lambda parts, rule: (
            sizes.append(sum(len(part.index) for part in parts)) or true(parts, rule)
        ),
    )
    selection.scan([logits], np.arange(4000), Rule(0.0, 25), rows=10)
    assert max(sizes) <= 2 * 4 * 25 + 10 and len(sizes) <= 41


def test_near_is_the_cosine_in_any_block(monkeypatch):
    random = np.random.default_rng(0)
    features, others = random.normal(size=(50, 3)), random.normal(size=(9, 3))
    features[17] = 5 * others[4]
    features[3] = 0
    lengths = [np.linalg.norm(x, axis=-1) for x in (features, others)]
    lengths[0][3] = 1
    cosine = (features @ others.T / np.outer(*lengths)).max(-1)
    for block in (7, 1024):
        monkeypatch.setattr(selection, 'BLOCK', block)
        for least in (0.8, 0.9999):
            found = selection.near(features, others, least)
            np.testing.assert_array_equal(found, cosine >= least)
            assert found[17] and not found[3]


def test_refusals():
    for rule, said in (
        (Rule(1.5), 'confidence is 1.5'),
        (Rule(0, -1), 'per_class is -1'),
        (Rule(0, 0, True), 'give per_class above 0'),
    ):
        with pytest.raises(ValueError, match=said):
            selection.check(rule)
    part = selection.scan([FILES[0]], CANDIDATES, Rule(1.0))
    split = splits.from_indices(CANDIDATES[:1], CANDIDATES, CANDIDATES[:0])
    with pytest.raises(ValueError, match='None of the .* is kept at confidence 1.0; give a lower'):
        selection.apply(part, Rule(1.0), split)


def test_shares_of_drawn_scores_give_what_one_share_gives():
    """The benchmark of large pools: as many of each class, whatever the number of shares."""
    rule = selection.Rule(per_class=7)
    whole = selection.merge(list(large_pool.draw(0, 3000, 3000, 10)), rule)
    assert np.bincount(whole.label).tolist() == [7] * 10
    shares = [
        selection.gather(large_pool.draw(first, first + 1000, 1000, 10), rule, 70)
        for first in (0, 1000, 2000)
    ]
    drawn = selection.merge(list(large_pool.draw(0, 3000, 1000, 10)), rule)
    best = selection.merge(shares, rule)
    chex.assert_trees_all_equal(best, drawn)
    table = large_pool.run(examples=3000, classes=10, per_class=7, shards=3, rows=50)
    assert [row['images'] for row in table] == [50, 1000, 1000, 1000, 210]
