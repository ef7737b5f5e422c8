"""The optimizers' part of a training step, at the shapes of a preset: Muon's orthogonalisation, and AdamW."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.optimizers
import numpy as np

from mlx_tiny.bench import counts, references
from mlx_tiny.bench.operation import TORCH, UPDATE, Inputs, Named, Operation, available, drawn
from mlx_tiny.config import OptimizerConfig
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.model.spec import ParameterSpec
from mlx_tiny.ops import newton_schulz
from mlx_tiny.optim.optimizer import Optimizer, by_lanes
from mlx_tiny.study.plan import Preset

# A step in the midst of training, whose corrections of the moments are neither 0 nor 1.
_ADAMW_STEP, _ADAMW_RATE = 10, 0.003
_ADAMW_ROLES = ("weight", "gradient", "first", "second")


def of_newton_schulz(preset: Preset, _: str) -> Iterator[Operation]:
    """Muon's orthogonalisation of all its matrices, bank by bank; in float32, as the moments are."""
    banks = banks_of(parameter_specs(preset.model_config()))
    arrays = drawn({f"bank {n}x{m}": (count, n, m) for count, n, m in banks}, "float32")
    c = OptimizerConfig()
    steps, coefficients = c.newton_schulz_steps, c.coefficients

    def orthogonalize(implementation: str, inputs: Named) -> Named:
        transform = functools.partial(
            newton_schulz.orthogonalize, steps=steps, coefficients=coefficients, implementation=implementation
        )
        return {name: by_lanes(bank, transform) for name, bank in inputs.items()}

    direct = counts.newton_schulz_flops(banks, steps, symmetric=False)
    yield Operation(
        name="newton-schulz",
        direction=UPDATE,
        preset=preset.name,
        shape=" ".join(f"{count}x[{n},{m}]" for count, n, m in banks),
        dtype="float32",
        inputs=arrays,
        reference=lambda inputs, _: references.newton_schulz(inputs, coefficients),
        implementations={
            **available(("plain", "metal"), orthogonalize, arrays, "float32"),
            # Its polynomial is another one, so that no result of the two could be compared.
            "mlx": "mlx.optimizers.Muon takes other coefficients, one matrix at a time",
        },
        flops=counts.newton_schulz_flops(banks, steps, symmetric=True),
        least_bytes=counts.newton_schulz_bytes(banks, "float32"),
        executed_flops={"plain": direct, TORCH: direct},
        tolerances=("Newton-Schulz of a preset", "Newton-Schulz of a preset"),
    )


def of_adamw(preset: Preset, _: str) -> Iterator[Operation]:
    """AdamW's update of all parameters, in float32."""
    specs = parameter_specs(preset.model_config())
    arrays = _adamw_inputs(specs)
    count = sum(spec.size for spec in specs.values())
    c = adamw_settings()
    betas = c.adam_beta1, c.adam_beta2
    yield Operation(
        name="adamw",
        direction=UPDATE,
        preset=preset.name,
        shape=f"{len(specs)} arrays of {count:,} numbers",
        dtype="float32",
        inputs=arrays,
        reference=lambda inputs, _: references.adamw(inputs, _ADAMW_RATE, betas, c.adam_epsilon, _ADAMW_STEP),
        implementations={
            "plain": functools.partial(_adamw_of_the_step, Optimizer(c, specs)),
            "mlx": functools.partial(_adamw_of_mlx, c),
        },
        flops=counts.adamw_flops(count),
        least_bytes=counts.adamw_bytes(count),
        executed_flops={},
        tolerances=("AdamW", "AdamW"),
    )


def adamw_settings() -> OptimizerConfig:
    """AdamW for all parameters, with one rate and no decay, which all libraries spell alike."""
    return dataclasses.replace(
        OptimizerConfig(),
        matrix_optimizer="adamw",
        adamw_decay=0.0,
        matrix_adamw_rate=_ADAMW_RATE,
        embedding_rate=_ADAMW_RATE,
        head_rate=_ADAMW_RATE,
        scalar_rate=_ADAMW_RATE,
    )


def adamw_step() -> int:
    """Number of the step that is timed, from 1."""
    return _ADAMW_STEP


def _adamw_inputs(specs: dict[str, ParameterSpec]) -> Inputs:
    arrays = drawn({f"{role}.{n}": s.shape for n, s in specs.items() for role in _ADAMW_ROLES}, "float32")
    return {name: np.square(array) if name.startswith("second.") else array for name, array in arrays.items()}


def by_role(inputs: dict[str, Any], role: str) -> dict[str, Any]:
    """The arrays of one role, under the parameters' own names."""
    return {name.partition(".")[2]: array for name, array in inputs.items() if name.startswith(f"{role}.")}


def _adamw_of_the_step(optimizer: Optimizer, inputs: Named) -> Named:
    state = {name: array for name, array in inputs.items() if name.startswith(("first.", "second."))}
    state["step"] = mx.array(_ADAMW_STEP - 1, dtype=mx.int32)
    weights, state = optimizer.update(
        by_role(inputs, "weight"), by_role(inputs, "gradient"), state, mx.array(1.0), mx.array(0.0)
    )
    del state["step"]
    return {**{f"weight.{name}": array for name, array in weights.items()}, **state}


def _adamw_of_mlx(c: OptimizerConfig, inputs: Named) -> Named:
    optimizer = mlx.optimizers.AdamW(
        _ADAMW_RATE,
        betas=[c.adam_beta1, c.adam_beta2],
        eps=c.adam_epsilon,
        weight_decay=0.0,
        bias_correction=True,
    )
    weights, first, second = (by_role(inputs, role) for role in ("weight", "first", "second"))
    optimizer.init(weights)
    optimizer.state["step"] = mx.array(_ADAMW_STEP - 1, dtype=mx.uint64)
    for name in weights:
        optimizer.state[name] = {"m": first[name], "v": second[name]}
    results = {f"weight.{n}": w for n, w in optimizer.apply_gradients(by_role(inputs, "gradient"), weights).items()}
    for name in weights:
        results[f"first.{name}"], results[f"second.{name}"] = optimizer.state[name]["m"], optimizer.state[name]["v"]
    return results


def banks_of(specs: dict[str, ParameterSpec]) -> list[tuple[int, int, int]]:
    """Muon's matrices by shape, [N, n, m] with n <= m, as `optim.over_banks` gathers them."""
    found: dict[tuple[int, int], int] = {}
    for spec in specs.values():
        for rows in spec.blocks:
            shape = min(rows, spec.shape[-1]), max(rows, spec.shape[-1])
            found[shape] = found.get(shape, 0) + spec.shape[0]
    return [(count, *shape) for shape, count in found.items()]
