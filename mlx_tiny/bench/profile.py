"""Measures where the time of a training step goes, by groups of operations.

The time of a group is the mean of two differences: how much longer a step of only the embedding and the residual stream
takes with the group (alone), and how much shorter the whole step is without it (left out). The first is too large if
groups share work, and the second if they run at the same time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.bench.launches import mac, step_launches
from mlx_tiny.bench.parts import ADAMW, MLP
from mlx_tiny.bench.record import Group, Profile
from mlx_tiny.bench.step import shape_of
from mlx_tiny.bench.stream import mapped_stream
from mlx_tiny.bench.timing import interleaved
from mlx_tiny.bench.weights import nonzero_parameters
from mlx_tiny.bench.worker import MOMENTUM, MULTIPLIER
from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import decide_compilation
from mlx_tiny.machine.description import describe
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.model.forward import StandIns
from mlx_tiny.model.parameters import parameter_specs, training_flops_per_token
from mlx_tiny.ops import metal
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.cross_entropy import CROSS_ENTROPY
from mlx_tiny.ops.implementations import Implementations
from mlx_tiny.ops.muon import MUON
from mlx_tiny.ops.norm import NORM
from mlx_tiny.ops.operation import Case, Operation, least_bytes
from mlx_tiny.ops.qk_norm_rope import QK_NORM_ROPE
from mlx_tiny.optim.optimizer import muon_layout, muon_parameters
from mlx_tiny.tools.statistics import Spread
from mlx_tiny.training.step import TrainingState, TrainingStep, fresh_state, step_implementations

GROUPS = ("attention", "mlp", "head and loss", "norms", "optimizer")
"""Groups that can be left out. QK-norm and rotary positions belong to attention."""

ALL, NOTHING = frozenset(GROUPS), frozenset[str]()
ADDS_UP_WITHIN = 0.10
"""The largest share of the time of a step that may be unexplained."""
DATA_WITHIN = 0.01
"""The largest share of a step that reading its data may take."""
# A profile has about a hundred steps and parts of steps.
_LONGEST_STEP_S = 3.0
# Attention and MLP add so little that the residual stream stays finite without norms; infinities change the speed.
_SMALL = 0.01

Durations = NDArray[np.float64]


class PartialStep:
    """A training step with only some groups; the others are replaced by cheap functions.

    A norm becomes the identity, attention and MLP a small multiple of their input, and the head a mean.

    Args:
        kept: names in `GROUPS`; without the optimizer the step ends with the gradients.
        implementations: of the operations; by default those that the configuration asks for.
    """

    def __init__(
        self,
        config: RunConfig,
        kept: frozenset[str],
        *,
        compiled: bool,
        implementations: Implementations | None = None,
    ) -> None:
        self.kept = kept
        stand_ins = StandIns(
            norm=None if "norms" in kept else lambda x_BTD: x_BTD,
            attention=None if "attention" in kept else _a_small_part,
            mlp=None if "mlp" in kept else _a_small_part,
            head=None if "head and loss" in kept else lambda x_BTD: x_BTD,
        )
        self.step = TrainingStep(config, compiled=compiled, implementations=implementations, stand_ins=stand_ins)

    def __call__(self, state: TrainingState, batch: np.ndarray) -> list[mx.array]:
        """Build the step; returns everything that has to be evaluated."""
        if "optimizer" in self.kept:
            changed, loss = self.step(state, batch, MULTIPLIER, MOMENTUM)
            return [loss, *changed.arrays()]
        loss, gradients = self.step.loss_and_gradients(state.parameters, batch)
        return [loss, *gradients.values()]


def _a_small_part(x_BTD: mx.array) -> mx.array:
    return _SMALL * x_BTD


def profile(
    config: RunConfig,
    peaks: Peaks,
    *,
    seconds: float = 10.0,
    compiled: bool | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Time a step and its parts, in turn.

    Args:
        config: of the run; its micro-batches are ignored.
        peaks: measured in the same run, in float32 too.
        seconds: about how long to measure.
        compiled: by default if possible.
        tell: called with a line about what is being done.

    Raises:
        TinyError: a step takes too long here.
    """
    _require_short(config, _flops(config) / peaks.matmul_flops_per_s[config.train.dtype], "at least ")
    config = replace(config, train=replace(config.train, micro_batches=1))
    compiled = decide_compilation(config.train.compile)[0] if compiled is None else compiled
    kept_sets = [ALL, NOTHING, *(ALL - {g} for g in GROUPS), *(frozenset({g}) for g in GROUPS)]
    steps = {kept: PartialStep(config, kept, compiled=compiled) for kept in kept_sets}
    stream = mapped_stream(config)
    parameters = nonzero_parameters(config.model)
    for name in ("attention_output", "mlp_output"):
        parameters[name] = _SMALL * parameters[name]
    state, batch = TrainingState(parameters, fresh_state(config).optimizer), stream.next_batch()
    tell(f"preparing {len(steps)} steps of different parts; the first time, compiling them can take half a minute")
    for step in steps.values():  # the whole one first
        mx.eval(step(state, batch))
        began = time.perf_counter()
        mx.eval(step(state, batch))
        _require_short(config, time.perf_counter() - began)
    tell("timing")

    tasks: dict[Any, Callable[[], object]] = {
        "step": lambda: mx.eval(steps[ALL](state, stream.next_batch())),
        "data": lambda: mx.eval(mx.array(stream.next_batch())),
    }
    for kept, step in steps.items():
        tasks["run", kept] = lambda step=step: mx.eval(step(state, batch))  # type: ignore[misc]
        tasks["host", kept] = lambda step=step: step(state, batch)  # type: ignore[misc]
    durations = {name: np.array(taken) for name, taken in interleaved(tasks, seconds=seconds).items()}
    return _account(config, durations, peaks, compiled)


