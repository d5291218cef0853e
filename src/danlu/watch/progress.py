"""A live line on the error stream: what is being trained, its loss and score, its rate and the time left."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from typing import Any

from danlu.core.duration import Duration
from danlu.core.ideas import Event, Position

SHOW_SECONDS = 0.2  # between two live lines
WINDOW_SECONDS = 10.0  # over which the rate is measured: long enough to be steady, short enough to be of now
BAR = 12  # characters
FOREVER = 1e9  # epochs or steps that stand for "until it gets no better"


class Progress:
    """Shows a run on the error stream: one line a candidate, rewritten in place on a terminal, quiet elsewhere."""

    def __init__(self, *, stream: Any = None, enabled: bool = True) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        is_terminal = hasattr(self._stream, "isatty") and self._stream.isatty()
        self._live = enabled and is_terminal and os.environ.get("TERM") != "dumb"
        self._shown = 0.0

    def say(self, text: str) -> bool:
        """One line that stays; whether it was shown."""
        if self._enabled:
            self.clear()
            self._write(text + "\n")
        return self._enabled

    def watcher(
        self, part: str, *, seconds_left: float = float("inf"), until: Duration | None = None
    ) -> ProgressWatcher:
        """A watcher that shows the events of one candidate, which ends at `until` or in `seconds_left`."""
        return ProgressWatcher(self, part, time.monotonic() + seconds_left, until)

    @property
    def is_due(self) -> bool:
        """Whether a live line would be shown now: at most five a second are, and only on a terminal."""
        return self._live and time.monotonic() - self._shown > SHOW_SECONDS

    def live(self, text: str) -> None:
        """A line that the next one overwrites."""
        if self.is_due:
            self._shown = time.monotonic()
            # A line that wraps could not be taken back.
            self._write(f"\r\x1b[2K{text[: self.width - 1]}")

    def clear(self) -> None:
        """Take back the live line, so that what comes next, on whichever stream, starts on a line of its own."""
        if self._live and self._shown:
            self._write("\r\x1b[2K")
            self._shown = 0.0

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError, AttributeError):
            return 80

    def bar(self, share: float) -> str:
        """A bar that is full to `share`, in characters that the terminal has."""
        full = min(int(share * BAR), BAR)
        text = "\u2501" * full + "\u2500" * (BAR - full)
        return self._encodable(text) or "[" + "#" * full + "." * (BAR - full) + "]"

    def _encodable(self, text: str) -> str:
        try:
            text.encode(getattr(self._stream, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            return ""
        return text

    def _write(self, text: str) -> None:
        """Write, and fall silent for good where the terminal is gone: training goes on without someone to look."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            print(text.encode(encoding, "replace").decode(encoding), end="", file=self._stream, flush=True)
        except (OSError, ValueError):
            self._live = self._enabled = False


class ProgressWatcher:
    """Shows the events of one candidate: loss, score, learning rate, steps a second, epoch, and time left."""

    def __init__(self, progress: Progress, part: str, deadline: float, until: Duration | None = None) -> None:
        self._progress, self._part, self._deadline = progress, part, deadline
        self._until = None if until is not None and until.amount >= FOREVER else until
        self._score = self._rate = ""
        self._pace = Rate()

    def __call__(self, event: Event) -> None:
        if event.kind == "end":
            self._progress.clear()
            return
        if event.until is not None and event.until.amount < FOREVER:
            self._until = event.until
        self._pace.add(event.position, event.seconds)
        if event.metrics:
            self._score = "  ".join(f"{name} {value:.4g}" for name, value in list(event.metrics.items())[:2])
        if "learning_rate" in event.signals:
            self._rate = f"lr {event.signals['learning_rate']:.3g}"
        if event.kind != "start" and self._progress.is_due:
            self._progress.live(self._line(event))

    def _line(self, event: Event) -> str:
        """What fits into the width; what is worth least goes first."""
        epoch, _, step = event.position
        share, aim = self._pace.share(self._until), self._until
        whole = f" of {aim.amount:g}" if aim is not None else ""
        parts = [  # (worth, text) in the order in which they stand
            (1, "" if share is None else f"{self._progress.bar(share)} {share:.0%}"),
            (4, f"epoch {epoch + 1}{whole}" if aim is not None and aim.unit == "epochs" else ""),
            (3, f"step {step}{whole if aim is not None and aim.unit == 'steps' else ''}"),
            (7, f"loss {sum(event.losses.values()):.4g}" if event.losses else ""),
            (6, self._score),
            (2, self._rate),
            (5, self._pace.text),
            (8, self._time_left(share)),
        ]
        head, room = f"  {self._part}: ", self._progress.width - 1
        while len(line := head + "  ".join(text for _, text in parts if text)) > room and len(parts) > 1:
            parts.remove(min(parts))
        return line

    def _time_left(self, share: float | None) -> str:
        """The time that the rest will take at this rate; the deadline where that is not known or comes first."""
        most = max(self._deadline - time.monotonic(), 0.0)
        needed = self._pace.seconds_left(share, self._until)
        if needed is not None and needed <= most:
            return f"{clock(needed)} left"
        return "" if most == float("inf") else f"at most {clock(most)} left"


class Rate:
    """Steps a second over the last seconds, and from it how long the rest takes."""

    def __init__(self) -> None:
        self._window: deque[tuple[float, int]] = deque()
        self._now = Position()
        self._steps_per_epoch: float | None = None

    def add(self, position: Position, seconds: float) -> None:
        """Take in where the loop stands, `seconds` after it began."""
        if position.epoch > self._now.epoch:
            # Exact at an epoch's edge. A resumed fit begins somewhere within one, and is right from the next edge on.
            within = 0.5 if position.row and not self._window else 0.0
            self._steps_per_epoch = position.step / (position.epoch + within)
        self._now = position
        self._window.append((seconds, position.step))
        while len(self._window) > 2 and seconds - self._window[1][0] > WINDOW_SECONDS:
            self._window.popleft()

    @property
    def per_second(self) -> float | None:
        """Steps a second; None while there is too little to tell."""
        (start, first), (end, last) = self._window[0], self._window[-1]
        return (last - first) / (end - start) if last > first and end - start > 0.2 else None

    @property
    def text(self) -> str:
        """The rate in words, or an empty string."""
        rate = self.per_second
        if rate is None:
            return ""
        return f"{rate:.{0 if rate >= 9.95 else 1}f} steps/s" if rate >= 1 else f"{1 / rate:.3g} s/step"

    def share(self, until: Duration | None) -> float | None:
        """How much of the way to `until` is done, 0 to 1; None where it is not measured in steps or epochs."""
        if until is None or until.unit == "seconds":
            return None
        if until.unit == "steps":
            return min(self._now.step / until.amount, 1.0)
        if self._steps_per_epoch is None:
            return None
        return min(self._now.step / (self._steps_per_epoch * until.amount), 1.0)

    def seconds_left(self, share: float | None, until: Duration | None) -> float | None:
        """Seconds that the rest takes at this rate; None where that cannot be told."""
        if until is not None and until.unit == "seconds" and self._window:
            return max(until.amount - self._window[-1][0], 0.0)
        rate = self.per_second
        if not share or rate is None:
            return None
        return self._now.step * (1 - share) / share / rate


def clock(seconds: float) -> str:
    """Seconds as a person reads them: `42 s`, `3:05 min`, `2:10 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
