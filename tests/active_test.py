"""Active learning: the loop, its traps, kills at any moment, refusals, people, the comparison."""

import csv
import html
import itertools
import json
import os
import re
import shutil
import sys

import jax
import numpy as np
import pytest
from asked_pictures import CLASSES, fill, make_photos
from etils import epath
from scipy.special import softmax

from configs import digits_active
from mpl import active
from mpl.comparison import acquisition_tables, acquisitions, studies
from mpl.cycles import acquired, figure, labels, loop, people, report, scoring
from mpl.cycles import study as cycle_studies
from mpl.data import source, splits, stream
from mpl.models import network
from mpl.pages import acquisitions as acquisitions_page
from mpl.pages import study as study_page
from mpl.run import (
    checkpoint,
    evaluation,
    folders,
    random_passes,
    records,
    row_files,
    split_files,
    stages,
)
from mpl.run import config as configs
from mpl.run import report as report_files

NETWORK = dict(model=dict(name='mlp', widths=(8,)), optimizer=dict(name='sgd', learning_rate=0.1))


def config(given={}, rule='margin', **changed):
    """A study of the digits in seconds."""
    settings = dict(rule=dict(name=rule), start=6, budget=4, cycles=2) | changed
    run = dict(
        steps=10,
        source=dict(name='digits'),
        split=dict(validation=40),
        batch=dict(labeled=8, evaluate=200),
        views=dict(name='images', mean=77.9, std=95.9, weak=dict(shift=1, fill=0)),
        networks=dict(student=NETWORK),
        algorithm=dict(name='supervised', ema_decay=0.9),
        every=dict(log=5, evaluate=10, save=5),
        steps_per_call=5,
        active=settings,
    )
    return configs.complete(run | given)


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    """A finished study by margin, and its report."""
    workdir = epath.Path(tmp_path_factory.mktemp('active') / 'al')
    return workdir, loop.run(config(), workdir)


def read(workdir, cycle):
    """The acquired numbers, split and report of a cycle."""
    folder = epath.Path(workdir) / f'cycle_{cycle}'
    numbers = json.loads((folder / 'acquired.json').read_text())['numbers']
    split, _ = splits.from_record(
        {
            key: value
            for key, value in json.loads((folder / 'split.json').read_text()).items()
            if key in ('examples', 'hash', *splits.PARTS)
        },
        'split',
    )
    return numbers, split, json.loads((folder / 'report.json').read_text())


def outcome(workdir):
    """All results of a study but the times it took."""
    found = []
    for cycle in range(3):
        numbers, split, written = read(workdir, cycle)
        found.append([numbers, split.hash, written['networks']])
        if cycle < 2:
            for name in ('logits.npy', 'features.npy'):
                found[-1].append((workdir / f'cycle_{cycle}' / name).read_bytes())
    return found


def test_every_cycle_trains_on_what_was_bought_and_holds_out_the_rest(study):
    workdir, _ = study
    bought = []
    for cycle in range(3):
        numbers, split, written = read(workdir, cycle)
        assert len(numbers) == (4 if cycle else 6)
        assert not np.intersect1d(numbers, bought).size
        assert not np.intersect1d(numbers, split.validation).size
        bought = np.union1d(bought, numbers)
        np.testing.assert_array_equal(split.labeled, bought)
        assert len(split.validation) == 40 and len(split.unlabeled) == 1197 - 40
        assert np.isin(split.labeled, split.unlabeled).all()  # The trap: these are no candidates.
        assert written['split']['hash'] == split.hash and written['split']['labeled'] == len(bought)


def test_a_cycle_is_chosen_by_the_network_of_the_one_before(study):
    workdir, _ = study
    for cycle in (1, 2):
        numbers, before, _ = read(workdir, cycle)[0], *read(workdir, cycle - 1)[1:]
        folder = workdir / f'cycle_{cycle - 1}'
        rows = row_files.read(str(folder / 'logits.npy'))
        candidates = np.setdiff1d(before.unlabeled, before.labeled)
        p = np.sort(softmax(rows[candidates].astype(float), -1), -1)
        order = np.argsort(p[:, -1] - p[:, -2], kind='stable')
        np.testing.assert_array_equal(numbers, candidates[order[:4]])
        assert rows.made_by['network'] == 'student_ema' and rows.made_by['split'] == 'train'
        assert np.isnan(rows[before.validation]).all()
        features = row_files.read(str(folder / 'features.npy'), row_files.FEATURES)
        assert features.shape == (1197, 8)
    stage = evaluation.load(workdir / 'cycle_1')[0]  # An ordinary run of the house.
    assert stage.experiment.split.hash == read(workdir, 1)[1].hash


def test_the_first_images_are_drawn_uniformly_and_a_class_may_be_missing(study):
    workdir, written = study
    label = configs.build('data', config().source).train.label
    counts = np.bincount(label[read(workdir, 0)[1].labeled], minlength=10)
    assert (counts == 0).any()
    assert list(written['cycles'][0]['classes'].values()) == counts.tolist()
    assert 'No image of' in report.show(written)


