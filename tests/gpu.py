"""The GPU that tests marked `metal` need."""

from __future__ import annotations

import re

import mlx.core as mx

FIRST_WITH_MATRICES = 13  # the M1's; MLX names it applegpu_g13g


def why_not_metal() -> str | None:
    """Why this machine's GPU cannot run the kernels, or None where it can; a hosted Mac has a virtual one."""
    if not mx.metal.is_available():
        return "no Metal GPU here"
    name = str(mx.device_info()["architecture"])
    generation = re.match(r"applegpu_g(\d+)", name)
    if generation is None or int(generation[1]) < FIRST_WITH_MATRICES:
        return f"this GPU ({name}) has no 8x8 matrices"
    return None
