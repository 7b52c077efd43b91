"""Collectives and their bytes, from the text of a compiled program."""

import math
import re

from absl import logging

from mpl.planning import hlo
from mpl.planning.hlo import Program

KINDS = (
    'all-reduce',
    'all-gather',
    'reduce-scatter',
    'collective-permute',
    'all-to-all',
    'ragged-all-to-all',
    'collective-broadcast',
)
_AXIS = r"'?([\w.\-]+)'?"
_MESH = r'replica_groups=mesh\[([^\]]*)\](?:, ?device_ids=\([^)]*\))? *\{([^}]*)\}'


def count(program: Program) -> dict[str, tuple[int, int]]:
    """The number of executions of each kind of collective in one run of the program, and its bytes.

    An asynchronous collective counts once, also if it is written as a start and a done operation,
    or on TPUs as several copies in fusions. Collectives in loops count once per iteration.

    Returns:
      By kind, the number, and the bytes of all results on one device (of a reduce-scatter, of its
      operands). Kinds that do not occur are left out.
    """
    totals = {kind: (0, 0) for kind in KINDS}
    for name, kind, size in _instructions(program):
        executions = program.executions(name)
        number, total = totals[kind]
        totals[kind] = number + executions, total + executions * size
    return {kind: both for kind, both in totals.items() if both[0]}


def _instructions(program):
    """The computation, kind and bytes of each collective."""
    ends, found = {}, {}
    for computation, instructions in program.computations.items():
        for each in instructions:
            kind = each.opcode.removesuffix('-start').removesuffix('-done')
            if kind not in KINDS:
                continue
            if each.opcode.endswith('-done'):
                ends[each.operands[-1]] = each.shape
                continue
            # Copies of a collective in fusions have one channel; elsewhere several may share a channel.
            channel = re.search(r'channel_id=(\d+)', each.rest)
            fused = 'fusion' in computation or 'fused' in computation
            key = (kind, channel[1], hlo.size(each.shape)) if channel and fused else each.name
            found.setdefault(key, (computation, kind, each))
    for computation, kind, each in found.values():
        size = hlo.size(ends.get(each.name, each.shape))
        yield computation, kind, size * (_group(each.rest) if kind == 'reduce-scatter' else 1)


def _group(rest):
    """Devices in a group: two for {{0,1},{2,3}}, [2,2]<=[4] or mesh['x'=2,'y'=4] {'x'}.

    The last form names axes of a mesh, or parts of them: 'y':(1)2 has two devices
    (xla/hlo/ir/mesh_and_axis.cc). One, with a warning, for a form that is unknown.
    """
    if listed := re.search(r'replica_groups=\{\{([\d,]*)\}', rest):
        return len(listed[1].split(','))
    if drawn := re.search(r'replica_groups=\[\d+,(\d+)\]', rest):
        return int(drawn[1])
    if mesh := re.search(_MESH, rest):
        sizes = {name: int(size) for name, size in re.findall(_AXIS + r'=(\d+)', mesh[1])}
        axes = re.findall(_AXIS + r'(?::\(\d+\)(\d+))?(?:,|$)', mesh[2])
        return math.prod(int(part) if part else sizes[name] for name, part in axes)
    form = re.search(r'replica_groups=.{0,80}', rest)
    logging.warning(
        'The devices of a reduce-scatter are unknown (%s); its bytes are those of its result, which '
        'are too few.',
        form[0] if form else 'no replica_groups',
    )
    return 1
