"""The figures of a run: curves, pseudo-label quality, confusion, views."""

import functools
import io

import jax
import matplotlib
import numpy as np
from etils import epath
from matplotlib.figure import Figure

from mpl.data import batches, cropping
from mpl.run import collapse, metrics, records
from mpl.run import experiment as experiments
from mpl.run.collapse import Finding
from mpl.run.experiment import Experiment

matplotlib.rcParams.update({'axes.grid': True, 'grid.alpha': 0.3, 'font.size': 9})
# Names of classes and configs are plain text: '$5$' is not a formula.
matplotlib.rcParams.update({'text.parse_math': False, 'text.usetex': False})
SHOWN = 8  # columns of the sheet of views


def draw(
    experiment: Experiment,
    confusions: dict[str, np.ndarray],
    findings: list[Finding],
    workdir: epath.Path,
) -> None:
    """Draws all figures of a finished run into its work directory, as PNG."""
    lines = metrics.read(workdir / 'metrics.jsonl')
    classes = tuple(map(legible, experiment.source.classes))
    save(curves(lines), workdir / 'learning_curves.png')
    if any('feedback/h' in line for line in lines):
        save(feedback(lines), workdir / 'feedback.png')
    if any('embedding/spread' in line for line in lines):
        save(embeddings(lines, findings), workdir / 'embeddings.png')
    if any(name.startswith('unlabeled/') for line in lines for name in line):
        labeled = experiments.labeled_counts(experiment)
        save(pseudo_labels(lines, classes, labeled, findings), workdir / 'pseudo_labels.png')
    if confusions:
        save(confusion(confusions, classes), workdir / 'confusion.png')
    if min(experiment.source.image_shape[:2]) > 1:
        save(view_sheet(experiment), workdir / 'views.png')


def curves(lines: list[dict]) -> Figure:
    """Training losses and validation accuracy over steps."""
    figure = Figure((9, 3.5), layout='constrained')
    losses, accuracy = figure.subplots(1, 2)
    for name in metric_names(lines, 'loss/'):
        losses.plot(*series(lines, name), label=name.removeprefix('loss/'))
    losses.set(xlabel='step', ylabel='loss (nats)', title='training loss')
    losses.set_ylim(bottom=min(0, losses.get_ylim()[0]))  # A cosine may be negative.
    for name in metric_names(lines, 'validation/', '/accuracy'):
        accuracy.plot(*series(lines, name), marker='.', label=name.split('/')[1])
    accuracy.set(xlabel='step', ylabel='accuracy', title='validation')
    return add_legends(figure)


def feedback(lines: list[dict]) -> Figure:
    """MPL's feedback h and its moving average over steps."""
    figure = Figure((6, 3.5), layout='constrained')
    axes = figure.subplots()
    axes.plot(*series(lines, 'feedback/h'), label='h, mean over the batch and the log window')
    axes.plot(*series(lines, 'feedback/baseline'), label='moving average')
    axes.axhline(0, color='black', linewidth=0.5)
    axes.set(
        xlabel='step', ylabel='h (nats of labeled loss gained)', title="the teacher's feedback"
    )
    return add_legends(figure)


def embeddings(lines: list[dict], findings: list[Finding]) -> Figure:
    """Signs of collapse over steps: spread, effective rank and cosines of embeddings."""
    figure = Figure((12, 3.5), layout='constrained')
    spread, rank, cosine = figure.subplots(1, 3)
    spread.plot(*series(lines, 'embedding/spread'))
    spread.set(title='spread of embeddings', ylim=(0, None))
    rank.plot(*series(lines, 'embedding/rank'))
    rank.set(title='effective rank', ylim=(0, None))
    for name in ('embedding/positive', 'embedding/negative'):
        cosine.plot(*series(lines, name), label=name.split('/')[1])
    cosine.set(title='cosine of two views, of two images', ylim=(None, 1.02))
    for axes in (spread, rank, cosine):
        axes.set_xlabel('step')
        for finding in findings:
            if finding.kind == 'embeddings':
                axes.axvline(finding.step, color='red', linestyle=':', label='warning')
    return add_legends(figure)


def pseudo_labels(
    lines: list[dict], classes: tuple[str, ...], labeled: np.ndarray, findings: list[Finding]
) -> Figure:
    """Accuracy, mask rate and class balance of pseudo-labels over steps.

    Args:
      lines: of metrics.jsonl.
      classes: their names.
      labeled: labeled examples by class, counts [K].
      findings: the warnings of the run.
    """
    figure = Figure((12, 7), layout='constrained')
    upper, lower = figure.subfigures(2, 1)
    accuracy, mask, even = upper.subplots(1, 3)
    for name in metric_names(lines, 'unlabeled/', '/accuracy'):
        accuracy.plot(*series(lines, name), marker='.', label=name.split('/')[1])
    accuracy.set(title='accuracy of pseudo-labels', ylim=(0, 1.02))
    for name in metric_names(lines, 'mask_rate'):
        mask.plot(*series(lines, name))
    mask.set(title='mask rate of unlabeled images', ylim=(0, 1.02))
    for name in metric_names(lines, 'unlabeled/', '/histogram'):
        steps, counts = series(lines, name)
        values = [collapse.effective_classes(histogram) for histogram in counts]
        even.plot(steps, values, marker='.', label=name.split('/')[1])
    even.axhline(
        collapse.effective_classes(labeled), color='black', linestyle='--', label='labeled examples'
    )
    even.set(title='effective classes of pseudo-labels: exp(entropy)', ylim=(0, None))
    for axes in (accuracy, mask, even):
        axes.set_xlabel('step')
        for finding in findings:
            axes.axvline(finding.step, color='red', linestyle=':', label=f'warning: {finding.kind}')
    _histograms(lower, lines, classes, labeled)
    return add_legends(figure)


