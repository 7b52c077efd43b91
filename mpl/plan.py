"""What a run takes of each chip of a TPU slice, with no TPU at hand: its step, compiled and not run.

    python -m mpl.plan --config=configs/cifar10_4000_mpl.py --topology=v5e:2x4

Topologies are a generation and the chips along each axis, v2 and v3 (two devices a chip), v4, v5e,
v5p or v6e; `local` compiles for the present devices. Another generation than the present one wants
launch/requirements-plan.txt. No data are read: pictures are black, of the config's form. Large
networks take minutes to compile and some GiB of memory; --json keeps the plan.
"""

import json
import math
import re
import time
from importlib import metadata

import jax
import numpy as np
from etils import epath
from jax.sharding import NamedSharding
from ml_collections import ConfigDict
from tabulate import tabulate

from mpl import chips, collectives, command, flops, metrics, network, sharding, train
from mpl import config as configs
from mpl import experiment as experiments
from mpl.data import synthetic
from mpl.experiment import Experiment

EXAMPLES = 50_000  # labeled training images that a set not at hand is taken to have
# Times that the bytes of a result pass a device's links: a sum is dealt out and gathered.
PASSES = {'all-reduce': 2}
UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


def make(
    config: ConfigDict, topology: str = 'local', groups: int = 0, examples: int = EXAMPLES
) -> dict:
    """The plan of a run on a slice, as it goes into JSON; bytes, FLOPs and seconds are of one device.

    Args:
      config: of the run.
      topology: of the slice, or 'local'.
      groups: of devices to compile for, each with as much of the batch as on the whole slice;
        0 compiles for all.
      examples: labeled ones of a set that is not at hand.

    Raises:
      ValueError: the topology, or the config on it, is refused.
    """
    devices = jax.devices() if topology == 'local' else chips.devices(topology)
    whole = assemble(config, devices, examples)
    of_slice = whole.mesh.shape['data']
    if not 0 <= groups <= of_slice:
        raise ValueError(
            f'groups is {groups}; give at most the {of_slice} groups of {config.mesh.model} devices '
            'that the slice has, or 0 for all.'
        )
    compiled = whole
    if 0 < groups < of_slice:
        part = config.copy_and_resolve_references()
        for name in ('labeled', 'unlabeled'):
            part.batch[name] = config.batch[name] * groups // of_slice
        compiled = assemble(part, [*whole.mesh.devices[:groups].flat], examples)
    program = compile(compiled)
    memory = program['memory']
    state = state_bytes(whole, config.mesh.model, config.mesh.weights)
    saved = state_bytes(compiled, config.mesh.model, config.mesh.weights) - state
    for part in ('arguments', 'peak'):
        if memory[part] is not None:  # A state in parts has smaller ones on more groups.
            memory[part] -= saved
    if groups == 1 < of_slice:
        add_sum_of_gradients(program['collectives'], whole)
    chip = chips.find(devices[0])
    limit = memory.pop('limit') or (chip.memory if chip else None)
    seconds = estimate(program, chip)
    return {
        'topology': topology,
        'device': devices[0].device_kind,
        'devices': len(devices),
        'mesh': dict(whole.mesh.shape) | {'weights': config.mesh.weights},
        'batch': {key: config.batch[key] for key in ('labeled', 'unlabeled')},
        'steps': config.steps,
        'parameters': parameters(whole),
        'resident': train.is_resident(whole),
        'groups_compiled': compiled.mesh.shape['data'],
        'memory': memory | {'state': state, 'limit': limit},
        'fits': memory['peak'] <= limit if limit and memory['peak'] else None,
        'seconds': seconds and seconds | {'run': config.steps * seconds['step']},
        'alternatives': [],
        'versions': {name: version(name) for name in ('jax', 'jaxlib', 'libtpu')},
    } | {key: program[key] for key in ('flops', 'bytes', 'collectives', 'spent')}


def assemble(config: ConfigDict, devices: list[jax.Device], examples: int) -> Experiment:
    """The run on these devices, on black pictures where its own would be files."""
    source = None
    if 'dataset' in config.source or 'path' in config.source:
        asked = config.split.labels + config.split.validation
        source = synthetic.blank(config.source, max(examples, 2 * asked))
    experiment = experiments.assemble(config, devices, source)
    if experiments.is_taught(config):
        said = (len(experiment.source.train.label), len(experiment.source.classes))
        experiment = experiment._replace(logits=np.broadcast_to(np.float32(0), said))
    return experiment


def arguments(experiment: Experiment) -> tuple:
    """What the call of one step is given, as jax.ShapeDtypeStructs with places."""
    everywhere = sharding.replicated(experiment.mesh)

    def struct(shape, dtype, place=everywhere):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    places, batch, shapes = train.make_read(experiment, 1)(0)
    batch = {
        name: jax.tree.map(
            lambda array, shape, place=places[name]: struct(shape, array.dtype, place),
            batch[name],
            shapes[name],
        )
        for name in batch
    }
    resident = None
    if train.is_resident(experiment):
        pool = experiment.source.train
        one = pool.read(np.zeros(1, np.int64))
        resident = struct((len(pool.label), *one.shape[1:]), one.dtype)
    return experiment.state, resident, batch, struct((), jax.random.key(0).dtype)


