"""The command that selects: shares come to the same file, repeats and test images, and refusals."""

import json
import os
import sys

import numpy as np
import pytest

from mpl import select
from mpl.data import selection, splits
from mpl.data.selection import Rule

EXAMPLES, CLASSES = 301, 4
LABEL = np.arange(EXAMPLES) % CLASSES


@pytest.fixture
def run(tmp_path):
    """A folder with the split of a run and what two networks say of its unlabeled examples."""
    split = splits.draw(LABEL, 20, 40, 0, True)
    splits.save(str(tmp_path / 'split.json'), split, EXAMPLES)
    random = np.random.default_rng(0)
    for name in 'ab':
        logits = random.integers(0, 5, (EXAMPLES, CLASSES)).astype(np.float32)
        logits[np.setdiff1d(np.arange(EXAMPLES), split.unlabeled)] = np.nan
        np.save(tmp_path / f'{name}.npy', logits)
    features = random.normal(size=(len(split.unlabeled), 3)).astype(np.float32)
    features[:5] = [[5, 5, 5]]
    np.savez(tmp_path / 'pool.npz', features=features, numbers=split.unlabeled)
    np.savez(tmp_path / 'test.npz', features=np.ones((1, 3), np.float32), numbers=np.zeros(1, int))
    return tmp_path


def command(monkeypatch, run, *arguments):
    given = [argument.format(run=run) for argument in arguments]
    monkeypatch.setattr(sys, 'argv', ['select', f'--workdir={run}', *given])
    select.main()


CHOICE = ['--logits', '{run}/a.npy', '{run}/b.npy', '--confidence=0.4', '--per_class=50']
TEST = ['--features={run}/pool.npz', '--test_features={run}/test.npz']


def test_split_is_that_of_the_run_with_the_selected_examples(run, monkeypatch, capsys):
    command(monkeypatch, run, *CHOICE, '--balance', '--output={run}/out.json')
    base, chosen = (splits.load(str(run / name), LABEL) for name in ('split.json', 'out.json'))
    np.testing.assert_array_equal(chosen.labeled, base.labeled)
    np.testing.assert_array_equal(chosen.validation, base.validation)
    files, rule = [np.load(run / f'{name}.npy') for name in 'ab'], Rule(0.4, 50, True)
    part = selection.scan(files, base.unlabeled, rule)
    np.testing.assert_array_equal(chosen.unlabeled, selection.numbers(part, rule))
    assert len(chosen.unlabeled) == 200 > len(np.unique(chosen.unlabeled))
    told = capsys.readouterr().out
    counts = selection.summarize(part, rule, CLASSES)
    assert f'{counts["kept"]} of 261 unlabeled examples are kept, 200 with repeats; 0 have' in told
    least, dropped = counts['kept_per_class']['min'], counts['dropped']
    assert f'least {least}, ' in told and f'Dropped: {dropped["confidence"]} by conf' in told


def test_shares_are_merged_to_the_same_bytes_and_not_done_again(run, monkeypatch, capsys):
    command(monkeypatch, run, *CHOICE, *TEST, '--balance', '--output={run}/whole.json')
    whole = capsys.readouterr().out
    share = [*CHOICE, *TEST, '--balance']
    for i in range(3):
        command(monkeypatch, run, *share, f'--shard={i}/3', f'--output={{run}}/{i}.npz')
    parts = [f'{{run}}/{i}.npz' for i in (2, 0, 1)]
    command(monkeypatch, run, '--merge', *parts, '--output={run}/merged.json')
    assert (run / 'merged.json').read_bytes() == (run / 'whole.json').read_bytes()
    assert capsys.readouterr().out.splitlines()[-4:-1] == whole.splitlines()[:3]
    before = (run / '1.npz').stat().st_mtime_ns
    command(monkeypatch, run, *share, '--shard=1/3', '--output={run}/1.npz')
    assert (run / '1.npz').stat().st_mtime_ns == before
    os.utime(run / 'a.npy')  # As if it had been gone on with.
    command(monkeypatch, run, *share, '--shard=1/3', '--output={run}/1.npz')
    assert (run / '1.npz').stat().st_mtime_ns > before
    for arguments, said in (
        ([*CHOICE, '--shard=1/3', '--output={run}/1.npz'], 'is a part of another selection'),
        (['--merge', *parts[:2], '--output={run}/x.json'], r'the shares \[0, 2\] of 3; give each'),
        (['--merge', *parts, parts[0], '--output={run}/x.json'], r'shares \[0, 1, 2, 2\] of 3'),
    ):
        with pytest.raises(ValueError, match=said):
            command(monkeypatch, run, *arguments)
    command(monkeypatch, run, *CHOICE, '--shard=1/3', '--output={run}/other.npz')
    with pytest.raises(ValueError, match='other.npz is of another selection'):
        mixed = ['{run}/0.npz', '{run}/other.npz', '{run}/2.npz']
        command(monkeypatch, run, '--merge', *mixed, '--output={run}/x.json')
    assert not (run / 'x.json').exists()


