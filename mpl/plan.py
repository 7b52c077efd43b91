"""What a run takes of each chip of a TPU slice, with no TPU at hand: its step, compiled and not run.

    python -m mpl.plan --config=configs/cifar10.py:mpl --topology=v5e:2x4

Topologies are a generation and the chips along each axis, v2 and v3 (two devices a chip), v4, v5e,
v5p or v6e; `local` compiles for the present devices. Another generation than the present one wants
launch/requirements-plan.txt. No data are read: pictures are black, of the config's form. Large
networks take minutes to compile and some GiB of memory; --json keeps the plan.
"""

import json

import jax
from etils import epath
from tabulate import tabulate

from mpl.planning import alternatives, chips, footprint
from mpl.run import command, records
from mpl.run import config as configs


def show(plan: dict) -> str:
    """The plan as tables, and what it takes for granted."""
    memory, seconds, mesh = plan['memory'], plan['seconds'], plan['mesh']
    rows = [
        ['devices', f'{plan["devices"]:,} x {plan["device"]}'],
        ['mesh', f'{mesh["data"]} groups of {mesh["model"]}, weights {mesh["weights"]}'],
        ['images in a step', ' + '.join(f'{size:,}' for size in plan['batch'].values())],
        *([f'parameters, {name}', f'{n / 1e6:,.2f} M'] for name, n in plan['parameters'].items()),
        *([f'{part} (GiB)', gib(memory[part])] for part in ('arguments', 'temporaries', 'peak')),
        ['memory of a device (GiB)', gib(memory['limit'])],
        ['fits', {True: 'yes', False: 'NO', None: 'unknown'}[plan['fits']]],
        ['GFLOP, layers', giga(plan['flops']['layers'])],
        ["GFLOP, compiler's count", giga(plan['flops']['compiler'])],
        ['GB moved', giga(plan['bytes']['moved'])],
        *(
            [f'{kind}: number, GB', f'{entry["number"]:,}, {giga(entry["bytes"])}']
            for kind, entry in plan['collectives'].items()
        ),
    ]
    if seconds:
        rows += [[f'ms, {part}', scaled(seconds[part], 1e-3, '.3g')] for part in list(seconds)[:-1]]
        rows += [['days of the run', scaled(seconds['run'], 86400, '.3g')]]
    lines = [tabulate(rows, ['of one device, in one step', ''], disable_numparse=True)]
    lines.append(
        'FLOPs of layers are those of the trace, loops as often as they turn, over the devices; the '
        "compiler's count takes the body of a loop once. Bytes moved are what instructions read and "
        'write of the memory, padding and loops included. Times are least ones: the larger of FLOPs '
        'and bytes at the rates of the data sheet, then the links at theirs, sums twice; no '
        'evaluation, no reading of pictures.'
    )
    if plan['groups_compiled'] < mesh['data']:
        lines.append(
            f'Compiled for {plan["groups_compiled"]} of {mesh["data"]} groups, each with its share of '
            'the batch: memory, FLOPs, bytes and collectives of a device are taken to be the same'
            + (', and a sum of all gradients is added.' if plan['groups_compiled'] == 1 else '.')
        )
    if plan['resident']:
        lines.append('The training images stay on every device; see --examples for their number.')
    if plan['fits'] is False:
        lines.append('What may make it fit:')
        lines += [say(entry, memory['limit']) for entry in plan['alternatives']] or [
            '  a larger slice.'
        ]
    return '\n'.join(lines)


def say(entry: dict, limit: float) -> str:
    """A line about an alternative."""
    numbers = ' '.join(alternatives.overrides(entry))
    if entry['refused']:
        return f'  {numbers}: refused: {entry["refused"]}'
    if entry['peak'] is None:
        return f'  {numbers}: not known without compiling (--search)'
    fits = 'fits' if entry['peak'] <= limit else 'does not fit'
    how = 'compiled' if entry['compiled'] else 'estimated'
    return f'  {numbers}: {gib(entry["peak"])} GiB, {fits} ({how})'


def scaled(number: float | None, unit: float, form: str) -> str:
    """The number in that unit; 'unknown' for None."""
    return 'unknown' if number is None else f'{number / unit:{form}}'


def gib(size: float | None) -> str:
    return scaled(size, chips.GIB, ',.3f')


def giga(number: float | None) -> str:
    return scaled(number, 1e9, ',.4g')


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument(
        '--config', required=True, type=command.path, help='a Python file with get_config()'
    )
    parser.add_argument('--topology', default='local', help='such as v3:32x32 or v5e:4x8')
    parser.add_argument('--groups', type=int, default=0, help='of devices to compile for; 0: all')
    parser.add_argument(
        '--examples', type=int, default=footprint.EXAMPLES, help='labeled, of a set not at hand'
    )
    parser.add_argument('--search', action='store_true', help='compile what may make it fit')
    parser.add_argument('--json', type=command.path, help='file for the plan')
    given, overrides = command.parse(parser)
    config = configs.load(given.config, overrides)
    if given.topology != 'local':
        jax.config.update('jax_platforms', 'cpu')  # No device is used.
    jax.config.update('jax_enable_compilation_cache', False)  # It can not give back TPU programs.
    more = dict(groups=given.groups, examples=given.examples)
    plan = {'config': given.config, 'overrides': overrides} | footprint.make(
        config, given.topology, **more
    )
    if plan['fits'] is False:
        plan['alternatives'] = alternatives.find(config, given.topology, plan, given.search, **more)
    if given.json:
        records.write_text(epath.Path(given.json), json.dumps(plan, indent=2) + '\n')
    print(show(plan))


if __name__ == '__main__':
    command.main(main)
