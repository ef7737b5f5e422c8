"""Runs one side in a process of its own, and reads the record that it writes."""

from __future__ import annotations

import datetime
import os
import resource
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pairs import OURS, Asked, Run
from mlx_tiny.errors import TinyError
from mlx_tiny.machine.description import Machine
from mlx_tiny.records import Record, read, read_sealed, to_plain
from mlx_tiny.report.record import Report
from mlx_tiny.tools.processes import run

MEASURES = (
    "bits_per_byte",
    "perplexity_per_token",
    "steps",
    "tokens",
    "tokens_per_s",
    "seconds",
    "parameters",
    "peak_memory_bytes",
)
"""Fields that both sides report under the same names."""


@dataclass(frozen=True)
class BaselineReport(Record):
    """What `benchmarks.gpt2_baseline --json` writes."""

    kind = "baseline"
    version = 1

    bits_per_byte: float
    perplexity_per_token: float
    training_loss_nats: float
    """Mean per token over the last steps."""
    steps: int
    tokens: int
    tokens_per_s: float
    seconds: float
    evaluation_s: float
    parameters: int
    peak_memory_bytes: int
    validation_tokens: int
    validation_bytes: int
    corpus: str
    settings: dict[str, Any]
    machine: Machine
    samples: list[str]


@dataclass(frozen=True)
class Study:
    """The settings of all runs of a study."""

    data: str
    validation: str | None
    budget: str
    ours: str
    baseline: str
    torch_python: str
    """Python interpreter with PyTorch."""

    def asked(self) -> Asked:
        """The settings that decide the results, without folders."""
        validation = self.validation and Path(self.validation).name
        return Asked(Path(self.data).name, validation, self.budget, self.ours, self.baseline)

    def command(self, side: str, seed: int, folder: Path) -> list[str]:
        """The command of one run, which writes its record to `folder`."""
        common = ["--data", self.data, "--budget", self.budget, "--seed", str(seed)]
        if self.validation:
            common += ["--validation", self.validation]
        if side == OURS:
            options = [*common, "--run", str(folder / "run"), *shlex.split(self.ours)]
            return [sys.executable, "-m", "mlx_tiny", "train", *options]
        options = [*common, "--json", str(folder / "record.json"), *shlex.split(self.baseline)]
        return [self.torch_python, "-m", "benchmarks.gpt2_baseline", *options]


def perform(study: Study, side: str, seed: int) -> Run:
    """Run one side once and return its record.

    Raises:
        TinyError: the run failed; the message ends with the last lines of its output.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        before, wall_before = _cpu_seconds(), time.monotonic()
        run(study.command(side, seed, folder), folder / "output.txt", f"The run of {side} with seed {seed}")
        others = _cores_used_by_others(before, time.monotonic() - wall_before)
        fields = read_ours(folder / "run") if side == OURS else read_baseline(folder / "record.json")
    return Run(seed=seed, side=side, started=started, cores_used_by_others=others, **fields)


def read_ours(folder: Path) -> dict[str, Any]:
    """Fields of `Run` from a folder of `mlx-tiny train`.

    Raises:
        TinyError: no report, a damaged one, or one of a run that was interrupted.
    """
    report = read_sealed(folder / "report.json", Report, "report of the run")
    if report.interrupted:
        raise TinyError("The run was interrupted", remedy="Start the study again; finished runs are kept")
    settings = to_plain(report.config)
    data = settings["data"]
    data["sources"] = [Path(source).name for source in data["sources"]]
    data["validation"] = data["validation"] and Path(data["validation"]).name
    return {**_common(report), "settings": settings}


def read_baseline(path: Path) -> dict[str, Any]:
    """Fields of `Run` from the file of `benchmarks.gpt2_baseline --json`."""
    report = read(path, BaselineReport, "record of the baseline")
    return {**_common(report), "settings": report.settings}


def _common(report: Report | BaselineReport) -> dict[str, Any]:
    return {field: getattr(report, field) for field in (*MEASURES, "machine", "samples")}


def _cpu_seconds() -> tuple[float, float] | None:
    """CPU seconds so far of all processes, and of this process with its finished children; None where unknown."""
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    # proc(5): user nice system idle iowait irq softirq steal; guest time is part of user.
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, first[1:9])
    busy = (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return busy, sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _cores_used_by_others(before: tuple[float, float] | None, wall_s: float) -> float | None:
    """Mean number of cores that processes other than this one and its children used since `before`."""
    now = _cpu_seconds()
    if before is None or now is None:
        return None
    return round(max(0.0, (now[0] - before[0]) - (now[1] - before[1])) / wall_s, 3)