def _histograms(figure, lines, classes, labeled):
    """Class shares of each network's pseudo-labels, beside those of the labeled examples.

    A column ends at the evaluation whose counts it shows, and starts at the previous one.
    """
    names = metric_names(lines, 'unlabeled/', '/histogram')
    ratios = [1, *[8] * len(names)]
    first, *others = figure.subplots(1, len(ratios), sharey=True, width_ratios=ratios)
    shares = {}
    for name in names:
        steps, counts = series(lines, name)
        shares[name] = steps, np.array(counts) / np.sum(counts, -1, keepdims=True)
    reference = labeled / np.sum(labeled)
    most = max(np.max(share) for share in (reference, *(share for _, share in shares.values())))
    how, edges = dict(vmin=0, vmax=most, cmap='viridis'), np.arange(len(classes) + 1) - 0.5
    first.pcolormesh([0, 1], edges, reference[:, None], **how)
    first.set(ylabel='class', title='labeled', xticks=[])
    first.invert_yaxis()
    if len(classes) <= 20:
        first.set_yticks(range(len(classes)), classes)
    for axes, (name, (steps, share)) in zip(others, shares.items()):
        image = axes.pcolormesh([0, *steps], edges, share.T, **how)
        axes.set(xlabel='step', title=name.split('/')[1])
    for axes in (first, *others):
        axes.grid(False)
    figure.colorbar(image, ax=[first, *others], label='share of images')


def confusion(counts: dict[str, np.ndarray], classes: tuple[str, ...]) -> Figure:
    """Confusion matrix of each network on test, or on validation without a test set."""
    figure = Figure((4.2 * len(counts), 4), layout='constrained')
    for axes, (name, matrix) in zip(
        figure.subplots(1, len(counts), squeeze=False)[0], counts.items()
    ):
        share = matrix / np.maximum(matrix.sum(-1, keepdims=True), 1)
        axes.imshow(share, cmap='Blues', vmin=0, vmax=1)
        axes.grid(False)
        accuracy = np.trace(matrix) / matrix.sum()
        axes.set(xlabel='predicted', ylabel='true', title=f'{name}: {100 * accuracy:.2f} %')
        if len(classes) <= 20:
            axes.set_xticks(range(len(classes)), classes, rotation=90)
            axes.set_yticks(range(len(classes)), classes)
            for (row, column), count in np.ndenumerate(matrix):
                if count:
                    axes.text(
                        column,
                        row,
                        count,
                        ha='center',
                        va='center',
                        fontsize=7,
                        color='white' if share[row, column] > 0.5 else 'black',
                    )
    return figure


def view_sheet(experiment: Experiment) -> Figure:
    """Images, labeled ones where there are any, and their views with the key of step 0."""
    pool, split = experiment.source.train, experiment.split
    examples = split.labeled if len(split.labeled) else split.unlabeled
    indices = examples[:: max(1, len(examples) // SHOWN)][:SHOWN]
    views, seed, batch = experiment.views, experiment.config.seed, {}
    for name in ('labeled', 'unlabeled'):
        bits = cropping.bits(experiment.views, experiment.config.seed, name, range(1), len(indices))
        bits = jax.tree.map(lambda drawn: drawn[0], bits)
        batch[name] = cropping.images(experiment.source, experiment.views, name, indices, bits)
    view = jax.jit(functools.partial(batches.view, views))
    batch = view(batch, jax.random.key(seed), 0)
    image, viewed = pool.read(indices), batch['unlabeled']
    pictures = {name: view for name, view in viewed.items() if view.shape[-1] == image.shape[-1]}
    rows = {'image': image, 'labeled': batch['labeled']['image'], **pictures}
    plain = np.asarray(views.evaluate(rows['image']))
    low, high = np.min(plain, (0, 1, 2)), np.max(plain, (0, 1, 2))
    figure = Figure((len(indices), 1.1 * len(rows)), layout='constrained')
    for axes, (name, images) in zip(figure.subplots(len(rows)), rows.items()):
        images = np.asarray(images, np.float32)
        shown = images / 255 if name == 'image' else (images - low) / np.maximum(high - low, 1e-6)
        axes.imshow(_side_by_side(np.clip(shown, 0, 1)), cmap='gray', vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[], ylabel=name)
        axes.spines[:].set_visible(False)
    return figure


def _side_by_side(images):
    """Images [N, H, W, C] from 0 to 1 as one, with white gaps: axes for each take seconds to draw."""
    gap = 1 + images.shape[2] // 8
    parts = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=1)
    return np.concatenate([*parts[:-1], images[-1]], axis=1)


def metric_names(lines: list[dict], prefix: str, suffix: str = '') -> list[str]:
    """The names of metrics with this prefix and suffix in any line, sorted."""
    return sorted(
        {n for line in lines for n in line if n.startswith(prefix) and n.endswith(suffix)}
    )


def series(lines: list[dict], name: str) -> tuple[list[int], list[float]]:
    """The steps at which a metric was logged, and its values."""
    pairs = [(line['step'], line[name]) for line in lines if name in line]
    return [step for step, _ in pairs], [value for _, value in pairs]


def add_legends(figure: Figure) -> Figure:
    """The figure, with a legend on all axes that have labels."""
    for axes in figure.axes:
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False)
    return figure


def legible(name: str) -> str:
    """A name that can be drawn and printed; bytes that are not UTF-8 are escaped as \\udc80."""
    return name.encode('utf-8', 'backslashreplace').decode()


def save(figure: Figure, path: epath.Path) -> None:
    """Writes the figure as PNG, atomically."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120, format='png')
    records.write_bytes(path, drawn.getvalue())
