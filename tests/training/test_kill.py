"""A run that is killed again and again, at any moment of its life, ends bit for bit as one that nobody disturbed.

A life is `mlx-tiny train`, or `--resume` once there is a run; the first ones also prepare the data and learn the
tokenizer. Two runs of the same text share a cache, side by side. `./scripts/test_kills COUNT` kills more often, also
while kernels are compiled.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kill_driver
import pytest
from kill_driver import NOW, PHASES, START
from tiny_run import assert_same_runs, story, subprocess_environment

from mlx_tiny.data.documents import SEPARATOR
from mlx_tiny.linux import kernels
from mlx_tiny.training.checkpoint import RunFolder

KILLS = int(os.environ.get("MLX_TINY_TEST_KILLS", "6"))
SEED = os.environ.get("MLX_TINY_TEST_SEED", "0")
OF_A_RUN = min(8, KILLS // 2 + 1)
MOST_CHANGES, MOST_TIMES = 12, 12
WITH_COMPILER = os.environ["PATH"]
"""Before the tests put their own g++ there, which keeps what it made."""
MOST_WARNED_S, PATIENCE_S = 0.3, 20.0

SMALL = (
    *("--preset", "tiny", "--vocabulary-size", "400", "--context", "32", "--batch-size", "4", "--width", "32"),
    *("--budget", "8ktok", "--evaluations", "8", "--evaluation-tokens", "512", "--checkpoints", "16", "--samples", "0"),
)
VARIANTS = {
    "plain": ("--no-compile", "--data", "text.txt"),
    "clipped": ("--no-compile", "--data", "text.txt", "--clip-norm", "0.3", "--micro-batches", "2"),
    "mixture": ("--no-compile", "--data", "text.txt", "--data", "other.txt", "--data-seed", "3"),
    "from another run": ("--no-compile", "--data", "other.txt", "--from", "whole plain/run"),
    "first start": ("--compile", "--data", "text.txt"),
}
"""Flags of runs that are different in what their lives do."""
CLOCKED = {
    *("seconds", "tokens_per_s", "training_flops_per_s", "peak_flops_per_s", "utilisation", "peak_memory_bytes"),
    *("phases_s", "machine", "state_at_start", "seal", "date", "command", "wall_s"),
}
"""Fields of a report that depend on the clock and on the state of the machine."""


@dataclass
class Run:
    """A run that lives and dies in a folder of texts, with a cache that may be that of other runs too."""

    path: Path
    home: Path
    variant: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """How long each phase took, each time."""

    def live(
        self, word: str = "", times: int = 0, changes: int = 0, delay_s: float = 0.0, warned_s: float = 0.0
    ) -> str:
        """One life, in peace without a `word`, else as `kill_driver.py` says; returns the phase in which it was killed.

        Args:
            delay_s: how long after the driver says "now" it is killed.
            warned_s: how long before that it is asked to end, so that it saves and reports; 0 for never.
        """
        moments, before = [(START, time.monotonic())], self.last_step()
        with self._begin(word, times, changes) as life:
            assert life.stdout is not None
            for line in life.stdout:
                if line.strip() == NOW:
                    time.sleep(delay_s)
                    if warned_s:
                        life.terminate()
                        time.sleep(warned_s)
                    life.kill()
                else:
                    moments.append((line.strip(), time.monotonic()))
        allowed = {0, *([-signal.SIGKILL] if word else []), *([-signal.SIGTERM, 128 + signal.SIGTERM] * (warned_s > 0))}
        assert life.returncode in allowed, (life.returncode, self.log.read_text(errors="replace")[-3000:])
        self._assert_nothing_lives_on()
        assert self.last_step() >= before
        for (phase, began), (_, ended) in itertools.pairwise([*moments, ("", time.monotonic())]):
            self.seconds.setdefault(phase, []).append(ended - began)
        return moments[-1][0] if life.returncode == -signal.SIGKILL else ""

    def last_step(self) -> int:
        return RunFolder(self.path).last_step() or 0 if self.path.exists() else 0

    @property
    def log(self) -> Path:
        return self.path.with_suffix(".log")

    def _begin(self, word: str, times: int, changes: int) -> subprocess.Popen[str]:
        new = (*SMALL, *VARIANTS[self.variant], "--run", self.path)
        driver = [sys.executable, kill_driver.__file__, word, times, changes]
        command = [*driver, "train", *(("--resume", self.path) if self.path.exists() else new)]
        # One lane and one BLAS thread, because two runs share the cores.
        changed = {"PATH": WITH_COMPILER} if self.variant == "first start" else {}
        changed |= {"MLX_TINY_LANES": "1", "OPENBLAS_NUM_THREADS": "1", "MLX_TINY_HOME": str(self.home)}
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [str(word) for word in command],
                cwd=self._texts,
                env=subprocess_environment(**changed, MLX_TINY_TEST_LIFE=str(self.path)),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def _texts(self) -> Path:
        return self.path.parents[1]

    def _assert_nothing_lives_on(self) -> None:
        """Check that what a life has started, such as compilers, ends with it."""
        deadline = time.monotonic() + PATIENCE_S
        while found := self._processes():
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def _processes(self) -> list[bytes]:
        """The commands of all processes that have begun in a life of this run, where the system shows them."""
        mark, found = f"MLX_TINY_TEST_LIFE={self.path}\0".encode(), []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes())
        return found


class Lives:
    """A folder with texts, in which runs live and die; each cache begins with what others have left there."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._whole = folder, dict[str, Run]()
        for name, numbers in (("text.txt", range(250)), ("other.txt", range(1000, 1120))):
            (folder / name).write_text(f"\n{SEPARATOR}\n".join(map(story, numbers)), encoding="utf-8")
        self._others = folder / "others"
        prepared = self._others / "prepared" / "of-another-text"
        prepared.mkdir(parents=True)
        (prepared / "train.bin").write_bytes(b"\1\2" * 1000)
        (self._others / "history").write_text("one prompt\n")

    def kill(self, number: int) -> Counter[str]:
        """Kill two runs that share a cache, let them end, and compare; returns the phases in which they were killed."""
        variant = list(VARIANTS)[number % len(VARIANTS)]
        whole, folder = self._whole_run(variant), self._folder / f"round {number}"
        home = self._home(folder)
        if variant != "first start" and (whole.home / "cpu_kernels").exists():
            shutil.copytree(whole.home / "cpu_kernels", home / "cpu_kernels")

        def kill_one(name: str) -> Counter[str]:
            run, chance = Run(folder / name, home, variant), random.Random(f"{SEED} {number} {name}")
            deaths = Counter(run.live(*one_end(word, whole, chance)) for word in words_of(variant, chance))
            run.live()
            return deaths

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(kill_one, ("first", "second"))
        for name in ("first", "second"):
            assert_same(whole, Run(folder / name, home, variant))
        self._assert_others_are_whole(home)
        assert [str(path) for path in folder.rglob(".*")] == []
        shutil.rmtree(folder)
        return first + second

    def _whole_run(self, variant: str) -> Run:
        """A run that nobody disturbs, in a cache of its own."""
        if variant not in self._whole:
            folder = self._folder / f"whole {variant}"
            self._whole[variant] = run = Run(folder / "run", self._home(folder), variant)
            run.live()
        return self._whole[variant]

    def _home(self, folder: Path) -> Path:
        return Path(shutil.copytree(self._others, folder / "home"))

    def _assert_others_are_whole(self, home: Path) -> None:
        others = contents(self._others)
        assert {name: (home / name).read_bytes() for name in others} == others
        for kept in home.glob("cpu_kernels/*/*"):
            if not kept.parent.suffix:  # of a set, and not of notes or of the operations in C++
                assert kernels._name_of_set(kernels.files_of(kept)) == kept.name


