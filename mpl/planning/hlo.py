"""The text of a compiled program: its computations, their instructions, and how often each runs."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_BYTES = {'pred': 1, 'bf16': 2, 'c64': 8, 'c128': 16}  # others have their bits in the name
_ARRAY = re.compile(r'\b(pred|bf16|[sufc]\d+)(?:e\w+)?\[([\d,]*)\](\{[^}]*\})?')
_INSTRUCTION = re.compile(r'\s*(ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$')
_CALLED = re.compile(r'\b(body|calls|to_apply|branch_computations|called_computations)=\{?([^=}]*)')


class Instruction(NamedTuple):
    """A line of a computation."""

    name: str
    shape: str  # of its result, as it is written
    opcode: str
    operands: list[str]  # their names
    rest: str  # the line after the opening parenthesis of its operands
    root: bool


class Program(NamedTuple):
    """An optimized HLO module, for CPU, GPU or TPU: compiled.as_text()."""

    computations: dict[str, list[Instruction]]
    callers: dict[str, tuple[str, str, int]]  # name -> caller, opcode, and iterations per call

    def executions(self, name: str) -> int:
        """Executions of a computation in one run of the program; every branch counts as taken."""
        executions = 1
        while name in self.callers:
            name, _, iterations = self.callers[name]
            executions *= iterations
        return executions


def parse(text: str) -> Program:
    """The program in a text."""
    computations = dict(_computations(text))
    return Program(computations, _callers(computations))


class Array(NamedTuple):
    """An array in the text of a shape."""

    size: int  # bytes
    padded: int  # bytes, with the padding of its tiles
    space: int  # memory space; 0 is the main memory


def arrays(shape: str) -> list[Array]:
    """The arrays in the text of a shape, such as '(f32[8,3]{1,0:T(8,128)S(1)}, pred[])'."""
    found = []
    for kind, sides, layout in _ARRAY.findall(shape):
        sides = [int(side) for side in sides.split(',') if side]
        space = re.search(r'S\((\d+)\)', layout)
        padded = math.prod(_tiled(sides, layout))
        width = _width(kind)
        found.append(Array(width * math.prod(sides), width * padded, int(space[1]) if space else 0))
    return found


def size(shape: str) -> int:
    """Bytes of all arrays in the text of a shape."""
    return sum(array.size for array in arrays(shape))


def _tiled(sides, layout):
    """Sides rounded up to whole tiles: {2,0,1:T(8,128)} has 128 along axis 2 and 8 along axis 0."""
    order, tile = re.search(r'\{([\d,]*)', layout), re.search(r'T\(([\d,]+)\)', layout)
    sides = list(sides)
    if order and tile and order[1]:
        axes = [int(axis) for axis in order[1].split(',')]
        for axis, side in zip(axes, reversed([int(side) for side in tile[1].split(',')])):
            sides[axis] = -(-sides[axis] // side) * side
    return sides


def called(instruction: Instruction) -> list[tuple[str, str]]:
    """The role and name of each computation that an instruction calls."""
    return [
        (role, name.strip())
        for role, names in _CALLED.findall(instruction.rest)
        for name in re.findall(r'%([\w.\-]+)', names) or names.split(',')[:1]
    ]


def _computations(text: str) -> Iterator[tuple[str, list[Instruction]]]:
    name, found = None, []
    for line in text.splitlines():
        if line[:1].strip() and line.rstrip().endswith('{'):
            words = line.removeprefix('ENTRY').split()
            name, found = words[0].lstrip('%').split('(')[0], []
        elif line.startswith('}') and name is not None:
            yield name, found
            name = None
        elif name is not None and (match := _INSTRUCTION.match(line)):
            root, own, shape, opcode, rest = match.groups()
            found.append(Instruction(own, shape, opcode, _operands(rest), rest, bool(root)))


def _operands(rest: str) -> list[str]:
    """Names up to the closing parenthesis of the operands."""
    depth = 1
    for place, sign in enumerate(rest):
        depth += (sign in '([{') - (sign in ')]}')
        if not depth:
            return re.findall(r'%([\w.\-]+)', rest[:place])
    return []


def _callers(computations):
    """The caller of each called computation, the opcode of the call, and its iterations."""
    callers = {}
    for caller, lines in computations.items():
        for line in lines:
            for role, name in called(line):
                iterations = _trip_count(line, computations) if role == 'body' else 1
                callers.setdefault(name, (caller, line.opcode, iterations))
    return callers


def _trip_count(loop, computations):
    """Iterations of a loop: its known_trip_count, or the only constant in its condition."""
    if known := re.search(r'known_trip_count\W+n\W+(\d+)', loop.rest):
        return int(known[1])
    condition = re.search(r'condition=%?([\w.\-]+)', loop.rest)
    lines = computations.get(condition[1], []) if condition else []
    found = {
        int(line.rest.split(')')[0])
        for line in lines
        if line.opcode == 'constant' and re.match(r'[su]32\[\]', line.shape)
    } - {0}
    return found.pop() if len(found) == 1 else 1


def _width(kind):
    return _BYTES.get(kind) or max(1, int(kind[1:]) // 8)
