"""EfficientNet's weights in the names and layouts of timm."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mpl.models import efficientnet_blocks as blocks
from mpl.models import torch

# Names of layers here and in timm: within a block that does not expand, or does; outside of blocks.
TIMM_UNEXPANDED = {
    ('depthwise', 'conv'): 'conv_dw',
    ('depthwise', 'norm'): 'bn1',
    ('squeeze',): 'se.conv_reduce',
    ('excite',): 'se.conv_expand',
    ('project', 'conv'): 'conv_pw',
    ('project', 'norm'): 'bn2',
}
TIMM_EXPANDED = TIMM_UNEXPANDED | {
    ('expand', 'conv'): 'conv_pw',
    ('expand', 'norm'): 'bn1',
    ('depthwise', 'norm'): 'bn2',
    ('project', 'conv'): 'conv_pwl',
    ('project', 'norm'): 'bn3',
}
TIMM_OUTSIDE = {
    ('stem', 'conv'): 'conv_stem',
    ('stem', 'norm'): 'bn1',
    ('top', 'conv'): 'conv_head',
    ('top', 'norm'): 'bn2',
    ('head', 'dense'): 'classifier',
}


def from_timm(
    model: nn.Module, tensors: dict[str, np.ndarray], image_shape: tuple = (32, 32, 3)
) -> dict:
    """{'params': ..., 'batch_stats': ...} of `model` from the state dict of timm's tf_efficientnet.

    The head keeps the file's number of classes; it is left out if the file has none. Most of timm's
    files need ImageNet's usual mean and standard deviation; those of AdvProp (ap_in1k) and b8 need
    0.5 and 0.5. The center crop of evaluation is from 0.875 (b0) to 0.949 (b7), 0.936 (l2 at 475).

    image_shape: [H, W, C] of the images; only C is used.

    Raises:
      ValueError: the model differs from timm's; a tensor is missing, misshapen or unused.
    """
    check_timm(model)
    image = jnp.zeros((1, *image_shape))
    single = model.clone(scan=False)
    shapes = jax.eval_shape(lambda: single.init(jax.random.key(0), image, False))
    variables = torch.read(shapes, tensors, timm_name)
    return {name: stack(model, single) for name, single in variables.items()}


def to_timm(model: nn.Module, variables: dict, image_shape: tuple) -> torch.Timm:
    """The inverse of `from_timm`: the model as timm's tf_efficientnet.

    Raises:
      ValueError: timm has no such model.
    """
    check_timm(model)
    names = [
        name for name, numbers in blocks.VARIANTS.items() if numbers == (model.width, model.depth)
    ]
    if model.small_image or not names or names == ['b6_wide']:
        raise ValueError(
            f'timm has no EfficientNet of width {model.width} and depth {model.depth} with '
            f'small_image={model.small_image}; it has the variants b0 to b7 and l2 without it.'
        )
    single = {name: unstack(model, stacked) for name, stacked in variables.items()}
    arguments = {'in_chans': image_shape[-1]}
    return torch.Timm(f'tf_efficientnet_{names[0]}', arguments, torch.write(single, timm_name))


def check_timm(model):
    if model.norm_epsilon != 1e-3:
        raise ValueError(
            f'timm trained with norm_epsilon=1e-3; the model has norm_epsilon={model.norm_epsilon}: '
            'make it with that of timm.'
        )


def unstack(model, variables):
    """The inverse of `stack`."""
    variables = dict(variables)
    for stage, count in enumerate(blocks.counts_of(model.depth)):
        for name, members in blocks.names_of(stage, count, model.scan).items():
            if len(members) > 1:
                stacked = variables.pop(name)
                for n, i in enumerate(members):
                    block = jax.tree.map(lambda leaf, n=n: leaf[n], stacked)
                    variables[f'stage_{stage}_block_{i}'] = block
    return variables


def stack(model, variables):
    """Variables of single blocks, renamed and stacked as in `model`."""
    variables = dict(variables)
    for stage, count in enumerate(blocks.counts_of(model.depth)):
        for name, members in blocks.names_of(stage, count, model.scan).items():
            if len(members) > 1:
                single = [variables.pop(f'stage_{stage}_block_{i}') for i in members]
                variables[name] = jax.tree.map(lambda *leaves: np.stack(leaves), *single)
    return variables


def timm_name(path):
    """('stage_1_block_0', 'expand', 'conv', 'kernel') -> 'blocks.1.0.conv_pw.weight'."""
    module, *layer, leaf = path[0], *path[1:-1], torch.LEAVES[path[-1]]
    if module.startswith('stage'):
        _, stage, _, block = module.split('_')
        names = TIMM_UNEXPANDED if blocks.STAGES[int(stage)][3] == 1 else TIMM_EXPANDED
        return f'blocks.{stage}.{block}.{names[tuple(layer)]}.{leaf}'
    return f'{TIMM_OUTSIDE[module, *layer]}.{leaf}'