def test_the_report_counts_what_was_bought(study):
    workdir, written = study
    assert written == records.read(workdir / 'active.json', 'report', '')
    rows = written['cycles']
    assert [row['bought'] for row in rows] == [46, 50, 54]  # Validation is bought too.
    assert [row['labeled'] for row in rows] == [6, 10, 14]
    for cycle, row in enumerate(rows):
        accuracy = read(workdir, cycle)[2]['networks']['student_ema']['test']['accuracy']
        assert row['accuracy']['test'] == accuracy
        by_class = row['accuracy_by_class']
        assert list(by_class['test']) == [str(k) for k in range(10)]
        assert np.mean(list(by_class['test'].values())) == pytest.approx(accuracy)  # 60 of each.
    a, b, c = (row['accuracy']['test'] for row in rows)
    assert written['area'] == pytest.approx((a + 2 * b + c) / 4)
    assert written['training'] == 'from scratch in every cycle'
    assert sum(written['pool'].values()) == 1197 - 40
    with open(workdir / 'active.csv', newline='') as file:
        lines = list(csv.DictReader(file))
    assert [line['bought'] for line in lines] == ['46', '50', '54']
    assert float(lines[1]['test']) == b
    assert os.path.getsize(workdir / 'active.png') > 10_000


def test_the_page_has_the_numbers_the_classes_and_the_images_that_were_bought(study):
    workdir, written = study
    text = study_page.render(workdir)
    cells = re.findall('<td>(.*?)</td>', text.split('<tbody>')[1].split('</tbody>')[0])
    width = len(cells) // 3
    rows = [cells[n : n + width] for n in range(0, len(cells), width)]
    for row, cycle in zip(rows, written['cycles'], strict=True):
        assert row[:5] == [
            str(cycle[key]) for key in ('cycle', 'bought', 'labeled', 'validation', 'skipped')
        ]
        assert row[6:8] == [
            f'{100 * cycle["accuracy"][part]:.2f}' for part in ('validation', 'test')
        ]
    (drawn,) = re.findall(r'^const figures = (.*);$', text, re.M)
    drawn = {chart['title']: chart['data'] for chart in json.loads(drawn)}
    new = {trace['name']: trace['y'] for trace in drawn['New labels by cycle']}
    assert np.sum(list(new.values()), 0).tolist() == [6, 4, 4]
    assert {name: sum(counts) for name, counts in new.items()} == written['cycles'][-1]['classes']
    captions = re.findall(r'<figcaption>(.*?)<br><span>(.*?)</span>', text)
    train, shown = cycle_studies.make(config(), workdir).source.train, []
    for cycle in range(3):
        for rank, number in enumerate(read(workdir, cycle)[0], 1):
            shown.append((f'{rank}: {train.label[number]}', train.name[number]))
    assert captions == shown
    missing = [name for name, n in written['cycles'][-1]['classes'].items() if not n]
    assert all(f'No image of {", ".join(missing)} was bought' in text for _ in missing[:1])


def test_a_study_that_is_not_finished_has_no_page(study, tmp_path):
    shutil.copy(study[0] / 'study.json', tmp_path)
    with pytest.raises(ValueError, match='a study that is not finished; run the command of mpl.ac'):
        study_page.render(tmp_path)


def test_area_is_a_mean_over_labels():
    assert report.area([10, 20, 40], [0.5, 0.5, 0.5]) == 0.5
    assert report.area([10, 20, 40], [0.0, 1.0, 1.0]) == pytest.approx(25 / 30)
    assert report.area([7], [0.25]) == 0.25


def test_a_finished_study_is_not_repeated(study, monkeypatch):
    workdir, written = study
    monkeypatch.setattr(stages, 'run', lambda _, folder, __: report_files.read(folder))
    monkeypatch.setattr(evaluation, 'load', None)  # Nothing is predicted again.
    assert loop.run(config(), workdir) == written


class Killed(BaseException):
    """As SIGKILL: no code of the house catches it."""


# In the order of a study: module, function, and at which call of it the process ends.
KILLS = (
    (records, 'write_bytes', 1),  # study.json
    (records, 'write_bytes', 2),  # acquired.json of cycle 0
    (split_files, 'write', 1),
    (checkpoint, 'save', 1),  # Half of the training.
    (report_files, 'write', 1),  # Of the run.
    (row_files, '_checksums', 4),  # Of the features of the second batch of images.
    (records, 'write_bytes', 1),  # acquired.json of cycle 1
    (split_files, 'write', 2),  # By the run, whose config and split are there.
    (figure, 'draw', 1),
)


def test_a_study_that_is_killed_at_any_moment_continues_to_the_same_bits(
    study, tmp_path, monkeypatch
):
    workdir = epath.Path(tmp_path / 'al')
    for module, name, call in KILLS:
        with monkeypatch.context() as patched:
            patched.setattr(module, name, killed_at(call, getattr(module, name)))
            with pytest.raises(Killed):
                loop.run(config(), workdir)
    assert (workdir / 'cycle_2' / 'report.json').exists() and not (workdir / 'active.json').exists()
    loop.run(config(), workdir)
    assert outcome(workdir) == outcome(study[0])


def killed_at(call, true):
    """The function, which ends the process at its call of that number."""
    counter = itertools.count(1)

    def killed(*given, **options):
        if next(counter) == call:
            raise Killed
        return true(*given, **options)

    return killed


def begin(workdir, given):
    """The study, and the record of its first images, before any training."""
    study = cycle_studies.make(given, epath.Path(workdir))
    study.folder(0).mkdir(parents=True)
    return study, acquired.acquire(study, 0, None)


