"""What a run was trained on is part of it: changed data are named and refused, moved ones are found."""

import csv
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
from absl import logging
from etils import epath
from PIL import Image

from mpl import predict
from mpl.comparison import runs
from mpl.data import folder, source, synthetic
from mpl.run import config as configs
from mpl.run import data_record, evaluation, folders, identity, records, stages
from mpl.run import experiment as experiments
from mpl.run import weights as start

pytestmark = pytest.mark.usefixtures('fast_compile')


def make_config(csv_file, **more):
    """Labels only, two steps on the pictures that a CSV file lists."""
    given = configs.load('configs/smoke.py', []).to_dict()
    student = given['networks']['student']
    student['model']['widths'] = (4,)
    given |= dict(
        steps=2,
        source=dict(name='folder', path=str(csv_file), size=8, channels=1),
        split=dict(labels=4, validation=4),
        networks=dict(student=student),
        algorithm=dict(name='supervised', ema_decay=0.9),
        batch=dict(labeled=8, evaluate=8),
        every=dict(log=2, evaluate=2, save=2),
        finetune=dict(steps=0),
    )
    return configs.complete(given | more)


def write(root):
    """12 pictures of alpha and of beta to train on, 2 of each for the test, and 4 without a label."""
    rows, random = [], np.random.default_rng(0)
    names = [f'{label}/{n:02}' for label in ('alpha', 'beta') for n in range(14)]
    for name in [*names, *(f'none/{n:02}' for n in range(4))]:
        label = name.split('/')[0]
        (root / label).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(root / f'{name}.bmp')
        split = 'test' if name in names and name[-2:] > '11' else 'train'
        rows.append([f'{name}.bmp', '' if label == 'none' else label, split])
    save(root, rows)


def save(root, rows):
    with open(root / 'list.csv', 'w', newline='') as file:
        csv.writer(file).writerows([['path', 'label', 'split'], *rows])


def load(root):
    with open(root / 'list.csv', newline='') as file:
        return list(csv.reader(file))[1:]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with photos/, of which run/ is a finished run."""
    root = tmp_path_factory.mktemp('trained')
    write(root / 'photos')
    stages.run(make_config(root / 'photos/list.csv'), epath.Path(root / 'run'))
    return root


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run and its photos, at another place."""
    shutil.copytree(trained / 'photos', tmp_path / 'photos')
    shutil.copytree(trained / 'run', tmp_path / 'run')
    config = make_config(tmp_path / 'photos/list.csv')
    folders.check_finished(
        config, epath.Path(tmp_path / 'run')
    )  # From here on the new place counts.
    return tmp_path


def test_a_changed_split_of_a_finished_run_is_noticed(run):
    """Also if the run is a stage of one that goes on: its own split is drawn, not read."""
    path = run / 'run' / 'split.json'
    text = path.read_text()
    path.write_text(text.replace('"unlabeled": [', '"unlabeled": [1, ', 1))
    assert path.read_text() != text
    with pytest.raises(ValueError, match='split.json was changed after it was written'):
        stages.run(make_config(run / 'photos/list.csv'), epath.Path(run / 'run'))


def change_rows(change):
    def apply(root):
        save(root / 'photos', [change(*row) for row in load(root / 'photos')])

    return apply


def rename(path, label, split):
    return path, label.replace('alpha', 'zulu'), split


def relabel(path, label, split):
    return path, 'beta' if path in ('alpha/03.bmp', 'alpha/05.bmp') else label, split


def relabel_test(path, label, split):
    return path, 'alpha' if path == 'beta/13.bmp' else label, split


def swap(path, label, split):
    return path, {'alpha': 'beta', 'beta': 'alpha', '': ''}[label], split


def remove_last(root):
    save(root / 'photos', load(root / 'photos')[:-1])


def replace_picture(root):
    Image.new('L', (8, 8), 7).save(root / 'photos/beta/13.bmp')


def rename_picture(root):
    (root / 'photos/none/00.bmp').rename(root / 'photos/none/000.bmp')
    change_rows(lambda path, *rest: (path.replace('none/00.', 'none/000.'), *rest))(root)


def validate_apart(path, label, split):
    return path, label, 'validation' if path in ('alpha/11.bmp', 'beta/11.bmp') else split


CHANGES = {
    r'classes: alpha, beta -> beta, zulu; labels of 12 train examples, such as alpha/00.bmp: '
    r'alpha -> zulu, .*; labels of 2 test examples': change_rows(rename),
    r'\(labels of 2 train examples, such as alpha/03.bmp: alpha -> beta, alpha/05.bmp: '
    r'alpha -> beta\)': change_rows(relabel),
    r'\(labels of 24 train examples.*; labels of 4 test examples': change_rows(swap),
    r'\(labels of 1 test examples, such as beta/13.bmp: beta -> alpha\)': change_rows(relabel_test),
    r'\(train: 28 -> 27 examples\)': remove_last,
    r'\(files of the test images\)': replace_picture,
    r'\(names of the train examples': rename_picture,
    r'\(train: 28 -> 26 examples; validation: none -> 2 examples': change_rows(validate_apart),
}


