"""The installed package: its files, its kernels, and a command that trains with the declared dependencies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mlx_tiny

ROOT = Path(__file__).parents[1]
ALLOWED_AT_THE_TOP = {"mlx_tiny", f"mlx_tiny-{mlx_tiny.__version__}.dist-info"}
NO_COPY = (".git", ".venv", "__pycache__", "*.egg-info", "build", "dist", "runs", ".*_cache", ".hypothesis")


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
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source archive, which is built from a clean copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(*NO_COPY))
    build = (sys.executable, "-m", "hatchling", "build", "-d", folder)
    run(*build, "-t", "sdist", folder=folder / "copy")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    run(*build, "-t", "wheel", folder=folder / archive.name.removesuffix(".tar.gz"))
    (built,) = folder.glob("*.whl")
    return built


def needed(name: str, extras: tuple[str, ...] = ()) -> Iterator[Distribution]:
    """Distributions that a distribution requires, directly or indirectly."""
    for requirement in map(Requirement, distribution(name).requires or []):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield distribution(requirement.name)
            yield from needed(requirement.name, tuple(requirement.extras))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and links to its dependencies, as after `pip install mlx-tiny`."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", environment, folder=wheel.parent)
    (packages,) = environment.glob("lib/python*/site-packages")
    for found in {found.metadata["Name"]: found for found in needed("mlx-tiny")}.values():
        for name in {path.parts[0] for path in found.files or () if not path.parts[0].startswith("..")}:
            if not (packages / name).exists():
                (packages / name).symlink_to(str(found.locate_file(name)))
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, folder=wheel.parent)
    return environment / "bin"


def test_the_wheel_holds_the_package_and_its_kernels_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == ALLOWED_AT_THE_TOP
    assert {"mlx_tiny/kernels/README.md", "mlx_tiny/py.typed"} <= set(names)
    kernels = {path.name for path in (ROOT / "kernels").iterdir() if path.is_file()}
    assert {name.split("/")[-1] for name in names if name.startswith("mlx_tiny/kernels/")} == kernels
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mlx_tiny").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    cpp = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mlx_tiny" / "linux" / "cpp").iterdir()}
    assert cpp and {name for name in names if "/cpp/" in name} == cpp
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_asks_for_mlx_on_each_system_and_names_the_pythons_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(path).decode().splitlines()
    base = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert any("mlx>=" in line and "'Darwin'" in line for line in base), base
    assert any("mlx[cpu]>=" in line and "'Linux'" in line for line in base), base
    for name in ("scipy-openblas32", "nanobind"):
        assert any(name in line and "'Linux'" in line for line in base), base
    optional = ("torch", "matplotlib", "pytest", "ruff", "mypy")
    assert not [line for line in base if any(f" {name}" in line for name in optional)]
    classified = [int(minor) for minor in re.findall(r"Python :: 3\.(\d+)\n", "\n".join(lines))]
    assert f"Requires-Python: <3.{classified[-1] + 1},>=3.{classified[0]}" in lines
    assert classified == list(range(classified[0], classified[-1] + 1))


def test_an_empty_environment_gets_a_working_command(installed: Path, tmp_path: Path) -> None:
    assert mlx_tiny.__version__ in run(installed / "mlx-tiny", "--version", folder=tmp_path)
    assert "train" in run(installed / "mlx-tiny", "--help", folder=tmp_path)
    code = "from importlib.resources import files; print((files('mlx_tiny') / 'kernels/README.md').is_file())"
    assert run(installed / "python", "-c", code, folder=tmp_path).strip() == "True"


def test_an_empty_environment_trains_with_what_was_asked_for(installed: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    lines = (f"Once upon a time, {number} little bears went to the wood.\n\n" for number in range(4000))
    text.write_text("".join(lines))
    run_folder = tmp_path / "run"
    flags = ("--vocabulary-size", "512", "--budget", "2000tok", "--preset", "tiny", "--run", str(run_folder))
    run(installed / "mlx-tiny", "train", "--data", text, *flags, folder=tmp_path)
    assert any(run_folder.iterdir())
    absent = subprocess.run([str(installed / "python"), "-c", "import pytest"], capture_output=True)
    assert absent.returncode != 0, "the environment holds more than what was asked for"
