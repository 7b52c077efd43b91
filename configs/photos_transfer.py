"""Transfer: a network of timm's, trained on ImageNet, goes on with photos of your own.

    python -m mpl.train --config=configs/photos_transfer.py --workdir=runs/photos --config.source.path=photos --config.init_from.file=resnet50.safetensors
    python -m mpl.train --config=configs/photos_transfer.py:resnet50_probe --workdir=runs/probe --config.source.path=photos --config.init_from.file=resnet50.safetensors

`vit_s` and `vit_s_probe` are a ViT-S/16. The folder is as data/folder.py says; any `resnet50` or
`vit_small_patch16_224` of timm's as .safetensors is a file. Its head is left out, and the new one
is for as many classes as the folder has.

`views.mean` and `views.std` must be those that the weights were trained with, in units of [0, 255]:
255 times `mean` and `std` of timm.data.resolve_model_data_config(model). Most networks of timm's have
those of ImageNet, as resnet50 here; the ViTs named `augreg` have 127.5 and 127.5, as vit_s here.

The whole network (BiT-HyperRule for small tasks, arXiv 1912.11370 section 3.3): 500 steps of 512
images, SGD with momentum 0.9 and no decay, at rate 0.003 for the trunk. Ours: the head has ten
times that rate, a cosine schedule, 224 pixels. A probe trains the head alone, on features of
evaluation mode, so that weights and batch statistics stay as they came; its numbers are of no source.

Result: not known here, for want of trained weights.
"""

import ml_collections

NETWORKS = {
    # Their padding and epsilon are not those of mpl/models/resnet.py by default.
    'resnet50': dict(
        name='resnet', depth=50, padding='symmetric', norm_epsilon=1e-5, dtype='bfloat16'
    ),
    'vit_s': dict(name='vit', size='S', patch=16, dtype='bfloat16'),
}
STANDARDIZED = {
    'resnet50': dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    'vit_s': dict(mean=127.5, std=127.5),
}


def get_config(which: str = 'resnet50'):
    """which: 'resnet50' or 'vit_s', or one of them followed by '_probe'."""
    model, probe = which.removesuffix('_probe'), which.endswith('_probe')
    if probe:
        optimizer = dict(name='adamw', learning_rate=1e-3, trunk_rate=0.0)
    else:
        optimizer = dict(name='sgd', learning_rate=0.03, warmup_steps=50, trunk_rate=0.1)
    network = dict(model=NETWORKS[model], optimizer=optimizer, evaluation_mode=probe)
    return ml_collections.ConfigDict(
        dict(
            steps=500,
            source=dict(name='folder', path='photos', size=224, central=0.875),
            batch=dict(labeled=512, evaluate=512),
            views=dict(name='crops', size=224, **STANDARDIZED[model]),
            networks=dict(student=network),
            algorithm=dict(name='supervised'),
            init_from=dict(file=f'{model}.safetensors', head='new'),
            every=dict(log=10, evaluate=100, save=100),
            steps_per_call=1,
        )
    )
