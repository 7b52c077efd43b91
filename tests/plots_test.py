"""The pictures of a table: every number at its place, and no picture of nothing."""

import numpy as np
import pytest

from mpl.comparison import plots
from mpl.comparison.table import Row


def row(config, labels, test, network='student', seconds=1.0, images=100, flops=np.nan):
    test = np.array(test)
    return Row(config, network, labels, [0, 1], test, test / 2, 0 * test, seconds, 1, images, flops)


@pytest.fixture
def rows():
    """Labels only and another at 20 and 100 labels, a third at 100 alone."""
    return [
        row('digits-only,labels=20', 20, [0.4, 0.6], seconds=2.0),
        row('digits-only,labels=100', 100, [0.7, 0.9], seconds=3.0),
        row('digits-other,labels=20,x=1', 20, [0.6, 0.6], seconds=4.0, images=500),
        row('digits-other,labels=20,x=1', 20, [0.6, 0.8], 'student_ema', seconds=4.0, images=500),
        row('digits-other,labels=100,x=1', 100, [0.9, 0.9], seconds=5.0, images=500),
        row('digits-third,labels=100', 100, [0.8, 0.8], seconds=6.0, images=500),
    ]


def lines(axes):
    """What error bars are drawn around: (x, y) of each."""
    return [tuple(bar.lines[0].get_xydata().T) for bar in axes.containers]


def test_every_seed_is_shown(rows):
    (axes,) = plots.seeds(rows).axes
    shown = [line.get_xdata() for line in axes.lines if line.get_alpha()]
    for one, points in zip(rows, shown, strict=True):
        np.testing.assert_allclose(points, 100 * one.test)


def test_figures_name_configs_by_what_tells_them_apart():
    names = ['a-mpl,data=x,size=3', 'a-mpl,data=x,size=3,feedback=off', 'a-uda,data=x,size=4']
    short = ['a-mpl,size=3', 'a-mpl,size=3,feedback=off', 'a-uda,size=4']
    assert list(plots.distinct(names).values()) == short
    assert plots.distinct(names[:1]) == {names[0]: names[0]}


def test_the_network_of_the_last_stage_stands_for_its_config():
    names = ('student', 'student_ema', 'finetuned', 'pretrain/student_ema')
    (shown,) = plots.finals([row('a', 20, [0.5], name) for name in names])
    assert shown.network == 'finetuned'


def test_methods_are_configs_without_their_number_of_labels():
    def method(config, labels):
        return plots.method(row(config, labels, [0.5]))

    assert method('digits-uda,labels=20', 20) == method('digits-uda', 40) == 'digits-uda'
    assert method('digits-mpl,labels=20,feedback=off', 20) == 'digits-mpl,feedback=off'
    assert method('mine-labels=20', 20) == method('mine-labels=all', 100) == 'mine'
    assert method('mine-labels=20,size=3', 20) == 'mine-size=3'
    assert method('imagenet-mpl,labels=10%', 128116) == 'imagenet-mpl'
    # Files of one's own, with the number in the name.
    assert method('digits_20_uda', 20) == method('digits_100_uda', 100) == 'digits_uda'
    assert method('digits_200_x20', 20) == 'digits_200_x20'


def test_accuracy_over_labels_has_a_line_for_each_method(rows):
    (axes,) = plots.by_labels(rows).axes
    (x, y), (_, other), (third, _) = lines(axes)
    np.testing.assert_allclose(x, [20, 100], rtol=0.06)
    np.testing.assert_allclose(y, [50, 80])
    np.testing.assert_allclose(other, [70, 90])  # the average of the weights, where there is one
    np.testing.assert_allclose(third, [100], rtol=0.06)
    assert axes.get_xscale() == 'log' and list(axes.get_xticks()) == [20, 100]
    assert [text.get_text() for text in axes.texts] == [
        'digits-only',
        'digits-third',
        'digits-other,x=1',
    ]
    assert [bar.lines[0].get_linestyle() for bar in axes.containers] == ['--', '-', '-']
    (bars,) = axes.containers[0].lines[2]
    ends = [segment[:, 1] for segment in bars.get_segments()]
    half = 100 * np.std([0.4, 0.6], ddof=1)
    np.testing.assert_allclose(ends[0], [50 - half, 50 + half])


def test_one_number_of_labels_is_no_line(rows):
    assert plots.by_labels([rows[0], rows[2]]) is None
    assert plots.by_labels([rows[0], rows[4]]) is None


def test_accuracy_over_compute_has_a_marker_for_each_method(rows):
    seconds, images, more_seconds, more_images = plots.by_compute(rows).axes
    assert [(*x, *y) for x, y in lines(seconds)] == [(2, 50), (4, pytest.approx(70))]
    assert [(*x, *y) for x, y in lines(images)] == [(100, 50), (500, pytest.approx(70))]
    assert [x[0] for x, _ in lines(more_seconds)] == [3, 5, 6]
    assert [x[0] for x, _ in lines(more_images)] == [100, 500, 500]
    assert seconds.get_title() == '20 labels' and more_seconds.get_title() == '100 labels'
    colors = {
        axes: [bar.lines[0].get_color() for bar in axes.containers]
        for axes in (seconds, more_seconds)
    }
    assert colors[seconds] == colors[more_seconds][:2] and colors[seconds][0] == 'black'
    assert plots.by_compute(rows[2:4]) is None
    counted = [one._replace(flops=7.0 * one.images) for one in rows]
    _, flops, _, _ = plots.by_compute(counted).axes
    assert [x[0] for x, _ in lines(flops)] == [700, 3500]
    assert (images.get_xlabel(), flops.get_xlabel()) == (
        'images seen in training', 'FLOPs of training'
    )  # fmt: skip


def test_without_a_test_part_validation_is_shown(rows):
    rows = [one._replace(test=one.test * np.nan) for one in rows]
    (axes,) = plots.by_labels(rows).axes
    np.testing.assert_allclose(lines(axes)[0][1], [25, 40])
    assert axes.get_ylabel().startswith('validation accuracy')


def test_written_is_what_is_returned(rows, tmp_path):
    (tmp_path / 'labels.png').write_text('of another table')
    written = plots.write(rows[:1], tmp_path)
    assert written == [tmp_path / 'compare.png'] == list(tmp_path.iterdir())
    written = plots.write(rows, tmp_path)
    assert sorted(written) == sorted(tmp_path.iterdir()) and len(written) == 3
    assert all(path.read_bytes().startswith(b'\x89PNG') for path in written)


def test_names_are_spread_no_further_than_they_must():
    np.testing.assert_allclose(plots.spread([0.0, 5.0], 1.0, -9, 9), [0, 5])
    np.testing.assert_allclose(plots.spread([1.0, 1.0, 1.0], 1.0, -9, 9), [0, 1, 2])
    np.testing.assert_allclose(plots.spread([1.0, 1.0, 1.0], 1.0, -9, 1.5), [-0.5, 0.5, 1.5])
    np.testing.assert_allclose(plots.spread([1.0, 1.0, 1.0], 1.0, 0, 1), [0, 1, 2])  # Too many.
