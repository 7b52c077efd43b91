"""How fast images are augmented: python -m benchmarks.augment

1. Every operation, and whole policies: images per second, beside Pillow image after image (from
   Pillow images in memory to arrays). On a CPU by processor time of all threads, which other work
   on the machine hardly changes, so per core; on an accelerator by wall time.
2. The ways to give each image of a batch an operation of its own: one layer of RandAugment.
3. What part of an MPL step with WRN-28-2 (float32, `exact`) the views of its batch take. The views
   are also timed at 128 + 896 images; where the step is too slow for that, its time is that at
   --labeled images, in proportion. The column `step` says which. And what part of a step of SimCLR with the
   networks of configs/laptop_pretrain.py the two crops of 256 images take, on made-up images.

Prints tables and writes JSON. Pin it to one core for numbers of one core: taskset -c 0.
"""

import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict
from PIL import Image
from tabulate import tabulate

from benchmarks import augment_pillow, step_time
from configs import cifar10
from mpl.augment import (
    affine,
    blur,
    color,
    hsv,
    images,
    layer,
    mix,
    ops,
    randaugment,
    released,
    resize,
    warp,
)
from mpl.augment.layer import Draw
from mpl.data import batches
from mpl.run import command, records
from mpl.run import config as configs
from mpl.run import experiment as experiments

PIXELS = 896 * 32**2  # of a batch, whatever the size of its images
PAIRED = ('cnn', 'fast_cnn')  # networks of a step of SimCLR
FULL = 128  # labeled images of the released batch; seven times as many are unlabeled
ARGUMENTS = randaugment.arguments('rising', 10.0, 4.0, 8)
POLICIES = {
    'weak: mirror, shift': images.geometry(mirror=True, shift=4, fill=0),
    'affine': affine.policy(
        rotate=15.0, shear=0.2, scale=(0.85, 1.15), translate=1.0, brightness=(0.6, 1.4),
        contrast=(0.7, 1.3), cutout=3, noise=10.0,
    ),
    'color': color.policy(),
    'color without blur': color.policy(0.4, 0.4, 0.4, 0.1, blurred=0.0),
    'randaugment': randaugment.policy(),
    'released': released.policy(),
}  # fmt: skip


def measure(work: Callable[[], object], seconds: float) -> dict:
    """Seconds of a call, medians of several: wall time, and processor time of all threads."""
    jax.block_until_ready(work())
    wall, busy = [], []
    while len(wall) < 3 or sum(wall) < seconds:
        started = time.perf_counter(), time.process_time()
        jax.block_until_ready(work())
        wall.append(time.perf_counter() - started[0])
        busy.append(time.process_time() - started[1])
    return {'wall': float(np.median(wall)), 'processor': float(np.median(busy))}


def rate(count: int, spent: dict) -> float:
    """Images per second, of one core on a CPU."""
    return count / spent['processor' if jax.default_backend() == 'cpu' else 'wall']


