"""The labeling page through its own requests, and the command around it."""

import fcntl
import io
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.request

import asked_pictures as pictures
import numpy as np
import pytest
from PIL import Image

from mpl import label
from mpl.labeling import answers, page, question_files, session
from mpl.labeling.session import Session

ROOT = pathlib.Path(__file__).parent.parent


BASE = 'http://127.0.0.1:8008'
STUDY = re.compile('data-study="(\\w+)"')


class Client:
    """One person with a browser."""

    def __init__(self, app, person='anna'):
        self._client, self.person = app.test_client(), person
        self._study = STUDY.search(self._client.get('/', base_url=BASE).text)[1]

    def get(self, path):
        return self._client.get(path, base_url=BASE, query_string={'study': self._study})

    def state(self, count=8):
        given = {'study': self._study, 'annotator': self.person, 'count': count}
        return self._client.get('/questions', base_url=BASE, query_string=given).json

    def next(self, count=8):
        return [question['number'] for question in self.state(count)['questions']]

    def post(self, body):
        study = {'study': self._study}
        return self._client.post('/answers', json=body, base_url=BASE, query_string=study)

    def answer(self, *pairs):
        """The responses' `before`; pairs of (number, label)."""
        given = [{'number': number, 'label': label} for number, label in pairs]
        response = self.post({'annotator': self.person, 'answers': given})
        assert response.status_code == 200, response.json
        return response.json['before']


def make(workdir, votes=1):
    return page.make(Session(workdir, votes), '', page.LOOPBACK)


def kept(workdir):
    return [(row.path, row.label, row.annotator) for row in answers.load(workdir)]


def test_every_answer_is_in_the_file_before_the_next_question(tmp_path):
    workdir, asked = pictures.ask(tmp_path)
    anna = Client(make(workdir))
    state = anna.state()
    assert [q['number'] for q in state['questions']] == list(asked.number)
    assert [q['rank'] for q in state['questions']] == [1, 2, 3, 4]
    assert state['questions'][0]['suggestion'] == 'dog'
    assert anna.answer((4, 'dog')) == [''] and kept(workdir) == [(asked.path[0], 'dog', 'anna')]
    assert anna.answer((0, 'cat'), (3, 'skip')) == ['', '']
    assert kept(workdir)[1:] == [(asked.path[1], 'cat', 'anna'), (asked.path[2], 'skip', 'anna')]
    state = anna.state()
    assert (state['done'], state['asked'], state['yours'], state['ties']) == (3, 4, 3, 0)
    assert anna.next() == [1]
    assert anna.answer((0, 'dog')) == ['cat']  # Corrected.
    assert anna.answer((0, '')) == ['dog'] and anna.next() == [0, 1]  # Taken back.
    assert answers.read(workdir).label == {asked.path[0]: 'dog'}
    anna.answer((0, 'cat'), (1, 'cat'))
    assert anna.next() == [] and not anna.state()['training']


def test_two_people_at_a_time_see_different_pictures(tmp_path):
    workdir, asked = pictures.ask(tmp_path)
    app = make(workdir)
    anna, ben = Client(app), Client(app, 'ben')
    assert anna.next(2) == [4, 0] and ben.next(2) == [3, 1] and anna.next(2) == [4, 0]
    ben.answer((3, 'dog'), (1, 'cat'))
    assert ben.next() == [4, 0]  # Rather than nothing.
    anna.answer((4, 'dog'))
    assert ben.next() == [0]
    assert {row[2] for row in kept(workdir)} == {'anna', 'ben'}


def test_what_a_person_saw_is_free_again_after_a_while(tmp_path, monkeypatch):
    workdir, _ = pictures.ask(tmp_path)
    app = make(workdir)
    Client(app).next(2)
    monkeypatch.setattr(session, 'RESERVED', -1)
    assert Client(app, 'ben').next(2) == [4, 0]


