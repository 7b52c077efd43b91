"""Networks for others: what a file holds, that it predicts what the run predicts, what is refused."""

import csv
import json
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from jax import export as jax_export
from PIL import Image
from sklearn import datasets

from mpl import export, predict
from mpl.exports import files, interface
from mpl.exports import model as models
from mpl.models import conv, efficientnet, network, resnet, vit
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import stages, weights

ROOT = pathlib.Path(__file__).parent.parent
SIDE = 16
SPECS = {
    'cnn': dict(name='cnn', channels=[4, 6], strides=[2, 2], norm='batch'),
    'resnet': dict(name='resnet', depth=18, padding='symmetric', norm_epsilon=1e-5),
    'vit': dict(name='vit', size='Ti', patch=4),
    'efficientnet': dict(name='efficientnet', variant='b0', scan=True),
}


@pytest.fixture(scope='module', autouse=True)
def small():
    """ResNet-18 has two blocks and ViT-Ti two narrow ones; programs are compiled fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.BLOCKS, 18, (1, 1))
        patch.setitem(vit.SIZES, 'Ti', (24, 2, 3))
        jax.config.update('jax_disable_most_optimizations', True)
        yield
        jax.config.update('jax_disable_most_optimizations', False)


def draw(name, mirrored=False):
    """A model with random variables, none of them at its initial value."""
    description = dict(
        network='student',
        classes=list('abc'),
        image_shape=[SIDE, SIDE, 3],
        dtype='uint8',
        central=1.0,
        batch=4,
        model=SPECS[name],
        views=dict(name='images', mean=[120.0, 110.0, 100.0], std=60.0),
        average_mirrored=mirrored,
        made_by={},
    )
    module, image = models.build(description), jnp.zeros((1, SIDE, SIDE, 3))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, False))
    random = np.random.default_rng(0)

    def fill(path, leaf):
        values = random.normal(size=leaf.shape) * np.prod(leaf.shape[:-1] or (25,)) ** -0.5
        return (values + (path[-1].key in ('scale', 'var'))).astype(np.float32)

    drawn = {'batch_stats': {}} | jax.tree_util.tree_map_with_path(fill, shapes)
    variables = network.Variables(drawn['params'], drawn['batch_stats'])
    return models.Model(description, variables)


@pytest.mark.parametrize('name', ['cnn', 'resnet', 'vit'])
def test_a_program_has_ordinary_operations_and_any_batch(name, monkeypatch):
    model, image = draw(name), jnp.zeros((2, SIDE, SIDE, 3), jnp.uint8)
    own = 'convolution['  # our primitive, in a jaxpr
    assert own not in str(jax.make_jaxpr(models.make_forward(model))(image))
    content, _ = interface.find('stablehlo').encode(model)
    program = jax_export.deserialize(bytearray(content))
    assert program.platforms == ('cpu', 'cuda', 'tpu')
    # That of jax, which checks that B is above 0.
    assert set(re.findall(r'custom_call @(\w+)', program.mlir_module())) == {'shape_assertion'}
    assert str(program.in_avals[0]) == f'uint8[batch,{SIDE},{SIDE},3]'
    monkeypatch.setattr(conv, 'with_ordinary', lambda function: function)
    run = jax.jit(models.make_forward(model))  # by our lowering, as the run predicts
    assert (own in str(jax.make_jaxpr(run)(image))) == (name != 'vit')
    for size in (1, 3):
        image = np.random.default_rng(size).integers(0, 256, (size, SIDE, SIDE, 3), np.uint8)
        got, want = program.call(image), np.asarray(run(image))
        assert want.std() > 0.1 * np.abs(want).max()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize(
    'name, file', [('resnet', resnet), ('vit', vit), ('efficientnet', efficientnet)]
)
def test_the_names_of_timm_go_both_ways(name, file):
    model = draw(name)
    module, shape = models.build(model.description), (SIDE, SIDE, 3)
    given = {'params': model.variables.params, 'batch_stats': model.variables.batch_stats}
    timm = file.to_timm(module, given, shape)
    found = {'batch_stats': {}} | file.from_timm(module, timm.tensors, shape)
    jax.tree.map(np.testing.assert_array_equal, found, given)
    assert all(tensor.flags.c_contiguous for tensor in timm.tensors.values())


def read(path):
    """Names, classes and probabilities [N, K] of a CSV file."""
    with open(path, newline='') as file:
        header, *rows = csv.reader(file)
    probability = np.array([row[3:] for row in rows], float)
    return header, [row[:2] for row in rows], probability


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two real photographs, cut into pictures of several sizes: china.jpg and flower.jpg."""
    root, random = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    for name, image in zip(('china', 'flower'), datasets.load_sample_images().images):
        for part in ('labeled', 'validation', 'test'):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(6):
                (top, left), (height, width) = (
                    random.integers(0, 200, 2),
                    random.integers(60, 200, 2),
                )
                cut = Image.fromarray(image[top : top + height, left : left + width])
                cut.save(folder / f'{number}.{"jpg" if number % 2 else "png"}')
    return root


