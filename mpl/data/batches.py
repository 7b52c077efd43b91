"""All that makes the batch of a step, from the examples on disk to the views on the devices.

    example indices -> images (host) -> device arrays -> views -> the algorithm's update
     stream.sample        read              make_fetch      augment

Every batch is a function of (seed, step): nothing has to be saved to go on with it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mpl.data import stream
from mpl.data.source import Source
from mpl.data.splits import Split
from mpl.parallel import sharding


class Pipeline(NamedTuple):
    """What the batches of a run are a function of, besides the step."""

    source: Source
    split: Split
    views: Any  # augment.views.Views
    sizes: Mapping[str, int]  # images per step over all devices, 'labeled' and 'unlabeled'
    seed: int
    mesh: Mesh
    resident_bytes: int  # a training set up to this size stays on the devices
    logits: np.ndarray | None  # float32 [N, K] of a teacher, by example index


def crops_on_host(pipeline: Pipeline) -> bool:
    """Whether crops are cut out of encoded pictures: where `Pool.read` does not give the whole of them."""
    crop = pipeline.views.crop
    return crop is not None and crop.whole and pipeline.source.train.crop is not None


def is_resident(pipeline: Pipeline) -> bool:
    """Whether the training images stay on the devices, decoded."""
    pool = pipeline.source.train
    if crops_on_host(pipeline):
        return False
    one = pool.read(np.zeros(1, np.int64))
    return one.nbytes * len(pool.label) <= pipeline.resident_bytes


def resident(pipeline: Pipeline) -> jax.Array | None:
    """The training images [N, H, W, C] on every device, where they stay there; else None."""
    if not is_resident(pipeline):
        return None
    pool = pipeline.source.train
    everything = pool.read(np.arange(len(pool.label)))
    place = sharding.replicated(pipeline.mesh)
    return jax.make_array_from_process_local_data(place, everything, everything.shape)


def make_fetch(pipeline: Pipeline, size: int) -> Callable[[int], dict]:
    """The batches of `size` steps from a step on, on the devices: see `make_read`."""
    read = make_read(pipeline, size)
    return lambda step: jax.make_array_from_process_local_data(*read(step))


def make_read(pipeline: Pipeline, size: int) -> Callable[[int], tuple[Any, dict, Any]]:
    """The batches of `size` steps from a step on: indices, labels, images, and a teacher's logits.

    Every process reads the rows of its own devices alone.

    Returns:
      step -> the shardings of the arrays, a tree that begins as the batch does; the batch, as numpy
      arrays [size, rows, ...]; and their shapes over all processes.
    """
    parts = {'labeled': pipeline.split.labeled}
    if pipeline.sizes['unlabeled']:
        parts['unlabeled'] = pipeline.split.unlabeled
    stays = is_resident(pipeline)
    rows, everywhere = sharding.rows(pipeline.mesh, 1), sharding.replicated(pipeline.mesh)

    def read(step):  # A multiple of `size`, so the rows of its steps are those of one large batch.
        batch, places = {'step': np.arange(step, step + size, dtype=np.int32)}, {'step': everywhere}
        shapes = {'step': (size,)}
        for name, examples in parts.items():
            count = pipeline.sizes[name]
            batch[name] = _read_part(pipeline, name, examples, step, size, stays)
            places[name] = rows
            shapes[name] = {
                key: (size, count, *value.shape[2:]) for key, value in batch[name].items()
            }
        return places, batch, shapes

    return read


def _read_part(pipeline, name, examples, step, size, stays):
    """The labeled or the unlabeled part of the batches of `size` steps, arrays [size, rows, ...]."""
    count, crop, pool = pipeline.sizes[name], pipeline.views.crop, pipeline.source.train
    mine = sharding.local_rows(pipeline.mesh, count)
    drawn = stream.sample(pipeline.seed, name, step // size, size * count, examples)
    index = drawn.reshape(size, count)[:, mine]
    bits = None
    if crop is not None:
        steps = range(step, step + size)
        bits = stream.bits(pipeline.seed, f'{name} crops', steps, count, crop.draws)
        bits = bits[:, mine].reshape(index.size, crop.draws)
    part = {
        key: value.reshape(*index.shape, *value.shape[1:])
        for key, value in images(pipeline, index.ravel(), bits, stays).items()
    }
    part['index'] = index.astype(np.int32)
    if name == 'labeled':
        part['label'] = pool.label[index]
    if pipeline.logits is not None:
        part['logits'] = np.asarray(pipeline.logits[index])
    return part


def images(
    pipeline: Pipeline, index: np.ndarray, bits: np.ndarray | None, stays: bool = False
) -> dict[str, np.ndarray]:
    """What views are made of: 'image' [n, H, W, C], and 'box' [n, 4] where a crop is yet to be cut out.

    Args:
      pipeline: of the run.
      index: of training examples, int [n].
      bits: uint64 [n, views.crop.draws], which choose the crops; None where views have none.
      stays: whether the images are on the devices already; only boxes are made then.
    """
    pool, crop = pipeline.source.train, pipeline.views.crop
    if crops_on_host(pipeline):

        def box(n, height, width):
            return crop.box(bits[n].tolist(), height, width)

        return {'image': pool.crop(index, box, crop.size)}
    seen = {} if stays else {'image': pool.read(index)}
    if crop is not None:
        shape = pipeline.source.image_shape[:2]
        seen['box'] = np.array([crop.box(row, *shape) for row in bits.tolist()], np.int32)
    return seen


def zeros(pipeline: Pipeline, has_logits: bool) -> dict:
    """The batch of a step with every number 0, as the algorithm's update takes it; for its shapes."""
    shape, dtype = (
        pipeline.source.image_shape,
        pipeline.source.train.read(np.zeros(0, np.int64)).dtype,
    )
    crop = pipeline.views.crop
    if crop is not None:
        shape = (crop.size, crop.size, shape[-1])
    batch = {}
    for name in ('labeled', 'unlabeled'):
        size = pipeline.sizes[name]
        if size:
            index = jnp.zeros(size, jnp.int32)
            batch[name] = {'image': jnp.zeros((size, *shape), dtype), 'index': index}
            if has_logits:
                batch[name]['logits'] = jnp.zeros((size, len(pipeline.source.classes)))
    batch['labeled']['label'] = jnp.zeros(pipeline.sizes['labeled'], jnp.int32)
    return view(pipeline.views, batch, jax.random.key(0), 0)


