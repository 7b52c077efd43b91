"""Selection against a search in plain Python and against the code before DuckDB, in any shards."""

import tempfile

import chex
import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from ranked import ranked, reference

from benchmarks import pools
from mpl.data import ranking, selection, splits
from mpl.data.selection import Rule
from mpl.run import prediction_files

EXAMPLES, CLASSES = 211, 5
MEMORY = '16MB'


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
def test_it_is_what_a_search_finds(count, rule, tmp_path):
    files = FILES[:count]
    found, counts = ranked(files, CANDIDATES, rule, DUPLICATE, tmp_path)
    kept, dropped = search(files, rule, DUPLICATE)
    assert found.numbers.tolist() == sorted(sum(kept.values(), []))
    assert found.per_class.tolist() == [len(kept[label]) for label in range(CLASSES)]
    assert counts['dropped'] == dropped
    nobody = [probabilities(files, number) is None for number in CANDIDATES]
    assert counts['without_logits'] == sum(nobody) > 0
    chex.assert_type(found.numbers, np.int64)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    networks=st.integers(1, 2),
    confidence=st.sampled_from([0.0, 0.4, 0.5, 1.0]),
    per_class=st.integers(0, 40),
    balance=st.booleans(),
    shards=st.integers(1, 3),
    rows=st.integers(1, 50),
)
def test_it_is_what_the_code_before_found(
    seed, networks, confidence, per_class, balance, shards, rows
):
    """To the last example and count, whatever ties, missing rows, duplicates and shards there are."""
    random = np.random.default_rng(seed)
    examples, classes = random.integers(1, 150), random.integers(1, 5)
    values = np.array([-700.0, 0.0, 1.0, 1.0 + 1e-7, 2.0, 700.0], np.float32)
    files = [random.choice(values, (examples, classes)) for _ in range(networks)]
    for logits in files:
        logits[random.random(examples) < 0.1, 0] = np.nan
    candidates = np.flatnonzero(random.random(examples) < 0.8)
    duplicate = random.random(examples) < 0.1
    rule = Rule(confidence, per_class, balance and per_class > 0)
    expected, counts = reference(files, candidates, rule, duplicate)
    with tempfile.TemporaryDirectory() as folder:
        found = ranked(files, candidates, rule, duplicate, folder, shards=shards, rows=rows)
        np.testing.assert_array_equal(found[0].numbers, expected)
    assert found[1] == counts


@pytest.mark.parametrize('share', [0.3, 0.9])
def test_predictions_of_large_pools_spill_to_the_disk(share, tmp_path):
    """Ranking needs a multiple of the memory that it gets; other examples than candidates are left."""
    random, examples = np.random.default_rng(0), 300_000
    numbers, confidence = np.arange(examples), random.random(examples)
    label = random.integers(0, 3, examples).astype(np.int32)
    paths = []
    for part in range(3):
        paths.append(f'{tmp_path}/{part}.parquet')
        table = pa.table((numbers[part::3], label[part::3], confidence[part::3]), selection.SCHEMA)
        with open(paths[-1], 'wb') as file:
            prediction_files.write(file, selection.SCHEMA, [table], {})
    rule, candidates = Rule(0.1, int(80_000 * share)), random.random(examples) < share
    dropped = np.arange(0, examples, 1000)
    found = ranking.rank(paths, rule, candidates, dropped, 3, str(tmp_path), MEMORY)
    kept = np.setdiff1d(numbers[candidates & (confidence >= 0.1)], dropped)
    order = kept[np.lexsort((kept, -confidence[kept], label[kept]))]
    best = [order[label[order] == k][: rule.per_class] for k in range(3)]
    np.testing.assert_array_equal(found.numbers, np.sort(np.concatenate(best)))
    assert found.predicted == candidates.sum()
    assert found.duplicates == (candidates & (confidence >= 0.1))[dropped].sum()


def test_too_little_memory_is_refused(tmp_path):
    path, everything = f'{tmp_path}/0.parquet', np.ones(10**5, bool)
    with open(path, 'wb') as file:
        table = pools.draw(0, 10**5, 9)
        prediction_files.write(file, selection.SCHEMA, [table], {})
    given = [path], Rule(0.1, 9000), everything, np.zeros(0, int), 9, str(tmp_path)
    for memory in ('1MB', '1KB'):
        with pytest.raises(RuntimeError, match=f'give a larger --memory than {memory}'):
            ranking.rank(*given, memory)
    with pytest.raises(ValueError, match="--memory is 'much'; give an amount such as 3GB"):
        ranking.rank(*given, 'much')


def test_files_in_a_bucket_are_ranked(tmp_path):
    """With a stand-in: a file system of fsspec that keeps gs:// in a local folder."""

    class Bucket(LocalFileSystem):
        protocol = 'gs'

        @classmethod
        def _strip_protocol(cls, path):
            path = path.removeprefix('gs://')
            return path if path.startswith(f'{tmp_path}') else f'{tmp_path}/{path}'

    fsspec.register_implementation('gs', Bucket, clobber=True)
    (tmp_path / 'bucket').mkdir()
    rule = Rule(0.3, 7)
    expected, _ = ranked(FILES, CANDIDATES, rule, DUPLICATE, tmp_path / 'bucket', shards=2)
    paths = [f'gs://bucket/{shard}.parquet' for shard in (1, 0)]
    candidates = np.isin(np.arange(EXAMPLES), CANDIDATES)
    found = ranking.rank(paths, rule, candidates, None, CLASSES, str(tmp_path))
    np.testing.assert_array_equal(found.numbers, expected.numbers)
    assert prediction_files.read(paths[0], 'a file') == {}


def test_the_benchmark_of_large_pools_runs(tmp_path):
    table = pools.run(3000, 10, 7, batch=9, memory='100MB', folder=tmp_path)
    assert [row['images'] for row in table] == [3000, 3000, 3000, 70, 70, 9]


def test_balance_repeats_from_the_most_confident_on(tmp_path):
    logits = np.zeros((9, 3), np.float32)
    logits[:6, 0] = [1, 5, 3, 2, 4, 6]
    logits[6:8, 1] = [1, 2]
    logits[8] = np.nan
    rule = Rule(0.0, 5, balance=True)
    found, counts = ranked([logits], np.arange(9), rule, None, tmp_path)
    # Of six the best five; of two the better one three times; of the third class there is none.
    assert found.numbers.tolist() == [1, 2, 3, 4, 5, 6, 6, 7, 7, 7]
    split = splits.from_indices(np.array([0]), np.arange(9), np.array([], int))
    chosen = selection.apply(found, rule, split)
    assert chosen.unlabeled.tolist() == found.numbers.tolist() and chosen.labeled.tolist() == [0]
    assert counts['drawn'] == 10


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


def test_refusals(tmp_path):
    for rule, said in (
        (Rule(1.5), 'confidence is 1.5'),
        (Rule(0, -1), 'per_class is -1'),
        (Rule(0, 0, True), 'give per_class above 0'),
    ):
        with pytest.raises(ValueError, match=said):
            selection.check(rule)
    found, _ = ranked(FILES[:1], CANDIDATES, Rule(1.0), None, tmp_path)
    split = splits.from_indices(CANDIDATES[:1], CANDIDATES, CANDIDATES[:0])
    with pytest.raises(ValueError, match='None of the .* is kept at confidence 1.0; give a lower'):
        selection.apply(found, Rule(1.0), split)
