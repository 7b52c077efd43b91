"""Questions and answers of Label Studio: tasks in JSON; exports as JSON, JSON_MIN or CSV.

The fields `path`, `number` and `rank` of a task come back in every export. The files of
answers have these keys: JSON, a list of tasks with `data` and `annotations` of `result`,
`completed_by` and `was_cancelled` (labelstud.io/guide/task_format); JSON_MIN and CSV, a list of
annotations with the fields of the task, `choice`, `annotator` and, in recent versions, `was_cancelled`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib import parse
from xml.sax import saxutils

from etils import epath

from mpl.data import label_file
from mpl.labeling.forms import table
from mpl.labeling.question_files import Asked, Row
from mpl.run import records

TASKS, CONFIG = 'label_studio.json', 'label_studio.xml'
NAME, IMAGE = 'choice', 'image'  # of the tags in CONFIG
_KEYS = '1234567890qwertyuiopasdfghjklzxcvbnm'


def write(folder: Path, asked: Asked, suggest: bool) -> None:
    """Writes the tasks to import, and the labeling interface to paste into the project's settings.

    Images are addressed through local storage whose folder is that of the data set, with
    LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT at it. suggest: adds predictions, which are shown first.
    """
    tasks = []
    for rank, (number, path) in enumerate(zip(asked.number, asked.path)):
        url = f'/data/local-files/?d={parse.quote(path)}'
        task = {'data': {IMAGE: url, 'path': path, 'number': number, 'rank': rank + 1}}
        if suggest:
            choice = {'from_name': NAME, 'to_name': IMAGE, 'type': 'choices'}
            choice |= {'value': {'choices': [asked.suggestion[rank]]}}
            task['predictions'] = [{'score': asked.confidence[rank], 'result': [choice]}]
        tasks.append(task)
    records.write_utf8(epath.Path(folder / TASKS), json.dumps(tasks, indent=1) + '\n')
    choices = ''.join(
        f'    <Choice value={saxutils.quoteattr(name)}{_hotkey(place)}/>\n'
        for place, name in enumerate(asked.classes)
    )
    config = (
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}"/>\n'
        f'  <Choices name="{NAME}" toName="{IMAGE}" choice="single">\n{choices}'
        '  </Choices>\n</View>\n'
    )
    records.write_utf8(epath.Path(folder / CONFIG), config)


def fits(path: Path) -> bool:
    """Whether a file is an export of Label Studio, by its extension or first line."""
    if path.suffix.lower() == '.json':
        return True
    return path.suffix.lower() in ('.csv', '.tsv') and 'annotation_id' in table.columns(path)


def read(path: Path) -> Iterator[Row]:
    """The answers of an export; annotations that were skipped are label_file.SKIP.

    Raises:
      ValueError: the file is not an export, or an annotation has several classes.
    """
    if path.suffix.lower() == '.json':
        yield from _read_json(path)
        return
    columns = table.columns(path)
    for line, row in table.rows(path):
        yield _flat(f'Line {line} of {path}', dict(zip(columns, row)))


def _read_json(path: Path) -> Iterator[Row]:
    try:
        tasks = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{path} cannot be read as JSON: {error}.') from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError(f'{path} is not an export of Label Studio: it must be a list of tasks.')
    for count, task in enumerate(tasks, 1):
        place = f'Task {count} of {path}'
        if not {'data', 'annotations'} <= set(task):
            yield _flat(place, task)
            continue
        data, annotations = task['data'], task['annotations']
        if not isinstance(annotations, list) or not all(
            isinstance(one, dict) for one in (data, *annotations)
        ):
            raise ValueError(f'{place} has no data or annotations as Label Studio exports them.')
        for annotation in annotations:
            annotation = {'completed_by': '', 'was_cancelled': False} | annotation
            given = {NAME: _choices(place, annotation), 'annotator': _person(annotation)}
            yield _flat(place, data | given | {'was_cancelled': annotation['was_cancelled']})


def _flat(place: str, given: dict) -> Row:
    """The row of one annotation with the fields of its task."""
    fields = ('path', IMAGE, NAME, 'number', 'annotator', 'was_cancelled')
    given = dict.fromkeys(fields, '') | {name: v for name, v in given.items() if v is not None}
    name, label = given['path'] or given[IMAGE], given[NAME]
    if not isinstance(name, str) or not name:
        raise ValueError(f"{place} has no 'path' or '{IMAGE}': import {TASKS} as it was written.")
    if not isinstance(label, str) or label.startswith('{"choices"'):
        raise ValueError(f'{place} has several classes for {name}: choose one.')
    if str(given['was_cancelled']).lower() == 'true':
        label = label_file.SKIP
    if not given['path']:
        name = parse.unquote(name.rpartition('?d=')[2])
    return Row(place, name, label.strip(), str(given['annotator']), str(given['number']))


def _choices(place: str, annotation: dict) -> str | list:
    """The class of an annotation; a list if it has several, '' for none."""
    try:
        found = [choice for one in annotation['result'] for choice in one['value']['choices']]
    except (KeyError, TypeError) as error:
        raise ValueError(f'{place} has a result that is no choice of a class.') from error
    return found[0] if len(found) == 1 else found or ''


def _person(annotation: dict) -> str:
    of = annotation['completed_by']
    return str(of['email'] if isinstance(of, dict) and 'email' in of else of)


def _hotkey(place: int) -> str:
    return f' hotkey="{_KEYS[place]}"' if place < len(_KEYS) else ''
