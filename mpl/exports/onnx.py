"""ONNX by jax2onnx (launch/requirements-onnx.txt), run by onnxruntime."""

import importlib
import logging

import jax
from jax import export as jax_export

from mpl.exports.interface import Format
from mpl.exports.model import Model, make_forward

INSTALL = 'install it with: pip install -r launch/requirements-onnx.txt'


def make() -> Format:
    """uint8 images [B, H, W, C] -> logits [B, K], B free; standardization is part of the graph."""
    return Format('.onnx', encode, decode)


def encode(model: Model) -> tuple[bytes, dict[str, bytes]]:
    jax2onnx = _import('jax2onnx')
    logging.getLogger('onnx_ir').setLevel(logging.ERROR)  # It warns of shapes in every graph.
    (batch,) = jax_export.symbolic_shape('batch')
    shape = (batch, *model.description['image_shape'])
    image = jax.ShapeDtypeStruct(shape, model.description['dtype'])
    try:
        graph = jax2onnx.to_onnx(
            make_forward(model),
            [image],
            model_name=model.description['network'],
            input_names=['image'],
            output_names=['logits'],
        )
        return graph.SerializeToString(), {}
    except Exception as error:  # Of many types, such as an operation that jax2onnx does not know.
        raise ValueError(
            f'jax2onnx cannot convert this network ({type(error).__name__}: {error}); export it '
            '--to=stablehlo.'
        ) from error


def decode(content: bytes, description: dict):
    onnxruntime = _import('onnxruntime')
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # Errors: jax2onnx states some shapes without need.
        session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # Of many types.
        raise ValueError(
            f'onnxruntime {onnxruntime.__version__} cannot read the graph ({error}); export it again.'
        ) from error
    return lambda image: session.run(['logits'], {'image': image})[0]


def _import(name):
    """An optional package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f'The format onnx needs {name}, which is not there; {INSTALL}.') from error
