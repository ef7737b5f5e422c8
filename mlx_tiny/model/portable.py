"""Whether the architecture `qwen3` represents a model exactly, as other programs know that one."""

from __future__ import annotations

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.options import options_of

LARGEST_EPSILON = 1e-5
"""Up to which the epsilon of the norms is lost in rounding; qwen3 adds it to a stream of another size than ours."""


def obstacles(config: ModelConfig) -> dict[str, str]:
    """What keeps `qwen3` from representing a model exactly, with the reasons; empty if it can.

    Raises:
        TinyError: an unknown option of the model, or a value out of range.
    """
    found = {} if config.activation == "swiglu" else {f"activation {config.activation}": "qwen3 has SwiGLU only"}
    if config.norm_epsilon > LARGEST_EPSILON:
        reason = f"qwen3 adds it to a stream of another size, which is exact only up to {LARGEST_EPSILON:g}"
        found[f"norm epsilon {config.norm_epsilon:g}"] = reason
    reasons = {chosen.name: chosen.option.not_portable for chosen in options_of(config)}
    return {**found, **{name: reason for name, reason in reasons.items() if reason}}
