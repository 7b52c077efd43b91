"""Selects unlabeled examples by their predictions: python -m mpl.select --workdir=runs/x
--logits a.npy b.npy --confidence=0.3 --per_class=1000 --balance --output=selected.json

The logits come from `mpl.predict --split=unlabeled --logits=a.npy`. The probabilities of several
files, from networks and runs of the same data and split, are averaged. For pools whose logits are
too large, --predictions=folder takes what `mpl.predict --split=unlabeled --predictions=folder` has
written: class and confidence by one network. DuckDB ranks them, on all cores, in --memory and on the
disk of --output.

The output is a split with the selected examples and the run's labeled and validation examples, as
indices: train with --config.split.file=selected.json --config.split.labels=0
--config.split.validation=0. It records its provenance and its data; runs of other data refuse it.

--features=pool.npz --test_features=test.npz, from `mpl.predict --features` with the splits unlabeled
and test, drops near-duplicates of test images before ranking.

In several processes: read logits in each with --shard=0/8, 1/8, ... --output=part0.parquet, ...
(finished shards are skipped), then --merge part*.parquet --output=selected.json.
"""

import argparse
import os

import numpy as np
from etils import epath

from mpl.data import ranking, selection, splits
from mpl.data.selection import Rule
from mpl.run import command, data_record, evaluation, selection_shards, split_files


def _settings(
    given: argparse.Namespace, inputs: selection_shards.Inputs, split: splits.Split
) -> dict:
    """All settings that determine the result of a shard, given the rows of the files."""
    rule = Rule(given.confidence, given.per_class, given.balance)
    selection.check(rule)
    return {
        'split': split.hash,
        'rule': rule._asdict(),
        'shard': list(command.parse_shard(given.shard or '0/1')),
        'similarity': given.similarity if given.features else None,
        'classes': inputs.classes,
        'made_by': inputs.made_by(),
    }


def _check(given: argparse.Namespace) -> None:
    if sum(map(bool, (given.logits, given.predictions, given.merge))) != 1:
        raise ValueError(
            'Give --logits to select from, or --merge with the shards of a selection, or --predictions.'
        )
    if given.predictions and given.shard:
        raise ValueError(
            '--shard is a share of --logits; --predictions are ranked at once, so leave it out.'
        )
    if bool(given.features) != bool(given.test_features):
        raise ValueError('--features and --test_features are compared; give both or neither.')
    if given.merge and (given.shard or given.features or given.confidence or given.per_class):
        raise ValueError('--merge takes its settings from the shards; give it --output alone.')
    if not given.similarity >= -1:
        raise ValueError(
            f'--similarity is {given.similarity}; give a cosine from -1 to 1 (above 1 nothing is dropped).'
        )
    ranking.check_memory(given.memory)
    evaluation.check_output(given.output)
    inputs = (*given.logits, *given.merge, given.features, given.test_features)
    for path in filter(None, inputs):
        if os.path.realpath(path) == os.path.realpath(given.output):
            raise ValueError(
                f'--output is {given.output}, from which the selection is made; give another file.'
            )


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
    parser.add_argument('--predictions', type=command.path, help='folder of mpl.predict')
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
    parser.add_argument('--memory', default=ranking.MEMORY, help='for ranking; 3GB, 500MB')
    parser.add_argument(
        '--output', required=True, type=local, help='JSON file to write; Parquet file with --shard'
    )
    return parser


def main():
    given, overrides = command.parse(make_parser())
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the split is that of the run.')
    _check(given)
    workdir = epath.Path(given.workdir)
    split, data = data_record.read_split(workdir)
    examples = data['parts']['train']['examples']
    candidates = selection.find_candidates(split, examples)
    with selection_shards.open_scratch(given.output) as folder:
        duplicates = None
        if given.merge:
            paths, settings = given.merge, selection_shards.join(given.merge, split.hash)
        else:
            features = given.features, given.test_features
            inputs = selection_shards.read_inputs(
                given.logits, given.predictions, *features, data, workdir
            )
            settings = _settings(given, inputs, split)
            print(inputs.describe())
            if given.shard and selection_shards.is_finished(
                given.output, settings, (*given.logits, *features)
            ):
                print(f'{given.output} is finished already.')
                return
            duplicate = selection_shards.find_duplicates(inputs, split, given.similarity, examples)
            if given.predictions:
                paths, duplicates = inputs.predictions[0], np.flatnonzero(duplicate)
            else:
                paths = [given.output if given.shard else f'{folder}/all.parquet']
                selection_shards.write_part(paths[0], inputs.files, candidates, duplicate, settings)
        if given.shard:
            print(f'Shard {given.shard}: {given.output}')
            return
        rule = Rule(**settings['rule'])
        found = ranking.rank(
            paths, rule, candidates, duplicates, settings['classes'], folder, given.memory
        )
        chosen = selection.apply(found, rule, split)
        made_by = selection_shards.selection_settings(settings)
        split_files.write(epath.Path(given.output), chosen, data, made_by)
        print(selection.show(selection.summarize(found, int(candidates.sum()))))
        print(f'Split: {given.output}')


if __name__ == '__main__':
    command.main(main)
