"""The command that selects: shares come to the same file, repeats and test images, and refusals."""

import os
import sys

import numpy as np
import pytest
from etils import epath
from ranked import reference

from mpl import select
from mpl.data import selection, source, splits
from mpl.data.selection import Rule
from mpl.models.network import Outputs
from mpl.run import features, identity, prediction_files, records, row_files, split_files

EXAMPLES, CLASSES = 301, 4
LABEL = np.arange(EXAMPLES) % CLASSES


def data_set(label=LABEL, classes='abcd'):
    pool = source.from_arrays(np.zeros((len(label), 1, 1, 1), np.uint8), label)
    return source.Source(pool, None, pool, tuple(classes), (1, 1, 1))


SOURCE = data_set()
SPLIT = splits.draw(LABEL, 20, 40, 0, True)


def made_by(name, of=SOURCE, split='unlabeled', hash=SPLIT.hash, **changes):
    """The record of what a network of a run gives."""
    return dict(
        workdir=f'runs/{name}', config=name, state=0, network='student', split=split, images=None,
        pool='test' if split == 'test' else 'train', data=identity.make(of) | {'split': hash},
    ) | changes  # fmt: skip


def write_logits(path, rows, numbers, made_by):
    with row_files.open_rows(str(path), len(rows), rows.shape[1], made_by) as there:
        list(row_files.store([there], iter([(None, numbers, Outputs(None, rows[numbers]))])))


def write_features(path, values, numbers, made_by):
    outputs = Outputs(values, np.zeros((len(values), CLASSES), np.float32))
    features.write(str(path), [([str(n) for n in numbers], numbers, outputs)], made_by)


def write_predictions(folder, rows, numbers, made_by):
    folder.mkdir()
    record = {'made_by': made_by, 'classes': CLASSES, 'pieces': 1, 'piece': 0}
    with open(folder / '000000.parquet', 'wb') as file:
        table = selection.predict([rows[numbers]], numbers)
        prediction_files.write(file, selection.SCHEMA, [table], record)


@pytest.fixture
def run(tmp_path):
    """A folder with the split of a run and the logits of two networks for its unlabeled examples."""
    record = identity.make(SOURCE) | {'split': SPLIT.hash}
    labels = {'label_values': identity.pack_labels(SOURCE)}
    records.write(epath.Path(tmp_path / 'data.json'), record | labels)
    split_files.write(epath.Path(tmp_path / 'split.json'), SPLIT, record, {})
    random = np.random.default_rng(0)
    for name in 'ab':
        rows = random.integers(0, 5, (EXAMPLES, CLASSES)).astype(np.float32)
        write_logits(tmp_path / f'{name}.npy', rows, SPLIT.unlabeled, made_by(name))
        write_predictions(tmp_path / f'{name}', rows, SPLIT.unlabeled, made_by(name))
    values = random.normal(size=(len(SPLIT.unlabeled), 3)).astype(np.float32)
    values[:5] = [[5, 5, 5]]
    write_features(tmp_path / 'pool.npz', values, SPLIT.unlabeled, made_by('a'))
    one = np.ones((1, 3), np.float32)
    write_features(tmp_path / 'test.npz', one, np.zeros(1, int), made_by('a', split='test'))
    return tmp_path


def load(path):
    return split_files.load(epath.Path(path), SOURCE)


def command(monkeypatch, run, *arguments):
    given = [argument.format(run=run) for argument in arguments]
    monkeypatch.setattr(sys, 'argv', ['select', f'--workdir={run}', *given])
    select.main()


CHOICE = ['--logits', '{run}/a.npy', '{run}/b.npy', '--confidence=0.4', '--per_class=50']
TEST = ['--features={run}/pool.npz', '--test_features={run}/test.npz']


