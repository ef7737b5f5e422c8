"""Compilation ahead: the first step finds the kernels; nothing happens where nothing can or need be compiled."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from tiny_run import MODEL, subprocess_environment, wait_until

from mlx_tiny.config import RunConfig, TrainConfig
from mlx_tiny.linux import guard, kernels, warmup
from mlx_tiny.linux.warmup import CompilingAhead

CONFIG = RunConfig(model=MODEL, train=TrainConfig(batch_size=4))
compiles = pytest.mark.skipif(
    mx.default_device().type != mx.DeviceType.cpu or shutil.which("g++") is None,
    reason="MLX compiles no CPU graphs here",
)
COLD = """
import contextlib
from dataclasses import replace
import numpy as np
import mlx.core as mx
from test_warmup import CONFIG, is_busy
from mlx_tiny.linux import kernels
from mlx_tiny.training.step import TrainingStep
from mlx_tiny.linux.warmup import CompilingAhead

before, ahead = kernels.count(), CompilingAhead(CONFIG)
assert is_busy(ahead)
ahead.wait()
made = kernels.count()
step = TrainingStep(CONFIG, compiled=True)
state, loss = step(step.initial_state(), np.zeros((4, CONFIG.model.context + 1), dtype=np.int32), 1.0, 0.9)
mx.eval(loss, state.arrays())
print(made - before, kernels.count() - made)
with contextlib.closing(CompilingAhead(replace(CONFIG, model=replace(CONFIG.model, width=48)))) as other:
    assert is_busy(other)
assert not is_busy(CompilingAhead(CONFIG))
next(path for path in kernels._session.libraries.glob("lib*.so") if path.is_symlink()).unlink()
with contextlib.closing(CompilingAhead(CONFIG)) as other:
    assert is_busy(other)
"""


KILLED = """
from test_warmup import CONFIG
from mlx_tiny.linux.warmup import CompilingAhead

CompilingAhead(CONFIG).wait()
"""


def is_busy(ahead: CompilingAhead) -> bool:
    return any(child.process.poll() is None for child in ahead._children)


@compiles
def test_a_killed_run_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    # A g++ that never compiles the header of the kernels, with which each process that compiles ahead begins.
    never = f'touch "{tmp_path}/began-$$"; sh -c "sleep 60; :" "$@"'
    (tmp_path / "g++").write_text(
        f'#!/bin/sh\ncase "$*" in *.gch) {never} ;; *) exec {shutil.which("g++")} "$@" ;; esac\n'
    )
    (tmp_path / "g++").chmod(0o755)
    changes = {"MLX_TINY_HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen([sys.executable, "-c", KILLED], env=subprocess_environment(**changes))
    wait_until(lambda: len(list(tmp_path.glob("began-*"))) == 2)
    home = os.fsencode(tmp_path)
    # Three guards, and for each half of a step g++ and its program.
    wait_until(lambda: len(guard._processes_with(home)) >= 7)
    process.kill()
    process.wait()
    wait_until(lambda: not guard._processes_with(home) and not list(tmp_path.glob("cpu_kernels/*/.*")))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, without MLX's kernels."""
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path))
    monkeypatch.setattr(kernels, "_session", None)
    return tmp_path


@pytest.mark.slow
@compiles
def test_the_first_step_finds_its_kernels(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLD],
        env=subprocess_environment(MLX_TINY_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    made, missing = map(int, done.stdout.split())
    # A step adds up the gradients of its halves' lanes, and that is all that is new to it.
    assert made >= 30 and missing <= 1
    assert not list(tmp_path.glob("cpu_kernels/*/.*"))


@compiles
@pytest.mark.usefixtures("home")
def test_closing_ends_the_processes() -> None:
    ahead = CompilingAhead(CONFIG)
    processes = [child.process for child in ahead._children]
    assert len(processes) == 2 and is_busy(ahead)
    ahead.close()
    assert all(process.returncode is not None for process in processes) and not is_busy(ahead)


@compiles
@pytest.mark.usefixtures("home")
def test_nothing_is_compiled_where_kernels_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "has_needed", lambda key: key == warmup.key(CONFIG, "update"))
    with contextlib.closing(CompilingAhead(CONFIG)) as ahead:
        assert [child.process.args[-1] for child in ahead._children] == ["gradients"]
    monkeypatch.setattr(kernels, "has_needed", lambda _: True)
    assert not is_busy(CompilingAhead(CONFIG))


@pytest.mark.parametrize("train", [{"compile": False}, {"backend": "torch"}], ids=str)
@pytest.mark.usefixtures("home")
def test_without_compilation_no_process_starts(train: dict) -> None:
    assert not is_busy(CompilingAhead(replace(CONFIG, train=replace(CONFIG.train, **train))))


@compiles
@pytest.mark.usefixtures("home")
def test_a_process_that_fails_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "PARTS", ("neither",))
    monkeypatch.setenv("MLX_TINY_LANES", "nonsense")
    ahead = CompilingAhead(CONFIG)
    ahead.wait()
    assert not is_busy(ahead)
