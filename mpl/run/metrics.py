"""Metrics of a run while it trains: JSON lines, and a tracker that shows them."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from mpl.parallel import processes
from mpl.run import records
from mpl.run.paths import is_remote
from mpl.run.trackers.interface import Tracker

REMEDY = 'restore the file, or delete it to resume without the earlier lines'


class Writer:
    """Writes metrics of a run to <folder>/metrics.jsonl and to a tracker, in one process.

    written: the number of lines in the file, 0 in the other processes.
    """

    def __init__(
        self,
        folder: epath.Path,
        step: int,
        written: int,
        track: Callable[[epath.Path, int], Tracker],
    ):
        """Opens both to append after `step`; drops later lines of an interrupted run.

        Args:
          folder: of the run.
          step: of the checkpoint that the run resumes from.
          written: the number of lines when that checkpoint was saved.
          track: (folder, step) -> the tracker.

        Raises:
          ValueError: lines up to that step are damaged or missing.
        """
        self._file = self._tracker = self._kept = None
        self.written = 0
        if not processes.is_primary():
            return
        self._path, kept = folder / 'metrics.jsonl', ''
        if self._path.exists():
            lines = [line for line in read(self._path) if line['step'] <= step]
            if len(lines) != written:
                raise ValueError(
                    f'{self._path} has {len(lines)} lines up to step {step}, but the checkpoint of '
                    f'that step was saved after {written}; {REMEDY}.'
                )
            self.written = written
            kept = ''.join(map(_line, lines))
            records.write_utf8(self._path, kept)
        elif written:
            logging.warning(
                '%s is missing, with %d lines: curves and warnings start after step %d.',
                self._path,
                written,
                step,
            )
        if is_remote(folder):
            self._kept = kept  # Files in a bucket cannot be appended to.
        else:
            self._file = self._path.open('a', encoding='utf-8')
        self._tracker = track(folder, step)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """One line; values are floats or lists of floats."""
        if self._tracker is None:
            return
        line = _line({'step': step} | values)
        if self._file is None:
            self._kept += line
        else:
            self._file.write(line)
            self._file.flush()
        self.written += 1
        self._tracker.write(
            step, {name: value for name, value in values.items() if not isinstance(value, list)}
        )

    def save(self) -> None:
        """Writes all lines to a bucket; call it before saving a checkpoint that refers to them."""
        if self._kept is not None:
            records.write_utf8(self._path, self._kept)

    def close(self) -> None:
        self.save()
        if self._file is not None:
            self._file.close()
        if self._tracker is not None:
            self._tracker.close()


def _line(values: dict) -> str:
    return json.dumps(records.seal(values)) + '\n'


def read(path: epath.Path) -> list[dict]:
    """The lines of a metrics.jsonl, without checksums; skips a last line that a kill truncated.

    Raises:
      ValueError: a line is damaged.
    """
    *whole, rest = path.read_bytes().split(b'\n')
    if rest and not _is_cut(rest):
        whole.append(rest)
    lines = []
    for row, text in enumerate(whole, 1):
        try:
            line = json.loads(text.decode())
        except (ValueError, RecursionError):  # Not JSON, or not UTF-8.
            line = None
        lines.append(records.unseal(line, f'Line {row} of {path} is not', REMEDY))
    return lines


def _is_cut(text: bytes) -> bool:
    """Whether a last line is the prefix of a JSON value; other lines are damaged."""
    try:
        json.JSONDecoder().raw_decode(text.decode(errors='replace'))
    except ValueError:
        return True
    return False


class Window:
    """The metrics of the steps since the last log line, on the device until they are read."""

    def __init__(self, values: dict[str, list[float]]):
        """Starts with the values of earlier steps, from `values` of a saved window."""
        self._values = {name: list(steps) for name, steps in values.items()}
        self._calls = []

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Adds metrics of the S steps that start at `step`, each [S]."""
        self._calls.append((step, metrics))

    def values(self) -> dict[str, list[float]]:
        """The values of all steps by metric; waits for the steps.

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
                'gradient (clip_norm). Earlier checkpoints are kept.'
            )
        for _, metrics in calls:
            for name, values in metrics.items():
                self._values.setdefault(name, []).extend(values.tolist())
        return self._values

    def read(self) -> dict[str, float]:
        """The mean of each metric over the window."""
        return {name: float(np.mean(values)) for name, values in self.values().items()}
