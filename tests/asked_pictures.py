"""A work directory whose pictures wait for labels."""

import numpy as np
from PIL import Image

from mpl.data import folder
from mpl.labeling import questions

CLASSES = ('cat', 'dog', 'red fox')


def make_photos(root, count=6):
    """Pictures of one color each in unlabeled/."""
    (root / 'unlabeled/more').mkdir(parents=True)
    for n in range(count):
        name = f'more/{n}.png' if n % 2 else f'{n} b.jpg'
        Image.fromarray(np.full((30, 20, 3), 255 * n // count, np.uint8)).save(
            root / 'unlabeled' / name
        )
    return root


def ask(tmp_path, numbers=(4, 0, 3, 1), cycle=0, forms=('table',), suggest=False):
    """The work directory with the questions of a cycle, and the questions."""
    root = tmp_path / 'photos'
    if not root.exists():
        make_photos(root)
    names = folder.make(str(root), 8, classes=CLASSES).train.name
    probability = np.tile([0.2, 0.7, 0.1], (len(numbers), 1))
    asked = questions.make(str(root), names, np.array(numbers), CLASSES, cycle, probability)
    workdir = tmp_path / 'al'
    questions.write(workdir / f'cycle_{cycle}', asked, forms, suggest)
    return workdir, asked


def fill(workdir, labels, cycle=0):
    """Writes labels into the rows of to_label.csv, in their order."""
    path = workdir / f'cycle_{cycle}/to_label.csv'
    first, *rows = path.read_text().splitlines()
    filled = [row + label for row, label in zip(rows, labels)] + rows[len(labels) :]
    path.write_text('\n'.join([first, *filled]) + '\n')
    return path
