"""Images of your own: any method, from random weights or from a file of trained ones.

    python -m mpl.train --config=configs/folder.py:fixmatch,path=photos,size=96 --workdir=runs/photos
    python -m mpl.train --config=configs/folder.py:supervised,path=photos,model=resnet50,weights=resnet50.safetensors --workdir=runs/transfer
    python -m mpl.train --config=configs/folder.py:supervised,path=photos,model=vit_s,weights=vit_s.safetensors,train=head --workdir=runs/probe
    python -m mpl.train --config=configs/folder.py:fixmatch,path=photos,model=vit_s,weights=timm/vit_small_patch16_224.augreg_in21k,train=lora --workdir=runs/lora

`path` is a folder with labeled/<class>/ and unlabeled/, or a CSV file, as in mpl/data/folder.py. A path
with a comma is quoted, path='a,b', or given as --config.source.path=a,b.

From random weights (model=wide_resnet is WRN-28-2): 10,000 steps of 32 labeled and 96 unlabeled images
of 96 pixels. SGD at 0.03 with FixMatch's part of a cosine, and the hyperparameters of each method, are
those of configs/fixmatch.py, for UDA and MPL those of configs/released.py, with ramps over the same
share of the run. Nothing was tuned for so few steps. The precision is float32; on a GPU or TPU
--config.networks.student.model.dtype=bfloat16 is faster.

From trained weights: `weights` is a .safetensors file of timm's, of the network that stands beside
the model in MODELS, such as `vit_small_patch16_224` for model=vit_s, or the name of a repository of
the Hugging Face Hub. Its head is replaced by a new one for the classes of the folder. `views.mean` and
`views.std` must be those that the weights were trained with, in units of [0, 255]: 255 times `mean`
and `std` of timm.data.resolve_model_data_config(model). Most networks of timm's have those of
ImageNet; the ViTs named `augreg`, as vit_s here, and SigLIP have 127.5 and 127.5, CLIP its own.
`supervised` is BiT-HyperRule for small tasks (arXiv 1912.11370 section 3.3): 500 steps of 512
images, SGD with momentum 0.9, no weight decay, and rate 0.003 for the backbone. Not of that paper: ten
times that rate for the head, a cosine schedule, 224 pixels. The other methods have the same optimizer
and 2,000 steps. train=head trains the head alone, on features in evaluation mode, so that all other
weights and batch statistics are constant. train=bias trains biases and head (BitFit), train=lora
adapters of rank 8 of all dense layers and the head (not with resnet50, which has none), in batches of
64 labeled images. The hyperparameters of these three have no source. `distill,logits=a.npy+b.npy` is the
last stage of arXiv 2503.09707: a student of the mean of several networks (docs/backbones.md).
"""

from functools import partial
from typing import Literal

import ml_collections

from . import fixmatch, imagenet, recipes, released
from .recipes import Labels, Recipe

DINO = dict(layer_scale=1e-5, registers=4)
VIT_B = dict(name='vit', size='B', patch=16, dtype='bfloat16')
MODELS = {
    'wide_resnet': dict(name='wide_resnet', depth=28, width=2),
    # Padding and epsilon of timm, which are not the defaults of mpl/models/resnet.py.
    'resnet50': dict(
        name='resnet', depth=50, padding='symmetric', norm_epsilon=1e-5, dtype='bfloat16'
    ),
    'convnext_t': dict(name='convnext', size='tiny', dtype='bfloat16'),  # convnext_tiny
    'vit_s': dict(name='vit', size='S', patch=16, dtype='bfloat16'),  # vit_small_patch16_224
    # vit_base_patch16_224.mae, vit_base_patch14_reg4_dinov2, vit_base_patch16_dinov3
    'mae_b': VIT_B | dict(pool='norm_mean'),
    'dinov2_b': VIT_B | DINO | dict(patch=14, positions='patches'),
    'dinov3_b': VIT_B | DINO | dict(positions='rotary', qkv_bias=False, norm_epsilon=1e-5),
    # vit_base_patch16_clip_quickgelu_224 (OpenAI), vit_base_patch16_siglip_224
    'clip_b': VIT_B | dict(pre_norm=True, norm_epsilon=1e-5, mlp='quick_gelu'),
    'siglip_b': VIT_B | dict(class_token=False, pool='attention'),
}
STANDARDIZED = dict.fromkeys(MODELS, dict(mean=imagenet.MEAN, std=imagenet.STD)) | {
    'vit_s': dict(mean=127.5, std=127.5),
    'siglip_b': dict(mean=127.5, std=127.5),
    'clip_b': dict(mean=(122.771, 116.746, 104.094), std=(68.501, 66.632, 70.323)),
}
# What is trained of the network, by the argument `train`.
FEW = {'bias': ('bias', 'head'), 'lora': ('lora', 'head')}
# Methods with a teacher that is trained first.
TEACHERS = {'noisy_student': 'supervised', 'distill': 'uda', 'reduced_mpl': 'uda'}
UDA = released.CIFAR10['uda']


