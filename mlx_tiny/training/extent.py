"""How much of the validation text the last evaluation of a run reads, so that it takes little of a short run."""

from __future__ import annotations

import math

from mlx_tiny.config import RunConfig
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.training.budget import Budget

_EXTENTS = ((30 * 60, 250_000), (4 * 3600, 1_000_000), (math.inf, 4_000_000))
"""Below so many seconds of budget, so many bytes. Two cores read 80 kB/s with the model that 60 s are for, and less
with the larger ones of longer budgets: about 3 s and 4 % of the budget. By the budget alone, so that equal runs have
equal texts on every machine."""
_FLOPS_PER_S = 4e10
"""Of training on two cores; it turns other budgets into seconds."""


def measured_bytes(config: RunConfig) -> int | None:
    """Bytes of validation text that the last evaluation reads, about; None for all."""
    asked = config.train.measured_bytes
    if asked != "auto":
        return None if asked == "all" else int(asked)
    budget = Budget(config.train.budget)
    flops_per_token = training_flops_per_token(config.model)
    flops_per_step = config.train.batch_size * config.model.context * flops_per_token
    flops_per_unit = {"flops": 1.0, "tokens": flops_per_token, "steps": flops_per_step, "seconds": _FLOPS_PER_S}
    seconds = budget.amount * flops_per_unit[budget.quantity] / _FLOPS_PER_S
    return next(most_bytes for below_s, most_bytes in _EXTENTS if seconds < below_s)
