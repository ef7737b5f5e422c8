"""Which implementation of an operation serves here, and why: one table, each row with its reason.

The first row that holds decides. A choice of `metal` stands only after the kernels' self-test has evaluated them
against the plain path on this machine; where it fails, the fallback serves and a warning says so.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlx_tiny.errors import TinyError, said
from mlx_tiny.linux.lanes import on_cpu
from mlx_tiny.machine.hardware import chip
from mlx_tiny.ops import metal

# Head widths for which the attention kernels are built and tested.
ATTENTION_WIDTHS = (32, 48, 64, 80, 96, 128)
# A lane of the kernels for QK-norm keeps K / 32 numbers of its row in registers, several times over.
LARGEST_HEADS_WIDTH = 256
# Where MLX's own kernels take over: on an M3 Max a fused backward pass is reported at 0.67 to 0.76 times the speed of
# unfused products at a width of 128, and at 1.17 to 1.37 times at 96 (ml-explore/mlx, pull request 3241).
_BUILT_IN_WIDTH = 128
# The first generation whose GPU has matrix units that MLX's products use, and simdgroup matrices do not.
_MATRIX_UNITS_GENERATION = 5
# One block of queries of the forward kernel.
_SHORTEST_WINDOW = 32


@dataclass(frozen=True)
class Situation:
    """All that a choice depends on."""

    operation: str
    """`attention`, `heads` (QK-norm and rotary positions), `norm`, `activation`, `cross-entropy` or `muon`."""
    dtype: mx.Dtype
    device: str
    """`metal`, `cpu` or `cuda`, as `device_here` says."""
    generation: int | None
    """5 for an M5, as `generation_here` says; None where it is no Apple chip or its name tells nothing."""
    width: int = 0
    """Head width K."""
    queries: int = 0
    """Window T."""
    keys: int = 0
    """Keys S, more than the queries where a cache holds the past."""
    rows: int = 0
    """Rows that an operation on rows meets: one where a single token is written."""
    pipeline: tuple[int, ...] = ()
    """What else a kernel is compiled for: to Metal's compiler another kernel, to be tested for itself."""


@dataclass(frozen=True)
class Choice:
    """An implementation, and why it was taken."""

    implementation: str
    reason: str


@dataclass(frozen=True)
class _Row:
    operation: str
    implementation: str
    reason: str
    holds: Callable[[Situation], bool]


def _many_rows_on_cpu(here: Situation) -> bool:
    return here.device == "cpu" and here.rows > 1 and here.dtype == mx.float32


_TABLE = (
    _Row(
        "attention",
        "cpu",
        "on a CPU blocks of the causal half, with a gradient of their own, are fastest",
        lambda s: s.device == "cpu" and s.queries == s.keys > 1 and s.dtype == mx.float32,
    ),
    _Row(
        "attention",
        "plain",
        "the CPU's own attention takes whole windows of float32",
        lambda s: s.device == "cpu",
    ),
    _Row("attention", "mlx", "the kernels are Metal's, and MLX has its own elsewhere", lambda s: s.device != "metal"),
    _Row(
        "attention",
        "mlx",
        "the kernels take whole windows; MLX's built-in takes keys from a cache too",
        lambda s: s.queries != s.keys,
    ),
    _Row(
        "attention",
        "mlx",
        f"a window is shorter than one block of {_SHORTEST_WINDOW} queries",
        lambda s: s.queries < _SHORTEST_WINDOW,
    ),
    _Row(
        "attention",
        "mlx",
        f"the kernels take head widths of {', '.join(map(str, ATTENTION_WIDTHS))}",
        lambda s: s.width not in ATTENTION_WIDTHS,
    ),
    _Row(
        "attention",
        "mlx",
        f"from a head width of {_BUILT_IN_WIDTH} on MLX's built-in is expected to be faster",
        lambda s: s.width >= _BUILT_IN_WIDTH,
    ),
    _Row(
        "attention",
        "mlx",
        "MLX's products use this chip's matrix units, and the kernels cannot",
        lambda s: (s.generation or 0) >= _MATRIX_UNITS_GENERATION,
    ),
    _Row(
        "attention",
        "metal",
        "fused both ways, without the masked half; expected to be faster, not yet measured on a Mac",
        lambda s: True,
    ),
    _Row(
        "heads",
        "cpu",
        "on a CPU rows lie head by head, and have a gradient of their own",
        _many_rows_on_cpu,
    ),
    _Row(
        "heads",
        "plain",
        "the kernels are Metal's, and a single token is a matter of few operations",
        lambda s: s.device != "metal",
    ),
    _Row(
        "heads",
        "plain",
        f"the kernels take head widths up to {LARGEST_HEADS_WIDTH}",
        lambda s: s.width > LARGEST_HEADS_WIDTH,
    ),
    _Row(
        "heads",
        "metal",
        "one launch each way instead of several; expected to be faster, not yet measured on a Mac",
        lambda s: True,
    ),
    _Row(
        "norm",
        "cpu",
        "on a CPU the sums of rows are products, and inverse norms are computed once a row",
        _many_rows_on_cpu,
    ),
    _Row("norm", "mlx", "MLX has one kernel each way", lambda s: True),
    _Row(
        "activation",
        "cpu",
        "on a CPU comparisons and exponentials are slow unless they become sums and products",
        _many_rows_on_cpu,
    ),
    _Row("activation", "plain", "MLX fuses it into one kernel", lambda s: True),
    _Row(
        "cross-entropy",
        "cpu",
        "on a CPU one exponential serves both ways, and neither adds up a vocabulary number by number",
        lambda s: s.device == "cpu" and s.dtype == mx.float32,
    ),
    _Row("cross-entropy", "plain", "MLX sums the logits' exponentials in one kernel", lambda s: True),
    _Row("muon", "plain", "the kernels are Metal's", lambda s: s.device != "metal"),
    _Row(
        "muon",
        "plain",
        "MLX's products use this chip's matrix units, and the kernels cannot",
        lambda s: (s.generation or 0) >= _MATRIX_UNITS_GENERATION,
    ),
    _Row(
        "muon",
        "metal",
        "half the multiply-adds of symmetric products; expected to be faster, not yet measured on a Mac",
        lambda s: True,
    ),
)

