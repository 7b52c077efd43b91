"""Selects unlabeled examples by their logits: python -m mpl.select --workdir=runs/x
--logits a.npy b.npy --confidence=0.3 --per_class=1000 --balance --output=selected.json

The logits come from `mpl.predict --split=unlabeled --logits=a.npy`. The probabilities of several
files, from networks and runs of the same data and split, are averaged. The output is a split with
the selected examples and the run's labeled and validation examples, as indices: train with
--config.split.file=selected.json --config.split.labels=0 --config.split.validation=0. It records
its provenance and its data; runs of other data refuse it.

--features=pool.npz --test_features=test.npz, from `mpl.predict --features` with the splits unlabeled
and test, drops near-duplicates of test images before ranking.

In several processes: run each with --shard=0/8, 1/8, ... --output=part0.npz, ... (finished shards
are skipped), then --merge part*.npz --output=selected.json.
"""

import argparse

from etils import epath

from mpl.data import selection, splits
from mpl.data.selection import Rule
from mpl.run import (
    command,
    data_record,
    evaluation,
    provenance,
    selection_shards,
    split_files,
)


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition('/')
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ValueError(f'--shard is {text!r}; give 0/4, 1/4, 2/4 or 3/4 for four shards.')
    return int(index), int(count)


def _settings(
    given: argparse.Namespace, inputs: selection_shards.Inputs, split: splits.Split
) -> dict:
    """All settings that determine the result of a shard, given the rows of the files."""
    rule = Rule(given.confidence, given.per_class, given.balance)
    selection.check(rule)
    return {
        'split': split.hash,
        'rule': rule._asdict(),
        'shard': list(_shard(given.shard or '0/1')),
        'similarity': given.similarity if given.features else None,
        'classes': inputs.files[0].shape[1],
        'made_by': inputs.made_by(),
    }


def _check(given: argparse.Namespace) -> None:
    if bool(given.logits) == bool(given.merge):
        raise ValueError('Give --logits to select from, or --merge with the shards of a selection.')
    if bool(given.features) != bool(given.test_features):
        raise ValueError('--features and --test_features are compared; give both or neither.')
    if given.merge and (given.shard or given.features or given.confidence or given.per_class):
        raise ValueError('--merge takes its settings from the shards; give it --output alone.')
    evaluation.check_output(given.output)


def make_parser() -> argparse.ArgumentParser:
    parser, local = command.parser(__doc__), command.local_path
    parser.add_argument(
        '--workdir',
        required=True,
        type=command.path,
        help='folder of the run that the split belongs to',
    )
    parser.add_argument(
        '--logits', nargs='+', type=local, default=[], help='npy files of mpl.predict'
    )
    parser.add_argument(
        '--confidence', type=float, default=0.0, help='minimum probability of the top class'
    )
    parser.add_argument('--per_class', type=int, default=0, help='maximum number per class; 0: all')
    parser.add_argument(
        '--balance',
        action='store_true',
        help='repeat examples of smaller classes up to --per_class',
    )
    parser.add_argument(
        '--features', type=local, help='npz file of mpl.predict for the unlabeled examples'
    )
    parser.add_argument(
        '--test_features', type=local, help='npz file of mpl.predict for the test examples'
    )
    parser.add_argument(
        '--similarity', type=float, default=0.95, help='minimum cosine of a duplicate'
    )
    parser.add_argument('--shard', help='0/4: the first of four shards of the rows')
    parser.add_argument('--merge', nargs='+', type=local, default=[], help='files of all shards')
    parser.add_argument(
        '--output', required=True, type=local, help='JSON file to write; npz file with --shard'
    )
    return parser


def main():
    given, overrides = command.parse(make_parser())
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the split is that of the run.')
    _check(given)
    workdir = epath.Path(given.workdir)
    split, data = data_record.read_split(workdir)
    if given.merge:
        part, settings = selection_shards.join(given.merge, split.hash)
    else:
        paths = given.features, given.test_features
        inputs = selection_shards.read_inputs(given.logits, *paths, data, workdir)
        settings = _settings(given, inputs, split)
        for path, rows in zip(given.logits, inputs.files):
            print(f'{path}: {provenance.describe(rows.made_by)}')
        for file in filter(None, (inputs.pool, inputs.test)):
            print(f'{file.path}: {provenance.describe(file.made_by)}')
        if given.shard and selection_shards.is_finished(
            given.output, settings, (*given.logits, given.features, given.test_features)
        ):
            print(f'{given.output} is finished already.')
            return
        part = selection_shards.find(inputs, split, settings)
    if given.shard:
        selection_shards.write_part(given.output, part, settings)
        print(f'Shard {given.shard}: {given.output}')
        return
    rule = Rule(**settings['rule'])
    chosen = selection.apply(part, rule, split)
    split_files.write(
        epath.Path(given.output), chosen, data, selection_shards.selection_settings(settings)
    )
    print(selection.show(selection.summarize(part, rule, settings['classes'])))
    print(f'Split: {given.output}')


if __name__ == '__main__':
    command.main(main)
