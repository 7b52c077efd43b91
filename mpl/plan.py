"""Memory, FLOPs and time of a run on TPUs or GPUs. Compiles the step for them; needs none.

    python -m mpl.plan --config=configs/cifar10.py:mpl --topology=v5e:2x4
    python -m mpl.plan --config=configs/cifar10.py:mpl --topology=h100:8

A topology is a generation of TPUs (v2 and v3 with two devices per chip, v4, v5e, v5p, v6e) and the
number of chips along each axis; or a GPU (a100, h100, h200, b200) and the number of them on one host, or
of hosts and of GPUs of each: h100:2x8. `local` compiles for the devices of this machine. Others require
launch/requirements-plan.txt (TPUs) or launch/requirements-gpu-plan.txt. No data are read: images are
black and have the shape of the config. Large networks take minutes and several GiB of memory to
compile; --json saves the plan.
"""

import json

import jax
from etils import epath
from tabulate import tabulate

from mpl.planning import alternatives, chips, footprint, gpus
from mpl.run import command, evaluation, records
from mpl.run import config as configs


def show(plan: dict) -> str:
    """The plan as a table, with its assumptions."""
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
        'FLOPs of layers are counted in the trace, loop bodies once per iteration, and divided by the '
        "devices; the compiler's count has each loop body once. Bytes moved are memory reads and "
        'writes of all instructions, with padding and loops. Times are lower bounds: the larger of '
        'FLOPs and bytes at the rates of the data sheet, plus link transfers at theirs, all-reduces '
        'twice; without evaluation and image reading.'
    )
    if plan['groups_compiled'] < mesh['data']:
        lines.append(
            f'Compiled for {plan["groups_compiled"]} of {mesh["data"]} groups, each with its shard of '
            'the batch: memory, FLOPs, bytes and collectives per device are assumed to be the same'
            + (', plus one all-reduce of the gradients.' if plan['groups_compiled'] == 1 else '.')
        )
    if plan['resident']:
        lines.append(
            'All training images are resident on every device; --examples sets their number.'
        )
    if plan['platform'] == 'gpu' and plan['topology'] != 'local':
        lines.append(gpus.LEFT_OUT)
    if plan['fits'] is False:
        lines.append('Changes that may make it fit:')
        lines += [
            describe_alternative(entry, memory['limit']) for entry in plan['alternatives']
        ] or ['  more devices, or larger ones.']
    return '\n'.join(lines)


def describe_alternative(entry: dict, limit: float) -> str:
    """One line: the overrides of an alternative and whether it fits in `limit` bytes."""
    overrides = ' '.join(alternatives.overrides(entry))
    if entry['refused']:
        return f'  {overrides}: refused: {entry["refused"]}'
    if entry['peak'] is None:
        return f'  {overrides}: not known without compiling (--search)'
    fits = 'fits' if entry['peak'] <= limit else 'does not fit'
    how = 'compiled' if entry['compiled'] else 'estimated'
    return f'  {overrides}: {gib(entry["peak"])} GiB, {fits} ({how})'


def scaled(value: float | None, unit: float, form: str) -> str:
    """The value in that unit; 'unknown' for None."""
    return 'unknown' if value is None else f'{value / unit:{form}}'


def gib(size: float | None) -> str:
    return scaled(size, chips.GIB, ',.3f')


def giga(value: float | None) -> str:
    return scaled(value, 1e9, ',.4g')


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument(
        '--config', required=True, type=command.path, help='a Python file with get_config()'
    )
    parser.add_argument(
        '--topology', default='local', help='for example v3:32x32, v5e:4x8 or h100:8'
    )
    parser.add_argument(
        '--groups', type=int, default=0, help='device groups to compile for; 0: all'
    )
    parser.add_argument(
        '--examples',
        type=int,
        default=footprint.EXAMPLES,
        help='labeled examples of a data set that is not on this machine',
    )
    parser.add_argument(
        '--search', action='store_true', help='compile the changes that may make it fit'
    )
    parser.add_argument('--json', type=command.path, help='file for the plan')
    given, overrides = command.parse(parser)
    if given.json:
        evaluation.check_output(given.json)
    config = configs.load(given.config, overrides)
    if given.topology != 'local':
        jax.config.update('jax_platforms', 'cpu')  # No device is used.
    # It cannot return programs for other devices.
    jax.config.update('jax_enable_compilation_cache', False)
    more = dict(groups=given.groups, examples=given.examples)
    plan = {'config': given.config, 'overrides': overrides} | footprint.make(
        config, given.topology, **more
    )
    if plan['fits'] is False:
        plan['alternatives'] = alternatives.find(config, given.topology, plan, given.search, **more)
    if given.json:
        records.write_utf8(epath.Path(given.json), json.dumps(plan, indent=2) + '\n')
    print(show(plan))


if __name__ == '__main__':
    command.main(main)
