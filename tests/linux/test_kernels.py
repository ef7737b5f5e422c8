"""MLX's CPU kernels come from a private folder: nobody else's are loaded, and no damaged ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import pytest
from tiny_run import subprocess_environment, wait_until

import mlx_tiny
from mlx_tiny.errors import TinyError
from mlx_tiny.linux import guard, kernels

pytestmark = pytest.mark.skipif(
    mx.default_device().type != mx.DeviceType.cpu or shutil.which("g++") is None,
    reason="MLX compiles no CPU graphs here",
)
# Evaluates a compiled graph; says whether it was right, whether its kernel was kept, and what TMPDIR is elsewhere.
PROGRAM = """
import os, subprocess, tempfile
import mlx.core as mx
from mlx_tiny.linux import kernels, lanes
kernels.give_private_folder()
kept = kernels.count()
graph = lanes.compiled_function(lambda x: mx.abs(x) * x + 1)
right = graph(mx.array([-2.0, 3.0])).tolist() == [-3.0, 10.0]
echo = subprocess.run(["sh", "-c", "echo $TMPDIR"], env=os.environ, capture_output=True, text=True).stdout.strip()
print(right, kept, tempfile.gettempdir(), echo, kernels.why_not_kept(), sep="|")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "temporary").mkdir()
    return tmp_path


def start(home: Path, program: str = PROGRAM, **changes: str) -> subprocess.Popen[str]:
    changes = {"MLX_TINY_HOME": str(home), "TMPDIR": str(home / "temporary"), **changes}
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    return subprocess.Popen(command, env=subprocess_environment(**changes), stdout=pipe, stderr=pipe, text=True)


def result(process: subprocess.Popen[str]) -> list[str]:
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return out.strip().split("|")


def said(home: Path, **changes: str) -> list[str]:
    return result(start(home, **changes))


def kept(home: Path) -> list[Path]:
    return list(home.glob("cpu_kernels/*/*/lib*.so"))


def sessions(home: Path) -> list[Path]:
    return list(home.glob("cpu_kernels/*/.*"))


def test_a_kernel_is_kept_and_nobody_elses_is_loaded(home: Path) -> None:
    right, before, *_ = said(home)
    (library,) = kept(home)
    assert (right, before) == ("True", "0")
    # What anyone can put where MLX looks by itself.
    planted = home / "temporary" / "mlx" / version("mlx") / "cpu"
    planted.mkdir(parents=True)
    (planted / library.name).write_bytes(b"a library of someone else")
    temporary = str(home / "temporary")
    assert said(home) == ["True", "1", temporary, temporary, "None"]
    assert not sessions(home) and kept(home) == [library]
    os.truncate(library, 5000)  # MLX would end by a bus error
    assert said(home)[:2] == ["True", "0"] and library.stat().st_size > 5000
    assert (home / "cpu_kernels").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["none", "cut", "changed", "another file", "a link", "a pipe", "empty", "a file"])
def test_only_whole_sets_are_linked(tmp_path: Path, damage: str) -> None:
    library = tmp_path / "made" / "libkernel.so"
    library.parent.mkdir()
    library.write_bytes(b"machine code")
    store = tmp_path / "store"
    kept = store / kernels._name_of_set([library])
    shutil.copytree(library.parent, kept)
    library = kept / library.name
    if damage == "cut":
        os.truncate(library, 5)
    elif damage == "changed":
        library.write_bytes(b"machine c0de")
    elif damage == "another file":
        (kept / "libother.so").touch()
    elif damage == "a pipe":
        os.mkfifo(kept / "libother.so")
    elif damage == "a link":
        library.unlink()
        library.symlink_to(tmp_path / "made" / library.name)
    elif damage == "empty":
        library.unlink()
    elif damage == "a file":
        shutil.rmtree(kept)
        kept.touch()
    session = kernels._Session(store)
    session.link_kept()
    whole = damage == "none"
    assert [path.name for path in session.libraries.iterdir()] == ["libkernel.so"] * whole
    assert kept.exists() == whole
    session.close()
    assert [path.name for path in store.iterdir()] == [kept.name] * whole


