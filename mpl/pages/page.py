"""A page of HTML that needs no network: text, tables, charts by Plotly, thumbnails."""

import base64
import gzip
import io
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
import numpy as np
from PIL import Image as Picture
from plotly import offline

from mpl.run import figures

THUMBNAIL = 96  # pixels of the longer side, at most


class Image(NamedTuple):
    """A thumbnail."""

    pixels: np.ndarray  # uint8 [H, W, 1 or 3]
    name: str
    caption: str


class Section(NamedTuple):
    """A part of a page; what is empty is left out."""

    title: str
    text: str = ''
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()  # of a table
    charts: Sequence[dict] = ()  # of charts.py
    images: Sequence[Image] = ()
    code: Sequence[tuple[str, str]] = ()  # (title, text), folded


def render(
    title: str, lead: Sequence[str], warnings: Sequence[str], sections: Sequence[Section]
) -> str:
    """The page as HTML; the same arguments give the same text.

    The script of Plotly is part of it, compressed: 2 MB of the page.
    """
    numbers, charts, parts = itertools.count(), [], []
    for section in sections:
        charts += section.charts
        placed = [chart | {'index': next(numbers)} for chart in section.charts]
        images = [
            {'source': encode(image.pixels), 'name': image.name, 'caption': image.caption}
            for image in section.images
        ]
        parts.append(section._asdict() | {'figures': placed, 'images': images})
    script = ''
    if charts:  # Without the time of compression, which gzip would add.
        script = base64.b64encode(gzip.compress(offline.get_plotlyjs().encode(), 6, mtime=0))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('mpl.pages', '.'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template('template.html').render(
        title=title,
        lead=lead,
        warnings=warnings,
        sections=parts,
        figures=charts,
        script=script.decode() if script else '',
    )
    return figures.legible(text)


def encode(pixels: np.ndarray) -> str:
    """An image uint8 [H, W, 1 or 3] as a data URI of a PNG."""
    picture = Picture.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    picture.save(content, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(content.getvalue()).decode()