def train(photos, workdir, model, rate=0.03, **numbers):
    net = dict(model=model, optimizer=dict(name='sgd', learning_rate=rate))
    config = dict(
        steps=6,
        source=dict(name='folder', path=str(photos), size=SIDE, central=0.875),
        batch=dict(labeled=8, evaluate=8),
        views=dict(name='images', mean=[120.0, 110.0, 100.0], std=60.0),
        networks=dict(student=net),
        algorithm=dict(name='supervised', ema_decay=0.9),
        every=dict(log=3, evaluate=6, save=6),
    )
    stages.run(configs.complete(config | numbers), epath.Path(workdir))
    return workdir


@pytest.fixture(scope='module')
def run(photos, tmp_path_factory):
    """A convolutional network that predicts with mirror images too; its seeds 0 and 1."""
    root = tmp_path_factory.mktemp('run')
    for seed in (1, 0):
        train(photos, root / str(seed), SPECS['cnn'], average_mirrored=True, seed=seed)
    return root / '0'


@pytest.fixture(scope='module')
def transformer(photos, tmp_path_factory):
    return train(photos, tmp_path_factory.mktemp('run') / 'vit', SPECS['vit'], rate=0.1)


def command(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, 'argv', [module.__name__, *map(str, arguments)])
    module.main()


def check_predictions(monkeypatch, tmp_path, photos, workdir, file, atol=2e-4):
    """The table of the file is that of the run, on a folder with a damaged picture."""
    folder = tmp_path / 'new'
    shutil.copytree(photos / 'test', folder)
    (folder / 'broken.png').write_bytes(b'no picture')
    tables = []
    for argument in (f'--workdir={workdir}', f'--model={file}'):
        output = tmp_path / 'out.csv'
        command(monkeypatch, predict, argument, f'--images={folder}', f'--output={output}')
        tables.append(read(output))
        made_by = json.loads((tmp_path / 'out.csv.json').read_text())['made_by']
        assert made_by['network'] == 'student_ema' and made_by['images'] == str(folder)
    (header, rows, want), (other_header, other_rows, got) = tables
    assert (header, rows) == (other_header, other_rows) and len(rows) == 12
    assert want.std(0).min() > 10 * atol
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)


def test_a_program_predicts_what_its_run_predicts(run, photos, tmp_path, monkeypatch, capsys):
    command(monkeypatch, export, f'--workdir={run}', '--to=stablehlo', '--license=cc0-1.0')
    file = run / 'export' / 'student_ema' / 'model.stablehlo'
    assert f'student_ema of {run}: {file}' in capsys.readouterr().out
    check_predictions(monkeypatch, tmp_path, photos, run, file)
    assert '1 of 13 images could not be read' in capsys.readouterr().out

    card = (file.parent / 'model_card.md').read_text()
    report = json.loads((run / 'report.json').read_text())
    measured = report['networks']['student_ema']['test']
    other = json.loads((run.parent / '1' / 'report.json').read_text())
    values = [100 * r['networks']['student_ema']['test']['accuracy'] for r in (report, other)]
    for text in (
        'license: cc0-1.0',
        f'split {report["split"]["hash"]}',
        'china, flower',
        f'{100 * measured["accuracy"]:.2f} %',
        f'{measured["calibration_error"]:.4f}',
        f'{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} % over 2 seeds',
        'short side has 18 pixels',
        "'mean': (120.0, 110.0, 100.0)",
        "'std': 60.0",
        f'mpl.export --workdir={run} --network=student_ema --to=stablehlo',
    ):
        assert text in card, text


