"""Classifies pictures by a file of mpl.export --to=stablehlo; needs jax, flatbuffers and Pillow:
python docs/run_stablehlo.py model.stablehlo a.jpg b.png
"""

import json
import sys
from pathlib import Path

import jax.export
import numpy as np
from PIL import Image, ImageOps

file, *pictures = sys.argv[1:]
about = json.loads(Path(file + '.json').read_text())
program = jax.export.deserialize(bytearray(Path(file).read_bytes()))
side, _, channels = about['image_shape']
whole = [
    ImageOps.exif_transpose(Image.open(p)).convert('RGB' if channels == 3 else 'L')
    for p in pictures
]
border = (
    1 - side / round(side / about['central'])
) / 2  # of the middle square, cut off on each side
images = [
    np.asarray(ImageOps.fit(x, (side, side), Image.Resampling.BICUBIC, border)) for x in whole
]
logits = program.call(np.stack(images).reshape(-1, side, side, channels))
for picture, row in zip(pictures, jax.nn.softmax(logits)):
    print(f'{picture}: {about["classes"][row.argmax()]} ({row.max():.4f})')