def test_a_study_ends_when_labels_do_not_pay(study, tmp_path, monkeypatch):
    """The steps are of two binomials of 40 images: 0.5 +- 0.11 after 0.5, so a rise of 0.1 is none."""
    made = cycle_studies.make(config(patience=2), tmp_path / 'none')

    def has_settled(*accuracies):
        rows = iter([{'accuracy': {'validation': a}} for a in accuracies[-3:]])
        monkeypatch.setattr(report, '_row', lambda *_: next(rows))
        return report.has_settled(made, list(accuracies))

    assert (
        has_settled(0.3, 0.5, 0.6, 0.7)
        and has_settled(0.5, 0.4, 0.3)
        and has_settled(1.0, 1.0, 1.0)
    )
    assert not has_settled(0.5, 0.6, 0.75) and not has_settled(0.5, 0.62, 0.63)
    assert not has_settled(0.5, 0.5)  # Two cycles are one step.
    monkeypatch.undo()
    workdir = epath.Path(tmp_path / 'al')
    found = loop.run(config(rule='random', cycles=4, budget=1, patience=1), workdir)
    accuracy = [row['accuracy']['validation'] for row in found['cycles']]
    assert found['settled'] and len(accuracy) < 5
    error = np.sqrt(sum(a * (1 - a) / 40 for a in accuracy[-2:]))
    assert accuracy[-1] - accuracy[-2] < error and 'so the study ended' in report.show(found)
    assert not study[1]['settled'] and 'ended' not in report.show(study[1])
    assert loop.run(config(rule='random', cycles=4, budget=1, patience=1), workdir) == found


def test_classes_that_are_not_learned_are_skipped_and_leave_the_pool(tmp_path):
    given = config(dict(split=dict(unlabeled_only=('8', '9'))), start=40)
    study, record = begin(tmp_path, given)
    numbers = np.array(record['numbers'])
    true = configs.build('data', given.source).train.label
    skipped = numbers[true[numbers] >= 8]
    answered = labels.answer(study, 0, np.sort(numbers))
    split = loop._next_split(study, answered)
    np.testing.assert_array_equal(answered.skipped, np.sort(skipped))
    assert len(skipped) and not np.isin(skipped, split.unlabeled).any()
    assert len(split.labeled) == 40 - len(skipped) and (true[split.unlabeled] >= 8).any()
    assert record['classes']['skipped'] == len(skipped)
    assert sum(record['classes'].values()) == 40
    every = study._replace(candidates=np.flatnonzero(true >= 8))
    with pytest.raises(ValueError, match='None of the images that were asked for has a class'):
        loop._next_split(every, answered._replace(labeled=skipped[:0]))


def test_a_long_tail_stays_one(tmp_path):
    study = cycle_studies.make(config(dict(split=dict(imbalance=10.0))), epath.Path(tmp_path))
    counts = np.bincount(study.source.train.label[study.candidates], minlength=10)
    assert 8 < counts[0] / counts[9] < 12


def test_rare_classes_stay_rare(tmp_path):
    split = dict(imbalance=10.0, rare=('3', '5'))
    study = cycle_studies.make(config(dict(split=split)), epath.Path(tmp_path))
    counts = np.bincount(study.source.train.label[study.candidates], minlength=10)
    few = np.isin(np.arange(10), (3, 5))
    assert np.abs(counts[few] / counts[~few].max() - 0.1).max() < 0.01
    assert len(set(counts[~few])) == 1
    assert cycle_studies.cycle_config(study, 1).split.rare == ()  # Its file has the split.


@pytest.mark.parametrize('start_from', ['pixels', 'init_from'])
def test_the_first_images_may_be_chosen_without_labels(study, tmp_path, start_from):
    weights = dict(init_from=dict(workdir=str(study[0] / 'cycle_2')))
    given = config({} if start_from == 'pixels' else weights, 'typiclust', start=10, cycles=0)
    drawn = begin(tmp_path / 'random', given)[1]['numbers']
    given = configs.override(given, [f'--config.active.start_from={start_from}'])
    found, record = begin(tmp_path / 'chosen', given)
    assert len(set(record['numbers'])) == 10 and set(record['numbers']) != set(drawn)
    assert record['inputs'] is not None
    if start_from == 'init_from':
        rows = row_files.read(str(found.folder(0) / 'start_features.npy'), row_files.FEATURES)
        there = row_files.read(str(study[0] / 'cycle_1' / 'features.npy'), row_files.FEATURES)
        assert rows.shape == there.shape and np.isfinite(rows[found.candidates]).all()


CNN = dict(name='cnn', channels=(4,), strides=(2,), norm='none', pool='mean')


def started(stage_model=CNN, **changed):
    """A study whose cycles start from SimCLR on the whole pool, which sees no label."""
    given = config({}, 'typiclust', start=10, cycles=1, start_from='init_from').to_dict()
    head = NETWORK | dict(model=dict(name='projector', widths=(8, 4)))
    stage = {key: given[key] for key in ('steps', 'every', 'steps_per_call')} | dict(
        batch=dict(labeled=0, unlabeled=16, evaluate=200),
        views=dict(name='pairs', mean=77.9, std=95.9, mirror=False, first=dict(name='affine')),
        networks=dict(student=NETWORK | dict(model=stage_model), projector=head),
        algorithm=dict(name='simclr'),
    )
    given['networks'] = dict(student=NETWORK | dict(model=CNN))
    return configs.complete(given | {'init_from': dict(config=stage | changed, head='new')})


