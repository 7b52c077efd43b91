"""Time, passes and memory of k-center: python -m benchmarks.k_center --images=50000 --budget=2500

Features are those of --clusters normal clumps of unequal width, in a float16 file that is mapped into
memory, as mpl.active has them. Prints passes over the pool, seconds, and the peak of this process's memory with and without the file.
"""

import argparse
import tempfile
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np

from mpl.acquisition import distances, k_center
from mpl.run import memory

ROWS = 1 << 16  # written at a time


def measure(
    images: int, dimensions: int, budget: int, labeled: int, clusters: int, folder: str
) -> dict:
    """The numbers of one selection."""
    path, random = Path(folder) / 'features.npy', np.random.RandomState(0)
    rows = np.lib.format.open_memmap(path, 'w+', np.float16, (images, dimensions))
    centers = random.standard_normal((clusters, dimensions))
    widths = random.uniform(0.1, 1, (clusters, 1))
    for start in range(0, images, ROWS):
        own = random.randint(0, clusters, min(ROWS, images - start))
        noise = random.standard_normal((len(own), dimensions))
        rows[start : start + ROWS] = centers[own] + widths[own] * noise
    is_labeled = np.zeros(images, bool)
    is_labeled[random.permutation(images)[:labeled]] = True
    before, started = memory.peak(), time.monotonic()
    with mock.patch.object(distances, 'lower', wraps=distances.lower) as lower:
        found = k_center.make()(
            rows, np.zeros((0, images, 2)), is_labeled, ~is_labeled, budget, jax.random.key(0)
        )
    assert len(np.unique(found)) == budget
    return {
        'passes': lower.call_count,
        'seconds': time.monotonic() - started,
        'peak': memory.peak(),
        'before': before,
        'file': path.stat().st_size,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ('images', 50_000), ('dimensions', 64), ('budget', 2500), ('labeled', 0), ('clusters', 100)
    ):  # fmt: skip
        parser.add_argument(f'--{name}', type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(**vars(given), folder=folder)
    print(
        f'{given.budget:,} of {given.images:,} x {given.dimensions}, {given.labeled:,} labeled: '
        f'{found["passes"]} passes, {found["seconds"]:.1f} s; peak memory '
        f'{found["peak"] / 2**20:,.0f} MiB, {found["before"] / 2**20:,.0f} MiB before it; file '
        f'{found["file"] / 2**20:,.0f} MiB'
    )


if __name__ == '__main__':
    main()
