"""The live line: rewritten in place on a terminal, taken back before anything else is printed, quiet elsewhere."""

from __future__ import annotations

import io
import os
import pty
from unittest import mock

import pytest

from danlu.core.duration import Duration
from danlu.core.ideas import Event, Position
from danlu.watch.progress import Progress, ProgressWatcher, clock


class Screen(io.StringIO):
    """A terminal that keeps what was written to it; 80 columns wide, since it has no file number."""

    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> str:
    """What stands on the last line after every return and erasure."""
    return stream.getvalue().split("\n")[-1].split("\x1b[2K")[-1]


STEP = Event("step", Position(1, 0, 120), 2.0, losses={"a": 0.5, "b": 0.25})


def feed(watcher: ProgressWatcher, progress: Progress, *events: Event) -> None:
    for event in events:
        progress._shown = 0.0  # a while later
        watcher(event)


def test_a_line_tells_step_loss_score_rate_and_time() -> None:
    stream = Screen()
    progress = Progress(stream=stream)
    watcher = progress.watcher("mlp", seconds_left=30)
    scored = Event("validation", Position(1, 0, 90), 1.5, metrics={"rmse": 1.25})
    feed(watcher, progress, Event("start", Position(), 0.0), scored, STEP)
    assert shown(stream).startswith("  mlp: step 120  loss 0.75  rmse 1.25  60 steps/s  at most ")
    assert shown(stream).endswith(" s left")
    assert stream.getvalue().count("\n") == 0


def line_of(until: Duration | None, *events: Event, width: int = 200, seconds_left: float = 3600) -> str:
    stream = Screen()
    progress = Progress(stream=stream)
    with mock.patch("os.get_terminal_size", return_value=os.terminal_size((width, 24))):
        stream.fileno = lambda: 2  # type: ignore[method-assign]
        feed(progress.watcher("mlp", until=until, seconds_left=seconds_left), progress, *events)
    return shown(stream)


def at(step: int, seconds: float, *, epoch: int = 0, row: int = 0, rate: float = 0.001) -> Event:
    position = Position(epoch, row, step)
    return Event("step", position, seconds, losses={"a": 0.5}, signals={"learning_rate": rate})


START = Event("start", Position(), 0.0)


def test_time_left_from_the_rate_and_the_steps() -> None:
    line = line_of(Duration(1000, "steps"), START, at(100, 1.0), at(200, 2.0))
    assert line == (
        "  mlp: \u2501\u2501\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500 20%  "
        "step 200 of 1000  loss 0.5  lr 0.001  100 steps/s  8 s left"
    )


def test_time_left_from_the_rate_and_the_epochs() -> None:
    """Steps an epoch are learned at the first edge: 50, so 5 epochs are 250 steps, of which 100 are done."""
    events = [START, at(20, 2.0, row=640), at(50, 5.0, epoch=1), at(100, 10.0, epoch=2)]
    line = line_of(Duration(5, "epochs"), *events)
    assert " 40%  epoch 3 of 5  step 100 " in line and line.endswith("10 steps/s  15 s left")
    before = line_of(Duration(5, "epochs"), *events[:2])
    assert "epoch 1 of 5  step 20" in before and "%" not in before
    assert before.endswith("at most 1:00 h left")


def test_a_resumed_fit_counts_its_own_seconds_only() -> None:
    """500 steps took 5 s, then a machine that is slower by half goes on."""
    resumed = Event("start", Position(5, 0, 500), 5.0)
    line = line_of(
        Duration(10, "epochs"), resumed, at(520, 5.4, epoch=5, row=640), at(550, 6.0, epoch=5, row=1600)
    )
    assert " 55%  epoch 6 of 10  step 550 " in line and line.endswith("50 steps/s  9 s left")


def test_the_deadline_holds_where_it_comes_first_or_nothing_else_is_known() -> None:
    events = [START, at(100, 1.0), at(200, 2.0)]
    assert line_of(Duration(10**6, "steps"), *events, seconds_left=30).endswith("at most 30 s left")
    assert line_of(Duration(1e9, "epochs"), *events, seconds_left=150).endswith("at most 2:30 min left")
    assert line_of(Duration(90, "seconds"), *events, seconds_left=300).endswith("  88 s left")
    assert line_of(None, *events, seconds_left=float("inf")).endswith("100 steps/s")


def test_slow_steps_are_told_in_seconds() -> None:
    assert line_of(None, START, at(1, 4.0), at(2, 8.0)).find("  4 s/step  ") > 0
    assert line_of(None, START, at(30, 8.0)).find("  3.8 steps/s  ") > 0


@pytest.mark.parametrize("width", range(20, 120, 3))
def test_what_is_worth_least_goes_first(width: int) -> None:
    scored = Event("validation", Position(1, 0, 100), 1.0, metrics={"rmse": 1.25})
    line = line_of(Duration(1000, "steps"), START, scored, at(200, 2.0), width=width)
    assert len(line) < width
    kept = [word in line for word in (" left", "loss", "rmse", "steps/s", "step 200", "lr", "\u2501")]
    assert kept == sorted(kept, reverse=True)
    full = line_of(Duration(1000, "steps"), START, scored, at(200, 2.0), width=500)
    assert kept[0] and all(kept) == (width > len(full))


def test_a_terminal_without_these_characters() -> None:
    class Plain(Screen):
        encoding = "ascii"  # type: ignore[assignment]

        def write(self, text: str) -> int:
            text.encode("ascii")
            return super().write(text)

    stream = Plain()
    progress = Progress(stream=stream)
    feed(progress.watcher("a", until=Duration(200, "steps")), progress, START, at(100, 1.0, rate=1))
    assert "[######......] 50%" in shown(stream)
    assert progress.say("\u4ef7: 3 rows") and stream.getvalue().endswith("?: 3 rows\n")


def test_a_terminal_that_is_gone_ends_no_run() -> None:
    class Gone(Screen):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    progress = Progress(stream=Gone())
    feed(progress.watcher("mlp"), progress, START, at(100, 1.0), at(200, 2.0))
    assert not progress.say("one")
    closed = Screen()
    progress = Progress(stream=closed)
    closed.close()
    progress.live("line")
    assert not progress.say("one")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (99.4, "99 s"),
        (100, "1:40 min"),
        (3599.7, "1:00 h"),
        (8000, "2:13 h"),
        (200_000, "55:33 h"),
    ],
)
def test_seconds_as_a_person_reads_them(seconds: float, text: str) -> None:
    assert clock(seconds) == text


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


def test_at_most_five_lines_a_second() -> None:
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
