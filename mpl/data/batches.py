"""The batch of a step: from the examples on disk to the views on the devices.

    example indices -> images (host) -> device arrays -> views -> the algorithm's update
     stream.sample        read              make_fetch      augment

Every batch is a function of (seed, step), so a resumed run needs no saved state of the input.
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
    """The arguments, besides the step, that determine the batches of a run."""

    source: Source
    split: Split
    views: Any  # augment.views.Views
    sizes: Mapping[str, int]  # images per step over all devices, 'labeled' and 'unlabeled'
    seed: int
    mesh: Mesh
    resident_bytes: int  # a training set up to this size is kept on the devices
    logits: np.ndarray | None  # a teacher's logits, float32 [N, K], by example index


def crops_on_host(pipeline: Pipeline) -> bool:
    """Whether images are cropped on the host while they are decoded.

    True if views crop whole images, and `Pool.read` would return only a part of them.
    """
    crop = pipeline.views.crop
    return crop is not None and crop.whole and pipeline.source.train.crop is not None


def is_resident(pipeline: Pipeline) -> bool:
    """Whether the decoded training images are kept on the devices."""
    pool = pipeline.source.train
    if crops_on_host(pipeline):
        return False
    one = pool.read(np.zeros(1, np.int64))
    return one.nbytes * len(pool.label) <= pipeline.resident_bytes


def resident(pipeline: Pipeline) -> jax.Array | None:
    """The training images [N, H, W, C], replicated on every device; None if they are not kept there."""
    if not is_resident(pipeline):
        return None
    pool = pipeline.source.train
    image = pool.read(np.arange(len(pool.label)))
    replicated = sharding.replicated(pipeline.mesh)
    return jax.make_array_from_process_local_data(replicated, image, image.shape)


def make_fetch(pipeline: Pipeline, size: int) -> Callable[[int], dict]:
    """step -> the batches of the `size` steps from it on, on the devices; see `make_read`."""
    read = make_read(pipeline, size)
    return lambda step: jax.make_array_from_process_local_data(*read(step))


def make_read(pipeline: Pipeline, size: int) -> Callable[[int], tuple[Any, dict, Any]]:
    """Reads the batches of `size` steps: indices, labels, images, and a teacher's logits.

    Every process reads only the rows of its own devices.

    Returns:
      first step -> the shardings of the arrays, a prefix of the batch's tree; the batch, as numpy
      arrays [size, rows, ...]; and their shapes over all processes.
    """
    parts = {'labeled': pipeline.split.labeled}
    if pipeline.sizes['unlabeled']:
        parts['unlabeled'] = pipeline.split.unlabeled
    resident = is_resident(pipeline)
    rows, replicated = sharding.rows(pipeline.mesh, 1), sharding.replicated(pipeline.mesh)

    def read(step):  # A multiple of `size`, so the rows of its steps are those of one large batch.
        batch = {'step': np.arange(step, step + size, dtype=np.int32)}
        shardings, shapes = {'step': replicated}, {'step': (size,)}
        for name, examples in parts.items():
            count = pipeline.sizes[name]
            batch[name] = _read_part(pipeline, name, examples, step, size, resident)
            shardings[name] = rows
            shapes[name] = {
                key: (size, count, *value.shape[2:]) for key, value in batch[name].items()
            }
        return shardings, batch, shapes

    return read


def _read_part(pipeline, name, examples, step, size, resident):
    """The labeled or the unlabeled part of the batches of `size` steps, arrays [size, rows, ...]."""
    count, crop, pool = pipeline.sizes[name], pipeline.views.crop, pipeline.source.train
    local = sharding.local_rows(pipeline.mesh, count)
    sampled = stream.sample(pipeline.seed, name, step // size, size * count, examples)
    index = sampled.reshape(size, count)[:, local]
    bits = None
    if crop is not None:
        steps = range(step, step + size)
        bits = stream.bits(pipeline.seed, f'{name} crops', steps, count, crop.draws)
        bits = bits[:, local].reshape(index.size, crop.draws)
    part = {
        key: value.reshape(*index.shape, *value.shape[1:])
        for key, value in images(pipeline, index.ravel(), bits, resident).items()
    }
    part['index'] = index.astype(np.int32)
    if name == 'labeled':
        part['label'] = pool.label[index]
    if pipeline.logits is not None:
        part['logits'] = np.asarray(pipeline.logits[index])
    return part


def images(
    pipeline: Pipeline, index: np.ndarray, bits: np.ndarray | None, resident: bool = False
) -> dict[str, np.ndarray]:
    """The input of the views: 'image' [n, H, W, C], and 'box' [n, 4] if the device crops them.

    Args:
      pipeline: of the run.
      index: indices of training examples, int [n].
      bits: uint64 [n, views.crop.draws], random bits for the crops; None without crops.
      resident: whether the images are on the devices already; then only boxes are returned.
    """
    pool, crop = pipeline.source.train, pipeline.views.crop
    if crops_on_host(pipeline):

        def box(n, height, width):
            return crop.box(bits[n].tolist(), height, width)

        return {'image': pool.crop(index, box, crop.size)}
    part = {} if resident else {'image': pool.read(index)}
    if crop is not None:
        shape = pipeline.source.image_shape[:2]
        part['box'] = np.array([crop.box(row, *shape) for row in bits.tolist()], np.int32)
    return part


def zeros(pipeline: Pipeline, has_logits: bool) -> dict:
    """A batch of zeros, as the algorithm's update takes it; for its shapes."""
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
    """The batch of a step with its views, as the algorithm's update takes it, on the devices.

    Args:
      pipeline: of the run.
      batch: of one step, from `make_fetch`, without 'step'.
      resident: the result of the function `resident`.
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
    """The views of a batch of images, whose parts are as `images` returns them."""
    batch = {name: _crop(views, part) for name, part in batch.items()}
    labeled = batch['labeled']
    key = stream.derive(root, step, 'labeled')
    viewed = {'labeled': labeled | {'image': views.labeled(key, labeled['image'])}}
    if views.mix is not None and 'label' in labeled:
        mixed = views.mix(
            stream.derive(root, step, 'mix'), viewed['labeled']['image'], labeled['label']
        )
        viewed['labeled'] |= dict(zip(('image', 'label'), mixed))
        viewed['labeled'].pop('logits', None)  # They are of the image before mixing.
    if 'unlabeled' in batch:
        others = dict(batch['unlabeled'])
        image = others.pop('image')
        key = stream.derive(root, step, 'unlabeled')
        viewed['unlabeled'] = views.unlabeled(key, image) | others
    return viewed


def _crop(views, part):
    """The part of a batch with its images cropped to its boxes, if it has boxes."""
    if 'box' not in part:
        return part
    part = dict(part)
    return part | {'image': views.crop.cut(part['image'], part.pop('box'))}
