"""What devices send each other, read from the text of a compiled program."""

import re

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


def count(program: Program) -> dict[str, tuple[int, int]]:
    """How often each kind of collective runs in one run of the program, and its bytes.

    An asynchronous one counts once, whether it stands there as a start and its end or, on TPUs, as
    several copies in fusions; one in a loop counts as often as the loop turns.

    Returns:
      By kind, the number, and the bytes of all results on one device; of a reduce-scatter, of what
      goes into it. Kinds that do not occur are left out.
    """
    totals = {kind: (0, 0) for kind in KINDS}
    for name, kind, size in _instructions(program):
        turns = program.turns(name)
        number, total = totals[kind]
        totals[kind] = number + turns, total + turns * size
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
            # The copies of one in fusions share its channel; elsewhere channels may be shared by several.
            channel = re.search(r'channel_id=(\d+)', each.rest)
            fused = 'fusion' in computation or 'fused' in computation
            key = (kind, channel[1], hlo.size(each.shape)) if channel and fused else each.name
            found.setdefault(key, (computation, kind, each))
    for computation, kind, each in found.values():
        size = hlo.size(ends.get(each.name, each.shape))
        yield computation, kind, size * (_group(each.rest) if kind == 'reduce-scatter' else 1)


def _group(rest):
    """Devices in a group: of {{0,1},{2,3}} or [2,2]<=[4] two."""
    if listed := re.search(r'replica_groups=\{\{([\d,]*)\}', rest):
        return len(listed[1].split(','))
    if drawn := re.search(r'replica_groups=\[\d+,(\d+)\]', rest):
        return int(drawn[1])
    return 1