def _flops(config: RunConfig) -> float:
    """Model FLOPs of a step."""
    return config.train.batch_size * config.model.context * training_flops_per_token(config.model)


def _require_short(config: RunConfig, step_s: float, words: str = "") -> None:
    if step_s > _LONGEST_STEP_S:
        raise TinyError(
            f"A step of {config.train.preset} is too long to be profiled here",
            expected=f"at most {_LONGEST_STEP_S:.0f} s, as about a hundred are taken",
            got=f"{words}{step_s:.1f} s",
            remedy="Take a smaller --preset, or fewer sequences by --batch-size",
        )


def _account(config: RunConfig, durations: dict[Any, Durations], peaks: Peaks, compiled: bool) -> Profile:
    """The profile, from the times of each round."""

    def computing(kept: frozenset[str]) -> Durations:
        return durations["run", kept] - durations["host", kept]

    def difference(more: frozenset[str], less: frozenset[str]) -> float:
        # Differences within a round, so that whatever slows the machine for longer cancels.
        return float(np.median(computing(more) - computing(less)))

    launches, work, whole = _launches(config), costs(config), Spread.of(durations["step"].tolist())
    peak, step_s = peaks.matmul_flops_per_s[config.train.dtype], whole.median
    groups = dict[str, Group]()
    for name in GROUPS:
        alone, left_out = difference(frozenset({name}), NOTHING), difference(ALL, ALL - {name})
        time_s, own_peak = (alone + left_out) / 2, peaks.matmul_flops_per_s["float32"] if name == "optimizer" else peak
        share_of_peak = work[name]["flops"] / time_s / own_peak if time_s > 0 else None
        groups[name] = Group(
            time_s, time_s / step_s, alone, left_out, launches[name], **work[name], share_of_peak=share_of_peak
        )
    for name, times in (
        ("embedding and stream", computing(NOTHING)),
        ("data", durations["data"]),
        ("host", durations["host", ALL]),
    ):
        time_s = float(np.median(times))
        groups[name] = Group(time_s, time_s / step_s, launches=launches.get(name))
    unexplained = step_s - sum(group.time_s for group in groups.values())
    groups["other"] = Group(unexplained, unexplained / step_s)
    tokens = config.train.batch_size * config.model.context
    return Profile(
        preset=config.train.preset,
        shape=shape_of(config),
        dtype=config.train.dtype,
        compiled=compiled,
        step_s=whole,
        tokens_per_s=tokens / step_s,
        utilisation=_flops(config) / step_s / peak,
        launches=launches["step"],
        groups=groups,
        unexplained_s=unexplained,
        adds_up=abs(unexplained) <= ADDS_UP_WITHIN * step_s,
        data_within=groups["data"].share <= DATA_WITHIN,
        peaks=peaks,
        machine=describe(),
    )


