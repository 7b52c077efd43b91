"""Weights of timm's models from the Hugging Face Hub, and the preprocessing that their config names.

Needs launch/requirements-hub.txt. Files are kept in the cache of huggingface_hub (HF_HOME), from which
they are read without a network.
"""

import importlib
import json
import math
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

INSTALL = 'install it with: pip install -r launch/requirements-hub.txt'


def fetch(name: str) -> Path:
    """The file model.safetensors of a repository, in the cache, with config.json beside it.

    Args:
      name: 'timm/vit_small_patch14_dinov2.lvd142m', or that of a revision: 'timm/...@1a2b3c'.

    Raises:
      ValueError: huggingface_hub is absent, or a file is neither cached nor to be had.
    """
    try:
        client = importlib.import_module('huggingface_hub')
    except ImportError as error:
        raise ValueError(
            f'init_from.hub is {name}, which needs huggingface_hub; {INSTALL}, or download '
            'model.safetensors and config.json and give init_from.file.'
        ) from error
    repository, _, revision = name.partition('@')
    try:
        for file in ('config.json', 'model.safetensors'):
            path = client.hf_hub_download(repository, file, revision=revision or None)
    except Exception as error:  # Of many types, by the version of the client.
        raise ValueError(
            f'init_from.hub {name}: {file} is not in the cache of huggingface_hub and cannot be '
            f'downloaded ({type(error).__name__}: {str(error).splitlines()[0]}). Give a repository such '
            "as 'timm/vit_small_patch14_dinov2.lvd142m', connect this machine for the first run, or "
            'copy the files here and give init_from.file.'
        ) from error
    return Path(path)


def compare(file: Path, config: ConfigDict, image_shape: tuple[int, ...]) -> str | None:
    """A warning if the weights were trained with another preprocessing than that of the run.

    Args:
      file: of the weights; timm's config.json is read where it is in the same folder.
      config: of the run.
      image_shape: [H, W, C] of its images.

    Returns:
      What differs, as overrides that give the run the preprocessing of the weights. None without a
      difference, or where the folder has no config.json of timm.

    Raises:
      ValueError: that file is no JSON.
    """
    wanted = preprocessing(file.parent / 'config.json')
    overrides = []
    for key in ('mean', 'std'):
        if key in wanted and key in config.views and not _same(config.views[key], wanted[key]):
            numbers = ','.join(f'{value:.6g}' for value in wanted[key])
            overrides.append(f'--config.views.{key}={numbers}')
    if 'size' in wanted and wanted['size'] != image_shape[0]:
        sections = [s for s in ('source', 'views') if 'size' in config[s] and config[s].size]
        overrides += [f'--config.{section}.size={wanted["size"]}' for section in sections]
    if 'central' in wanted and 'central' in config.source:
        if not math.isclose(config.source.central, wanted['central'], rel_tol=1e-3):
            overrides.append(f'--config.source.central={wanted["central"]:.6g}')
    if not overrides:
        return None
    return (
        f'warning: {file} was trained with another preprocessing of images than this run has, which '
        f'may cost accuracy; to take it over, add {" ".join(overrides)}'
    )


def preprocessing(file: Path) -> dict:
    """What timm's config.json names: 'mean' and 'std' in units of [0, 255], 'size', 'central'.

    'central' is timm's crop_pct, the side of the center square as a share of the short side. {} without
    a file, or without timm's pretrained_cfg in it.

    Raises:
      ValueError: the file is no JSON.
    """
    if not file.exists():
        return {}
    try:
        given = json.loads(file.read_text(encoding='utf-8'))['pretrained_cfg']
    except KeyError:
        return {}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f'{file} is not the config.json of a model of timm ({error}); download it again, or remove '
            'it from the folder of the weights.'
        ) from error
    found = {key: [255 * value for value in given[key]] for key in ('mean', 'std') if key in given}
    if 'input_size' in given:
        found['size'] = given['input_size'][1]
    if 'crop_pct' in given:
        found['central'] = given['crop_pct']
    return found


def _same(one, other):
    """Whether numbers for each channel, or one for all, are the same to a thousandth of a level."""
    one, other = np.broadcast_arrays(np.asarray(one, float), np.asarray(other, float))
    return np.allclose(one, other, rtol=0, atol=1e-3)