def test_a_pre_training_without_labels_is_made_once_for_all_cycles(tmp_path, monkeypatch):
    """Its features choose the first images; a call that is killed after it does not repeat it."""
    trained, fit = [], stages.loop.fit

    def count(experiment, workdir, starts):
        trained.append(workdir.name)
        if trained == ['pretrain', 'cycle_0']:
            raise KeyboardInterrupt
        return fit(experiment, workdir, starts)

    monkeypatch.setattr(stages.loop, 'fit', count)
    workdir = epath.Path(tmp_path / 'al')
    with pytest.raises(KeyboardInterrupt):
        loop.run(started(), workdir)
    loop.run(started(), workdir)
    assert trained == ['pretrain', 'cycle_0', 'cycle_0', 'cycle_1']
    before, _, _ = folders.load(workdir / 'pretrain')
    study = cycle_studies.make(started(), workdir)
    assert not len(before.split.labeled)
    np.testing.assert_array_equal(before.split.unlabeled, study.candidates)
    rows = row_files.read(str(workdir / 'cycle_0' / 'start_features.npy'), row_files.FEATURES)
    stage = evaluation.load(workdir / 'pretrain')[0]
    forward = stages.loop.measure.make_forward(stage.experiment)
    chosen = read(workdir, 0)[0]
    outputs = stages.loop.measure.outputs(
        stage.experiment, forward, stage.state, study.source.train, np.array(chosen)
    )
    np.testing.assert_allclose(rows[chosen], outputs['student'].features, atol=1e-2)


def test_a_pre_training_whose_weights_do_not_fit_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match='networks.student cannot start from .* make the models'):
        loop.run(started(CNN | dict(channels=(5,))), epath.Path(tmp_path / 'al'))
    assert not list(tmp_path.iterdir())


def test_a_pre_training_with_labels_is_made_again_by_each_cycle(tmp_path):
    given = started(batch=dict(labeled=8, unlabeled=16, evaluate=200))
    with pytest.raises(
        ValueError, match='no weights before the first label; .* batch.labeled is 0'
    ):
        cycle_studies.make(given, epath.Path(tmp_path))
    given = configs.override(given, ['--config.active.start_from=random'])
    study = cycle_studies.make(given, epath.Path(tmp_path))
    cycle = cycle_studies.cycle_config(study, 1)
    assert cycle.init_from.config.algorithm.name == 'simclr' and not cycle.init_from.workdir


def test_the_oracle_buys_classes_evenly(tmp_path):
    rule = dict(name='per_predicted_class', rule=dict(name='random'))
    given = config(start=33, start_from='pixels', logits='labels').to_dict()
    given['active'] |= dict(rule=rule, cycles=0)
    _, record = begin(tmp_path, configs.complete(given))
    assert sorted(record['classes'].values()) == [3] * 7 + [4] * 3


def test_passes_are_of_random_views(study, tmp_path):
    workdir, _ = study
    given = config(rule='bald', logits='views', passes=3)
    views = cycle_studies.make(given, workdir)
    inputs = scoring.of_cycle(views, 0)
    pool = read(workdir, 0)[1].unlabeled
    plain = row_files.read(str(workdir / 'cycle_0' / 'logits.npy'))[pool]
    some = [rows[pool] for rows in inputs.logits]
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip([plain, *some], some))
    assert np.corrcoef(plain.ravel(), some[0].ravel())[0, 1] > 0.5
    again = scoring.of_cycle(views, 0)
    np.testing.assert_array_equal(again.logits[2][pool], some[2])


def contrastive(**active):
    """A study of joint training, whose rule compares projections of two views."""
    head = NETWORK | dict(model=dict(name='projector', widths=(8,)))
    given = dict(
        networks=dict(student=NETWORK | dict(model=CNN), projector=head, predictor=head),
        algorithm=dict(name='mobyv2al', queue=48, ema_decay=0.9),
        batch=dict(labeled=8, unlabeled=16, evaluate=200),
        views=dict(
            name='pairs', mean=77.9, std=95.9, mirror=False, size=8, area=(0.5, 1.0), labeled='weak',
            first=dict(name='identity'), second=dict(name='affine'),
        ),
    )  # fmt: skip
    return config(given, 'contrastive', **dict(logits='projections', passes=2, cycles=1) | active)


def test_passes_are_of_projections_of_views(tmp_path):
    """Each with its own crop: view_0, the crop alone, by hand; view_1 from the pieces of the write."""
    workdir = epath.Path(tmp_path / 'al')
    loop.run(contrastive(), workdir)
    _, before, _ = read(workdir, 0)
    rows = [
        row_files.read(str(workdir / 'cycle_0' / f'logits_projection_{n}.npy')) for n in range(2)
    ]
    pool = before.unlabeled
    for n in range(2):
        np.testing.assert_allclose(np.linalg.norm(rows[n][pool], axis=-1), 1, rtol=1e-5)
    assert rows[0].shape[1] == 8 and np.abs(rows[0][pool] - rows[1][pool]).max() > 0.01
    stage = evaluation.load(workdir / 'cycle_0')[0]
    root = stream.derive(jax.random.key(0), 0, 'acquire')
    zero, one = (
        random_passes.of_projections(stage.experiment, jax.random.fold_in(root, n), n)
        for n in range(2)
    )
    first = pool[:200]  # a chunk of the write, whose key is of its first image
    part = zero.read(first)
    experiment, nets = stage.experiment, stage.experiment.algorithm
    cropped = experiment.views.crops['view_0'].cut(part['image'], part['box']['view_0'])
    features = network.predict(
        nets.networks(stage.state)['student'], experiment.views.evaluate(cropped)
    ).features
    head = network.predict(nets.heads(stage.state)['projector'], features).logits
    head /= np.linalg.norm(head, axis=-1, keepdims=True)
    np.testing.assert_allclose(rows[0][first], head, atol=1e-5)
    part = one.read(first)
    assert set(part) == {'image', 'box'} and len(np.unique(part['box']['view_1'], axis=0)) > 50
    np.testing.assert_array_equal(
        one.read(first[::-1])['box']['view_1'][::-1], part['box']['view_1']
    )
    found = one.forward(jax.random.fold_in(one.key, first[0]), stage.state, part)['student']
    np.testing.assert_allclose(rows[1][first], found.logits, atol=1e-5)
    # The weak views are of crops of their own too; before, such views were refused.
    weak = random_passes.of_view(stage.experiment, jax.random.key(1), 0)
    logits = weak.forward(weak.key, stage.state, weak.read(first))['student'].logits
    plain = row_files.read(str(workdir / 'cycle_0' / 'logits.npy'))[first]
    assert logits.shape == plain.shape and np.abs(logits - plain).max() > 1e-3


