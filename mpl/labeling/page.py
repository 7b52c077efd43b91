"""The labeling page: a small web application around a session.

Images are addressed by their index, never by a path, and only those that were asked for are shown.
On other addresses than the loopback, every request needs a token, which the first one carries in
its URL and a cookie keeps.
"""

import contextlib
import errno
import functools
import hashlib
import hmac
import io
from collections.abc import Callable, Iterator

import flask
import waitress
from etils import epath
from werkzeug import exceptions

from mpl.data import images, label_file
from mpl.labeling import session as sessions
from mpl.labeling.session import Session

LOOPBACK = ('127.0.0.1', 'localhost')
SIDES = (320, 1600)  # pixels of the longer side: in the grid, alone
_LOSSLESS = 256  # up to this many pixels images are sent without loss
_MOST = 100  # questions in a response
_LONGEST_NAME = 60
_HEADERS = {
    'Content-Security-Policy': "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}


def make(of: Session, token: str = '', hosts: tuple[str, ...] = ()) -> flask.Flask:
    """The application.

    Args:
      of: its questions and answers.
      token: that requests must have; '' for none.
      hosts: names by which it may be called, so that no other site can reach it through the
        browser; () for any.
    """
    app = flask.Flask(__name__, static_folder='static', template_folder='static')
    app.config['TRUSTED_HOSTS'] = list(hosts) or None
    app.config['MAX_CONTENT_LENGTH'] = 1 << 20
    _secure(app, token)
    encode = functools.lru_cache(128)(_encode)

    @app.get('/')
    def show():
        return flask.render_template(
            'page.html',
            classes=sessions.keys(of.asked.classes),
            skip=label_file.SKIP,
            study=of.study,
        )

    def check_study():
        """A page that was left open, or is kept by the browser, may be of another study."""
        if flask.request.args.get('study') != of.study:
            flask.abort(409, 'This page is of another study; reload it. Nothing was kept.')

    @app.get('/questions')
    def ask():
        check_study()
        count = flask.request.args.get('count', type=int)
        if count is None or not 0 <= count <= _MOST:
            raise ValueError(f'count must be a number from 0 to {_MOST}.')
        return of.state(_name(flask.request.args.get('annotator')), count)

    @app.post('/answers')
    def keep():
        check_study()
        given = flask.request.get_json()
        try:
            pairs = [(int(one['number']), str(one['label'])) for one in given['answers']]
            annotator = given['annotator']
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError('Answers are {annotator, answers: [{number, label}]}.') from error
        return {'before': of.answer(_name(annotator), pairs)}

    @app.get('/image/<int:number>/<int:side>')
    def image(number, side):
        check_study()
        path = of.image(number)
        if path is None or side not in SIDES:
            flask.abort(404, f'Picture {number} was not asked for.')
        try:
            content, kind = encode(path, side)
        except FileNotFoundError:
            flask.abort(404, f'Picture {number} is no longer in the folder.')
        except images.Damaged as error:
            flask.abort(415, f'Picture {number} cannot be decoded: {error}.')
        response = flask.Response(content, mimetype=kind)
        response.cache_control.private, response.cache_control.max_age = True, 3600
        return response

    return app


def _secure(app: flask.Flask, token: str) -> None:
    """Has requests need the token, and errors be sentences: {'error': ...} with a status."""
    cookie = 'mpl_label_' + hashlib.sha256(token.encode()).hexdigest()[:8]

    @app.before_request
    def check_token():
        given = flask.request.args.get('token') or flask.request.cookies.get(cookie, '')
        if not hmac.compare_digest(given.encode(), token.encode()) and token:
            flask.abort(403, 'The address needs the token that the command printed: ?token=...')

    @app.after_request
    def add_headers(response):
        response.headers.update(_HEADERS)
        if token and response.status_code == 200:
            response.set_cookie(cookie, token, httponly=True, samesite='Strict')
        return response

    @app.errorhandler(exceptions.HTTPException)
    def as_sentence(error):
        return {'error': error.description}, error.code

    @app.errorhandler(ValueError)
    def refuse(error):
        return {'error': str(error)}, 400

    @app.errorhandler(OSError)
    def fail(error):
        return {'error': f'{error}; the answer was not kept.'}, 500


def _encode(path: epath.Path, side: int) -> tuple[bytes, str]:
    """A picture of at most `side` pixels as PNG, if it is small, or JPEG; and its MIME type."""
    picture, encoded = images.thumbnail(path.read_bytes(), side), io.BytesIO()
    small = max(picture.size) <= _LOSSLESS
    picture.save(encoded, format='PNG' if small else 'JPEG', **({} if small else {'quality': 90}))
    return encoded.getvalue(), 'image/png' if small else 'image/jpeg'


@contextlib.contextmanager
def serve(app: flask.Flask, host: str, port: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """The port that a server of the application listens on, and the function that runs it.

    port: 0 for any free one.

    Raises:
      ValueError: the address is in use, or is not one of this machine.
    """
    try:
        server = waitress.create_server(app, host=host, port=port, threads=8)
    except (OSError, ValueError) as error:  # ValueError: no such host.
        is_used = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = 'is in use' if is_used else f'cannot be used ({error})'
        raise ValueError(
            f'Port {port} of {host} {reason}; give another --port or --host.'
        ) from error
    try:
        yield server.effective_port, server.run
    finally:
        server.close()


def _name(annotator: object) -> str:
    """The name of a person, checked."""
    name = annotator.strip() if isinstance(annotator, str) else ''
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise ValueError(f'Give a name of 1 to {_LONGEST_NAME} printable characters.')
    return name
