"""Labeling splits and folders: the right network, the right order, damaged pictures left out."""

import csv
import json
import logging
import os
import sys

import chex
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from mpl import predict, select
from mpl.run import evaluation, measure, prediction, prediction_files, records


@pytest.fixture(scope='module')
def experiment(smoke):
    return evaluation.load(smoke)[0].experiment


def command(monkeypatch, smoke, *arguments):
    monkeypatch.setattr(sys, 'argv', ['predict', f'--workdir={smoke}', *map(str, arguments)])
    predict.main()


def read(path):
    """Names, classes, confidence [N], probabilities [N, K] and the header of a CSV file."""
    with open(path, newline='') as file:
        header, *rows = csv.reader(file)
    probability = np.array([row[3:] for row in rows], float)
    confidence = np.array([row[2] for row in rows], float)
    return [row[0] for row in rows], [row[1] for row in rows], confidence, probability, header


def from_folder(experiment, folder):
    source, size = experiment.source, experiment.config.batch.evaluate
    return prediction.from_folder(folder, source.image_shape, source.central, size)


def save(experiment, folder, count):
    """The first test images as PNG files in sub-folders; their paths in the order of the images."""
    names = [f'{n // 100}, {n % 3}/{n:04d}.PNG' for n in range(count)]
    for name, image in zip(names, experiment.source.test.read(np.arange(count))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / name)
    return names


@pytest.mark.parametrize('network', ['student', 'teacher', 'finetuned'])
def test_split_is_labeled_in_order_by_the_network(
    smoke, experiment, tmp_path, monkeypatch, capsys, network
):
    output, features = tmp_path / 'out.csv', tmp_path / 'out'
    command(
        monkeypatch, smoke, '--split=test', f'--output={output}', f'--features={features}',
        f'--network={network}',
    )  # fmt: skip
    names, classes, confidence, probability, header = read(output)
    test = experiment.source.test
    assert header == ['name', 'class', 'confidence', *'0123456789']
    assert names == list(test.name)
    report = json.loads((smoke / 'report.json').read_text())['networks'][network]['test']
    assert np.mean(np.array(classes, int) == test.label) == report['accuracy']
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-4)
    np.testing.assert_array_equal(confidence, probability.max(-1))
    with np.load(features) as kept:
        chex.assert_shape(kept['features'], (600, 32))
        assert kept['features'].std(0).max() > 0
        np.testing.assert_allclose(
            np.exp(measure.log_softmax(kept['logits'])), probability, rtol=1e-4
        )
        assert measure.nll(kept['logits'], test.label) == pytest.approx(report['nll'], rel=1e-5)
        np.testing.assert_array_equal(kept['names'], names)
        np.testing.assert_array_equal(kept['indices'], np.arange(600))
    assert f'{network} of {smoke} labeled 600 examples' in capsys.readouterr().out


def test_unlabeled_examples_keep_their_indices(smoke, experiment, tmp_path, monkeypatch, capsys):
    output, features = tmp_path / 'out.csv', tmp_path / 'out.npz'
    command(monkeypatch, smoke, '--split=unlabeled', f'--output={output}', f'--features={features}')
    with np.load(features) as kept:
        np.testing.assert_array_equal(kept['indices'], experiment.split.unlabeled)
    assert read(output)[0] == [experiment.source.train.name[n] for n in experiment.split.unlabeled]
    assert capsys.readouterr().out.startswith('finetuned of')


