"""Selects unlabeled examples by what networks said of them: python -m mpl.select --workdir=runs/x
--logits a.npy b.npy --confidence=0.3 --per_class=1000 --balance --output=selected.json

The logits are those of `mpl.predict --split=unlabeled --logits=a.npy`; of several files, which may
be of several networks, probabilities are averaged. The output is a split with the run's labeled and
validation examples, by number: train with --config.split.file=selected.json
--config.split.labels=0 --config.split.validation=0.

--features=pool.npz --test_features=test.npz, of `mpl.predict --features` with the splits unlabeled
and test, drops what looks like a test image, before anything is ranked.

Several processes: each with --shard=0/8, 1/8, ... --output=part0.npz, ... (one that is done is not
done again), and at the end --merge part*.npz --output=selected.json.
"""

import argparse
import json
import os
import zipfile

import numpy as np
from etils import epath

from mpl.data import selection, splits
from mpl.data.selection import Part, Rule
from mpl.run import command, logits
from mpl.run import evaluation as evaluate


def duplicates(pool: str, test: str, similarity: float, split: splits.Split, examples: int):
    """Which of the examples look like one of the test set, bool [N]; all others are False.

    Args:
      pool: an npz file of `mpl.predict --features` that has all unlabeled examples.
      test: likewise, of the test images.
      similarity: least cosine of the angle between features.
      split: with the unlabeled examples.
      examples: N.

    Raises:
      ValueError: an unlabeled example is not in the file, or they are not of one network.
    """
    names, what = ('features', 'numbers'), 'a file of features'
    (features, number), (others, _) = (_arrays(path, names, what) for path in (pool, test))
    if features.shape[1] != others.shape[1]:
        raise ValueError(
            f'{pool} has {features.shape[1]} features of each example and {test} {others.shape[1]}; '
            'give those of one network.'
        )
    without = np.setdiff1d(split.unlabeled, number)
    if len(without):
        raise ValueError(
            f'{pool} lacks {len(without):,} unlabeled examples, such as {without[0]}; write it with '
            'mpl.predict --split=unlabeled.'
        )
    found = np.zeros(examples, bool)
    found[number] = selection.near(features, others, similarity)
    return found


def write_part(path: str, part: Part, settings: dict) -> None:
    """Writes what a share came to, whole."""
    beside = f'{path}.tmp'
    with open(beside, 'wb') as file:
        np.savez(file, settings=json.dumps(settings, sort_keys=True), **part._asdict())
    os.replace(beside, path)


def read_part(path: str) -> tuple[Part, dict]:
    """What a share came to, and the settings it was made with.

    Raises:
      ValueError: the file is none.
    """
    *part, settings = _arrays(path, (*Part._fields, 'settings'), 'a share of a selection')
    return Part(*part), json.loads(str(settings))


def find(given: argparse.Namespace, settings: dict, split: splits.Split, examples: int) -> Part:
    """The best examples of the share that the command asks for."""
    files = [logits.read(path) for path in given.logits]
    for path, rows in zip(given.logits, files):
        if rows.shape != (examples, files[0].shape[1]):
            raise ValueError(
                f'{path} holds logits of {rows.shape[0]:,} examples and {rows.shape[1]} classes, but '
                f'the run in {given.workdir} has {examples:,} examples and {given.logits[0]} '
                f'{files[0].shape[1]} classes; give logits of its training pool.'
            )
    copied = None
    if given.features:
        paths = given.features, given.test_features
        copied = duplicates(*paths, given.similarity, split, examples)
    rule = Rule(**settings['rule'])
    candidates = np.unique(split.unlabeled)
    return selection.scan(files, candidates, rule, copied, tuple(settings['shard']))


def join(paths: list[str], hash: str) -> tuple[Part, dict]:
    """The parts as one, and their settings.

    Raises:
      ValueError: they are of different selections, or one is missing or there twice.
    """
    parts, settings = zip(*map(read_part, paths))
    first = settings[0]
    for path, own in zip(paths, settings):
        if {**own, 'shard': None} != {**first, 'shard': None} or own['split'] != hash:
            raise ValueError(
                f'{path} is of another selection than {paths[0]} or of another split than the '
                "run's; give parts made with the same arguments."
            )
    count = first['shard'][1]
    shares = sorted(own['shard'][0] for own in settings)
    if shares != list(range(count)):
        raise ValueError(f'The parts are the shares {shares} of {count}; give each once.')
    return selection.merge(parts, Rule(**first['rule'])), first


