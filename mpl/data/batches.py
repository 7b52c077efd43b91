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


def crop_of(views: Any, name: str) -> Any:
    """The Crop of the part `name`, or {view: Crop} where each view has its own; None for whole images."""
    own = views.crops if name == 'unlabeled' else None
    return views.crop if own is None else own


def crops_on_host(pipeline: Pipeline, name: str) -> bool:
    """Whether the images of a part are cropped on the host while they are decoded.

    True if views crop whole images, and `Pool.read` would return only a part of them. With a crop for each
    view an image is decoded once for each.
    """
    crops = _leaves(crop_of(pipeline.views, name))
    return pipeline.source.train.crop is not None and any(crop.whole for crop in crops)


def is_resident(pipeline: Pipeline) -> bool:
    """Whether the decoded training images are kept on the devices."""
    pool = pipeline.source.train
    if any(crops_on_host(pipeline, name) for name in _examples(pipeline)):
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
        crop_bits(pipeline, name, range(step, step + size), count),
    )
    part = jax.tree.map(
        lambda value: value.reshape(*index.shape, *value.shape[1:]),
        images(pipeline, name, index.ravel(), bits, resident),
    )
    part['index'] = index.astype(np.int32)
    if name == 'labeled':
        part['label'] = pool.label[index]
    if pipeline.logits is not None:
        part['logits'] = np.asarray(pipeline.logits[index])
    return part


def crop_bits(pipeline: Pipeline, name: str, steps: range, count: int) -> Any:
    """The random bits of the crops of a part, uint64 [steps, count, draws]; by view as the crops are."""

    def draw(crop, purpose):
        return stream.bits(pipeline.seed, f'{purpose} crops', steps, count, crop.draws)

    crop = crop_of(pipeline.views, name)
    if isinstance(crop, dict):
        return {view: draw(one, f'{name} {view}') for view, one in crop.items()}
    return crop and draw(crop, name)


def images(
    pipeline: Pipeline, name: str, index: np.ndarray, bits: Any, resident: bool = False
) -> dict[str, Any]:
    """The input of the views: 'image' [n, H, W, C], and 'box' [n, 4] if the device crops them.

    Where each view has its own crop, the boxes are {view: [n, 4]}, or the images, cropped by the host,
    {view: [n, size, size, C]}.

    Args:
      pipeline: of the run.
      name: of the part, 'labeled' or 'unlabeled'.
      index: indices of training examples, int [n].
      bits: uint64 [n, draws] as of `crop_bits`, for the crops; None without crops.
      resident: whether the images are on the devices already; then only boxes are returned.
    """
    pool, crop = pipeline.source.train, crop_of(pipeline.views, name)
    if crops_on_host(pipeline, name):

        def cut(one, drawn):
            def box(n, height, width):
                return one.box(drawn[n].tolist(), height, width)

            return pool.crop(index, box, one.size)

        return {'image': _map(cut, crop, bits)}
    part = {} if resident else {'image': pool.read(index)}
    if crop is not None:
        shape = pipeline.source.image_shape[:2]

        def boxes(one, drawn):
            return np.array([one.box(row, *shape) for row in drawn.tolist()], np.int32)

        part['box'] = _map(boxes, crop, bits)
    return part


def _examples(pipeline):
    """The examples that each part of the batches is sampled from."""
    split = {'labeled': pipeline.split.labeled, 'unlabeled': pipeline.split.unlabeled}
    return {name: examples for name, examples in split.items() if pipeline.sizes[name]}


def _map(function, crop, *trees):
    """function(crop, *leaves), or {view: function(crop, *leaves)} where each view has its own crop."""
    return jax.tree.map(function, crop, *trees, is_leaf=_is_crop)


def _leaves(crop):
    return jax.tree.leaves(crop, is_leaf=_is_crop)


def _is_crop(value):
    return hasattr(value, 'box')


def zeros(pipeline: Pipeline, has_logits: bool) -> dict:
    """A batch of zeros, as the algorithm's update takes it; for its shapes."""
    shape, dtype = (
        pipeline.source.image_shape,
        pipeline.source.train.read(np.zeros(0, np.int64)).dtype,
    )
    batch = {}
    for name in _examples(pipeline):
        size, crop = pipeline.sizes[name], crop_of(pipeline.views, name)

        def cropped(one, size=size):
            return jnp.zeros((size, one.size, one.size, shape[-1]), dtype)

        image = jnp.zeros((size, *shape), dtype) if crop is None else _map(cropped, crop)
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
    """The views of a batch of images, whose parts are as `images` returns them."""
    batch = {name: apply_crops(views, name, part) for name, part in batch.items()}
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


def apply_crops(views: Any, name: str, part: dict) -> dict:
    """The part of a batch with its images cropped to its boxes, if it has boxes."""
    if 'box' not in part:
        return part
    part = dict(part)
    image, box = part['image'], part.pop('box')
    return part | {'image': _map(lambda one, box: one.cut(image, box), crop_of(views, name), box)}
