"""What a run writes while it runs: JSON lines and TensorBoard events."""

import json
from typing import Any

import jax
import numpy as np
from etils import epath
from tensorboardX import SummaryWriter

from mpl.parallel import processes


class Writer:
    """Writes metrics of a run to <folder>/metrics.jsonl and <folder>/tensorboard, in one process."""

    def __init__(self, folder: epath.Path, step: int):
        """Opens them to go on after `step`; later lines, of a run cut short, are dropped."""
        self._file = self._board = self._kept = None
        if not processes.leads():
            return
        self._path, kept = folder / 'metrics.jsonl', ''
        if self._path.exists():
            lines = [line for line in read(self._path) if line['step'] <= step]
            kept = ''.join(json.dumps(line) + '\n' for line in lines)
            write_whole(self._path, kept)
        if is_remote(folder):
            self._kept = kept  # Files there can not grow.
        else:
            self._file = self._path.open('a')
        self._board = SummaryWriter(str(folder / 'tensorboard'), purge_step=step + 1)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """One line; values are floats or lists of floats."""
        if self._board is None:
            return
        line = json.dumps({'step': step} | values) + '\n'
        if self._file is None:
            self._kept += line
        else:
            self._file.write(line)
            self._file.flush()
        for name, value in values.items():
            if not isinstance(value, list):
                self._board.add_scalar(name, value, step)
        self._board.flush()

    def save(self) -> None:
        """Brings all lines to where they are kept, before a checkpoint that is newer than they."""
        if self._kept is not None:
            write_whole(self._path, self._kept)

    def close(self) -> None:
        self.save()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def is_remote(path: epath.Path) -> bool:
    """Whether a path is of a bucket, such as gs://bucket/runs/x."""
    return '://' in str(path)


def write_whole(path: epath.Path, text: str) -> None:
    """Writes a file so that a kill leaves the one before or the new one, never a part."""
    beside = path.parent / (path.name + '.tmp')
    beside.write_text(text)
    beside.replace(path)


def read(path: epath.Path) -> list[dict]:
    """The lines of a metrics.jsonl; the last is left out where a kill cut it."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


class Window:
    """The metrics of the steps since the last log line, left on the device until read."""

    def __init__(self, values: dict[str, list[float]]):
        """Begins with the values of steps before, from `values` of a window that was saved."""
        self._values = {name: list(of) for name, of in values.items()}
        self._calls = []

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """metrics: of the steps from `step` on, each [S]."""
        self._calls.append((step, metrics))

    def values(self) -> dict[str, list[float]]:
        """The values of every step, by name; waits for the steps.

        Raises:
          FloatingPointError: a metric is not finite; names it and its first step.
        """
        calls, self._calls = jax.device_get(self._calls), []
        bad = [
            (step + int(np.argmin(np.isfinite(values))), name)
            for step, metrics in calls
            for name, values in metrics.items()
            if not np.all(np.isfinite(values))
        ]
        if bad:
            step, name = min(bad)
            raise FloatingPointError(
                f'{name} is not finite at step {step}; lower the learning rate or clip the '
                'gradient (clip_norm). Checkpoints from before are kept.'
            )
        for _, metrics in calls:
            for name, values in metrics.items():
                self._values.setdefault(name, []).extend(values.tolist())
        return self._values

    def read(self) -> dict[str, float]:
        """The mean of each metric over the window."""
        return {name: float(np.mean(values)) for name, values in self.values().items()}