def test_logits_go_by_number_and_on_where_they_stopped(
    smoke, experiment, tmp_path, monkeypatch, capsys
):
    output, features, path = (tmp_path / name for name in ('out.csv', 'out.npz', 'out.npy'))
    command(
        monkeypatch, smoke, '--split=unlabeled', f'--output={output}', f'--features={features}',
        f'--logits={path}',
    )  # fmt: skip
    rows, unlabeled = np.load(path), experiment.split.unlabeled
    chex.assert_shape(rows, (1197, 10))
    chex.assert_type(rows, np.float32)
    with np.load(features) as kept:
        np.testing.assert_array_equal(rows[unlabeled], kept['logits'])
    others = np.setdiff1d(np.arange(1197), unlabeled)
    assert len(others) == 100 and np.isnan(rows[others]).all()

    computed, true = [], measure.outputs
    monkeypatch.setattr(
        measure, 'outputs', lambda *given: computed.append(given[-1]) or true(*given)
    )
    cut = np.lib.format.open_memmap(path, 'r+')
    cut[unlabeled[600:]], cut[unlabeled[0], 4:] = np.nan, np.nan
    del cut
    again = [f'--logits={path}', '--split=unlabeled']
    command(monkeypatch, smoke, *again)
    np.testing.assert_array_equal(
        np.concatenate(computed), np.concatenate([unlabeled[:256], unlabeled[512:]])
    )  # Whole batches of 256.
    np.testing.assert_array_equal(np.load(path), rows)
    printed = capsys.readouterr().out
    assert 'has 599 of them already' in printed and '498 rows are not as they were' in printed
    computed.clear()
    command(monkeypatch, smoke, *again)
    assert not computed
    with pytest.raises(ValueError, match='not of student of .*network: finetuned -> student'):
        command(monkeypatch, smoke, *again, '--network=student')
    np.testing.assert_array_equal(np.load(path), rows)
    with pytest.raises(ValueError, match='pool: train -> test; split: unlabeled -> test'):
        command(monkeypatch, smoke, f'--logits={path}', '--split=test')


def test_features_go_by_number_in_half_precision(smoke, experiment, tmp_path, monkeypatch, capsys):
    """Without --output no batch but the present one is in memory."""
    path, both = tmp_path / 'x.npy', ['--split=train', f'--logits={tmp_path}/l.npy']
    command(monkeypatch, smoke, f'--features={path}', *both)
    train = np.union1d(experiment.split.labeled, experiment.split.unlabeled)
    rows = np.load(path)
    chex.assert_shape(rows, (1197, 32))
    chex.assert_type(rows, np.float16)
    others = np.setdiff1d(np.arange(1197), train)
    assert np.isfinite(rows[train]).all() and np.isnan(rows[others]).all() and len(others)
    command(monkeypatch, smoke, *both[:1], f'--output={tmp_path}/o', f'--features={tmp_path}/o.npz')
    with np.load(tmp_path / 'o.npz') as kept:
        np.testing.assert_allclose(rows[train], kept['features'], rtol=1e-3, atol=1e-3)
    assert f'Features by index: {path}' in capsys.readouterr().out

    cut = np.lib.format.open_memmap(path, 'r+')
    cut[train[500]] = 0
    del cut
    monkeypatch.setattr(prediction, 'write', None)  # Which would keep all features.
    command(monkeypatch, smoke, f'--features={path}', *both)
    np.testing.assert_array_equal(np.load(path), rows)
    true = measure.outputs

    def large(*given):
        return {k: o._replace(features=o.features + 1e5) for k, o in true(*given).items()}

    monkeypatch.setattr(measure, 'outputs', large)
    with pytest.raises(
        FloatingPointError, match=r'features up to 1e\+05, above the largest float16'
    ):
        command(monkeypatch, smoke, '--split=test', f'--features={tmp_path}/large.npy')


