"""Any value at any key of a config, any CSV file and any folder of pictures, by hypothesis."""

import contextlib
import copy
import functools
import io
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
from etils import epath
from hypothesis import strategies as st
from PIL import Image

from benchmarks.faults import commands
from benchmarks.faults.commands import RECIPE
from benchmarks.faults.trials import FAULT, Outcome
from mpl.data import folder as pictures
from mpl.run import config as configs
from mpl.run import stages

RECIPES = (f'{RECIPE}:mpl', f'{RECIPE}:taught', 'configs/two_moons.py:uda', 'configs/smoke.py')

# Numbers that programs trip over, and any other.
NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 3, 7, 2**31, 10**12, 10**30, -0.5, 0.5, 1e-320, 1e300]),
    st.floats(),
    st.integers(),
)
LEAVES = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=8), st.binary(max_size=4))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=4), st.just('name')), inner, max_size=3),
    ),
    max_leaves=6,
)
# Letters that mean something to file systems, CSV, globs, formats and shells, and any other.
NAMES = st.one_of(
    st.text('ab01 .,:;$~%[]{}*?"\'#&=+-_\\é\udcff\n\t', min_size=1, max_size=6),
    st.text(st.characters(exclude_characters='/\0', exclude_categories=['Cs']), min_size=1, max_size=6),
)  # fmt: skip


