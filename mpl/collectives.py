"""What devices send each other, read from the text of a compiled program."""

import math
import re
from collections.abc import Iterator

KINDS = (
    'all-reduce',
    'all-gather',
    'reduce-scatter',
    'collective-permute',
    'all-to-all',
    'ragged-all-to-all',
    'collective-broadcast',
)
_BYTES = {'pred': 1, 'bf16': 2, 'c64': 8, 'c128': 16}  # others have their bits in the name
_SHAPE = re.compile(r'\b(pred|bf16|[sufc]\d+)(?:e\w+)?\[([\d,]*)\]')
_COLLECTIVE = re.compile(
    r'\s*(?:ROOT )?%?([\w.\-]+) = (.+?) (' + '|'.join(KINDS) + r')(-start|-done)?\((.*)$'
)
_CALLED = re.compile(r'\b(body|calls|to_apply|branch_computations|called_computations)=\{?([^=}]*)')
_SMALL_CONSTANT = re.compile(r'= s32\[\]\S* constant\((\d+)\)')


def count(text: str) -> dict[str, tuple[int, int]]:
    """How often each kind of collective runs in one run of the program, and its bytes.

    An asynchronous one counts once, whether it stands there as a start and its end or, on TPUs, as
    several copies in fusions; one in a loop counts as often as the loop turns.

    Args:
      text: of an optimized HLO module, for CPU, GPU or TPU; compiled.as_text().

    Returns:
      By kind, the number, and the bytes of all results on one device; of a reduce-scatter, of what
      goes into it. Kinds that do not occur are left out.
    """
    computations = dict(_computations(text))
    callers = _callers(computations)
    totals = {kind: (0, 0) for kind in KINDS}
    for name, kind, size in _instructions(computations):
        turns = _turns(name, callers)
        number, total = totals[kind]
        totals[kind] = number + turns, total + turns * size
    return {kind: both for kind, both in totals.items() if both[0]}


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """The name and the lines of each computation."""
    name, lines = None, []
    for line in text.splitlines():
        if line[:1].strip() and line.rstrip().endswith('{'):
            words = line.removeprefix('ENTRY').split()
            name, lines = words[0].lstrip('%').split('(')[0], []
        elif line.startswith('}') and name is not None:
            yield name, lines
            name = None
        elif name is not None:
            lines.append(line)


def _callers(computations):
    """Of each computation that another one calls: which, and how often."""
    callers = {}
    for caller, lines in computations.items():
        for line in lines:
            for role, names in _CALLED.findall(line):
                turns = _trips(line, computations) if role == 'body' else 1
                for name in re.findall(r'%([\w.\-]+)', names) or names.split(',')[:1]:
                    callers.setdefault(name.strip(), (caller, turns))
    return callers


def _trips(line, computations):
    """Turns of the loop in this line: as noted, or the one constant that its condition compares with."""
    if noted := re.search(r'known_trip_count\W+n\W+(\d+)', line):
        return int(noted[1])
    condition = re.search(r'condition=%?([\w.\-]+)', line)
    lines = computations.get(condition[1], []) if condition else []
    found = {int(n) for line in lines for n in _SMALL_CONSTANT.findall(line)} - {0}
    return found.pop() if len(found) == 1 else 1


def _turns(name, callers):
    turns = 1
    while name in callers:
        name, more = callers[name]
        turns *= more
    return turns


def _instructions(computations):
    """The computation, kind and bytes of each collective."""
    ends, found = {}, {}
    for computation, lines in computations.items():
        for line in lines:
            match = _COLLECTIVE.match(line)
            if not match:
                continue
            name, shape, kind, part, rest = match.groups()
            if part == '-done':
                ends[re.search(r'%?([\w.\-]+)\)', rest)[1]] = shape
                continue
            # The copies of one in fusions share its channel; elsewhere channels may be shared by several.
            channel = re.search(r'channel_id=(\d+)', rest)
            fused = 'fusion' in computation or 'fused' in computation
            key = (kind, channel[1], _size(shape)) if channel and fused else (computation, name)
            found.setdefault(key, (computation, name, kind, shape, rest))
    for computation, name, kind, shape, rest in found.values():
        size = _size(ends.get(name, shape))
        yield computation, kind, size * (_group(rest) if kind == 'reduce-scatter' else 1)


def _size(shape):
    """Bytes of all arrays in the text of a shape."""
    return sum(
        _width(kind) * math.prod(int(side) for side in sides.split(',') if side)
        for kind, sides in _SHAPE.findall(shape)
    )


def _width(kind):
    return _BYTES.get(kind) or max(1, int(kind[1:]) // 8)


def _group(rest):
    """Devices in a group: of {{0,1},{2,3}} or [2,2]<=[4] two."""
    if listed := re.search(r'replica_groups=\{\{([\d,]*)\}', rest):
        return len(listed[1].split(','))
    if drawn := re.search(r'replica_groups=\[\d+,(\d+)\]', rest):
        return int(drawn[1])
    return 1
