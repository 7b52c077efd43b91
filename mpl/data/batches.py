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

from mpl.data import cropping, stream
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


def is_resident(pipeline: Pipeline) -> bool:
    """Whether the decoded training images are kept on the devices."""
    pool = pipeline.source.train
    if any(cropping.on_host(pipeline.source, pipeline.views, name) for name in _examples(pipeline)):
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
    resident = is_resident(pipeline)
    rows, replicated = sharding.rows(pipeline.mesh, 1), sharding.replicated(pipeline.mesh)

    def read(step):  # A multiple of `size`, so the rows of its steps are those of one large batch.
        batch = {'step': np.arange(step, step + size, dtype=np.int32)}
        shardings, shapes = {'step': replicated}, {'step': (size,)}
        for name, examples in _examples(pipeline).items():
            count = pipeline.sizes[name]
            batch[name] = _read_part(pipeline, name, examples, step, size, resident)
            shardings[name] = rows
            shapes[name] = jax.tree.map(
                lambda value, count=count: (size, count, *value.shape[2:]), batch[name]
            )
        return shardings, batch, shapes

    return read


def _read_part(pipeline, name, examples, step, size, resident):
    """The labeled or the unlabeled part of the batches of `size` steps, arrays [size, rows, ...]."""
    count, pool = pipeline.sizes[name], pipeline.source.train
    local = sharding.local_rows(pipeline.mesh, count)
    sampled = stream.sample(pipeline.seed, name, step // size, size * count, examples)
    index = sampled.reshape(size, count)[:, local]
    bits = jax.tree.map(
        lambda drawn: drawn[:, local].reshape(index.size, drawn.shape[-1]),
        cropping.bits(pipeline.views, pipeline.seed, name, range(step, step + size), count),
    )
    part = jax.tree.map(
        lambda value: value.reshape(*index.shape, *value.shape[1:]),
        cropping.images(pipeline.source, pipeline.views, name, index.ravel(), bits, resident),
    )
    part['index'] = index.astype(np.int32)
    if name == 'labeled':
        part['label'] = pool.label[index]
    if pipeline.logits is not None:
        part['logits'] = np.asarray(pipeline.logits[index])
    return part


def _examples(pipeline):
    """The examples that each part of the batches is sampled from."""
    split = {'labeled': pipeline.split.labeled, 'unlabeled': pipeline.split.unlabeled}
    return {name: examples for name, examples in split.items() if pipeline.sizes[name]}


def zeros(pipeline: Pipeline, has_logits: bool) -> dict:
    """A batch of zeros, as the algorithm's update takes it; for its shapes."""
    shape, dtype = (
        pipeline.source.image_shape,
        pipeline.source.train.read(np.zeros(0, np.int64)).dtype,
    )
    batch = {}
    for name in _examples(pipeline):
        size, crop = pipeline.sizes[name], cropping.crop_of(pipeline.views, name)

        def cropped(one, size=size):
            return jnp.zeros((size, one.size, one.size, shape[-1]), dtype)

        image = (
            jnp.zeros((size, *shape), dtype) if crop is None else cropping.by_view(cropped, crop)
        )
        batch[name] = {'image': image, 'index': jnp.zeros(size, jnp.int32)}
        if has_logits:
            batch[name]['logits'] = jnp.zeros((size, len(pipeline.source.classes)))
        if name == 'labeled':
            batch[name]['label'] = jnp.zeros(size, jnp.int32)
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
    """The views of a batch of images, whose parts are as `cropping.images` returns them."""
    batch = {name: cropping.apply(views, name, part) for name, part in batch.items()}
    viewed = {}
    if 'labeled' in batch:
        labeled = batch['labeled']
        key = stream.derive(root, step, 'labeled')
        viewed['labeled'] = labeled | {'image': views.labeled(key, labeled['image'])}
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
