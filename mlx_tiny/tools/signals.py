"""Answers the signals that ask a process to end: at once by a line on stderr, whatever the process is doing.

Python calls handlers of signals between two instructions of its main thread, so not while MLX computes or a tokenizer
is trained. But it writes the number of each signal into a pipe at once, and a thread reads it there.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import queue
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from mlx_tiny.tools.waiting import left_open

T = TypeVar("T")

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 8.0
"""How long a process that is asked to end may tidy up; more than what it grants its children."""
# Shells at their end, `timeout` and programs that start others send a signal twice within milliseconds.
_ONE_REQUEST_S = 0.5
_LOOK_S = 0.1
"""How often a process that was asked to end is looked at."""


class Interrupted(SystemExit):
    """The end of a process because of a signal; the exit code is 128 plus its number, as shells have it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(128 + number)


class Interruption:
    """What signals have asked for: each request raises `Interrupted` in the main thread.

    After `hold` the first one is only noted, and the second one raises.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The first one that came."""
        self._promise = ""
        self._cutting = False
        self._ending: signal.Signals | None = None
        self._to_raise = False
        self._raised: weakref.ref[Interrupted] | None = None
        self._reminders = 0
        self._moment = self._deadline = 0.0
        """Of the last request, and for the end."""
        self._pipe: tuple[int, int] | None = None
        self._lines = queue.SimpleQueue[str]()
        self._lock = threading.RLock()

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def name(self) -> str | None:
        """That of the first signal that came, as in "SIGTERM"."""
        return None if self.signal is None else self.signal.name

    @contextlib.contextmanager
    def answering(self, whole_process: bool = False) -> Iterator[Interruption]:
        """Answer signals inside the block; within another such block, and outside the main thread, nothing changes.

        Signals that the process was started to ignore, as by `nohup`, stay ignored.

        Args:
            whole_process: whether to end the process from here, without tidying up, where it has been asked to end and
                still runs after `PATIENCE_S`, as in a long computation of MLX, or where it is asked once more.
        """
        if self._pipe is not None or threading.current_thread() is not threading.main_thread():
            yield self
            return
        inbox, outbox = self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        before = {number: signal.getsignal(number) for number in ENDING}
        answered = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
        other_pipe = signal.set_wakeup_fd(outbox, warn_on_full_buffer=False)
        hook = sys.unraisablehook
        sys.unraisablehook = lambda error: None if isinstance(error.exc_value, Interrupted) else hook(error)
        thread = threading.Thread(target=self._watch, args=(inbox, whole_process), daemon=True)
        thread.start()
        try:
            for number in answered:
                signal.signal(number, self._handle)
            yield self
        except BaseException:
            if self._ending is not None:  # it may have become another exception
                raise Interrupted(self._ending) from None
            raise
        finally:
            with self._lock:
                self._pipe, self._promise = None, ""
            for number in answered:
                signal.signal(number, before[number])
            signal.set_wakeup_fd(other_pipe)
            sys.unraisablehook = hook
            os.close(outbox)
            thread.join()
            os.close(inbox)

    def hold(self, promise: str) -> None:
        """Until the end of `answering`, only note the first signal; `promise` is said then. Without one it raises."""
        self._promise = promise

    @contextlib.contextmanager
    def left_to_the_system(self) -> Iterator[None]:
        """Inside the block, as before this process is replaced, the system ends the process at a signal.

        Raises:
            Interrupted: one has come before.
        """
        answered = [number for number in ENDING if signal.getsignal(number) == self._handle]
        try:
            for number in answered:
                signal.signal(number, signal.SIG_DFL)
            self._take()
            self.end_if_requested()
            yield
        finally:
            for number in answered:
                signal.signal(number, self._handle)

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Leave the block at the first signal, although it is only noted."""
        self._cutting = True
        try:
            yield
        except Interrupted:
            if self._ending is not None:
                raise
        finally:
            self._cutting = False

    def surely(self, work: Callable[[], T]) -> T:
        """The result of `work`, which is done again where it fails because of the first signal.

        Ctrl-C in a terminal ends other programs of this process too, such as a compiler that MLX is waiting for.
        """
        before = self.requested
        try:
            return work()
        except RuntimeError:
            if before or not self.requested:
                raise
            return work()

    def end_if_requested(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.signal is not None:
            raise Interrupted(self.signal)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._take()
        if self._to_raise and self._pipe is not None:
            self._to_raise = False
            raise self._exception(number)

    def _exception(self, number: int) -> Interrupted:
        # No frame of the traceback may refer to it, so that it lives exactly as long as it is on its way.
        exception = Interrupted(signal.Signals(number))
        self._raised = weakref.ref(exception)
        return exception

    def _watch(self, inbox: int, whole_process: bool) -> None:
        while self._pipe is not None:
            select.select([inbox], [], [], _LOOK_S if self._ending else None)
            self._take()
            while not self._lines.empty():
                _say(self._lines.get())
            if self._ending and whole_process and time.monotonic() >= self._deadline:
                os._exit(128 + self._ending)
            self._remind()

    def _remind(self) -> None:
        """Call the handler again where the exception was swallowed, as by Python while it compiles a module."""
        with self._lock:
            if self._ending and self._pipe is not None and (self._raised is None or self._raised() is None):
                self._to_raise = True
                self._reminders += 1
                _thread.interrupt_main(self._ending)

    def _take(self) -> None:
        """Decide about the signals that have come; the thread and the handler call this, and the first one decides."""
        with self._lock, contextlib.suppress(BlockingIOError):
            for number in os.read(self._pipe[0], 512) if self._pipe else ():
                # What is left to the system now came before.
                if number not in ENDING or signal.getsignal(number) not in (self._handle, signal.SIG_DFL):
                    continue
                if self._reminders:
                    self._reminders -= 1
                else:
                    self._decide(signal.Signals(number))

    def _decide(self, number: signal.Signals) -> None:
        moment, first = time.monotonic(), self.signal is None
        if not first and (number is signal.SIGHUP or moment - self._moment < _ONE_REQUEST_S):
            return
        self.signal, self._moment = self.signal or number, moment
        if first and self._promise:
            self._to_raise = self._cutting
            self._lines.put(f"Interrupted ({number.name}): {self._promise}. A second signal ends it at once.")
        else:
            self._to_raise = True
            self._deadline = moment + (PATIENCE_S if self._ending is None else 0.0)
            self._ending = number
            self._lines.put(f"Interrupted ({number.name}){'' if first else ': ends at once'}.")
        assert self._pipe is not None
        os.write(self._pipe[1], b"\0")  # the thread says the line


def _say(line: str) -> None:
    """Write a line without waiting: not for the lock of `sys.stderr`, and not for a reader that does not read."""
    start = "\n" * left_open()
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or a stream of a notebook
        print(f"{start}mlx-tiny: {line}", file=sys.stderr, flush=True)
        return
    with contextlib.suppress(OSError, ValueError):
        start = "\n" if os.isatty(descriptor) else start  # after what stands there, such as ^C
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, f"{start}mlx-tiny: {line}\n".encode())


@contextlib.contextmanager
def keyboard_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt for Ctrl-C inside the block, as Python does, so that it need not end the process."""
    before = signal.getsignal(signal.SIGINT)
    if before in (signal.SIG_IGN, None) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