def test_two_answers_for_each_picture_and_ties_asked_again(tmp_path):
    workdir, asked = pictures.ask(tmp_path, numbers=(4, 0))
    app = make(workdir, votes=2)
    anna, ben = Client(app), Client(app, 'ben')
    assert anna.next() == ben.next() == [4, 0]
    anna.answer((4, 'dog'), (0, 'cat'))
    assert anna.next() == [] and ben.next() == [4, 0] and anna.state()['done'] == 0
    ben.answer((4, 'dog'), (0, 'dog'))
    state = anna.state()
    assert (state['done'], state['ties']) == (1, 1)
    (question,) = state['questions']
    assert question['number'] == 0 and question['said'] == {'anna': 'cat', 'ben': 'dog'}
    anna.answer((0, 'cat'))  # Says the same again, and is not asked for ever.
    assert anna.next() == [] and ben.next() == [0]
    Client(app, 'cleo').answer((0, 'dog'))
    assert ben.next() == [] and answers.read(workdir).label[asked.path[1]] == 'dog'


def test_the_page_follows_what_others_write(tmp_path):
    workdir, asked = pictures.ask(tmp_path)
    app = make(workdir)
    anna = Client(app)
    anna.next()
    pictures.fill(workdir, ['dog', 'cat', 'cat'])
    answers.collect(workdir)
    assert anna.next() == [1] and anna.state()['done'] == 3
    pictures.ask(tmp_path, numbers=(5, 2), cycle=1)
    assert anna.next() == [5, 2] and anna.state()['cycle'] == 1
    anna.answer((5, 'cat'), (1, 'dog'))  # Late for the cycle before, and not lost.
    assert answers.load(workdir)[-1] == answers.Answer(
        asked.path[3], 'dog', 'anna', 1, answers.load(workdir)[-1].time
    )


def test_pictures_are_served_by_their_number_alone(tmp_path):
    workdir, asked = pictures.ask(tmp_path)
    (tmp_path / 'secret.txt').write_text('secret')
    (workdir / 'static').mkdir()
    anna = Client(make(workdir))
    response = anna.get('/image/4/320')
    assert response.status_code == 200 and response.mimetype == 'image/png'
    shown = np.asarray(Image.open(io.BytesIO(response.data)))
    whole = np.asarray(Image.open(tmp_path / 'photos' / asked.path[0]))
    np.testing.assert_array_equal(shown, whole)
    for path in (
        '/image/5/320', '/image/-1/320', '/image/4/9999', '/image/4', '/image/', '/image/4%2f..%2f/320',
        '/image/../secret.txt', '/image/unlabeled%2F0%20b.jpg/320', '/image/%2e%2e/%2e%2e/secret.txt',
        '/static/../page.py', '/static/%2e%2e/page.py', '/static//etc/passwd', '/labels.csv',
        '/..%2f..%2fetc%2fpasswd', '/image/99999999999999999999999/320',
    ):  # fmt: skip
        response = anna.get(path)
        assert response.status_code in (308, 404, 405), path
        assert b'secret' not in response.data and b'root:' not in response.data
    assert anna.get('/static/page.js').status_code == 200


def test_a_page_of_another_study_is_told_and_keeps_nothing(tmp_path):
    """Left open, at the same address: its numbers mean other pictures."""
    old, _ = pictures.ask(tmp_path / 'old')
    new, _ = pictures.ask(tmp_path / 'new')
    anna, left = Client(make(new)), Client(make(old))
    left._client = anna._client
    for response in (left.get('/image/4/320'), left.post({'annotator': 'anna', 'answers': []})):
        assert response.status_code == 409 and 'of another study; reload' in response.json['error']
    assert 'of another study' in left.state()['error'] and kept(new) == kept(old) == []
    assert anna.next() == [4, 0, 3, 1]


