"""Checks of the values of settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from mlx_tiny.errors import TinyError

LARGEST_SEED = 2**63 - 1
LARGEST_NUMBERS = {
    "seed": LARGEST_SEED,
    "train_bytes": 2**40,
    "validation_bytes": 2**40,
    "layers": 2**12,
    "context": 2**16,
    "width": 2**20,
    "heads": 2**12,
    "key_value_heads": 2**12,
    "head_width": 2**12,
    "hidden": 2**20,
    "batch_size": 2**20,
    "micro_batches": 2**20,
    "evaluations": 10**4,
    "checkpoints": 10**4,
    "samples": 10**4,
}
"""Where another whole number than 2**31 - 1, the largest length of an array of MLX, is the largest. A run may come from
anyone, and larger ones would only take hours or all memory."""
SMALLEST_FLOAT, LARGEST_FLOAT = 1e-30, 1e30
"""Other numbers but 0 may become 0 or infinite in float32."""


def require(condition: bool, name: str, expected: str, got: object) -> None:
    """Raise an error that names the setting, unless the condition holds."""
    if not condition:
        raise TinyError(f"The setting {name} is out of range", expected=expected, got=repr(got))


def require_choices(config: Any) -> None:
    """Refuse values that are none of the `choices` of a dataclass."""
    for name, allowed in config.choices.items():
        require(getattr(config, name) in allowed, name, " or ".join(allowed), getattr(config, name))


def require_representable(config: object) -> None:
    """Refuse numbers that a library could not compute with, by the types of the fields."""
    for described in fields(config):  # type: ignore[arg-type]
        name, value = described.name, getattr(config, described.name)
        if described.type == "int":
            largest = LARGEST_NUMBERS.get(name, 2**31 - 1)
            require(0 <= value <= largest, name, f"a whole number from 0 to {largest}", value)
        elif described.type == "float":
            holds = value == 0 or SMALLEST_FLOAT <= value <= LARGEST_FLOAT
            require(holds, name, f"0, or {SMALLEST_FLOAT:g} to {LARGEST_FLOAT:g}", value)
