"""Labels pictures with a finished run: python -m mpl.predict --workdir=runs/x --images=folder
--output=out.csv, or one of the run's splits: --split=unlabeled.

The CSV file has one line per example: name, class, confidence and a column of
probabilities for each class. --features=out.npz keeps features [N, D], logits [N, K],
names [N] and numbers [N]: the places in the split's pool, or in the sorted folder.

--logits=out.npy, of a split, has a row of logits for every example of the pool, by number, NaN
where it is none of the split. It is written as the examples are asked, whatever their number,
and the same command goes on where it stopped; --output may then be left out. mpl.select reads it.

Every file carries what made it: out.csv.json and out.npy.json lie beside theirs, features have it
under made_by. Pictures of a folder are labeled without the data of the run, with its own classes.
"""

import argparse
import contextlib
from pathlib import Path

import numpy as np
from etils import epath
from tqdm import tqdm

from mpl.data import damage, walk
from mpl.run import command, evaluation, logits, prediction, provenance


def check_outputs(given: argparse.Namespace) -> None:
    """Raises ValueError where the command says nothing to write, or what can not be written."""
    if not (given.output or given.logits):
        raise ValueError('There is nothing to write: give --output=out.csv or --logits=out.npy.')
    if given.features and not given.output:
        raise ValueError('--features is written beside --output; give that too.')
    if given.logits and not given.split:
        raise ValueError('--logits goes by the numbers of a split; give --split, not --images.')
    for path in filter(None, (given.output, given.features, given.logits)):
        evaluation.check_output(path)


def _left(rows: logits.Rows, numbers: np.ndarray) -> np.ndarray:
    """Which examples have no row in the file of logits yet; what is there is told."""
    left = logits.missing(rows, numbers)
    if len(left) < len(numbers):
        print(f'{rows.path} has {len(numbers) - len(left):,} of them already.')
    if changed := np.count_nonzero(rows.checksums[left]):
        print(f'{changed:,} rows are not as they were written, and are computed anew.')
    return left


def main():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--workdir', required=True, type=command.path, help='folder of a finished run'
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        '--images',
        type=command.local_path,
        help=f'folder of {", ".join(walk.EXTENSIONS)} of any size',
    )
    what.add_argument('--split', help=f'one of {", ".join(evaluation.SPLITS)}')
    parser.add_argument('--output', type=command.local_path, help='CSV file to write')
    parser.add_argument('--features', type=command.local_path, help='npz file to write beside it')
    parser.add_argument(
        '--logits',
        type=command.local_path,
        help='npy file to write, or to go on with; of a --split',
    )
    parser.add_argument('--network', help='student_ema, or student, where left out')
    given, overrides = command.parse(parser)
    if overrides:
        raise ValueError(f'{overrides[0]} has no use here: the config is that of the run.')
    check_outputs(given)
    stages = evaluation.load(epath.Path(given.workdir), images=bool(given.split))
    there = [name for stage in stages for name in stage.names.values()]
    network = given.network or ('student_ema' if 'student_ema' in there else 'student')
    stage, inner = evaluation.find_network(network, stages)
    classes, size = stage.experiment.source.classes, stage.experiment.config.batch.evaluate
    if given.split:
        pool, numbers = evaluation.find_examples(stages[0].experiment, given.split)
    made_by = provenance.make(stage, network, given.split, given.images)
    with contextlib.ExitStack() as stack:
        rows = None
        if given.logits:
            shape = len(pool.label), len(classes)
            rows = stack.enter_context(logits.open_rows(given.logits, *shape, made_by))
            numbers = numbers if given.output else _left(rows, numbers)
        if given.split:
            examples = {given.split: (pool, numbers)}
            total, chunks = len(numbers), prediction.from_pool(pool, numbers, size)
        else:
            examples = {}
            total, chunks = prediction.from_folder(stages[0].experiment, Path(given.images))
        bar = stack.enter_context(tqdm(chunks, unit='batch', total=-(-total // size)))
        said = prediction.predict(stage, inner, iter(bar))
        said = said if rows is None else logits.store(rows, said)
        if given.output:
            count = prediction.write(said, classes, given.output, given.features, made_by)
        else:
            count = sum(len(names) for names, _, _ in said)
    written = given.output or given.logits
    print(f'{network} of {given.workdir} labeled {count:,} examples: {written}')
    if given.features:
        print(f'Features, logits, names and numbers: {given.features}')
    if given.logits and given.output:
        print(f'Logits by number: {given.logits}')
    for part, damaged in damage.count(examples, classes).items():
        told = damage.counted(part, damaged)
        print(f'Warning: {told} can not be decoded, and were labeled as gray images.')
    if count < total:
        print(f'{total - count:,} of {total:,} pictures could not be read and were left out.')


if __name__ == '__main__':
    command.main(main)
