"""Labels the images that mpl.active asks for: python -m mpl.label --workdir=runs/al

Serves a page at http://127.0.0.1:8008 until Ctrl-C. Keys give the classes; every answer is on the
disk, in <workdir>/labels.csv, before the next image is shown. Several people open the page and enter
their names; with --votes=2 two of them are asked for each image. On another --host the printed
address has a token, which everybody needs who opens it.

--read=FILE takes the answers of a filled table, of an export of Label Studio (JSON, JSON_MIN, CSV) or of
CVAT (ImageNet 1.0, folder or zip file) instead. --status prints how far the answers are and how far
annotators agree.
"""

import secrets
import signal
import socket
import sys
from pathlib import Path

from mpl.labeling import agreement, answers, page
from mpl.labeling import session as sessions
from mpl.run import command


def make_parser():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--workdir', required=True, type=command.local_path, help='folder of mpl.active'
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on')
    parser.add_argument('--port', type=int, default=8008, help='0 for any free one')
    parser.add_argument('--votes', type=int, default=1, help='people to ask for each image')
    parser.add_argument('--read', type=command.local_path, help='file or folder with answers')
    parser.add_argument('--annotator', default='', help='who gave the answers in --read')
    parser.add_argument('--replace', action='store_true', help='--read may correct earlier answers')
    parser.add_argument('--status', action='store_true', help='print the state and end')
    return parser


def check(given) -> None:
    """Raises ValueError for arguments that do not fit together."""
    if given.read is None and (given.annotator or given.replace):
        raise ValueError('--annotator and --replace are for --read=FILE; on the page enter a name.')
    if given.votes < 1:
        raise ValueError(f'--votes is {given.votes}; give a number from 1 up.')
    if not 0 <= given.port < 1 << 16:
        raise ValueError(f'--port is {given.port}; give a number from 0 to 65535.')


def serve(workdir: Path, host: str, port: int, votes: int) -> None:
    """Serves the page until SIGINT or SIGTERM."""
    session = sessions.Session(workdir, votes)
    if session.is_finished() and sessions.is_training(workdir):
        raise ValueError(
            f'{workdir} is being trained by another process, and all questions are answered; start '
            'the page again when mpl.active asks for new labels.'
        )
    is_local = host in page.LOOPBACK
    token = '' if is_local else secrets.token_urlsafe(16)
    app = page.make(session, token, page.LOOPBACK if is_local else ())
    with page.serve(app, host, port) as (opened, run):
        # All addresses of this machine: others need one of them.
        named = socket.gethostname() if host in ('0.0.0.0', '::') else host
        shown = f'[{named}]' if ':' in named else named
        print(f'Labeling page: http://{shown}:{opened}/{"?token=" + token if token else ""}')
        print('Ctrl-C ends it; every answer is kept at once.', flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        run()


def main():
    given, overrides = command.parse(make_parser())
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here; the config is that of mpl.active.')
    check(given)
    workdir = Path(given.workdir)
    if given.read is not None:
        new = answers.keep(workdir, Path(given.read), given.annotator, given.replace)
        print(f'{new:,} new answers of {given.read} are in {workdir / answers.LABELS}.')
    elif not given.status:
        serve(workdir, given.host, given.port, given.votes)
    print(agreement.show(answers.read(workdir)))


if __name__ == '__main__':
    command.main(main)
