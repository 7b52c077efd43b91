"""Writes report.html of a finished run or of a comparison: python -m mpl.report --workdir=runs/x

One file that needs no network: warnings, the table, curves with their values at the pointer. Of a
run also confusion matrices, the quality of the pseudo-labels, the most confident errors and the
least sure images, its config and its report. The images of the run must be there.
"""

from pathlib import Path

from etils import epath

from mpl.pages import comparison, run
from mpl.run import command, evaluation, records


def main():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--workdir', required=True, type=command.local_path, help='of mpl.train or mpl.compare'
    )
    parser.add_argument(
        '--output', type=command.local_path, help='file to write; default: report.html in --workdir'
    )
    given, overrides = command.parse(parser)
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the config is that of the run.')
    output = given.output or str(Path(given.workdir, 'report.html'))
    evaluation.check_output(output)
    if comparison.is_comparison(Path(given.workdir)):
        page = comparison.render(Path(given.workdir))
    else:
        page = run.render(epath.Path(given.workdir))
    records.write_utf8(epath.Path(output), page)
    print(f'{output} ({len(page) / 2**20:.1f} MiB)')


if __name__ == '__main__':
    command.main(main)
