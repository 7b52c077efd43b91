"""Memory, FLOPs and traffic of one step per device of a slice, from the compiled program."""

import math
import re
import time
from importlib import metadata

import jax
import numpy as np
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from mpl.data import batches, synthetic
from mpl.data.source import Source
from mpl.models import network
from mpl.parallel import sharding
from mpl.planning import chips, collectives, hlo, traffic
from mpl.run import experiment as experiments
from mpl.run import flops, loop
from mpl.run.experiment import Experiment

COMPILERS = ('jax', 'jaxlib', 'libtpu', 'jax-cuda13-plugin', 'nvidia-cuda-nvcc')
EXAMPLES = 50_000  # assumed number of labeled training images of a set without its data
# Times that the bytes of a result pass a device's links: an all-reduce scatters and gathers.
PASSES = {'all-reduce': 2}
UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


def make(
    config: ConfigDict, topology: str = 'local', groups: int = 0, examples: int = EXAMPLES
) -> dict:
    """The plan of a run on a slice, JSON-serializable; bytes, FLOPs and seconds are of one device.

    Args:
      config: of the run.
      topology: of the slice, or 'local'.
      groups: number of groups of devices to compile for, each with its share of the batch on the
        whole slice; 0 compiles for all.
      examples: labeled examples of a set without its data.

    Raises:
      ValueError: invalid topology, or a config that does not fit it.
    """
    devices = chips.devices(topology)
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
        if memory[part] is not None:  # A sharded state has smaller shards on more groups.
            memory[part] -= saved
    if groups == 1 < of_slice:
        add_sum_of_gradients(program['collectives'], whole)
    chip = chips.find_all(devices)
    limit = memory.pop('limit') or (chip.memory if chip else None)
    seconds = estimate(program, chip)
    if seconds:
        seconds['run'] = seconds['step'] and config.steps * seconds['step']
    return {
        'topology': topology,
        'platform': devices[0].platform,
        'device': devices[0].device_kind,
        'devices': len(devices),
        'mesh': dict(whole.mesh.shape) | {'weights': config.mesh.weights},
        'batch': {key: config.batch[key] for key in ('labeled', 'unlabeled')},
        'steps': config.steps,
        'parameters': parameters(whole),
        'resident': batches.is_resident(whole.pipeline),
        'groups_compiled': compiled.mesh.shape['data'],
        'memory': memory | {'state': state, 'limit': limit},
        'fits': memory['peak'] <= limit if limit and memory['peak'] else None,
        'seconds': seconds,
        'alternatives': [],
        'versions': {name: version(name) for name in COMPILERS},
    } | {key: program[key] for key in ('flops', 'bytes', 'collectives', 'spent')}


def assemble(config: ConfigDict, devices: list[jax.Device], examples: int) -> Experiment:
    """The run on these devices, with black images instead of those in files."""
    source = stand_in(config, examples)
    experiment = experiments.assemble(config, devices, source)
    if experiments.has_teacher(config):
        said = (len(experiment.source.train.label), len(experiment.source.classes))
        experiment = experiment._replace(logits=np.broadcast_to(np.float32(0), said))
    return experiment


def stand_in(config: ConfigDict, examples: int) -> Source | None:
    """Black images in the shape of the config's source if it reads files; else None."""
    if 'dataset' not in config.source and 'path' not in config.source:
        return None
    labeled = config.split.labels + config.split.validation
    return synthetic.blank(config.source, max(examples, 2 * labeled))


def arguments(experiment: Experiment) -> tuple:
    """The arguments of the call of one step, as jax.ShapeDtypeStructs with shardings."""
    everywhere = sharding.replicated(experiment.mesh)

    def struct(shape, dtype, place=everywhere):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    places, batch, shapes = batches.make_read(experiment.pipeline, 1)(0)
    batch = {
        name: jax.tree.map(
            lambda array, shape, place=places[name]: struct(shape, array.dtype, place),
            batch[name],
            shapes[name],
        )
        for name in batch
    }
    resident = None
    if batches.is_resident(experiment.pipeline):
        pool = experiment.source.train
        one = pool.read(np.zeros(1, np.int64))
        resident = struct((len(pool.label), *one.shape[1:]), one.dtype)
    return experiment.state, resident, batch, struct((), jax.random.key(0).dtype)


