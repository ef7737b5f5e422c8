"""Estimates how long `bench` will take."""

from __future__ import annotations

from mlx_tiny.bench.kernels import CALLS_AROUND
from mlx_tiny.bench.record import Settings
from mlx_tiny.bench.step import LONGEST_S
from mlx_tiny.bench.timed import OPERATIONS
from mlx_tiny.bench.timing import LEAST_ROUNDS
from mlx_tiny.bench.worker import COMPETITORS
from mlx_tiny.config.presets import preset_called
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.model.parameters import training_flops_per_token

# The share of the peak that a step reaches, and seconds in which a competitor starts, compiles and is checked.
_UTILISATION, _START_S = 0.4, 15.0
# Forward, and with gradients; and about so many implementations of each operation.
_DIRECTIONS, _IMPLEMENTATIONS = 2, 4


def expected_seconds(settings: Settings, peaks: Peaks) -> float:
    """Seconds for everything that the settings ask for, within a factor of two or three."""
    total, seconds = 0.0, settings.seconds
    for preset in map(preset_called, settings.presets):
        config = preset.config()
        flops = config.train.batch_size * config.model.context * training_flops_per_token(config.model)
        for dtype in settings.dtypes:
            least_s = flops / peaks.matmul_flops_per_s[dtype]
            step_s = least_s / _UTILISATION
            rounds = LEAST_ROUNDS + CALLS_AROUND
            if "kernels" in settings.benchmarks:
                count = len(settings.operations or OPERATIONS) * _DIRECTIONS * _IMPLEMENTATIONS
                total += count * max(seconds, rounds * step_s / config.model.layers / len(OPERATIONS))
            if "step" in settings.benchmarks and least_s <= LONGEST_S:
                total += len(settings.cores or COMPETITORS) * (_START_S + max(3 * seconds, rounds * step_s))
        if "inference" in settings.benchmarks:
            total += 2 * seconds
    return total
