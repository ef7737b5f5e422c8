"""Two further parts of a training step that are timed: the MLP and AdamW. They have no choice of implementations.

The timed functions are those of the forward pass and of the optimizer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.optimizers
import numpy as np

from mlx_tiny.config import ModelConfig, OptimizerConfig
from mlx_tiny.model import forward
from mlx_tiny.model.parameters import Parameters, parameter_specs
from mlx_tiny.model.spec import ParameterSpec
from mlx_tiny.ops.activation import ACTIVATION
from mlx_tiny.ops.implementations import AS_ASKED, PLAIN, Choice, decide
from mlx_tiny.ops.muon import MUON
from mlx_tiny.ops.operation import (
    ArraySpec,
    Case,
    Exact,
    Function,
    Implementation,
    Named,
    Operation,
    Proof,
    Rival,
    Settings,
    here,
)
from mlx_tiny.optim.optimizer import Optimizer

Specs = dict[str, ParameterSpec]


def _transform_by(name: str) -> Function:
    """The MLP of a layer with this implementation of the activation."""

    def transform(x_BTD: mx.array, *weights: mx.array, model: ModelConfig) -> mx.array:
        layer = dict(zip(("mlp_input", "mlp_output"), weights, strict=True))
        # The MLP uses the activation only.
        chosen = decide(model, asked=f"activation={name}", device=here())
        return forward.mlp(layer, model, x_BTD, chosen, lambda _, array: array)

    return transform


def _mlp_inputs(case: Case) -> dict[str, ArraySpec]:
    m, specs = case.model, parameter_specs(case.model)
    return {
        "x": _stream(case),
        "mlp_input": ArraySpec(specs["mlp_input"].shape[1:], std=m.width**-0.5, by_sequence=False),
        "mlp_output": ArraySpec(specs["mlp_output"].shape[1:], std=m.hidden**-0.5, by_sequence=False),
    }


def _stream(case: Case) -> ArraySpec:
    return ArraySpec((case.batch, case.model.context, case.model.width))


def _mlp_formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    """The formula of the activation between two products."""
    x_BTD, first, second = inputs.values()
    x_ND, cotangent_ND = (array.reshape(-1, array.shape[-1]) for array in (x_BTD, cotangents["output"]))
    between = ACTIVATION.proof.formula(
        {"hidden": x_ND @ first.T},
        {"output": cotangent_ND @ second},
        {"activation": settings["model"].activation},
    )
    hidden, gradient = between["output"], between["gradient of hidden"]
    return {
        "output": (hidden @ second.T).reshape(x_BTD.shape),
        "gradient of x": (gradient @ first).reshape(x_BTD.shape),
        "gradient of mlp_input": gradient.T @ x_ND,
        "gradient of mlp_output": cotangent_ND.T @ hidden,
    }


def _mlp_flops(case: Case, both: bool) -> float:
    """Both products; as in the FLOPs of the model, the activation does not count."""
    matrices = (array for array in _mlp_inputs(case).values() if not array.by_sequence)
    return float((3 if both else 1) * 2 * case.rows * sum(math.prod(array.shape) for array in matrices))


def _mlp_by_torch(inputs: dict[str, Any], case: Case) -> dict[str, Any]:
    activate = ACTIVATION.proof.rivals["torch"].function
    assert activate is not None
    hidden = activate({"hidden": inputs["x"] @ inputs["mlp_input"].T}, case)["output"]
    return {"output": hidden @ inputs["mlp_output"].T}


MLP = Operation(
    name="mlp",
    summary="the MLP",
    implementations={
        name: Implementation(_transform_by(name), other.expects, other.device)
        for name, other in ACTIVATION.implementations.items()
    },
    proof=Proof(
        label=lambda case: f"N{case.rows} D{case.model.width} F{case.model.hidden} {case.model.activation}",
        inputs=_mlp_inputs,
        outputs=lambda case: {"output": _stream(case)},
        settings=lambda case: {"model": case.model},
        formula=_mlp_formula,
        cases=lambda: (),
        entries=("mlp", "mlp"),
        flops=_mlp_flops,
        executed_flops=dict.fromkeys((*ACTIVATION.implementations, "torch"), _mlp_flops),
        rivals={"torch": Rival(_mlp_by_torch)},
    ),
)
"""The MLP of a layer; its implementations are those of the activation."""

# A step in the middle of training, where the bias corrections are neither 0 nor 1. All parameters are trained by AdamW,
# with one rate and without decay, which is the same in all libraries.
_STEP, _RATE = 10, 0.003
_SETTINGS = OptimizerConfig(
    matrix_optimizer="adamw",
    adamw_decay=0.0,
    matrix_adamw_rate=_RATE,
    embedding_rate=_RATE,
    head_rate=_RATE,
    scalar_rate=_RATE,
)
_BETAS, _EPSILON = (_SETTINGS.adam_beta1, _SETTINGS.adam_beta2), _SETTINGS.adam_epsilon


def _specs(case: Case) -> Specs:
    """The parameters that are updated; by default all of the model."""
    specs: Specs | None = case.options.get("specs")
    return parameter_specs(case.model) if specs is None else specs


def _adamw_step(weights: Parameters, gradients: Parameters, moments: Parameters, *, specs: Specs) -> Named:
    optimizer = Optimizer(_SETTINGS, specs, Choice(MUON, PLAIN, AS_ASKED))
    state = {**moments, "step": mx.array(_STEP - 1, dtype=mx.int32)}
    weights, state = optimizer.update(weights, gradients, state, mx.array(1.0), mx.array(0.0))
    del state["step"]
    return {**{f"weight.{name}": array for name, array in weights.items()}, **state}


def _run_adamw(function: Function, inputs: Named, settings: Settings) -> Named:
    moments = {name: array for name, array in inputs.items() if name.startswith(("first.", "second."))}
    results: Named = function(_of(inputs, "weight"), _of(inputs, "gradient"), moments, **settings)
    return results


def _of(arrays: Mapping[str, Any], role: str) -> dict[str, Any]:
    """The arrays of one role, by the names of the parameters."""
    return {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{role}.")}


def _arrays(case: Case, *roles: str) -> dict[str, ArraySpec]:
    return {
        f"{role}.{name}": ArraySpec(
            spec.shape,
            kind="float32",
            values=functools.partial(_squares, spec.shape) if role == "second" else None,
            differentiable=False,
            by_sequence=False,
        )
        for role in roles
        for name, spec in _specs(case).items()
    }


def _squares(shape: tuple[int, ...]) -> Any:
    return np.square(np.random.default_rng(math.prod(shape)).standard_normal(shape, dtype=np.float32))


def _adamw_formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    """Loshchilov and Hutter 2019, with bias corrections and without decay."""
    results: Exact = {}
    for name, weight in _of(inputs, "weight").items():
        gradient = inputs[f"gradient.{name}"]
        first = _BETAS[0] * inputs[f"first.{name}"] + (1 - _BETAS[0]) * gradient
        second = _BETAS[1] * inputs[f"second.{name}"] + (1 - _BETAS[1]) * gradient**2
        mean, square = first / (1 - _BETAS[0] ** _STEP), second / (1 - _BETAS[1] ** _STEP)
        results[f"weight.{name}"] = weight - _RATE * mean / (np.sqrt(square) + _EPSILON)
        results[f"first.{name}"], results[f"second.{name}"] = first, second
    return results


def _adamw_flops(case: Case, both: bool) -> float:
    """Per entry 3 for the first moment, 4 for the second, 2 for its root and epsilon, and 3 for the update."""
    return float(12 * sum(spec.size for spec in _specs(case).values()))


def _adamw_by_mlx(inputs: Named, case: Case) -> Named:
    optimizer = mlx.optimizers.AdamW(_RATE, betas=list(_BETAS), eps=_EPSILON, weight_decay=0.0, bias_correction=True)
    weights, first, second = (_of(inputs, role) for role in ("weight", "first", "second"))
    optimizer.init(weights)
    optimizer.state["step"] = mx.array(_STEP - 1, dtype=mx.uint64)
    for name in weights:
        optimizer.state[name] = {"m": first[name], "v": second[name]}
    results = {f"weight.{n}": w for n, w in optimizer.apply_gradients(_of(inputs, "gradient"), weights).items()}
    for name in weights:
        results[f"first.{name}"], results[f"second.{name}"] = optimizer.state[name]["m"], optimizer.state[name]["v"]
    return results


def _adamw_by_torch(inputs: dict[str, Any], case: Case) -> dict[str, Any]:
    """By the function that `torch.optim.AdamW` calls; it changes weights and moments in place."""
    import torch
    from torch.optim.adamw import adamw

    weights, gradients, first, second = (
        list(_of(inputs, role).values()) for role in ("weight", "gradient", "first", "second")
    )
    steps = [torch.tensor(_STEP - 1.0, device=weight.device) for weight in weights]
    adamw(
        weights,
        gradients,
        first,
        second,
        [],
        steps,
        fused=True,
        amsgrad=False,
        maximize=False,
        lr=_RATE,
        beta1=_BETAS[0],
        beta2=_BETAS[1],
        eps=_EPSILON,
        weight_decay=0.0,
    )
    return {name: array for name, array in inputs.items() if not name.startswith("gradient.")}


def _adamw_label(case: Case) -> str:
    specs = _specs(case)
    return f"{len(specs)} arrays of {sum(spec.size for spec in specs.values()):,} numbers"


ADAMW = Operation(
    name="adamw",
    summary="AdamW's update",
    implementations={"plain": Implementation(_adamw_step)},
    proof=Proof(
        label=_adamw_label,
        inputs=lambda case: _arrays(case, "weight", "gradient", "first", "second"),
        outputs=lambda case: _arrays(case, "weight", "first", "second"),
        settings=lambda case: {"specs": _specs(case)},
        formula=_adamw_formula,
        cases=lambda: (),
        entries=("AdamW", "AdamW"),
        flops=_adamw_flops,
        rivals={"mlx": Rival(_adamw_by_mlx), "torch": Rival(_adamw_by_torch)},
        run=_run_adamw,
        differentiable=False,
    ),
)
"""AdamW's update of parameters, in float32."""
