"""How many tokens per second a configuration is trained on here: measured on steps of a run, or estimated from such.

What was measured undisturbed is kept below the cache, so that the next run of such a size need not measure again.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.files import cache_home, hash_text, make_folder
from mlx_tiny.linux.lanes import prepare
from mlx_tiny.linux.warmup import CompilingAhead, key
from mlx_tiny.machine.description import commit
from mlx_tiny.machine.hardware import chip
from mlx_tiny.machine.load import OtherPrograms, is_busy
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.ops.operation import here
from mlx_tiny.records import Record, read, write
from mlx_tiny.training.backend import Backend, MlxBackend
from mlx_tiny.training.pauses import estimated_s

_MEASURED_SECONDS = 0.7
# A GPU is kept busy as in a run, by steps that are started together; slow steps are waited for one by one.
_TOGETHER_S, _MOST_TOGETHER = 0.1, 8


def measured_tokens_per_s(config: RunConfig, make_backend: Callable[[RunConfig], Backend] = MlxBackend) -> float:
    """Tokens per second of training steps as a run would take them; the seconds that it takes to compile do not count.

    Raises:
        TinyError: one of the errors of the backend.
    """
    with contextlib.closing(CompilingAhead(config)) as ahead:
        ahead.wait()
    backend = make_backend(config)
    state = backend.initial_state()
    shape = (config.train.batch_size, config.model.context + 1)
    batch = np.random.default_rng(0).integers(0, config.model.vocabulary_size, shape, dtype=np.int32)

    def seconds(steps: int) -> float:
        """Of a step, on the average of so many that are started together; rates of 0 leave the weights as they are."""
        nonlocal state
        before = time.monotonic()
        for _ in range(steps):
            state, loss = backend.step(state, batch, 0.0, 0.0)
            backend.start(state, loss)
        backend.wait(state, loss)
        return (time.monotonic() - before) / steps

    seconds(1)  # compiles
    together = max(1, min(_MOST_TOGETHER, int(_TOGETHER_S / seconds(1))))

    durations: list[float] = []
    started = time.monotonic()
    while not durations or time.monotonic() - started < _MEASURED_SECONDS:
        durations.append(seconds(together))
    # The median, because other programs that slow these steps down will do the same to those of the run.
    return config.train.batch_size * config.model.context / statistics.median(durations)


def pauses_s(config: RunConfig, tokens_per_s: float) -> float:
    """Seconds, about, in which a run evaluates and writes samples instead of taking steps, if it leaves none out.

    Args:
        tokens_per_s: of training.
    """
    each = estimated_s(config.train, 1 / tokens_per_s)
    return (config.train.evaluations - 1) * each["evaluation"] + config.train.samples * each["samples"]


@dataclass(frozen=True)
class KeptSpeeds(Record):
    """Tokens per second by what they depend on: the model, its step, the machine, and the versions of the code."""

    kind = "speeds"
    version = 1

    tokens_per_s: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def load() -> KeptSpeeds:
        """Those of this user; none where the file is missing, damaged, or from another version."""
        with contextlib.suppress(TinyError):
            return read(_file(), KeptSpeeds, "speeds of this machine")
        return KeptSpeeds()

    def keep(self, name: str, tokens_per_s: float) -> None:
        """Write the file with one more; where that cannot be done, the next run measures again."""
        with contextlib.suppress(TinyError, OSError):
            make_folder(cache_home())
            write(_file(), KeptSpeeds({**self.tokens_per_s, name: tokens_per_s}))


def _file() -> Path:
    return cache_home() / "speeds.json"


def _name_of(config: RunConfig, make_backend: Callable[[RunConfig], Backend]) -> str:
    """What the speed of a configuration depends on, as a short text."""
    machine = chip(), here(), prepare().name
    return hash_text(key(config, "speed"), config.train.compile, make_backend, *machine, commit(), version("mlx"))[:32]


class _Measured(NamedTuple):
    flops_per_token: float
    s_per_token: float


class Speeds:
    """Tokens per second of several configurations on this machine.

    Args:
        make_backend: what trains them.
        anew: measure also what was measured before.
    """

    def __init__(self, make_backend: Callable[[RunConfig], Backend] = MlxBackend, *, anew: bool = False) -> None:
        self._make_backend, self._anew, self._known = make_backend, anew, dict[RunConfig, _Measured]()

    def measure(self, config: RunConfig) -> float:
        """The tokens per second of a configuration, measured once."""
        if config not in self._known:
            flops = training_flops_per_token(config.model)
            self._known[config] = _Measured(flops, 1 / self._kept_or_measured(config))
        return 1 / self._known[config].s_per_token

    def _kept_or_measured(self, config: RunConfig) -> float:
        """The tokens per second that were kept, or that are measured now, and kept if no other program disturbs."""
        name = _name_of(config, self._make_backend)
        kept = None if self._anew else KeptSpeeds.load().tokens_per_s.get(name)
        if kept is not None and kept > 0:
            return kept
        others = OtherPrograms()
        tokens_per_s = measured_tokens_per_s(config, self._make_backend)
        # Of code that changes without a commit, the next speed may be another.
        if not is_busy(others.cores()) and not (commit() or "").endswith("+changes"):
            KeptSpeeds.load().keep(name, tokens_per_s)
        return tokens_per_s

    def is_measured(self, config: RunConfig) -> bool:
        """Whether it was measured."""
        return config in self._known

    def tokens_per_s(self, config: RunConfig) -> float:
        """As measured, else by FLOPs: between two that were measured interpolated, and beyond them in proportion.

        At least one must have been measured.
        """
        if config in self._known:
            return 1 / self._known[config].s_per_token
        flops = training_flops_per_token(config.model)
        known = sorted(self._known.values())
        at = np.log([each.flops_per_token for each in known])
        log_s_per_flop = np.log([each.s_per_token / each.flops_per_token for each in known])
        return 1 / (flops * math.exp(float(np.interp(math.log(flops), at, log_s_per_flop))))
