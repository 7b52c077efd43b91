"""Selection from a pool of a hundred million images: python -m benchmarks.selection

The scores of --examples images, of which the best --per_class of each of --classes are kept as in
the ResNet-50 experiment of Meta Pseudo Labels (arXiv 2003.10580, section 4.1: 12,800 of each of 1,000
classes), by the code behind mpl.select, in one process or, with --shards, one share after another
and then the merge of all. Scores are drawn as they are asked for: pools of that size are not at hand,
and reading and scoring logits is measured apart, on --rows of them. Prints a table and writes JSON.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tabulate import tabulate

from mpl.data import selection
from mpl.data.selection import Part, Rule


def draw(first: int, last: int, rows: int, classes: int) -> Iterator[Part]:
    """Scores of the images from `first` to `last`, so many at a time; classes of unequal size."""
    for start in range(first, last, rows):
        random = np.random.default_rng([0, start])
        size = min(rows, last - start)
        label = (classes * random.random(size) ** 2).astype(np.int32)
        counts = np.array([size, 0, 0, 0], np.int64)
        yield Part(np.arange(start, start + size), label, random.random(size), counts)


def measure(name: str, images: int, work) -> tuple[dict, object]:
    """A row of the table, and what the work gave."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.process_time() - processor
    return {
        'what': name,
        'images': images,
        'wall_s': time.perf_counter() - wall,
        'processor_s': seconds,
        'images_per_s': images / seconds,
        'peak_mib_so_far': peak,
    }, result


def run(examples: int, classes: int, per_class: int, shards: int, rows: int) -> list[dict]:
    """The rows of the table."""
    rule, most = Rule(per_class=per_class), per_class * classes
    logits = np.random.default_rng(0).normal(size=(rows, classes)).astype(np.float32)
    scored, _ = measure(
        'logits to scores', rows, lambda: selection.scan([logits], np.arange(rows), rule)
    )
    table, parts = [scored], []
    chunk = max(1, selection.ENTRIES // classes)
    for shard in range(shards):
        first, last = (examples * (shard + k) // shards for k in (0, 1))
        row, part = measure(
            f'share {shard} of {shards}',
            last - first,
            lambda ends=(first, last): selection.gather(draw(*ends, chunk, classes), rule, most),
        )
        table.append(row)
        parts.append(part)
    row, best = measure(
        'merge', sum(len(part.index) for part in parts), lambda: selection.merge(parts, rule)
    )
    assert len(best.index) <= most and best.counts[0] == examples
    return [*table, row]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--examples', type=int, default=130_000_000)
    parser.add_argument('--classes', type=int, default=1000)
    parser.add_argument('--per_class', type=int, default=12_800)
    parser.add_argument('--shards', type=int, default=4)
    parser.add_argument('--rows', type=int, default=100_000, help='of logits, to score')
    parser.add_argument('--json', default='selection.json')
    given = vars(parser.parse_args())
    path = Path(given.pop('json'))
    table = run(**given)
    path.write_text(json.dumps(given | {'rows_of_table': table}, indent=2) + '\n', encoding='utf-8')
    print(tabulate(table, headers='keys', floatfmt=',.1f', intfmt=','))


if __name__ == '__main__':
    main()
