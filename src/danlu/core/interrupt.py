"""Ctrl-C at any moment: the first one ends the work that can be cut short, the second one ends the command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Whether the person asked to stop, and whether a request may break into the code that runs now."""

    def __init__(self) -> None:
        self.asked = False
        """True from the first Ctrl-C on."""
        self._breaks_in = False

    @contextmanager
    def listening(self) -> Generator[Interrupts]:
        """Take over SIGINT for a while; outside the main thread, where Python has no signals, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def breakable(self) -> Generator[None]:
        """Within it the first Ctrl-C raises KeyboardInterrupt and is swallowed at the end: the code after it runs."""
        self._breaks_in = not self.asked
        try:
            yield
        except KeyboardInterrupt:
            self.asked = True
        finally:
            self._breaks_in = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if self._breaks_in or again:
            self._breaks_in = False
            raise KeyboardInterrupt