def test_damaged_and_missing_pictures_are_told(tmp_path):
    workdir, asked = pictures.ask(tmp_path)
    (tmp_path / 'photos' / asked.path[0]).write_text('no picture')
    (tmp_path / 'photos' / asked.path[1]).unlink()
    anna = Client(make(workdir))
    assert anna.get('/image/4/320').json == {
        'error': 'Picture 4 cannot be decoded: it is no picture of a known format.'
    }
    assert anna.get('/image/0/320').json == {'error': 'Picture 0 is no longer in the folder.'}
    anna.answer((4, 'skip'), (0, 'skip'))


@pytest.mark.parametrize(
    'body, message',
    [
        ({'answers': []}, 'Answers are'),
        ([], 'Answers are'),
        ({'annotator': 'anna', 'answers': [{'number': 'x', 'label': 'cat'}]}, 'Answers are'),
        ({'annotator': ' ', 'answers': []}, 'Give a name of 1 to 60'),
        ({'annotator': 'a\nb', 'answers': []}, 'Give a name of 1 to 60'),
        ({'annotator': 'x' * 61, 'answers': []}, 'Give a name of 1 to 60'),
        ({'annotator': 'anna', 'answers': [{'number': 5, 'label': 'cat'}]}, '5 was not asked for'),
        (
            {
                'annotator': 'anna',
                'answers': [{'number': 4, 'label': 'cat'}, {'number': 0, 'label': 'cow'}],
            },
            "has the class 'cow'",
        ),
    ],
)
def test_bad_requests_keep_nothing(tmp_path, body, message):
    workdir, _ = pictures.ask(tmp_path)
    response = Client(make(workdir)).post(body)
    assert response.status_code == 400 and message in response.json['error']
    assert kept(workdir) == []


def test_other_sites_cannot_reach_the_page(tmp_path):
    workdir, _ = pictures.ask(tmp_path)
    client = make(workdir).test_client()
    for host in ('evil.example', '127.0.0.1.evil.example:8008'):
        assert client.get('/', base_url=f'http://{host}').status_code == 400
    for host in ('127.0.0.1:8008', 'localhost:1'):
        assert client.get('/', base_url=f'http://{host}').status_code == 200, host
    study = {'study': STUDY.search(client.get('/', base_url=BASE).text)[1]}
    form = client.post(
        '/answers', data='{}', content_type='text/plain', base_url=BASE, query_string=study
    )
    assert form.status_code == 415  # What a form of another site can send.
    assert "default-src 'self'" in form.headers['Content-Security-Policy']


def test_a_token_is_needed_where_others_can_connect(tmp_path):
    workdir, _ = pictures.ask(tmp_path)
    app = page.make(Session(workdir), 'secret-token')
    client = app.test_client()
    for path in ('/', '/questions?annotator=a&count=1', '/image/4/320', '/static/page.js'):
        assert client.get(path).status_code == 403
        assert client.get(f'{path}?token=secret-toke').status_code == 403
    assert client.post('/answers', json={}).status_code == 403  # Before anything else.
    assert client.get('/?token=secret-token').status_code == 200
    assert client.get('/static/page.js').status_code == 200  # By the cookie.


def test_a_request_takes_no_longer_with_ten_thousand_pictures(tmp_path):
    workdir, asked = pictures.ask(tmp_path, numbers=(4,))
    many = asked._replace(
        number=tuple(range(10_000)),
        path=(*asked.path, *(f'unlabeled/{n}.png' for n in range(9_999))),
        suggestion=('dog',) * 10_000,
        confidence=(0.5,) * 10_000,
    )
    (workdir / 'cycle_0' / question_files.FILE).unlink()
    question_files.write(workdir / 'cycle_0', many)
    anna = Client(make(workdir))
    anna.answer(*[(n, 'cat') for n in range(9_000)])
    seconds = []
    for number in range(9_000, 9_020):
        started = time.perf_counter()
        questions = anna.state(24)['questions']
        anna.answer((number, 'cat'))
        seconds.append(time.perf_counter() - started)
        assert len(questions) == 24 and questions[0]['number'] == number
    assert len(anna.get('/').data) < 10_000
    print(f'{1000 * np.median(seconds):.1f} ms for the next question and its answer')
    assert np.median(seconds) < 0.5  # 0.08 on a busy core.


