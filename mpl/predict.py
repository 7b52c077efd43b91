"""Labels images with a finished run: python -m mpl.predict --workdir=runs/x --images=folder
--output=out.csv, or with --split=unlabeled a split of the run instead of --images.

The CSV file has one line per example: name, class, confidence and the probability of every class.
--features=out.npz saves features [N, D], logits [N, K], names [N] and indices [N] (into the pool of
the split, or into the sorted files of the folder).

--logits=out.npy (with --split) has one row of logits per example of the pool, at its index; rows of
examples outside the split are NaN. Rows are written batch by batch, the same command resumes a
stopped one, and --output is optional. mpl.select reads the file.

Every output records its provenance: in out.csv.json and out.npy.json beside it, in a features file
as made_by. Labeling a folder does not need the data of the run; the classes are those of the run.
With --model=FILE instead of --workdir a file of mpl.export labels a folder, without the run.
"""

import argparse
import contextlib
from pathlib import Path

import numpy as np
from etils import epath
from tqdm import tqdm

from mpl.data import damage, walk
from mpl.exports import files
from mpl.run import command, evaluation, logits, prediction, provenance


def check_outputs(given: argparse.Namespace) -> None:
    """Raises ValueError for no output, or outputs that cannot be written."""
    if not (given.output or given.logits):
        raise ValueError('There is nothing to write: give --output=out.csv or --logits=out.npy.')
    if given.features and not given.output:
        raise ValueError('--features is written beside --output; give that too.')
    if given.logits and not given.split:
        raise ValueError('--logits has a row per index of a split; give --split, not --images.')
    for path in filter(None, (given.output, given.features, given.logits)):
        evaluation.check_output(path)


def _find_missing(rows: logits.Rows, indices: np.ndarray) -> np.ndarray:
    """The indices without a valid row in the file of logits; prints how many rows are kept."""
    missing = logits.missing(rows, indices)
    if len(missing) < len(indices):
        print(f'{rows.path} has {len(indices) - len(missing):,} of them already.')
    if changed := np.count_nonzero(rows.checksums[missing]):
        print(f'{changed:,} rows are not as they were written and are computed again.')
    return missing


def make_parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    networks = parser.add_mutually_exclusive_group(required=True)
    networks.add_argument('--workdir', type=command.path, help='folder of a finished run')
    networks.add_argument('--model', type=command.local_path, help='a file of mpl.export')
    examples = parser.add_mutually_exclusive_group(required=True)
    examples.add_argument(
        '--images',
        type=command.local_path,
        help=f'folder of {", ".join(walk.EXTENSIONS)} of any size',
    )
    examples.add_argument('--split', help=f'one of {", ".join(evaluation.SPLITS)}')
    parser.add_argument('--output', type=command.local_path, help='CSV file to write')
    parser.add_argument('--features', type=command.local_path, help='npz file to write beside it')
    parser.add_argument(
        '--logits',
        type=command.local_path,
        help='npy file to write or to resume; requires --split',
    )
    parser.add_argument('--network', help='name; default: student_ema if there is one, or student')
    return parser


def run_exported(given: argparse.Namespace) -> None:
    """Labels a folder with an exported network.

    Raises:
      ValueError: an argument that needs the run; or the file can not be run.
    """
    for name in ('split', 'features', 'logits', 'network'):
        if getattr(given, name):
            raise ValueError(
                f'--{name} is not allowed with --model: an exported file has one network and logits '
                'alone, and no data; give --workdir instead.'
            )
    description, function = files.load(Path(given.model))
    shape, central = tuple(description['image_shape']), description['central']
    folder = Path(given.images)
    total, chunks = prediction.from_folder(folder, shape, central, description['batch'])
    bar = tqdm(chunks, unit='batch', total=-(-total // description['batch']))
    predicted = files.predict(description, function, iter(bar))
    made_by = description['made_by'] | {'images': given.images}
    count = prediction.write(predicted, description['classes'], given.output, None, made_by)
    print(f'{given.model} labeled {count:,} examples: {given.output}')
    print_left_out(count, total)


def print_left_out(count: int, total: int) -> None:
    if count < total:
        print(f'{total - count:,} of {total:,} images could not be read and were left out.')


def main():
    given, overrides = command.parse(make_parser())
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the config is that of the run.')
    check_outputs(given)
    if given.model:
        run_exported(given)
        return
    stages = evaluation.load(epath.Path(given.workdir), images=bool(given.split))
    network = given.network or evaluation.default_network(stages)
    stage, inner = evaluation.find_network(network, stages)
    classes, size = stage.experiment.source.classes, stage.experiment.config.batch.evaluate
    if given.split:
        pool, indices = evaluation.find_examples(stages[0].experiment, given.split)
    made_by = provenance.make(stage, network, given.split, given.images)
    with contextlib.ExitStack() as stack:
        rows = None
        if given.logits:
            shape = len(pool.label), len(classes)
            rows = stack.enter_context(logits.open_rows(given.logits, *shape, made_by))
            indices = indices if given.output else _find_missing(rows, indices)
        if given.split:
            examples = {given.split: (pool, indices)}
            total, chunks = len(indices), prediction.from_pool(pool, indices, size)
        else:
            examples = {}
            source = stages[0].experiment.source
            total, chunks = prediction.from_folder(
                Path(given.images), source.image_shape, source.central, size
            )
        bar = stack.enter_context(tqdm(chunks, unit='batch', total=-(-total // size)))
        predicted = prediction.predict(stage, inner, iter(bar))
        predicted = predicted if rows is None else logits.store(rows, predicted)
        if given.output:
            count = prediction.write(predicted, classes, given.output, given.features, made_by)
        else:
            count = sum(len(names) for names, _, _ in predicted)
    print(
        f'{network} of {given.workdir} labeled {count:,} examples: {given.output or given.logits}'
    )
    if given.features:
        print(f'Features, logits, names and indices: {given.features}')
    if given.logits and given.output:
        print(f'Logits by index: {given.logits}')
    for part, damaged in damage.count(examples, classes).items():
        print(
            f'Warning: {damage.counted(part, damaged)} can not be decoded, and were labeled as gray '
            'images.'
        )
    print_left_out(count, total)


if __name__ == '__main__':
    command.main(main)
