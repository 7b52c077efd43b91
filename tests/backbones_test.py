"""docs/backbones.md: its commands one after the other, with a small random backbone and made pictures."""

import csv
import importlib
import pathlib
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from PIL import Image

from mpl.models import vit
from mpl.run import folders, row_files, teacher, teacher_logits

PAGE = pathlib.Path(__file__).parent.parent / 'docs' / 'backbones.md'
SMALL = {
    'steps': 24,
    'source.size': 16,
    'views.size': 16,
    'batch.labeled': 8,
    'batch.evaluate': 32,
    'every.log': 12,
    'every.evaluate': 24,
    'every.save': 24,
    'networks.student.model.dtype': None,
    'networks.student.optimizer.learning_rate': 0.02,
}
COLORS = {'night': 40, 'noon': 215}

pytestmark = pytest.mark.usefixtures('fast_compile')


def draw(folder, count, level, random):
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.clip(random.normal(level, 25, (20, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{level}_{number}.png')


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Photos with 5 labels of each class, and a client of the hub with the weights of one small network."""
    random = np.random.default_rng(0)
    monkeypatch.setitem(vit.SIZES, 'S', (24, 2, 3))
    for name, level in COLORS.items():
        draw(tmp_path / 'photos' / 'labeled' / name, 5, level, random)
        draw(tmp_path / 'photos' / 'unlabeled' / name, 8, level, random)
        draw(tmp_path / 'new_photos' / name, 3, level, random)
    model = vit.make(7)
    variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), False))()
    tensors = vit.to_timm(model, variables, (16, 16, 3)).tensors
    safetensors.numpy.save_file(tensors, tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text('{}')
    client = types.SimpleNamespace(hf_hub_download=lambda name, file, revision: tmp_path / file)
    monkeypatch.setitem(sys.modules, 'huggingface_hub', client)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands():
    """The commands of the page in order, up to the file and its use."""
    blocks = re.findall(r'```sh\n(.*?)```', PAGE.read_text(), re.S)
    lines = [line.split() for block in blocks for line in block.splitlines()]
    return [words[2:] for words in lines if words[0] == 'python' and words[2] != 'mpl.compare']


def run(words, monkeypatch):
    module, *arguments = words
    if module == 'mpl.train':
        arguments += [f'--config.{key}={value}' for key, value in SMALL.items()]
        if ':distill' in arguments[0]:
            arguments.append('--config.batch.unlabeled=8')
    monkeypatch.setattr(sys, 'argv', [module, *arguments])
    importlib.import_module(module).main()


def predicted(path):
    with open(path) as file:
        return {row[0]: row[1] for row in list(csv.reader(file))[1:]}


def test_from_weights_and_five_labels_to_a_file_that_predicts_the_same_classes(
    workspace, monkeypatch
):
    """The student learns the two brightnesses from the mean of its teachers; ONNX where it is installed."""
    *training, export, use = commands()
    assert [words[0] for words in training] == [
        f'mpl.{name}' for name in ('train', 'train', 'predict', 'predict', 'train')
    ]
    for words in training:
        run(words, monkeypatch)
    files = [row_files.read(str(workspace / name)) for name in ('lora.npy', 'bias.npy')]
    taught = row_files.read(str(workspace / 'runs' / 'backbone_student' / teacher_logits.FILE))
    index = np.arange(len(taught.values))
    mean = np.mean([jax.nn.softmax(rows[index]) for rows in files], axis=0)
    np.testing.assert_allclose(jax.nn.softmax(taught[index]), mean, rtol=1e-5)
    assert np.abs(files[0][index] - files[1][index]).max() > 1e-3
    (workspace / 'lora.npy').rename(workspace / 'moved.npy')  # Not needed any more.
    workdir = epath.Path(workspace) / 'runs' / 'backbone_student'
    again = teacher.label(folders.load(workdir)[0], workdir).logits
    np.testing.assert_array_equal(again[index], taught[index])
    (workspace / 'moved.npy').rename(workspace / 'lora.npy')

    known = importlib.util.find_spec('jax2onnx') and importlib.util.find_spec('onnxruntime')
    for words in (export, use):
        run([word if known else word.replace('onnx', 'stablehlo') for word in words], monkeypatch)
    student = ['mpl.predict', '--workdir=runs/backbone_student', '--images=new_photos']
    run([*student, '--output=own.csv'], monkeypatch)
    classes = predicted('classes.csv')
    assert classes == predicted('own.csv')
    assert all(label == pathlib.Path(name).parent.name for name, label in classes.items())
    assert len(classes) == 6

    refused = 'lacks 26 of the 26 training examples|is not of the data and split'
    (workspace / 'photos' / 'labeled' / 'noon' / '215_4.png').unlink()
    words = [word.replace('backbone_student', 'other') for word in training[-1]]
    with pytest.raises(ValueError, match=refused):
        run(words, monkeypatch)
