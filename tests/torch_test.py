"""The benchmarks beside PyTorch: both sides take the same steps, and differences are seen."""

import copy

import numpy as np
import pytest

from benchmarks import torch_mpl, torch_simclr, torch_turns

SIDE = {
    'device': 'cpu',
    'ms': {'median': 3000.0, 'low': 2000.0, 'high': 4000.0},
    'processor_ms': {'median': 2999.0, 'low': 2000.0, 'high': 4000.0},
    'images_per_second': 12.5,
    'peak_bytes': 7 * 2**20,
}


@pytest.fixture
def sides():
    """What both sides of a check return where they agree."""
    random = np.random.default_rng(0)

    def net():
        names = ('stem.weight', 'norm.running_mean', 'norm.running_var')
        return {name: random.normal(size=3) for name in names}

    before, after = ({role: net() for role in ('teacher', 'student')} for _ in range(2))
    metrics = [{'loss': 2.0}, {'loss': 1.5}]
    return {'before': before, 'after': after, 'metrics': metrics}, copy.deepcopy(
        {'after': after, 'metrics': metrics}
    )


def test_agreement_has_no_distance(sides):
    ours, theirs = sides
    theirs['after']['student']['norm.running_var'] += 1  # The unbiased one of torch.
    assert torch_turns.compare(ours, theirs) == {'loss': 0, 'parameters': 0, 'means': 0}


@pytest.mark.parametrize('name', ['stem.weight', 'norm.running_mean'])
@pytest.mark.parametrize('role', ['teacher', 'student'])
def test_another_array_is_another_step(sides, role, name):
    ours, theirs = sides
    theirs['after'][role][name] += 1e-2
    with pytest.raises(ValueError, match='do not take the same step'):
        torch_turns.compare(ours, theirs)


def test_another_loss_or_one_step_less_is_another_step(sides):
    ours, theirs = sides
    theirs['metrics'][1]['loss'] = float('nan')
    with pytest.raises(ValueError, match='do not take the same step'):
        torch_turns.compare(ours, theirs)
    del theirs['metrics'][1]
    with pytest.raises(ValueError, match='shorter'):
        torch_turns.compare(ours, theirs)


@pytest.mark.parametrize('feedback', torch_mpl.FEEDBACKS)
def test_both_sides_take_the_same_steps(feedback):
    pytest.importorskip('torch')
    assert max(torch_mpl.check(feedback).values()) < torch_turns.TOLERANCE


def test_both_sides_take_the_same_steps_of_simclr():
    pytest.importorskip('torch')
    assert max(torch_simclr.check().values()) < torch_turns.TOLERANCE


def test_table_has_the_ratio_beside_both_sides():
    setting = torch_mpl.Setting('exact', 16, 112, 28, 2, 32, 'float32', '', 1, ())._asdict()
    ratio = {'median': 0.75, 'low': 0.5, 'high': 1.0}
    row = {'setting': setting, 'load': 1.0, 'ratio': ratio, 'processor_ratio': ratio}
    text = torch_mpl.show([row | {'torch': SIDE, 'jax': SIDE}])
    for part in ('16+112', '3,000 (2,000..4,000)', '2,999', '12.5', '0.75 (0.50..1.00)'):
        assert part in text, part