def test_a_program_runs_by_the_script_of_the_docs_without_this_project(
    run, photos, tmp_path, monkeypatch
):
    file, folder, output = tmp_path / 'a.stablehlo', tmp_path / 'exact', tmp_path / 'out.csv'
    command(monkeypatch, export, f'--workdir={run}', '--to=stablehlo', f'--output={file}')
    folder.mkdir()
    for number, path in enumerate(sorted((photos / 'test').rglob('*.*'))):
        image = Image.open(path).resize((18, 18))  # Of which the middle 16 x 16 are cut out.
        image.save(folder / f'{number:02d}.png')
    command(monkeypatch, predict, f'--model={file}', f'--images={folder}', f'--output={output}')
    _, rows, probability = read(output)
    script = shutil.copy(ROOT / 'docs' / 'run_stablehlo.py', tmp_path)
    code = (
        f'import runpy, sys; runpy.run_path({str(script)!r}); '
        'assert not {name.split(".")[0] for name in sys.modules} & {"mpl", "flax"}'
    )
    pictures = sorted(map(str, folder.iterdir()))
    done = subprocess.run(
        [sys.executable, '-c', code, file, *pictures], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(rows) == 12
    for line, picture, (name, best), row in zip(
        done.stdout.splitlines(), pictures, rows, probability, strict=True
    ):
        assert picture.endswith(name)
        prefix, confidence = line.removesuffix(')').split(' (')
        assert prefix == f'{picture}: {best}'
        assert float(confidence) == pytest.approx(row.max(), abs=2e-4)


def test_weights_with_the_names_of_timm_start_a_run_and_predict(
    transformer, photos, tmp_path, monkeypatch
):
    command(monkeypatch, export, f'--workdir={transformer}', '--to=safetensors')
    file = transformer / 'export' / 'student_ema' / 'model.safetensors'
    config = json.loads((file.parent / 'config.json').read_text())
    assert config['architecture'] == 'vit_tiny_patch16_224' and config['num_classes'] == 2
    assert config['model_args'] == dict(
        img_size=[SIDE, SIDE], patch_size=4, global_pool='token', in_chans=3
    )
    given = config['pretrained_cfg']
    np.testing.assert_allclose(given['mean'], np.array([120, 110, 100]) / 255, rtol=1e-5)
    np.testing.assert_allclose(given['std'], 3 * [60 / 255], rtol=1e-5)
    assert given['crop_pct'] == 0.875 and given['label_names'] == ['china', 'flower']
    check_predictions(monkeypatch, tmp_path, photos, transformer, file)

    model = models.read(epath.Path(transformer), 'student_ema')
    saved = configs.read(epath.Path(transformer) / 'config.json').to_dict()
    second = configs.complete(saved | {'init_from': {'file': str(file)}})
    (found,) = weights.find(experiments.assemble(second, jax.devices()[:1])).values()
    image = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    want = models.make_forward(model)(image)
    np.testing.assert_array_equal(models.make_forward(model._replace(variables=found))(image), want)


@pytest.mark.parametrize('name', ['resnet', 'vit', 'efficientnet'])
def test_timm_makes_the_model_of_a_config_and_gives_its_logits(name, tmp_path):
    torch, timm = pytest.importorskip('torch'), pytest.importorskip('timm')
    with pytest.MonkeyPatch.context() as patch:  # timm has the whole models alone.
        patch.setitem(resnet.BLOCKS, 18, (2, 2, 2, 2))
        patch.setitem(vit.SIZES, 'Ti', (192, 12, 3))
        model = draw(name)
        content, others = interface.find('safetensors').encode(model)
        (tmp_path / 'model.safetensors').write_bytes(content)
        (tmp_path / 'config.json').write_bytes(others['config.json'])
        image = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
        want = np.asarray(models.make_forward(model)(image))
    theirs = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    config = json.loads(others['config.json'])
    made = timm.create_model(
        config['architecture'], num_classes=config['num_classes'], **config['model_args']
    )
    made.load_state_dict(
        {name: torch.from_numpy(x) for name, x in safetensors.numpy.load(content).items()}
    )
    mean, std = (np.array(config['pretrained_cfg'][key]) for key in ('mean', 'std'))
    standardized = ((image / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    for other in (theirs, made.eval()):
        with torch.no_grad():
            got = other(torch.from_numpy(standardized)).numpy()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


def test_onnx_predicts_what_its_run_predicts(run, photos, tmp_path, monkeypatch):
    pytest.importorskip('jax2onnx'), pytest.importorskip('onnxruntime')
    file = tmp_path / 'a.onnx'
    command(monkeypatch, export, f'--workdir={run}', '--to=onnx', f'--output={file}')
    check_predictions(monkeypatch, tmp_path, photos, run, file)
    _, function = files.load(file)
    for size in (1, 5):
        assert function(np.zeros((size, SIDE, SIDE, 3), np.uint8)).shape == (size, 2)


@pytest.mark.parametrize('package', ['jax2onnx', 'onnxruntime'])
def test_onnx_without_its_packages_is_a_sentence(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    onnx = interface.find('onnx')
    with pytest.raises(ValueError, match=f'needs {package}.*requirements-onnx.txt'):
        onnx.encode(draw('cnn')) if package == 'jax2onnx' else onnx.decode(b'', {})


def test_refusals_of_export(run, photos, transformer, tmp_path, monkeypatch):
    def refused(words, *arguments):
        with pytest.raises(ValueError, match=words):
            command(monkeypatch, export, *arguments)

    refused("format 'tflite' is unknown; give one of onnx,", f'--workdir={run}', '--to=tflite')
    refused("no network 'pupil'", f'--workdir={run}', '--to=stablehlo', '--network=pupil')
    refused('cnn has no counterpart in timm', f'--workdir={run}', '--to=safetensors')
    refused('holds no run', f'--workdir={tmp_path}', '--to=stablehlo')
    refused('not allowed here', f'--workdir={run}', '--to=stablehlo', '--config.steps=3')
    refused('no folder', f'--workdir={run}', '--to=stablehlo', f'--output={tmp_path}/a/b.stablehlo')
    refused(
        r'give a file \*.stablehlo', f'--workdir={run}', '--to=stablehlo', f'--output={tmp_path}/b'
    )
    bare = tmp_path / 'bare'
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns('checkpoints', 'export'))
    refused('has no checkpoint', f'--workdir={bare}', '--to=stablehlo')

    refused(
        'config.json is there already', f'--workdir={transformer}', '--to=safetensors',
        f'--output={transformer}/model.safetensors',
    )  # fmt: skip
    assert models.read(epath.Path(transformer), 'student')  # Its config is as it was.
    file = tmp_path / 'a.safetensors'
    command(monkeypatch, export, f'--workdir={transformer}', '--to=safetensors', f'--output={file}')
    refused(
        'export of another network .a.safetensors', f'--workdir={transformer}', '--to=safetensors',
        f'--output={tmp_path}/b.safetensors', '--network=student',
    )  # fmt: skip


@pytest.mark.parametrize(
    'spec, words',
    [
        (SPECS['resnet'] | dict(padding='same'), "the model has padding='same'"),
        (SPECS['resnet'] | dict(stem='cifar'), "stem 'imagenet'; the model has 'cifar'"),
        (SPECS['vit'] | dict(norm_epsilon=0.1), 'norm_epsilon=0.1'),
        (SPECS['vit'] | dict(positions='rotary'), 'qkv_bias=False'),
        (SPECS['vit'] | dict(positions='rotary', qkv_bias=False), 'norm_epsilon=1e-5 and mlp gelu'),
        (dict(name='convnext', patch=2), 'patches of 4 .* patch=2'),
        (SPECS['efficientnet'] | dict(small_image=True), 'small_image=True'),
        (SPECS['efficientnet'] | dict(width=0.3), 'of width 0.3'),
        (SPECS['efficientnet'] | dict(norm_epsilon=0.1), 'norm_epsilon=0.1'),
        (dict(name='mlp', widths=[8]), 'The model mlp has no counterpart in timm; export'),
    ],
)
def test_models_without_a_counterpart_in_timm(spec, words):
    model = draw('vit')
    other = models.Model(model.description | {'model': spec}, model.variables)
    with pytest.raises(ValueError, match=words):
        interface.find('safetensors').encode(other)


def test_files_that_changed_are_refused(run, photos, tmp_path, monkeypatch):
    file = tmp_path / 'a.stablehlo'
    command(monkeypatch, export, f'--workdir={run}', '--to=stablehlo', f'--output={file}')
    record = tmp_path / 'a.stablehlo.json'
    content, text = file.read_bytes(), record.read_text()
    arguments = [f'--model={file}', f'--images={photos}/test', f'--output={tmp_path}/out.csv']

    def refused(words, *more):
        with pytest.raises(ValueError, match=words):
            command(monkeypatch, predict, *arguments, *more)
        assert not (tmp_path / 'out.csv').exists()

    for option in ('--features=f.npz', '--network=student'):
        refused('not allowed with --model', option)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused('not the file that was exported .its SHA-256')
    file.write_bytes(b'x' * 1000)
    seal = files.records.seal(
        json.loads(text) | {'sha256': files.hashlib.sha256(b'x' * 1000).hexdigest()}
    )
    record.write_text(json.dumps(seal))
    refused('a.stablehlo cannot be run: The program cannot be read by jax')
    file.write_bytes(content)
    record.write_text(text.replace('china', 'chino'))
    refused('its checksum does not match')
    record.unlink()
    refused('There is no .*a.stablehlo.json')


def test_a_file_whose_logits_differ_is_not_written(tmp_path, monkeypatch):
    model, other = draw('cnn'), draw('cnn', mirrored=True)
    content, _ = interface.find('stablehlo').encode(other)
    wrong = interface.find('stablehlo')._replace(encode=lambda _: (content, {}))
    monkeypatch.setattr(interface, 'find', lambda name: wrong)
    with pytest.raises(RuntimeError, match='are not those of the run: they differ by'):
        files.write(model, 'stablehlo', tmp_path / 'a.stablehlo')
    assert not list(tmp_path.iterdir())
