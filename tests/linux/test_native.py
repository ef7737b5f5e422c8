"""The operations in C++: right under sanitizers and for older CPUs, planted bugs found; a run goes on without them."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from compiled_kernels import KEPT
from tiny_run import subprocess_environment, tiny_config, wait_until

from mlx_tiny.linux import guard, kernels, native
from mlx_tiny.training.backend import MlxBackend

CPP = Path(native.__file__).with_name("cpp")
PROGRAM = Path(__file__).with_name("operations.cpp")
SANITIZED = ("-O1", "-g", "-march=native", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILER = shutil.which("g++")
# In which the tests have compiled the module at their beginning, and with which g++.
OWN = {name: os.environ[name] for name in ("MLX_TINY_HOME", "PATH")}
# In a process of its own: compiles, and says why not.
PREPARE = """
from mlx_tiny.linux import lanes, native
lanes.prepare()
native.prepare()
print(native.why_not())
"""

pytestmark = pytest.mark.skipif(
    not native.can_be_here() or COMPILER is None, reason="there are no operations in C++ here"
)


def compiled(flags: tuple[str, ...], folder: Path, edit: tuple[str, str, str] | None = None) -> Path:
    """The program with the operations, compiled once per machine.

    Args:
        edit: a file of the operations, a text in it, and what stands in its place.
    """
    texts = {path.name: path.read_text() for path in (*CPP.glob("*.h"), PROGRAM)}
    if edit is not None:
        name, right, wrong = edit
        assert texts[name].count(right) == 1
        texts[name] = texts[name].replace(right, wrong)
    made_by = os.stat(str(COMPILER))
    made_of = repr((flags, sorted(texts.items()), COMPILER, made_by.st_size, made_by.st_mtime_ns, platform.node()))
    kept = KEPT / "operations" / hashlib.sha256(made_of.encode()).hexdigest()[:32]
    if not kept.exists():
        for name, text in texts.items():
            (folder / name).write_text(text)
        built = folder / "program"
        command = [str(COMPILER), "-std=c++20", *flags, str(folder / PROGRAM.name), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True)
        if "cannot find" in done.stderr and "san" in done.stderr:
            pytest.skip("this g++ has no sanitizers")
        assert done.returncode == 0, done.stderr[-2000:]
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(built, aside := kept.with_name(f"{kept.name}.{os.getpid()}"))
        aside.rename(kept)
    return kept


def checked(program: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program)], capture_output=True, text=True, timeout=60)


def test_every_operation_is_right_and_stays_within_its_arrays(tmp_path: Path) -> None:
    done = checked(compiled(SANITIZED, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the widths are those of x86-64")
@pytest.mark.parametrize("flag", ["-mno-avx512f", "-mno-avx"])
def test_every_operation_is_right_with_narrower_vectors(flag: str, tmp_path: Path) -> None:
    done = checked(compiled(("-O1", "-march=native", flag), tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (("attention.h", "scores + first + i + 1, s", "scores + std::min(first + i + 2, n), s"), "attention T2"),
        (("attention.h", "std::fill(share + near, share + n, 0.0f);", ""), "gradient of value"),
        (("attention.h", "= scale * dq[", "= dq["), "gradient of query"),
        (("rows.h", "for (; i < n; ++i)\n    rest +=", "for (; i + 1 < n; ++i)\n    rest +="), "norm of rows of 3 "),
        (("attention.h", "const long g = h / shared;", "const long g = h % s.G;"), "H4"),
        (("rows.h", "d[i] * c[i] + d[half + i] * s[i]", "d[i] * c[i] - d[half + i] * s[i]"), "gradient of turned"),
    ],
    ids=["mask", "stale row", "scale", "tail of a row", "head of a group", "sign of the sine"],
)
def test_a_planted_bug_is_found(edit: tuple[str, str, str], found: str, tmp_path: Path) -> None:
    done = checked(compiled(("-O1", "-march=native"), tmp_path, edit))
    assert done.returncode == 1 and found in done.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache where nothing is compiled yet, in this process, and a g++ that says no."""
    with kernels.private_folder():
        kernels.give_private_folder()
        monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(native, "_module", None)
        monkeypatch.setattr(native, "_reason", native._NOT_YET)
        native._load_kept.cache_clear()
        plant_compiler(tmp_path, monkeypatch, "echo 'fatal error: not today' >&2; exit 1")
        yield tmp_path / "home"
    native._load_kept.cache_clear()


def plant_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (programs := folder / "programs").mkdir(exist_ok=True)
    (programs / "g++").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")


def reason() -> str:
    native.prepare()
    return native.why_not() or ""


