"""Every method on two moons with 6 labels, over many seeds: python -m benchmarks.two_moons

Three tables: the setting of the paper (arXiv 2003.10580, section 3.1), the best setting that an
equal search found for each method, and what each kind of feedback adds to a teacher whose
consistency separates the moons for some seeds only. All seeds of a method are trained in one
compiled program. Writes two_moons.json, two_moons.md and two_moons.png into --out.

--search tries the same number of settings for every method, on seeds of its own, and prints the
best one; configs/two_moons.py holds what it found, benchmarks/two_moons_search.json all it tried.
"""

import time
from pathlib import Path

import ml_collections

from benchmarks import two_moons_fit, two_moons_report, two_moons_search
from configs import two_moons
from mpl.run import command
from mpl.run import config as configs

METHODS = {
    'supervised': dict(name='supervised'),
    'pseudo_label': dict(name='pseudo_label'),
    'uda': dict(name='uda'),
    'mpl off': dict(name='mpl', feedback='off'),
    'mpl exact': dict(name='mpl', feedback='exact'),
    'mpl flipped': dict(name='mpl', feedback='exact', feedback_weight=-1.0),
    'mpl per_example': dict(name='mpl', feedback='per_example', labels='sampled'),
    'mpl dot': dict(name='mpl', feedback='dot', labels='sampled'),
    'mpl cosine': dict(name='mpl', feedback='cosine', labels='sampled'),
    'mpl difference': dict(name='mpl', feedback='difference', labels='sampled'),
}


def paper(method: str) -> ml_collections.ConfigDict:
    """The paper's toy: no consistency in MPL, the feedback alone."""
    mpl = method.startswith('mpl')
    algorithm = METHODS[method] | (dict(uda_weight=0.0) if mpl else {})
    return two_moons.config(algorithm, steps=10_000)


def found(method: str) -> ml_collections.ConfigDict:
    """The best setting of the search."""
    name, _, feedback = method.partition(' ')
    chosen = f'{name},feedback={feedback}' if feedback else name
    return configs.load(f'{two_moons.__file__}:{chosen}', [])


def added(method: str) -> ml_collections.ConfigDict:
    """Consistency that separates the moons for some seeds, and feedback of weight 1 or -1."""
    consistency = dict(uda_weight=1.0, uda_temperature=1.0, uda_threshold=0.0)
    return two_moons.config(
        METHODS[method] | consistency, steps=6_000, activation='tanh', init=1.0, noise=0.2, rate=1.0
    )


def compare(seeds: range, methods: list[str], out: Path) -> None:
    """Trains every method in every setting, and writes tables and picture."""
    results = {}
    for table, make in (('paper', paper), ('found', found), ('added', added)):
        for method in methods:
            if table == 'added' and not method.startswith('mpl'):
                continue
            started = time.process_time()
            config = configs.complete(make(method).to_dict())
            results[table, method] = two_moons_fit.run(config, seeds)
            seconds = time.process_time() - started
            print(f'{table}, {method}: {seconds:.0f} s of processor time', flush=True)
    out.mkdir(parents=True, exist_ok=True)
    two_moons_report.write(results, two_moons_fit.draw(config, seeds), seeds, out)


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument('--seeds', type=int, default=100, help='of the report; default: 100')
    parser.add_argument('--methods', nargs='+', default=list(METHODS), choices=METHODS)
    parser.add_argument('--out', type=Path, default=Path('benchmarks/out'))
    parser.add_argument('--search', action='store_true')
    given = parser.parse_args()
    if given.search:
        two_moons_search.search(METHODS, Path('benchmarks/two_moons_search.json'))
    else:
        compare(range(given.seeds), given.methods, given.out)


if __name__ == '__main__':
    command.main(main)