def test_predictions_resume_and_are_the_same_in_any_number_of_processes(
    smoke, experiment, tmp_path, monkeypatch, capsys
):
    """Three files of 512 examples or fewer; mpl.select finds in them what it finds in logits."""
    monkeypatch.setattr(prediction_files, 'PIECE', 600)
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    both = ['--split=unlabeled', f'--predictions={whole}', f'--logits={tmp_path}/l.npy']
    write, written = records.write_bytes, []

    def fail_at_third(path, content):
        if path.suffix == '.parquet':
            written.append(path.name)
            if len(written) == 3:
                raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(records, 'write_bytes', fail_at_third)
        with pytest.raises(KeyboardInterrupt):
            command(monkeypatch, smoke, *both)
    assert sorted(path.name for path in whole.iterdir()) == written[:2]
    computed, true = [], measure.outputs
    monkeypatch.setattr(
        measure, 'outputs', lambda *given: computed.append(given[-1]) or true(*given)
    )
    command(monkeypatch, smoke, *both[:2])
    unlabeled = experiment.split.unlabeled
    np.testing.assert_array_equal(np.concatenate(computed), unlabeled[1024:])
    assert f'{whole} has 2 of these files already' in capsys.readouterr().out
    for shard in ('1/2', '0/2'):
        command(monkeypatch, smoke, both[0], f'--predictions={parts}', f'--shard={shard}')
    names = [f'{n:06d}.parquet' for n in range(3)]
    for folder in (whole, parts):
        assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    command(monkeypatch, smoke, both[0], both[2])
    rows = np.lib.format.open_memmap(tmp_path / 'l.npy', 'r+')
    rows[unlabeled[300]] = 0
    content = (whole / names[2]).read_bytes()
    (whole / names[2]).unlink()
    computed.clear()
    command(monkeypatch, smoke, *both)  # One batch for each of the two outputs.
    np.testing.assert_array_equal(
        np.concatenate(computed), np.concatenate([unlabeled[256:512], unlabeled[1024:]])
    )
    assert (whole / names[2]).read_bytes() == content
    table = parquet.read_table(whole)
    np.testing.assert_array_equal(table['number'], unlabeled)
    assert table.column_names == ['number', 'class', 'confidence']

    for source, name in ((f'--predictions={whole}', 'p'), (f'--logits={tmp_path}/l.npy', 'l')):
        arguments = ['--per_class=30', '--confidence=0.2', f'--output={tmp_path}/{name}.json']
        monkeypatch.setattr(sys, 'argv', ['select', f'--workdir={smoke}', source, *arguments])
        select.main()
    chosen = [json.loads((tmp_path / f'{name}.json').read_text()) for name in 'pl']
    assert chosen[0]['hash'] == chosen[1]['hash'] and len(chosen[0]['unlabeled']) > 100
    assert chosen[0]['made_by']['made_by']['predictions']['network'] == 'finetuned'


