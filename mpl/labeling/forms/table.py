"""Questions and answers as a table: to_label.csv, filled in with a spreadsheet or an editor."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from mpl.labeling.question_files import Asked, Row
from mpl.run import records

FILE = 'to_label.csv'
_NEEDED = ('path', 'label')
_KNOWN = ('number', 'path', 'rank', 'label', 'suggestion', 'confidence', 'annotator')


def write(folder: Path, asked: Asked, suggest: bool) -> None:
    """Writes to_label.csv: number, path, rank and an empty label for each image.

    suggest: adds the class that a network suggests, and its confidence.
    """
    if (folder / FILE).exists():  # It may have answers.
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(_KNOWN[: 6 if suggest else 4])
    for rank, (number, path) in enumerate(zip(asked.number, asked.path)):
        row = [number, path, rank + 1, '']
        if suggest:
            row += [asked.suggestion[rank], f'{asked.confidence[rank]:.4f}']
        writer.writerow(row)
    records.write_utf8(epath.Path(folder / FILE), text.getvalue())


def fits(path: Path) -> bool:
    """Whether a file is a table of this form."""
    return path.suffix.lower() in ('.csv', '.tsv') and set(_NEEDED) <= set(columns(path))


def read(path: Path) -> Iterator[Row]:
    """The answers of a table with the columns path and label, and optionally annotator.

    Fields are separated by commas, semicolons or tabs.

    Raises:
      ValueError: a row does not fit the first line.
    """
    header = columns(path)
    if unknown := [name for name in header if name not in _KNOWN]:
        raise ValueError(f'{path} has the column {unknown[0]!r}; allowed are {", ".join(_KNOWN)}.')
    for line, row in rows(path):
        place = f'Line {line} of {path}'
        if len(row) != len(header):
            raise ValueError(f'{place} has {len(row)} fields, but the first line {len(header)}.')
        given = dict.fromkeys(_KNOWN, '') | {n: v.strip() for n, v in zip(header, row)}
        yield Row(place, given['path'], given['label'], given['annotator'], given['number'])


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines after the first one, with their numbers."""
    text = _text(path)
    reader = csv.reader(text.splitlines(), delimiter=_separator(text))
    next(reader, None)
    for row in reader:
        if any(value.strip() for value in row):
            yield reader.line_num, row


def columns(path: Path) -> list[str]:
    text = _text(path)
    first = next(csv.reader(text.splitlines()[:1], delimiter=_separator(text)), [])
    return [name.strip() for name in first]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, ValueError) as error:
        raise ValueError(
            f'{path} cannot be read as UTF-8 ({error}): save it as CSV in UTF-8.'
        ) from error


def _separator(text: str) -> str:
    """The separator that is most frequent in the first line."""
    first = text.partition('\n')[0]
    return max((',', ';', '\t'), key=first.count)