def compile(experiment: Experiment) -> dict:
    """Memory, FLOPs, bytes and collectives of one step on one device, and the seconds this took.

    What the compiler does not tell is None.
    """
    started = time.monotonic()
    given = arguments(experiment)
    traced = loop.make_steps(experiment).trace(*given)
    layers = flops.count(traced.jaxpr) / experiment.mesh.size
    lowered = traced.lower()
    begun = time.monotonic()
    memory = dict.fromkeys(('arguments', 'temporaries', 'peak', 'limit'))
    counted, sent, moved = {}, {}, None
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = sum(shard_bytes(leaf, leaf.sharding) for leaf in jax.tree.leaves(given))
        memory |= read_overflow(str(error)) | {'arguments': needed}
        memory['peak'] = needed + memory['temporaries']
    else:
        sizes = compiled.memory_analysis()
        counted = compiled.cost_analysis() or {}  # None for GPUs that are not there.
        memory |= {
            'arguments': sizes.argument_size_in_bytes,
            'temporaries': sizes.temp_size_in_bytes,
            'peak': sizes.peak_memory_in_bytes,
        }
        program = hlo.parse(compiled.as_text())
        sent, moved = collectives.count(program), traffic.count(program)
    return {
        'memory': memory,
        'flops': {'layers': layers, 'compiler': counted.get('flops')},
        'bytes': {'moved': moved, 'compiler': counted.get('bytes accessed')},
        'collectives': {kind: {'number': n, 'bytes': size} for kind, (n, size) in sent.items()},
        'spent': {'trace': begun - started, 'compile': time.monotonic() - begun},
    }


def read_overflow(message: str) -> dict:
    """Temporaries and limit in bytes from the compiler's error message for a program that is too big.

    Raises:
      ValueError: another error message.
    """
    size = r'\(([\d.]+)([KMGT]?)\)'
    found = re.search(rf'required for [\w ]+ {size} exceeds available HBM {size}', message)
    if not found:
        raise ValueError(f'The compiler cannot compile the step: {message[:2000]}')
    needed, limit = (round(float(found[i]) * UNITS[found[i + 1]]) for i in (1, 3))
    return {'temporaries': needed, 'limit': limit}


def shard_bytes(leaf: jax.ShapeDtypeStruct, place: NamedSharding) -> int:
    """Bytes of an array on one device."""
    return math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def state_bytes(experiment: Experiment, model: int, weights: str) -> int:
    """Bytes of the state on one device of a mesh with these groups and weights."""
    mesh = sharding.make_mesh([*experiment.mesh.devices.flat], model)
    places = sharding.layout(experiment.state, mesh, weights)

    return sum(jax.tree.leaves(jax.tree.map(shard_bytes, experiment.state, places)))


def parameters(experiment: Experiment) -> dict[str, int]:
    """The number of parameters of the network of each role."""
    networks = experiment.algorithm.networks(experiment.state)
    return {
        name: network.count_parameters(networks[name].variables.params)
        for name in experiment.definitions
        if name in networks
    }


def add_sum_of_gradients(sent: dict, experiment: Experiment) -> None:
    """Adds the all-reduce of float32 gradients over groups to a program compiled for one group."""
    mesh, weights = experiment.mesh, experiment.config.mesh.weights
    parts = 1 if weights == 'whole' else mesh.shape[weights]
    entry = sent.setdefault('all-reduce', {'number': 0, 'bytes': 0})
    for count in parameters(experiment).values():
        entry['number'] += 1
        entry['bytes'] += 4 * count // parts


def estimate(program: dict, chip: chips.Chip | None) -> dict | None:
    """A lower bound of the seconds of a step: all units at full rate, links not overlapped.

    Unknown parts are None if the compiler rejected the program.
    """
    if chip is None:
        return None
    work = max(program['flops']['layers'], program['flops']['compiler'] or 0)
    parts = {'compute': work / chip.flops, 'memory': None, 'links': None, 'step': None}
    if program['bytes']['moved'] is not None:
        parts['memory'] = program['bytes']['moved'] / chip.bandwidth
        sent = program['collectives'].items()
        passed = sum(PASSES.get(kind, 1) * entry['bytes'] for kind, entry in sent)
        parts['links'] = passed / chip.links
        parts['step'] = max(parts['compute'], parts['memory']) + parts['links']
    return parts


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
