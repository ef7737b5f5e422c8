"""Records of `bench` and `profile`."""

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
    """A measurement of one implementation, or the reason why there is none."""

    benchmark: str
    """`kernels`, `step` or `inference`."""
    preset: str
    shape: str
    dtype: str
    implementation: str
    operation: str | None = None
    direction: str | None = None
    part: str | None = None
    """`prompt` or `decode`, for `inference`."""
    description: str | None = None
    """Version and device, if the name does not say that."""
    compiled: bool | None = None
    outcome: str = "timed"
    """Another value is `left out`, `failed` or `wrong`."""
    reason: str | None = None
    """Why there is no time."""
    error: float | None = None
    """Largest error as a multiple of what is allowed; None if it was not checked or is not a number."""
    flops: float = 0.0
    """Model FLOPs of one computation."""
    executed_flops: float | None = None
    """FLOPs that the implementation executes, if known."""
    least_bytes: float | None = None
    """Each input read once and each output written once."""
    tokens: int | None = None
    launches: int | None = None
    """Number of launches on a GPU."""
    bound_s: float | None = None
    """The shortest time that the peaks of the machine allow."""
    bound_by: str | None = None
    """`compute`, `memory` or `launch`."""
    time_s: Spread | None = None
    """Of one computation."""
    share_of_bound: float | None = None
    """`bound_s` divided by the median time."""
    tokens_per_s: float | None = None
    peak_memory_bytes: int | None = None
    speed_up: dict[str, Spread] = field(default_factory=dict)
    """How many times faster than each other implementation, as ratios of rounds."""
    state: State | None = None
    """State of the machine when it was measured."""

    @property
    def title(self) -> str:
        """What is measured, such as "attention, forward, mini"."""
        words = [] if self.operation else [_LONG_NAMES[self.benchmark]]
        return ", ".join([*words, *filter(None, (self.operation, self.direction, self.part, self.preset))])

    @property
    def name(self) -> tuple[str, ...]:
        """The name of this result, which is unique in its file."""
        parts = (self.operation, self.direction, self.part, self.preset, self.shape, self.dtype, self.implementation)
        return (self.benchmark, *filter(None, parts))

    def without_time(self, outcome: str, reason: str) -> Result:
        """A copy with the reason why there is no time."""
        return replace(self, outcome=outcome, reason=reason)

    def timed(self, time_s: Spread, speed_up: dict[str, Spread], peak_memory_bytes: int | None) -> Result:
        """A copy with its time, numbers that follow from it, and the present state of the machine."""
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
    """The settings of `mlx-tiny bench`."""

    benchmarks: list[str]
    presets: list[str]
    operations: list[str] | None
    dtypes: list[str]
    changes: dict[str, dict[str, Any]]
    """Changes to the presets, by section of the configuration."""
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
    """Whether all measurements are finished."""
    settings: Settings
    machine: Machine
    peaks: Peaks
    """The peaks with which the results are compared."""
    peaks_after: Peaks | None
    """The same, measured again at the end."""
    warnings: list[str]
    results: list[Result]


@dataclass(frozen=True)
class Group:
    """A group of operations of a training step."""

    time_s: float
    share: float
    """Share of the time of the step."""
    alone_s: float | None = None
    """Time that it adds to a step of only the embedding and the residual stream."""
    left_out_s: float | None = None
    """Time that the whole step saves without it."""
    launches: int | None = None
    flops: float | None = None
    least_bytes: float | None = None
    share_of_peak: float | None = None


@dataclass(frozen=True)
class Drift:
    """How the speed of a training changed over time."""

    seconds: float
    ends_s: float
    """How many seconds at the beginning and at the end are compared."""
    first_tokens_per_s: float
    last_tokens_per_s: float
    ratio: float
    throttled: bool
    tokens_per_s: list[float]
    """For each second."""
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
    """Whether reading the data is within its allowed share."""
    peaks: Peaks
    machine: Machine
    drift: Drift | None = None
    warnings: list[str] = field(default_factory=list)
