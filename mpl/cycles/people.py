"""Labels from people: asks for them, and reads what they have answered."""


class Waiting(Exception):
    """Images wait for labels; the message says what to do."""


def answer(study, cycle, numbers):
    raise ValueError('The source has images without a label.')
