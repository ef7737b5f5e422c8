"""Where the time of a training step goes: groups of operations, timed alone and by leaving them out.

Two steps of different parts tell what their difference costs. A group's time is the mean of two such differences: what
it adds to a step of nothing but the embedding and the residual stream (alone), and what the whole step lacks without
it (left out). The first is too large where parts share work, the second where they run side by side.
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

from mlx_tiny.bench import counts
from mlx_tiny.bench.launches import count_launches
from mlx_tiny.bench.step import shape_of
from mlx_tiny.bench.stream import mapped_stream
from mlx_tiny.bench.timing import interleaved, seconds_of
from mlx_tiny.bench.updates import banks_of
from mlx_tiny.bench.weights import nonzero_parameters
from mlx_tiny.bench.worker import MOMENTUM, MULTIPLIER
from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import decide_compilation
from mlx_tiny.machine.description import describe
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.model import forward as model
from mlx_tiny.model.parameters import Parameters, parameter_specs, training_flops_per_token
from mlx_tiny.ops import metal
from mlx_tiny.ops.cross_entropy import head_cross_entropy
from mlx_tiny.ops.rotary import rotary_tables
from mlx_tiny.records import to_plain
from mlx_tiny.tools.statistics import Spread
from mlx_tiny.training.step import TrainingState, TrainingStep

GROUPS = ("attention", "mlp", "head and loss", "norms", "optimizer")
"""Parts of a step that can be left out. QK-norm and rotary positions are attention's."""

ALL, NOTHING = frozenset(GROUPS), frozenset[str]()
ADDS_UP_WITHIN = 0.10
"""Of the step's time, the largest part that may stay unexplained."""
DATA_WITHIN = 0.01
"""Of a step, the most that reading its data may take."""
# A profile takes about a hundred steps and parts of steps.
_LONGEST_STEP_S = 3.0
# Sublayers add so little to the stream that it keeps its size without the norms: infinities would take other paths.
_SMALL = 0.01

Durations = NDArray[np.float64]


class PartialStep(TrainingStep):
    """A training step of which only some groups are kept; see `kept_loss`.

    Args:
        kept: names out of `GROUPS`; without the optimizer the step ends with the gradients.
    """

    def __init__(self, config: RunConfig, kept: frozenset[str], *, compiled: bool) -> None:
        self.kept = kept
        super().__init__(config, compiled=compiled)

    def run(self, state: TrainingState, batch: mx.array) -> list[mx.array]:
        """Build the step; all that has to be evaluated of it."""
        scalars = mx.array(MULTIPLIER, dtype=mx.float32), mx.array(MOMENTUM, dtype=mx.float32)
        loss, *results = self._whole(state.parameters, state.optimizer, batch, *scalars)
        return [loss, *(array for arrays in results for array in arrays.values())]

    def _whole_step(self, parameters: Parameters, optimizer: Any, token_BT1: mx.array, *scalars: mx.array) -> Any:
        if "optimizer" in self.kept:
            return super()._whole_step(parameters, optimizer, token_BT1, *scalars)
        return self._average_gradients(parameters, token_BT1)

    def _mean_loss(self, parameters: Parameters, token_BT1: mx.array) -> mx.array:
        attention = self.config.train.attention
        return kept_loss(parameters, self.config, token_BT1, self.kept, dtype=self._dtype, attention=attention)


def kept_loss(
    parameters: Parameters,
    config: RunConfig,
    token_BT1: mx.array,
    kept: frozenset[str],
    *,
    dtype: mx.Dtype = mx.float32,
    attention: str = "auto",
) -> mx.array:
    """The mean loss of `model.token_losses`, with cheap things for what is not kept.

    A norm becomes the identity, a sublayer a small part of it, so that numbers keep their size, and the head a mean.
    """
    c = config.model
    token_BT, target_BT = token_BT1[:, :-1], token_BT1[:, 1:]

    def normalize(x_BTD: mx.array) -> mx.array:
        return model.normalize(x_BTD, c) if "norms" in kept else x_BTD

    tables = rotary_tables(token_BT.shape[1], c.head_width, c.rope_base)
    x_BTD = normalize(parameters["embedding"][token_BT].astype(dtype))
    for layer in model.layers_of({name: array.astype(dtype) for name, array in parameters.items()}, c):
        part_BTD = normalize(x_BTD)
        if "attention" in kept:
            part_BTD, _ = model._attention(layer, c, part_BTD, tables, None, None, attention, lambda _, array: array)
        else:
            part_BTD = _SMALL * part_BTD
        scale, second_scale = mx.split(layer["residual_scale"], 2)
        x_BTD = scale * x_BTD + part_BTD
        part_BTD = model.mlp(layer, c, normalize(x_BTD)) if "mlp" in kept else _SMALL * normalize(x_BTD)
        x_BTD = second_scale * x_BTD + part_BTD
    x_BTD = normalize(x_BTD)
    if "head and loss" not in kept:
        return x_BTD.mean()
    head = model.head_matrix(parameters).astype(dtype)
    return head_cross_entropy(x_BTD.reshape(-1, c.width), head, target_BT.reshape(-1)).mean()


