"""Labels of a file of labels, laid over the files of a folder or CSV file."""

from pathlib import Path

from mpl.data import files, label_file, names


def apply(
    found: list[files.File], labels: Path, path: str, classes: tuple[str, ...]
) -> list[files.File]:
    """The files in the same order, those for training with the label that most annotators gave.

    An image with a tie, or with label_file.SKIP, keeps what it has.

    Args:
      found: of the folder or CSV file, see `files.find`.
      labels: the file of labels.
      path: of the folder or CSV file, for messages.
      classes: the names of all classes.

    Raises:
      ValueError: a row has another class or another image, or contradicts the folder.
    """
    place = {file.name: index for index, file in enumerate(found) if file.split == 'train'}
    rows, line = label_file.read(labels), {}
    for number, answer in rows:
        line[answer.path] = number
        if answer.path not in place:
            raise ValueError(
                f'Line {number} of {labels} is about {names.printable(answer.path)}, which is no '
                f'training picture in {path}: restore it, or give the labels of this folder.'
            )
        if answer.label not in (*classes, label_file.SKIP, ''):
            raise ValueError(
                f'Line {number} of {labels} has the class {answer.label!r}; the classes are '
                f'{", ".join(classes)}.'
            )
    labeled = list(found)
    for name, votes in label_file.votes(answer for _, answer in rows).items():
        label, file = label_file.majority(votes), found[place[name]]
        if label in (None, label_file.SKIP):
            continue
        if file.label not in (None, label):
            raise ValueError(
                f'Line {line[name]} of {labels} is about {names.printable(name)}, which is of class '
                f'{file.label!r} in {path}, but was answered {label!r}: correct one of them.'
            )
        labeled[place[name]] = file._replace(label=label)
    return labeled
