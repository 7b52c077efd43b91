"""report.html: the numbers of the run, its images, no network, no error in a browser, any width."""

import base64
import io
import json
import re
import shutil
import sys

import browser
import numpy as np
import pytest
from etils import epath
from PIL import Image

from mpl import report as command
from mpl.comparison import table
from mpl.pages import charts, page
from mpl.pages import comparison as comparison_page
from mpl.run import collapse, evaluation, measure, metrics, records
from mpl.run import report as reports

NETWORKS = ('student', 'student_ema', 'teacher', 'finetuned')


def write(workdir, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['report', f'--workdir={workdir}', *map(str, arguments)])
        command.main()


def figures(text):
    """The charts of a page, by title."""
    (found,) = re.findall(r'^const figures = (.*);$', text, re.M)
    return {f['title']: f for f in json.loads(found)}


def rows(text):
    """The cells of the first table of a page, row by row."""
    body = text.split('<tbody>')[1].split('</tbody>')[0]
    return [re.findall('<td>(.*?)</td>', row) for row in body.split('</tr>') if '<td>' in row]


@pytest.fixture(scope='module')
def run_page(smoke, tmp_path_factory):
    path = tmp_path_factory.mktemp('pages') / 'run.html'
    write(smoke, f'--output={path}')
    return path


def test_the_table_has_the_numbers_of_the_report(smoke, run_page):
    report = reports.read(smoke)
    assert rows(run_page.read_text()) == [
        [name, f'{report["networks"][name]["parameters"]:,}']
        + [
            text
            for part in ('validation', 'test')
            for measured in [report['networks'][name][part]]
            for text in (
                f'{100 * measured["accuracy"]:.2f}',
                f'{measured["nll"]:.4f}',
                f'{measured["calibration_error"]:.4f}',
            )
        ]
        for name in NETWORKS
    ]


def test_charts_have_the_metrics_of_the_run(smoke, run_page):
    drawn, lines = figures(run_page.read_text()), metrics.read(smoke / 'metrics.jsonl')
    for title, metric, name in (
        ('Training loss', 'loss/{}', 'student'),
        ('Validation accuracy', 'validation/{}/accuracy', 'teacher'),
        ('Accuracy of pseudo-labels', 'unlabeled/{}/accuracy', 'teacher'),
        ("Feedback of the student on the teacher's pseudo-labels", 'feedback/{}', 'h'),
    ):
        (trace,) = [t for t in drawn[title]['data'] if t['name'] == name]
        pairs = [(n['step'], n[metric.format(name)]) for n in lines if metric.format(name) in n]
        assert list(zip(trace['x'], trace['y'])) == pairs and len(pairs) > 1
    even = drawn['Effective classes of pseudo-labels, exp(entropy)']['data']
    (trace,) = [t for t in even if t['name'] == 'teacher']
    counts = [n['unlabeled/teacher/histogram'] for n in lines if 'unlabeled/teacher/histogram' in n]
    assert trace['y'] == [collapse.effective_classes(c) for c in counts]
    for name, measured in evaluation.evaluate(smoke, 'test', [])['networks'].items():
        chart = drawn[f'{name}: {100 * measured["accuracy"]:.2f} %']
        assert chart['data'][0]['customdata'] == measured['confusion']