def test_split_is_that_of_the_run_with_the_selected_examples(run, monkeypatch, capsys):
    command(monkeypatch, run, *CHOICE, '--balance', '--output={run}/out.json')
    base, chosen = (load(run / name) for name in ('split.json', 'out.json'))
    np.testing.assert_array_equal(chosen.labeled, base.labeled)
    np.testing.assert_array_equal(chosen.validation, base.validation)
    files, rule = [np.load(run / f'{name}.npy') for name in 'ab'], Rule(0.4, 50, True)
    expected, counts = reference(files, base.unlabeled, rule, np.zeros(EXAMPLES, bool))
    np.testing.assert_array_equal(chosen.unlabeled, expected)
    assert len(chosen.unlabeled) == 200 > len(np.unique(chosen.unlabeled))
    printed = capsys.readouterr().out
    assert f'{run}/b.npy: student of runs/b on unlabeled' in printed
    assert (
        f'{counts["kept"]} of 261 unlabeled examples are kept, 200 with repeats; 0 have' in printed
    )
    least, dropped = counts['kept_per_class']['min'], counts['dropped']
    assert f'least {least}, ' in printed and f'Dropped: {dropped["confidence"]} by conf' in printed


def test_shares_are_merged_to_the_same_bytes_and_not_done_again(run, monkeypatch, capsys):
    command(monkeypatch, run, *CHOICE, *TEST, '--balance', '--output={run}/whole.json')
    whole = capsys.readouterr().out
    share = [*CHOICE, *TEST, '--balance']
    for i in range(3):
        command(monkeypatch, run, *share, f'--shard={i}/3', f'--output={{run}}/{i}.parquet')
    parts = [f'{{run}}/{i}.parquet' for i in (2, 0, 1)]
    command(monkeypatch, run, '--merge', *parts, '--output={run}/merged.json')
    assert (run / 'merged.json').read_bytes() == (run / 'whole.json').read_bytes()
    assert capsys.readouterr().out.splitlines()[-4:-1] == whole.splitlines()[4:7]
    before = (run / '1.parquet').stat().st_mtime_ns
    command(monkeypatch, run, *share, '--shard=1/3', '--output={run}/1.parquet')
    assert (run / '1.parquet').stat().st_mtime_ns == before
    os.utime(run / 'a.npy')  # As if it had been gone on with.
    command(monkeypatch, run, *share, '--shard=1/3', '--output={run}/1.parquet')
    assert (run / '1.parquet').stat().st_mtime_ns > before
    for arguments, message in (
        ([*CHOICE, '--shard=1/3', '--output={run}/1.parquet'], 'is a shard of another selection'),
        (['--merge', *parts[:2], '--output={run}/x.json'], r'the shards \[0, 2\] of 3; give each'),
        (['--merge', *parts, parts[0], '--output={run}/x.json'], r'shards \[0, 1, 2, 2\] of 3'),
    ):
        with pytest.raises(ValueError, match=message):
            command(monkeypatch, run, *arguments)
    command(monkeypatch, run, *CHOICE, '--shard=1/3', '--output={run}/other.parquet')
    with pytest.raises(ValueError, match='other.parquet is of another selection'):
        mixed = ['{run}/0.parquet', '{run}/other.parquet', '{run}/2.parquet']
        command(monkeypatch, run, '--merge', *mixed, '--output={run}/x.json')
    assert not (run / 'x.json').exists()


def test_what_looks_like_a_test_image_is_dropped(run, monkeypatch, capsys):
    split = load(run / 'split.json')
    for more, alike in ((['--similarity=0.999'], 5), (['--similarity=1.1'], 0)):
        arguments = ['--logits', '{run}/a.npy', *TEST, *more, '--output={run}/out.json']
        command(monkeypatch, run, *arguments)
        chosen = load(run / 'out.json').unlabeled
        dropped = np.setdiff1d(split.unlabeled, chosen)
        assert len(dropped) >= alike and np.isin(split.unlabeled[:alike], dropped).all()
        assert f'{len(dropped)} as duplicates' in capsys.readouterr().out


def test_predictions_are_selected_from_as_their_logits_are(run, monkeypatch, capsys):
    rule = ['--confidence=0.4', '--per_class=50', '--balance', *TEST]
    for name, option in (('l', '--logits={run}/a.npy'), ('p', '--predictions={run}/a')):
        command(monkeypatch, run, option, *rule, f'--output={{run}}/{name}.json')
    printed = capsys.readouterr().out.splitlines()
    assert printed[3:6] == printed[-4:-1] and ' 0 as duplicates' not in printed[5]
    assert f'{run}/a: student of runs/a on unlabeled' in printed
    logits, predictions = (load(run / f'{name}.json') for name in 'lp')
    assert logits.hash == predictions.hash
    _, made = split_files.read(epath.Path(run / 'p.json'), identity.make(SOURCE))
    assert made['made_by']['predictions']['workdir'] == 'runs/a' and not made['made_by']['logits']


