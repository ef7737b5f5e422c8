"""A run that does not fit in memory is refused before it begins, and its peak is told before and after."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
from pathlib import Path

import pytest

from mlx_tiny.machine import memory
from mlx_tiny.study.plan import PRESETS, choose, fits_now
from mlx_tiny.tools.processes import environment
from mlx_tiny.training.budget import Budget
from mlx_tiny.training.memory import estimate, fitting_micro_batches
from mlx_tiny.units import format_bytes

from .command_line import FEW_PAUSES, MODULE, TINY, call, succeeded


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_a_limit_of_address_space_is_an_error_and_no_crash(kind: int) -> None:
    done = subprocess.run(
        [*MODULE, "train", "--preset", "large", "--data", "notes.txt", "--run", "run"],
        preexec_fn=lambda: resource.setrlimit(kind, (3 << 30, 3 << 30)),
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 1 and "ulimit" in done.stderr and "--micro-batches" in done.stderr
    assert "Traceback" not in done.stderr and not Path("run").exists()


def test_the_micro_batches_of_the_remedy_fit() -> None:
    config = PRESETS["medium"].config()
    count = fitting_micro_batches(config, 1.5e9)
    assert count is not None and config.train.batch_size % count == 0
    assert fitting_micro_batches(config, 1e8) is None


def test_auto_takes_no_preset_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    room = estimate(PRESETS["small"].config()).bytes
    monkeypatch.setattr("mlx_tiny.study.plan.room_bytes", lambda: room)
    choice = choose("auto", Budget("1000Mtok"))
    assert choice.preset.name == "small" and "base does not fit" in choice.reason
    assert fits_now(PRESETS["small"]) and not fits_now(PRESETS["base"])
    monkeypatch.setattr("mlx_tiny.study.plan.room_bytes", lambda: 0)
    assert choose("auto", Budget("5m"), lambda: pytest.fail("measured in no memory")).preset.name == "tiny"


@pytest.mark.parametrize("gigaflops_per_s", [1, 10, 50, 100])
def test_five_minutes_on_a_small_machine_take_less_than_a_gigabyte(gigaflops_per_s: float) -> None:
    preset = choose("auto", Budget("5m"), lambda: 1e9 * gigaflops_per_s, lambda _: True).preset
    assert estimate(preset.config()).bytes < 1e9, preset.name


def test_the_peak_is_told_before_and_after_and_little_free_memory_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: -(1 << 40))
    done = succeeded(call("train", "--data", "notes.txt", *TINY, *FEW_PAUSES, "--budget", "500tok", "--run", "run"))
    report = json.loads(Path("run/report.json").read_text())
    expected = report["expected_memory_bytes"]
    assert expected > 1e8 and f"memory: about {format_bytes(expected)} expected" in done.err
    assert done.results()["expected_memory"] == format_bytes(expected)
    assert "warning: only" in done.err and "--batch-size" in done.err


def test_a_run_that_does_not_fit_any_more_after_preparation_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = itertools.chain([1 << 40], itertools.repeat(1 << 20))
    monkeypatch.setattr(memory, "memory_bytes", lambda: next(sizes))
    done = call("train", "--data", "notes.txt", *TINY, "--budget", "500tok", "--run", "run")
    assert done.code == 1 and "does not fit in the memory" in done.err and "for training" in done.err
    assert not Path("run").exists()


@pytest.mark.parametrize("command", [("generate",), ("eval", "notes.txt"), ("score", "notes.txt")])
def test_a_model_that_does_not_fit_is_not_loaded(
    command: tuple[str, ...], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1 << 20)
    name, *rest = command
    done = call(name, trained, *rest)
    assert done.code == 1 and "does not fit in the memory" in done.err and done.out == ""
