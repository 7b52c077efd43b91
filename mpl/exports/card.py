"""model_card.md: what an exported network was trained on, how good it is and how it is run."""

import statistics
from pathlib import Path

from etils import epath
from tabulate import tabulate

from mpl.exports import files
from mpl.run import config as configs
from mpl.run import folders, records
from mpl.run import report as reports

SHOWN = 20  # maximum number of classes by name


def write(description: dict, workdir: epath.Path, license: str, folder: Path) -> Path:
    """Writes the card of a network into the folder of its exported files; returns its path."""
    path = folder / 'model_card.md'
    text = compose(description, workdir, license, files.beside(folder))
    records.write_utf8(epath.Path(path), text)
    return path


def compose(description: dict, workdir: epath.Path, license: str, exported: list[dict]) -> str:
    """The card as Markdown.

    Args:
      description: of the network, see Model.
      workdir: of the run that trained it.
      license: of the weights.
      exported: the records of the files that the card lies beside.
    """
    name, classes = description['network'], description['classes']
    report, config = reports.read(workdir), configs.read(workdir / 'config.json')
    split = report['split']
    shown = ', '.join(classes[:SHOWN]) + (', ...' if len(classes) > SHOWN else '')
    height, width, channels = description['image_shape']
    command = f'python -m mpl.export --workdir={workdir} --network={name} --to='
    parts = [
        f'---\nlicense: {license}\nlibrary_name: mpl\npipeline_tag: image-classification\n---',
        f'# {name} of {workdir.name}',
        f'A classifier of images in {len(classes)} classes ({shown}), trained by '
        f'`{report["algorithm"]["name"]}` from {split["labeled"]:,} labeled and '
        f'{split["unlabeled"]:,} unlabeled images.',
        '## Data',
        f'Source `{report["source"]["name"]}`, split {split["hash"]}, seed {report["seed"]}: '
        f'{split["labeled"]:,} labels, {split["validation"]:,} validation images. Checksums of names, '
        'labels and pixels are in the record of each file (`made_by`).',
        '## Accuracy',
        _accuracy(report['networks'][name], _siblings(workdir, config), name),
        f'Of the {report["weights"]}. The test set was measured once, at the end of the run. The '
        'calibration error is the expected one over 15 bins of confidence (arXiv 1706.04599).',
        *(f'Warning: {sentence}' for sentence in reports.warnings(report)),
        '## Input and output',
        f'Images `[B, {height}, {width}, {channels}]` of {description["dtype"]}, '
        + ('RGB, ' if channels == 3 else '')
        + f'to logits `[B, {len(classes)}]` in the order of `classes` in the record. A picture is '
        f'resized (bicubic) until its short side has {round(height / description["central"])} '
        f'pixels, and the middle {height} x {width} are cut out. `.stablehlo` and `.onnx` '
        f'standardize inside, by `{description["views"]}`; for `.safetensors` see `config.json`.',
        '## Network',
        f'`{description["model"]}`, {report["networks"][name]["parameters"]:,} parameters'
        + (
            ', logits averaged over each image and its mirror image (not in `.safetensors`).'
            if description['average_mirrored']
            else '.'
        ),
        '## Files',
        tabulate(
            [
                [record['file'], record['sha256'], f'`{command}{record["format"]}`']
                for record in exported
            ],
            ['file', 'SHA-256', 'made by'],
            'github',
        ),
    ]
    return '\n\n'.join(parts) + '\n'


def _accuracy(measured, siblings, name):
    """A table of the parts; with the mean and standard deviation over seeds, if there are several."""
    rows = []
    for part in ('validation', 'test'):
        if part not in measured:
            continue
        numbers = measured[part]
        row = [
            part,
            f'{100 * numbers["accuracy"]:.2f} %',
            f'{numbers["nll"]:.4f}',
            f'{numbers["calibration_error"]:.4f}',
        ]
        values = [100 * other['networks'][name][part]['accuracy'] for other in siblings]
        if len(values) > 1:
            mean, spread = statistics.mean(values), statistics.stdev(values)
            row.append(f'{mean:.2f} ± {spread:.2f} % over {len(values)} seeds')
        rows.append(row)
    if not rows:
        return 'Not measured: the run has neither validation nor test images.'
    headers = ['part', 'accuracy', 'NLL (nats)', 'calibration error', 'same config, other seeds']
    return tabulate(rows, headers[: len(rows[0])], 'github')


def _siblings(workdir, config):
    """The reports of a comparison's runs of this config, itself included; empty for other runs.

    mpl.compare has the run of each seed in <config>/<seed>.
    """
    found = []
    if workdir.name != str(config.seed):
        return found
    for folder in workdir.parent.iterdir():
        if folder.name.isdecimal() and (folder / 'report.json').exists():
            other = configs.read(folder / 'config.json').to_dict() | {'seed': config.seed}
            if folders.without_paths(other) == folders.without_paths(config.to_dict()):
                found.append(reports.read(folder))
    return found