REFUSED = {
    '--predictions={run}/none --output={run}/o.json': 'none has no predictions; give a folder',
    '--predictions={run}/a --shard=0/2 --output={run}/o.json': '--shard is a share of --logits',
    '--predictions={run}/a --logits {run}/a.npy --output={run}/o.json': 'Give --logits to select',
    '--predictions={run}/a --memory=much --output={run}/o.json': "--memory is 'much'; give an",
    '--logits {run}/a.npy --memory=-1GB --output={run}/o.json': "--memory is '-1GB'; give an",
    '--logits {run}/a.npy --similarity=nan --output={run}/o.json': '--similarity is nan; give a',
    '--logits {run}/a.npy --output={run}/./a.npy': 'from which the selection is made',
    '--output={run}/o.json': 'Give --logits to select from, or --merge',
    '--logits {run}/a.npy --merge {run}/a.npz --output={run}/o.json': 'Give --logits to select',
    '--logits {run}/a.npy --output={run}/none/o.json': 'there is no folder',
    '--logits {run}/a.npy --balance --output={run}/o.json': 'give per_class above 0',
    '--logits {run}/a.npy --confidence=2 --output={run}/o.json': 'confidence is 2.0',
    '--logits {run}/a.npy --shard=3/3 --output={run}/o.npz': "--shard is '3/3'; give 0/4",
    '--logits {run}/a.npy --features=x --output={run}/o.json': 'give both or neither',
    '--logits {run}/pool.npz --output={run}/o.json': 'does not hold logits',
    '--logits {run}/a.npy {run}/c.npy --output={run}/o.json': (
        r'c.npy .* is not of the data and split .*train: 7 -> 301 examples'
    ),
    '--logits {run}/a.npy {run}/./a.npy --output={run}/o.json': 'a.npy are of the same network and w',
    '--logits {run}/a.npy --config.seed=1 --output={run}/o.json': 'is not allowed here',
    '--merge {run}/pool.npz --output={run}/o.json': 'pool.npz is not a shard of a selection',
    '--merge {run}/pool.npz --per_class=3 --output={run}/o.json': 'give it --output alone',
    '--workdir={run}/none --logits {run}/a.npy --output={run}/o.json': 'holds no run',
    '--logits {run}/a.npy --features={run}/a.npy --test_features={run}/test.npz --output={run}/o': (
        'a.npy is not a file of features'
    ),
    '--logits {run}/a.npy --features={run}/test.npz --test_features={run}/test.npz '
    '--output={run}/o': r'test.npz .* is not of the data and split .*pool: test -> train',
    '--logits {run}/a.npy --features={run}/few.npz --test_features={run}/test.npz '
    '--output={run}/o': 'few.npz lacks 258 unlabeled examples',
}


@pytest.mark.parametrize('arguments', REFUSED)
def test_refusals(arguments, run, monkeypatch):
    few = np.zeros((7, CLASSES), np.float32)
    write_logits(run / 'c.npy', few, np.arange(7), made_by('c', data_set(LABEL[:7])))
    write_features(run / 'few.npz', few[:3], SPLIT.unlabeled[:3], made_by('a'))
    before = set(os.listdir(run))
    with pytest.raises(ValueError, match=REFUSED[arguments]) as caught:
        command(monkeypatch, run, *arguments.split())
    assert '\n' not in str(caught.value)
    assert set(os.listdir(run)) == before


def test_part_records_its_settings(run, monkeypatch):
    command(monkeypatch, run, *CHOICE, '--shard=0/2', '--output={run}/0.parquet')
    settings = prediction_files.read(str(run / '0.parquet'), 'a shard')
    assert settings['shard'] == [0, 2] and settings['rule']['per_class'] == 50
    assert [made['workdir'] for made in settings['made_by']['logits']] == ['runs/a', 'runs/b']
    assert settings['similarity'] is None


