"""What a stranger installs: one package, its kernels inside it, and a command that trains."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mlx_tiny

ROOT = Path(__file__).parents[1]
ALLOWED_AT_THE_TOP = {"mlx_tiny", f"mlx_tiny-{mlx_tiny.__version__}.dist-info"}
NO_REGISTRY = (
    "NewConnectionError",
    "connection error",
    "Temporary failure",
    "No matching distribution",
    "timed out",
)
NO_COPY = (".git", ".venv", "__pycache__", "*.egg-info", "build", "dist", "runs", ".*_cache", ".hypothesis")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    if done.returncode and "pip" in command and any(sign in done.stdout for sign in NO_REGISTRY):
        message = f"pip reaches no package registry here:\n{done.stdout[-1000:]}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: a build must not see what a checkout has gathered, nor leave anything in it.
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(*NO_COPY))
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        ".",
        folder=folder / "copy",
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel and what it asks for, as `pip install mlx-tiny` makes it."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", environment, folder=wheel.parent)
    run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", wheel, folder=wheel.parent)
    return environment / "bin"


def test_the_wheel_holds_the_package_and_its_kernels_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == ALLOWED_AT_THE_TOP
    assert "mlx_tiny/kernels/README.md" in names
    kernels = {path.name for path in (ROOT / "kernels").iterdir() if path.is_file()}
    assert {name.split("/")[-1] for name in names if name.startswith("mlx_tiny/kernels/")} == kernels
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mlx_tiny").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_asks_for_mlx_on_each_system(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(path).decode().splitlines()
    base = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert any("mlx>=" in line and "'Darwin'" in line for line in base), base
    assert any("mlx[cpu]>=" in line and "'Linux'" in line for line in base), base
    assert any("scipy-openblas32" in line and "'Linux'" in line for line in base), base
    optional = ("torch", "matplotlib", "pytest", "ruff", "mypy")
    assert not [line for line in base if any(f" {name}" in line for name in optional)]


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "sdist",
        "-d",
        tmp_path,
        folder=wheel.parent / "copy",
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, archive, folder=tmp_path)
    (again,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_an_empty_environment_gets_a_working_command(installed: Path, tmp_path: Path) -> None:
    assert mlx_tiny.__version__ in run(installed / "mlx-tiny", "--version", folder=tmp_path)
    assert "train" in run(installed / "mlx-tiny", "--help", folder=tmp_path)
    code = "from importlib.resources import files; print((files('mlx_tiny') / 'kernels/README.md').is_file())"
    assert run(installed / "python", "-c", code, folder=tmp_path).strip() == "True"


def test_an_empty_environment_trains(installed: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    lines = (f"Once upon a time, {number} little bears went to the wood.\n\n" for number in range(4000))
    text.write_text("".join(lines))
    run_folder = tmp_path / "run"
    # The flags are those of `mlx-tiny train`; keep them in step with mlx_tiny/cli.
    flags = ("--vocabulary-size", "512", "--budget", "2000tok", "--preset", "tiny", "--run", str(run_folder))
    run(installed / "mlx-tiny", "train", "--data", text, *flags, folder=tmp_path)
    assert any(run_folder.iterdir())
