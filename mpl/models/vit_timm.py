"""Vision transformers from and to timm: names of tensors, arguments, position embeddings of other sizes."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mpl.models import torch
from mpl.models.vit_blocks import SIZES

NAMES = {
    'Ti': 'tiny_patch16',
    'S': 'small_patch16',
    'B': 'base_patch16',
    'L': 'large_patch16',
    'H': 'huge_patch14',
}
POOLS = {'token': 'token', 'mean': 'avg', 'norm_mean': 'avg', 'attention': 'map'}
TOP = {
    'token': 'cls_token',
    'registers': 'reg_token',
    'positions': 'pos_embed',
    'patch_positions': 'pos_embed',
    'patches': 'patch_embed.proj',
    'norm_pre': 'norm_pre',
    'head': 'head',
}
BLOCK = {
    'norm_0': 'norm1',
    'qkv': 'attn.qkv',
    'out': 'attn.proj',
    'norm_1': 'norm2',
    'dense_0': 'mlp.fc1',
    'dense_1': 'mlp.fc2',
    'gate': 'mlp.fc1_g',
}
POOL = {
    'query': 'q',
    'key_value': 'kv',
    'out': 'proj',
    'norm': 'norm',
    'dense_0': 'mlp.fc1',
    'dense_1': 'mlp.fc2',
}


def resize_positions(positions: np.ndarray, grid: tuple, before: int = 1) -> np.ndarray:
    """Position embeddings for another image size: [1, before + n * n, D] -> [1, before + rows * columns, D].

    Bicubic (a = -0.5), antialiased where the grid shrinks, as in timm. Those of the first `before`
    tokens, which are not of the image, are kept; so are all those of a grid that is not square but has as many
    patches.

    grid: (rows, columns) of patches.
    """
    count = positions.shape[1] - before if positions.ndim == 3 else 0
    same = count == grid[0] * grid[1]
    if same and (grid[0] == grid[1] or round(count**0.5) ** 2 != count):
        return positions
    side = grid_side(positions, before)
    width = positions.shape[2]
    patches = positions[:, before:].astype('float32').reshape(1, side, side, width)
    patches = jax.image.resize(patches, (1, *grid, width), 'cubic').reshape(1, -1, width)
    return np.concatenate([positions[:, :before], patches], axis=1)


def resize(params: dict, image_shape: tuple) -> dict:
    """Parameters for square images of one size, as those for images [H, W, C] of another."""
    patch = params['patches']['kernel'].shape[0]
    grid = (image_shape[0] // patch, image_shape[1] // patch)
    tokens = sum(params[name].shape[1] for name in ('token', 'registers') if name in params)
    resized = {
        name: resize_positions(params[name], grid, before)
        for name, before in (('positions', tokens), ('patch_positions', 0))
        if name in params
    }
    return params | resized


def grid_side(positions: np.ndarray, before: int) -> int:
    """Patches along one side of the image that [1, before + n * n, D] position embeddings are for."""
    count = positions.shape[1] if positions.ndim == 3 else 0
    side = round(max(count - before, 0) ** 0.5)
    if side == 0 or count != before + side * side:
        raise ValueError(
            f'Position embeddings of the shape {positions.shape} are not those of {before} tokens '
            f'before a square grid, (1, {before} + n * n, width).'
        )
    return side


def from_timm(
    model: nn.Module, tensors: dict[str, np.ndarray], image_shape: tuple | None = None
) -> dict:
    """{'params': ...} of `model` from the state dict of a VisionTransformer of timm, or of its DINOv3.

    The head keeps the file's number of classes; it is left out if the file has none. timm's
    models of global_pool='avg' are those of pool='mean'; with fc_norm=False, as its DINOv3 and the files of MAE,
    of pool='norm_mean'.

    image_shape: [H, W, C] of the images, to which the position embeddings are resized;
        None keeps those of the file, and its square images.

    Raises:
      ValueError: a tensor is missing, misshapen or unused; names the options that the file shows.
    """
    check_biases(model)
    try:
        return read(model, tensors, image_shape)
    except ValueError as error:
        options = differences(model, tensors)
        if not options:
            raise
        raise ValueError(f'{error} The file is of a model with {", ".join(options)}.') from error


def read(model, tensors, image_shape):
    """See `from_timm`."""
    patch = model.patch
    if model.positions == 'rotary':
        image_shape = image_shape or (patch, patch, 3)
    else:
        if 'pos_embed' not in tensors:
            raise ValueError(
                'There is no tensor pos_embed: give the weights of a vision transformer with learned '
                "positions, or make the model with positions='rotary'."
            )
        positions = tensors['pos_embed']
        before = model.class_token + model.registers if model.positions == 'tokens' else 0
        if image_shape is None:
            side = grid_side(positions, before) * patch
            image_shape = (side, side, 3)
        grid = (image_shape[0] // patch, image_shape[1] // patch)
        tensors = tensors | {'pos_embed': resize_positions(positions, grid, before)}
        tensors = unpack(tensors) if model.mlp == 'swiglu' else tensors
    image = jnp.zeros((1, *image_shape))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    return torch.read(shapes, tensors, partial(timm_name, model))


def differences(model, tensors):
    """The options of `vit.make` that a file shows and the model does not have, such as 'registers=4'."""

    def has(end):
        return any(name.endswith(end) for name in tensors)

    if not has('.attn.proj.weight'):
        return []  # No vision transformer.
    scale = model.layer_scale or 1e-5
    shown = {
        'class_token': has('cls_token'),
        'registers': tensors['reg_token'].shape[1] if 'reg_token' in tensors else 0,
        'layer_scale': scale if has('.ls1.gamma') or has('.gamma_1') else 0.0,
        'qkv_bias': has('.attn.qkv.bias'),
        'pre_norm': has('norm_pre.weight'),
    }
    for option, value, end in (
        ('positions', 'patches', 'reg_token'),  # As in DINOv2.
        ('pool', 'mean', 'fc_norm.weight'),
        ('pool', 'attention', 'attn_pool.latent'),
        ('mlp', 'swiglu', '.fc1_g.weight'),
    ):
        if has(end):
            shown[option] = value
    if not has('pos_embed'):
        shown['positions'] = 'rotary'
    return [f'{name}={value!r}' for name, value in shown.items() if value != getattr(model, name)]


def to_timm(model: nn.Module, variables: dict, image_shape: tuple) -> torch.Timm:
    """The inverse of `from_timm`: the model as one of timm's vision transformers.

    Raises:
      ValueError: timm has no such model.
    """
    check_biases(model)
    architecture, own = (rotary if model.positions == 'rotary' else learned)(model)
    arguments = {
        'img_size': list(image_shape[:2]),
        'patch_size': model.patch,
        'global_pool': POOLS[model.pool],
        'in_chans': image_shape[2],
    }
    tensors = torch.write(variables, partial(timm_name, model))
    if model.positions != 'rotary' and model.mlp == 'swiglu':
        tensors = pack(tensors)
    return torch.Timm(architecture, arguments | own, tensors)


def learned(model):
    """Architecture and arguments of a VisionTransformer of timm, which has norms and SwiGLU by architecture alone."""
    narrow = model.norm_epsilon == 1e-5
    if model.norm_epsilon != 1e-6 and (not narrow or model.mlp == 'swiglu'):
        raise ValueError(
            f'the model has norm_epsilon={model.norm_epsilon}; timm has 1e-6, or 1e-5 without SwiGLU.'
        )
    own = shape(model)
    if model.mlp == 'swiglu':
        architecture = 'vit_giant_patch14_dinov2'
    elif narrow:
        architecture = 'vit_base_patch16_clip_224'
    elif model.size in NAMES:
        architecture, own = f'vit_{NAMES[model.size]}_224', {}
    else:
        architecture = 'vit_base_patch16_224'
    if model.mlp == 'swiglu':  # Its two first layers are one in timm.
        own['mlp_ratio'] = ratio(model, 2)
    elif model.mlp_width:
        own['mlp_ratio'] = ratio(model)
    if model.mlp in ('gelu_tanh', 'quick_gelu'):
        own['act_layer'] = model.mlp
    if narrow or model.pre_norm:
        own['pre_norm'] = model.pre_norm
    if model.mlp == 'swiglu' or model.layer_scale:
        own['init_values'] = model.layer_scale or None
    for default, name, value in (
        (True, 'class_token', model.class_token),
        (0, 'reg_tokens', model.registers),
        (False, 'no_embed_class', model.positions == 'patches'),
        (True, 'qkv_bias', model.qkv_bias),
    ):
        if value != default:
            own[name] = value
    if model.pool == 'norm_mean':
        own['fc_norm'] = False
    return architecture, own


def rotary(model):
    """Architecture and arguments of timm's DINOv3."""
    if model.norm_epsilon != 1e-5 or model.mlp not in ('gelu', 'swiglu'):
        raise ValueError(
            'timm has rotary positions with norm_epsilon=1e-5 and mlp gelu or swiglu; the model has '
            f'{model.norm_epsilon} and {model.mlp}.'
        )
    own = shape(model) | {
        'class_token': model.class_token,
        'num_reg_tokens': model.registers,
        'init_values': model.layer_scale or None,
        'use_pre_transformer_norm': model.pre_norm,
        'use_fc_norm': model.pool == 'mean',
        'swiglu_mlp': model.mlp == 'swiglu',
        'swiglu_align_to': 1,
        'mlp_ratio': ratio(model),
    }
    return 'vit_small_patch16_dinov3', own