def compile(experiment: Experiment) -> dict:
    """Memory, FLOPs, bytes and collectives of one step on one device, and the seconds this took."""
    started = time.monotonic()
    given = arguments(experiment)
    traced = train.jit_steps(experiment).trace(*given)
    layers = flops.count(traced.jaxpr) / experiment.mesh.size
    lowered = traced.lower()
    begun = time.monotonic()
    memory = dict.fromkeys(('arguments', 'temporaries', 'peak', 'limit'))
    counted, sent = {}, {}
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = sum(shard_bytes(leaf, leaf.sharding) for leaf in jax.tree.leaves(given))
        memory |= read_overflow(str(error)) | {'arguments': needed}
        memory['peak'] = needed + memory['temporaries']
    else:
        sizes, counted = compiled.memory_analysis(), compiled.cost_analysis()
        memory |= {
            'arguments': sizes.argument_size_in_bytes,
            'temporaries': sizes.temp_size_in_bytes,
            'peak': sizes.peak_memory_in_bytes,
        }
        sent = collectives.count(compiled.as_text())
    xla = counted.get('flops')
    # What loops repeat is missing in both counts of the compiler alike.
    repeats = max(1.0, layers / xla) if xla else 1.0
    once = counted.get('bytes accessed')
    return {
        'memory': memory,
        'flops': {'layers': layers, 'compiler': xla},
        'bytes': {'compiler': once, 'with_loops': once and once * repeats},
        'collectives': {kind: {'number': n, 'bytes': size} for kind, (n, size) in sent.items()},
        'spent': {'trace': begun - started, 'compile': time.monotonic() - begun},
    }


def read_overflow(message: str) -> dict:
    """Temporaries and limit from the compiler's refusal of a program that is too big.

    Raises:
      ValueError: the message is of something else.
    """
    size = r'\(([\d.]+)([KMGT]?)\)'
    found = re.search(rf'required for [\w ]+ {size} exceeds available HBM {size}', message)
    if not found:
        raise ValueError(f'The compiler refuses the step: {message[:2000]}')
    needed, limit = (round(float(found[i]) * UNITS[found[i + 1]]) for i in (1, 3))
    return {'temporaries': needed, 'limit': limit}


def shard_bytes(leaf: jax.ShapeDtypeStruct, place: NamedSharding) -> int:
    """Bytes of an array on one device."""
    return math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def state_bytes(experiment: Experiment, model: int, weights: str) -> int:
    """Bytes of the state on one device, were the mesh this one."""
    mesh = sharding.make_mesh([*experiment.mesh.devices.flat], model)
    places = sharding.layout(experiment.state, mesh, weights)

    return sum(jax.tree.leaves(jax.tree.map(shard_bytes, experiment.state, places)))


def parameters(experiment: Experiment) -> dict[str, int]:
    """Of the network of each role."""
    networks = experiment.algorithm.networks(experiment.state)
    return {
        name: network.count_parameters(networks[name].variables.params)
        for name in experiment.definitions
        if name in networks
    }


def add_sum_of_gradients(sent: dict, experiment: Experiment) -> None:
    """Adds what groups sum that was compiled for one: float32 gradients, in parts where weights are."""
    mesh, weights = experiment.mesh, experiment.config.mesh.weights
    parts = 1 if weights == 'whole' else mesh.shape[weights]
    entry = sent.setdefault('all-reduce', {'number': 0, 'bytes': 0})
    for count in parameters(experiment).values():
        entry['number'] += 1
        entry['bytes'] += 4 * count // parts


def estimate(program: dict, chip: chips.Chip | None) -> dict | None:
    """Seconds of a step, at the least: all units at their full rates, the links after the rest."""
    if chip is None:
        return None
    work = max(program['flops']['layers'], program['flops']['compiler'] or 0)
    parts = {
        'compute': work / chip.flops,
        'memory': (program['bytes']['with_loops'] or 0) / chip.bandwidth,
        'links': sum(
            PASSES.get(kind, 1) * entry['bytes'] for kind, entry in program['collectives'].items()
        )
        / chip.links,
    }
    return parts | {'step': max(parts['compute'], parts['memory']) + parts['links']}


