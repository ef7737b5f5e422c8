"""Layer 3: twenty steps of Muon and AdamW, compared with the reference and with the optimizers of PyTorch and MLX."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.optimizers
import numpy as np
import torch

from mlx_tiny.config import ModelConfig, OptimizerConfig, ScheduleConfig
from mlx_tiny.model.parameters import Parameters, parameter_specs
from mlx_tiny.ops import metal
from mlx_tiny.ops.conformance import Array, Result, to_float64
from mlx_tiny.ops.implementations import decide
from mlx_tiny.optim import optimizer as optim
from mlx_tiny.optim import schedule
from mlx_tiny.reference import optim as reference
from mlx_tiny.reference import schedule as reference_schedule
from mlx_tiny.reference.model import parameters_of
from mlx_tiny.tolerances import bounds
from mlx_tiny.validate.table import Comparison
from mlx_tiny.validate.tensors import as_torch, normal

LAYER = "optimizers"
STEPS = 20

# Tall and wide matrices, two and three of them in a bank, grouped queries.
MODEL = ModelConfig(
    vocabulary_size=256, layers=2, width=24, heads=4, key_value_heads=2, head_width=8, hidden=40, activation="swiglu"
)
_CASE = f"{STEPS} steps"
_SCALE = 1e-2
# Below the norm of the gradients, about 2, so that every step is clipped.
_CLIP = 0.5
# Constants that are not the defaults, so that code which ignores them fails.
_CONFIG = OptimizerConfig(
    matrix_decay=0.1, adamw_decay=0.2, adam_beta1=0.8, adam_beta2=0.98, adam_epsilon=3e-10, newton_schulz_steps=6
)
# Gradients so small that AdamW's epsilon matters.
_SMALL = 1e-10

Drive = Callable[["OptimizerRun"], dict[str, Array]]


@dataclass(frozen=True)
class OptimizerRun:
    """Initial weights, and the gradients and rates of each step."""

    config: OptimizerConfig
    weights: Parameters
    gradients: list[Parameters]
    multipliers: list[float]
    momenta: list[float]


def optimizer_run(config: OptimizerConfig) -> OptimizerRun:
    """Random weights, and random gradients with a constant part; some rows of the embedding are zero or very small."""
    generator = np.random.default_rng(0)

    def draw(scale: float) -> Parameters:
        return {name: normal(generator, spec.shape, "float32", scale) for name, spec in parameter_specs(MODEL).items()}

    weights, drift = draw(1.0), draw(_SCALE)
    rows = mx.array([0.0] * 8 + [_SMALL / _SCALE] * 8 + [1.0] * (MODEL.vocabulary_size - 16))[:, None]
    gradients = []
    for _ in range(STEPS):
        gradient = {name: noise + drift[name] for name, noise in draw(_SCALE).items()}
        gradients.append({**gradient, "embedding": rows * gradient["embedding"]})
    shares = [step / STEPS for step in range(STEPS)]
    return OptimizerRun(
        config, weights, gradients, [1 - share / 2 for share in shares], [0.85 + share / 10 for share in shares]
    )


def comparisons() -> Iterator[Comparison]:
    """First schedule and clipping, then the reference's optimizers, then those of PyTorch and MLX."""

    def ask(operation: str, case: str, run: Callable[..., list[Result]], *settings: Any, note: str = "") -> Comparison:
        return Comparison(LAYER, operation, case, "float32", functools.partial(run, *settings), note)

    yield ask("learning rate and momentum", "fractions 0 to 1", _schedules)
    yield ask("clipping", "two norms", _clipping)
    names = ("plain", *(("metal",) if metal.why_not_metal() is None else ()))
    for name in names:
        for coefficients in ("polar_express", "quintic"):
            config = replace(_CONFIG, coefficients=coefficients, clip_norm=_CLIP)
            yield ask(f"Muon, {name}", f"{coefficients}, clipped, {_CASE}", _muon, config, name)
    adamw = replace(_CONFIG, matrix_optimizer="adamw")
    yield ask("AdamW", f"clipped, {_CASE}", _adamw, replace(adamw, clip_norm=_CLIP))
    yield ask("torch.optim.AdamW", _CASE, _other, adamw, _torch_adamw, "AdamW", note="the same variant")
    yield ask(
        "mlx.optimizers.AdamW",
        _CASE,
        _other,
        adamw,
        _mlx_adamw,
        "AdamW",
        note="the same variant with bias_correction=True; its default corrects nothing",
    )
    decayed = replace(_CONFIG, coefficients="quintic")
    if hasattr(torch.optim, "Muon"):
        note = "the same variant; its Newton-Schulz computes in bfloat16, hence the bound"
        yield ask("torch.optim.Muon", f"quintic, {_CASE}", _other, decayed, _torch_muon, "Muon in bfloat16", note=note)
    else:
        note = f"torch {torch.__version__} has none; from 2.9 on it does"
        yield Comparison(LAYER, "torch.optim.Muon", f"quintic, {_CASE}", "float32", list, note, left_out=True)
    yield ask(
        "mlx.optimizers.Muon",
        f"quintic, no decay, {_CASE}",
        _other,
        replace(decayed, matrix_decay=0.0),
        _mlx_muon,
        "Muon",
        note="the same variant without weight decay; its decay is added to the gradient, ours is decoupled",
    )


