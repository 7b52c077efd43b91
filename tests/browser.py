"""A headless Chromium, driven over the DevTools protocol through two pipes (no further package)."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
PATH = next(filter(None, map(shutil.which, NAMES)), None)
# Keys that are not their own character: name -> (code, virtual key code, text).
_KEYS = {
    ' ': ('Space', 32, ' '),
    'Backspace': ('Backspace', 8, ''),
    'Enter': ('Enter', 13, '\r'),
    'Escape': ('Escape', 27, ''),
    'ArrowLeft': ('ArrowLeft', 37, ''),
    'ArrowRight': ('ArrowRight', 39, ''),
}


class Page:
    """One page of the browser; `errors` collects what its console reports as an error."""

    def __init__(self, read, write, patience):
        self._read, self._write, self._patience = read, write, patience
        self._ids, self._buffer, self._session, self.errors = itertools.count(1), b'', None, []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log'):
            self.call(f'{domain}.enable')

    def call(self, method, **parameters):
        """The result of a command of the protocol."""
        number = next(self._ids)
        message = {'id': number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            given = self._receive()
            if given.get('id') == number:
                assert 'error' not in given, (method, given)
                return given['result']

    def open(self, url, width=1280, height=800):
        self.resize(width, height)
        self.call('Page.navigate', url=url)

    def resize(self, width, height):
        metrics = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False}
        self.call('Emulation.setDeviceMetricsOverride', **metrics)

    def press(self, key):
        """Presses and releases a key, as a person would."""
        code, number, text = _KEYS[key] if key in _KEYS else (f'Key{key}', ord(key.upper()), key)
        event = {'key': key, 'code': code, 'windowsVirtualKeyCode': number}
        down = {'type': 'keyDown', 'text': text} if text else {'type': 'rawKeyDown'}
        self.call('Input.dispatchKeyEvent', **event, **down)
        self.call('Input.dispatchKeyEvent', type='keyUp', **event)

    def click(self, selector, shift=False):
        place = f'document.querySelector({json.dumps(selector)}).getBoundingClientRect()'
        x, y = self.value(f'(r => [r.x + r.width / 2, r.y + r.height / 2])({place})')
        for kind in ('mousePressed', 'mouseReleased'):
            event = {'type': kind, 'x': x, 'y': y, 'button': 'left', 'clickCount': 1}
            self.call('Input.dispatchMouseEvent', **event, modifiers=8 * shift)

    def value(self, expression):
        """The value of a JavaScript expression."""
        given = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
        assert 'exceptionDetails' not in given, given
        return given['result'].get('value')

    def wait(self, expression):
        """Waits until a JavaScript expression is true; an error in it is not, as in a new page."""
        end = time.monotonic() + self._patience
        while not self.value(
            f'(() => {{ try {{ return {expression} }} catch {{ return false }} }})()'
        ):
            assert time.monotonic() < end, (
                expression,
                self.errors,
                self.value('document.body.innerText'),
            )
            time.sleep(0.02)

    def screenshot(self, path):
        given = self.call('Page.captureScreenshot', format='png')
        path.write_bytes(base64.b64decode(given['data']))

    def _receive(self):
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], self._patience)
            assert ready, 'The browser does not answer.'
            part = os.read(self._read, 1 << 16)
            assert part, 'The browser has ended.'
            self._buffer += part
        message, self._buffer = self._buffer.split(b'\0', 1)
        given = json.loads(message)
        if given.get('method') == 'Runtime.exceptionThrown':
            self.errors.append(given['params']['exceptionDetails']['exception']['description'])
        if given.get('method') == 'Log.entryAdded' and given['params']['entry']['level'] == 'error':
            self.errors.append(given['params']['entry'])
        return given


@contextlib.contextmanager
def launch(folder, patience=30):
    """A page of a new browser with its profile in a folder."""
    # High numbers, so that the ends of the pipes do not meet 3 and 4, where the browser wants them.
    pairs = [[fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in os.pipe()] for _ in range(2)]
    (commands, write), (read, answers) = pairs
    arguments = [
        PATH, '--headless=new', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu',
        '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
        '--disable-extensions', '--mute-audio', f'--user-data-dir={folder}',
    ]  # fmt: skip
    process = subprocess.Popen(
        ['bash', '-c', f'exec "$@" 3<&{commands} 4>&{answers}', 'bash', *arguments],
        pass_fds=(commands, answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    try:
        yield Page(read, write, patience)
    finally:
        process.terminate()
        process.wait(patience)
        os.close(read)
        os.close(write)
