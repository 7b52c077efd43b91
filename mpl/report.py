"""Writes report.html of a run, a comparison or a study: python -m mpl.report --workdir=runs/x

One file that needs no network: warnings, the table, curves with their values at the pointer. Of a
run also confusion matrices, the quality of the pseudo-labels, the most confident errors and the
least sure images, its config and its report; of a study of active learning the images that each
cycle bought and their classes. The images of the run or the study must be there.
"""

from pathlib import Path

from etils import epath

from mpl.pages import acquisitions, comparison, run, study
from mpl.run import command, evaluation, records


def main():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--workdir',
        required=True,
        type=command.local_path,
        help='of mpl.train, mpl.compare or mpl.active',
    )
    parser.add_argument(
        '--output', type=command.local_path, help='file to write; default: report.html in --workdir'
    )
    given, overrides = command.parse(parser)
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the config is that of the run.')
    output = given.output or str(Path(given.workdir, 'report.html'))
    evaluation.check_output(output)
    page = _render(Path(given.workdir))
    records.write_utf8(epath.Path(output), page)
    print(f'{output} ({len(page) / 2**20:.1f} MiB)')


def _render(workdir: Path) -> str:
    """The page of whatever the folder holds."""
    if comparison.is_comparison(workdir):
        return comparison.render(workdir)
    if study.is_study(workdir):
        return study.render(workdir)
    if acquisitions.is_comparison(workdir):
        return acquisitions.render(workdir)
    return run.render(epath.Path(workdir))


if __name__ == '__main__':
    command.main(main)