def _schedules() -> list[Result]:
    fractions = np.linspace(0, 1, 201).tolist()
    config = OptimizerConfig(momentum=0.9, momentum_start=0.7, momentum_warmup=0.3)
    rates, exact = ScheduleConfig(warmup=0.1, cooldown=0.4, floor=0.05), bounds("schedule", "float64")
    return [
        Result(
            "learning rate",
            np.array([schedule.rate_multiplier(rates, f) for f in fractions]),
            np.array([reference_schedule.rate_multiplier(rates, f) for f in fractions]),
            exact,
        ),
        Result(
            "momentum",
            np.array([schedule.muon_momentum(config, f) for f in fractions]),
            np.array([reference_schedule.muon_momentum(config, f) for f in fractions]),
            exact,
        ),
    ]


def _clipping() -> list[Result]:
    gradients = optimizer_run(OptimizerConfig()).gradients[0]
    results = []
    for norm in (_CLIP, 100.0):
        got, expected = optim.clipped(gradients, norm), reference.clip(as_torch(gradients), norm)
        results += [
            Result(
                f"{name} at {norm:g}", to_float64(got[name]), to_float64(expected[name]), bounds("clipping", "float32")
            )
            for name in got
        ]
    return results


def _muon(config: OptimizerConfig, implementation: str) -> list[Result]:
    return _against_reference(config, implementation, reference.muon_parameters(MODEL, config), "Muon")


def _adamw(config: OptimizerConfig) -> list[Result]:
    return _against_reference(config, "plain", list(parameter_specs(MODEL)), "AdamW")


def _against_reference(config: OptimizerConfig, muon: str, names: list[str], rule: str) -> list[Result]:
    """Moments of these parameters, and how much they changed, after all steps."""
    run = optimizer_run(config)
    weights, state = _ours(run, muon)
    parameters = as_torch(run.weights)
    exact = reference.initialize(parameters, MODEL, config)
    for gradients, multiplier, momentum in zip(run.gradients, run.multipliers, run.momenta, strict=True):
        parameters, exact = reference.update(
            parameters, as_torch(gradients), exact, MODEL, config, multiplier, momentum
        )
    results = [
        Result(name, to_float64(state[name]), to_float64(moment), bounds("moment", "float32"))
        for name, moment in exact.items()
        if name.partition(".")[2] in names
    ]
    expected = {name: to_float64(weight) for name, weight in parameters.items()}
    return [*results, *_changes(run, weights, expected, names, rule)]


def _other(config: OptimizerConfig, drive: Drive, rule: str) -> list[Result]:
    """How much the parameters changed, compared with another library's optimizer."""
    run = optimizer_run(config)
    expected = drive(run)
    return _changes(run, _ours(run, "plain")[0], expected, list(expected), rule)


def _changes(
    run: OptimizerRun, got: Parameters, expected: dict[str, Array], names: list[str], rule: str
) -> list[Result]:
    starts = {name: to_float64(run.weights[name]) for name in names}
    return [
        Result(
            f"change of {name}",
            to_float64(got[name]) - starts[name],
            expected[name] - starts[name],
            bounds(rule, "float32"),
        )
        for name in names
    ]


def _ours(run: OptimizerRun, muon: str) -> tuple[Parameters, optim.State]:
    specs = parameter_specs(MODEL)
    layout = optim.muon_layout(run.config, specs)
    choice = decide(MODEL, asked=f"muon={muon}", muon=layout).muon
    optimizer, weights, state = (
        optim.Optimizer(run.config, specs, choice),
        run.weights,
        optim.initial_state(run.config, specs),
    )
    for gradients, multiplier, momentum in zip(run.gradients, run.multipliers, run.momenta, strict=True):
        weights, state = optimizer.update(weights, gradients, state, mx.array(multiplier), mx.array(momentum))
        mx.eval(weights, state)
    return weights, state


