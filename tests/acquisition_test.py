"""Acquisition rules: against brute force in float64, on any chunks and devices, extremes, refusals."""

import pathlib
from unittest import mock

import jax
import numpy as np
import pytest
from scipy.special import softmax

from benchmarks import k_center as k_center_benchmark
from mpl.acquisition import clusters, distances, interface, probcover, scores

RULES = sorted(
    path.stem
    for path in (pathlib.Path(interface.__file__).parent).glob('*.py')
    if '\ndef make(' in path.read_text()
)
# Rules whose answer does not depend on the order of the pool.
BY_VALUE = (
    'entropy', 'least_confidence', 'margin', 'bald', 'consistency', 'contrastive', 'k_center',
)  # fmt: skip
KEYED = ('random', 'badge', 'per_predicted_class', 'probcover', 'typiclust')
KEY = jax.random.key(3)
N, D, K, S = 90, 5, 4, 3


def pool(seed=0, scale=2.0):
    """Features, logits, labeled and candidates; some images are neither, with rows of NaN."""
    random = np.random.RandomState(seed)
    features = random.randn(N, D).astype(np.float32) + 2 * random.randn(4, D)[np.arange(N) % 4]
    features = features.astype(np.float16).astype(np.float32)
    logits = scale * random.randn(1, N, K) + random.randn(S, N, K)
    part = random.permutation(N)
    labeled, candidates = np.zeros(N, bool), np.zeros(N, bool)
    labeled[part[:8]], candidates[part[8:80]] = True, True
    features[part[80:]], logits[:, part[80:]] = np.nan, np.nan
    return features, logits.astype(np.float32), labeled, candidates


def choose(name, given=None, budget=12, key=KEY, **arguments):
    rule = interface.find(name)(**arguments)
    return interface.choose(rule, *(given or pool()), budget, key)


def top(score, candidates, budget=12):
    numbers = np.flatnonzero(candidates)
    return numbers[np.argsort(-score[numbers], kind='stable')[:budget]]


def entropy(p):
    return -(p * np.log(p)).sum(-1)


NAIVE = {
    'entropy': lambda p: entropy(p.mean(0)),
    'least_confidence': lambda p: 1 - p.mean(0).max(-1),
    'margin': lambda p: -np.diff(np.sort(p.mean(0), -1)[:, -2:])[:, 0],
    'bald': lambda p: entropy(p.mean(0)) - entropy(p).mean(0),
    'consistency': lambda p: p.var(0).sum(-1),
}


@pytest.mark.parametrize('name', NAIVE)
def test_scores_are_those_of_the_formulas(name):
    given = pool()
    p = softmax(given[1].astype(np.float64), -1)
    found = choose(name, given)
    np.testing.assert_array_equal(found, top(NAIVE[name](p), given[3]))
    # The other way to compute it: in logs.
    made = {'entropy': scores.log_entropy, 'least_confidence': scores.others}
    if name in made:
        log_p = np.log(p.mean(0)[given[3]])
        np.testing.assert_allclose(np.exp(made[name](log_p)), NAIVE[name](p)[given[3]], rtol=1e-9)


def test_contrastive_is_the_loss_of_pairs_of_views():
    """Against a loop over images and over the other images of the pool, all of them as negatives."""
    features, logits, labeled, candidates = pool()
    logits /= np.linalg.norm(logits, axis=-1, keepdims=True)
    z, whole = logits.astype(np.float64), np.flatnonzero(labeled | candidates)

    def loss(a, b, i):
        negatives = sum(np.exp(z[a, i] @ z[b, j] / 0.3) for j in whole if j != i)
        positive = np.exp(z[a, i] @ z[b, i] / 0.3)
        return -np.log(positive / (positive + negatives))

    pairs = [(a, b) for a in range(S) for b in range(S) if a != b]
    expected = np.array([np.mean([loss(*pair, i) for pair in pairs]) for i in range(N)])
    given = features, logits, labeled, candidates
    found = choose('contrastive', given, 72, temperature=0.3)
    np.testing.assert_array_equal(found, top(expected, candidates, 72))
    # Fewer negatives are a sample of all of them, with the same scale of similarities.
    some = choose('contrastive', given, temperature=0.3, negatives=40)
    assert len(set(some) & set(found[:12])) > 6


