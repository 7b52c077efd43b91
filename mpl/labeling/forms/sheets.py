"""Questions as contact sheets: to_label_000.png, ... with 64 thumbnails each."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mpl.data import images
from mpl.labeling.question_files import Asked

SIDE, _COLUMNS = 128, 8  # pixels of a thumbnail; thumbnails in a row, and rows
_CAPTION, _GAP = 18, 8


def write(folder: Path, asked: Asked, suggest: bool) -> None:
    """Draws 8 x 8 images on each sheet, with their ranks; a damaged image is a crossed frame.

    suggest: adds the suggested class to the rank.
    """
    size = _COLUMNS**2
    for start in range(0, len(asked.path), size):
        path = folder / f'to_label_{start // size:03}.png'
        if path.exists():
            continue
        ranks = range(start, min(start + size, len(asked.path)))
        sheet = draw([_thumbnail(asked, rank) for rank in ranks], _captions(asked, ranks, suggest))
        temporary = path.with_suffix('.tmp')
        sheet.save(temporary, format='PNG')
        temporary.replace(path)


def draw(thumbnails: list[Image.Image | None], captions: list[str]) -> Image.Image:
    """Images of at most SIDE pixels in rows of 8 on a white sheet, each below its caption."""
    step, height = SIDE + _GAP, SIDE + _CAPTION + _GAP
    rows = -(-len(thumbnails) // _COLUMNS)
    sheet = Image.new('RGB', (_COLUMNS * step + _GAP, rows * height + _GAP), 'white')
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for place, (thumbnail, caption) in enumerate(zip(thumbnails, captions)):
        row, column = divmod(place, _COLUMNS)
        left, top = _GAP + column * step, _GAP + row * height
        pen.text((left, top), caption, 'black', font)
        top += _CAPTION
        if thumbnail is None:
            right, bottom = left + SIDE - 1, top + SIDE - 1
            pen.rectangle((left, top, right, bottom), outline='gray')
            pen.line((left, top, right, bottom), 'gray')
        else:
            sheet.paste(thumbnail, (left, top))
    return sheet


def _thumbnail(asked: Asked, rank: int) -> Image.Image | None:
    """An image with at most SIDE pixels on each side, small ones enlarged; None if it is damaged."""
    try:
        whole = images.thumbnail((Path(asked.root) / asked.path[rank]).read_bytes(), SIDE)
    except images.Damaged:
        return None
    factor = SIDE // max(whole.size)
    return whole.resize([factor * n for n in whole.size], Image.Resampling.NEAREST)


def _captions(asked: Asked, ranks: range, suggest: bool) -> list[str]:
    """'17' or '17 cat', which fits above a thumbnail."""
    texts = (f'{rank + 1} {asked.suggestion[rank]}' if suggest else f'{rank + 1}' for rank in ranks)
    return [text.encode('latin-1', 'replace').decode('latin-1')[:18] for text in texts]
