"""The schema of a config: its sections, their keys, types and defaults.

What completes and checks a config by it is in mpl/config.py and mpl/sections.py.
"""

from typing import NamedTuple


class Batch(NamedTuple):
    """Images per step over all devices, and per call when measuring."""

    labeled: int
    unlabeled: int = 0
    evaluate: int = 512


class Split(NamedTuple):
    """Which training examples are labeled, unlabeled and held out.

    labels: to keep in all, 0 for all. validation: to hold out, 0 where the source has
    a validation part. file: a split saved before, instead of a drawn one. unlabeled_only:
    names of classes that are not to be learned; their training images are unlabeled, and
    they are in no other part. imbalance: how many times as frequent the first class is in
    training as the last, see data.splits.draw; 1 leaves the classes as they are.
    """

    labels: int = 0
    validation: int = 0
    unlabeled_includes_labeled: bool = True
    file: str = ''
    unlabeled_only: tuple = ()
    imbalance: float = 1.0


class Every(NamedTuple):
    """Steps between two log lines, two evaluations, two checkpoints."""

    log: int = 50
    evaluate: int = 500
    save: int = 500


class Finetune(NamedTuple):
    """The last stage of MPL: the student alone, on the labeled images (section 3.2).

    steps: 0 leaves the stage out. network: whose weights it starts from, under their
    name in the report. labeled: images per step. optimizer: as in `networks`.
    """

    steps: int = 0
    network: str = 'student'
    labeled: int = 32
    optimizer: dict = {'name': 'sgd', 'learning_rate': 1e-4}


class InitFrom(NamedTuple):
    """Weights to start from, instead of random ones: of another run, or of a file.

    workdir: of another run, whose network `network` is taken. file: a .safetensors file
    with the names and layouts of timm, for models with a `from_timm`. Not both. head:
    'keep' takes the last layer too, 'new' draws it, for other classes. networks: the
    roles that start from it; none names all.
    """

    workdir: str = ''
    file: str = ''
    network: str = 'student'
    head: str = 'keep'
    networks: tuple = ()


class Teacher(NamedTuple):
    """The stage before: a trained network labels all training examples, once, for this run.

    config: of the run that trains it, whole, but for its seed, source and split, which are this
    run's; it may have a teacher of its own. workdir: a finished run of the same data and split,
    instead. network: whose labels, under its name in that run's report. per_class: unlabeled
    examples to keep of each class, the most confident; 0 keeps all. confidence: least probability
    of those. balance: repeats those of smaller classes until there are `per_class`.
    """

    config: dict = {}
    workdir: str = ''
    network: str = 'student_ema'
    confidence: float = 0.0
    per_class: int = 0
    balance: bool = False


class Mesh(NamedTuple):
    """How devices share the work. Examples are spread over groups of devices.

    model: devices in a group; they share each image, by its columns. weights: 'whole' keeps
    a copy of each weight on every device, 'data' one part in each group, 'model' one part on
    each device of a group; likewise what the optimizer keeps, and averages.
    """

    model: int = 1
    weights: str = 'whole'


class Run(NamedTuple):
    """Every section of a config.

    seed: draws labels, weights, order, views, everything. steps_per_call: most steps
    in one compiled call. resident_bytes: a training set up to this size stays on the
    device. Sections with a name are passed on to `make` of the file of that name.
    """

    steps: int
    source: dict
    batch: dict
    views: dict
    networks: dict
    algorithm: dict
    split: dict = {}
    every: dict = {}
    finetune: dict = {}
    init_from: dict = {}
    teacher: dict = {}
    mesh: dict = {}
    seed: int = 0
    steps_per_call: int = 10
    resident_bytes: int = 2**30


def network(model: dict, optimizer: dict, evaluation_mode: bool = False):
    """An entry of `networks`; only its arguments are read.

    evaluation_mode: train with running batch statistics, which then stay, and without dropout.
    """


# Sections without a name, with the class that holds their keys.
PLAIN = {
    'batch': Batch,
    'split': Split,
    'every': Every,
    'finetune': Finetune,
    'init_from': InitFrom,
    'teacher': Teacher,
    'mesh': Mesh,
}
# Sections with a name, with the folder of mpl/ that has a file of that name.
NAMED = {'source': 'data', 'views': 'augment', 'algorithm': 'algorithms'}
# Arguments of `make` that no config has: they are known at run time.
RUNTIME = {'models': ('num_classes',), 'optimizers': ('steps',), 'data': (), 'augment': ()}
# Keys of a run that the teacher trained for it shares.
SHARED = ('seed', 'source', 'split')
