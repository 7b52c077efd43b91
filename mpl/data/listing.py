"""Pictures listed in a CSV file: path, label and optionally split."""

import csv
from pathlib import Path

from mpl.data import names, walk

SPLITS = ('train', 'validation', 'test')
Row = tuple[str, str, str | None, int, walk.Identity]  # name, split, label, bytes, identity


def read(path: Path) -> list[Row]:
    """The rows of the file; a name is the path in the file, with / between folders.

    Spaces around a value are dropped. Only paths may have bytes that are not UTF-8.

    Raises ValueError if the file cannot be read, a row is invalid or its image does not exist.
    """
    found = []
    try:
        with open(path, newline='', encoding='utf-8-sig', errors='surrogateescape') as handle:
            rows = csv.DictReader(handle, strict=True)
            columns = rows.fieldnames or []
            if not {'path', 'label'} <= set(columns) <= {'path', 'label', 'split'} or len(
                columns
            ) > len(set(columns)):
                raise ValueError(
                    f'{path} has the columns {columns}: its first line must be path,label or path,label,split.'
                )
            for row in rows:
                found.append(_row(path, rows.line_num, row))
    except csv.Error as error:
        raise ValueError(f'{path} cannot be read as CSV in UTF-8: {error}.') from error
    if not found:
        raise ValueError(f'{path} lists no pictures: add one line for each, path,label.')
    return found


def _row(path: Path, line: int, row: dict) -> Row:
    if None in row or None in row.values():
        raise ValueError(f'Line {line} of {path} does not have as many fields as the first line.')
    row = {column: value.strip() for column, value in row.items()}
    name, label = Path(row['path']).as_posix(), row['label'] or None
    split = row['split'] if 'split' in row and row['split'] else 'train'
    if not all(names.is_utf8(value) for column, value in row.items() if column != 'path'):
        raise ValueError(
            f'{path} cannot be read as CSV in UTF-8: the label or split in line {line} is of other '
            'bytes; save the file in UTF-8.'
        )
    if split not in SPLITS:
        raise ValueError(
            f'Line {line} of {path} has the split {split!r}: allowed are {", ".join(SPLITS)}.'
        )
    if label is None and split != 'train':
        raise ValueError(f'Line {line} of {path} has no label: pictures for {split} need one.')
    try:
        picture = walk.regular(str(path.parent / name))
    except ValueError as error:
        raise ValueError(
            f'Line {line} of {path} names {row["path"]!r}, but {error} in {path.parent}: paths are '
            'relative to the folder of the CSV file, with / between folders.'
        ) from error
    return name, split, label, picture.size, picture.identity
