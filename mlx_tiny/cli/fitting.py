"""Whether what a command is to do fits in memory: refused before it begins where it does not, and told."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mlx_tiny.config import RunConfig
from mlx_tiny.units import format_bytes

if TYPE_CHECKING:
    from mlx_tiny.training.memory import Estimate

_PARTS = 4
"""So many of the largest are told by name."""


def require_memory(config: RunConfig, counted_tokens: int = 0) -> None:
    """Refuse a run that does not fit in the memory that this process may use.

    Args:
        counted_tokens: see `estimate`.

    Raises:
        TinyError: it does not; the remedy names what would fit.
    """
    from mlx_tiny.machine.memory import require
    from mlx_tiny.training.memory import estimate

    require(
        "Training with these settings",
        estimate(config, counted_tokens).bytes,
        lambda most_bytes: _remedy(config, most_bytes),
    )


def expected_memory(config: RunConfig, counted_tokens: int) -> tuple[int, str, list[str]]:
    """The peak that is expected of a run in this process, in bytes and in words, and what is to be warned of."""
    from mlx_tiny.machine.memory import free_bytes
    from mlx_tiny.tools.processes import peak_memory_bytes
    from mlx_tiny.training.memory import estimate

    so_far = peak_memory_bytes()
    parts = estimate(config, counted_tokens)
    words, warnings = f"about {format_bytes(parts.bytes)} of memory at the peak", list[str]()
    if so_far > parts.bytes:
        words = f"{format_bytes(so_far)} of memory at the peak, which was before the training"
    free = free_bytes()
    # Memory that this process has already is not free any more.
    if free is not None and parts.bytes > free + so_far:
        warnings.append(
            f"warning: training takes about {format_bytes(parts.bytes)} of memory ({_largest(parts)}), and only "
            f"{format_bytes(free)} are free now, so that this machine may become slow or end the run. "
            f"{_remedy(config, free + so_far)}"
        )
    return max(parts.bytes, so_far), words, warnings


def _largest(estimate: Estimate) -> str:
    """The largest parts, and all others together."""
    parts = sorted(estimate.parts.items(), key=lambda part: -part[1])
    shown = [*parts[:_PARTS], ("other", sum(size for _, size in parts[_PARTS:]))]
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in shown if size)


def _remedy(config: RunConfig, most_bytes: float) -> str:
    """What would fit in so many bytes, with the numbers."""
    from mlx_tiny.config.presets import PRESETS, STRONGEST, presets_of
    from mlx_tiny.training.memory import estimate, fitting_micro_batches

    def needed(changed: RunConfig) -> str:
        return f"about {format_bytes(estimate(changed).bytes)}"

    parts = fitting_micro_batches(config, most_bytes)
    if parts is not None:
        changed = dataclasses.replace(config, train=dataclasses.replace(config.train, micro_batches=parts))
        return f"Compute a batch in parts: --micro-batches {parts} takes {needed(changed)}, and learns the same"
    own = PRESETS.get(config.train.preset)
    ladder = presets_of(own.recipe.name if own else STRONGEST)
    smaller = [preset for preset in ladder if estimate(preset.config()).bytes <= most_bytes]
    if smaller:
        return f"Take a smaller model: --preset {smaller[-1].name} takes {needed(smaller[-1].config())}"
    return "Take a smaller model (--preset), fewer sequences per step (--batch-size), or a shorter --context"
