"""Runs other processes: programs of this package and of the system; and measures the peak memory of a process.

The set-up scripts import this with the system's Python, so only the standard library is imported, and the syntax is
that of Python 3.8.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_tiny.errors import TinyError

ROOT = Path(__file__).resolve().parents[2]
"""The folder that contains the package."""
_STATUS = Path("/proc/self/status")


def environment(**changes: str) -> dict[str, str]:
    """The environment for a child process: that of this process, a path to the package, and changes.

    What `python -m` runs imports nothing from the current folder, which may contain a file like random.py; before
    Python 3.11 it does.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", **changes}


def again(*arguments: str) -> str:
    """The command that starts mlx-tiny as this process was started: by a path where its name is not enough."""
    started, found = Path(sys.argv[0]), shutil.which("mlx-tiny")
    words = ["mlx-tiny"]
    if started.parts[-2:] == ("mlx_tiny", "__main__.py"):
        words = [sys.executable, "-m", "mlx_tiny"]
    elif started.name == "mlx-tiny" and (found is None or not started.exists() or not started.samefile(found)):
        words = [str(started)]
    return shlex.join([*words, *arguments])


def installing(*packages: str) -> str:
    """The command that installs packages beside this one: by a path where `pip` alone is that of another Python."""
    found = shutil.which("pip")
    own = found is not None and Path(found).parent == Path(sys.executable).parent
    return shlex.join([*(["pip"] if own else [sys.executable, "-m", "pip"]), "install", *packages])


def output(*command: str) -> str:
    """The output of a short program; empty if it is missing, fails, or takes longer than five seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, env=environment())
        return done.stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def last_words(log: Path, count: int = 1) -> list[str]:
    """The last lines of a log that are not empty."""
    return [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()][-count:]


class Child:
    """A module of the package that runs in a process of its own and answers requests: JSON, one value per line.

    It ends when this process does, even if that is killed, and so does what it has started (see `child.py`).

    Args:
        module: to be run by `python -m`.
        arguments: of its command line.
        log: file for its stderr, which is dropped otherwise.
        answers: whether it answers on its standard output, which is dropped otherwise.
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
        ends_with_us, self._alive = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, ends_with_us)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlx_tiny.tools.child", str(ends_with_us), module, *arguments],
                env=environment(**(changes or {})),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if answers else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if log is None else stack.enter_context(log.open("w")),
                text=True,
                pass_fds=(ends_with_us,),
                start_new_session=True,
            )

    def send(self, value: object) -> None:
        """Send a request. If the process has ended, `answer` raises the error."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(value), file=self.process.stdin, flush=True)

    def answer(self, patience_s: float) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            TinyError: no answer came in time, the process ended, or the answer says that it failed.
        """
        assert self.process.stdout is not None
        # Each request has an answer of one line, so nothing of it can be in the buffer already.
        if not select.select([self.process.stdout], [], [], patience_s)[0]:
            self._kill()
            raise TinyError(f"it gave no answer in {patience_s:.0f} s{self._quoted()}")
        line = self.process.stdout.readline()
        if not line:
            raise TinyError(f"it ended with exit code {self.process.wait()}{self._quoted()}")
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise TinyError(reply["failed"])
        return reply

    def close(self, patience_s: float = 0.0) -> None:
        """Close its input, wait for its end as long as `patience_s`, and then kill it with what it has started."""
        if self._alive >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._alive, b".")
            os.close(self._alive)
            self._alive = -1
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if patience_s:
                    self.process.wait(timeout=patience_s)
        finally:  # also where a signal ends the wait
            self._kill()
            self.process.wait()

    def _kill(self) -> None:
        # After its end was noticed, another process could have its number.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _quoted(self) -> str:
        words = [] if self.log is None else last_words(self.log)
        return f"; its last words were: {words[0]}" if words else ""


def run(command: Sequence[str], log: Path, what: str, count: int = 15) -> None:
    """Run a program to its end, with all its output in the file `log`; it ends with this process, if that is earlier.

    Args:
        what: name of the program in the error.
        count: how many of the last lines of its output the error quotes.

    Raises:
        TinyError: it cannot be started, or fails.
    """
    if shutil.which(command[0]) is None:
        raise TinyError(f"{command[0]} cannot be started", expected="a program")
    child = Child("mlx_tiny.tools.program", *command, log=log, answers=False)
    try:
        code = child.process.wait()
    finally:
        child.close()
    if code:
        words = "\n".join(last_words(log, count))
        raise TinyError(f"{what} failed with exit code {code}", remedy=f"Its last lines were:\n{words}")


def peak_memory_bytes() -> int:
    """Peak resident memory of this process.

    On Linux the peak of `getrusage` includes that of the parent process; VmHWM begins anew with each program.
    """
    import resource

    if sys.platform == "linux":
        found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