def shape(model):
    return dict(zip(('embed_dim', 'depth', 'num_heads'), SIZES[model.size]))


def ratio(model, layers=1):
    """Of the hidden width of so many layers to the width; timm rounds their product down."""
    width = SIZES[model.size][0]
    return (layers * model.mlp_width + 0.5) / width if model.mlp_width else 4.0 * layers


def check_biases(model):
    if model.positions == 'rotary' and model.qkv_bias:
        raise ValueError(
            'timm has no biases of keys with rotary positions: make the model with qkv_bias=False.'
        )


def unpack(tensors):
    """SwiGLU as two layers each, where the first layer mlp.fc1 has both, the gate first."""
    found = {}
    for name, tensor in tensors.items():
        first, middle, leaf = name.rpartition('.mlp.fc1.')
        if middle:
            gate, value = np.split(tensor, 2)
            found |= {f'{first}.mlp.fc1_g.{leaf}': gate, f'{first}.mlp.fc1_x.{leaf}': value}
        else:
            found[name] = tensor
    return found


def pack(tensors):
    """The inverse of `unpack`."""
    found = dict(tensors)
    for name in tensors:
        if '.mlp.fc1_g.' in name:
            pair = [found.pop(name), found.pop(name.replace('fc1_g', 'fc1_x'))]
            found[name.replace('fc1_g', 'fc1')] = np.concatenate(pair)
    return found


def timm_name(model, path):
    """('block_1', 'qkv', 'kernel') -> 'blocks.1.attn.qkv.weight'."""
    module, layer = path[0], path[-2] if len(path) > 1 else ''
    if len(path) == 1:
        return TOP[module]
    if module.startswith('block'):
        prefix = f'blocks.{module.split("_")[1]}.'
        if path[1].startswith('layer_scale'):
            number = int(path[1][-1]) + 1
            return prefix + (
                f'gamma_{number}' if model.positions == 'rotary' else f'ls{number}.gamma'
            )
        name = 'mlp.fc1_x' if model.mlp == 'swiglu' and layer == 'dense_0' else BLOCK[layer]
        return f'{prefix}{name}.{torch.LEAVES[path[-1]]}'
    if module == 'pool':
        return 'attn_pool.' + (
            'latent' if len(path) == 2 else f'{POOL[layer]}.{torch.LEAVES[path[-1]]}'
        )
    norm = 'fc_norm' if model.pool == 'mean' else 'norm'
    return f'{norm if module == "norm" else TOP[module]}.{torch.LEAVES[path[-1]]}'