def test_passes_are_of_random_dropout(tmp_path):
    model = NETWORK | dict(model=dict(name='mlp', widths=(32,), dropout=0.3))
    given = config(dict(networks=dict(student=model)), 'bald', logits='dropout', passes=3, cycles=1)
    workdir = epath.Path(tmp_path / 'al')
    loop.run(given, workdir)
    _, before, _ = read(workdir, 0)
    candidates = np.setdiff1d(before.unlabeled, before.labeled)
    files = ['logits.npy', *(f'logits_dropout_{n}.npy' for n in range(3))]
    plain, *some = (row_files.read(str(workdir / 'cycle_0' / name))[candidates] for name in files)
    assert all(np.abs(a - b).max() > 0.1 for a, b in zip([plain, *some], some))
    p = softmax(np.stack(some).astype(float), -1)
    entropy = -(p * np.log(p)).sum(-1).mean(0)
    mean = p.mean(0)
    bald = -(mean * np.log(mean)).sum(-1) - entropy
    assert set(read(workdir, 1)[0]) == set(candidates[np.argsort(-bald)[:4]])


@pytest.mark.parametrize(
    'changed, sentence',
    [
        (dict(active=dict(rule={})), 'no active.rule; give'),
        (dict(active=dict(start=1000, budget=100)), '1,200 images, but the pool has 1,157 cand'),
        (dict(active=dict(start=0)), 'active.start is 0, and no image has a label'),
        (dict(active=dict(start=-1)), 'active.start is -1; give 0 or more'),
        (dict(active=dict(budget=0)), 'active.budget is 0; give 1'),
        (dict(active=dict(start_from='pixel')), "'pixel'; give one of 'random', 'pixels'"),
        (dict(active=dict(logits='views', passes=0)), 'active.passes is 0'),
        (dict(active=dict(passes=3)), "active.passes is 3, but active.logits is 'network'"),
        (
            dict(active=dict(rule=dict(name='bald'), logits='views')),
            "'bald' compares 2 or more passes .* is 1; raise it, with active.logits='views' or",
        ),
        (
            dict(active=dict(rule=dict(name='contrastive'), logits='views', passes=2)),
            "'contrastive' takes projections, but active.logits is 'views'; set it to 'projections'",
        ),
        (
            dict(active=dict(logits='projections', passes=2)),
            "takes logits, but active.logits is 'projections'; set it to 'network'",
        ),
        (
            dict(
                active=dict(
                    rule=dict(name='per_predicted_class', rule=dict(name='contrastive')),
                    logits='projections',
                    passes=2,
                )
            ),
            "'per_predicted_class' takes logits, but active.logits is 'projections'",
        ),
        (
            dict(active=dict(rule=dict(name='contrastive'), logits='projections', passes=2)),
            "active.logits is 'projections', but 'supervised' has no projector",
        ),
        (dict(active=dict(start_from='init_from')), 'init_from has no weights'),
        (
            dict(active=dict(logits='dropout')),
            "active.logits is 'dropout', but the student has none",
        ),
        (dict(split=dict(labels=40)), 'split.labels is 40 and .* set them to 0'),
        (dict(split=dict(file='x.json')), 'split.file'),
        (dict(split=dict(validation=1190)), '14 images, but the pool has 7 candidates'),
        (dict(split=dict(validation=1200)), '1200 to hold out cannot be drawn from 1197'),
        (
            dict(active=dict(patience=2), split=dict(validation=0)),
            'active.patience is 2, but no accuracy on validation is measured',
        ),
        (dict(active=dict(patience=-1)), 'active.patience is -1; give 0 or more'),
        (dict(batch=dict(labeled=0)), 'batch.labeled and batch.unlabeled are 0'),
    ],
)
def test_refusals_before_anything_is_written(tmp_path, changed, sentence):
    given = config().to_dict()
    given |= {key: given[key] | value for key, value in changed.items()}
    workdir = epath.Path(tmp_path / 'al')
    with pytest.raises(ValueError, match=sentence):
        loop.run(configs.complete(given), workdir)
    assert not workdir.exists()


def test_compared_studies_buy_equally_many_images(tmp_path):
    with pytest.raises(ValueError, match='x: active.patience is 1, but compared studies buy'):
        studies.plan({'x': config(patience=1)}, 1, tmp_path)


