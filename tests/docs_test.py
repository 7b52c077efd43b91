"""The pages of the project: their length, their links, the tree and the picture of imports."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')), ROOT / 'launch' / 'README.md']
EXTENDING = (ROOT / 'docs' / 'extending.md').read_text()
PACKAGES = sorted(path.parent for path in (ROOT / 'mpl').rglob('__init__.py'))


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.S)
    headings = re.findall(r'^#+ (.*)$', text, re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_the_readme_is_one_page():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 150


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.S)
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        if link.startswith('https://'):
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_tree_is_the_tree():
    """Every package of mpl/ with all of its modules, those of the page beside those that are there."""
    block = EXTENDING.split('## The tree')[1].split('```')[1]
    entries = re.findall(r'^ *([\w/]+)/ {2,}([^:\n]*): (.*(?:\n {12,}\S.*)*)', block, re.M)
    shown = {name.removeprefix('mpl/'): set(modules.split()) for name, _, modules in entries}
    there = {
        str(package.relative_to(ROOT / 'mpl')).replace('.', 'mpl'): {
            path.stem for path in package.glob('*.py') if path.name != '__init__.py'
        }
        for package in PACKAGES
    }
    assert shown == there


def test_the_picture_of_imports_is_that_of_the_code():
    """Every arrow is an import, and every import between packages is an arrow or a path of them."""
    drawn = set(re.findall(r'^ +(\w+) --> (\w+)$', EXTENDING, re.M))
    imports = set()
    for path in (ROOT / 'mpl').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, 'names', ())]
            if isinstance(node, ast.ImportFrom):
                names = [f'{node.module}.{name}' for name in names]
            for name in names:
                if name.startswith('mpl.'):
                    imports.add((package_of(path), package_of(ROOT / name.replace('.', '/'))))
    imports = {(start, end) for start, end in imports if start != end}
    assert drawn <= imports
    assert imports <= paths(drawn)


def package_of(path):
    """The package directly below mpl/ that a module or package is in, or 'commands'."""
    part = path.relative_to(ROOT / 'mpl').parts[0]
    return part if (ROOT / 'mpl' / part).is_dir() else 'commands'


def paths(arrows):
    """All pairs that arrows connect, directly or by way of others."""
    reached = set(arrows)
    while more := {(a, d) for a, b in reached for c, d in reached if b == c} - reached:
        reached |= more
    return reached
