"""The log lines and the progress bar of the training loop."""

import sys
import time

from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from mpl.parallel import processes
from mpl.run import metrics


def make_bar(config: ConfigDict, workdir: epath.Path, step: int) -> tqdm:
    """The progress bar of a run that starts at `step`; shown by the first process only."""
    return tqdm(
        total=config.steps,
        initial=step,
        unit='step',
        desc=workdir.name,
        mininterval=0.5,
        disable=not processes.is_primary(),
        dynamic_ncols=True,
        file=sys.stderr,
    )


class Log:
    """The log of a run. A closed window is written later, so that the device does not wait for it.

    window: the metrics since the last log line.
    """

    def __init__(
        self,
        config: ConfigDict,
        writer: metrics.Writer,
        bar: tqdm,
        started: float,
        window: metrics.Window,
    ):
        """A log with an open window.

        Args:
          config: of the run.
          writer: of the metrics.
          bar: the progress bar.
          started: start of the run on the clock of time.monotonic, in seconds.
          window: the metrics since the last log line before a restart.
        """
        self._config, self._writer, self._bar, self._started = config, writer, bar, started
        self.window, self._closed = window, None

    def close_window(self, step: int) -> None:
        """Ends the window at a step and starts a new one."""
        self._closed, self.window = (step, self.window), metrics.Window({})

    def flush(self) -> None:
        """Writes the closed window, if there is one; waits for its steps."""
        if self._closed is not None:
            step, window = self._closed
            values = window.read()
            seconds = time.monotonic() - self._started
            self._writer.write(step, values | {'seconds': seconds})
            _show_progress(self._config, self._bar, values)
            self._closed = None


def _show_progress(config, bar, values):
    """Updates the progress bar with images per second and losses."""
    if bar.disable:
        return
    rate = bar.format_dict['rate'] or 0.0
    images = f'{rate * (config.batch.labeled + config.batch.unlabeled):,.0f}'
    losses = {
        name.removeprefix('loss/'): f'{value:.3f}'
        for name, value in values.items()
        if name.startswith('loss/')
    }
    bar.set_postfix({'images/s': images} | losses, refresh=False)