def run(monkeypatch, capsys, *arguments):
    """What the command prints, called in this process."""
    monkeypatch.setattr(sys, 'argv', ['mpl.label', *map(str, arguments)])
    label.main()
    return capsys.readouterr().out


def test_the_command_reads_a_file_and_tells_the_state(tmp_path, monkeypatch, capsys):
    workdir, _ = pictures.ask(tmp_path)
    path = pictures.fill(workdir, ['dog', 'skip'])
    out = run(monkeypatch, capsys, f'--workdir={workdir}', f'--read={path}', '--annotator=anna')
    assert out.startswith(
        f'2 new answers of {path} are in {workdir}/labels.csv.\n4 pictures were asked'
    )
    assert '1 have a class, 1 were skipped, 0 are ties, 2 are open' in out
    assert {row[2] for row in kept(workdir)} == {'anna'}
    assert run(monkeypatch, capsys, f'--workdir={workdir}', '--status').startswith('4 pictures')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--workdir=/nowhere'], '/nowhere has no questions yet; run mpl.active'),
        (['--read=/nowhere.csv'], 'There is no file or folder /nowhere.csv'),
        (['--annotator=anna'], '--annotator and --replace are for --read=FILE'),
        (['--votes=0'], '--votes is 0; give a number from 1 up'),
        (['--port=70000'], '--port is 70000; give a number from 0 to 65535'),
        (['--config.steps=1'], 'not allowed here; the config is that of mpl.active'),
        (['--host=300.0.0.1'], 'Port 8008 of 300.0.0.1 cannot be used'),
    ],
)
def test_bad_arguments_are_refused(tmp_path, monkeypatch, capsys, arguments, message):
    workdir, _ = pictures.ask(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        run(monkeypatch, capsys, f'--workdir={workdir}', *arguments)


def test_a_port_in_use_is_told(tmp_path, monkeypatch, capsys):
    workdir, _ = pictures.ask(tmp_path)
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=f'Port {port} of 127.0.0.1 is in use; give another'):
            run(monkeypatch, capsys, f'--workdir={workdir}', f'--port={port}')


def test_a_page_while_training_runs(tmp_path, monkeypatch, capsys):
    workdir, asked = pictures.ask(tmp_path, numbers=(4,))
    anna = Client(make(workdir))
    descriptor = os.open(workdir / 'cycle_0', os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert anna.next() == [4] and not anna.state()['training']
        anna.answer((4, 'dog'))  # Late answers are kept.
        assert anna.state()['training'] and len(kept(workdir)) == 1
        with pytest.raises(
            ValueError, match='is being trained by another process, and all questions'
        ):
            run(monkeypatch, capsys, f'--workdir={workdir}')
    finally:
        os.close(descriptor)
    assert not anna.state()['training']


def test_a_killed_page_loses_no_answer(tmp_path):
    workdir, asked = pictures.ask(tmp_path)
    with subprocess.Popen(
        [sys.executable, '-m', 'mpl.label', f'--workdir={workdir}', '--port=0'],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    ) as process:
        address = re.search(r'http://127.0.0.1:\d+/', process.stdout.readline())[0]
        body = {'annotator': 'anna', 'answers': [{'number': 4, 'label': 'cat'}]}
        study = STUDY.search(urllib.request.urlopen(address).read().decode())[1]
        request = urllib.request.Request(
            f'{address}answers?study={study}',
            json.dumps(body).encode(),
            {'Content-Type': 'application/json'},
        )
        assert json.load(urllib.request.urlopen(request)) == {'before': ['']}
        process.kill()
    assert kept(workdir) == [(asked.path[0], 'cat', 'anna')]