def test_unknown_rules_and_arguments_are_refused_with_the_config():
    for rule, sentence in (
        (dict(name='margn'), "active.rule.name 'margn' is unknown; choose one of badge, bald"),
        (dict(name='margin', nois=1), "active.rule has no key 'nois'; did you mean 'noise'"),
        (
            dict(name='per_predicted_class', rule=dict(name='margin', delta=1)),
            'active.rule.rule has no key',
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            configs.complete(config().to_dict() | {'active': {'rule': rule}})
    changed = configs.override(
        config(), ['--config.active.rule.name=k_center', '--config.active.rule.unit=True']
    )
    assert changed.active.rule.to_dict() == dict(name='k_center', unit=True, lazy=4096)


def test_other_commands_refuse_the_config(tmp_path):
    with pytest.raises(ValueError, match='of several runs, which python -m mpl.active trains'):
        stages.run(config(), epath.Path(tmp_path / 'x'))


def test_folders_of_other_studies_are_refused(study, tmp_path, monkeypatch):
    workdir, _ = study
    with pytest.raises(ValueError, match='study of another config .active.budget: 4 -> 5'):
        loop.run(config(budget=5), workdir)
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match='is not empty and holds no study'):
        loop.run(config(), epath.Path(tmp_path))
    path = workdir / 'cycle_1' / 'acquired.json'
    whole = path.read_text()
    record = records.read(path, '', '')
    record['made_by']['split'] = '0' * 12
    records.write(path, record)
    with pytest.raises(ValueError, match='acquired.json was made otherwise .split: '):
        loop.run(config(), workdir)
    path.write_text(whole)
    true = configs.build

    def relabeled(folder, spec, **runtime):
        made = true(folder, spec, **runtime)
        if folder != 'data':
            return made
        return made._replace(train=made.train._replace(label=np.roll(made.train.label, 1)))

    monkeypatch.setattr(configs, 'build', relabeled)
    with pytest.raises(ValueError, match='study of another pool .labels of the train'):
        loop.run(config(), workdir)


def test_features_that_are_not_finite_are_refused(study, tmp_path, monkeypatch):
    """Rows that are written after a check by other means."""
    monkeypatch.setattr(
        'mpl.cycles.scoring._Pixels.__getitem__',
        lambda self, numbers: np.full((len(numbers), 3), np.nan),
    )
    given = config(rule='typiclust', start_from='pixels')
    with pytest.raises(ValueError, match='features of 1,157 images are not finite, the first'):
        loop.run(given, epath.Path(tmp_path / 'al'))


def test_people_label_a_folder_from_nothing_to_a_trained_network(tmp_path, capsys, monkeypatch):
    root = make_photos(tmp_path / 'photos', 12)
    given = config(
        dict(
            source=dict(name='folder', path=str(root), size=8, classes=CLASSES),
            split={},
            batch=dict(labeled=8, evaluate=16),
        ),
        'k_center',
        start=4,
        budget=3,
        cycles=1,
        warm_start=True,
    )
    workdir = tmp_path / 'al'
    run = loop.run

    def command_again():
        monkeypatch.setattr(configs, 'load', lambda *_: given)
        monkeypatch.setattr(sys, 'argv', ['active', '--config=x', f'--workdir={workdir}'])
        active.main()
        return capsys.readouterr().out

    assert '4 pictures wait for labels, 0 of them' in command_again()
    assert sorted(path.name for path in (workdir / 'cycle_0').iterdir()) == [
        'acquired.json', 'asked.json', 'to_label.csv', 'to_label_000.png',
    ]  # fmt: skip
    fill(workdir, ['cat', 'dog'])
    printed = command_again()
    assert '4 pictures wait for labels, 2 of them' in printed
    assert f'python -m mpl.label --workdir={workdir}' in printed
    rows = (workdir / 'cycle_0/to_label.csv').read_text().splitlines()
    rows[3:] = [row + end for row, end in zip(rows[3:], ('cat', 'skip'))]
    (workdir / 'cycle_0/to_label.csv').write_text('\n'.join(rows) + '\n')
    assert 'Cycle 1: 3 pictures wait for labels, 0 of them' in command_again()
    first, split, _ = read(workdir, 0)
    assert split.labeled.tolist() == sorted(first[:3])
    assert not np.isin(first[3], split.unlabeled)  # Skipped.
    fill(workdir, ['red fox'] * 3, 1)  # A class that is met now: the network has its logit.
    assert 'bought' in command_again()
    second, split, written = read(workdir, 1)
    assert split.labeled.tolist() == sorted([*first[:3], *second])
    assert not np.isin(second, first).any()
    found = records.read(epath.Path(workdir / 'active.json'), '', '')
    assert found['cycles'][1]['classes'] == {'cat': 2, 'dog': 1, 'red fox': 3}
    assert found['cycles'][1]['skipped'] == 1 and found['cycles'][1]['bought'] == 7
    assert found['training'] == 'from the student of the cycle before'
    start = records.read(epath.Path(workdir / 'cycle_1/config.json'), '', '')['init_from']
    assert start['workdir'] == str(workdir / 'cycle_0')
    assert found['area'] is None  # Nothing to measure on, which is no error.
    stage = evaluation.load(epath.Path(workdir / 'cycle_1'))[0]
    assert stage.experiment.source.classes == CLASSES
    assert run is loop.run and 'active.png' in [path.name for path in workdir.iterdir()]


@pytest.mark.parametrize(
    'changed, sentence',
    [
        (dict(active=dict(forms=('paper',))), "no form 'paper' of questions; give some of"),
        (dict(active=dict(logits='labels')), "'labels', an oracle, but people are asked"),
        (dict(split=dict(validation=2)), 'split.validation is 2, but 0 images of the pool have'),
    ],
)
def test_refusals_of_folders_without_labels(tmp_path, changed, sentence):
    root = make_photos(tmp_path / 'photos')
    given = config(
        dict(source=dict(name='folder', path=str(root), size=8, classes=CLASSES), split={}),
        start=2,
        cycles=1,
    ).to_dict()
    given |= {key: given[key] | value for key, value in changed.items()}
    with pytest.raises(ValueError, match=sentence):
        loop.run(configs.complete(given), epath.Path(tmp_path / 'al'))
    pool = source.from_arrays(np.zeros((60, 8, 8, 1), np.uint8), np.arange(60) % 3 - 1)
    monkey = pytest.MonkeyPatch()
    made = source.Source(pool, None, None, ('a', 'b'), (8, 8, 1))
    monkey.setattr(configs, 'build', lambda *_, **__: made)
    try:
        unlabeled = cycle_studies.make(config(dict(split={})), epath.Path(tmp_path))
        with pytest.raises(ValueError, match="that takes source.name='folder' and the names"):
            people.check(unlabeled)
    finally:
        monkey.undo()


def finished(
    accuracies, bought=(10, 20, 30), classes=dict(a=5, b=5), pool=dict(a=60, b=40), **more
):
    row = dict(classes=classes, train_seconds=2, select_seconds=0.5, skipped=0) | more
    rows = [dict(bought=n, accuracy=dict(test=a)) | row for n, a in zip(bought, accuracies)]
    return dict(part='test', cycles=rows, pool=pool, area=report.area(bought, accuracies))


def test_rules_are_compared_with_random_of_the_same_seed(tmp_path):
    reports = {
        'm': {
            0: finished([0.5, 0.7, 0.8]),
            1: finished([0.3, 0.5, 0.6], classes=dict(a=10, b=0)),
            2: finished([0.9, 0.9, 0.9]),
        },
        'r': {0: finished([0.5, 0.6, 0.7]), 1: finished([0.3, 0.3, 0.6])},
    }
    rules = {'m': 'margin', 'r': 'random'}
    random, margin = acquisitions.gather(reports, dict.fromkeys('mr', 'supervised'), rules)
    assert (random.rule, margin.rule) == ('random', 'margin')
    np.testing.assert_allclose(margin.difference, [[0, 10, 10], [0, 20, 0]], atol=1e-9)
    np.testing.assert_allclose(margin.area_difference, [7.5, 10])
    assert margin.missing == pytest.approx(1 / 3)
    assert margin.distance == pytest.approx((0.1 + 0.4 + 0.1) / 3)
    assert acquisition_tables.labels_of_random(margin, random) == '> 30'
    assert acquisition_tables.labels_of_random(random, random) == '30'
    lower = margin._replace(accuracy=np.array([[50.0, 50, 54.5]]))
    assert acquisition_tables.labels_of_random(lower, random) == '25'
    text = acquisition_tables.show([random, margin], 'github')
    assert '+8.8 ± 1.2 ' in text and '+15.0 ± 5.0 ' in text and '+5.0 ± 5.0 ' in text
    around = np.arange(-2.0, 3.0)  # standard error 0.707, t = 2.776
    several = margin._replace(
        difference=np.stack([around + 1.9, around + 2.0, around - 2.0], 1), area_difference=around
    )
    _, _, ((*row,),) = acquisition_tables.tables([several])[1]
    assert row[1:] == ['+1.9 ± 0.7', '+2.0 ± 0.7*', '-2.0 ± 0.7*', '+0.0 ± 0.7']
    paths = acquisition_tables.write([random, margin], ['a note'], tmp_path)
    assert [path.name for path in paths] == ['active.md', 'active.csv', 'active.png']
    assert '- a note' in paths[0].read_text()
    with open(paths[1], newline='') as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 15 and {line['rule'] for line in lines} == {'random', 'margin'}
    one = [
        line
        for line in lines
        if (line['rule'], line['seed'], line['cycle']) == ('margin', '1', '2')
    ]
    assert [(line['labels of a'], line['labels of b']) for line in one] == [('10', '0')]
    other = random._replace(config='o', labels={'c': np.full((2, 3), 4)})
    acquisition_tables.write([random, other], [], tmp_path)
    with open(paths[1], newline='') as file:
        *_, last = csv.DictReader(file)
    assert (last['labels of a'], last['labels of c']) == ('', '4')


def test_skipped_images_and_rare_classes_are_in_the_table():
    pool, classes = dict(a=60, b=20, c=21), dict(a=5, b=5, c=5)
    found = [
        finished(
            [0.5, 0.7, 0.8], classes=classes, pool=pool, skipped=skipped,
            accuracy_by_class=dict(test=dict(a=0.9, b=rare, c=0.1)),
        )
        for skipped, rare in ((3, 0.4), (4, 0.6))
    ]  # fmt: skip
    reports = {'r': dict(enumerate(found))}
    (curve,) = acquisitions.gather(reports, {'r': 'supervised'}, {'r': 'random'})
    assert curve.skipped == 3.5 and curve.rare == pytest.approx(50)  # b alone: 20 <= 60 / 3 < 21
    _, header, ((*row,),) = acquisition_tables.tables([curve])[2]
    assert row[header.index('skipped')] == '3.5' and row[header.index('rare classes')] == '50.0'
    even = [one | dict(pool=dict(a=60, b=40, c=40)) for one in found]
    (curve,) = acquisitions.gather({'r': dict(enumerate(even))}, {'r': 's'}, {'r': 'random'})
    assert np.isnan(curve.rare)
    assert acquisition_tables.tables([curve])[2][2][0][header.index('rare classes')] == '-'


def test_what_was_bought_is_a_mean_over_seeds_and_seconds_are_of_all_cycles():
    """Of two studies that bought different numbers of images and of classes."""
    found = [
        finished([0.5, 0.6, 0.7], (10, 20, 30), dict(a=1, b=0)),
        finished([0.5, 0.6, 0.7], (10, 22, 40), dict(a=5, b=1)),
    ]
    (curve,) = acquisitions.gather({'r': dict(enumerate(found))}, {'r': 's'}, {'r': 'random'})
    assert curve.bought.tolist() == [10, 21, 35] and curve.missing == 0.5
    _, header, ((*row,),) = acquisition_tables.tables([curve])[2]
    assert (row[header.index('training')], row[header.index('selection')]) == ('6', '1.5')


def test_every_learner_is_compared_with_random_and_the_oracle():
    named = {
        'm': config(),
        'k': config(rule='k_center', start_from='pixels'),
        'other': config(dict(steps=20)),
        'r': config(dict(steps=20), 'random'),
    }
    found = studies.add_baselines(named)
    assert list(found) == ['m+random', 'm+balanced', 'm', 'k', 'other+balanced', 'other', 'r']
    rules = [studies.rule_name(one) for one in found.values()]
    assert rules[:4] == ['random', 'balanced (oracle)', 'margin', 'k_center, from pixels']
    learners = studies.learners(found)
    assert learners['k'] == 'supervised' and learners['r'] == 'supervised 2'
    two_stage = configs.load('configs/joint_active.py:learner=two_stage', [])
    assert studies.learners(named | {'two': two_stage})['two'] == 'supervised from moby'
    noisy = configs.override(config(), ['--config.active.rule.noise=1.0'])
    assert studies.rule_name(noisy) == 'margin, noise=1.0'


def test_the_command_compares_and_resumes(tmp_path, monkeypatch, capsys):
    path = tmp_path / 'tiny.py'
    path.write_text(
        'import ml_collections\n\n\ndef get_config():\n'
        f'    return ml_collections.ConfigDict({config(cycles=0).to_dict()!r})\n'
    )
    given = ['active', '--configs', str(path), '--seeds=1', '--jobs=1', f'--workdir={tmp_path}/al']
    monkeypatch.setattr(sys, 'argv', given)
    for _ in range(2):  # The second time all studies are finished.
        with pytest.raises(SystemExit) as ended:
            active.main()
        assert not ended.value.code
        printed = capsys.readouterr().out
        assert 'supervised: difference to random' in printed and 'balanced (oracle)' in printed
    assert {p.name for p in (tmp_path / 'al').iterdir()} == {
        'tiny', 'tiny+random', 'tiny+balanced', 'active.md', 'active.csv', 'active.png',
    }  # fmt: skip
    text = acquisitions_page.render(tmp_path / 'al')
    rows = [re.findall('<td>(.*?)</td>', row) for row in html.unescape(text).split('<tr>')]
    table = (tmp_path / 'al' / 'active.md').read_text().split('\n')
    margin = [line for line in table if line.startswith('| margin')]
    assert len(margin) == 3
    for line in margin:
        assert [cell.strip() for cell in line.split('|')[1:-1]] in rows


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (['--config', 'digits_active.py', '--seeds=2'], '--seeds is for --configs; leave it out'),
        (
            ['--configs', 'digits_active.py', '--minutes=nan'],
            '--minutes is nan; give a number above',
        ),
        (['--configs', 'digits_active.py', '--config.seed=7'], '--config.seed is not allowed here'),
    ],
)
def test_counts_that_a_study_would_not_follow_are_refused(monkeypatch, arguments, sentence):
    monkeypatch.setattr(sys, 'argv', ['active', *arguments, '--workdir=x'])
    with pytest.raises(ValueError, match=sentence):
        active.main()


