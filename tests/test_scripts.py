"""The start scripts set a fresh machine up, once, whatever interrupts them, and explain what stops them.

They run in a small stand-in of the repository, whose project needs no package from a registry.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
UNFINISHED = ".venv/mlx_tiny-unfinished"
STAMP = ".venv/mlx_tiny-setup"
EXTRA: dict[str, str] = {}
"""Variables of every script that is started."""

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "stand-in"
version = "1.0"
requires-python = ">=3.10,<3.14"
dependencies = []
"""

BACKEND = '''
"""Builds an editable wheel by hand; counts its builds, and waits where a test asks it to."""
import os, time, zipfile
HERE = os.path.dirname(os.path.abspath(__file__))
FILES = {
    "stand_in.pth": HERE,
    "stand_in-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: stand-in\\nVersion: 1.0\\n"
    "Provides-Extra: test\\nProvides-Extra: dev\\nProvides-Extra: all\\nREQUIRES",
    "stand_in-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "stand_in-1.0.dist-info/entry_points.txt": "[console_scripts]\\n"
    "mlx-tiny = echo:main\\nruff = echo:main\\ncheck-jsonschema = echo:main\\n",
}
def build_editable(folder, config_settings=None, metadata_directory=None):
    with open(os.path.join(HERE, "builds"), "a") as file:
        file.write("build\\n")
    if os.path.exists(os.path.join(HERE, "wait")):
        time.sleep(60)
    name, record = "stand_in-1.0-py3-none-any.whl", "stand_in-1.0.dist-info/RECORD"
    requires = os.environ.get("STAND_IN_REQUIRES", "")
    requires = "Requires-Dist: " + requires + "\\n" if requires else ""
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(path, text.replace("REQUIRES", requires))
        wheel.writestr(record, "".join(path + ",,\\n" for path in [*FILES, record]))
    return name
'''

ECHO = """
import json, os, sys
def main():
    print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd()}))
if __name__ == "__main__":
    main()
"""


# Stands in for the module venv: making a real environment takes two seconds, most of them for its own copy of pip.
COPYING = """
import os, shutil, sys
template = os.path.join({templates!r}, os.environ["STAND_IN_PIP"])
shutil.copytree(template, sys.argv[1], symlinks=True, dirs_exist_ok=True)
"""

# Stands in for pip, which takes half a second to install the project.
PIP = """
import os, sys, sysconfig, zipfile
sys.path.insert(0, os.getcwd())
import backend
packages, programs = sysconfig.get_paths()["purelib"], os.path.dirname(sys.executable)
zipfile.ZipFile(os.path.join(packages, backend.build_editable(packages))).extractall(packages)
for name in ("mlx-tiny", "ruff", "check-jsonschema"):
    with open(os.path.join(programs, name), "w") as file:
        file.write(f"#!/bin/sh\\nexec '{sys.executable}' -m echo \\"$@\\"\\n")
    os.chmod(file.name, 0o755)
"""


