"""Measures the networks of a finished run: python -m mpl.evaluate --workdir=runs/x --split=test"""

import json

from etils import epath

from mpl.run import command, evaluation, records


def main():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--workdir', required=True, type=command.path, help='folder of a finished run'
    )
    parser.add_argument('--split', default='test', help=f'one of {", ".join(evaluation.SPLITS)}')
    parser.add_argument(
        '--network', nargs='+', action='extend', default=[], help='names of networks; default: all'
    )
    parser.add_argument('--json', type=command.path, help='file for all results at full precision')
    given, overrides = command.parse(parser)
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the config is that of the run.')
    if given.json:
        evaluation.check_output(given.json)
    result = evaluation.evaluate(epath.Path(given.workdir), given.split, given.network)
    if given.json:
        records.write_utf8(epath.Path(given.json), json.dumps(result, indent=2) + '\n')
    print(evaluation.show(result))


if __name__ == '__main__':
    command.main(main)
