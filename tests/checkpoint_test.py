"""Checkpoints in folders of any name; what was saved is read back, what was changed is noticed."""

import os
import pathlib
import resource

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from mpl.run import checkpoint

STATE = {'a': jnp.arange(12.0).reshape(3, 4), 'step': jnp.int32(7)}
SHAPES = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), STATE)
RECORD = {'seconds': 1.5, 'window': {'loss': [0.25, 0.5]}, 'lines': 3}


def save(folder, steps=(1,)):
    with checkpoint.open_folder(folder) as manager:
        for step in steps:
            state = STATE | {'a': STATE['a'] + step}
            checkpoint.save(manager, step, state, RECORD | {'lines': step})
            chex.assert_trees_all_equal(checkpoint.read_back(manager, step, SHAPES), state)


@pytest.mark.parametrize(
    'name',
    ['lr[0.1]', 'a*b', 'a?', '[', '$x$', 'a:b', ' a b ', '"\'', '100%', '~', '~root', 'é', 'a|#&', '{}'],
)  # fmt: skip
@pytest.mark.parametrize('place', ['{}/checkpoints', '{}/run/checkpoints'])
def test_a_folder_of_any_name_keeps_checkpoints(name, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = epath.Path(f'./{place.format(name)}')
    save(folder)
    with checkpoint.open_folder(epath.Path(tmp_path) / place.format(name)) as manager:
        step, state, record = checkpoint.restore(manager, SHAPES)
    assert step == 1 and record['lines'] == 1
    chex.assert_trees_all_equal(state['a'], STATE['a'] + 1)


@pytest.mark.parametrize('name, reason', [('a\\b', 'has a backslash'), ('\udce9', 'is not UTF-8')])
def test_folders_that_the_storage_can_not_name_are_refused(name, reason, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    for folder in (epath.Path('run'), epath.Path(tmp_path) / name / 'run'):
        with pytest.raises(ValueError, match=f'No checkpoint can be kept in .* {reason}'):
            with checkpoint.open_folder(folder):
                raise AssertionError('not reached')
    assert not list((tmp_path / name).iterdir())


def test_a_checkpoint_that_can_not_be_read_back_is_not_called_saved(tmp_path):
    with checkpoint.open_folder(epath.Path(tmp_path)) as manager:
        checkpoint.save(manager, 1, STATE, RECORD)
        manager.wait_until_finished()
        for path in (tmp_path / '1' / 'state' / 'd').iterdir():
            path.write_bytes(b'')
        with pytest.raises(RuntimeError, match='step 1 was written .* cannot be read back'):
            checkpoint.read_back(manager, 1, SHAPES)


def test_a_full_disk_is_one_sentence_and_what_was_saved_is_kept(tmp_path, capfd):
    """The limit on the size of a file stands in for the disk."""
    save(epath.Path(tmp_path))
    large = {'a': jnp.asarray(np.random.default_rng(0).random((500, 500), np.float32))}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    capfd.readouterr()
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, before[1]))
    try:
        with pytest.raises(RuntimeError, match='A checkpoint could not be saved .* are kept'):
            with checkpoint.open_folder(epath.Path(tmp_path)) as manager:
                checkpoint.save(manager, 2, large, RECORD)
                checkpoint.read_back(manager, 2, SHAPES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 'Traceback' not in capfd.readouterr().err
    with checkpoint.open_folder(epath.Path(tmp_path)) as manager:
        assert checkpoint.restore(manager, SHAPES)[0] == 1


def test_a_changed_or_cut_file_is_noticed_or_without_effect(tmp_path):
    """Never other weights, and never another record."""
    save(epath.Path(tmp_path), (1, 2))
    random, noticed = np.random.default_rng(0), 0
    files = [p for p in pathlib.Path(tmp_path, '2').rglob('*') if p.is_file()]
    assert len(files) > 5
    for path in files:
        written = path.read_bytes()
        changes = [written[: random.integers(len(written))]] if written else []
        for place in random.integers(len(written), size=4) if written else []:
            flip = 1 << int(random.integers(8))
            changes.append(written[:place] + bytes([written[place] ^ flip]) + written[place + 1 :])
        for changed in changes:
            path.write_bytes(changed)
            with checkpoint.open_folder(epath.Path(tmp_path)) as manager:
                step, state, record = checkpoint.restore(manager, SHAPES)
            noticed += step == 1
            chex.assert_trees_all_equal(state['a'], STATE['a'] + step)
            assert {k: v for k, v in record.items() if k != 'fingerprint'} == RECORD | {
                'lines': step
            }
        path.write_bytes(written)
    assert noticed > 10


def test_every_byte_of_the_record_is_guarded(tmp_path):
    save(epath.Path(tmp_path), (1, 2))
    path = pathlib.Path(tmp_path, '2', 'record', 'metadata')
    written = path.read_bytes()
    for place in range(0, len(written), 3):
        path.write_bytes(written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :])
        with checkpoint.open_folder(epath.Path(tmp_path)) as manager:
            step, _, record = checkpoint.restore(manager, SHAPES)
        assert record['lines'] == step
    assert os.path.getsize(path) == len(written)


def test_a_record_is_saved_as_it_was_although_orbax_writes_it_later(tmp_path):
    """The metrics of a window grow on after a save."""
    record = {'window': {'loss': [0.25]}}
    with checkpoint.open_folder(epath.Path(tmp_path)) as manager:
        for step in range(1, 4):
            checkpoint.save(manager, step, STATE, record)
            record['window']['loss'].extend([0.5] * 1000)
        manager.wait_until_finished()
        for step in range(1, 4):
            state, saved = checkpoint._read(manager, step, SHAPES)
            assert len(saved['window']['loss']) == 1 + 1000 * (step - 1)