def test_images_are_the_surest_errors_and_the_least_sure(smoke, run_page):
    stage = evaluation.load(smoke)[-1]
    test = stage.experiment.source.test
    forward = measure.make_forward(stage.experiment)
    logits = measure.outputs(
        stage.experiment, forward, stage.state, test, np.arange(len(test.label))
    )['student'].logits  # The network `finetuned` of the report.
    probability = np.exp(measure.log_softmax(logits))
    best, sure = probability.argmax(-1), probability.max(-1)
    wrong = [n for n in np.argsort(-sure, kind='stable') if best[n] != test.label[n]][:24]
    unsure = np.argsort(sure, kind='stable')[:24]
    text = run_page.read_text()
    shown = re.findall(r'<img src="data:image/png;base64,(.*?)" alt="(.*?)"', text)
    captions = re.findall(r'<figcaption>(.*?)<br>', text)
    assert len(shown) == len(captions) == 48
    for n, (content, name), caption in zip([*wrong, *unsure], shown, captions, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        np.testing.assert_array_equal(pixels, test.read(np.array([n]))[0, ..., 0])
        assert name == test.name[n]
        predicted = f' as {best[n]}' if best[n] != test.label[n] else ''
        assert caption == f'{test.label[n]}{predicted}, {sure[n]:.3f}'


def test_warnings_config_and_report_are_there_and_nothing_is_loaded(smoke, run_page):
    text = run_page.read_text()
    for warning in reports.warnings(reports.read(smoke)):
        assert text.index(warning) < text.index('<table>')
    assert '&#34;learning_rate&#34;: 0.1' in text and '&#34;metrics_lines&#34;' in text
    assert f'python -m mpl.report --workdir={smoke}' in text
    assert not re.search(r'(src|href)="(?!data:)', text) and 'url(' not in text
    assert len(text) < 3 * 2**20


def test_names_are_text_and_the_same_page_has_the_same_bytes():
    name = '<b>&"\'</script>\udc80'
    chart = charts.confusion(name, np.eye(2, dtype=int), ('a', name))
    image = page.Image(np.zeros((2, 2, 3), np.uint8), name, name)
    section = page.Section(name, name, [name], [[name]], [chart], [image], [(name, name)])
    texts = [page.render(name, [name], [name], [section]) for _ in range(2)]
    assert texts[0] == texts[1]
    assert '<b>' not in texts[0].split('<body>')[1].replace('<b>Warning:</b>', '')
    assert texts[0].count('</script>') == 2
    (drawn,) = figures(texts[0]).items()
    assert drawn[0] == name and drawn[1]['data'][0]['x'][1] == name


@pytest.fixture(scope='module')
def compared(smoke, tmp_path_factory):
    """A comparison of two configs over two seeds, whose reports differ."""
    root = tmp_path_factory.mktemp('compare')
    found = {}
    for number, name in enumerate(('later', 'first')):
        for seed in (0, 1):
            folder = epath.Path(root / name / str(seed))
            shutil.copytree(smoke, folder, ignore=shutil.ignore_patterns('checkpoints', 'finetune'))
            report = reports.read(folder)
            for network in report['networks'].values():
                network['test']['accuracy'] = 0.5 + 0.1 * number + 0.01 * seed
            report['warnings'] = [
                {'kind': 'mask', 'step': 3, 'sentence': f'Mask of {name} <{seed}>'}
            ]
            records.write(folder / 'report.json', report)
            found.setdefault(name, {})[seed] = reports.read(folder)
    table.write(table.gather(found), '', [], root)
    return root


def test_a_comparison_has_its_table_its_seeds_and_its_warnings(compared):
    write(compared)
    text = (compared / 'report.html').read_text()
    shown = rows(text)
    assert [row[:2] for row in shown] == [[c, n] for c in ('later', 'first') for n in NETWORKS]
    assert shown[0][2:4] == ['50.50 ± 0.71', '-'] and shown[4][2:4] == [
        '60.50 ± 0.71',
        '+10.00 ± 0.00',
    ]
    for seed in (0, 1):
        assert f'first, seed {seed}, Mask of first &lt;{seed}&gt;' in text.split('<table>')[0]
    drawn = figures(text)
    seeds = drawn['By seed; mean and standard deviation']['data']
    assert seeds[0]['x'] == pytest.approx([50, 51]) and seeds[1]['x'] == pytest.approx([50.5])
    assert len(drawn['teacher']['data']) == 4


def test_a_comparison_without_one_of_its_reports_is_refused(compared, tmp_path):
    shutil.copytree(compared, tmp_path / 'copy')
    (tmp_path / 'copy' / 'first' / '1' / 'report.json').unlink()
    with pytest.raises(ValueError, match='first/1, which has no report.json'):
        comparison_page.render(tmp_path / 'copy')


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--workdir={tmp}'], 'holds no run'),
        (['--workdir={smoke}', '--output={tmp}/none/a.html'], 'there is no folder'),
        (['--workdir={smoke}', '--config.steps=3'], 'not allowed here'),
    ],
)
def test_refusals(smoke, tmp_path, arguments, words):
    first, *others = [argument.format(tmp=tmp_path, smoke=smoke) for argument in arguments]
    with pytest.raises(ValueError, match=words):
        write(first.removeprefix('--workdir='), *others)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(browser.PATH is None, reason='there is no Chromium')
def test_a_browser_draws_both_pages_wide_narrow_light_and_dark(run_page, compared, tmp_path):
    write(compared)
    with browser.launch(tmp_path / 'profile', patience=120) as tab:
        for path in (run_page, compared / 'report.html'):
            count = len(figures(path.read_text()))
            tab.open(f'file://{path}')
            tab.wait(f'document.querySelectorAll(".main-svg").length >= {count} && '
                     f'document.querySelectorAll(".chart .plot-container").length == {count}')  # fmt: skip
            colors = set()
            for scheme in ('light', 'dark'):
                features = [{'name': 'prefers-color-scheme', 'value': scheme}]
                tab.call('Emulation.setEmulatedMedia', features=features)
                for width in (1280, 360):
                    tab.resize(width, 800)
                    tab.wait(f'document.documentElement.scrollWidth <= {width}')
                    tab.wait(f'document.querySelector(".main-svg").clientWidth < {width}')
                colors.add(tab.value('getComputedStyle(document.querySelector(".xtitle")).fill'))
            assert len(colors) == 2
        assert not tab.errors