def make_operations(shape: tuple[int, ...]) -> dict[str, Callable]:
    """By name, (key, image float32 [B, H, W, C]) -> images; B, H, W, C are `shape`."""
    size, height, width = shape[:3]
    box = jnp.asarray(augment_pillow.boxes(size, height, width))
    map = jnp.asarray(augment_pillow.PERSPECTIVE)
    label = jnp.eye(10)[jnp.arange(size) % 10]

    def whole(name):
        operation, value = randaugment.LIBRARY[name], jnp.full(size, ARGUMENTS[name][0])
        place = jnp.tile(jnp.array([height // 2, width // 2]), (size, 1))
        draw = Draw(jnp.zeros(size, jnp.int32), value.astype(jnp.float32), place)
        return lambda key, image: layer.apply_jointly(image, draw, {name: operation})

    return {name: whole(name) for name in randaugment.LIBRARY} | {
        'affine, bilinear': lambda key, image: warp.bilinear(
            image, jnp.broadcast_to(map[:6], (size, 6)), ops.FILL
        ),
        'perspective, bilinear': lambda key, image: warp.bilinear(
            image, jnp.broadcast_to(map, (size, 8)), ops.FILL
        ),
        'grayscale': lambda key, image: jnp.broadcast_to(ops.grey(image), image.shape),
        'hue': lambda key, image: hsv.shift_hue(image, jnp.full(size, 0.1)),
        'blur': lambda key, image: blur.gaussian(
            image, jnp.full(size, augment_pillow.SIGMA), height // 10 // 2 * 2 + 1
        ),
        'resized crop, bilinear': lambda key, image: resize.resized_crop(
            image, box, shape[1:3], 'bilinear'
        ),
        'resized crop, bicubic': lambda key, image: resize.resized_crop(
            image, box, shape[1:3], 'bicubic'
        ),
        'mixup': lambda key, image: mix.mix_up(key, image, label, 1.0),
        'cutmix': lambda key, image: mix.cut_mix(key, image, label, 1.0),
    }


def draw_images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def one_by_one(function: Callable, count: int) -> list[np.ndarray]:
    return [np.asarray(function(number)) for number in range(count)]


def measure_images(count: int, size: int, seconds: float, names: list[str]) -> list[dict]:
    """Rows of operations and policies, on `count` images of `size` x `size` x 3; no names: all."""
    image, key, rows = draw_images(count, size), jax.random.key(0), []
    pictures = [Image.fromarray(one) for one in image]
    rng = random.Random(0)
    theirs = augment_pillow.make(pictures, ARGUMENTS, rng)
    for name, function in (make_operations(image.shape) | POLICIES).items():
        if names and name not in names:
            continue
        ours = jax.jit(lambda key, image, f=function: f(key, image.astype(jnp.float32)))
        on_device = jnp.asarray(image)
        row = {'what': name, 'size': size, 'batch': count}
        row['ours'] = measure(partial(ours, key, on_device), seconds)
        row['ours']['images_per_second'] = rate(count, row['ours'])
        if name in theirs:
            row['pillow'] = measure(partial(one_by_one, theirs[name], count), seconds)
            # Pillow runs on the CPU whatever the device, and in one thread.
            row['pillow']['images_per_second'] = count / row['pillow']['processor']
        rows.append(row)
    return rows


def each_of_all(image, draw, operations):
    """What `vmap` makes of a switch: every operation for every image, of which one is chosen."""

    def one(image, draw):
        draw = jax.tree.map(lambda leaf: leaf[None], draw)
        return layer.apply_singly(image[None], draw, operations)[0]

    return jax.vmap(one)(image, draw)


WAYS = {
    'vmap of a switch': each_of_all,
    'primitives over the batch': layer.apply_jointly,
    'loop over the images': layer.apply_singly,
    'layer.apply': layer.apply,
}


def measure_ways(count: int, size: int, seconds: float, names: list[str]) -> list[dict]:
    """Rows of one layer in every way. They agree in all pixels, but for the last bit of a blend."""
    image = jnp.asarray(draw_images(count, size), jnp.float32)
    operations = {name: randaugment.LIBRARY[name] for name in names or randaugment.OPERATIONS}
    argument = [ARGUMENTS[name] for name in operations]
    draw = randaugment.draw_layer(jax.random.key(1), image.shape, argument, jnp.ones(count))
    rows, results = [], []
    for way, apply in WAYS.items():
        program = jax.jit(lambda image, draw, apply=apply: apply(image, draw, operations))
        spent = measure(partial(program, image, draw), seconds)
        row = {'way': way, 'size': size, 'batch': count}
        rows.append(row | spent | {'images_per_second': rate(count, spent)})
        results.append(np.asarray(program(image, draw)))
    for row, result in zip(rows, results):
        row['largest_difference'] = float(np.abs(result - results[0]).max())
    return rows


def measure_share(
    config: ConfigDict, views: dict[str, ConfigDict], full: int, seconds: float
) -> list[dict]:
    """Rows: views beside the rest of a step, at the batch of the config and at `full` labeled images.

    Args:
      config: of the step.
      views: by name, sections `views` to measure, as `configs.complete` leaves them.
      full: a multiple of the labeled images of the config.
      seconds: to measure for, per number.
    """
    experiment = experiments.assemble(config, jax.devices()[:1])
    scale, root = full // config.batch.labeled, jax.random.key(0)
    pool, rest, rows = experiment.source.train, None, []

    def draw(scale):
        """Images as they come from the source, `scale` times the batch of the config."""
        result = {}
        for part in experiment.batch:
            number = np.arange(scale * config.batch[part]) % len(pool.label)
            result[part] = {'image': pool.read(number), 'index': number.astype(np.int32)}
        result['labeled']['label'] = pool.label[result['labeled']['index']].astype(np.int32)
        return jax.device_put(result)

    cases = {'measured': (1, draw(1))}
    if scale > 1:
        cases[f'{scale} x that of {config.batch.labeled}'] = scale, draw(scale)
    update = jax.jit(lambda state, batch: experiment.algorithm.update(state, batch, 0, root))
    for name, chosen in views.items():
        see = jax.jit(partial(_see, configs.build('augment', chosen)))
        for step, (times, batch) in cases.items():
            spent = measure(partial(see, batch, root), seconds)
            if rest is None:
                state = experiments.initialize(experiment)
                rest = measure(partial(update, state, see(batch, root)), seconds)
            whole = {clock: times * value for clock, value in rest.items()}
            sizes = [times * config.batch[part] for part in batch]
            rows.append(_share(name, step, sizes, spent, whole))
    return rows


def measure_pairs(name: str, config: ConfigDict, seconds: float) -> dict:
    """A row of `measure_share`: the views of a batch of the config, crops included, beside its update."""
    experiment, root = experiments.assemble(config, jax.devices()[:1]), jax.random.key(0)
    pipeline, resident = experiment.pipeline, batches.resident(experiment.pipeline)
    drawn = jax.tree.map(lambda leaf: leaf[0], batches.make_fetch(pipeline, 1)(0))
    drawn.pop('step')
    see = jax.jit(lambda batch: batches.augment(pipeline, batch, resident, root, 0))
    update = jax.jit(lambda state, batch: experiment.algorithm.update(state, batch, 0, root))
    spent = measure(partial(see, drawn), seconds)
    rest = measure(partial(update, experiments.initialize(experiment), see(drawn)), seconds)
    sizes = [config.batch.labeled, config.batch.unlabeled]
    return _share(name, 'measured', sizes, spent, rest)


def _share(views, step, sizes, spent, rest):
    """A row: seconds of views and of the update, by clock, for a batch of these sizes."""
    return {
        'views': views,
        'step': step,
        'views_seconds': spent,
        'update_seconds': rest,
        'batch': '+'.join(map(str, sizes)),
        'share': {clock: spent[clock] / (spent[clock] + rest[clock]) for clock in rest},
        'load': os.getloadavg()[0],
    }


def _see(views, batch, root):
    return batches.view(views, batch, root, 0)


def step_config(labeled: int, policy: str, pictures: str) -> ConfigDict:
    """MPL with WRN-28-2, with the views of the released recipe, or plain RandAugment in their place."""
    config = step_time.wide_resnet('mpl exact', pictures, labeled).to_dict()
    views = cifar10.data(4000)['views']
    if policy != 'released':
        views = views | {'strong': {'name': policy}}
    return configs.complete(config | {'views': views})


def pair_config(model: str) -> ConfigDict:
    """SimCLR with a network of configs/laptop.py, on made-up images of CIFAR-10's size."""
    config = configs.load(f'configs/laptop_pretrain.py:simclr,model={model}', []).to_dict()
    source = dict(name='synthetic', examples=2000)
    return configs.complete(config | {'source': source, 'split': {}})


def show(result: dict) -> str:
    """The tables."""
    lines = []
    for row in result['images']:
        ours, pillow = row['ours']['images_per_second'], row.get('pillow')
        lines.append([row['what'], row['size'], f'{ours:,.0f}'])
        lines[-1] += (
            [f'{pillow["images_per_second"]:,.0f}', f'{ours / pillow["images_per_second"]:.2f}']
            if pillow else ['-', '-']
        )  # fmt: skip
    headers = ['what', 'pixels', 'images/s', 'Pillow images/s', 'ratio']
    texts = [tabulate(lines, headers, colalign=['left'] + 4 * ['right'], disable_numparse=True)]
    lines = [
        [row['way'], row['size'], row['batch'], 1000 * row['wall'], 1000 * row['processor'],
         row['images_per_second'], row['largest_difference']]
        for row in result['ways']
    ]  # fmt: skip
    headers = ['one layer', 'pixels', 'batch', 'wall ms', 'processor ms', 'images/s', 'difference']
    texts.append(tabulate(lines, headers, floatfmt=',.4g'))
    lines = [
        [row['views'], row['batch'], *(1000 * row['views_seconds'][c] for c in ('wall', 'processor')),
         *(1000 * row['update_seconds'][c] for c in ('wall', 'processor')),
         *(f'{100 * row["share"][c]:.1f}' for c in ('wall', 'processor')), row['step'], row['load']]
        for row in result['share']
    ]  # fmt: skip
    headers = ['views', 'batch', 'ms', 'of processor', 'update ms', 'of processor',
               'share (%)', 'of processor', 'step', 'load']  # fmt: skip
    texts.append(tabulate(lines, headers, floatfmt=',.4g'))
    return '\n\n'.join(
        text for text, rows in zip(texts, ('images', 'ways', 'share')) if result[rows]
    )


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument('--json', type=Path, default=Path('benchmarks/out/augment.json'))
    parser.add_argument('--only', nargs='+', choices=('images', 'ways', 'share'))
    names = list(make_operations((1, 8, 8, 3)) | POLICIES)
    parser.add_argument('--what', nargs='+', default=[], choices=names, metavar='NAME')
    parser.add_argument('--sizes', nargs='+', type=int, default=(32, 224), help='in pixels')
    parser.add_argument('--seconds', type=float, default=1.0, help='of measuring, per number')
    parser.add_argument('--labeled', type=int, default=16, help='batch of the WRN-28-2 step')
    given = parser.parse_args()
    if FULL % given.labeled:
        raise ValueError(f'--labeled is {given.labeled}; give a divisor of {FULL}.')
    parts = given.only or ('images', 'ways', 'share')
    result = {'machine': step_time.describe_machine(), 'images': [], 'ways': [], 'share': []}
    result['machine']['device'] = jax.devices()[0].device_kind
    for size in given.sizes:
        count = max(1, PIXELS // size**2)
        if 'images' in parts:
            result['images'] += measure_images(count, size, given.seconds, given.what)
        if 'ways' in parts:
            result['ways'] += measure_ways(count, size, given.seconds, [])
    if 'share' in parts:
        with tempfile.TemporaryDirectory() as folder:
            step_time.draw_pictures(Path(folder))
            config = step_config(given.labeled, 'released', folder)
            views = {
                name: step_config(given.labeled, name, folder).views
                for name in ('randaugment', 'released')
            }
            result['share'] = measure_share(config, views, FULL, given.seconds)
        for model in PAIRED:
            result['share'].append(
                measure_pairs(f'pairs, {model}', pair_config(model), given.seconds)
            )
    given.json.parent.mkdir(parents=True, exist_ok=True)
    records.write_utf8(epath.Path(given.json), json.dumps(result, indent=2) + '\n')
    print(show(result))
    print(', '.join(f'{name} {value}' for name, value in result['machine'].items()))


if __name__ == '__main__':
    command.main(main)