def test_processes_at_once_disturb_each_other_in_nothing(home: Path) -> None:
    assert {tuple(result(process)[:1]) for process in [start(home) for _ in range(3)]} == {("True",)}
    assert len(kept(home)) == 1 and not sessions(home)


def test_a_home_of_others_keeps_nothing_and_says_why(home: Path, open_folder: Path) -> None:
    open_folder.chmod(0o777)
    right, _, _, _, reason = said(home, MLX_TINY_HOME=str(open_folder))
    assert right == "True" and "other users may write" in reason and not kept(open_folder)
    assert not list((home / "temporary").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_nothing_of_root_is_put_in_a_home_of_another_user(home: Path, open_folder: Path) -> None:
    for folder in (open_folder / "home", open_folder / "temporary"):
        folder.mkdir()
        os.chown(folder, 65534, -1)
    process = start(home, MLX_TINY_HOME=str(open_folder / "home"), TMPDIR=str(open_folder / "temporary"))
    right, *_, reason = result(process)
    assert right == "True" and "belongs to another user" in reason
    assert {path.name for path in open_folder.glob("**/*")} == {"home", "temporary"}


def test_a_home_with_the_shells_characters_is_no_command(tmp_path: Path) -> None:
    home = tmp_path / 'a $(touch hacked) `touch hacked` "home"'
    (home / "temporary").mkdir(parents=True)
    assert said(home)[0] == "True" and not list(tmp_path.glob("**/hacked"))


def test_a_removed_cache_is_made_again(home: Path) -> None:
    again = PROGRAM.replace("kept =", f"__import__('shutil').rmtree({str(home / 'cpu_kernels')!r})\nkept =")
    assert result(start(home, again))[:2] == ["True", "0"]
    assert len(kept(home)) == 1


@pytest.mark.parametrize(
    ("owner", "mode", "words"),
    [(0, 0o40755, None), (1234, 0o40755, "another user"), (0, 0o40757, "other users"), (0, 0o100600, "not a folder")],
)
def test_what_another_user_could_change_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, words: str | None
) -> None:
    found = os.stat_result((mode, 0, 0, 0, owner, 0, 0, 0, 0, 0))
    monkeypatch.setattr(os, "lstat", lambda _: found)
    if words is None:
        kernels._require_trusted(Path("folder"))
    else:
        with pytest.raises(TinyError, match=words):
            kernels._require_trusted(Path("folder"))


def test_after_a_call_from_python_children_have_the_users_folder() -> None:
    show = ["sh", "-c", "echo $TMPDIR"]
    with kernels.private_folder():
        kernels.give_private_folder()
        assert "cpu_kernels" in subprocess.check_output(show, text=True)
    assert subprocess.check_output(show, text=True).strip() == os.environ["TMPDIR"]


def test_a_killed_process_leaves_no_compiler_and_no_folder(home: Path) -> None:
    programs = home / "programs"
    programs.mkdir()
    # As g++ does, it starts another program with the path of the kernel.
    (programs / "g++").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || {{ touch {home}/began; sh -c "sleep 60; :" "$@"; }}'
    )
    (programs / "g++").chmod(0o755)
    process = start(home, PATH=f"{programs}:{os.environ['PATH']}")
    wait_until((home / "began").exists)
    (folder,) = sessions(home)
    # The guard, g++ and its program, and maybe the shell by which MLX starts g++.
    wait_until(lambda: len(guard._processes_with(os.fsencode(folder))) >= 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not guard._processes_with(os.fsencode(folder)) and not folder.exists())
    assert not sessions(home) and not kept(home)


def test_what_guard_and_owner_left_is_removed_by_the_next_start(home: Path) -> None:
    process = start(home, PROGRAM + "os.kill(kernels._session._guard.pid, 9); os.kill(os.getpid(), 9)")
    process.communicate()
    (left,) = sessions(home)
    assert said(home)[0] == "True" and not left.exists()


def test_the_package_compiles_only_where_the_folder_is_private() -> None:
    root = Path(mlx_tiny.__file__).parent
    users = {str(path.relative_to(root)) for path in root.rglob("*.py") if "mx.compile(" in path.read_text()}
    assert users == {"linux/lanes.py", "bench/launches.py"}  # the latter evaluates nothing