def test_the_config_of_the_digits_knows_every_rule():
    for rule in ('balanced', 'consistency', 'probcover'):
        given = configs.load(f'configs/digits_active.py:learner=mpl,rule={rule}', [])
        assert given.active.cycles == 5 and not given.split.labels
    with pytest.raises(ValueError, match="learner is 'none'; give one of supervised"):
        configs.load('configs/digits_active.py:learner=none', [])
    rules = set(
        path.stem
        for path in epath.Path('mpl/acquisition').glob('*.py')
        if '\ndef make(' in path.read_text()
    )
    assert rules - set(digits_active.Rule.__args__) == {'per_predicted_class'}


def test_a_key_per_cycle():
    """Rules that draw would else draw the same images in every cycle."""
    keys = {
        str(jax.random.key_data(stream.derive(jax.random.key(0), t, 'acquire'))) for t in range(5)
    }
    assert len(keys) == 5


@pytest.mark.parametrize('data', ['digits', 'fashion_mnist'])
def test_the_learners_of_the_joint_comparison_differ_in_the_training_alone(data):
    found = {
        learner: configs.load(f'configs/joint_active.py:learner={learner},data={data}', [])
        for learner in ('supervised', 'mobyv2al', 'two_stage')
    }
    trainings = [*found.values(), found['two_stage'].init_from.config]
    for training in trainings:
        assert training.views == trainings[0].views
        batch = training.batch.labeled + training.batch.unlabeled
        assert abs(training.steps * batch - 96_000) < batch
    assert len({str(one.networks.student.model.to_dict()) for one in trainings}) == 1
    assert len({one.batch.labeled for one in found.values()}) == 1
    assert found['supervised'].batch.unlabeled == 0 and list(found['supervised'].networks) == [
        'student'
    ]
    assert cycle_studies.is_pretrained_once(found['two_stage'])
