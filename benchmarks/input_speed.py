"""How fast pictures are read, and whether training waits for them: python -m benchmarks.input_speed

1. Reading: images per second and core, in processor time of one thread (which other work on the
   machine hardly changes), of CIFAR-10 records and of JPEG files for views of 224 pixels: parts
   cut out and resized on the host (Pillow), or pictures decoded whole on the host and cut on the
   device (this CPU's time for it is given; on an accelerator it takes none of the host's).
2. Threads and processes: images per second of wall time, for parts of JPEG files.
3. Steps: time per step of a run, mpl.train.fit, over that of the compiled step on a constant
   batch that is on the device, as in benchmarks.step_time. On a CPU host and device are the same
   cores, so decoding adds its own processor time to a step. What a run on an accelerator would
   wait for is shown with a stand-in: a step of given length that only sleeps.

Files are in the system's cache after the first pass: disks are not measured. Prints tables and
writes JSON.
"""

import functools
import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict
from PIL import Image
from tabulate import tabulate

from benchmarks import step_time
from mpl.augment import crops
from mpl.data import batches, folder, source, tfds
from mpl.run import command, records
from mpl.run import config as configs
from mpl.run import experiment as experiments

SIZE = 224
MADE = 64  # pictures, where no photos are at hand
RATES = (1_000, 4_000, 16_000)  # images per second of a step, for which cores are counted


