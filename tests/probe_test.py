"""Probes of a finished run: whose features, which labels, chosen on validation, measured once."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from sklearn.neighbors import KNeighborsClassifier

from mpl import probe
from mpl.models import cnn, network, wide_resnet
from mpl.models.network import Definition, Frozen, Variables
from mpl.optimizers import sgd
from mpl.run import config as configs
from mpl.run import (
    evaluation,
    measure,
    probe_classifiers,
    probe_features,
    probe_finetuning,
    probe_settings,
    probing,
    records,
)
from mpl.run import experiment as experiments

GIVEN = dict(
    network='student',
    layer='features',
    grid=1,
    labels=('split', '100'),
    probes=('neighbors', 'linear'),
    neighbors=(3, 7),
    temperature=0.07,
    decays=(0.01, 1.0),
    steps=4,
    rates=(0.01, 0.1),
    batch=16,
)


def settings(**more):
    return probe_settings.Settings(**GIVEN | more)


@pytest.fixture(scope='module')
def loaded(smoke):
    return evaluation.load(smoke)[0]


@pytest.fixture(scope='module')
def result(smoke):
    return probing.run(smoke, settings())


def rows(result, **wanted):
    return [r for r in result['rows'] if all(r[key] == value for key, value in wanted.items())]


def test_neighbors_are_of_the_features_in_evaluation_mode(loaded, result):
    """Each row by scikit-learn; the number of neighbors is the better one on validation."""
    experiment, source = loaded.experiment, loaded.experiment.source
    forward = measure.make_forward(experiment)
    drawn = experiments.initialize(experiment)
    parts = {'validation': experiments.validation(experiment)}
    parts['test'] = source.test, np.arange(600)

    def features(state, pool, indices):
        return measure.outputs(experiment, forward, state, pool, indices)['student'].features

    def pixels(state, pool, indices):
        image = pool.read(indices).astype(np.float64)
        return ((image - 77.9) / 95.9).reshape(len(image), -1)

    kinds = {
        'student': (features, loaded.state),
        'untrained network': (features, drawn),
        'raw pixels': (pixels, None),
    }
    for row in rows(result, probe='neighbors', labels='split'):
        read, state = kinds[row['features']]
        bank = read(state, source.train, experiment.split.labeled)
        label = source.train.label[experiment.split.labeled]
        accuracy = {}
        for count in (3, 7):
            found = KNeighborsClassifier(
                count, metric='cosine', weights=lambda d: np.exp(-d / 0.07)
            )
            found.fit(bank, label)
            accuracy[count] = {
                part: np.mean(found.predict(read(state, *where)) == where[0].label[where[1]])
                for part, where in parts.items()
            }
        best = max((3, 7), key=lambda count: accuracy[count]['validation'])
        assert row['chosen']['value'] == best
        assert (
            row['accuracy'] == pytest.approx(accuracy[best]) and row['dimensions'] == bank.shape[1]
        )
    assert len(rows(result)) == 2 * 3 * 2


def test_pixels_are_not_averaged_with_mirror_images(loaded):
    config = loaded.experiment.config.copy_and_resolve_references()
    with config.unlocked():
        config.average_mirrored = True
    experiment, five = loaded.experiment._replace(config=config), np.arange(5)
    parts = {'test': probe_settings.Part(experiment.source.test, five)}
    *_, (name, features) = probe_features.compute(
        experiment, loaded.state, 'student', 'features', 1, parts
    )
    image = experiment.source.test.read(five).reshape(5, -1)
    assert name == 'raw pixels'
    np.testing.assert_allclose(features['test'], (image - 77.9) / 95.9, atol=1e-5)


def test_labels_are_those_of_a_run_with_that_split(loaded):
    experiment, split = loaded.experiment, loaded.experiment.split
    found = {
        t: probe_settings.find_labels(experiment, t) for t in ('split', '20', '100', '10%', 'all')
    }
    count = {text: len(part.indices) for text, part in found.items()}
    assert count == {'split': 20, '20': 20, '100': 100, '10%': 109, 'all': 1097}
    np.testing.assert_array_equal(found['20'].indices, split.labeled)
    assert np.isin(split.labeled, found['100'].indices).all()
    assert not np.isin(split.validation, found['all'].indices).any()
    assert set(np.bincount(found['100'].label)) == {10}


def test_same_call_reads_its_file_and_refuses_that_of_other_weights(
    smoke, result, monkeypatch, tmp_path
):
    def compute(*_):
        raise AssertionError

    monkeypatch.setattr(probe_features, 'compute', compute)
    assert probing.run(smoke, settings()) == result
    with pytest.raises(AssertionError):
        probing.run(smoke, settings(temperature=0.1))
    (path,) = [p for p in (smoke / 'probes').iterdir() if p.suffix == '.json']
    record = records.read(path, '', '')
    for key, value in {
        'state': 7,
        'network': 'teacher',
        'settings': settings(grid=2)._asdict(),
    }.items():
        text = path.read_text()
        records.write(path, record | {'made_by': record['made_by'] | {key: value}})
        with pytest.raises(ValueError, match='not of this network and these settings'):
            probing.run(smoke, settings())
        path.write_text(text)


def test_table_has_every_number(result):
    shown = probing.show(result)
    for row in result['rows']:
        for accuracy in row['accuracy'].values():
            assert f'{100 * accuracy:.2f} %' in shown
    marked = {'chosen': {'value': 1.0, 'warnings': [probe_classifiers.NOT_CONVERGED]}}
    doubtful = result | {'rows': [row | marked for row in result['rows']]}
    assert '1!' in probing.show(doubtful) and '! not converged after 1000 steps' in probing.show(
        doubtful
    )
    assert 'step 20' in shown and '100 validation images, 600 test images' in shown


def test_values_are_chosen_on_validation_alone():
    accuracy = {1: (0.5, 0.9), 2: (0.7, 0.1), 3: (0.7, 0.8), 4: (0.6, 1.0)}
    asked = []

    def measured(value, part):
        asked.append((value, part))
        return accuracy[value][('validation', 'test').index(part)]

    chosen, found = probe_classifiers.choose((1, 2, 3, 4), measured, ('validation', 'test'))
    assert chosen == {'value': 2, 'warnings': []} and found == {'validation': 0.7, 'test': 0.1}
    assert [ask for ask in asked if ask[1] == 'test'] == [(2, 'test')]
    chosen, found = probe_classifiers.choose((4,), measured, ('test',))
    assert chosen == {'value': 4, 'warnings': []} and found == {'test': 1.0}
    chosen, _ = probe_classifiers.choose((4, 3), measured, ())
    assert chosen['warnings'] == [probe_classifiers.AT_END]


def test_fine_tuning_starts_from_the_network_and_from_random_weights(smoke):
    result = probing.run(smoke, settings(probes=('finetune',), labels=('split',)))
    assert [row['features'] for row in result['rows']] == ['student', 'untrained network']
    runs = [folder for folder in (smoke / 'probes').glob('finetune_*')]
    found = {}
    for folder in runs:
        config = configs.read(folder / 'config.json')
        assert config.split.labels == 20 and config.steps == 4 and config.batch.unlabeled == 0
        rate = config.networks.student.optimizer.learning_rate
        report = records.read(folder / 'report.json', '', '')['networks']['student']
        found[bool(config.init_from.workdir), rate] = {
            part: report[part]['accuracy'] for part in ('validation', 'test')
        }
    assert len(found) == len(runs) == 4
    for row in result['rows']:
        start = row['features'] == 'student'
        best = max((0.01, 0.1), key=lambda rate: found[start, rate]['validation'])
        assert row['chosen']['value'] == best and row['accuracy'] == found[start, best]


@pytest.mark.parametrize('given, wanted', [('none', 'weak'), ('strong', 'strong')])
def test_fine_tuning_augments_the_labeled_images_of_an_online_probe(
    loaded, tmp_path, given, wanted
):
    config = configs.override(loaded.experiment.config, [f'--config.views.labeled={given}'])
    stage = loaded._replace(experiment=loaded.experiment._replace(config=config))
    chosen = settings(probes=('finetune',), labels=('split',))
    plans = probe_finetuning.plan(
        stage, 'student', chosen, {'split': None}, epath.Path(tmp_path), 1
    )
    assert [plan.config.views.labeled for plan in plans] == 4 * [wanted]


MODELS = {
    'cnn': cnn.make(3, (4, 6), (1, 2), norm='batch'),
    'remat': cnn.make(3, (4, 6), (1, 2), norm='batch', remat=True),
    'wide_resnet': wide_resnet.make(3, 10, 1),
}


@pytest.mark.parametrize('name', MODELS)
def test_layers_are_captured_by_path(name, fast_compile):
    image = jnp.ones((2, 8, 8, 1)) * jnp.arange(8.0)[:, None, None]
    definition = Definition(MODELS[name], sgd.make(2, 0.1))
    net = network.create(definition, jax.random.key(0), image, 0.0)
    frozen = Frozen(definition, Variables(net.params, net.batch_stats))
    layers, outputs = jax.jit(lambda x: (network.capture(frozen, x), network.predict(frozen, x)))(
        image
    )
    np.testing.assert_array_equal(layers['head'], outputs.logits)
    if name == 'wide_resnet':
        maps = layers['activate']
        assert {'stem', 'group_1_block_0', 'group_1_block_0/conv_0'} < set(layers)
        np.testing.assert_allclose(
            probe_features.average_cells(maps, 1, 1), outputs.features, rtol=1e-6
        )
    else:
        assert layers['stage_0'].shape == (2, 8, 8, 4)
        np.testing.assert_array_equal(layers['stage_1'].reshape(2, -1), outputs.features)


def test_cells_are_means_of_positions():
    x = np.random.default_rng(0).normal(size=(2, 7, 5, 3)).astype(np.float32)
    got = np.asarray(probe_features.average_cells(jnp.asarray(x), 3, 2)).reshape(2, 3, 2, 3)
    for i, (top, bottom) in enumerate([(0, 3), (2, 5), (4, 7)]):
        for j, (left, right) in enumerate([(0, 3), (2, 5)]):
            wanted = x[:, top:bottom, left:right].mean((1, 2), dtype=np.float64)
            np.testing.assert_allclose(got[:, i, j], wanted, atol=1e-6)
    np.testing.assert_array_equal(
        probe_features.average_cells(jnp.asarray(x), 7, 5), x.reshape(2, -1)
    )


REFUSED = {
    '--layer=stage_1': "student has no layer 'stage_1'; give one of features, Dense_0",
    '--grid=2': '--grid is 2, but features has outputs of 32; give a number from 1 to 1',
    '--neighbors 21': 'neighbors is 21, but there are 20 labeled training images',
    '--neighbors 0': '--neighbors is 0; give numbers above 0',
    '--temperature=0': '--temperature is 0.0',
    '--decays -1': '--decays is -1.0',
    '--labels few': "--labels is 'few'; give 'split', 'all', a number or a percentage",
    '--labels 5000': 'Class 0 .* has 118 labeled examples',
    '--probes nearest': "'nearest' is no probe; give some of neighbors, linear, finetune",
    '--network=pupil': "no network 'pupil'",
    '--probes finetune --batch=12': 'batch.labeled is 12; give a multiple of the 8',
    '--config.steps=3': 'is not allowed here',
}


@pytest.mark.parametrize('arguments', REFUSED)
def test_refusals(arguments, smoke, monkeypatch):
    """Before anything is compiled."""

    def compile_forward(*_):
        raise AssertionError

    monkeypatch.setattr(measure, 'compile_forward', compile_forward)
    monkeypatch.setattr(sys, 'argv', ['probe', f'--workdir={smoke}', *arguments.split()])
    with pytest.raises(ValueError, match=REFUSED[arguments]):
        probe.main()


def test_parts_without_labels_are_refused(loaded):
    experiment = loaded.experiment
    label = np.full(len(experiment.source.train.label), -1)
    bare = experiment.source._replace(train=experiment.source.train._replace(label=label))
    with pytest.raises(ValueError, match='No training image of the run has a label'):
        probe_settings.find_labels(experiment._replace(source=bare), 'all')
    blind = experiment._replace(source=bare._replace(test=None))
    assert probe_settings.find_parts(blind) == {}
    banks = {'split': probe_settings.find_labels(experiment, 'split')}
    shapes = probe_features.layer_shapes(experiment, 'student')

    def check(parts, **more):
        probe_settings.check(settings(**more), experiment.config, shapes, banks, parts)

    with pytest.raises(ValueError, match='neither validation nor test images with a label'):
        check({})
    tested = {'test': probe_settings.find_parts(experiment)['test']}
    with pytest.raises(ValueError, match='--neighbors has 2 values to choose from on validation'):
        check(tested)
    check(tested, neighbors=(3,), decays=(1.0,))


def test_layers_are_listed(smoke, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['probe', f'--workdir={smoke}', '--layer=help'])
    probe.main()
    assert capsys.readouterr().out.splitlines()[:2] == ['features: 32', 'Dense_0: 32']
