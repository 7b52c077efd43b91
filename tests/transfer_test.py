"""Transfer from timm, whole: a file of its weights, its numbers, photos, a probe. Needs torch and timm."""

import os
import pathlib
import shutil

import chex
import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

from mpl.models import network
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import folders, stages
from mpl.run import weights as start

torch = pytest.importorskip('torch')
timm = pytest.importorskip('timm')
save_file = pytest.importorskip('safetensors.torch').save_file

pytestmark = pytest.mark.usefixtures('fast_compile')

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = pathlib.Path(os.environ.get('MPL_TEST_DATA', ROOT.parent / 'shared' / 'data'))
SIZE = 32
MODELS = {
    'resnet18': dict(name='resnet', depth=18, padding='symmetric', norm_epsilon=1e-5),
    'vit_tiny_patch16_224': dict(name='vit', size='Ti', patch=16),
    'tf_efficientnet_b0': dict(name='efficientnet', variant='b0'),
}


def export(name, path, **numbers):
    """A network of timm's with random norms and statistics, and its file at `path`."""
    torch.manual_seed(0)
    model = timm.create_model(name, **numbers).eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
    save_file(model.state_dict(), str(path))
    return model


def make_config(name, source, **init_from):
    student = dict(
        model=MODELS[name],
        optimizer=dict(name='sgd', learning_rate=0.01, weight_decay=0.1, backbone_rate=0.0),
        evaluation_mode=True,
    )
    return configs.complete(
        dict(
            steps=4,
            source=source,
            batch=dict(labeled=8, evaluate=16),
            views=dict(name='images', mean=127.5, std=60.0),
            networks=dict(student=student),
            algorithm=dict(name='supervised'),
            init_from=init_from,
            every=dict(log=1, evaluate=4, save=2),
            steps_per_call=1,
        )
    )


@pytest.fixture
def photos(tmp_path):
    """A folder of ants and bees, or of gray pictures where there are none."""
    found = DATA / 'photos' / 'hymenoptera_subset'
    for part, ours in (('train', 'labeled'), ('val', 'validation')):
        if found.exists():
            shutil.copytree(found / part, tmp_path / 'photos' / ours)
            continue
        for number in range(16):
            path = tmp_path / 'photos' / ours / 'ab'[number % 2] / f'{number}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (40, 50), (10 * number,) * 3).save(path)
    return str(tmp_path / 'photos')


def said_by(model, image):
    """Features and logits that a network of timm's has for images [B, H, W, C]."""
    with torch.no_grad():
        features = model.forward_features(torch.tensor(np.array(image)).permute(0, 3, 1, 2))
        features = model.forward_head(features, pre_logits=True)
        return features.numpy(), model.get_classifier()(features).numpy()


def assert_close(got, wanted):
    assert np.linalg.norm(got - wanted) < 1e-4 * np.linalg.norm(wanted)


@pytest.mark.parametrize('name', MODELS)
def test_network_from_a_file_says_what_timm_s_says(name, tmp_path):
    """For all 1000 classes; a ViT's file is for larger images, and timm adapts it too."""
    path = tmp_path / 'weights.safetensors'
    wanted = export(name, path)
    if name.startswith('vit'):
        large = export(name, path, img_size=4 * SIZE)
        wanted = timm.create_model(name, img_size=SIZE).eval()
        resized = timm.models.vision_transformer.checkpoint_filter_fn(large.state_dict(), wanted)
        wanted.load_state_dict(resized)
    source = dict(name='synthetic', classes=1000, examples=1000, size=SIZE)
    experiment = experiments.assemble(make_config(name, source, file=str(path)), jax.devices()[:1])
    (found,) = start.find(experiment).values()
    frozen = network.Frozen(experiment.definitions['student'], found)
    image = experiment.views.evaluate(experiment.source.train.read(np.arange(4)))
    got = jax.jit(lambda image: network.predict(frozen, image))(image)
    for mine, other in zip(got, said_by(wanted, image), strict=True):
        assert_close(mine, other)


def test_probe_on_photos_learns_a_head_on_timm_s_own_features(photos, tmp_path):
    """The backbone keeps its bits, in the average too; a run killed in its midst needs no file."""
    path, workdir = tmp_path / 'weights.safetensors', epath.Path(tmp_path) / 'run'
    model = export('resnet18', path)
    source = dict(name='folder', path=photos, size=SIZE)
    config = make_config('resnet18', source, file=str(path), head='new')
    stages.run(config, workdir)
    experiment, state, _ = folders.load(workdir)
    (found,) = start.find(experiment).values()
    backbone = {name: layer for name, layer in state.params.items() if name != 'head'}
    assert_same_bits((backbone, state.batch_stats), (found.params, found.batch_stats))
    chex.assert_shape(state.params['head']['dense']['kernel'], (512, 2))
    drawn = experiments.initialize(experiment).params['head']['dense']['kernel']
    assert np.abs(state.params['head']['dense']['kernel'] - drawn).max() > 1e-3
    image = experiment.views.evaluate(experiment.source.validation.read(np.arange(4)))
    (frozen,) = experiment.algorithm.networks(state).values()
    got = jax.jit(lambda image: network.predict(frozen, image))(image)
    assert_close(got.features, said_by(model, image)[0])

    shutil.rmtree(workdir / 'checkpoints' / '4')
    (workdir / 'report.json').unlink()
    path.unlink()
    stages.run(config, workdir)
    assert_same_bits(folders.load(workdir)[1], state)


def assert_same_bits(got, wanted):
    for a, b in zip(*map(jax.tree.leaves, (got, wanted)), strict=True):
        assert np.array(a).tobytes() == np.array(b).tobytes()