def campaign(folder: Path, examples: int, seed: int) -> list[Outcome]:
    """So many examples of each property; an example that fails is made small and reported."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for name, (strategy, check) in PROPERTIES.items():
        kinds, faults = examine(strategy, check, examples, seed)
        outcomes += [Outcome(name, kind) for kind in kinds.elements()]
        outcomes += [Outcome(name, FAULT, fault) for fault in faults]
    return outcomes


def examine(
    strategy: st.SearchStrategy, check: Callable, examples: int, seed: int
) -> tuple[Counter, list[str]]:
    """What `check` made of examples: how many of each kind, and the faults, each in its smallest form."""
    kinds, faults = Counter(), []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def test(example):
        kinds[check(example)] += 1

    try:
        test()
    except* AssertionError as group:  # One for each place that it comes from.
        faults += [str(error).splitlines()[0] for error in group.exceptions]
    return kinds, faults


@functools.cache
def keys(recipe: str) -> tuple[tuple[str, ...], ...]:
    """The path of every key of a recipe, sections included."""

    def find(node, above=()):
        for key, value in node.items():
            yield (*above, key)
            if isinstance(value, dict):
                yield from find(value, (*above, key))

    return tuple(find(_load(recipe)))


@functools.cache
def _load(recipe: str) -> dict:
    return configs.load(recipe, []).to_dict()


@st.composite
def changed_configs(draw) -> tuple[str, tuple[str, ...], object]:
    """A recipe, a key of it and a value for the key."""
    recipe = draw(st.sampled_from(RECIPES))
    return recipe, draw(st.sampled_from(keys(recipe))), draw(VALUES)


@st.composite
def overrides(draw) -> tuple[str, str]:
    """A recipe, and an argument of the command line for it."""
    recipe = draw(st.sampled_from(RECIPES))
    key = '.'.join(draw(st.sampled_from(keys(recipe))))
    key = draw(st.one_of(st.just(key), st.text(max_size=6), st.just(key + '.x')))
    text = draw(st.one_of(st.text(max_size=12), VALUES.map(repr)))
    return recipe, f'--config.{key}={text}'


def check_config(example: tuple[str, tuple[str, ...], object]) -> str:
    """A value in a config: refused with a sentence, or the run can be made."""
    recipe, path, value = example
    node = given = copy.deepcopy(_load(recipe))
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return _assemble(lambda: configs.complete(given), f'{recipe}: {".".join(path)} = {value!r}')


def check_override(example: tuple[str, str]) -> str:
    """An argument of the command line: refused with a sentence, or the run can be made."""
    recipe, override = example
    return _assemble(lambda: configs.load(recipe, [override]), f'{recipe} {override!r}')


def _assemble(make: Callable, what: str) -> str:
    nowhere = epath.Path(tempfile.gettempdir()) / 'no_such_run'
    ended = commands.call(lambda: stages.assemble(make(), nowhere, None))
    fault = commands.find_fault(ended)
    assert not fault, f'{what}: {fault}'
    return 'refused' if ended.code else 'accepted'


@st.composite
def folders(draw) -> dict[str, str]:
    """Pictures by their path in a folder, and the split that each should be in, '' for none."""
    part = st.one_of(st.sampled_from(['labeled', 'unlabeled', 'validation', 'test']), NAMES)
    name = st.tuples(NAMES, st.sampled_from(['.png', '.PNG', '.txt', ''])).map(''.join)
    path = st.tuples(part, st.lists(NAMES, max_size=2), name)
    drawn = draw(st.lists(path, max_size=8))
    common = [('labeled', ['a'], '0.png'), ('labeled', ['b'], '1.png')]
    return [*draw(st.sampled_from([common, common[:1], []])), *drawn]


def check_folder(example: list[tuple[str, list[str], str]]) -> str:
    """A folder: refused with a sentence; or every picture is read, under its class, with its pixels."""
    with tempfile.TemporaryDirectory() as root:
        written = {}
        for number, (part, between, name) in enumerate(example):
            path = Path(root, part, *between, name)
            with contextlib.suppress(OSError):  # A file where a folder should be, '.' and '..'.
                if Path(root) in path.resolve().parents:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if not path.exists():
                        path.write_bytes(picture(number))
                        written[path.relative_to(root).as_posix()] = number
        return _check_source(Path(root), written, lambda name: name.split('/')[1], example)


@st.composite
def tables(draw) -> tuple[str, dict[str, str]]:
    """The text of a CSV file, and the pictures beside it."""
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    fields = st.one_of(st.sampled_from(names), NAMES, st.sampled_from(['train', 'test', '']))
    header = draw(st.sampled_from(['path,label', 'path,label,split', 'label,path', 'path', '']))
    rows = draw(st.lists(st.lists(fields, min_size=1, max_size=4), max_size=5))
    good = [[name, 'ab'[number % 2]] for number, name in enumerate(names)]
    rows = draw(st.sampled_from([good, good + rows, rows]))
    quoted = draw(st.booleans())
    join = draw(st.sampled_from([',', ';']))
    lines = [join.join(_quote(field) if quoted else field for field in row) for row in rows]
    return names, '\n'.join([header, *lines])


def check_table(example: tuple[list[str], str]) -> str:
    """A CSV file: refused with a sentence; or every picture it lists is read, with its pixels."""
    names, text = example
    with tempfile.TemporaryDirectory() as root:
        written = {}
        for number, name in enumerate(names):
            with contextlib.suppress(OSError):
                if Path(root) in Path(root, name).resolve().parents:
                    Path(root, name).write_bytes(picture(number))
                    written[name] = number
        table = Path(root, 'table.csv')
        table.write_bytes(text.encode(errors='surrogateescape'))
        return _check_source(table, written, None, example)


def picture(number: int) -> bytes:
    """A gray PNG picture whose brightness is its number."""
    file = io.BytesIO()
    Image.new('L', (2, 2), number).save(file, 'PNG')
    return file.getvalue()


def _check_source(path: Path, written: dict[str, int], find_class, example) -> str:
    """kinds: 'refused' or 'right'. Each name that is read has the pixels of its file."""
    found = []
    ended = commands.call(lambda: found.append(pictures.make(str(path), size=2, channels=1)))
    fault = commands.find_fault(ended)
    assert not fault, f'{example!r}: {fault}'
    if ended.code:
        return 'refused'
    (source,) = found
    for pool in filter(None, (source.train, source.validation, source.test)):
        image = pool.read(np.arange(len(pool.label)))
        for number, name in enumerate(pool.name):
            want = written[Path(name).as_posix()]
            assert (image[number] == want).all(), f'{example!r}: {name!r} has other pixels'
            if find_class and pool.label[number] >= 0:
                got = source.classes[pool.label[number]]
                assert got == find_class(name), f'{example!r}: {name!r} is of class {got!r}'
    return 'right'


def _quote(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


PROPERTIES = {
    'value in a config': (changed_configs(), check_config),
    'argument': (overrides(), check_override),
    'folder': (folders(), check_folder),
    'CSV file': (tables(), check_table),
}
