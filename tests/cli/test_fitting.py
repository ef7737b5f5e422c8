"""A run that does not fit in memory is refused before it begins, and its peak is told before and after."""

from __future__ import annotations

import itertools
import json
import re
import resource
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study.planted import LAW

from mlx_tiny.cli.fitting import expected_memory, require_memory
from mlx_tiny.cli.train_command import _planned
from mlx_tiny.config import DataConfig, RunConfig
from mlx_tiny.config.presets import preset_called
from mlx_tiny.data.generated import StoriesSource
from mlx_tiny.errors import TinyError
from mlx_tiny.machine import memory
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.study.plan import choose, sparing
from mlx_tiny.tools.processes import environment
from mlx_tiny.training.budget import Budget
from mlx_tiny.training.memory import estimate, fitting_micro_batches
from mlx_tiny.units import format_bytes

from .command_line import FEW_PAUSES, MODULE, TINY, call, succeeded


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_a_limit_of_address_space_is_an_error_and_no_crash(kind: int) -> None:
    done = subprocess.run(
        [*MODULE, "train", "--preset", "portable-large", "--data", "notes.txt", "--run", "run"],
        preexec_fn=lambda: resource.setrlimit(kind, (3 << 30, 3 << 30)),
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 1 and "ulimit" in done.stderr and "--micro-batches" in done.stderr
    assert "Traceback" not in done.stderr and not Path("run").exists()


@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_in_which_no_library_can_be_loaded_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(kind: int) -> tuple[int, int]:
        most = 100 << 20 if kind == getattr(resource, name) else resource.RLIM_INFINITY
        return most, most

    monkeypatch.setattr(resource, "getrlimit", limits)
    finished = call("info")
    assert finished.code == 1 and "ulimit" in finished.err and not finished.out


def test_the_remedy_is_accepted_although_less_memory_is_left_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_parts(count: int) -> RunConfig:
        config = preset_called("portable-base").config()
        return replace(config, train=replace(config.train, micro_batches=count))

    most = estimate(in_parts(2)).bytes
    monkeypatch.setattr(memory, "limit", lambda: memory.Limit(most, "planted"))
    with pytest.raises(TinyError) as refused:
        require_memory(in_parts(1))
    found = re.search(r"--micro-batches (\d+)", str(refused.value))
    assert found is not None
    monkeypatch.setattr(memory, "limit", lambda: memory.Limit(most - 33_000_000, "planted"))
    require_memory(in_parts(int(found[1])))


def test_the_micro_batches_of_the_remedy_fit() -> None:
    config = preset_called("portable-medium").config()
    count = fitting_micro_batches(config, 2e9)
    assert count is not None and config.train.batch_size % count == 0
    assert fitting_micro_batches(config, 1e8) is None


@pytest.fixture
def law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_tiny.study.plan.law_for", lambda *_: LAW)


@pytest.mark.usefixtures("law")
def test_auto_takes_no_preset_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    room = estimate(preset_called("small").config()).bytes
    monkeypatch.setattr("mlx_tiny.study.plan.little_bytes", lambda: room)
    monkeypatch.setattr("mlx_tiny.study.plan.fitting_micro_batches", lambda *_: None)
    choice = choose("auto", Budget("1000Mtok"))
    assert choice.preset.size.name == "small" and "would take too much" in choice.reason
    monkeypatch.setattr("mlx_tiny.study.plan.little_bytes", lambda: 0)
    monkeypatch.setattr("mlx_tiny.study.speed.measured_tokens_per_s", lambda *_: pytest.fail("measured in no memory"))
    assert choose("auto", Budget("5m")).preset.size.name == "tiny"


@pytest.mark.usefixtures("law")
@pytest.mark.parametrize("metal", [False, True], ids=["cpu", "metal"])
@pytest.mark.parametrize("gigaflops_per_s", [1, 100, 1000, 100_000])
def test_five_minutes_on_a_machine_of_8_gigabytes_take_less_than_one(
    gigaflops_per_s: float, metal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("machine.memory", "machine.buffers"):
        monkeypatch.setattr(f"mlx_tiny.{place}.memory_bytes", lambda: 8 << 30)
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    for place in ("model.memory", "training.memory"):
        monkeypatch.setattr(f"mlx_tiny.{place}.on_cpu", lambda: not metal)
        if metal:
            monkeypatch.setattr(f"mlx_tiny.{place}.lanes", lambda: (None,))
    monkeypatch.setattr(
        "mlx_tiny.study.speed.measured_tokens_per_s",
        lambda config, _: 1e9 * gigaflops_per_s / training_flops_per_token(config.model),
    )
    preset = choose("auto", Budget("5m")).preset
    config = sparing(preset.config())
    assert config is not None and 1e8 < estimate(config).bytes < 1e9
    # What fits anyway is trained as it is on a machine with more memory.
    assert (config == preset.config()) == (preset.size.name in {"tiny", "3x96", "mini", "small"})


@pytest.mark.usefixtures("law")
def test_auto_computes_a_batch_in_parts_where_that_takes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0.7 * estimate(preset_called("portable-base").config()).bytes
    monkeypatch.setattr("mlx_tiny.study.plan.little_bytes", lambda: most)
    asked: dict[str, dict[str, Any]] = {
        "data": {},
        "model": {},
        "optimizer": {},
        "train": {"budget": "1000Mtok", "preset": "portable"},
    }
    config, reason = _planned(asked, StoriesSource(DataConfig()))
    assert config.train.preset == "portable-base" and config.train.micro_batches > 1 and estimate(config).bytes <= most
    assert f"--micro-batches {config.train.micro_batches}" in reason
    asked["train"]["micro_batches"] = 1
    assert _planned(asked, StoriesSource(DataConfig()))[0].train.preset == "portable-small"


def test_the_peak_is_told_before_and_after_and_little_free_memory_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: -(1 << 40))
    done = succeeded(call("train", "--data", "notes.txt", *TINY, *FEW_PAUSES, "--budget", "500tok", "--run", "run"))
    report = json.loads(Path("run/report.json").read_text())
    expected = report["expected_memory_bytes"]
    (line,) = [line for line in done.err.splitlines() if line.startswith("machine: ")]
    assert expected > 1e8 and format_bytes(expected) in line
    assert done.results()["expected_memory"] == format_bytes(expected)
    assert "are free now" in done.err and "--batch-size" in done.err


@pytest.mark.parametrize("so_far", [1, 10**12], ids=["training is the peak", "preparation was the peak"])
def test_the_parts_of_the_memory_add_up(so_far: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_tiny.tools.processes.peak_memory_bytes", lambda: so_far)
    config = preset_called("mini").config()
    total = estimate(config).bytes
    monkeypatch.setattr(memory, "free_bytes", lambda: -(1 << 50))
    expected, told, (warning,) = expected_memory(config, 0)
    whole, _, parts = warning.partition(")")[0].partition(" (")
    sizes = [float(number) * 1e6 for number in re.findall(r"([0-9.]+) MB", parts)]
    assert sum(sizes) == pytest.approx(total, rel=0.005) and format_bytes(total) in whole
    assert expected == max(total, so_far) and format_bytes(expected) in told


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
