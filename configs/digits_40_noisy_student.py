"""Noisy Student on the digits with 40 labels: rounds of a teacher that labels and a student that learns.

python -m mpl.train --config=configs/digits_40_noisy_student.py --workdir=runs/digits_40_noisy_student
python -m mpl.train --config=configs/digits_40_noisy_student.py:1 --workdir=runs/digits_40_noisy_student_1

Numbers: threshold, soft labels and balance of the released code (configs/noisy_student.py); 100 images
per class, about the average of the pool; labels and dropout tuned in one round by benchmarks/tune_digits.py
(six settings, seeds 100 to 102, validation); views of this repository's.
Result on test, the average of the weights, over 10 seeds: 93.2 ± 2.9 %; its first teacher, labels only,
85.9 ± 3.3 %. 90 s for all on a busy CPU core.
"""

from configs import digits, digits_40_supervised, noisy_student


def get_config(rounds: str = '3', labels: int = 40):
    """rounds: of students; the first learns from configs/digits_40_supervised.py."""
    student = digits.config(
        labels, dict(name='noisy_student', labels='soft', ema_decay=0.99), labeled='strong'
    )
    student.networks.student.model.dropout = 0.5
    teacher = digits_40_supervised.get_config(labels=labels)
    return noisy_student.rounds(teacher, student, int(rounds), per_class=100)