def config(
    method: str,
    path: str = 'photos',
    labels: Labels = 'all',
    size: int | None = None,
    model: Literal[
        'wide_resnet',
        'resnet50',
        'convnext_t',
        'vit_s',
        'mae_b',
        'dinov2_b',
        'dinov3_b',
        'clip_b',
        'siglip_b',
    ] = 'wide_resnet',
    weights: str = '',
    train: Literal['all', 'head', 'bias', 'lora'] = 'all',
    steps: int | None = None,
    logits: str = '',
):
    """The config of one method on a folder of images.

    Args:
      method: one of METHODS.
      path: of the folder or CSV file.
      labels: number of labeled images to use; the others are unlabeled.
      size: of the images, in pixels; by default 96 for wide_resnet, 224 for the others.
      model: the network.
      weights: a .safetensors file to start from, or a repository such as timm/NAME; '' for random weights.
      train: 'head' trains the last layer alone, 'bias' and 'lora' few parameters beside it.
      steps: by default 10,000; with weights 2,000, for `supervised` 500.
      logits: of `distill`: files of logits of its teachers, joined by +; '' trains a teacher first.

    Raises:
      ValueError: weights with wide_resnet, train without weights, or logits with another method.
    """
    if weights and model == 'wide_resnet':
        others = ', '.join(f'model={name}' for name in MODELS if name != 'wide_resnet')
        raise ValueError(f'weights is for {others}; add one of them.')
    if train != 'all' and not weights:
        raise ValueError(f'train={train} needs weights=, a file of trained ones.')
    if logits and method != 'distill':
        raise ValueError(f'logits is for the method distill; {method} has no teacher.')
    is_supervised = method == 'supervised'
    size = size or (96 if model == 'wide_resnet' else 224)
    steps = steps or (10_000 if not weights else 500 if is_supervised else 2_000)
    views = dict(name='crops', size=size, **STANDARDIZED[model])
    if not is_supervised:
        views |= dict(strong=dict(name='randaugment', scale='rising', cutout=size // 2))
    if method == 'noisy_student':
        views |= dict(labeled='strong')
    batch = dict(labeled=32)
    if weights and is_supervised:
        batch = dict(labeled=64 if train in FEW else 512)
    chosen = ml_collections.ConfigDict(
        dict(
            steps=steps,
            source=dict(name='folder', path=path, size=size, central=0.875),
            split=dict(labels=recipes.count(labels)),
            batch=batch | dict(unlabeled=0 if is_supervised else 96, evaluate=512),
            views=views,
            networks=_networks(method, MODELS[model], weights, train, steps),
            algorithm=_algorithm(method, weights, steps, views['std']),
            every=dict(log=10, evaluate=100, save=100)
            if weights
            else dict(log=50, evaluate=500, save=500),
            steps_per_call=1,
        )
    )
    if weights:
        roles = ('student',) if method == 'reduced_mpl' else ()
        source = 'file' if weights.endswith('.safetensors') else 'hub'
        chosen.init_from = {source: weights, 'head': 'new', 'networks': roles}
    if logits:
        chosen.teacher = dict(logits=tuple(logits.split('+')))
        chosen.algorithm.update(weight=0.5, temperature=1.0)
    elif method in TEACHERS:
        teacher = config(TEACHERS[method], path, labels, size, model, weights, train)
        chosen.teacher = dict(config=teacher.to_dict())
    return chosen


def _networks(method, model, weights, train, steps):
    sgd = dict(name='sgd', learning_rate=0.03)
    if train == 'head':
        optimizer = dict(name='adamw', learning_rate=1e-3, backbone_rate=0.0)
    elif train in FEW:
        optimizer = dict(name='adamw', learning_rate=1e-3, trained=FEW[train])
    elif weights:
        optimizer = sgd | dict(warmup_steps=50, backbone_rate=0.1)
    else:
        optimizer = sgd | dict(schedule='cosine_part', weight_decay=5e-4)
    network = dict(model=model, optimizer=optimizer, evaluation_mode=train != 'all')
    if train == 'lora':
        network |= dict(lora=dict(rank=8, alpha=8.0))
    if method == 'mpl':  # The teacher is trained alone in the first steps.
        wait_steps = _share(released.CIFAR10['wait_steps'], 300_000, steps)
        delayed = optimizer | dict(wait_steps=wait_steps)
        return dict(teacher=network, student=network | dict(optimizer=delayed))
    if method == 'reduced_mpl':
        small = dict(model=dict(name='mlp', widths=(32,), init=0.01), optimizer=sgd)
        return dict(teacher=small, student=network)
    return dict(student=network)


def _algorithm(method, weights, steps, std):
    if method == 'supervised' and weights:
        return dict(name='supervised')
    uda = UDA | dict(ramp_steps=_share(UDA['ramp_steps'], released.CIFAR10['steps'], steps))
    if method in fixmatch.ALGORITHMS:
        own = dict(fixmatch.ALGORITHMS[method])
        if 'ramp_steps' in own:
            own['ramp_steps'] = _share(own['ramp_steps'], fixmatch.STEPS, steps)
        if method == 'vat':
            own['radius'] = fixmatch.radius(std)
    else:
        own = {
            'supervised': {},
            'uda': uda | dict(mask_sharpened=True),
            'mpl': dict(feedback='exact', label_view='strong')
            | {f'uda_{key}': value for key, value in uda.items()},
            'noisy_student': dict(weight=3.0, label_smoothing=0.1),
            'distill': dict(weight=0.9, temperature=4.0),
            'reduced_mpl': dict(feedback='exact'),
        }[method]
    return dict(name=method, ema_decay=0.99 if weights else 0.999) | own


def _share(count, of, steps):
    """`count` of `of` steps, scaled to `steps`."""
    return round(count / of * steps)


METHODS = {
    name: partial(config, name)
    for name in ('supervised', *fixmatch.ALGORITHMS, 'uda', 'mpl', *TEACHERS)
}

SCRATCH = {
    'supervised': 'optimizer of configs/fixmatch.py, untuned',
    'uda': 'optimizer of configs/fixmatch.py, losses of configs/released.py, untuned',
    'mpl': 'optimizer of configs/fixmatch.py, losses of configs/released.py, untuned',
    'noisy_student': 'one round that keeps all images, untuned',
    'distill': 'losses of configs/trained_teacher.py; the teacher is `uda`, trained first; untuned',
    'reduced_mpl': 'losses of configs/trained_teacher.py; the teacher is `uda`, trained first; untuned',
}
BIT = 'BiT-HyperRule (arXiv 1912.11370, section 3.3)'
FILES = {
    name: f'model={name},weights={name}.safetensors' for name in ('resnet50', 'vit_s', 'dinov2_b')
}
RECIPES = [
    *[Recipe(name, SCRATCH.get(name, 'configs/fixmatch.py, untuned')) for name in METHODS],
    *[Recipe(f'supervised,{file}', BIT) for file in FILES.values()],
    *[Recipe(f'supervised,{file},train=head', 'of no source') for file in FILES.values()],
    *[Recipe(f'supervised,{FILES["vit_s"]},train={name}', 'of no source') for name in FEW],
    Recipe(
        f'distill,{FILES["vit_s"]},train=lora,logits=lora.npy+bias.npy',
        'stages of arXiv 2503.09707, untuned',
    ),
    Recipe(f'fixmatch,{FILES["resnet50"]}', f'configs/fixmatch.py, optimizer of {BIT}, untuned'),
    Recipe(f'mpl,{FILES["vit_s"]}', f'losses of configs/released.py, optimizer of {BIT}, untuned'),
]