@pytest.mark.parametrize('name', ['entropy', 'least_confidence', 'margin'])
def test_certain_images_are_still_in_order(name):
    """Where 1 - p is 0 in float64: by the gap of the two largest logits."""
    features, _, labeled, candidates = pool()
    gap = np.random.RandomState(1).permutation(N) * 100.0 + 50
    logits = np.zeros((1, N, K), np.float32)
    logits[0, :, 1], logits[0, :, 2] = 1e4, 1e4 - gap
    found = choose(name, (features, logits, labeled, candidates))
    np.testing.assert_array_equal(found, top(-gap, candidates))


def greedy(features, labeled, candidates, budget):
    x = features.astype(np.float64)
    centers, found = list(np.flatnonzero(labeled)), []
    for _ in range(budget):
        distance = ((x[:, None] - x[centers]) ** 2).sum(-1).min(1)
        distance[~candidates] = -1
        distance[found] = -1
        found.append(int(np.argmax(distance)))
        centers.append(found[-1])
    return found


@pytest.mark.parametrize('lazy', [1, 3, 20, 4096])
@pytest.mark.parametrize('unit', [False, True])
def test_k_center_is_the_plain_greedy_one(lazy, unit):
    features, logits, labeled, candidates = pool()
    x = features.astype(np.float64)
    if unit:
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
    found = choose('k_center', budget=40, lazy=lazy, unit=unit)
    np.testing.assert_array_equal(found, greedy(x, labeled, candidates, 40))


@pytest.mark.parametrize('lazy', [1, 5, 4096])
def test_k_center_gives_ties_to_the_smaller_number(lazy):
    features, logits, labeled, candidates = pool()
    features[:] = np.round(features[0] + np.arange(N)[:, None] % 7)
    found = choose('k_center', (features, logits, labeled, candidates), budget=30, lazy=lazy)
    np.testing.assert_array_equal(found, greedy(features, labeled, candidates, 30))
    assert found[-20:].tolist() == sorted(found[-20:])  # Copies of labeled or chosen ones.


def test_k_center_stops_at_a_tie_with_an_image_that_is_not_kept():
    """1, 2 and 3 are 5 away after 4 is chosen; of 2 and 3 only 3 may be kept, but 2 is smaller."""
    features = np.array([[0, 0], [0, 5], [0, -5], [7, 4], [10, 0]], np.float32)
    labeled = np.arange(5) == 0
    given = features, np.zeros((0, 5, 2)), labeled, ~labeled
    for lazy in (1, 2, 3, 4):
        assert choose('k_center', given, budget=4, lazy=lazy).tolist() == [4, 1, 2, 3]


def test_k_center_passes_over_the_pool_a_few_times_only():
    random = np.random.RandomState(0)
    features = random.randn(5000, 16).astype(np.float32)
    labeled = np.arange(5000) < 20
    given = features, np.zeros((0, 5000, 2)), labeled, ~labeled
    with mock.patch.object(distances, 'lower', wraps=distances.lower) as lower:
        found = choose('k_center', given, budget=250, lazy=400)
    assert 2 <= lower.call_count <= 10
    np.testing.assert_array_equal(found[:40], greedy(features, labeled, ~labeled, 40))


def test_k_center_without_labels_starts_from_the_key():
    features, logits, labeled, candidates = pool()
    given = features, logits, np.zeros(N, bool), candidates
    found = [choose('k_center', given, budget=1, key=jax.random.key(n))[0] for n in range(6)]
    assert len(set(found)) > 2
    first = np.arange(N) == found[0]
    rest = greedy(features, first, candidates & ~first, 11)
    np.testing.assert_array_equal(choose('k_center', given, key=jax.random.key(0))[1:], rest)


