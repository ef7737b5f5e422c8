"""Other processes: programs of this package, what the system's own programs say, and the memory that a process held.

The set-up scripts read this file with the system's Python, so only the standard library is imported, and the syntax is
that of Python 3.8.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_tiny.errors import TinyError

ROOT = Path(__file__).resolve().parents[2]
"""Folder that holds the package."""
_STATUS = Path("/proc/self/status")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, in which a child finds the package too, with some variables changed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **changes}


def output(*command: str) -> str:
    """What a short program prints; nothing where it is missing, fails, or takes longer than five seconds."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def last_words(log: Path, count: int = 1) -> list[str]:
    """The last lines of a log that are not empty."""
    return [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()][-count:]


def run(command: Sequence[str], log: Path, what: str, count: int = 15) -> None:
    """Run a program to its end, with all that it prints in `log`.

    Args:
        what: names the program in the error.
        count: of the log's last lines that the error quotes.

    Raises:
        TinyError: it cannot be started, or fails.
    """
    if shutil.which(command[0]) is None:
        raise TinyError(f"{command[0]} cannot be started", expected="a program")
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment()).returncode
    if code:
        words = "\n".join(last_words(log, count))
        raise TinyError(f"{what} failed with exit code {code}", remedy=f"Its last lines were:\n{words}")


class Child:
    """A module of the package in a process of its own, which answers requests: JSON, one value per line.

    Args:
        module: what `python -m` runs.
        arguments: of its command line.
        log: file that gets what it prints to stderr; by default nobody sees that.
        answers: whether it answers on its standard output, which is nobody's otherwise.
        changes: to its environment.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: Path | None = None,
        answers: bool = True,
        changes: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        with contextlib.ExitStack() as stack:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=environment(**(changes or {})),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if answers else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if log is None else stack.enter_context(log.open("w")),
                text=True,
            )

    def send(self, value: object) -> None:
        """Send a request; one that ended meanwhile says so when it is asked for its answer."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(value), file=self.process.stdin, flush=True)

    def answer(self, patience_s: float) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            TinyError: none came in time, the process ended, or it answers that it failed.
        """
        assert self.process.stdout is not None
        # An answer is one line for one request, so that nothing of it can wait in a buffer already.
        if not select.select([self.process.stdout], [], [], patience_s)[0]:
            self.process.kill()
            raise TinyError(f"it gave no answer in {patience_s:.0f} s{self._quoted()}")
        line = self.process.stdout.readline()
        if not line:
            raise TinyError(f"it ended with exit code {self.process.wait()}{self._quoted()}")
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise TinyError(reply["failed"])
        return reply

    def close(self, patience_s: float = 0.0) -> None:
        """End its requests, give it so long to end by itself, and kill it."""
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if patience_s:
                self.process.wait(timeout=patience_s)
        self.process.kill()
        self.process.wait()

    def _quoted(self) -> str:
        words = [] if self.log is None else last_words(self.log)
        return f"; its last words were: {words[0]}" if words else ""


def peak_memory_bytes() -> int:
    """Most memory of this process that was resident since its program was loaded.

    On Linux `getrusage` hands a parent's peak down to what it starts; the kernel's VmHWM begins with each program.
    """
    import resource

    if sys.platform == "linux":
        found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
