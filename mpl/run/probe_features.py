"""Features for the probes: of any layer of a network, of the network before training, of pixels."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpl.models import network
from mpl.run import experiment as experiments
from mpl.run import measure, weights
from mpl.run.experiment import Experiment
from mpl.run.probe_settings import Part

CELLS = 32  # maximum rows and columns of raw pixels; larger images are averaged over cells
UNTRAINED, PIXELS = 'untrained network', 'raw pixels'


def layer_shapes(experiment: Experiment, inner: str) -> dict[str, tuple[int, ...]]:
    """The shape [B, ...] of each layer of a network of the algorithm; 'features' first."""

    def outputs(state, image):
        frozen, image = (
            experiment.algorithm.networks(state)[inner],
            experiment.views.evaluate(image),
        )
        return network.predict(frozen, image).features, network.capture(frozen, image)

    dtype = experiment.source.train.read(np.zeros(0, np.int64)).dtype
    shape = (experiment.config.batch.evaluate, *experiment.source.image_shape)
    features, layers = jax.eval_shape(outputs, experiment.state, jax.ShapeDtypeStruct(shape, dtype))
    return {'features': features.shape} | {name: layer.shape for name, layer in layers.items()}


def compute(
    experiment: Experiment, state: Any, inner: str, layer: str, grid: int, parts: dict[str, Part]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Features float32 [n, D] of each part: of the network, of it before training, and pixels.

    Args:
      experiment: the run.
      state: of the run.
      inner: the network, by its name in the algorithm.
      layer: one of `layer_shapes`.
      grid: feature maps are averaged over grid x grid cells.
      parts: the examples.

    Yields:
      A name, '' for the network itself, and the features by part.
    """

    def of_layer(state, image):
        frozen = experiment.algorithm.networks(state)[inner]
        if layer == 'features':
            return network.predict(frozen, image).features.astype(jnp.float32)
        return average_cells(network.capture(frozen, image)[layer], grid, grid)

    @jax.jit  # Of the image alone, whether or not the run averages over mirror images.
    def of_pixels(state, image):
        image = experiment.views.evaluate(image)
        return average_cells(image, *(min(CELLS, size) for size in image.shape[1:3]))

    def by_part(forward, state):
        return {
            name: measure.outputs(experiment, forward, state, part.pool, part.indices)
            for name, part in parts.items()
        }

    forward = measure.compile_forward(experiment, of_layer)
    yield '', by_part(forward, state)
    starts = weights.from_images(experiment, experiment.definitions)
    yield UNTRAINED, by_part(forward, experiments.initialize(experiment, starts))
    yield PIXELS, by_part(of_pixels, state)


def average_cells(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """Means over cells of feature maps x [B, H, W, C], as float32 [B, rows * columns * C].

    Cell i of n covers the positions from floor(i H / n) to below ceil((i + 1) H / n). Of tokens
    [B, T, C] the mean, [B, C]; outputs [B, D] are returned as they are.
    """
    x = x.astype(jnp.float32)
    if x.ndim == 3:
        return x.mean(1)
    if x.ndim == 4 and x.shape[1:3] != (rows, columns):
        by_row, by_column = _average(rows, x.shape[1]), _average(columns, x.shape[2])
        x = jnp.einsum('rh,bhwc,sw->brsc', by_row, x, by_column, precision='highest')
    return x.reshape(len(x), -1)


def _average(cells: int, size: int) -> np.ndarray:
    """The matrix [cells, size] of the means over the cells of one axis."""
    matrix = np.zeros((cells, size), np.float32)
    for cell in range(cells):
        start, end = cell * size // cells, -(-(cell + 1) * size // cells)
        matrix[cell, start:end] = 1 / (end - start)
    return matrix