def missing(_: str) -> Any:
    raise PackageNotFoundError


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_compiler_that_fails_is_quoted(home: Path) -> None:
    assert "not today" in reason()


def test_without_a_compiler(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))
    assert "g++ is not on the PATH" in reason()


def test_a_compiler_that_makes_no_library(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_compiler(home.parent, monkeypatch, 'while [ "$1" != -o ]; do shift; done; echo nothing >"$2"')
    assert "cannot be compiled or loaded" in reason()


def test_without_nanobind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "version", missing)
    assert "nanobind is not installed" in reason()


def test_without_headers_of_python(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(home))
    assert "Python's headers" in reason()


def test_a_cache_in_which_nothing_may_be_executed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: type("", (), {"f_flag": os.ST_NOEXEC})())
    assert "noexec" in reason()


def test_a_full_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_compiler(home.parent, monkeypatch, 'while [ "$1" != -o ]; do shift; done; echo nothing >"$2"')
    monkeypatch.setattr(shutil, "copyfile", full)
    assert "disk is full" in reason()
    assert not list(home.glob("cpu_kernels/*.native/*"))


def test_nothing_is_loaded_from_a_folder_of_others(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    assert "other users may write" in reason() and not list(home.iterdir())


@pytest.mark.parametrize("damage", ["none", "cut", "no hash", "no text", "a link", "a pipe", "empty", "a file"])
def test_only_a_whole_module_is_loaded(home: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_before(monkeypatch)
    kept = native._kept()
    shutil.copytree(made, kept)
    library, checksum = kept / native._LIBRARY, kept / native._HASH
    if damage == "cut":
        os.truncate(library, 5000)
    elif damage == "no hash":
        checksum.unlink()
    elif damage == "no text":
        checksum.write_bytes(b"\xff" * 64)
    elif damage == "a link":
        library.unlink()
        library.symlink_to(made / native._LIBRARY)
    elif damage == "a pipe":
        library.unlink()
        os.mkfifo(library)
    elif damage in ("empty", "a file"):
        shutil.rmtree(kept)
        kept.mkdir() if damage == "empty" else kept.touch()
    # What is damaged is compiled anew, by a g++ that says no here.
    assert reason() == "" if damage == "none" else "not today" in reason()
    assert kept.exists() == (damage == "none")


def made_before(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the whole module."""
    with monkeypatch.context() as patch:
        for name, value in OWN.items():
            patch.setenv(name, value)
        made = native._kept()
    if not made.exists():
        pytest.skip("the operations in C++ cannot be compiled here")
    return made


def test_a_run_without_them_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "why_not", lambda: "for a reason")
    notes = list[str]()
    backend = MlxBackend(tiny_config(tmp_path), notes.append)
    assert sum("for a reason" in note for note in notes) == 1 and backend.implementations["attention"] == "cpu"


def start(home: Path, **changes: str) -> subprocess.Popen[str]:
    changes = {"MLX_TINY_HOME": str(home), **changes}
    command, pipe = [sys.executable, "-c", PREPARE], subprocess.PIPE
    return subprocess.Popen(command, env=subprocess_environment(**changes), stdout=pipe, stderr=pipe, text=True)


def test_processes_that_compile_at_once_get_along(tmp_path: Path) -> None:
    said = [process.communicate(timeout=100) for process in [start(tmp_path) for _ in range(2)]]
    assert [out for out, _ in said] == ["None\n"] * 2, said
    (kept,) = tmp_path.glob("cpu_kernels/*.native/*")
    assert {path.name for path in kept.iterdir()} == {native._LIBRARY, native._HASH}
    assert not list(tmp_path.glob("cpu_kernels/*/.*"))


def test_a_killed_process_leaves_no_compiler(tmp_path: Path) -> None:
    (programs := tmp_path / "programs").mkdir()
    # As g++ does, it starts another program.
    (programs / "g++").write_text(f'#!/bin/sh\ntouch {tmp_path}/began; sh -c "sleep 60; :" "$@"\n')
    (programs / "g++").chmod(0o755)
    home = tmp_path / "home"
    process = start(home, PATH=f"{programs}:{os.environ['PATH']}")
    wait_until((tmp_path / "began").exists)
    (folder,) = home.glob("cpu_kernels/*/.*")
    wait_until(lambda: len(guard._processes_with(os.fsencode(folder))) >= 5)  # the guard, and two compilers of two each
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not guard._processes_with(os.fsencode(folder)) and not folder.exists())
    assert not list(home.glob("cpu_kernels/*/.*")) and not list(home.glob("cpu_kernels/*.native/*"))