def gather_photos(root: Path, data: Path) -> str:
    """A folder of two classes with the photos that are in `data`, or made ones of 500 x 375; says which."""
    found = sorted(p for p in (data / 'photos').rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg'))
    for number in range(len(found) or MADE):
        place = root / 'labeled' / str(number % 2) / f'{number}.jpg'
        place.parent.mkdir(parents=True, exist_ok=True)
        if found:
            place.symlink_to(found[number].resolve())
        else:
            noise = np.random.RandomState(number).randint(0, 256, (47, 63, 3), np.uint8)
            Image.fromarray(noise).resize((500, 375)).save(place, quality=90)
    return f'{len(found)} photos' if found else f'{MADE} made pictures of 500 x 375'


def box(bits: np.ndarray, place: int, height: int, width: int) -> tuple[int, int, int, int]:
    """The random part of views as for ImageNet."""
    return crops.sample_box(bits[place].tolist(), height, width, (0.08, 1.0), (3 / 4, 4 / 3))


def draw_bits(count: int) -> np.ndarray:
    return np.random.PCG64(0).random_raw((count, 4 * crops.TRIES))


def rate(work: Callable[[], object], images: int, seconds: float) -> float:
    """Images per second of this process's processor time, the best of several passes."""
    work()
    best, until = math.inf, time.process_time() + seconds
    while time.process_time() < until:
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return images / best


def measure_reading(photos: str, data: Path, seconds: float) -> list[dict]:
    """One thread each."""
    rows = []

    def add(what, work, images):
        rows.append({'what': what, 'images_per_second_and_core': rate(work, images, seconds)})

    if (data / 'cifar10').is_dir():
        started = time.process_time()
        pool = tfds.make('cifar10', str(data), train='test', test=None, keep_bytes=0, threads=1)
        pool = pool.train
        rows.append({'what': 'first start with 10,000 records', 's': time.process_time() - started})
        add('CIFAR-10 records, decoded', lambda: pool.read(np.arange(1000)), 1000)
        kept = source.from_arrays(pool.read(np.arange(10_000)), pool.label)
        order = np.random.RandomState(0).permutation(10_000)
        add('CIFAR-10 from memory', lambda: kept.read(order), 10_000)
    pool = folder.make(photos, SIZE, central=0.875, keep_bytes=0, threads=1).train
    count = len(pool.label)
    numbers, bits = np.arange(count), draw_bits(count)
    add('JPEG, middle of .875', lambda: pool.read(numbers), count)
    add(
        'JPEG, random parts cut on the host',
        lambda: pool.crop(numbers, functools.partial(box, bits), SIZE),
        count,
    )
    # A device wants pictures of one shape: 500 x 375, the part being all of them.
    whole = folder.make(photos, 375, keep_bytes=0, threads=1).train
    add('JPEG, whole for the device, 375 x 375', lambda: whole.read(numbers), count)
    image = jnp.asarray(whole.read(numbers[:16]))
    cut = jax.jit(crops.make(0.0, 1.0, SIZE).crop.cut)
    part = jnp.asarray([box(bits, n, 375, 375) for n in range(16)])
    add('parts cut on this device', lambda: cut(image, part).block_until_ready(), len(image))
    return rows


def read_parts(photos: str, count: int, threads: int) -> None:
    """Random parts of `count` pictures; the pool is kept between calls in a process."""
    pool = _pool(photos, threads)
    numbers = np.arange(count) % len(pool.label)
    pool.crop(numbers, functools.partial(box, draw_bits(count)), SIZE)


@functools.cache
def _pool(photos, threads):
    return folder.make(photos, SIZE, keep_bytes=0, threads=threads).train


def _read_in_processes(executor, photos, count, workers):
    share = [count // workers] * workers
    list(executor.map(read_parts, [photos] * workers, share, [1] * workers))


def measure_workers(
    photos: str, workers: list[int], rounds: int = 5, count: int = 256
) -> list[dict]:
    """Threads and processes by turns; pictures stay in the processes, which flatters them."""
    rows = []
    for number in workers:
        times = {'threads': [], 'processes': []}
        with futures.ProcessPoolExecutor(number, multiprocessing.get_context('spawn')) as executor:
            ways = {
                'threads': functools.partial(read_parts, photos, count, number),
                'processes': functools.partial(_read_in_processes, executor, photos, count, number),
            }
            for turn in range(rounds + 1):
                for name, way in ways.items():
                    started = time.perf_counter()
                    way()
                    if turn:  # the first opens files and starts processes
                        times[name].append(time.perf_counter() - started)
        for name, passes in times.items():
            rows.append(
                {'way': name, 'workers': number, 'images_per_second': count / np.median(passes)}
            )
    return rows


def small(source: dict, views: dict, strides: tuple, labeled: int, log: int) -> ConfigDict:
    """UDA of a small network, of endless length."""
    far = step_time.STEPS
    return configs.complete(
        {
            'steps': far,
            'source': source,
            'split': {'labels': 20},
            'batch': {'labeled': labeled, 'unlabeled': 3 * labeled},
            'views': {'mean': 120.0, 'std': 64.0, 'strong': {'name': 'randaugment'}} | views,
            'networks': {
                'student': {
                    'model': {'name': 'cnn', 'strides': strides},
                    'optimizer': {'name': 'sgd', 'learning_rate': 0.01},
                }
            },
            'algorithm': {'name': 'uda'},
            'every': {'log': log, 'evaluate': far, 'save': far},
            'steps_per_call': 1,
        }
    )


def measure_steps(photos: str, data: Path, seconds: float) -> list[dict]:
    """Runs over constant batches, on this machine's devices."""
    tasks = {}
    if (data / 'cifar10').is_dir():
        tasks['CIFAR-10 on the device'] = small(
            {'name': 'tfds', 'dataset': 'cifar10', 'data_dir': str(data), 'train': 'test', 'test': None},
            {'name': 'images', 'weak': {'mirror': True, 'shift': 4}},
            (1, 2, 2), 16, 20,
        )  # fmt: skip
    tasks[f'JPEG files, {SIZE} pixels'] = jpeg_config(photos, 8)
    rows = []
    for name, config in tasks.items():
        row = step_time.measure(config, seconds)
        busy = row['processor_ms']
        rows.append(
            {
                'task': name,
                'batch': row['batch'],
                'loop_ms': row['loop_ms']['median'],
                'constant_ms': row['compiled_ms']['median'],
                'ratio': 1 / (1 - row['share_outside']),
                'processor_ratio': busy['loop'] / busy['compiled'],
                'load': row['load'][0],
            }
        )
    return rows


def jpeg_config(photos: str, labeled: int) -> ConfigDict:
    source = {'name': 'folder', 'path': photos, 'size': SIZE, 'central': 0.875, 'keep_bytes': 0}
    return small(source, {'name': 'crops', 'size': SIZE}, (4, 2, 2), labeled, 2)


def measure_waits(photos: str, shares: tuple[float, ...], seconds: float) -> list[dict]:
    """Runs on JPEG files whose steps only sleep.

    shares: of the rate at which this machine's cores, doing nothing else, read pictures.
    """
    cores = len(os.sched_getaffinity(0))
    config = jpeg_config(photos, 16)
    experiment = experiments.assemble(config)
    fetch = batches.make_fetch(experiment.pipeline, 1)
    fetch(0)
    spent, started = time.process_time(), time.perf_counter()
    list(futures.ThreadPoolExecutor(2).map(fetch, range(6)))
    spent, least = (time.process_time() - spent) / 6, (time.perf_counter() - started) / 6
    values = jax.eval_shape(
        experiment.algorithm.update, experiment.state, experiment.batch, 0, jax.random.key(0)
    )[1]
    told = {name: np.zeros(1, np.float32) for name in values}
    rows = []
    for share in shares:
        length = least / share

        def step(state, resident, batch, root, length=length):
            jax.block_until_ready(batch)
            time.sleep(length)
            return state, told

        times, busy = step_time.time_loop(experiment, step, None, seconds)
        images = config.batch.labeled + config.batch.unlabeled
        rows.append(
            {
                'images_per_second_asked': images / length,
                'cores': cores,
                'reading_ms': 1000 * spent,
                'step_ms': 1000 * length,
                'loop_ms': 1000 * float(np.median(times)),
                'ratio': float(np.median(times)) / length,
                'load': os.getloadavg()[0],
            }
        )
    return rows


def show(result: dict) -> str:
    """The tables."""
    texts = [f'JPEG files: {result["photos"]}']
    for name in ('reading', 'workers', 'steps', 'waits'):
        rows = [{k: v for k, v in row.items() if k != 'batch'} for row in result[name]]
        texts.append(tabulate(rows, 'keys', floatfmt=',.4g'))
    host = {row['what']: row.get('images_per_second_and_core') for row in result['reading']}
    host = host['JPEG, random parts cut on the host']
    texts.append(
        f'Cores that a step needs at {host:,.0f} images/s each: '
        + ', '.join(f'{math.ceil(rate / host)} for {rate:,} images/s' for rate in RATES)
    )
    return '\n\n'.join(texts)


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument('--json', type=Path, default=Path('benchmarks/out/input_speed.json'))
    parser.add_argument('--data', type=Path, default=Path('../shared/data'))
    parser.add_argument('--seconds', type=float, default=5.0, help='of measuring, per row')
    given = parser.parse_args()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    result = {'machine': step_time.describe_machine()}
    with tempfile.TemporaryDirectory() as photos:
        result['photos'] = gather_photos(Path(photos), given.data)
        result['reading'] = measure_reading(photos, given.data, given.seconds)
        workers = sorted({1, len(os.sched_getaffinity(0))})
        result['workers'] = measure_workers(photos, workers)
        result['steps'] = measure_steps(photos, given.data, 4 * given.seconds)
        result['waits'] = measure_waits(photos, (0.5, 0.8, 1.2), 2 * given.seconds)
    records.write_utf8(epath.Path(given.json), json.dumps(result, indent=2) + '\n')
    print(show(result))
    print(', '.join(f'{name} {value}' for name, value in result['machine'].items()))


if __name__ == '__main__':
    command.main(main)
