"""The schema of a config: its sections, their keys, types and defaults.

config.py and sections.py complete and check configs by it.
"""

from typing import Annotated, NamedTuple

from mpl.models.lora import Lora


class Batch(NamedTuple):
    """Images per training step, over all devices, and per evaluation batch."""

    labeled: int
    unlabeled: int = 0
    evaluate: int = 512


class Split(NamedTuple):
    """Which training examples are labeled, unlabeled and held out.

    labels: total number of labeled examples, 0 for all. validation: number of examples to
    hold out, 0 if the source has a validation part. file: a saved split, instead of drawing
    one. unlabeled_only: names of classes that are not learned; their training images are
    unlabeled, and the other parts do not have them. imbalance: frequency of the first class
    divided by that of the last in training, see data.splits.draw; 1 keeps all examples. rare: names of
    the classes that imbalance makes rare, instead of all but the first.
    """

    labels: int = 0
    validation: int = 0
    unlabeled_includes_labeled: bool = True
    file: str = ''
    unlabeled_only: tuple = ()
    imbalance: float = 1.0
    rare: tuple = ()


class Every(NamedTuple):
    """Steps between two log lines, two evaluations, two checkpoints."""

    log: int = 50
    evaluate: int = 500
    save: int = 500


class Finetune(NamedTuple):
    """The last stage of MPL: the student alone, on the labeled images (section 3.2), without label smoothing.

    steps: 0 skips the stage. network: the network that it starts from, by its name in
    the report. labeled: images per step. optimizer: as in `networks`.
    """

    steps: int = 0
    network: str = 'student'
    labeled: int = 32
    optimizer: dict = {'name': 'sgd', 'learning_rate': 1e-4}


class InitFrom(NamedTuple):
    """Initial weights from another run or from a file.

    config: of the run that is trained for them before this one, without seed, source and split, which
    are copied from this run. workdir: another run; `network` is the name of its network. file: a
    .safetensors file with the names and layouts of timm, for models with a `from_timm`. hub: such a file
    of the Hugging Face Hub, 'timm/NAME', by launch/requirements-hub.txt. One of the four. head: 'keep'
    loads the last layer too, 'new' initializes it randomly, for other classes.
    projector: number of layers of the run's projector that are loaded too, into a model 'projected'.
    networks: the roles that load the weights; empty for all but heads on other networks' features.
    """

    config: dict = {}
    workdir: str = ''
    file: str = ''
    hub: str = ''
    network: str = 'student'
    head: str = 'keep'
    projector: int = 0
    networks: tuple = ()


class Teacher(NamedTuple):
    """The stage before training: a trained network labels all training examples once.

    config: of the run that trains the teacher, without seed, source and split, which are copied
    from this run; it may have a teacher too. workdir: a finished run of the same data and split,
    instead. logits: files of mpl.predict --split=train --logits, of runs of the same data and split,
    whose probabilities are averaged, instead. network: the teacher, by its name in the report.
    per_class: number of unlabeled examples to keep per class, the most confident; 0 keeps all.
    confidence: minimum probability of those. balance: repeats examples of smaller classes up to
    `per_class`.
    """

    config: dict = {}
    workdir: str = ''
    logits: tuple = ()
    network: str = 'student_ema'
    confidence: float = 0.0
    per_class: int = 0
    balance: bool = False


class Probe(NamedTuple):
    """Nearest neighbors on the features of every network while it trains, on validation.

    every: steps between two probes, 0 for none. neighbors, temperature: of the weighted vote, see
    neighbors.py. bank: maximum number of labeled images among which they are found. labels: 'split'
    gives it the labels of the run's split, 'all' those of all training images that have one.
    """

    every: int = 0
    neighbors: int = 20
    temperature: float = 0.07
    bank: int = 20000
    labels: str = 'split'


class Active(NamedTuple):
    """Which images to label next, cycle by cycle, by mpl.active; other commands refuse it.

    rule: a file of mpl/acquisition/ by name, and its arguments; empty for no active learning.
    start: images to label before the first training. start_from: 'random' draws them uniformly;
    'pixels' chooses them by the rule with standardized pixels as features, 'init_from' with
    features of those initial weights. budget: images to label per cycle. cycles: how often,
    after `start`. logits: what the rule gets: 'network', one pass over plain images; 'views',
    `passes` passes over random weak views; 'dropout', `passes` passes with random dropout masks;
    'labels', the true labels, an oracle for comparison. warm_start: each training starts from the
    student of the cycle before, not from scratch. patience: end before `cycles` if the accuracy on
    validation has risen by no more than its standard error in so many cycles in a row; 0 for never.
    minimum: answers of people after which a cycle may be trained; 0 for all. forms: in which people
    are asked, files of mpl/labeling/forms/. suggest: whether these show the class that the network
    of the cycle before predicts, which biases people.
    """

    rule: dict = {}
    start: int = 10
    start_from: str = 'random'
    budget: int = 10
    cycles: int = 5
    logits: str = 'network'
    passes: int = 1
    warm_start: bool = False
    patience: int = 0
    minimum: int = 0
    forms: tuple = ('table', 'sheets')
    suggest: bool = False


class Mesh(NamedTuple):
    """The device mesh, and the sharding of the state. Batches are sharded over groups of devices.

    model: devices per group; each image is sharded over them by columns. weights: 'whole'
    replicates the state (weights, optimizer state, averages); 'data' shards it over the groups,
    'model' over the devices of a group.
    """

    model: int = 1
    weights: str = 'whole'


class Run(NamedTuple):
    """Every section of a config.

    seed: of labels, initial weights, data order, views and all other random choices.
    average_mirrored: evaluate and predict with the mean of the features and of the logits of each
    image and its mirror image (also a teacher's logits). steps_per_call: maximum number of
    steps in one compiled call. resident_bytes: training sets up to this size stay on the
    device. track: what shows the metrics while they come, a file in mpl/run/trackers/; it does not
    belong to the identity of a run. Sections with a name are the arguments of `make` in the file of that name.
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
    probe: dict = {}
    active: dict = {}
    mesh: dict = {}
    seed: int = 0
    average_mirrored: bool = False
    steps_per_call: int = 10
    resident_bytes: int = 2**30
    track: str = 'tensorboard'


def network(
    model: dict, optimizer: dict, evaluation_mode: bool = False, lora: Annotated[dict, Lora] = {}
):
    """An entry of `networks`; only its arguments are read.

    evaluation_mode: train with fixed running batch statistics and without dropout. lora: adapters of
    dense layers, which optimizer.trained=('lora', 'head') trains alone.
    """


# Sections without a name -> class of their keys.
PLAIN = {
    'batch': Batch,
    'split': Split,
    'every': Every,
    'finetune': Finetune,
    'init_from': InitFrom,
    'teacher': Teacher,
    'probe': Probe,
    'active': Active,
    'mesh': Mesh,
}
# Sections with a name -> folder of mpl/ that has the file of that name.
NAMED = {'source': 'data', 'views': 'augment', 'algorithm': 'algorithms'}
# Arguments of `make` that are not config keys, but known at run time. A model without num_classes is a
# head: it takes the features of another network.
RUNTIME = {
    'models': ('num_classes',),
    'optimizers': ('steps',),
    'data': (),
    'augment': (),
    'acquisition': (),
}
# Sections with the config of a stage before training -> the folder of the stage, in order.
STAGES = {'init_from': 'pretrain', 'teacher': 'teacher'}
# Keys that the config of such a stage copies from the run.
SHARED = ('seed', 'source', 'split')
