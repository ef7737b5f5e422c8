"""Shows on stderr what takes long and for how long already, where nothing else is to be seen.

On a terminal one line is written anew each second; elsewhere a line gets a dot each second. The set-up scripts import
this with the system's Python, so only the standard library is imported, and the syntax is that of Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

_FIRST_S, _NEXT_S = 0.5, 1.0
_COLUMNS = 79


class Waiting:
    """A phase of a program; a context manager. What takes less than half a second is not shown.

    Args:
        what: its name.
        detail: gives what is known of its progress, such as a percentage, which is shown on a terminal.
    """

    def __init__(self, what: str, detail: Callable[[], str] = str) -> None:
        self.what, self._detail = what, detail
        self._began, self._line, self._shown = time.monotonic(), "", False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Say how long it took."""
        self._ended.set()
        self._thread.join()
        with _lock:
            if self._shown:
                self._leave(f"{self.what} ... {time.monotonic() - self._began:.1f} s")
            self._shown = False

    def _go_on(self) -> None:
        while not self._ended.wait(_NEXT_S if self._shown else _FIRST_S):
            with _lock:
                self._shown = True
                self._show()

    def _show(self) -> None:
        global _open
        if _open is not self:
            _finish_line()
            _open = self
        if can_draw():
            seconds = time.monotonic() - self._began
            line = f"{self.what} ... {seconds:.0f} s  {self._detail()}".rstrip()[:_COLUMNS]
            _write("\r" + line.ljust(len(self._line)))
            self._line = line
        else:
            _write("." if self._line else f"{self.what} ...")
            self._line = self.what

    def _leave(self, last: str) -> None:
        """End the line with `last`, of which a line of dots has the beginning already."""
        global _open
        if _open is self and not can_draw():
            _write(f" {last.rsplit(' ... ', 1)[1]}\n")
        else:
            _finish_line()
            _write(f"{last}\n")
        self._line, _open = "", None


@contextlib.contextmanager
def lines_between() -> Iterator[None]:
    """Inside the block stderr is free for whole lines."""
    with _lock:
        _finish_line()
        yield


def left_open() -> bool:
    """Whether the last line on stderr is that of a phase; the caller ends it, without waiting for the lock."""
    global _open
    phase, _open = _open, None
    if phase is not None:
        phase._line = ""
    return phase is not None


_lock = threading.RLock()
_open: Waiting | None = None
"""Whose line is the last one on stderr, without an end."""


def _finish_line() -> None:
    global _open
    if _open is not None:
        _write(f"\r{' ' * len(_open._line)}\r" if can_draw() else "\n")
        _open._line, _open = "", None


def can_draw() -> bool:
    """Whether stderr is a terminal whose width is known; on others, as in some containers, a bar would be invisible."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError, AttributeError):
        return False


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a closed stderr
        sys.stderr.write(text)
        sys.stderr.flush()