def _rates(config: OptimizerConfig) -> dict[str, tuple[float, float]]:
    """AdamW's rate and decay of each parameter."""
    return {
        name: (getattr(config, parameter.rate), config.adamw_decay if parameter.decays else 0.0)
        for name, parameter in parameters_of(MODEL).items()
    }


def _torch_adamw(run: OptimizerRun) -> dict[str, Array]:
    c, rates = run.config, _rates(run.config)
    leaves = {name: weight.requires_grad_() for name, weight in as_torch(run.weights).items()}
    groups = [{"params": [leaf], "weight_decay": rates[name][1]} for name, leaf in leaves.items()]
    optimizer = torch.optim.AdamW(groups, betas=(c.adam_beta1, c.adam_beta2), eps=c.adam_epsilon)
    for gradients, multiplier in zip(run.gradients, run.multipliers, strict=True):
        slopes = as_torch(gradients)
        for (name, leaf), group in zip(leaves.items(), optimizer.param_groups, strict=True):
            leaf.grad, group["lr"] = slopes[name], multiplier * rates[name][0]
        optimizer.step()
    return {name: to_float64(leaf) for name, leaf in leaves.items()}


def _mlx_adamw(run: OptimizerRun) -> dict[str, Array]:
    c, found = run.config, {}
    for name, (rate, decay) in _rates(run.config).items():
        optimizer = mlx.optimizers.AdamW(
            rate, [c.adam_beta1, c.adam_beta2], c.adam_epsilon, decay, bias_correction=True
        )
        weight = {name: run.weights[name]}
        for gradients, multiplier in zip(run.gradients, run.multipliers, strict=True):
            optimizer.learning_rate = multiplier * rate
            weight = optimizer.apply_gradients({name: gradients[name]}, weight)
            mx.eval(weight)
        found[name] = to_float64(weight[name])
    return found


def _torch_muon(run: OptimizerRun) -> dict[str, Array]:
    c = run.config
    banks = as_torch({name: run.weights[name] for name in reference.muon_parameters(MODEL, c)})
    parts = {
        (name, index): matrix.clone().requires_grad_()
        for name, bank in banks.items()
        for index, matrix in enumerate(reference.matrices(bank, parameters_of(MODEL)[name].blocks))
    }
    optimizer = torch.optim.Muon(parts.values(), weight_decay=c.matrix_decay, ns_steps=c.newton_schulz_steps)
    (group,) = optimizer.param_groups
    for gradients, multiplier, momentum in zip(run.gradients, run.multipliers, run.momenta, strict=True):
        group["lr"], group["momentum"] = multiplier * c.matrix_rate, momentum
        for name, slopes in as_torch({name: gradients[name] for name in banks}).items():
            for index, slope in enumerate(reference.matrices(slopes, parameters_of(MODEL)[name].blocks)):
                parts[name, index].grad = slope.clone()
        optimizer.step()
    for name, bank in banks.items():
        for index, matrix in enumerate(reference.matrices(bank, parameters_of(MODEL)[name].blocks)):
            matrix.copy_(parts[name, index].detach())
    return {name: to_float64(bank) for name, bank in banks.items()}


def _mlx_muon(run: OptimizerRun) -> dict[str, Array]:
    c, specs = run.config, parameter_specs(MODEL)
    found = {}
    for name in reference.muon_parameters(MODEL, c):
        optimizer = mlx.optimizers.Muon(c.matrix_rate, weight_decay=0.0, ns_steps=c.newton_schulz_steps)
        weights = _taken_apart(run.weights[name], specs[name].blocks)
        for gradients, multiplier, momentum in zip(run.gradients, run.multipliers, run.momenta, strict=True):
            optimizer.learning_rate, optimizer.momentum = multiplier * c.matrix_rate, momentum
            weights = optimizer.apply_gradients(_taken_apart(gradients[name], specs[name].blocks), weights)
            mx.eval(weights)
        layers = len(run.weights[name])
        stacked = [
            mx.concatenate([weights[f"{layer}.{block}"] for block in range(len(specs[name].blocks))])
            for layer in range(layers)
        ]
        found[name] = to_float64(mx.stack(stacked))
    return found


def _taken_apart(bank_LRC: mx.array, blocks: tuple[int, ...]) -> Parameters:
    """The matrices of a bank, by layer and place in it."""
    cuts = [sum(blocks[:index]) for index in range(1, len(blocks))]
    return {
        f"{layer}.{block}": matrix
        for layer, layer_RC in enumerate(bank_LRC)
        for block, matrix in enumerate(mx.split(layer_RC, cuts))
    }