def test_predictions_that_were_changed_or_are_missing_are_refused(
    smoke, experiment, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(prediction_files, 'PIECE', 256)
    folder = tmp_path / 'folder'
    arguments = ['--split=unlabeled', f'--predictions={folder}']
    command(monkeypatch, smoke, *arguments)
    with pytest.raises(ValueError, match='not of student of .*network: finetuned -> student'):
        command(monkeypatch, smoke, *arguments, '--network=student')
    second = folder / '000001.parquet'
    content = second.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 1

    def refuse(message):
        choose = ['select', f'--workdir={smoke}', f'--predictions={folder}']
        monkeypatch.setattr(sys, 'argv', [*choose, f'--output={tmp_path}/x.json'])
        with pytest.raises(ValueError, match=message) as caught:
            select.main()
        assert '\n' not in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == ['folder']

    second.write_bytes(damaged)
    refuse('000001.parquet .*write it again')
    capsys.readouterr()
    command(monkeypatch, smoke, *arguments)
    assert 'It is written again' in capsys.readouterr().out
    assert second.read_bytes() == content
    second.write_bytes(content[:-9])
    refuse('000001.parquet is not predictions')
    second.unlink()
    refuse('lacks 1 of 5 files, such as 000001.parquet; run the mpl.predict of every shard')
    second.write_bytes((folder / '000000.parquet').read_bytes())
    refuse('lacks 1 of 5 files, such as 000001')
    second.write_bytes(content)
    (folder / 'copy.parquet').write_bytes(content)
    refuse('has a file twice')


def test_folder_gives_what_the_same_images_give_as_a_split(
    smoke, experiment, tmp_path, monkeypatch
):
    names = save(experiment, tmp_path / 'pictures', 300)
    command(
        monkeypatch, smoke, f'--images={tmp_path / "pictures"}', f'--output={tmp_path / "a.csv"}'
    )
    command(monkeypatch, smoke, '--split=test', f'--output={tmp_path / "b.csv"}')
    found, classes, _, probability, _ = read(tmp_path / 'a.csv')
    assert found == sorted(names) != names
    order = np.argsort(names)
    _, expected, _, expected_probability, _ = read(tmp_path / 'b.csv')
    assert classes == [expected[n] for n in order]
    np.testing.assert_allclose(probability, expected_probability[order], rtol=1e-4)


def test_pictures_of_any_size_and_damaged_ones(
    smoke, experiment, tmp_path, monkeypatch, capsys, caplog
):
    folder = tmp_path / 'pictures'
    folder.mkdir()
    image = Image.fromarray(experiment.source.test.read(np.array([5]))[0, ..., 0])
    image.resize((31, 20)).convert('RGB').save(folder / 'b.jpg')
    image.resize((9, 50)).save(folder / 'd.bmp')
    image.convert('RGBA').save(folder / 'e.webp', lossless=True)
    whole = (folder / 'b.jpg').read_bytes()
    (folder / 'a.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / 'c.png').write_bytes(b'no picture')
    (folder / 'notes.txt').write_text('passed over')
    output, features = tmp_path / 'out.csv', tmp_path / 'out.npz'
    with caplog.at_level(logging.WARNING, 'absl'):
        command(
            monkeypatch, smoke, f'--images={folder}', f'--output={output}', f'--features={features}'
        )
    assert read(output)[0] == ['b.jpg', 'd.bmp', 'e.webp']
    with np.load(features) as kept:
        np.testing.assert_array_equal(kept['indices'], [1, 3, 4])
    warned = [record.getMessage() for record in caplog.records if 'left out' in record.getMessage()]
    assert len(warned) == 3
    assert '1 with .txt (notes.txt)' in warned[0]
    assert 'a.jpg' in warned[1] and 'c.png' in warned[2]
    assert '2 of 5 images could not be read' in capsys.readouterr().out


def test_a_folder_is_read_as_a_training_folder_is(experiment, tmp_path, caplog):
    """Links followed, each file once, hidden and special ones left out; names of any bytes."""
    folder, other = tmp_path / 'pictures', tmp_path / 'other'
    image = Image.new('L', (9, 9))
    for place in (
        folder / '.thumbnails/1.png',
        folder / 'caf\udce9.png',
        folder / 'B.PNG',
        other / '2.png',
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        image.save(place, 'PNG')
    (folder / 'link').symlink_to(other)
    (folder / 'back').symlink_to('..')
    (folder / 'same.png').hardlink_to(folder / 'B.PNG')
    os.mkfifo(folder / 'pipe.png')
    with caplog.at_level(logging.WARNING):
        total, chunks = from_folder(experiment, folder)
    assert total == 3
    assert [name for chunk in chunks for name in chunk.pool.name] == [
        'B.PNG',
        'caf\udce9.png',
        'link/2.png',
    ]
    for kind in (
        '1 further names of a file that is read (same.png)',
        '1 special files (pipe.png)',
        '1 hidden files or folders (.thumbnails)',
        '1 links that lead back to a folder above (back)',
    ):
        assert kind in caplog.text  # fmt: skip


def test_a_transparent_picture_is_read_as_in_training(experiment, tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    (chunk,) = from_folder(experiment, tmp_path)[1]
    image = chunk.pool.read(np.array([0]))[0]
    assert image[0].max() < 10 and image[-1].min() > 245


def test_names_that_are_not_utf8_are_in_the_table_with_escapes(
    smoke, experiment, tmp_path, monkeypatch
):
    folder, output = tmp_path / 'pictures', tmp_path / 'out.csv'
    (name,) = save(experiment, folder, 1)
    (folder / name).rename(folder / os.fsdecode(b'caf\xe9.png'))
    command(monkeypatch, smoke, f'--images={folder}', f'--output={output}')
    assert read(output)[0] == ['caf\\udce9.png']


def test_folder_of_damaged_pictures_leaves_no_file(smoke, tmp_path, monkeypatch):
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'pictures' / 'a.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match='None of the 1 images'):
        command(
            monkeypatch,
            smoke,
            f'--images={tmp_path / "pictures"}',
            f'--output={tmp_path / "o.csv"}',
        )
    assert [path.name for path in tmp_path.iterdir()] == ['pictures']


def test_outputs_that_are_not_finite_leave_no_file(smoke, tmp_path, monkeypatch):
    true = measure.outputs

    def overflow(*given):
        return {
            name: outputs._replace(
                logits=np.where(outputs.logits == outputs.logits.max(), np.inf, outputs.logits)
            )
            for name, outputs in true(*given).items()
        }

    monkeypatch.setattr(measure, 'outputs', overflow)
    with pytest.raises(FloatingPointError, match='logits that are not finite'):
        command(monkeypatch, smoke, '--split=test', f'--output={tmp_path}/o.csv')
    assert not list(tmp_path.iterdir())


def test_points_are_no_pictures(experiment, tmp_path):
    points = experiment._replace(source=experiment.source._replace(image_shape=(1, 1, 2)))
    with pytest.raises(ValueError, match='Give --split instead'):
        from_folder(points, tmp_path)


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (['--split=tset'], "split 'tset' is unknown; give one of test, validation"),
        (
            ['--split=test', '--network=pupil'],
            "no network 'pupil'; give one of student, student_ema",
        ),
        (['--split=test', '--output={tmp}/none/out.csv'], 'there is no folder'),
        (['--split=test', '--features={tmp}/none/out.npz'], 'there is no folder'),
        (['--images={tmp}'], 'has no pictures'),
        (['--images={tmp}/none'], 'is not a folder'),
        (['--split=test', '--workdir={tmp}'], 'holds no run'),
        (['--split=test', '--config.steps=3'], 'is not allowed here'),
        (['--images={tmp}', '--logits={tmp}/l.npy'], 'give --split, not --images'),
        (['--split=test', '--logits={tmp}/none/l.npy'], 'there is no folder'),
        (['--images={tmp}', '--predictions={tmp}/p'], 'give --split, not --images'),
        (['--split=test', '--shard=1/2'], '--shard divides the files of --predictions'),
        (['--split=test', '--shard=2/2'], "--shard is '2/2'; give 0/4"),
        (['--images={tmp}', '--features={tmp}/f.npy'], '--features has a row per index of a split'),
    ],
)
def test_refusals(smoke, tmp_path, monkeypatch, arguments, sentence):
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    with pytest.raises(ValueError, match=sentence):
        command(monkeypatch, smoke, f'--output={tmp_path}/out.csv', *arguments)
    assert not list(tmp_path.iterdir())


def test_a_file_of_something_else_is_not_written_over(smoke, tmp_path, monkeypatch):
    """Such as the labels.csv of people; its own file it replaces."""
    path = tmp_path / 'labels.csv'
    path.write_text('path,label\na.png,cat\n')
    with pytest.raises(ValueError, match='is there already and was not written by mpl.predict'):
        command(monkeypatch, smoke, '--split=validation', f'--output={path}')
    assert path.read_text() == 'path,label\na.png,cat\n'
    for _ in 'ab':
        command(monkeypatch, smoke, '--split=validation', f'--output={tmp_path}/own.csv')


@pytest.mark.parametrize(
    'arguments, sentence',
    [([], 'nothing to write'), (['--features=f', '--logits=l'], 'give that too, or x.npy')],
)
def test_refuses_to_write_nothing(smoke, monkeypatch, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        command(monkeypatch, smoke, '--split=test', *arguments)


def test_the_network_of_the_last_stage_is_the_default(smoke, tmp_path, monkeypatch, capsys):
    chosen, named = tmp_path / 'chosen.csv', tmp_path / 'named.csv'
    command(monkeypatch, smoke, '--split=validation', f'--output={chosen}')
    command(monkeypatch, smoke, '--split=validation', f'--output={named}', '--network=finetuned')
    assert chosen.read_text() == named.read_text()
