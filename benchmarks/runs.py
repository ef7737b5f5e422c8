"""One training run of either side, in a process of its own, and the record that it leaves."""

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

from benchmarks.pairs import OURS, Run
from mlx_tiny.errors import TinyError
from mlx_tiny.files import read_json
from mlx_tiny.machine.description import commit
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
"""What both sides report, under the same names."""


@dataclass(frozen=True)
class Study:
    """What all runs of a study share."""

    data: str
    validation: str | None
    budget: str
    ours: str
    """Further options of `mlx-tiny train`."""
    baseline: str
    """Further options of the baseline."""
    torch_python: str
    """Interpreter that has PyTorch."""

    def settings(self) -> dict[str, Any]:
        """What decides the results; of files only their names, for a record has no business with folders."""
        return {
            "data": Path(self.data).name,
            "validation": self.validation and Path(self.validation).name,
            "budget": self.budget,
            "ours": self.ours,
            "baseline": self.baseline,
        }

    def command(self, side: str, seed: int, folder: Path) -> list[str]:
        """The command of one run, which leaves its record in `folder`."""
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
        record = read_ours(folder / "run") if side == OURS else read_baseline(folder / "record.json")
    about = {"seed": seed, "side": side, "started": started, "commit": commit(), "cores_used_by_others": others}
    return {**about, **record}


def read_ours(folder: Path) -> Run:
    """The record of a run folder of `mlx-tiny train`.

    Raises:
        TinyError: no report, or one of a run that was interrupted.
    """
    report = read_json(folder / "report.json", "report of the run")
    if report.get("interrupted"):
        raise TinyError("The run was interrupted", remedy="Start the study again; finished runs are kept")
    settings = report.get("config", {})
    for key in ("source", "validation"):
        if settings.get("data", {}).get(key):
            settings["data"][key] = Path(settings["data"][key]).name
    return {**_measures(report), "settings": settings, **_kept(report, "machine", "samples")}


def read_baseline(path: Path) -> Run:
    """The record that `benchmarks.gpt2_baseline --json` wrote."""
    record = read_json(path, "record of the baseline")
    return {**_measures(record), **_kept(record, "settings", "machine", "samples")}


def _kept(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: record.get(key) for key in keys}


def _measures(record: dict[str, Any]) -> dict[str, Any]:
    missing = [key for key in MEASURES if key not in record]
    if missing:
        raise TinyError("A run's record is incomplete", expected=", ".join(MEASURES), got=f"no {missing[0]}")
    return {key: record[key] for key in MEASURES}


def _cpu_seconds() -> tuple[float, float] | None:
    """Seconds that all processes, and this one with its finished children, used so far; None where unknown."""
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
    """Mean number of cores that neither this process nor its children kept busy since `before`."""
    now = _cpu_seconds()
    if before is None or now is None:
        return None
    return round(max(0.0, (now[0] - before[0]) - (now[1] - before[1])) / wall_s, 3)