def test_what_looks_like_a_test_image_is_dropped(run, monkeypatch, capsys):
    split = splits.load(str(run / 'split.json'), LABEL)
    for more, alike in ((['--similarity=0.999'], 5), (['--similarity=1.1'], 0)):
        arguments = ['--logits', '{run}/a.npy', *TEST, *more, '--output={run}/out.json']
        command(monkeypatch, run, *arguments)
        chosen = splits.load(str(run / 'out.json'), LABEL).unlabeled
        dropped = np.setdiff1d(split.unlabeled, chosen)
        assert len(dropped) >= alike and np.isin(split.unlabeled[:alike], dropped).all()
        assert f'{len(dropped)} as duplicates' in capsys.readouterr().out


REFUSED = {
    '--output={run}/o.json': 'Give --logits to select from, or --merge',
    '--logits {run}/a.npy --merge {run}/a.npz --output={run}/o.json': 'Give --logits to select',
    '--logits {run}/a.npy --output={run}/none/o.json': 'there is no folder',
    '--logits {run}/a.npy --balance --output={run}/o.json': 'give per_class above 0',
    '--logits {run}/a.npy --confidence=2 --output={run}/o.json': 'confidence is 2.0',
    '--logits {run}/a.npy --shard=3/3 --output={run}/o.npz': "--shard is '3/3'; give 0/4",
    '--logits {run}/a.npy --features=x --output={run}/o.json': 'give both or neither',
    '--logits {run}/pool.npz --output={run}/o.json': 'does not hold logits',
    '--logits {run}/a.npy {run}/c.npy --output={run}/o.json': 'c.npy holds logits of 7 examples',
    '--logits {run}/a.npy --config.seed=1 --output={run}/o.json': 'has no use here',
    '--merge {run}/pool.npz --output={run}/o.json': 'pool.npz is not a share of a selection',
    '--merge {run}/pool.npz --per_class=3 --output={run}/o.json': 'give it --output alone',
    '--workdir={run}/none --logits {run}/a.npy --output={run}/o.json': 'holds no run',
    '--logits {run}/a.npy --features={run}/a.npy --test_features={run}/test.npz --output={run}/o': (
        'a.npy is not a file of features'
    ),
    '--logits {run}/a.npy --features={run}/test.npz --test_features={run}/test.npz '
    '--output={run}/o': 'lacks 26[01] unlabeled examples',
}


@pytest.mark.parametrize('arguments', REFUSED)
def test_refusals(arguments, run, monkeypatch):
    np.save(run / 'c.npy', np.zeros((7, CLASSES), np.float32))
    before = set(os.listdir(run))
    with pytest.raises(ValueError, match=REFUSED[arguments]) as caught:
        command(monkeypatch, run, *arguments.split())
    assert '\n' not in str(caught.value)
    assert set(os.listdir(run)) == before


def test_part_is_readable_json(run, monkeypatch):
    command(monkeypatch, run, *CHOICE, '--shard=0/2', '--output={run}/0.npz')
    with np.load(run / '0.npz') as kept:
        settings = json.loads(str(kept['settings']))
    assert settings['shard'] == [0, 2] and settings['rule']['per_class'] == 50
    assert settings['logits'] == ['a.npy', 'b.npy'] and settings['similarity'] is None