def profile(
    config: RunConfig,
    peaks: Peaks,
    *,
    seconds: float = 10.0,
    compiled: bool | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Time a step and its parts, in turn.

    Args:
        config: of the run; micro-batches are left aside.
        peaks: measured in the same run, in float32 too.
        seconds: time to spend, about.
        compiled: by default where that works.
        tell: told in a line what is being done.

    Returns:
        Plain values ready for JSON: `groups`, each with `time_s`, `share`, `alone_s`, `left_out_s`, `launches`,
        `flops` and `least_bytes`; `step_s`, `unexplained_s`, `adds_up`, `data_within`, and the machine.

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
    state = TrainingState(parameters, steps[ALL].optimizer.initialize())
    batch = mx.array(stream.next_batch())
    tell(f"preparing {len(steps)} steps of different parts; the first time, compiling them can take half a minute")
    for step in steps.values():  # the whole one first
        mx.eval(step.run(state, batch))
        began = time.perf_counter()
        mx.eval(step.run(state, batch))
        _require_short(config, time.perf_counter() - began)
    tell("timing")

    def whole() -> None:
        mx.eval(steps[ALL].run(state, mx.array(stream.next_batch())))

    tasks: dict[Any, Callable[[], object]] = {"step": whole, "data": lambda: mx.eval(mx.array(stream.next_batch()))}
    for kept, step in steps.items():
        tasks["run", kept] = lambda step=step: mx.eval(step.run(state, batch))  # type: ignore[misc]
        tasks["host", kept] = lambda step=step: step.run(state, batch)  # type: ignore[misc]
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
            remedy="Take a smaller --preset, or fewer windows by --batch-size",
        )


def _account(config: RunConfig, durations: dict[Any, Durations], peaks: Peaks, compiled: bool) -> dict[str, Any]:
    """The report on measured times, round by round the same in each."""

    def computing(kept: frozenset[str]) -> Durations:
        return durations["run", kept] - durations["host", kept]

    def difference(more: frozenset[str], less: frozenset[str]) -> float:
        # Within a round first: what slows the machine for longer than that cancels.
        return float(np.median(computing(more) - computing(less)))

    launches, work, whole = _launches(config), costs(config), Spread.of(durations["step"].tolist())
    groups: dict[str, dict[str, Any]] = {}
    for name in GROUPS:
        alone, left_out = difference(frozenset({name}), NOTHING), difference(ALL, ALL - {name})
        groups[name] = {"alone_s": alone, "left_out_s": left_out, "time_s": (alone + left_out) / 2, **work[name]}
        groups[name]["launches"] = launches[name]
    for name, times in (
        ("embedding and stream", computing(NOTHING)),
        ("data", durations["data"]),
        ("host", durations["host", ALL]),
    ):
        groups[name] = {"time_s": float(np.median(times))}
    groups["embedding and stream"]["launches"] = launches["embedding and stream"]
    step_s = whole.median
    unexplained = step_s - sum(group["time_s"] for group in groups.values())
    groups["other"] = {"time_s": unexplained}
    peak = peaks.matmul_flops_per_s[config.train.dtype]
    for name, group in groups.items():
        group["share"] = group["time_s"] / step_s
        if group.get("flops") and group["time_s"] > 0:
            own_peak = peaks.matmul_flops_per_s["float32"] if name == "optimizer" else peak
            group["share_of_peak"] = group["flops"] / group["time_s"] / own_peak
    tokens = config.train.batch_size * config.model.context
    return {
        "preset": config.train.preset,
        "shape": shape_of(config),
        "dtype": config.train.dtype,
        "compiled": compiled,
        "step_s": step_s,
        **seconds_of(whole),
        "tokens_per_s": tokens / step_s,
        "utilisation": _flops(config) / step_s / peak,
        "launches": launches["step"],
        "groups": groups,
        "unexplained_s": unexplained,
        "adds_up": abs(unexplained) <= ADDS_UP_WITHIN * step_s,
        "data_within": groups["data"]["share"] <= DATA_WITHIN,
        "peaks": to_plain(peaks),
        "machine": to_plain(describe()),
    }


