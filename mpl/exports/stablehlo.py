"""StableHLO by jax.export: one file for CPUs, CUDA GPUs and TPUs, run by jax alone."""

import jax
import numpy as np
from jax import export as jax_export

from mpl.exports.interface import Format
from mpl.exports.model import Model, make_forward

PLATFORMS = ('cpu', 'cuda', 'tpu')


def make() -> Format:
    """uint8 images [B, H, W, C] -> logits [B, K], B free; standardization is part of the program."""
    return Format('.stablehlo', encode, decode)


def encode(model: Model) -> tuple[bytes, dict[str, bytes]]:
    (batch,) = jax_export.symbolic_shape('batch')
    shape = (batch, *model.description['image_shape'])
    image = jax.ShapeDtypeStruct(shape, model.description['dtype'])
    program = jax_export.export(jax.jit(make_forward(model)), platforms=PLATFORMS)(image)
    return bytes(program.serialize()), {}


def decode(content: bytes, description: dict):
    try:
        program = jax_export.deserialize(bytearray(content))
        call = jax.jit(program.call)
    except Exception as error:  # Of many types.
        raise ValueError(
            f'The program cannot be read by jax {jax.__version__} ({error}); export it again with '
            'this version.'
        ) from error
    return lambda image: np.asarray(call(image))
