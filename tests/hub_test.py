"""Weights of a repository: what is fetched and kept, and the preprocessing that its config names."""

import importlib
import json
import pathlib
import sys
import types

import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from mpl.run import config as configs
from mpl.run import hub, stages
from mpl.run import weights as start

NAME = 'timm/vit_tiny_patch16_224.augreg_in21k'


@pytest.fixture
def cached(tmp_path):
    """The folder of a repository in a cache, by which the client's answers are made."""
    folder = tmp_path / 'cache' / 'timm' / 'snapshot'
    folder.mkdir(parents=True)
    given = dict(mean=[0.5, 0.5, 0.5], std=[0.2, 0.25, 0.3], input_size=[3, 48, 48], crop_pct=0.9)
    (folder / 'config.json').write_text(json.dumps(dict(architecture='vit', pretrained_cfg=given)))
    safetensors.numpy.save_file({'weight': np.ones(3, np.float32)}, folder / 'model.safetensors')
    return folder


def install(monkeypatch, folder):
    """A client that has the files of this folder and no network."""
    calls = []

    def hf_hub_download(repository, file, revision=None):
        calls.append((repository, file, revision))
        if not (folder / file).exists():
            raise FileNotFoundError(f'{file} is not cached\nand outgoing traffic is disabled')
        return str(folder / file)

    client = types.SimpleNamespace(hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, 'huggingface_hub', client)
    return calls


def make_config(views={}, **numbers):
    network = dict(
        model=dict(name='vit', size='Ti', patch=16), optimizer=dict(name='sgd', learning_rate=0.1)
    )
    source = dict(name='synthetic', classes=3, size=32, channels=3, examples=16)
    sections = dict(
        steps=1,
        source=source,
        batch=dict(labeled=8),
        views=dict(name='images', mean=127.5, std=60.0) | views,
        networks=dict(student=network),
        algorithm=dict(name='supervised'),
    )
    return configs.complete(sections | numbers)


def test_files_are_those_of_the_repository_and_its_revision(monkeypatch, cached):
    calls = install(monkeypatch, cached)
    assert hub.fetch(NAME) == cached / 'model.safetensors'
    hub.fetch(NAME + '@1a2b')
    files = ('config.json', 'model.safetensors')
    assert calls == [(NAME, file, revision) for revision in (None, '1a2b') for file in files]


def test_without_client_cache_or_network_there_is_one_sentence(monkeypatch, cached):
    (cached / 'model.safetensors').unlink()
    install(monkeypatch, cached)
    with pytest.raises(
        ValueError, match='model.safetensors is not in the cache of .* is not cached.'
    ) as said:
        hub.fetch(NAME)
    assert '\n' not in str(said.value) and 'copy the files here and give init_from.file' in str(
        said.value
    )
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ValueError, match='needs huggingface_hub; .*launch/requirements-hub.txt'):
        hub.fetch(NAME)


def test_the_real_client_reads_its_cache_without_a_network(monkeypatch, cached, tmp_path):
    pytest.importorskip('huggingface_hub', reason='launch/requirements-hub.txt is absent')
    home, commit = tmp_path / 'home', 'a' * 40
    place = home / f'models--{NAME.replace("/", "--")}'
    (place / 'refs').mkdir(parents=True)
    (place / 'refs' / 'main').write_text(commit)
    (place / 'snapshots').mkdir()
    cached.rename(place / 'snapshots' / commit)
    constants = importlib.import_module('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(home))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert hub.fetch(NAME) == place / 'snapshots' / commit / 'model.safetensors'
    with pytest.raises(ValueError, match='timm/absent: config.json is not in the cache'):
        hub.fetch('timm/absent')


def test_another_preprocessing_is_told_as_overrides(cached):
    file, config = cached / 'model.safetensors', make_config()
    assert hub.compare(file, config, (32, 32, 3)) == (
        f'warning: {file} was trained with another preprocessing of images than this run has, which may '
        'cost accuracy; to take it over, add --config.views.std=51,63.75,76.5 --config.source.size=48'
    )
    changed = configs.override(config, ['--config.views.std=51,63.75,76.5'])
    assert hub.compare(file, changed, (48, 48, 3)) is None
    folder = dict(name='folder', path='photos', size=48, central=0.875)
    crops = dict(name='crops', mean=(127.5, 120.0, 127.5), std=(51.0, 63.75, 76.5), size=32)
    other = configs.complete(config.to_dict() | dict(source=folder, views=crops))
    said = hub.compare(file, other, (32, 32, 3))
    assert said.endswith(
        ' --config.views.mean=127.5,127.5,127.5 --config.source.size=48 --config.views.size=48 '
        '--config.source.central=0.9'
    )


def test_a_folder_without_a_config_of_timm_names_nothing(cached):
    file, config = cached / 'model.safetensors', make_config()
    (cached / 'config.json').write_text('{}')
    assert hub.compare(file, config, (32, 32, 3)) is None
    (cached / 'config.json').unlink()
    assert hub.compare(file, config, (32, 32, 3)) is None
    (cached / 'config.json').write_text('{')
    with pytest.raises(ValueError, match='config.json is not the config.json of a model of timm'):
        hub.compare(file, config, (32, 32, 3))


def test_a_run_starts_from_a_repository_and_tells_its_preprocessing(
    monkeypatch, cached, tmp_path, capsys
):
    install(monkeypatch, cached)
    config = make_config(init_from=dict(hub=NAME, head='new'))
    with pytest.raises(ValueError, match='There is no tensor pos_embed'):
        stages.run(config, epath.Path(tmp_path) / 'run')
    assert 'warning: ' in capsys.readouterr().err
    both = make_config(init_from=dict(hub=NAME, file='weights.safetensors'))
    with pytest.raises(ValueError, match='both a file and a hub; give one'):
        start.check_section(both)
    assert not (pathlib.Path(tmp_path) / 'run').exists()
