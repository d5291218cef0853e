"""TensorBoard: losses, scores, signals and the rate of a run as event files for `tensorboard --logdir RUN`.

TensorBoard's own writer makes the files, the one that torch.utils.tensorboard wraps: runs of estimators do not have to
import torch for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from danlu.core.errors import MissingExtra
from danlu.core.files import disk_errors
from danlu.core.ideas import Event
from danlu.watch.progress import Rate

FLUSH_SECONDS = 1


class TensorBoard:
    """Writes the scalars of one candidate into `folder`; each further fit of it into `folder`-2, `folder`-3, ...

    Tags are loss/TERM, validation/METRIC, rate/steps_per_second and the names of signals, those of layers with the
    layer behind a slash. A value that is not finite is written as NaN, which TensorBoard marks. A fit that is resumed
    writes on where the killed attempt stood, and TensorBoard hides what that did too much.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._writer: Any = None
        self._rate = Rate()
        self._library = _library()  # says what is missing before training begins

    def __call__(self, event: Event) -> None:
        """Hand the event to TensorBoard's writer, which has a thread of its own."""
        if self._writer is None or event.kind == "start":
            self._writer = self._opened(event)
        self._rate.add(event.position, event.seconds)
        scalars = (
            {f"loss/{name}": value for name, value in event.losses.items()} if event.kind == "step" else {}
        )
        scalars |= {f"validation/{name}": value for name, value in event.metrics.items()}
        scalars |= event.signals
        if event.kind == "step" and (rate := self._rate.per_second) is not None:
            scalars["rate/steps_per_second"] = rate
        if scalars:
            self._add(scalars, step=event.position.step)
        if event.kind == "end":
            with disk_errors(self.folder):
                self._writer.close()
            self._writer = None

    def _opened(self, event: Event) -> Any:
        library, folder, number = self._library, self.folder, 1
        while _holds_events(following := self.folder if number == 1 else _numbered(self.folder, number)):
            folder, number = following, number + 1
        is_resumed = event.position.step > 0
        self._rate = Rate()
        with disk_errors(self.folder):
            writer = library["writer"](str(folder if is_resumed else following), flush_secs=FLUSH_SECONDS)
            if is_resumed:  # what was recorded from this step on, before this moment, is void
                log = library["session"](status=library["session"].START)
                after = event.position.step + 1
                writer.add_event(library["event"](wall_time=time.time(), step=after, session_log=log))
        return writer

    def _add(self, scalars: Mapping[str, float], *, step: int) -> None:
        library = self._library
        values = [
            library["summary"].Value(tag=tag, simple_value=value if math.isfinite(value) else math.nan)
            for tag, value in scalars.items()
        ]
        event = library["event"](wall_time=time.time(), step=step, summary=library["summary"](value=values))
        with disk_errors(self.folder):
            self._writer.add_event(event)


def _library() -> dict[str, Any]:
    """TensorBoard's writer and its messages."""
    try:
        messages, summaries, writers = (
            import_module(f"tensorboard.{name}")
            for name in (
                "compat.proto.event_pb2",
                "compat.proto.summary_pb2",
                "summary.writer.event_file_writer",
            )
        )
    except ImportError as error:
        raise MissingExtra("tensorboard", "tensorboard", purpose="The watcher 'tensorboard'") from error
    return {
        "writer": writers.EventFileWriter,
        "event": messages.Event,
        "session": messages.SessionLog,
        "summary": summaries.Summary,
    }


def _numbered(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}-{number}")


def _holds_events(folder: Path) -> bool:
    return any(folder.glob("*tfevents*"))
