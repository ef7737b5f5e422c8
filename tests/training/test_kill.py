"""A run that is killed again and again, at any moment, ends bit for bit as one that nobody disturbed.

Once at each kind of moment; `./scripts/test_kills COUNT` kills more often.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tiny_run import STEP_TOKENS, assert_same_runs, subprocess_environment, tiny_config

from mlx_tiny.records import to_plain
from mlx_tiny.training.checkpoint import RunFolder

DRIVER = Path(__file__).parent / "kill_driver.py"
# What to wait for before the kill, and how long after it the kill comes at most, in seconds.
MOMENTS = [
    (None, 0.2),
    ("trainer", 0.1),
    ("rewinding", 0.005),
    ("step", 0.003),
    ("saving", 0.004),
    ("evaluating", 0.003),
]
KILLS = int(os.environ.get("MLX_TINY_TEST_KILLS", len(MOMENTS) // 2))  # of each of two runs side by side
STEPS = 40 * KILLS

RUNS: dict[str, dict[str, Any]] = {
    "plain": {"checkpoints": 30, "evaluations": 10},
    "clipped": {"checkpoints": 24, "evaluations": 12, "optimizer": {"clip_norm": 0.3}, "micro_batches": 2},
}


class Lives:
    """All sessions of one run, in a folder and cache of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.chance = folder, random.Random(name)
        self.config = folder / "config.json"
        settings = tiny_config(folder, budget=f"{STEPS * STEP_TOKENS}tok", evaluation_tokens=2048, **RUNS[name])
        self.config.write_text(json.dumps(to_plain(settings)))
        self.last_words: Counter[str] = Counter()

    def start(self, run: Path) -> subprocess.Popen:
        # One lane and one BLAS thread, because the two runs share the cores.
        threads = {"MLX_TINY_LANES": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment = subprocess_environment(**threads, MLX_TINY_HOME=str(self.folder / "home"))
        with open(self.folder / "errors.txt", "ab") as errors:
            command = [sys.executable, str(DRIVER), str(self.config), str(run)]
            return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)

    def live_and_die(self, run: Path, awaited: str | None, delay_s: float) -> None:
        with self.start(run) as life:
            if awaited is not None:
                for _ in range(self.chance.randint(1, 3) if awaited not in ("trainer", "rewinding") else 1):
                    self.wait_for(life, awaited)
            time.sleep(self.chance.uniform(0, delay_s))
            life.kill()
            rest = life.stdout.read().split()
        self.last_words[rest[-1] if rest else awaited or "nothing"] += 1

    def wait_for(self, life: subprocess.Popen, word: str) -> None:
        for line in life.stdout:
            if line.strip() == word:
                return
        raise AssertionError(f"the life ended by itself: {life.wait()}, {(self.folder / 'errors.txt').read_text()}")

    def live_to_the_end(self, run: Path) -> RunFolder:
        with self.start(run) as life:
            words = life.stdout.read().split()
        assert words[-1:] == ["finished"], (self.folder / "errors.txt").read_text()
        return RunFolder(run)


def kill_and_compare(folder: Path, name: str) -> Counter[str]:
    folder.mkdir()
    lives = Lives(folder, name)
    for number in range(KILLS):
        # The second run begins with the second half of the moments.
        moment = number + len(MOMENTS) // 2 * list(RUNS).index(name)
        lives.live_and_die(folder / "killed", *MOMENTS[moment % len(MOMENTS)])
    assert not RunFolder(folder / "killed").weights.exists(), "it ended before the last kill"
    killed, whole = lives.live_to_the_end(folder / "killed"), lives.live_to_the_end(folder / "whole")
    assert whole.load_checkpoint("last")[1].step == STEPS
    assert_same_runs(whole, killed)
    assert not [path for path in killed.path.rglob(".*")]
    return lives.last_words


@pytest.mark.slow
def test_kills_change_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(RUNS)) as pool:
        futures = [pool.submit(kill_and_compare, tmp_path / name, name) for name in RUNS]
        last_words = sum((future.result() for future in futures), start=Counter())
    assert sum(last_words.values()) == 2 * KILLS
    # The moments that matter were met: at the start, between steps, within a save or an evaluation.
    early = ("nothing", "begun", "trainer", "rewinding")
    for words in (early, ("step", "done"), ("saving", "evaluating")):
        assert any(last_words[word] for word in words), last_words
