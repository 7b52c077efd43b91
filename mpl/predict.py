"""Labels images with a finished run: python -m mpl.predict --workdir=runs/x --images=folder
--output=out.csv, or with --split=unlabeled a split of the run instead of --images.

The CSV file has one line per example: name, class, confidence and the probability of every class.
--features=out.npz saves features [N, D], logits [N, K], names [N] and indices [N] (into the pool of
the split, or into the sorted files of the folder); until then they are in memory.

--logits=out.npy and --features=out.npy (with --split) have one row per example of the pool, at its
index, float32 and float16; rows of examples outside the split are NaN. Rows are written batch by
batch, the same command resumes a stopped one, and --output is optional. mpl.select reads logits.

--predictions=folder (with --split) writes number, class and confidence of each example, for pools
whose logits are too large: Parquet files of some hundred thousand examples each, which mpl.select
reads. The same command resumes with the first file that is missing. In several processes: run each
with --shard=0/8, 1/8, ...; the files are the same.

Every output records its provenance: in out.csv.json and out.npy.json beside it, in the metadata of
Parquet files, in a features file as made_by. Labeling a folder does not need the data of the run;
the classes are those of the run. With --model=FILE instead of --workdir a file of mpl.export labels
a folder, without the run.
"""

import argparse
import contextlib
from pathlib import Path

import numpy as np
from etils import epath
from tqdm import tqdm

from mpl.data import damage, walk
from mpl.exports import files as exported_files
from mpl.run import command, evaluation, prediction, prediction_files, provenance, row_files


def check_outputs(given: argparse.Namespace) -> tuple[int, int]:
    """Raises ValueError for no output, or outputs that cannot be written; returns (i, n) of --shard."""
    shard = command.parse_shard(given.shard)
    if not (given.output or given.predictions or _row_paths(given)):
        raise ValueError('There is nothing to write: give --output=out.csv or --logits=out.npy.')
    if given.predictions and not given.split:
        raise ValueError('--predictions has the examples of a split; give --split, not --images.')
    if shard[1] > 1 and (not given.predictions or given.output or _row_paths(given)):
        raise ValueError('--shard divides the files of --predictions; give no other output too.')
    if given.features and not _is_rows(given.features) and not given.output:
        raise ValueError('--features=x.npz is written beside --output; give that too, or x.npy.')
    if _row_paths(given) and not given.split:
        raise ValueError(
            f'--{_row_paths(given)[0][0].name} has a row per index of a split; give --split, not '
            '--images.'
        )
    for name in ('split', 'features', 'logits', 'predictions', 'network'):
        if given.model and getattr(given, name):
            raise ValueError(
                f'--{name} is not allowed with --model: an exported file has one network and logits '
                'alone, and no data; give --workdir instead.'
            )
    for path in filter(None, (given.output, given.features, given.logits)):
        evaluation.check_output(path)
    if given.output:
        provenance.check_own(given.output)
    return shard


def _is_rows(path: str) -> bool:
    return path.endswith('.npy')


def _row_paths(given: argparse.Namespace) -> list[tuple[row_files.Kind, str]]:
    """The files of rows to write."""
    paths = [(row_files.LOGITS, given.logits)] if given.logits else []
    if given.features and _is_rows(given.features):
        paths.append((row_files.FEATURES, given.features))
    return paths


def make_parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    networks = parser.add_mutually_exclusive_group(required=True)
    networks.add_argument('--workdir', type=command.path, help='folder of a finished run')
    networks.add_argument('--model', type=command.local_path, help='a file of mpl.export')
    examples = parser.add_mutually_exclusive_group(required=True)
    extensions = ', '.join(walk.EXTENSIONS)
    examples.add_argument('--images', type=command.local_path, help=f'folder of {extensions}')
    examples.add_argument('--split', help=f'one of {", ".join(evaluation.SPLITS)}')
    parser.add_argument('--output', type=command.local_path, help='CSV file to write')
    parser.add_argument('--features', type=command.local_path, help='npz or npy file to write')
    parser.add_argument(
        '--logits', type=command.local_path, help='npy file to write or to resume; with --split'
    )
    parser.add_argument(
        '--predictions', type=command.path, help='folder to write or to resume; with --split'
    )
    parser.add_argument('--shard', default='0/1', help='0/4: the first of four of --predictions')
    parser.add_argument('--network', help='default: finetuned, student_ema or student')
    return parser


def main():
    given, overrides = command.parse(make_parser())
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the config is that of the run.')
    shard = check_outputs(given)
    if given.model:
        print(exported_files.label(Path(given.model), given.images, given.output))
        return
    stages = evaluation.load(epath.Path(given.workdir), images=bool(given.split))
    network = given.network or evaluation.default_network(stages)
    stage, inner = evaluation.find_network(network, stages)
    classes, size = stage.experiment.source.classes, stage.experiment.config.batch.evaluate
    if given.split:
        pool, indices = evaluation.find_examples(stages[0].experiment, given.split)
    made_by = provenance.make(stage, network, given.split, given.images)
    with contextlib.ExitStack() as stack:
        files, pieces = [], None
        for kind, path in _row_paths(given):
            shape = len(pool.label), prediction.columns(stage, inner, kind)
            files.append(stack.enter_context(row_files.open_rows(path, *shape, made_by, kind)))
        if given.predictions:
            folder, of = epath.Path(given.predictions), (size, len(classes), made_by)
            pieces = prediction_files.open_pieces(folder, indices, *of, shard)
        if given.split:
            missing = None if given.output else prediction.find_missing(files, pieces, indices)
            chunks = prediction.from_pool(pool, indices, size, missing)
            indices = np.concatenate([indices[:0], *(chunk.indices for chunk in chunks)])
            examples, total = {given.split: (pool, indices)}, len(indices)
        else:
            examples = {}
            source = stages[0].experiment.source
            total, chunks = prediction.from_folder(
                Path(given.images), source.image_shape, source.central, size
            )
        bar = stack.enter_context(tqdm(chunks, unit='batch', total=-(-total // size)))
        predicted = prediction.predict(stage, inner, iter(bar))
        predicted = row_files.store(files, predicted) if files else predicted
        predicted = prediction_files.store(pieces, predicted) if pieces else predicted
        in_memory = given.features if given.features and not _is_rows(given.features) else None
        if given.output:
            count = prediction.write(predicted, classes, given.output, in_memory, made_by)
        else:
            count = sum(len(names) for names, _, _ in predicted)
    print(
        f'{network} of {given.workdir} labeled {count:,} examples: '
        f'{given.output or given.predictions or _row_paths(given)[0][1]}'
    )
    if in_memory:
        print(f'Features, logits, names and indices: {in_memory}')
    for kind, path in _row_paths(given):
        print(f'{kind.name.capitalize()} by index: {path}')
    for part, damaged in damage.count(examples, classes).items():
        print(
            f'Warning: {damage.counted(part, damaged)} cannot be decoded, and were labeled as gray '
            'images.'
        )
    if count < total:
        print(f'{total - count:,} of {total:,} images could not be read and were left out.')


if __name__ == '__main__':
    command.main(main)
