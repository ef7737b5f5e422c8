"""A run small enough for tests: text, configuration, folder, and a listener that records."""

from __future__ import annotations

import functools
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.records import EvaluationRecord, StepRecord, TextOfRun, to_plain
from mlx_tiny.tools.signals import Interruption
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.outcome import Outcome
from mlx_tiny.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
VOCABULARY, CONTEXT, BATCH = 512, 32, 4
STEP_TOKENS = BATCH * CONTEXT

MODEL = ModelConfig(
    vocabulary_size=VOCABULARY,
    context=CONTEXT,
    layers=2,
    width=32,
    heads=2,
    key_value_heads=1,
    head_width=16,
    hidden=64,
)


# Fixed, so that tests of the loop do not depend on how well the defaults are tuned.
RATES = {"matrix_rate": 0.02, "embedding_rate": 0.01, "head_rate": 0.003, "scalar_rate": 0.01}


def subprocess_environment(**changes: str) -> dict[str, str]:
    """An environment in which a child process can import everything that this process can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), **changes}


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, which another process does; fail after 20 seconds."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@functools.cache
def story(number: int) -> str:
    """A few sentences that can be learned, different for each number."""
    chance = random.Random(number)
    names = ["Ann", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana"]
    things = ["ball", "boat", "cake", "cart", "drum", "fish", "frog", "hill", "kite", "lamp"]
    deeds = ["found", "lost", "washed", "painted", "dropped", "wanted", "followed"]
    lines = [f"{chance.choice(names)} {chance.choice(deeds)} the {chance.choice(things)}." for _ in range(8)]
    return f"Story {number}. {' '.join(lines)} The end."


def tiny_data(folder: Path) -> DataConfig:
    """Settings for a small text file in `folder`, which is written if it does not exist."""
    path = folder / "stories.txt"
    if not path.exists():
        path.write_text("\n<|endoftext|>\n".join(story(number) for number in range(400)), encoding="utf-8")
    return DataConfig(sources=(str(path),), held_out=0.1, vocabulary_size=VOCABULARY)


def tokens(steps: float) -> str:
    """The budget of so many steps."""
    return f"{round(steps * STEP_TOKENS)}tok"


def tiny_config(
    folder: Path,
    *,
    model: dict[str, Any] | None = None,
    optimizer: dict[str, Any] | None = None,
    schedule: dict[str, Any] | None = None,
    **train: Any,
) -> RunConfig:
    """A configuration for the text in `folder`: uncompiled, without samples, 40 steps by default."""
    defaults = {
        "budget": f"{40 * STEP_TOKENS}tok",
        "batch_size": BATCH,
        "compile": False,
        "evaluations": 2,
        "evaluation_tokens": 512,
        "checkpoints": 3,
        "samples": 0,
    }
    return RunConfig(
        data=tiny_data(folder),
        model=replace(MODEL, **(model or {})),
        optimizer=OptimizerConfig(**{**RATES, **(optimizer or {})}),
        schedule=ScheduleConfig(**(schedule or {})),
        train=TrainConfig(**{**defaults, **train}),
    )


def tiny_corpus(config: RunConfig) -> PreparedCorpus:
    """The prepared text of a configuration."""
    return prepare(config.data)


def create_run(path: Path, config: RunConfig) -> RunFolder:
    """A new run folder at `path`."""
    corpus = tiny_corpus(config)
    return RunFolder.create(
        path,
        config,
        TextOfRun(corpus.key, corpus.record.tokenizer_hash),
        corpus.tokenizer,
    )


class Recorder:
    """A listener that keeps everything it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.steps: list[StepRecord] = []
        self.evaluations: list[EvaluationRecord] = []
        self.samples: list[tuple[float, str]] = []
        self.waits: list[tuple[str, Callable[[], str]]] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def wait(self, what: str, detail: Callable[[], str] = str) -> None:
        self.waits.append((what, detail))

    def step(self, record: StepRecord) -> None:
        self.steps.append(record)

    def evaluation(self, record: EvaluationRecord) -> None:
        self.evaluations.append(record)

    def sample(self, fraction: float, text: str) -> None:
        self.samples.append((fraction, text))


def tiny_trainer(
    run: RunFolder,
    listener: Any = None,
    interruption: Interruption | None = None,
    *,
    budget: str | None = None,
    **kwargs: Any,
) -> Trainer:
    """A session of `run` on its own text, with another budget if given."""
    if budget is not None:
        run.config = replace(run.config, train=replace(run.config.train, budget=budget))
    return Trainer(run, prepare(run.config.data), listener or Recorder(), interruption or Interruption(), **kwargs)


def train_whole(path: Path, config: RunConfig) -> tuple[RunFolder, Outcome, Recorder]:
    """Create a run and train until its budget is spent."""
    run, recorder = create_run(path, config), Recorder()
    return run, tiny_trainer(run, recorder).train(), recorder


def bits(parameters: dict[str, mx.array]) -> dict[str, bytes]:
    return {name: np.array(array).tobytes() for name, array in parameters.items()}


def assert_same_runs(whole: RunFolder, broken: RunFolder) -> None:
    for name in ("last", "best"):
        (state, progress), (other, other_progress) = whole.load_checkpoint(name), broken.load_checkpoint(name)
        assert bits(state.parameters) == bits(other.parameters)
        assert bits(state.optimizer) == bits(other.optimizer)
        for key in ("step", "sequences", "tokens", "flops", "best_bits_per_byte", "losses"):
            assert getattr(progress, key) == getattr(other_progress, key)
    assert bits(whole.load_weights()) == bits(broken.load_weights())
    assert timeless(whole) == timeless(broken)


def timeless(run: RunFolder) -> list[dict]:
    """Metrics without the fields that depend on the clock."""
    clocked = ("seconds", "tokens_per_s")
    records = map(to_plain, run.metrics.read())
    return [{key: value for key, value in record.items() if key not in clocked} for record in records]
