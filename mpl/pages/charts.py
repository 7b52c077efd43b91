"""Charts as dicts: 'title', 'data' and 'layout' of Plotly, 'tall' for more height."""

from collections.abc import Sequence

import numpy as np

# Plotly's own order, readable on light and dark pages.
COLORS = (
    '#636efa', '#ef553b', '#00a884', '#ab63fa', '#e58a3a', '#19b5d3', '#e0527e', '#8a9a3b',
    '#c467d4', '#a9883a',
)  # fmt: skip


def lines(
    title: str,
    curves: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    y: str,
    marks: Sequence[tuple[float, str]] = (),
    colors: Sequence[int] | None = None,
    share: bool = False,
    x: str = 'step',
) -> dict:
    """Curves over training steps or another number, whose values are shown at the pointer.

    Args:
      title: of the chart.
      curves: (name, steps, values) each.
      y: name and unit of the values.
      marks: (step, text) of vertical lines.
      colors: index of the color of each curve; None: a color each. Curves of one name and color
        have one entry in the legend.
      share: whether values are from 0 to 1.
      x: name and unit of what the curves are over.
    """
    colors = range(len(curves)) if colors is None else colors
    named, data = set(), []
    for (name, steps, values), color in zip(curves, colors):
        data.append(
            {
                'type': 'scatter',
                'mode': 'lines+markers',
                'name': name,
                'legendgroup': name,
                'showlegend': name not in named,
                'x': _numbers(steps),
                'y': _numbers(values),
                'marker': {'size': 4},
                'line': {'width': 1.5, 'color': COLORS[color % len(COLORS)]},
                'hovertemplate': '%{y:.4f}',
            }
        )
        named.add(name)
    layout = _layout(x, y) | {'hovermode': 'x unified'}
    if share:
        layout['yaxis']['range'] = [0, 1.02]
    layout['shapes'] = [
        {'type': 'line', 'x0': step, 'x1': step, 'yref': 'paper', 'y0': 0, 'y1': 1,
         'line': {'color': '#d9a400', 'dash': 'dot'}}
        for step, _ in marks
    ]  # fmt: skip
    layout['annotations'] = [
        {'x': step, 'y': 1, 'yref': 'paper', 'text': text, 'showarrow': False, 'yanchor': 'bottom'}
        for step, text in marks
    ]
    return {'title': title, 'data': data, 'layout': layout, 'tall': False}


def confusion(title: str, counts: np.ndarray, classes: Sequence[str]) -> dict:
    """Counts [K, K], true class by predicted class; the color is the share of the true class."""
    share = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    trace = {
        'type': 'heatmap',
        'z': share.round(4).tolist(),
        'customdata': counts.tolist(),
        'x': list(classes),
        'y': list(classes),
        'zmin': 0,
        'zmax': 1,
        'colorscale': 'Viridis',
        'hovertemplate': 'true %{y}<br>predicted %{x}<br>%{customdata} images (%{z:.1%})<extra></extra>',
        'colorbar': {'thickness': 10},
    }
    if len(classes) <= 20:
        trace |= {'text': counts.tolist(), 'texttemplate': '%{text}'}
    layout = _layout('predicted', 'true')
    for axis in ('xaxis', 'yaxis'):  # Else classes such as '3' are numbers.
        layout[axis] |= {'type': 'category', 'automargin': True}
    layout['yaxis']['autorange'] = 'reversed'
    return {'title': title, 'data': [trace], 'layout': layout, 'tall': len(classes) > 12}


def bars(
    title: str,
    x: str,
    y: str,
    groups: Sequence[tuple[str, Sequence[str], Sequence[float]]],
    stacked: bool = False,
) -> dict:
    """Bars of each (name, categories, values), side by side or one on the other."""
    data = [
        {'type': 'bar', 'name': name, 'x': list(categories), 'y': _numbers(values),
         'marker': {'color': COLORS[n % len(COLORS)]}, 'hovertemplate': '%{y:,}'}
        for n, (name, categories, values) in enumerate(groups)
    ]  # fmt: skip
    layout = _layout(x, y) | {'barmode': 'stack' if stacked else 'group', 'hovermode': 'x unified'}
    layout['xaxis'] |= {'type': 'category', 'automargin': True}
    return {'title': title, 'data': data, 'layout': layout, 'tall': False}


def points(
    title: str, x: str, rows: Sequence[tuple[str, str, Sequence[float], float, float | None]]
) -> dict:
    """A row for each (name, group, values, mean, spread): values as dots, the mean with its spread.

    Rows of a group have one color.
    """
    groups = list(dict.fromkeys(group for _, group, *_ in rows))
    data = []
    for name, group, values, mean, spread in rows:
        color = COLORS[groups.index(group) % len(COLORS)]
        data.append(
            {'type': 'scatter', 'mode': 'markers', 'x': _numbers(values), 'y': [name] * len(values),
             'marker': {'color': color, 'opacity': 0.45, 'size': 8}, 'name': name,
             'hovertemplate': '%{x:.2f}'}
        )  # fmt: skip
        data.append(
            {'type': 'scatter', 'mode': 'markers', 'x': _numbers([mean]), 'y': [name], 'name': name,
             'marker': {'color': color, 'symbol': 'diamond-open', 'size': 13},
             'error_x': {'type': 'data', 'array': _numbers([spread]), 'color': color},
             'hovertemplate': 'mean %{x:.2f}'}
        )  # fmt: skip
    layout = _layout(x, '') | {'showlegend': False}
    layout['yaxis'] |= {'type': 'category', 'automargin': True, 'autorange': 'reversed'}
    return {'title': title, 'data': data, 'layout': layout, 'tall': len(rows) > 8}


def _layout(x, y):
    return {
        'xaxis': {'title': {'text': x, 'standoff': 5}},
        'yaxis': {'title': {'text': y}},
        'margin': {'l': 60, 'r': 10, 't': 20, 'b': 45},
        'legend': {'orientation': 'h', 'y': -0.3},
    }


def _numbers(values):
    """Numbers for JSON: None where they are not finite."""
    return [None if v is None or not np.isfinite(v) else float(v) for v in values]
