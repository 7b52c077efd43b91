"""TensorBoard: event files in <folder>/tensorboard, without TensorFlow; also in a bucket."""

import time

from etils import epath
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from mpl.run.paths import is_remote
from mpl.run.trackers.interface import Tracker

PACKAGES = ()  # It is in requirements.txt.


def make(folder: epath.Path, step: int, config: dict) -> Tracker:
    """A new event file; its events hide events after `step` of older files.

    Not a SummaryWriter: that writes in a thread, which ends on a full disk, and then waits for
    it forever.
    """
    folder = folder / 'tensorboard'
    if not is_remote(folder):
        folder = folder.resolve()  # 's3:x/y' is a bucket to tensorboardX, '/a/s3:x/y' is not.
        folder.mkdir(parents=True, exist_ok=True)
    board = EventsWriter(str(folder / 'events'))
    board.write_event(
        Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START))
    )

    def write(step, values):
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        board.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))
        board.flush()

    return Tracker(write, board.close)
