"""A live line on the error stream: what is being trained, its loss or score, its rate and the time left."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from danlu.core.ideas import Event


class Progress:
    """Shows a run on the error stream: one line a candidate, rewritten in place on a terminal, quiet elsewhere."""

    def __init__(self, *, stream: Any = None, enabled: bool = True) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        self._live = enabled and hasattr(self._stream, "isatty") and self._stream.isatty()
        self._shown = 0.0

    def say(self, text: str) -> bool:
        """One line that stays; whether it was shown."""
        if self._enabled:
            self.clear()
            print(text, file=self._stream, flush=True)
        return self._enabled

    def watcher(self, part: str, *, seconds_left: float) -> ProgressWatcher:
        """A watcher that shows the events of one candidate."""
        return ProgressWatcher(self, part, time.monotonic() + seconds_left)

    def live(self, text: str) -> None:
        """A line that the next one overwrites; at most ten a second, only on a terminal."""
        if self._live and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            # A line that wraps could not be taken back.
            print(f"\r\x1b[2K{text[: self._width() - 1]}", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        """Take back the live line, so that what comes next, on whichever stream, starts on a line of its own."""
        if self._live and self._shown:
            print("\r\x1b[2K", end="", file=self._stream, flush=True)
            self._shown = 0.0

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError, AttributeError):
            return 80


class ProgressWatcher:
    """Shows the events of one candidate."""

    def __init__(self, progress: Progress, part: str, deadline: float) -> None:
        self._progress, self._part, self._deadline = progress, part, deadline
        self._scores = ""

    def __call__(self, event: Event) -> None:
        if event.kind == "end":
            self._progress.clear()
            return
        if event.metrics:
            self._scores = "  ".join(f"{name} {value:.4g}" for name, value in list(event.metrics.items())[:2])
        loss = f"loss {sum(event.losses.values()):.4g}  " if event.losses else ""
        rate = f"{event.position.step / event.seconds:.0f} steps/s  " if event.seconds > 0.2 else ""
        left = max(self._deadline - time.monotonic(), 0.0)
        self._progress.live(
            f"  {self._part}: step {event.position.step}  {loss}{self._scores}  {rate}at most {left:.0f} s left"
        )