@pytest.fixture(autouse=True, scope="module")
def copying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Makes set-ups start with a copy of an environment that has a stand-in for pip, or a link to the tests' own."""
    folder = tmp_path_factory.mktemp("copying")
    for name in ("real", "stand-in"):
        venv.create(folder / name, symlinks=True)
        (packages,) = folder.glob(f"{name}/lib/*/site-packages")
        if name == "real":
            (packages / "pip").symlink_to(str(distribution("pip").locate_file("pip")))
        else:
            (packages / "pip").mkdir()
            (packages / "pip" / "__init__.py").touch()
            (packages / "pip" / "__main__.py").write_text(PIP)
    (folder / "modules").mkdir()
    (folder / "modules" / "venv.py").write_text(COPYING.format(templates=str(folder)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXTRA, "PYTHONPATH", str(folder / "modules"))
        patch.setitem(EXTRA, "STAND_IN_PIP", "stand-in")
        yield


@pytest.fixture(scope="module")
def complete(copying: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in repository that is set up for training; tests may use it but not change it."""
    checkout = make_checkout(tmp_path_factory.mktemp("complete") / "check out")
    start(checkout, "train", STAND_IN_PIP="real")
    return checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "check out")


def make_checkout(folder: Path) -> Path:
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    for name in ("machine", "tools"):
        shutil.copytree(ROOT / "mlx_tiny" / name, folder / "mlx_tiny" / name)
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "mlx_tiny" / name, folder / "mlx_tiny")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    for name in ("echo", "pytest", "mypy"):
        (folder / f"{name}.py").write_text(ECHO)
    return folder


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "PYTHON": sys.executable, "PIP_NO_INDEX": "1", **EXTRA, **changes}


def start(
    checkout: Path, name: str, *arguments: str, folder: Path | None = None, succeeds: bool = True, **changes: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(checkout / "scripts" / name), *arguments],
        cwd=folder or checkout,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode == 0) is succeeds, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(json.loads(done.stdout.splitlines()[-1]))


def builds(checkout: Path) -> int:
    return len((checkout / "builds").read_text().splitlines())


def tools_without_python(folder: Path, *more: str) -> Path:
    """A PATH with the few programs that the scripts need, and no Python."""
    folder.mkdir()
    for name in ("sh", "dirname", "uname", "cksum", "wc", *more):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def make_program(folder: Path, name: str, text: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_the_scripts_are_executable_and_posix() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix]
    for path in (*scripts, ROOT / ".ci" / "run"):
        assert os.access(path, os.X_OK), path
    for path in (*scripts, ROOT / ".ci" / "run", ROOT / "scripts" / "setup.sh"):
        assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0, path


def test_arguments_and_the_callers_folder_reach_the_command(complete: Path, tmp_path: Path) -> None:
    arguments = ["--budget", "30s", "--data", "a file.txt", "", "*"]
    assert said(start(complete, "train", *arguments, folder=tmp_path)) == {
        "arguments": ["train", *arguments],
        "folder": str(tmp_path.resolve()),
    }


def test_a_second_start_needs_no_python_and_under_a_second(complete: Path, tmp_path: Path) -> None:
    path = tools_without_python(tmp_path / "bin")
    before = builds(complete)
    durations = []
    for _ in range(3):  # the machine may be busy
        began = time.perf_counter()
        done = start(complete, "train", PATH=str(path), PYTHON="")
        durations.append(time.perf_counter() - began)
        assert done.stderr == ""
    assert min(durations) < 1
    assert builds(complete) == before


def test_the_tests_run_from_any_folder(complete: Path, tmp_path: Path) -> None:
    everything = str(complete.resolve() / "tests")
    fixed = ["-c", str(complete.resolve() / "pyproject.toml"), "--rootdir", str(complete.resolve())]
    (tmp_path / "budget").mkdir()
    (tmp_path / "test_own.py").touch()
    for given, added in (
        (["-q"], [everything]),
        (["-k", "budget"], [everything]),  # a word, although a folder has its name
        (["test_own.py::test_one"], []),
        (["-m", "not slow", "test_own.py"], []),
    ):
        assert said(start(complete, "test", *given, folder=tmp_path))["arguments"] == [*fixed, *given, *added]


def test_larger_extras_and_a_changed_project_are_installed_and_include_the_smaller(checkout: Path) -> None:
    for name, expected in (("test", 1), ("train", 1), ("check", 2), ("lint", 2)):
        start(checkout, name)
        assert builds(checkout) == expected
    with open(checkout / "pyproject.toml", "a") as file:
        file.write("# another dependency\n")
    start(checkout, "train")
    assert builds(checkout) == 3


def test_a_moved_checkout_is_installed_again(complete: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(complete, moved, symlinks=True)
    before = builds(moved)
    start(moved, "train")
    assert builds(moved) == before + 1
    assert f"{moved.resolve()}/.venv" in (moved / ".venv/bin/mlx-tiny").read_text()


def test_a_vanished_python_is_replaced(complete: Path, tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "own")
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(tmp_path / "absent")
    stamp = (complete / STAMP).read_text().splitlines()
    (checkout / STAMP).write_text("\n".join([str(checkout), *stamp[1:]]) + "\n")
    start(checkout, "train")
    assert builds(checkout) == 1


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_leftovers_of_an_interruption_are_not_used(checkout: Path, signal_number: signal.Signals) -> None:
    (checkout / "wait").touch()
    command = subprocess.Popen(
        [str(checkout / "scripts" / "train")],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not (checkout / "builds").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(command.pid, signal_number)
    command.wait(timeout=30)
    assert (checkout / UNFINISHED).exists()
    assert not (checkout / STAMP).exists()
    (checkout / ".venv" / "half-written").touch()
    (checkout / "wait").unlink()
    start(checkout, "train")
    assert not (checkout / ".venv" / "half-written").exists()
    assert not (checkout / UNFINISHED).exists()


def test_a_stamp_beside_the_mark_of_the_unfinished_is_not_trusted(complete: Path, tmp_path: Path) -> None:
    path = tools_without_python(tmp_path / "bin")
    (complete / UNFINISHED).touch()
    try:
        start(complete, "train", succeeds=False, PATH=str(path), PYTHON="")
    finally:
        (complete / UNFINISHED).unlink()


def test_concurrent_starts_set_up_once(checkout: Path) -> None:
    command = [str(checkout / "scripts" / "train")]
    starts = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120) for process in starts]
    assert [process.returncode for process in starts] == [0, 0, 0], outputs
    assert builds(checkout) == 1
    assert sum("waiting for it" in errors for _, errors in outputs) == 2


def test_an_environment_of_ones_own_is_kept(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(checkout / ".venv")], env=environment(), check=True)
    (checkout / ".venv" / "mine").touch()
    start(checkout, "train")
    assert (checkout / ".venv" / "mine").exists()


def test_a_machine_that_cannot_run_mlx_is_refused_before_anything_is_created(checkout: Path) -> None:
    reason = "This Linux has glibc 2.31, and MLX needs 2.35 or later."
    (checkout / "mlx_tiny" / "machine" / "support.py").write_text(f"def unsupported_reason():\n    return {reason!r}\n")
    done = start(checkout, "train", succeeds=False)
    assert (done.returncode, done.stderr, done.stdout) == (1, f"{reason}\n", "")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("system", ["MINGW64_NT-10.0-22631", "MSYS_NT-10.0", "CYGWIN_NT-10.0"])
def test_windows_is_refused(checkout: Path, tmp_path: Path, system: str) -> None:
    path = tools_without_python(tmp_path / "bin")
    make_program(path, "uname", f"echo {system}")
    done = start(checkout, "train", succeeds=False, PATH=str(path), PYTHON="")
    assert done.returncode == 1
    assert "Windows" in done.stderr and "WSL 2" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("programs", "named"),
    [
        ({}, "found none"),
        ({"python3": "case $* in *-c*) echo 2.7 ;; *) exit 9 ;; esac"}, "found Python 2.7"),
        ({"python3": "case $* in *-c*) echo 3.9 ;; esac"}, "found Python 3.9"),
        ({"python3.12": "exit 127"}, "found none"),
    ],
)
def test_without_a_fitting_python_the_remedy_is_named(
    checkout: Path, tmp_path: Path, programs: dict[str, str], named: str
) -> None:
    path = tools_without_python(tmp_path / "bin")
    for name, text in programs.items():
        make_program(path, name, text)
    done = start(checkout, "train", succeeds=False, PATH=str(path), PYTHON="")
    assert done.returncode == 1
    assert named in done.stderr and "3.10 to 3.13" in done.stderr and "PYTHON=" in done.stderr
    assert len(done.stderr.splitlines()) == 1


PYTHON_WITH = """case $* in
*-c*) echo {version} ;;
*pip*) exit {no_torch} ;;
*) echo "{version} is set up for $3" >&2; exit 1 ;;
esac"""


@pytest.mark.parametrize(
    ("script", "at_hand", "chosen"), [("check", "3.11", "3.11"), ("check", None, "3.13"), ("train", "3.11", "3.13")]
)
def test_a_python_with_a_build_of_pytorch_at_hand_is_preferred(
    checkout: Path, tmp_path: Path, script: str, at_hand: str | None, chosen: str
) -> None:
    path = tools_without_python(tmp_path / "bin")
    for version in ("3.10", "3.11", "3.13"):
        make_program(path, f"python{version}", PYTHON_WITH.format(version=version, no_torch=int(version != at_hand)))
    done = start(checkout, script, succeeds=False, PATH=str(path), PYTHON="")
    assert done.stderr == f"{chosen} is set up for {'all' if script == 'check' else 'base'}\n"


def test_an_old_python_still_says_that_the_machine_is_unsupported(checkout: Path, tmp_path: Path) -> None:
    path = tools_without_python(tmp_path / "bin")
    make_program(path, "python3", 'case $* in *-c*) echo 3.9 ;; *) echo "An Intel Mac." >&2; exit 1 ;; esac')
    done = start(checkout, "train", succeeds=False, PATH=str(path), PYTHON="")
    assert done.stderr == "An Intel Mac.\n"


def test_a_broken_shim_is_passed_over(checkout: Path, tmp_path: Path) -> None:
    path = tools_without_python(tmp_path / "bin")
    make_program(path, "python3.13", "echo broken >&2; exit 127")
    make_program(path, "python3.10", f'exec "{sys.executable}" "$@"')
    start(checkout, "train", PATH=str(path), PYTHON="")


def test_a_wrong_python_variable_is_named(checkout: Path) -> None:
    done = start(checkout, "train", succeeds=False, PYTHON="/absent/python")
    assert "/absent/python" in done.stderr and done.returncode == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_NO_INDEX": "0"},
        {"PIP_INDEX_URL": "https://absent.invalid/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_NO_INDEX": "0"},
    ],
)
def test_an_unreachable_registry_is_explained(checkout: Path, settings: dict[str, str]) -> None:
    variables: dict[str, Any] = {**settings, "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    variables |= {"STAND_IN_REQUIRES": "a-package-that-is-not-there", "STAND_IN_PIP": "real"}
    done = start(checkout, "train", succeeds=False, **variables)
    assert done.returncode == 1
    assert "cannot reach its package registry" in done.stderr.splitlines()[-1]
    assert not (checkout / STAMP).exists()


def test_the_log_of_pip_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    set_up = importlib.import_module("setup")
    monkeypatch.setattr(set_up, "LOG", str(tmp_path / "log"))
    latest = set_up.follower()
    assert latest() == ""
    lines = (
        "Collecting one\n  Downloading one.whl (16.9 MB)\n",
        "  Using cached two.whl (3 MB)\n  Downloading tiny.whl (9 kB)",
    )
    (tmp_path / "log").write_text(lines[0])
    assert latest() == latest() == "17 MB  Downloading one.whl (16.9 MB)"
    (tmp_path / "log").write_text("".join(lines))
    assert latest() == "20 MB  Downloading one.whl (16.9 MB)", "a line without an end is left for later"


def test_another_failure_of_pip_names_its_log(checkout: Path) -> None:
    done = start(
        checkout, "train", succeeds=False, STAND_IN_REQUIRES="a-package-that-is-not-there", STAND_IN_PIP="real"
    )
    assert "exit code 1" in done.stderr.splitlines()[-1]
    assert "mlx_tiny-setup.log" in done.stderr.splitlines()[-1]


def test_ci_checks_everything_without_a_terminal_and_fails_with_any_of_it(checkout: Path) -> None:
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    (checkout / "pytest.py").write_text("import os, sys; print(os.environ['CI'], sys.stdin.read() == '')")
    (checkout / "mypy.py").write_text("raise SystemExit(1)")
    done = start(checkout, "../.ci/run", "-q", succeeds=False)
    assert done.stdout.splitlines()[-1] == "true True"
    assert "Failed: types" in done.stderr.splitlines()
    assert [line for line in done.stdout.splitlines() if line.startswith("==")] == [
        "== format",
        "== lint",
        "== types",
        "== workflows",
        "== tests",
    ]