OTHERS = {
    'classes: a, b, c, x -> a, b, c, d': made_by('x', data_set(classes='abcx')),
    'labels of the train examples': made_by('x', data_set(np.roll(LABEL, 1))),
    'split: 0123 -> ': made_by('x', hash='0123'),
    'pool: test -> train': made_by('x', split='test'),
}


@pytest.mark.parametrize('message', OTHERS)
def test_logits_and_features_of_other_data_or_another_split_are_refused(message, run, monkeypatch):
    rows = np.zeros((EXAMPLES, CLASSES), np.float32)
    write_logits(run / 'x.npy', rows, SPLIT.unlabeled, OTHERS[message])
    write_features(run / 'x.npz', rows[SPLIT.unlabeled], SPLIT.unlabeled, OTHERS[message])
    write_predictions(run / 'x.npdir', rows, SPLIT.unlabeled, OTHERS[message])
    for arguments in (
        ['--logits', '{run}/a.npy', '{run}/x.npy'],
        ['--logits', '{run}/a.npy', '--features={run}/x.npz', TEST[1]],
        ['--predictions={run}/x.npdir'],
    ):
        with pytest.raises(
            ValueError, match=f'x.np.* is not of the data and split .*{message}'
        ) as e:
            command(monkeypatch, run, *arguments, '--output={run}/o.json')
        assert '\n' not in str(e.value)
    assert not (run / 'o.json').exists()


def test_features_of_two_networks_are_not_compared(run, monkeypatch):
    one, number = np.ones((1, 3), np.float32), np.zeros(1, int)
    for made, message in (
        (made_by('b', split='test'), 'another config'),
        (made_by('a', split='test', state=1), 'other weights of the same config'),
        (made_by('a', split='test', network='teacher'), 'network: student -> teacher'),
        (made_by('a', split='train'), 'has no test images'),
        (
            made_by('a', of=SOURCE._replace(test=data_set(LABEL[:9]).train), split='test'),
            'is of other test images than those of the run .*test: 9 -> 301 examples',
        ),
    ):
        write_features(run / 'other.npz', one, number, made)
        with pytest.raises(ValueError, match=message):
            others = [TEST[0], '--test_features={run}/other.npz', '--output={run}/o.json']
            command(monkeypatch, run, '--logits', '{run}/a.npy', *others)


def test_rows_that_were_changed_are_not_selected_from(run, monkeypatch):
    rows = np.lib.format.open_memmap(run / 'a.npy', 'r+')
    rows[SPLIT.unlabeled[7]] += 1
    rows.flush()
    with pytest.raises(ValueError, match=f'the first of example {SPLIT.unlabeled[7]} '):
        command(monkeypatch, run, *CHOICE, '--output={run}/o.json')


def test_share_of_logits_that_were_made_anew_is_another_one(run, monkeypatch):
    arguments = [*CHOICE, '--shard=0/2', '--output={run}/0.parquet']
    command(monkeypatch, run, *arguments)
    for name in ('a.npy', 'a.npy.crc', 'a.npy.json'):
        os.remove(run / name)
    rows = np.zeros((EXAMPLES, CLASSES), np.float32)
    write_logits(run / 'a.npy', rows, SPLIT.unlabeled, made_by('a', state=1))
    with pytest.raises(ValueError, match='is a shard of another selection'):
        command(monkeypatch, run, *arguments)


def test_selected_split_has_its_provenance_and_is_refused_by_other_data(run, monkeypatch):
    command(monkeypatch, run, *CHOICE, *TEST, '--output={run}/out.json')
    _, made = split_files.read(epath.Path(run / 'out.json'), identity.make(SOURCE))
    assert [m['workdir'] for m in made['made_by']['logits']] == ['runs/a', 'runs/b']
    assert made['made_by']['test_features']['split'] == 'test'
    assert made['rule'] == {'confidence': 0.4, 'per_class': 50, 'balance': False}
    with pytest.raises(ValueError, match='out.json is of other data than these .classes'):
        split_files.load(epath.Path(run / 'out.json'), data_set(classes='abcx'))
