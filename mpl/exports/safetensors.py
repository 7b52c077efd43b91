"""Weights with timm's names, and the config.json of timm's create_model, as Safetensors."""

import json

import jax
import numpy as np
import safetensors.numpy

from mpl.exports import model as models
from mpl.exports.interface import Format
from mpl.exports.model import Model
from mpl.models.network import Variables


def make() -> Format:
    """Weights alone: who runs them standardizes images as config.json says.

    Named model.safetensors, it is read by timm.create_model('local-dir:FOLDER', pretrained=True).
    """
    return Format('.safetensors', encode, decode)


def encode(model: Model) -> tuple[bytes, dict[str, bytes]]:
    """Raises ValueError if timm has no such model, or views that timm's config cannot state."""
    description, module = model.description, models.find_module(model.description)
    name = description['model']['name']
    if not hasattr(module, 'to_timm'):
        raise ValueError(
            f'The model {name} has no counterpart in timm; export it --to=stablehlo or --to=onnx.'
        )
    variables = {'params': model.variables.params, 'batch_stats': model.variables.batch_stats}
    shape = tuple(description['image_shape'])
    try:
        timm = module.to_timm(models.build(description), variables, shape)
    except ValueError as error:
        raise ValueError(
            f'The model {name} has no counterpart in timm ({error}) Export it --to=stablehlo or '
            '--to=onnx.'
        ) from error
    mean, std = standardization(description)
    height, width, channels = shape
    config = {
        'architecture': timm.architecture,
        'num_classes': len(description['classes']),
        'model_args': timm.arguments,
        'pretrained_cfg': {
            'input_size': [channels, height, width],
            'interpolation': 'bicubic',
            'crop_pct': description['central'],
            'mean': [value / 255 for value in mean],
            'std': [value / 255 for value in std],
            'num_classes': len(description['classes']),
            'label_names': description['classes'],
        },
    }
    content = safetensors.numpy.save(timm.tensors, {'format': 'pt'})
    return content, {'config.json': (json.dumps(config, indent=2) + '\n').encode()}


def decode(content: bytes, description: dict):
    try:
        tensors = safetensors.numpy.load(content)
    except Exception as error:  # Of many types.
        raise ValueError(f'The weights cannot be read ({error}); export them again.') from error
    module = models.find_module(description)
    found = module.from_timm(models.build(description), tensors, tuple(description['image_shape']))
    empty = {'batch_stats': {}} | found
    variables = Variables(empty['params'], empty['batch_stats'])
    call = jax.jit(models.make_forward(Model(description, variables)))
    return lambda image: np.asarray(call(image))


def standardization(description: dict) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel, in units of [0, 255], of the view of evaluation.

    Raises:
      ValueError: that view does more than standardize.
    """
    views = models.build_views(description)
    shape = tuple(description['image_shape'])
    image = np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint8)
    black, white, seen = (
        np.asarray(views.evaluate(x), np.float64)
        for x in (np.zeros_like(image), np.full_like(image, 255), image)
    )
    if black.shape == image.shape:
        std = 255 / (white - black)[0, 0, 0]
        mean = -black[0, 0, 0] * std
        if np.allclose(seen, (image - mean) / std, rtol=0, atol=1e-4):
            return mean.tolist(), std.tolist()
    raise ValueError(
        f'The views {description["views"]["name"]} of evaluation do more than standardize, which '
        "timm's config cannot state; export it --to=stablehlo or --to=onnx."
    )