def costs(config: RunConfig) -> dict[str, dict[str, float]]:
    """Model FLOPs of each group per step, and the bytes that its operations must move, each for itself."""
    c, specs = config.model, parameter_specs(config.model)
    case = Case(c, config.train.batch_size, config.train.dtype)
    muon = muon_parameters(config.optimizer, specs)
    found = dict.fromkeys(GROUPS, (0.0, 0.0))

    def add(group: str, count: int, flops: float, moved_bytes: float) -> None:
        found[group] = found[group][0] + count * flops, found[group][1] + count * moved_bytes

    def add_operation(group: str, count: int, operation: Operation, case: Case = case) -> None:
        both = operation.proof.differentiable
        add(group, count, operation.proof.flops(case, both), least_bytes(operation, case, both))

    for matrix in ("query_key_value", "attention_output"):
        rows, columns = specs[matrix].shape[1:]
        numbers = case.rows * (rows + columns) + rows * columns
        # With gradients there are three products, and each array is moved once more.
        add("attention", c.layers, 3 * 2.0 * case.rows * rows * columns, 2.0 * numbers * getattr(mx, case.dtype).size)
    add_operation("attention", c.layers, QK_NORM_ROPE)
    add_operation("attention", c.layers, ATTENTION)
    add_operation("mlp", c.layers, MLP)
    add_operation("head and loss", 1, CROSS_ENTROPY)
    add_operation("norms", 2 * c.layers + 2, NORM)
    rest = {name: spec for name, spec in specs.items() if name not in muon}
    add_operation("optimizer", 1, ADAMW, Case(c, options={"specs": rest}))
    if muon:
        layout, steps = muon_layout(config.optimizer, specs), config.optimizer.newton_schulz_steps
        add_operation("optimizer", 1, MUON, Case(c, options={"layout": layout, "steps": steps}))
        # Reads weight and direction, and writes the weight.
        add("optimizer", 1, 0.0, 3.0 * mx.float32.size * sum(specs[name].size for name in muon))
    return {name: {"flops": flops, "least_bytes": moved} for name, (flops, moved) in found.items()}


def _launches(config: RunConfig) -> dict[str, int]:
    """Launches on a GPU of the step, of each group (by leaving it out), and of everything else."""
    implementations = step_implementations(config, device=mac())

    def count(kept: frozenset[str]) -> int:
        return step_launches(config, PartialStep(config, kept, compiled=False, implementations=implementations))

    whole = count(ALL)
    found = {"step": whole, **{name: whole - count(ALL - {name}) for name in GROUPS}}
    return {**found, "embedding and stream": whole - sum(found[name] for name in GROUPS)}


def trace(config: RunConfig, path: Path) -> None:
    """Record one training step for Xcode's Metal debugger.

    Raises:
        TinyError: there is no Metal, captures are not enabled, or the name of the file is wrong or exists.
    """
    if (reason := metal.why_not_metal()) is not None:
        raise TinyError("A trace of the GPU cannot be recorded here", expected="a Mac with Apple silicon", got=reason)
    if path.suffix != ".gputrace" or path.exists():
        raise TinyError(
            f"A trace cannot be written to {path}",
            expected="a name that ends in .gputrace, of a file that does not exist",
        )
    if os.environ.get("MTL_CAPTURE_ENABLED") != "1":
        raise TinyError(
            "Metal records a trace only for a process that was started with MTL_CAPTURE_ENABLED=1",
            remedy=f"MTL_CAPTURE_ENABLED=1 mlx-tiny profile --preset {config.train.preset} --trace {path}",
        )
    step = TrainingStep(config, compiled=decide_compilation(config.train.compile)[0])
    state, batch = step.initial_state(), mapped_stream(config).next_batch()

    def take() -> None:
        nonlocal state
        state, loss = step(state, batch, MULTIPLIER, MOMENTUM)
        mx.eval(loss, state.arrays())

    take()  # compiles
    mx.metal.start_capture(str(path))
    try:
        take()
    finally:
        mx.metal.stop_capture()