@pytest.mark.parametrize('message', CHANGES)
def test_changed_data_are_refused_with_what_changed(message, run):
    """By a resume, by a finished run and by whatever measures its splits; nothing is written."""
    CHANGES[message](run)
    config, workdir = make_config(run / 'photos/list.csv'), epath.Path(run / 'run')
    before = contents(workdir)
    sentence = rf'The data of the run in .* have changed since it started .*{message}'
    for ask in (
        lambda: stages.run(config, workdir),
        lambda: evaluation.evaluate(workdir, 'test', []),
        lambda: folders.load(workdir),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            ask()
        assert '\n' not in str(caught.value) and contents(workdir) == before
    (workdir / 'report.json').unlink()
    with pytest.raises(ValueError, match=sentence):
        stages.run(config, workdir)


def contents(workdir):
    files = [p for p in pathlib.Path(workdir).rglob('*') if p.is_file()]
    return {str(p): p.read_bytes() for p in files}


def ask(monkeypatch, run, *arguments):
    monkeypatch.setattr(sys, 'argv', ['predict', f'--workdir={run}/run', *map(str, arguments)])
    predict.main()


def header(path):
    return next(csv.reader(open(path, newline='')))


@pytest.mark.parametrize('how', ['renamed', 'gone'])
def test_pictures_are_labeled_with_the_classes_of_the_run(how, run, monkeypatch):
    """Whatever the training data are by now; a split wants them, and says so."""
    shutil.copytree(run / 'photos/beta', run / 'new')
    ask(monkeypatch, run, f'--images={run}/new', f'--output={run}/before.csv')
    if how == 'gone':
        (run / 'photos').rename(run / 'elsewhere')
    else:
        change_rows(rename)(run)
    ask(monkeypatch, run, f'--images={run}/new', f'--output={run}/after.csv')
    assert (run / 'after.csv').read_bytes() == (run / 'before.csv').read_bytes()
    assert header(run / 'after.csv') == ['name', 'class', 'confidence', 'alpha', 'beta']
    message = 'cannot be read .*--config.source.path' if how == 'gone' else 'have changed since'
    with pytest.raises(ValueError, match=f'The data of the run in .* {message}') as caught:
        ask(monkeypatch, run, '--split=test', f'--output={run}/split.csv')
    assert '\n' not in str(caught.value) and not (run / 'split.csv').exists()
    made_by = json.loads((run / 'after.csv.json').read_text())['made_by']
    assert made_by['network'] == 'student_ema' and made_by['images'] == f'{run}/new'
    assert made_by['data'] == data_record.read(epath.Path(run / 'run'))[0]


def test_images_that_are_not_at_hand_are_not_read(run):
    experiment, _, _ = folders.load_networks(epath.Path(run / 'run'))
    assert experiment.source.classes == ('alpha', 'beta')
    assert experiment.source.image_shape == (8, 8, 1)
    with pytest.raises(ValueError, match='were not loaded'):
        experiment.source.train.read(np.array([0]))


def test_run_goes_on_where_its_data_have_been_moved(run, caplog):
    """Finished or not; the new place is written down for what measures it later."""
    workdir = epath.Path(run / 'run')
    measured = evaluation.evaluate(workdir, 'test', [])['networks']
    (run / 'photos').rename(run / 'moved')
    logging.use_absl_handler()
    stages.run(make_config(run / 'photos/list.csv'), workdir)  # Finished, and nothing compared.
    assert 'cannot be read, so they were not compared' in caplog.text
    moved = make_config(run / 'moved/list.csv')
    stages.run(moved, workdir)
    assert evaluation.evaluate(workdir, 'test', [])['networks'] == measured
    (run / 'moved').rename(run / 'again')
    (workdir / 'report.json').unlink()
    with pytest.raises(ValueError, match=r'moved/list.csv .*; where they have been moved'):
        stages.run(moved, workdir)
    stages.run(make_config(run / 'again/list.csv'), workdir)
    assert configs.read(workdir / 'config.json').source.path == f'{run}/again/list.csv'
    assert evaluation.evaluate(workdir, 'test', [])['networks'] == measured


def test_source_of_other_numbers_is_another_config(run):
    config = make_config(run / 'photos/list.csv').to_dict()
    config['source']['size'] = 16
    with pytest.raises(ValueError, match='of another config .source.size: 8 -> 16'):
        folders.check(configs.complete(config), epath.Path(run / 'run'))


def test_weights_come_from_a_run_without_its_data_and_its_head_for_its_classes_alone(run):
    (run / 'photos').rename(run / 'moved')
    init = dict(init_from=dict(workdir=str(run / 'run')))
    config = make_config(run / 'moved/list.csv', **init)
    assert start.find(experiments.assemble(config))
    save(run / 'moved', [rename(*row) for row in load(run / 'moved')])
    with pytest.raises(
        ValueError, match=r'classes are alpha, beta and here beta, zulu; set init_f'
    ):
        start.find(experiments.assemble(config))
    init['init_from']['head'] = 'new'
    assert start.find(experiments.assemble(make_config(run / 'moved/list.csv', **init)))


def test_runs_of_different_data_are_not_compared(run):
    config = make_config(run / 'photos/list.csv')
    named = {'a': config, 'b': config}
    place = run / 'cmp'
    for name, seed in (('a', 0), ('b', 0)):
        seeded = configs.complete(config.to_dict() | {'seed': seed})
        folders.prepare(experiments.assemble(seeded), epath.Path(place / name / str(seed)))
        records.write(epath.Path(place / name / str(seed)) / 'report.json', {})
    jobs, _ = runs.plan(named, 1, place)
    assert not jobs
    assert len(runs.plan(named, 2, place)[0]) == 2  # Other seeds have other splits.
    change_rows(rename)(run)
    with pytest.raises(ValueError, match=r'a/0 was trained on other data than a new run .*zulu'):
        runs.plan(named, 2, place)
    folders.prepare(experiments.assemble(config), epath.Path(place / 'b/0'))
    with pytest.raises(
        ValueError, match=r'a/0 was trained on other data than .*b/0 is .classes'
    ) as e:
        runs.plan(named, 1, place)
    assert '\n' not in str(e.value)


def test_record_that_was_changed_or_lost_is_refused(run):
    workdir, config = epath.Path(run / 'run'), make_config(run / 'photos/list.csv')
    path = workdir / 'data.json'
    text = path.read_text()
    path.write_text(text.replace('alpha', 'aloha'))
    for load_run in (folders.load, folders.load_networks):
        with pytest.raises(ValueError, match='data.json is not the record .* as it was written'):
            load_run(workdir)
    path.unlink()
    (workdir / 'report.json').unlink()
    with pytest.raises(ValueError, match='no data.json'):
        stages.run(config, workdir)
    path.write_text(text)
    split = json.loads((workdir / 'split.json').read_text())
    (workdir / 'split.json').write_text(json.dumps(split | {'hash': '0' * 12}))
    with pytest.raises(ValueError, match='was changed after it was written'):
        folders.load_networks(workdir)


def test_what_is_known_of_the_pixels(run):
    """Every byte of pictures that are kept, the sizes of others; settings of synthetic ones."""
    path = str(run / 'photos/list.csv')
    kept, streamed = (folder.make(path, 8, keep_bytes=n) for n in (1 << 20, 0))
    assert list(kept.train.content()) == ['files'] and list(streamed.train.content()) == ['sizes']
    replace_picture(run)  # A bitmap of the same size.
    again, other = (folder.make(path, 8, keep_bytes=n) for n in (1 << 20, 0))
    assert again.train.content() == kept.train.content() != again.test.content()
    assert again.test.content() != kept.test.content()
    assert other.test.content() == streamed.test.content()  # As documented: not noticed.
    Image.new('L', (9, 8), 7).save(run / 'photos/beta/13.bmp')
    assert folder.make(path, 8, keep_bytes=0).test.content() != streamed.test.content()
    assert (
        identity.differences(identity.make(kept), identity.make(streamed)) == []
    )  # Nothing in common.

    made = [
        synthetic.make(examples=20, noise=noise).train.content() for noise in (30.0, 30.0, 31.0)
    ]
    assert made[0] == made[1] != made[2]
    pool = source.from_arrays(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, int))
    parts = [source.take(pool, np.array(numbers)).content() for numbers in ([0, 1], [0, 1], [1, 0])]
    assert parts[0] == parts[1] != parts[2]


def test_classes_that_are_hidden_are_other_data(run):
    config = make_config(run / 'photos/list.csv').to_dict()
    config['source'] = dict(name='digits')
    config['split'] = dict(labels=40)
    made = []
    for names in ((), ('8', '9')):
        config['split']['unlabeled_only'] = names
        made.append(identity.make(experiments.read_source(configs.complete(config))))
    lines = identity.differences(*made)
    assert 'classes: 0, 1, 2, 3, 4, 5, ... (10) -> 0, 1, 2, 3, 4, 5, ... (8)' in lines
    assert 'labels of the train examples' in lines and 'test: 600 -> 480 examples' in lines
