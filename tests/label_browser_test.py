"""The labeling page in a real browser: keys are pressed, answers are in the file."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import asked_pictures as pictures
import browser
import pytest

from mpl.labeling import answers

ROOT = pathlib.Path(__file__).parent.parent
LOADED = "document.getElementById('image').naturalWidth > 0"
SUGGESTS = "document.getElementById('caption').innerText.includes('dog 70 %')"
SQUARE = (
    "[...document.querySelectorAll('.cell')].every(c => c.offsetHeight > 0.9 * c.offsetWidth)"
    " && document.querySelector('.cell').offsetWidth > 80"
)
WIDER = 'document.documentElement.scrollWidth > document.documentElement.clientWidth'


@pytest.fixture
def served(tmp_path):
    """The work directory, and the address of a page that a process of its own serves for it."""
    workdir, asked = pictures.ask(tmp_path, numbers=(4, 0, 3, 1, 5, 2))
    with subprocess.Popen(
        [sys.executable, '-m', 'mpl.label', f'--workdir={workdir}', '--port=0'],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    ) as process:
        yield workdir, re.search(r'http://\S+', process.stdout.readline())[0]
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and '6 pictures were asked for: 5 have a class' in out


def done(count):
    return f"document.getElementById('progress').textContent.startsWith('{count} of 6')"


def shows(rank):
    return (
        f"document.getElementById('caption').textContent.startsWith('Picture {rank}') && {LOADED}"
    )


@pytest.mark.skipif(browser.PATH is None, reason='no Chromium is installed (apt install chromium)')
def test_keys_answer_in_a_browser(served, tmp_path):
    workdir, address = served

    def kept():
        return [(row.annotator, row.label) for row in answers.load(workdir)]

    with browser.launch(tmp_path / 'profile') as page:
        page.open(address)
        page.wait("document.readyState === 'complete' && document.getElementById('who').open")
        for letter in 'anna':
            page.press(letter)
        page.press('Enter')
        page.wait(shows(1))
        assert not page.value(SUGGESTS)  # Suggestions bias people, so they are hidden at first.
        page.press('.')
        page.wait(SUGGESTS)
        page.press('2')
        page.wait(f'{done(1)} && {shows(2)}')
        assert kept() == [('anna', 'dog')]
        page.press('4')  # Of no class.
        page.press('3')
        page.wait(f'{done(2)} && {shows(3)}')
        page.press('Backspace')
        page.wait(f'{done(1)} && {shows(2)}')
        page.press('1')
        page.wait(f'{done(2)} && {shows(3)}')
        page.press(' ')
        page.wait(f'{done(3)} && {shows(4)}')
        page.press('ArrowLeft')
        page.wait(shows(3))
        page.press('ArrowRight')
        assert kept()[1:] == [('anna', 'red fox'), ('anna', ''), ('anna', 'cat'), ('anna', 'skip')]
        page.press('-')
        page.wait("document.querySelectorAll('.cell img').length === 3")
        page.click('.cell:nth-child(2)')
        page.click('.cell:nth-child(3)', shift=True)
        page.press('2')
        page.wait(done(5))
        for width in (1280, 380):
            page.resize(width, 280)  # Less than the cells take.
            assert not page.value(WIDER), width
            assert page.value(SQUARE), width
        page.open(f'{address}?annotator=ben')
        page.wait(f"{done(5)} && document.getElementById('person').textContent === 'ben'")
        page.press('-')
        page.wait(shows(4))
        page.press('Backspace')  # What anna answered is not ben's to undo.
        page.press('2')
        page.wait(
            "document.getElementById('message').textContent.includes('Nothing left to label')"
        )
        assert kept()[5:] == [('anna', 'dog'), ('anna', 'dog'), ('ben', 'dog')]
        assert page.errors == []