AS_ASKED = "as asked"
"""The reason where nothing was left to choose."""

_FALLBACKS = {"attention": "mlx", "heads": "plain", "muon": "plain"}

# What the self-tests of this process found; a verdict holds for every window.
_verdicts: dict[Situation, str | None] = {}


def situation(operation: str, dtype: mx.Dtype, **others: Any) -> Situation:
    """The situation of an operation on this machine; `others` are further fields of `Situation`."""
    return Situation(operation, dtype, device_here(), generation_here(), **others)


def choose(here: Situation, self_test: Callable[[], str | None] = lambda: None) -> Choice:
    """The implementation that `auto` stands for.

    Args:
        here: what the choice depends on.
        self_test: evaluates the kernels against the plain path; what is wrong with them, or None. It is called at most
            once a process for an operation, dtype, width and pipeline, and only where the kernels would be chosen.
    """
    row = next(row for row in _TABLE if row.operation == here.operation and row.holds(here))
    if row.implementation != "metal":
        return Choice(row.implementation, row.reason)
    tested = dataclasses.replace(here, queries=0, keys=0, rows=0)
    if tested not in _verdicts:
        _verdicts[tested] = _failure(self_test)
        if _verdicts[tested] is not None:
            warnings.warn(
                f"The Metal kernels of {here.operation} are not used: {_verdicts[tested]}. Run `mlx-tiny validate "
                "--kernels` and report what it prints.",
                stacklevel=2,
            )
    if (failure := _verdicts[tested]) is not None:
        return Choice(_FALLBACKS[here.operation], f"the Metal kernels failed their self-test here: {failure}")
    return Choice("metal", row.reason)


def resolved(
    operation: str, implementation: str, known: tuple[str, ...], dtype: mx.Dtype, choose: Callable[[], Choice]
) -> str:
    """The implementation that is meant by a name, `auto` among them.

    Args:
        operation: as a sentence names it.
        known: all names; a `cpu` among them takes float32 alone.
        choose: gives what `auto` stands for.

    Raises:
        TinyError: an unknown name, or one that does not take the type.
    """
    if implementation not in known:
        raise TinyError(
            f"Unknown implementation {implementation!r} of {operation}", expected=f"one of {', '.join(known)}"
        )
    if implementation == "cpu" and dtype != mx.float32:
        raise TinyError(f"The implementation 'cpu' of {operation} takes float32", got=dtype)
    return choose().implementation if implementation == "auto" else implementation


def _failure(self_test: Callable[[], str | None]) -> str | None:
    try:
        return self_test()
    except (RuntimeError, ValueError) as error:  # Metal's compiler or the launch refused it, or the device failed
        return said(error)


def require_metal(operation: str) -> None:
    """Refuse `metal` where no kernel can run.

    Raises:
        TinyError: naming why.
    """
    if (reason := metal.why_not_metal()) is not None:
        raise TinyError(
            f"The Metal kernels of {operation} cannot run here",
            expected="a Mac with Apple silicon, its GPU being MLX's default device",
            got=reason,
            remedy="Take `auto`, which chooses what this machine can run",
        )


def device_here() -> str:
    """`metal`, `cpu` or `cuda`: where MLX computes by default."""
    if metal.why_not_metal() is None:
        return "metal"
    return "cpu" if on_cpu() else "cuda"


@functools.cache
def generation_here() -> int | None:
    """Generation of an Apple chip, such as 3 for "Apple M3 Max"; None for any other."""
    match = re.match(r"Apple M(\d+)", chip())
    return int(match[1]) if match else None
