"""The hyperparameters of Noisy Student (arXiv 1911.04252), from its released code: its rounds, and EfficientNet.

RMSProp with momentum 0.9, decay 0.9 and epsilon 0.001, a rate of 0.016 for a batch of 256, times 0.97
every 2.4 of 350 epochs, 5 epochs of warm-up; an average of the weights; RandAugment N = 2, M = 27
with SolarizeAdd beside the other 15 operations; dropout 0.5 and stochastic depth 0.2. For B7, and
here for the larger networks too. Batch norm computes over the whole batch.
"""

from . import paper

EPOCHS = 350
STEPS = 109_474  # of 4,096 images: 350 epochs
OPERATIONS = (
    'AutoContrast',
    'Equalize',
    'Invert',
    'Rotate',
    'Posterize',
    'Solarize',
    'SolarizeAdd',
    'Color',
    'Contrast',
    'Brightness',
    'Sharpness',
    'ShearX',
    'ShearY',
    'TranslateX',
    'TranslateY',
    'Cutout',
)
COMMON = dict(label_smoothing=0.1, ema_decay=0.9999)
SIZES = {'b7': 600, 'l2': 475, 'b6_wide': 512}  # pixels


def rounds(teacher, student, count: int, per_class: int):
    """The student after `count` rounds; the student of each round is the teacher of the next.

    As in the released code: soft labels of the averaged network, computed without noise. Images with a
    confidence below 0.3 are dropped, the most confident of each class are kept, and those of smaller
    classes are repeated.

    Args:
      teacher: config of the first teacher.
      student: config of the students.
      count: at least 1.
      per_class: unlabeled examples per class.
    """
    if count < 1:
        raise ValueError(f'There are {count} rounds; give 1 or more.')
    for _ in range(count):
        config = student.copy_and_resolve_references()
        config.teacher = dict(
            config=teacher.to_dict(), confidence=0.3, per_class=per_class, balance=True
        )
        teacher = config
    return teacher


def small(data: dict, column: str, per_class: int, ratio: int, count: int = 3):
    """Rounds on small images; network, optimizer and steps are those of configs/paper.py (recalled).

    The noise: strong views of all images, and dropout. The student is as large as its teacher.

    Args:
      data: as in recipes.config.
      column: of the tables of configs/paper.py.
      per_class: as in `rounds`.
      ratio: of unlabeled to labeled images in a step, which is the weight of their loss too.
      count: of rounds, three as in the paper.
    """
    student, teacher = paper.pseudo_label(data, column), paper.supervised(data, column)
    student.batch.unlabeled = ratio * student.batch.labeled
    student.algorithm = dict(
        name='noisy_student',
        weight=float(ratio),
        label_smoothing=0.1,
        ema_decay=student.algorithm.ema_decay,
    )
    teacher.views.labeled = student.views.labeled = 'strong'
    return rounds(teacher, student, count, per_class)


def rmsprop(steps: int, batch: int) -> dict:
    """The optimizer for a run of `steps` steps with `batch` labeled images each."""
    return dict(
        name='rmsprop',
        learning_rate=0.016 * batch / 256,
        schedule='exponential',
        warmup_steps=round(5 / EPOCHS * steps),
        decay_rate=0.97,
        decay_steps=round(2.4 / EPOCHS * steps),
        weight_decay=1e-5,
    )