def costs(config: RunConfig) -> dict[str, dict[str, float]]:
    """Model FLOPs of each group in one step, and the least bytes that its operations move, one by one."""
    c, B, dtype = config.model, config.train.batch_size, config.train.dtype
    T, D, L, H, G, K = c.context, c.width, c.layers, c.heads, c.key_value_heads, c.head_width
    N, inputs = B * T, 2 if c.activation == "swiglu" else 1
    products = ((D, (H + 2 * G) * K), (H * K, D))
    specs = parameter_specs(c)
    muon = {n: s for n, s in specs.items() if s.kind == "matrix" and config.optimizer.matrix_optimizer == "muon"}
    adamw_size = sum(s.size for n, s in specs.items() if n not in muon)
    muon_size, banks = sum(spec.size for spec in muon.values()), banks_of(muon)
    steps = config.optimizer.newton_schulz_steps
    return {
        "attention": {
            "flops": L
            * (
                sum(counts.product_flops(N, *product) for product in products)
                + counts.heads_flops(B, T, H, G, K, True)
                + counts.BOTH_WAYS * counts.attention_flops(B, T, H, K)
            ),
            "least_bytes": L
            * (
                sum(counts.product_bytes(N, *product, dtype) for product in products)
                + counts.heads_bytes(B, T, H, G, K, True, dtype)
                + counts.attention_bytes(B, T, H, G, K, True, dtype)
            ),
        },
        "mlp": {
            "flops": L * counts.mlp_flops(N, D, c.hidden, inputs, True),
            "least_bytes": L * counts.mlp_bytes(N, D, c.hidden, inputs, True, dtype),
        },
        "head and loss": {
            "flops": counts.cross_entropy_flops(N, D, c.vocabulary_size, True),
            "least_bytes": counts.cross_entropy_bytes(N, D, c.vocabulary_size, True, dtype),
        },
        "norms": {
            "flops": (2 * L + 2) * counts.norm_flops(N, D),
            "least_bytes": (2 * L + 2) * counts.norm_bytes(N, D, dtype),
        },
        "optimizer": {
            "flops": counts.adamw_flops(adamw_size) + counts.newton_schulz_flops(banks, steps, symmetric=True),
            "least_bytes": counts.adamw_bytes(adamw_size)
            + counts.momentum_bytes(muon_size)
            + counts.newton_schulz_bytes(banks, "float32"),
        },
    }


def _launches(config: RunConfig) -> dict[str, int]:
    """Launches on a GPU: of the step, of the step less each group, and of what no group has."""

    def count(kept: frozenset[str]) -> int:
        def step(parameters: Parameters, optimizer: Any, batch: mx.array) -> list[mx.array]:
            # Made where it is traced, so that it chooses what a Mac would.
            return PartialStep(config, kept, compiled=False).run(TrainingState(parameters, optimizer), batch)

        return count_launches(step, state.parameters, state.optimizer, batch).total()

    first = PartialStep(config, ALL, compiled=False)
    state, batch = first.initial_state(), mx.array(mapped_stream(config).next_batch())
    whole = count(ALL)
    found = {"step": whole, **{name: whole - count(ALL - {name}) for name in GROUPS}}
    return {**found, "embedding and stream": whole - sum(found[name] for name in GROUPS)}


def trace(config: RunConfig, path: Path) -> None:
    """Record one training step for Xcode's Metal debugger.

    Raises:
        TinyError: there is no Metal, captures are not enabled, or the file is named wrongly or there already.
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