def show(counts: dict) -> str:
    """What became of the candidates, in three lines."""
    per_class, dropped = counts['kept_per_class'], counts['dropped']
    return (
        f'{counts["kept"]:,} of {counts["candidates"]:,} unlabeled examples are kept, '
        f'{counts["drawn"]:,} with repeats; {counts["not_asked"]:,} have no logits.\n'
        f'Kept per class: least {per_class["min"]:,}, median {per_class["median"]:,.0f}, most '
        f'{per_class["max"]:,}.\n'
        f'Dropped: {dropped["confidence"]:,} by confidence, {dropped["duplicates"]:,} as '
        f'duplicates of test images, {dropped["rank"]:,} by rank.'
    )


def _arrays(path: str, names: tuple[str, ...], what: str) -> list[np.ndarray]:
    try:
        with np.load(path) as kept:
            return [kept[name] for name in names]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f'{path} is not {what}, an npz file with {", ".join(names)} ({error}); see --help.'
        ) from error


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition('/')
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ValueError(f'--shard is {text!r}; give 0/4, 1/4, 2/4 or 3/4 for four shares.')
    return int(number), int(count)


def _settings(given: argparse.Namespace, split: splits.Split) -> dict:
    """What a part is a function of, but for the contents of the files."""
    rule = Rule(given.confidence, given.per_class, given.balance)
    selection.check(rule)
    return {
        'split': split.hash,
        'rule': rule._asdict(),
        'shard': list(_shard(given.shard or '0/1')),
        'logits': [os.path.basename(path) for path in given.logits],
        'similarity': given.similarity if given.features else None,
        'classes': logits.read(given.logits[0]).shape[1],
    }


def _is_done(given: argparse.Namespace, settings: dict) -> bool:
    """Whether the part is there already, and younger than what it is made of."""
    if not os.path.exists(given.output):
        return False
    if read_part(given.output)[1] != settings:
        raise ValueError(
            f'{given.output} is a part of another selection; give another --output, or delete it.'
        )
    made_of = filter(None, (*given.logits, given.features, given.test_features))
    return all(os.path.getmtime(path) <= os.path.getmtime(given.output) for path in made_of)


def _check(given: argparse.Namespace) -> None:
    if bool(given.logits) == bool(given.merge):
        raise ValueError('Give --logits to select from, or --merge with the parts of a selection.')
    if bool(given.features) != bool(given.test_features):
        raise ValueError('--features and --test_features are compared; give both or neither.')
    if given.merge and (given.shard or given.features or given.confidence or given.per_class):
        raise ValueError('--merge takes its numbers from the parts; give it --output alone.')
    evaluate.check_output(given.output)


def main():
    parser, local = command.parser(__doc__), command.local_path
    parser.add_argument(
        '--workdir', required=True, type=command.path, help='folder of a run, whose split it is'
    )
    parser.add_argument(
        '--logits', nargs='+', type=local, default=[], help='npy files of mpl.predict'
    )
    parser.add_argument('--confidence', type=float, default=0.0, help='least top probability')
    parser.add_argument('--per_class', type=int, default=0, help='to keep at most; 0: all')
    parser.add_argument('--balance', action='store_true', help='repeat up to --per_class')
    parser.add_argument(
        '--features', type=local, help='npz file of mpl.predict, of the unlabeled examples'
    )
    parser.add_argument(
        '--test_features', type=local, help='npz file of mpl.predict, of the test examples'
    )
    parser.add_argument('--similarity', type=float, default=0.95, help='least, of a duplicate')
    parser.add_argument('--shard', help='0/4: the first of four shares of the rows')
    parser.add_argument('--merge', nargs='+', type=local, default=[], help='files of all shares')
    parser.add_argument(
        '--output', required=True, type=local, help='JSON file to write; npz of a share'
    )
    given, overrides = command.parse(parser)
    if overrides:
        raise ValueError(f'{overrides[0]} has no use here: the split is that of the run.')
    _check(given)
    path = epath.Path(given.workdir) / 'split.json'
    if not path.exists():
        raise ValueError(f'{given.workdir} holds no run (no split.json); give the folder of one.')
    split, examples = splits.read(str(path))
    if given.merge:
        part, settings = join(given.merge, split.hash)
    else:
        settings = _settings(given, split)
        if given.shard and _is_done(given, settings):
            print(f'{given.output} is done already.')
            return
        part = find(given, settings, split, examples)
    if given.shard:
        write_part(given.output, part, settings)
        print(f'Share {given.shard}: {given.output}')
        return
    rule = Rule(**settings['rule'])
    splits.save(given.output, selection.apply(part, rule, split), examples)
    print(show(selection.summarize(part, rule, settings['classes'])))
    print(f'Split: {given.output}')


if __name__ == '__main__':
    command.main(main)