def alternatives(config: ConfigDict, topology: str, plan: dict, search: bool, **more) -> list[dict]:
    """Changes of the config that may make it fit, the cheapest first.

    Estimates keep what is beside the state, or shrink it as the batch: a finer cut of the
    images leaves it as it is, since each group then has more of them.

    Args:
      config: of the run.
      topology: of the slice.
      plan: of the config as it is.
      search: whether to compile each in turn until one fits.
      **more: arguments of `make`.
    """
    memory, mesh, found = plan['memory'], plan['mesh'], []
    rest = memory['peak'] - memory['state']
    devices = jax.devices() if topology == 'local' else chips.devices(topology)
    whole = assemble(config, devices, more['examples'])

    def add(changes, peak):
        found.append({'changes': changes, 'peak': peak, 'compiled': False})

    bare = [r for r, n in config.networks.items() if n.model.get('remat') is False]
    if bare:
        add({f'networks.{role}.model.remat': True for role in bare}, None)
    for model in (mesh['model'], 2 * mesh['model']):
        groups = len(devices) // model
        if len(devices) % model or any(size % groups for size in plan['batch'].values()):
            continue
        for weights in ('whole', 'model', 'data'):
            state = state_bytes(whole, model, weights)
            if state < memory['state'] and (weights != 'model' or model > 1):
                changed = {'mesh.model': model, 'mesh.weights': weights}
                kept = {'mesh.model': mesh['model'], 'mesh.weights': mesh['weights']}
                add({k: v for k, v in changed.items() if v != kept[k]}, state + rest)
    share, groups = (memory['limit'] - memory['state']) / rest, mesh['data']
    smaller = {key: int(share * size / groups) * groups for key, size in plan['batch'].items()}
    if all(smaller[key] > 0 for key, size in plan['batch'].items() if size):
        left = max(smaller[key] / size for key, size in plan['batch'].items() if size)
        changes = {f'batch.{key}': size for key, size in smaller.items()}
        add(changes, memory['state'] + round(rest * left))
    for entry in found if search else ():
        changed = config.to_dict()
        for key, value in entry['changes'].items():
            *sections, last = key.split('.')
            part = changed
            for section in sections:
                part = part[section]
            part[last] = value
        tried = make(configs.complete(changed), topology, **more)
        entry |= {'peak': tried['memory']['peak'], 'compiled': True}
        if tried['fits']:
            break
    return found


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
        ["GB moved, compiler's count", giga(plan['bytes']['compiler'])],
        ['GB moved, with loops', giga(plan['bytes']['with_loops'])],
        *(
            [f'{kind}: number, GB', f'{entry["number"]:,}, {giga(entry["bytes"])}']
            for kind, entry in plan['collectives'].items()
        ),
    ]
    if seconds:
        rows += [[f'ms, {part}', f'{1000 * seconds[part]:.3g}'] for part in list(seconds)[:-1]]
        rows += [['days of the run', f'{seconds["run"] / 86400:.3g}']]
    lines = [tabulate(rows, ['of one device, in one step', ''], disable_numparse=True)]
    lines.append(
        'FLOPs of layers are those of the trace, loops as often as they turn, over the devices; the '
        "compiler's counts take the body of a loop once, and bytes with loops are more by the same "
        'share. Times are least ones: the larger of FLOPs and bytes at the rates of the data sheet, '
        'then the links at theirs, sums twice; no evaluation, no reading of pictures.'
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
    numbers = ' '.join(f'--config.{key}={value}' for key, value in entry['changes'].items())
    if entry['peak'] is None:
        return f'  {numbers}: not known without compiling (--search)'
    fits = 'fits' if entry['peak'] <= limit else 'does not fit'
    how = 'compiled' if entry['compiled'] else 'estimated'
    return f'  {numbers}: {gib(entry["peak"])} GiB, {fits} ({how})'


def gib(size: float | None) -> str:
    return 'unknown' if size is None else f'{size / chips.GIB:,.3f}'


def giga(number: float | None) -> str:
    return 'unknown' if number is None else f'{number / 1e9:,.4g}'


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument('--config', required=True, help='a Python file with get_config()')
    parser.add_argument('--topology', default='local', help='such as v3:32x32 or v5e:4x8')
    parser.add_argument('--groups', type=int, default=0, help='of devices to compile for; 0: all')
    parser.add_argument(
        '--examples', type=int, default=EXAMPLES, help='labeled, of a set not at hand'
    )
    parser.add_argument('--search', action='store_true', help='compile what may make it fit')
    parser.add_argument('--json', help='file for the plan')
    given, overrides = command.parse(parser)
    config = configs.load(given.config, overrides)
    if given.topology != 'local':
        jax.config.update('jax_platforms', 'cpu')  # No device is used.
    jax.config.update('jax_enable_compilation_cache', False)  # It can not give back TPU programs.
    more = dict(groups=given.groups, examples=given.examples)
    plan = {'config': given.config, 'overrides': overrides} | make(config, given.topology, **more)
    if plan['fits'] is False:
        plan['alternatives'] = alternatives(config, given.topology, plan, given.search, **more)
    if given.json:
        metrics.write_whole(epath.Path(given.json), json.dumps(plan, indent=2) + '\n')
    print(show(plan))


if __name__ == '__main__':
    command.main(main)