def augment(
    pipeline: Pipeline, batch: dict, resident: jax.Array | None, root: jax.Array, step: jax.Array
) -> dict:
    """The batch of a step as the algorithm's update takes it, on the devices.

    Args:
      pipeline: of the run.
      batch: of one step, as `make_fetch` gives it, without 'step'.
      resident: as of the function of that name.
      root: the root key of the run.
      step: int32.
    """
    if resident is not None:
        batch = {name: part | {'image': resident[part['index']]} for name, part in batch.items()}
    batch = sharding.shard_over_devices(batch, pipeline.mesh)
    with jax.sharding.use_abstract_mesh(pipeline.mesh.abstract_mesh):
        batch = view(pipeline.views, batch, root, step)
    return sharding.shard_over_groups(batch, pipeline.mesh)


def view(views: Any, batch: dict, root: jax.Array, step: jax.Array | int) -> dict:
    """The views of a batch, from one of what `images` gives."""
    batch = {name: _cut(views, part) for name, part in batch.items()}
    labeled = batch['labeled']
    key = stream.derive(root, step, 'labeled')
    seen = {'labeled': labeled | {'image': views.labeled(key, labeled['image'])}}
    if views.mix is not None and 'label' in labeled:
        mixed = views.mix(
            stream.derive(root, step, 'mix'), seen['labeled']['image'], labeled['label']
        )
        seen['labeled'] |= dict(zip(('image', 'label'), mixed))
        seen['labeled'].pop('logits', None)  # The teacher gave none for a mixed image.
    if 'unlabeled' in batch:
        others = dict(batch['unlabeled'])
        image = others.pop('image')
        key = stream.derive(root, step, 'unlabeled')
        seen['unlabeled'] = views.unlabeled(key, image) | others
    return seen


def _cut(views, part):
    """The part of a batch with its crops cut out of the images, where it has boxes."""
    if 'box' not in part:
        return part
    part = dict(part)
    return part | {'image': views.crop.cut(part['image'], part.pop('box'))}
