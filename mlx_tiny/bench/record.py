"""What a benchmark leaves: one result per implementation, and the file that holds them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from mlx_tiny.machine.description import Machine
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.machine.state import State, state
from mlx_tiny.records import Record
from mlx_tiny.tools.statistics import Spread

LEFT_OUT, FAILED, WRONG = "left out", "failed", "wrong"
_LONG_NAMES = {"step": "training step", "inference": "generation"}


@dataclass(frozen=True)
class Result:
    """One implementation of one thing: what was measured of it, or why nothing was."""

    benchmark: str
    """`kernels`, `step` or `inference`."""
    preset: str
    shape: str
    dtype: str
    implementation: str
    operation: str | None = None
    direction: str | None = None
    part: str | None = None
    """Of generation: `prompt` or `decode`."""
    description: str | None = None
    """What computes it, where its name does not say that."""
    compiled: bool | None = None
    outcome: str = "timed"
    """Or `left out`, `failed` or `wrong`."""
    reason: str | None = None
    """Why it has no time."""
    error: float | None = None
    """Its largest error, as a multiple of what is allowed; None where it was not checked, or is no number."""
    flops: float = 0.0
    """Model FLOPs of one computation."""
    executed_flops: float | None = None
    """What the implementation does for it, where that is known."""
    least_bytes: float | None = None
    """Each input read once and each output written once."""
    tokens: int | None = None
    launches: int | None = None
    """Of kernels on a GPU."""
    bound_s: float | None = None
    """The least time that the machine's peaks allow."""
    bound_by: str | None = None
    """`compute`, `memory` or `launch`."""
    time_s: Spread | None = None
    """Of one computation."""
    share_of_bound: float | None = None
    """The least time over the median."""
    tokens_per_s: float | None = None
    peak_memory_bytes: int | None = None
    speed_up: dict[str, Spread] = field(default_factory=dict)
    """How many times faster than another implementation, round by round."""
    state: State | None = None
    """Of the machine, when it was measured."""

    @property
    def title(self) -> str:
        """What is measured, without who measured it: "attention, forward, mini"."""
        words = [] if self.operation else [_LONG_NAMES[self.benchmark]]
        return ", ".join([*words, *filter(None, (self.operation, self.direction, self.part, self.preset))])

    @property
    def name(self) -> tuple[str, ...]:
        """What tells this result from all others of its file."""
        parts = (self.operation, self.direction, self.part, self.preset, self.shape, self.dtype, self.implementation)
        return (self.benchmark, *filter(None, parts))

    def without_time(self, outcome: str, reason: str) -> Result:
        """The same with the reason why there is no time."""
        return replace(self, outcome=outcome, reason=reason)

    def timed(self, time_s: Spread, speed_up: dict[str, Spread], peak_memory_bytes: int | None) -> Result:
        """The same with its time and what follows from it, in the state in which the machine is now."""
        return replace(
            self,
            time_s=time_s,
            share_of_bound=None if self.bound_s is None else self.bound_s / time_s.median,
            tokens_per_s=None if self.tokens is None else self.tokens / time_s.median,
            peak_memory_bytes=peak_memory_bytes,
            speed_up=speed_up,
            state=state(),
        )


@dataclass(frozen=True)
class Settings:
    """What was asked of `mlx-tiny bench`."""

    benchmarks: list[str]
    presets: list[str]
    operations: list[str] | None
    dtypes: list[str]
    changes: dict[str, dict[str, Any]]
    """By section of a run's configuration, what differs from the presets."""
    cores: list[int]
    prompt_tokens: int | None
    max_tokens: int | None
    seconds: float


@dataclass(frozen=True)
class Benchmarks(Record):
    """The file of `mlx-tiny bench --output`."""

    kind = "bench"
    version = 2

    created: str
    complete: bool
    """Whether the measurement had ended."""
    settings: Settings
    machine: Machine
    peaks: Peaks
    """What the results' shares are of."""
    peaks_after: Peaks | None
    """The same, measured again at the end."""
    warnings: list[str]
    results: list[Result]


@dataclass(frozen=True)
class Group:
    """One group of operations of a training step."""

    time_s: float
    share: float
    """Of the step's time."""
    alone_s: float | None = None
    """What it adds to a step of nothing but the embedding and the residual stream."""
    left_out_s: float | None = None
    """What the whole step lacks without it."""
    launches: int | None = None
    flops: float | None = None
    least_bytes: float | None = None
    share_of_peak: float | None = None


@dataclass(frozen=True)
class Drift:
    """How the speed of a training changed while it went on without a pause."""

    seconds: float
    ends_s: float
    """Length of the first and of the last seconds that are compared."""
    first_tokens_per_s: float
    last_tokens_per_s: float
    ratio: float
    throttled: bool
    tokens_per_s: list[float]
    """Second by second."""
    state_before: State
    state_after: State


@dataclass(frozen=True)
class Profile(Record):
    """The file of `mlx-tiny profile --output`."""

    kind = "profile"
    version = 1

    preset: str
    shape: str
    dtype: str
    compiled: bool
    step_s: Spread
    tokens_per_s: float
    utilisation: float
    launches: int
    groups: dict[str, Group]
    unexplained_s: float
    adds_up: bool
    data_within: bool
    """Whether reading the data takes no more than it may."""
    peaks: Peaks
    machine: Machine
    drift: Drift | None = None
    warnings: list[str] = field(default_factory=list)