def words_of(variant: str, chance: random.Random) -> list[str]:
    """Phases in the order of a life, one from each part of it; at a first start, compilation instead of the first."""
    words = list(PHASES)
    found = [words[int(len(words) * (part + chance.random()) / OF_A_RUN)] for part in range(OF_A_RUN)]
    return [*["compiling"] * (OF_A_RUN // 2), *found[OF_A_RUN // 2 :]] if variant == "first start" else found


def one_end(word: str, whole: Run, chance: random.Random) -> tuple[str, int, int, float, float]:
    """How to kill a life from the phase `word` on: at a moment, perhaps after SIGTERM, or before a change to a file."""
    lengths = whole.seconds.get(word, [0.0])  # a run from another one learns no tokenizer
    times = chance.randint(1, min(len(lengths), MOST_TIMES))
    if chance.random() < 0.5:
        return word, times, chance.randint(1, MOST_CHANGES), 0.0, 0.0
    warned_s = chance.uniform(0, MOST_WARNED_S) if chance.random() < 0.3 else 0.0
    return word, times, 0, chance.uniform(0, lengths[times - 1]), warned_s


def assert_same(whole: Run, killed: Run) -> None:
    assert_same_runs(RunFolder(whole.path), RunFolder(killed.path))
    assert numbers(killed) == numbers(whole)
    for name in ("config.json", "tokenizer.model", "weights.safetensors"):
        assert (killed.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert names(killed.path) == names(whole.path)
    assert contents(killed.home / "prepared") == contents(whole.home / "prepared")


def numbers(run: Run) -> dict[str, Any]:
    """The report without what depends on the clock."""
    report = json.loads((run.path / "report.json").read_text())
    return {name: value for name, value in report.items() if name not in CLOCKED}


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder) if (folder / name).is_file()}


@pytest.mark.slow
def test_kills_change_nothing(tmp_path: Path) -> None:
    lives, deaths = Lives(tmp_path), Counter[str]()
    for rounds in itertools.count():
        deaths.update(lives.kill(rounds))
        killed = sum(deaths.values()) - deaths[""]
        found = ", ".join(f"{word} {deaths[word]}" for word in PHASES)
        print(f"\n{killed} kills in {rounds + 1} rounds: {found}; ended before the kill: {deaths['']}", flush=True)
        if killed >= KILLS:
            break
