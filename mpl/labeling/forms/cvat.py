"""Questions and answers of CVAT in its format "ImageNet 1.0" (docs.cvat.ai, format-imagenet).

Answers are a folder or a zip file, either with a folder for each class, or with <subset>.txt and
synsets.txt: a line `name.jpg 0` gives an image the class of the first line of synsets.txt. Images
without a class are in no_label/ or have no number.
"""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mpl.data import walk
from mpl.labeling import question_files
from mpl.labeling.question_files import Asked, Row

FOLDER, _CLASSES, _NONE = 'cvat', 'synsets.txt', 'no_label'


def write(folder: Path, asked: Asked, suggest: bool) -> None:
    """Writes cvat/: images/ to upload, labels.json to paste as the raw labels of the task.

    Images are named by their index, so that answers are found again, and are hard links where the
    disk allows it. suggest: adds suggestions/, to upload as annotations in ImageNet 1.0.
    """
    if (folder / FOLDER).exists():
        return
    temporary = folder / f'{FOLDER}.tmp'
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / 'images').mkdir(parents=True)
    names = list(map(question_files.file_name, asked.number, asked.path))
    for name, path in zip(names, asked.path):
        _link(Path(asked.root) / path, temporary / 'images' / name)
    labels = [{'name': name, 'attributes': []} for name in asked.classes]
    (temporary / 'labels.json').write_text(json.dumps(labels, indent=1) + '\n', encoding='utf-8')
    if suggest:
        place = temporary / 'suggestions'
        place.mkdir()
        lines = [
            f'{name} {asked.classes.index(suggestion)}\n'
            for name, suggestion in zip(names, asked.suggestion)
        ]
        (place / 'default.txt').write_text(''.join(lines), encoding='utf-8')
        (place / _CLASSES).write_text('\n'.join(asked.classes) + '\n', encoding='utf-8')
    temporary.rename(folder / FOLDER)


def fits(path: Path) -> bool:
    """Whether a path is a folder or a zip file."""
    return path.is_dir() or path.suffix.lower() == '.zip'


def read(path: Path) -> Iterator[Row]:
    """The answers in a folder or a zip file.

    Raises:
      ValueError: it has neither class folders with images nor lists of them.
    """
    names, text = _open(path)
    lists = [name for name in names if name.endswith('.txt') and not name.endswith(_CLASSES)]
    if _CLASSES in names and lists:
        classes = text(_CLASSES).split('\n')
        for name in lists:
            for line, content in enumerate(text(name).splitlines(), 1):
                if content.strip():
                    yield _listed(f'Line {line} of {path}/{name}', content, classes)
        return
    pictures = [name for name in names if name.lower().endswith(walk.EXTENSIONS)]
    if not any('/' in name for name in pictures):
        raise ValueError(
            f'{path} has neither <class>/ folders of pictures nor a list beside {_CLASSES}: give an '
            'export of CVAT in the format ImageNet 1.0.'
        )
    for name in pictures:
        label, _, rest = name.partition('/')
        if not rest:
            raise ValueError(f'{path}/{name} lies in no class folder: move it to one.')
        yield Row(f'{path}/{name}', rest, '' if label == _NONE else label, '')


def _open(path: Path) -> tuple[list[str], Callable[[str], str]]:
    """The sorted names of the files in a folder or a zip file, and a function that reads one."""

    def text(name):
        content = (path / name).read_bytes() if path.is_dir() else archive.read(name)
        try:
            return content.decode('utf-8-sig')
        except UnicodeDecodeError as error:
            raise ValueError(f'{path}/{name} is not in UTF-8 ({error}); save it so.') from error

    if path.is_dir():
        files = [file for file in path.rglob('*') if file.is_file()]
        return sorted(file.relative_to(path).as_posix() for file in files), text
    try:
        archive = zipfile.ZipFile(path)
        names = sorted(name for name in archive.namelist() if not name.endswith('/'))
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} cannot be read as a zip file: {error}.') from error
    return names, text


def _listed(place: str, content: str, classes: list[str]) -> Row:
    """The row of a line of a list; a name with spaces is in quotes, without its extension."""
    matched = re.fullmatch(r'\s*(?:"([^"]+)"(\S*)|(\S+))((?:\s+\d+)*)\s*', content)
    if not matched:
        raise ValueError(f'{place} is not a name and the number of a class: {content.strip()}.')
    name = f'{matched[1]}{matched[2]}' if matched[1] else matched[3]
    numbers = [int(number) for number in matched[4].split()]
    if len(set(numbers)) > 1:
        raise ValueError(f'{place} has several classes for {name}: choose one.')
    if numbers and not (numbers[0] < len(classes) and classes[numbers[0]].strip()):
        raise ValueError(f'{place} has class {numbers[0]}, which {_CLASSES} does not name.')
    return Row(place, name, classes[numbers[0]].strip() if numbers else '', '')


def _link(source: Path, target: Path) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # Another disk, or one without links.
        shutil.copyfile(source, target)
