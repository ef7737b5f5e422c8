"""A life of a run, to be killed at any moment: `kill_driver.py CONFIG.json RUN`.

It prepares the data, creates or resumes the run, and says on its output what it is about to do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tiny_run import Recorder, create_run, tiny_trainer

from mlx_tiny.config import RunConfig
from mlx_tiny.records import from_plain
from mlx_tiny.training import backend
from mlx_tiny.training.checkpoint import RunFolder


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def announced(owner: Any, method: str, word: str) -> None:
    """Print `word` before each call of the method, and "done" after it."""
    inner = getattr(owner, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        say(word)
        result = inner(*args, **kwargs)
        say("done")
        return result

    setattr(owner, method, call)


class Speaker(Recorder):
    def step(self, report: Any) -> None:
        say("step")


def live(config_path: Path, run_path: Path) -> None:
    for owner, method, word in (
        (RunFolder, "save_checkpoint", "saving"),
        (RunFolder, "rewind_metrics", "rewinding"),
        (backend, "evaluate", "evaluating"),
    ):
        announced(owner, method, word)
    say("begun")
    config = from_plain(RunConfig, json.loads(config_path.read_text()))
    run = RunFolder(run_path) if run_path.exists() else create_run(run_path, config)
    say("trainer")
    tiny_trainer(run, Speaker(), resume=True).train()
    say("finished")


if __name__ == "__main__":
    live(Path(sys.argv[1]), Path(sys.argv[2]))