def test_badge_is_k_means_plus_plus_on_gradients():
    features, logits, labeled, candidates = pool()
    p = softmax(logits.astype(np.float64), -1).mean(0)
    g = ((p - np.eye(K)[p.argmax(-1)])[:, :, None] * features[:, None]).reshape(N, -1)[candidates]
    draws = np.asarray(jax.random.uniform(KEY, (12,)), np.float64)
    chosen = [int(np.argmax((g**2).sum(-1)))]
    for draw in draws[1:]:
        distance = ((g[:, None] - g[chosen]) ** 2).sum(-1).min(1)
        total = np.cumsum(distance)
        chosen.append(int(np.searchsorted(total, draw * total[-1], 'right')))
    np.testing.assert_array_equal(choose('badge'), np.flatnonzero(candidates)[chosen])


def test_typiclust_takes_typical_images_of_clusters_without_a_label():
    features, logits, labeled, candidates = pool()
    found = np.random.RandomState(0).choice(4, N, p=[0.5, 0.3, 0.15, 0.05])

    def fit(features, numbers, *_):
        return found[numbers]

    x = features.astype(np.float64)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    members = [np.flatnonzero((found == k) & (labeled | candidates)) for k in range(4)]
    has, expected = [labeled[m].sum() for m in members], []
    for _ in range(12):
        big = [k for k in range(4) if len(members[k]) >= 6]
        k = min(big, key=lambda k: (has[k], -len(members[k])))
        pairs = np.linalg.norm(x[members[k]][:, None] - x[members[k]], axis=-1)
        count = min(7, len(members[k]) // 2)
        spread = np.sort(pairs, -1)[:, 1 : count + 1].mean(-1)
        order = [n for n in members[k][np.argsort(spread)] if candidates[n] and n not in expected]
        expected.append(order[0])
        has[k] += 1
    with mock.patch.object(clusters, 'fit', fit):
        np.testing.assert_array_equal(choose('typiclust', neighbors=7), expected)


def test_typiclust_makes_as_many_clusters_as_there_are_labels_in_the_end():
    """At most `most` of them."""
    with mock.patch.object(clusters, 'fit', wraps=clusters.fit) as fit:
        choose('typiclust', budget=12)
        choose('typiclust', budget=12, most=15)
    assert [call.args[2] for call in fit.call_args_list] == [8 + 12, 15]


@pytest.mark.parametrize('size, cluster', [(6, 0), (5, 1)])
def test_typiclust_leaves_clusters_below_the_smallest_for_later(size, cluster):
    """The other cluster is larger and has a label, and so would be second."""
    found, labeled = (np.arange(20) >= size).astype(int), np.arange(20) == 19
    features = np.random.RandomState(0).randn(20, 3).astype(np.float32)
    given = features, np.zeros((0, 20, 2)), labeled, ~labeled
    with mock.patch.object(clusters, 'fit', lambda _, numbers, *more: found[numbers]):
        assert found[choose('typiclust', given, budget=1)] == cluster


def test_typiclust_from_nothing_takes_one_of_every_clump():
    """Two images of every one of ten clumps of 20, before a third of any."""
    random = np.random.RandomState(0)
    centers = random.randn(10, 8)
    features = (np.repeat(centers, 20, 0) + 0.03 * random.randn(200, 8)).astype(np.float32)
    given = features, np.zeros((0, 200, 10)), np.zeros(200, bool), np.ones(200, bool)
    found = choose('typiclust', given, budget=10)
    assert sorted(found // 20) == list(range(10))


def test_probcover_is_the_greedy_cover():
    features, logits, labeled, candidates = pool()
    x = features.astype(np.float64)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    used = labeled | candidates
    near = (np.linalg.norm(x[:, None] - x, axis=-1) <= 0.3) & used
    covered, expected = near[labeled].any(0), []
    while len(expected) < 12:
        gain = np.where(candidates, (near & ~covered).sum(-1), -1)
        gain[expected] = -1
        expected.append(int(np.argmax(gain)))
        covered |= near[expected[-1]]
    np.testing.assert_array_equal(choose('probcover', delta=0.3), expected)


def test_probcover_goes_on_with_the_farthest_when_all_is_covered():
    features, logits, labeled, candidates = pool()
    x = features / np.linalg.norm(features, axis=-1, keepdims=True)
    found = choose('probcover', delta=2.0)  # The labeled ones cover all.
    np.testing.assert_array_equal(found, greedy(x, labeled, candidates, 12))


@pytest.mark.parametrize('purity', [0.95, 0.9, 0.8, 0.55, 1e-12])
def test_probcover_finds_the_radius_of_pure_balls(purity):
    foreign = np.arange(1.0, 101.0)
    radius = probcover._quantile(foreign, purity)
    assert np.mean(foreign > radius) >= purity > np.mean(foreign > radius + 1)
    assert probcover._quantile(np.full(5, np.inf), 0.95) == 2.0


def test_probcover_measures_balls_by_the_nearest_image_of_another_cluster():
    """Three groups on a circle, of which the one in the middle is nearest to both others."""
    random = np.random.RandomState(0)
    group = random.permutation(np.arange(30) % 3)
    angle = np.array([0.0, 1.0, 2.5])[group] + 0.1 * random.rand(30)
    x = np.stack([np.cos(angle), np.sin(angle)], -1)
    apart = np.linalg.norm(x[:, None] - x, axis=-1)
    nearest = np.where(group[:, None] != group, apart, np.inf).min(1)
    found = probcover._radius(x, x.astype(np.float32), np.arange(30), 3, 0.75, 0)
    assert found == pytest.approx(np.sort(nearest)[7], rel=1e-12)
    assert np.mean(nearest > found) >= 0.75


def test_probcover_goes_on_with_the_farthest_from_what_it_chose():
    """Once every image is covered: from the labeled and from the chosen ones."""
    features, logits, labeled, candidates = pool()
    x = features.astype(np.float64)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    used = labeled | candidates
    near = np.linalg.norm(x[:, None] - x, axis=-1) <= 0.6
    found = choose('probcover', delta=0.6, budget=40)
    covered = np.logical_or.accumulate(near[found]) | near[labeled].any(0)
    count = int(np.argmax((covered | ~used).all(1))) + 1
    assert 3 < count < 30
    done = labeled.copy()
    done[found[:count]] = True
    rest = greedy(x, done, candidates & ~done, 40 - count)
    np.testing.assert_array_equal(found[count:], rest)


@pytest.mark.parametrize(
    'name, numbers', [('k_center', dict(unit=True)), ('probcover', {}), ('typiclust', {})]
)
def test_rules_of_angles_do_not_see_lengths(name, numbers):
    """Features may be scaled, each by its own number."""
    features, *given = pool()
    longer = features * np.float32(2) ** (np.arange(N) % 5)[:, None]
    found = choose(name, (longer, *given), budget=25, **numbers)
    np.testing.assert_array_equal(found, choose(name, budget=25, **numbers))


def test_quota_is_even_over_predicted_classes_with_those_that_are_labeled():
    features, logits, labeled, candidates = pool()
    truth = np.random.RandomState(0).choice(K, N, p=[0.55, 0.25, 0.15, 0.05])
    given = features, np.eye(K)[truth][None], labeled, candidates
    found = choose('per_predicted_class', given, budget=25)
    before = np.bincount(truth[labeled], minlength=K)
    after = before + np.bincount(truth[found], minlength=K)
    spent = np.bincount(truth[candidates], minlength=K) == after - before
    assert np.ptp(after[~spent]) <= 1 and after[spent].max(initial=0) <= after[~spent].min() + 1
    margin = choose('per_predicted_class', rule={'name': 'margin'})
    p = softmax(pool()[1].astype(np.float64), -1)
    for k in range(K):
        of_class = p.mean(0).argmax(-1) == k
        best = top(NAIVE['margin'](p), candidates & of_class)
        picked = margin[of_class[margin]]
        np.testing.assert_array_equal(picked, best[: len(picked)])


def test_quota_takes_one_of_every_class_before_the_second_of_any():
    """So that classes stay even where only the first ones are kept; every class draws on its own."""
    truth = np.arange(80) % K
    given = np.zeros((80, 1)), np.eye(K)[truth][None], np.zeros(80, bool), np.ones(80, bool)
    found = choose('per_predicted_class', given, budget=12)
    np.testing.assert_array_equal(np.sort(truth[found].reshape(3, K)), [range(K)] * 3)
    assert len({tuple(found[truth[found] == k] // K) for k in range(K)}) > 1
    firsts = [choose('per_predicted_class', given, 1, jax.random.key(n))[0] for n in range(8)]
    assert len(set(truth[firsts])) > 1  # Classes with equally many images: any of them.


@pytest.mark.parametrize('name', RULES)
def test_answers_depend_neither_on_chunks_nor_on_devices(name):
    found = choose(name)
    with (
        mock.patch.object(interface, 'ROWS', 7),
        mock.patch.object(distances, 'CHUNK', 1),
        mock.patch.object(jax, 'local_devices', lambda: jax.devices()[:1]),
    ):
        np.testing.assert_array_equal(choose(name), found)


def test_distances_have_the_same_bits_on_any_chunks_and_devices():
    random = np.random.RandomState(0)
    x = random.randn(3000, 33).astype(np.float32)
    centers = x[random.permutation(3000)[:50]]

    def lowered(count):
        distance = np.full(3000, np.float32(np.inf))
        with mock.patch.object(jax, 'local_devices', lambda: jax.devices()[:count]):
            distances.lower(x, np.arange(3000), centers, distance)
        return distance

    found = lowered(8)
    exact = ((x[:, None].astype(float) - centers) ** 2).sum(-1).min(1)
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert np.count_nonzero(found == 0) == 50
    with mock.patch.object(distances, 'CHUNK', 600):
        np.testing.assert_array_equal(lowered(1), found)


@pytest.mark.parametrize('name', RULES)
def test_same_key_same_numbers(name):
    np.testing.assert_array_equal(choose(name), choose(name))
    other = choose(name, key=jax.random.key(4))
    assert (other.tolist() != choose(name).tolist()) == (name in KEYED)


@pytest.mark.parametrize('name', BY_VALUE)
def test_renumbering_the_pool_renumbers_the_answer(name):
    order = np.random.RandomState(5).permutation(N)
    features, logits, labeled, candidates = pool()
    renumbered = features[order], logits[:, order], labeled[order], candidates[order]
    np.testing.assert_array_equal(order[choose(name, renumbered)], choose(name))


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize('case', ['copies', 'zeros', 'extreme logits', 'all', 'one'])
def test_extremes_give_distinct_candidates(name, case):
    """`interface.choose` checks them."""
    features, logits, labeled, candidates = pool()
    budget = {'all': 72, 'one': 1}.get(case, 30)
    if case == 'copies':
        features[:], logits[:] = features[labeled][0], logits[:, labeled][:, :1]
    elif case == 'zeros':
        features[:] = 0
    elif case == 'extreme logits':
        logits = 1e4 * np.sign(logits)
    with np.errstate(invalid='raise', over='raise'):
        assert len(choose(name, (features, logits, labeled, candidates), budget)) == budget


KNOBS = {
    'badge': {},
    'contrastive': dict(temperature=2.0, negatives=9, noise=1.0),
    'random': {},
    'k_center': dict(unit=True),  # lazy alters the number of passes alone, see above
    'per_predicted_class': dict(rule={'name': 'margin'}),
    'probcover': dict(delta=0.3, purity=0.5, sample=30),
    'typiclust': dict(most=3, neighbors=2, smallest=25, sample=10),
    **{name: dict(noise=1.0) for name in NAIVE},
}


@pytest.mark.parametrize('name', RULES)
def test_no_dead_knob(name):
    for knob, value in KNOBS[name].items():
        changed = choose(name, budget=25, **{knob: value})
        assert changed.tolist() != choose(name, budget=25).tolist(), knob


def test_noise_is_drawn_in_proportion_to_the_scores():
    """Of two images with scores 3 : 1 the first is the first in three of four draws."""
    features, _, labeled, candidates = np.zeros((2, 1)), None, np.zeros(2, bool), np.ones(2, bool)
    p = np.array([[0.55, 0.45], [0.85, 0.15]])
    given = features, np.log(p)[None], labeled, candidates
    firsts = [
        choose('least_confidence', given, 1, jax.random.key(n), noise=1.0)[0] for n in range(400)
    ]
    assert np.mean(np.array(firsts) == 0) == pytest.approx(0.75, abs=0.065)  # 3 deviations


def test_noise_is_added_to_the_log_scores_in_its_size():
    """The same draw for an image, whatever the other candidates are."""
    given = pool()
    p = softmax(given[1].astype(np.float64), -1)
    gumbel = np.asarray(jax.random.gumbel(KEY, (N,)), np.float64)
    noisy = np.log(NAIVE['least_confidence'](p)) + 0.25 * gumbel
    found = choose('least_confidence', given, noise=0.25)
    np.testing.assert_array_equal(found, top(noisy, given[3]))


@pytest.mark.parametrize(
    'change, sentence',
    [
        (dict(budget=73), 'budget is 73, but 72 candidates are left'),
        (dict(budget=0), 'budget is 0, but 72'),
        (dict(candidates=np.zeros(N, bool)), 'no candidates left'),
        (dict(labeled=np.ones(N, bool)), '72 labeled images are among the candidates'),
        (dict(features=np.zeros((N - 1, D))), 'give those of one pool'),
        (dict(logits=[np.zeros((N, 2)), np.zeros((N, 3))]), 'different numbers of classes'),
        (dict(bad='features'), 'features of 1 images are not finite, the first of example'),
        (dict(bad='logits'), 'logits of 1 images are not finite, the first of example'),
    ],
)
def test_refusals(change, sentence):
    given = dict(zip(('features', 'logits', 'labeled', 'candidates'), pool()), budget=12)
    given |= {key: value for key, value in change.items() if key != 'bad'}
    if change.get('bad') == 'features':
        given['features'][np.flatnonzero(given['candidates'])[5], 2] = np.inf
    elif change.get('bad') == 'logits':
        given['logits'][1, np.flatnonzero(given['labeled'])[2], 0] = np.nan
    budget = given.pop('budget')
    with pytest.raises(ValueError, match=sentence):
        choose('margin', tuple(given.values()), budget)


def test_rules_refuse_values_and_logits_that_they_cannot_use():
    features, logits, labeled, candidates = pool()
    none = features, np.zeros((0, N, K)), labeled, candidates
    one = features, logits[:1], labeled, candidates
    for name in (
        'entropy',
        'least_confidence',
        'margin',
        'badge',
        'bald',
        'contrastive',
        'per_predicted_class',
    ):
        with pytest.raises(ValueError, match="there is none yet; .*start_from='random'"):
            choose(name, none)
    for name in ('bald', 'consistency', 'contrastive'):
        with pytest.raises(
            ValueError, match='2 or more passes .* but there is one; raise active.passes'
        ):
            choose(name, one)
    for name, arguments in (
        ('margin', dict(noise=-1.0)),
        ('contrastive', dict(noise=-1.0)),
        ('contrastive', dict(temperature=0.0)),
        ('contrastive', dict(negatives=0)),
        ('k_center', dict(lazy=0)),
        ('typiclust', dict(neighbors=0)),
        ('probcover', dict(delta=-1.0)),
        ('probcover', dict(purity=1.0)),
    ):
        with pytest.raises(ValueError, match='; give '):
            choose(name, **arguments)
    with pytest.raises(ValueError, match="'margn' is unknown; choose one of badge, bald"):
        interface.find('margn')
    large = features * np.float32(1e30), logits, labeled, candidates
    with pytest.raises(ValueError, match='above the largest float32; scale'):
        choose('k_center', large)


def test_rule_that_gives_other_numbers_is_an_error():
    def acquire(features, logits, labeled, candidates, budget, key):
        return np.flatnonzero(labeled)[:budget]

    with pytest.raises(RuntimeError, match='are not 3 distinct candidates'):
        interface.choose(acquire, *pool(), 3, KEY)


def test_the_benchmark_counts_passes(tmp_path):
    found = k_center_benchmark.measure(3000, 8, 50, 10, 7, str(tmp_path))
    assert 1 <= found['passes'] <= 3 and found['file'] > 3000 * 8 * 2
