"""The standard streams of a command, one or more of which may be closed, be on a full disk, or lose their terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


def lenient(stream: TextIO | None) -> TextIO:
    """The stream as one that shows progress: from the first write that fails on, it is silent."""
    return cast(TextIO, _Lenient(stream))


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Inside the block descriptors 0 to 2 are open, and what cannot be written to stderr is dropped.

    What cannot be written to stdout remains an error, because it is the result of most commands.
    """
    # A file of the run would else get the number of a stream that was closed, and all that libraries write there.
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)  # writing is an error, as without it
            setattr(sys, name, open(descriptor, mode))  # noqa: SIM115
    with contextlib.redirect_stderr(lenient(sys.stderr)):
        yield


def writable(stream: TextIO) -> bool:
    """Whether what is left in the stream's buffer, as after an error, can be written now."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True


def drop(stream: TextIO) -> TextIO:
    """Let all that is still written to the stream, also by libraries and by Python at its end, go nowhere."""
    nowhere = open(os.devnull, "w")  # noqa: SIM115
    with contextlib.suppress(OSError, ValueError):  # it has no descriptor, as that of a notebook
        os.dup2(nowhere.fileno(), stream.fileno())
    return nowhere


class _Lenient:
    def __init__(self, stream: TextIO | None) -> None:
        self._stream: TextIO = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115

    def write(self, text: str) -> int:
        self._or_drop(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._or_drop(lambda: self._stream.flush())

    def _or_drop(self, action: Any) -> None:
        try:
            action()
        except BlockingIOError:  # another program made the terminal non-blocking: what does not fit now is lost
            pass
        except OSError:
            self._stream = drop(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
