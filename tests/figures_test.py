"""The figure of the pseudo-labels on unlabeled images: logged values in their axes."""

import chex
import matplotlib.image
import numpy as np
import pytest
from etils import epath
from matplotlib.collections import QuadMesh

from mpl.run import figures
from mpl.run.collapse import Finding

LINES = [
    {'step': 5, 'mask_rate': 0.5},
    {'step': 10, 'unlabeled/student/histogram': [6, 2], 'unlabeled/teacher/histogram': [4, 4]},
    {'step': 30, 'unlabeled/student/histogram': [8, 0], 'unlabeled/teacher/histogram': [2, 6]},
]


@pytest.mark.parametrize('lines', [LINES, LINES[:2]])
def test_shares_of_classes_lie_beside_those_of_the_labeled_examples(lines):
    figure = figures.pseudo_labels(lines, ('a', 'b'), np.array([1, 3]), [])
    meshes = {
        axes.get_title(): mesh
        for axes in figure.axes
        for mesh in axes.collections
        if isinstance(mesh, QuadMesh) and axes.get_title()
    }
    assert list(meshes) == ['labeled', 'student', 'teacher']
    shares = {'labeled': [[0.25], [0.75]], 'student': [[0.75, 1], [0.25, 0]]}
    for name, share in shares.items():
        kept = np.array(share)[:, : len(lines) - 1]
        np.testing.assert_allclose(meshes[name].get_array(), kept)
        assert meshes[name].get_clim() == (0, np.max(meshes['student'].get_array()))
    columns = meshes['student'].get_coordinates()[0, :, 0]
    assert columns.tolist() == [0, 10, 30][: len(lines)]


def test_warnings_are_lines_where_they_came():
    findings = [Finding('mask', 20, ''), Finding('classes', 30, '')]
    figure = figures.pseudo_labels(LINES, ('a', 'b'), np.array([1, 3]), findings)
    for axes in figure.axes[:3]:
        red = [line for line in axes.lines if line.get_color() == 'red']
        assert [line.get_xdata()[0] for line in red] == [20, 30]
        assert [line.get_label() for line in red] == ['warning: mask', 'warning: classes']
    student = next(line for line in figure.axes[2].lines if line.get_label() == 'student')
    np.testing.assert_allclose(student.get_ydata(), [4 / 3**0.75, 1])  # exp(entropy) of 3:1


ODD = ('$5$ & $\\bad{', '$x^', '_hidden', '%s {} <b>', '\\alpha', figures.legible('caf\udce9'))


def test_names_of_classes_are_text_and_no_formulas(tmp_path):
    figure = figures.confusion({'student': np.eye(len(ODD), dtype=int)}, ODD)
    figures.save(figure, epath.Path(tmp_path) / 'confusion.png')
    ticks = figure.axes[0].get_yticklabels()
    assert [tick.get_text() for tick in ticks] == list(ODD)
    assert not any(tick.get_parse_math() for tick in ticks)
    chex.assert_shape(matplotlib.image.imread(tmp_path / 'confusion.png'), (480, 504, 4))


def test_a_picture_is_whole_or_the_one_before(tmp_path):
    path = epath.Path(tmp_path) / 'a.png'
    path.write_bytes(b'before')
    figure = figures.curves(LINES)
    figure.axes[0].set_title('$\\bad{$', parse_math=True)
    with pytest.raises(ValueError):
        figures.save(figure, path)
    assert path.read_bytes() == b'before' and len(list(tmp_path.iterdir())) == 1


def test_images_lie_side_by_side_with_white_between():
    images = np.array([[[0.1, 0.2]], [[0.3, 0.4]]])[..., None]
    row = figures._side_by_side(images)[..., 0]
    np.testing.assert_array_equal(row, [[0.1, 0.2, 1, 0.3, 0.4]])
