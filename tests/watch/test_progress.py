"""The live line: rewritten in place on a terminal, taken back before anything else is printed, quiet elsewhere."""

from __future__ import annotations

import io
import os
import pty

from danlu.core.ideas import Event, Position
from danlu.watch.progress import Progress


class Screen(io.StringIO):
    """A terminal that keeps what was written to it; 80 columns wide, since it has no file number."""

    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> str:
    """What stands on the last line after every return and erasure."""
    return stream.getvalue().split("\n")[-1].split("\x1b[2K")[-1]


STEP = Event("step", Position(1, 0, 120), 2.0, losses={"a": 0.5, "b": 0.25})


def test_a_line_tells_step_loss_score_rate_and_time() -> None:
    stream = Screen()
    progress = Progress(stream=stream)
    watcher = progress.watcher("mlp", seconds_left=30)
    watcher(Event("validation", Position(1, 0, 100), 1.5, metrics={"rmse": 1.25}))
    progress._shown = 0.0  # a tenth of a second later
    watcher(STEP)
    assert shown(stream).startswith("  mlp: step 120  loss 0.75  rmse 1.25  60 steps/s  at most ")
    assert stream.getvalue().count("\n") == 0


def test_the_line_is_gone_when_a_fit_has_ended() -> None:
    """The result on standard output began in the middle of it."""
    stream = Screen()
    watcher = Progress(stream=stream).watcher("mlp", seconds_left=30)
    watcher(STEP)
    assert shown(stream)
    watcher(Event("end", Position(1, 0, 120), 2.0, reason="done"))
    assert shown(stream) == ""


def test_a_line_that_stays_takes_the_live_one_back() -> None:
    stream = Screen()
    progress = Progress(stream=stream)
    progress.live("working")
    progress.say("warning: few rows")
    assert stream.getvalue().endswith("\r\x1b[2Kwarning: few rows\n")


def test_at_most_ten_lines_a_second() -> None:
    stream = Screen()
    progress = Progress(stream=stream)
    for number in range(100):
        progress.live(f"line {number}")
    assert stream.getvalue().count("line") <= 2


def test_a_live_line_never_wraps() -> None:
    stream = Screen()
    Progress(stream=stream).live("x" * 500)
    assert len(shown(stream)) == 79
    parent, child = pty.openpty()
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        with os.fdopen(os.dup(child), "w") as terminal:
            Progress(stream=terminal).live("x" * 500)
        assert os.read(parent, 1000).count(b"x") == 39
    finally:
        os.close(parent)
        os.close(child)


def test_elsewhere_only_lines_that_stay() -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream)
    watcher = progress.watcher("mlp", seconds_left=30)
    watcher(STEP)
    progress.say("one")
    watcher(Event("end", Position(1, 0, 120), 2.0))
    assert stream.getvalue() == "one\n"
    quiet = Screen()
    silent = Progress(stream=quiet, enabled=False)
    silent.watcher("mlp", seconds_left=1)(STEP)
    silent.say("two")
    assert quiet.getvalue() == ""
