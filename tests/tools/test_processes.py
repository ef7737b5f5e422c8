"""Child processes: answers, errors and memory."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_run import wait_until

from mlx_tiny.errors import TinyError
from mlx_tiny.tools import processes
from mlx_tiny.tools.processes import Child, again, environment, installing, output, peak_memory_bytes, run
from mlx_tiny.tools.signals import Interrupted

_HELD_BYTES = 200_000_000
_PROGRAM = """
from mlx_tiny.tools.processes import peak_memory_bytes
print(peak_memory_bytes())
held = b"1" * 50_000_000
del held
print(peak_memory_bytes())
"""


def test_the_user_can_run_the_command_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "a folder" / "mlx-tiny"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert shlex.split(again("train", "--resume", "my run")) == [str(program), "train", "--resume", "my run"]
    monkeypatch.setenv("PATH", str(program.parent))
    assert again("train", "--resume", "my run") == "mlx-tiny train --resume 'my run'"
    for started in ("/x/site-packages/pytest/__main__.py", "notebook"):
        monkeypatch.setattr(sys, "argv", [started])
        assert again("info") == "mlx-tiny info"
    monkeypatch.setattr(sys, "argv", ["/x/mlx_tiny/__main__.py"])
    assert shlex.split(again("info")) == [sys.executable, "-m", "mlx_tiny", "info"]


def test_packages_are_installed_beside_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pip").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "a"))
    assert installing("mlx-tiny[plot]") == "pip install 'mlx-tiny[plot]'"
    monkeypatch.setenv("PATH", str(tmp_path / "b"))
    assert shlex.split(installing("mlx-tiny[plot]")) == [sys.executable, "-m", "pip", "install", "mlx-tiny[plot]"]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Starts a program as a child process, and ends it after the test."""
    started: list[Child] = []

    def start(program: str) -> Child:
        (tmp_path / "made_up.py").write_text(program)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        started.append(Child("made_up", "an argument", log=tmp_path / "log", changes={"CHANGED": "yes"}))
        return started[0]

    yield start
    started[0].close()
    assert started[0].process.returncode is not None


def test_requests_are_answered_one_by_one(child) -> None:
    echo = (
        "import json, mlx_tiny, os, sys\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps([json.loads(line), sys.argv[1], os.environ['CHANGED']]), flush=True)"
    )
    started = child(echo.replace("[json", "{'got': [json").replace("'CHANGED']]", "'CHANGED']]}"))
    for request in ({"a": 1}, 7):
        started.send(request)
        assert started.answer(10) == {"got": [request, "an argument", "yes"]}
    started.close(patience_s=10)
    assert started.process.returncode == 0


def test_a_child_is_killed_where_the_wait_for_its_end_is_interrupted(child, monkeypatch: pytest.MonkeyPatch) -> None:
    started = child("import time; time.sleep(60)")
    wait = started.process.wait

    def interrupted(timeout: float | None = None) -> int:
        if timeout is not None:
            raise Interrupted(signal.SIGINT)
        return wait(10)

    monkeypatch.setattr(started.process, "wait", interrupted)
    with pytest.raises(Interrupted):
        started.close(patience_s=10)
    assert started.process.returncode == -signal.SIGKILL


# A parent whose child starts a program; says who they are, and is killed.
_PARENT = """
import os, sys
from mlx_tiny.tools.processes import Child
child = Child("made_up")
print(child.process.pid, child.answer(20)["started"], flush=True)
child.close() if sys.argv[1] == "closes" else os.kill(os.getpid(), 9)
"""
_STARTING = """
import json, subprocess
print(json.dumps({"started": subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL).pid}), flush=True)
input()
"""


@pytest.mark.parametrize("end", ["closes", "is killed"])
def test_a_child_and_what_it_started_end_with_the_parent(tmp_path: Path, end: str) -> None:
    (tmp_path / "made_up.py").write_text(_STARTING)
    changes = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{processes.ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", _PARENT, end], env={**os.environ, **changes}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == (0 if end == "closes" else -9), done.stderr
    wait_until(lambda: not any(map(_runs, done.stdout.split())))


def _runs(process: str) -> bool:
    """Whether a process is there and is no zombie, which an init that does not wait leaves in some containers."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", process], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")


@pytest.mark.parametrize(
    ("program", "patience_s", "words"),
    [
        ("raise KeyError('x')", 10, r"it ended with exit code 1; its last words were: KeyError: 'x'"),
        ("import os; os.abort()", 10, r"it ended with exit code -6$|it ended with exit code -6\."),
        ("import time; time.sleep(60)", 0.1, r"it gave no answer in 0 s"),
        ('print(\'{"failed": "no memory"}\', flush=True)', 10, r"no memory"),
    ],
)
def test_a_child_that_does_not_answer_is_explained(child, program: str, patience_s: float, words: str) -> None:
    started = child(program)
    started.send(1)
    with pytest.raises(TinyError, match=words):
        started.answer(patience_s)


def test_a_program_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    run([sys.executable, "-c", "import mlx_tiny"], tmp_path / "log", "It")
    with pytest.raises(TinyError, match=r"It failed with exit code 3(.|\n)*what went wrong"):
        run([sys.executable, "-c", "print('what went wrong'); raise SystemExit(3)"], tmp_path / "log", "It")
    with pytest.raises(TinyError, match="no such program cannot be started"):
        run(["no such program"], tmp_path / "log", "It")


def test_a_program_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    says_who = "import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(60)"
    call = f"run([sys.executable, '-c', {says_who!r}], pathlib.Path({str(log)!r}), 'It')"
    parent = f"import pathlib, sys; from mlx_tiny.tools.processes import run; {call}"
    started = subprocess.Popen([sys.executable, "-c", parent], env=environment())
    wait_until(lambda: log.exists() and bool(log.read_text()))
    started.kill()
    started.wait()
    wait_until(lambda: not any(map(_runs, log.read_text().split())))


def test_the_output_of_a_program_that_fails_is_nothing() -> None:
    assert output(sys.executable, "-c", "print(1)") == "1\n"
    assert output(sys.executable, "-c", "print(1); raise SystemExit(1)") == output("no such program") == ""


def test_memory_of_the_parent_is_not_counted_and_freed_memory_is() -> None:
    held = np.ones(_HELD_BYTES, np.uint8)
    child = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environment(), capture_output=True, text=True, check=True
    )
    before, after = map(int, child.stdout.split())
    assert 1e6 < before < _HELD_BYTES / 2 and 45e6 < after - before < 60e6
    assert peak_memory_bytes() > held.nbytes


def test_the_package_is_found_from_any_folder(tmp_path: Path) -> None:
    assert (processes.ROOT / "mlx_tiny" / "tools").is_dir()
    subprocess.run([sys.executable, "-c", "import mlx_tiny"], cwd=tmp_path, env=environment(), check=True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs PYTHONSAFEPATH, which is new in Python 3.11")
def test_files_of_the_current_folder_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "re.py").write_text("raise SystemExit(7)")
    program = [sys.executable, "-m", "mlx_tiny.machine.support"]
    assert subprocess.run(program, cwd=tmp_path, env=environment()).returncode == 0
