"""Muon and AdamW, one matrix at a time.

`model.parameters_of` says which optimizer trains a parameter: Muon trains those with `blocks`, which are matrices
(AdamW under `matrix_optimizer="adamw"`), and AdamW trains all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig, OptimizerConfig
from mlx_tiny.reference.model import Parameters, parameters_of

State = dict[str, Tensor]

# Jordan et al. 2024: the same polynomial at every step.
QUINTIC = (3.4445, -4.7750, 2.0315)
# Amsel et al. 2025 (arXiv 2505.16932): a polynomial per step; the last one is used for all later steps.
POLAR_EXPRESS = (
    (8.15655, -22.48329, 15.87877),
    (4.04293, -2.80892, 0.50002),
    (3.89167, -2.77248, 0.50606),
    (3.28575, -2.36813, 0.46449),
    (2.34654, -1.70978, 0.42324),
)
# A matrix is divided by its norm times this, so that rounding lifts no singular value above 1.
SAFETY = {"quintic": 1.0, "polar_express": 1.01}
# Keeps a zero matrix zero instead of NaN.
SMALLEST = 1e-20


def muon_parameters(model: ModelConfig, config: OptimizerConfig) -> list[str]:
    """Names of the parameters that Muon trains; AdamW trains all others."""
    if config.matrix_optimizer != "muon":
        return []
    return [name for name, parameter in parameters_of(model).items() if parameter.blocks]


def state_shapes(model: ModelConfig, config: OptimizerConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the optimizers' state: the moments of each parameter, and the number of steps."""
    shapes: dict[str, tuple[int, ...]] = {"step": ()}
    muon = muon_parameters(model, config)
    for name, parameter in parameters_of(model).items():
        for moment in ("momentum",) if name in muon else ("first", "second"):
            shapes[f"{moment}.{name}"] = parameter.shape
    return shapes


def initialize(parameters: Parameters, model: ModelConfig, config: OptimizerConfig) -> State:
    """Moments of zero in the dtype of the parameters, and the number of steps taken."""
    state = {"step": torch.tensor(0, dtype=torch.int32)}
    for name, shape in state_shapes(model, config).items():
        if name != "step":
            state[name] = parameters[name.partition(".")[2]].new_zeros(shape)
    return state


def update(
    parameters: Parameters,
    gradients: Parameters,
    state: State,
    model: ModelConfig,
    config: OptimizerConfig,
    multiplier: float,
    momentum: float,
) -> tuple[Parameters, State]:
    """One step of both optimizers.

    Args:
        parameters, gradients: of the same names, shapes and dtypes.
        state: from `initialize` or the last `update`.
        multiplier: of every learning rate, in [0, 1].
        momentum: of Muon.

    Returns:
        New parameters and new state; the arguments are not changed.
    """
    if config.clip_norm:
        gradients = clip(gradients, config.clip_norm)
    new_parameters, new_state = {}, {"step": state["step"] + 1}
    described, banks = parameters_of(model), muon_parameters(model, config)
    for name, weight in parameters.items():
        if name in banks:
            new_parameters[name], new_state[f"momentum.{name}"] = muon(
                weight,
                gradients[name],
                state[f"momentum.{name}"],
                described[name].blocks,
                config,
                multiplier,
                momentum,
            )
        else:
            new_parameters[name], new_state[f"first.{name}"], new_state[f"second.{name}"] = adamw(
                weight,
                gradients[name],
                state[f"first.{name}"],
                state[f"second.{name}"],
                step=int(new_state["step"]),
                rate=multiplier * getattr(config, described[name].rate),
                decay=config.adamw_decay if described[name].decays else 0.0,
                config=config,
            )
    return new_parameters, new_state


def adamw(
    weight: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    step: int,
    rate: float,
    decay: float,
    config: OptimizerConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loshchilov and Hutter 2019 (arXiv 1711.05101): weight decay decoupled, epsilon outside the root.

    Args:
        weight, gradient, first, second: of the same shape; first and second are the moments after the last step.
        step: number of this step, from 1.

    Returns:
        Weight, first and second moment after the step.
    """
    first = config.adam_beta1 * first + (1 - config.adam_beta1) * gradient
    second = config.adam_beta2 * second + (1 - config.adam_beta2) * gradient**2
    mean = first / (1 - config.adam_beta1**step)
    square = second / (1 - config.adam_beta2**step)
    weight = weight - rate * decay * weight
    return weight - rate * mean / (torch.sqrt(square) + config.adam_epsilon), first, second


def muon(
    bank_LRC: Tensor,
    gradient_LRC: Tensor,
    average_LRC: Tensor,
    blocks: tuple[int, ...],
    config: OptimizerConfig,
    multiplier: float,
    momentum: float,
) -> tuple[Tensor, Tensor]:
    """Jordan et al. 2024: an averaged gradient with Nesterov's look-ahead, made orthogonal matrix by matrix.

    First a matrix loses rate times decay of itself; then rate sqrt(max(1, rows / columns)) times its orthogonalised
    direction is subtracted.

    Args:
        bank_LRC: L layers, in each of them matrices below each other.
        average_LRC: the averaged gradient after the last step.
        blocks: number of rows of each matrix in a layer.

    Returns:
        The bank and the averaged gradient after the step.
    """
    average_LRC = momentum * average_LRC + (1 - momentum) * gradient_LRC
    ahead_LRC = momentum * average_LRC + (1 - momentum) * gradient_LRC
    rate = multiplier * config.matrix_rate
    new_LRC = bank_LRC.clone()
    for new, old, direction in zip(*(matrices(bank, blocks) for bank in (new_LRC, bank_LRC, ahead_LRC)), strict=True):
        rows, columns = old.shape
        orthogonal = orthogonalize(direction, steps=config.newton_schulz_steps, coefficients=config.coefficients)
        new.copy_(old - rate * config.matrix_decay * old - rate * math.sqrt(max(1.0, rows / columns)) * orthogonal)
    return new_LRC, average_LRC


def matrices(bank_LRC: Tensor, blocks: tuple[int, ...]) -> Iterator[Tensor]:
    """Every matrix of a bank as a view: layer by layer, from top to bottom."""
    for layer_RC in bank_LRC:
        yield from torch.split(layer_RC, list(blocks))


def orthogonalize(matrix_RC: Tensor, *, steps: int, coefficients: str) -> Tensor:
    """Newton-Schulz: the matrix with its singular values moved near 1, in the dtype of the matrix.

    X <- a X + b (X X^T) X + c (X X^T)^2 X, starting from X = matrix / norm. X X^T is smaller for a wide X, so a tall
    matrix is transposed first and back at the end. A zero matrix stays zero.

    Args:
        coefficients: `quintic` or `polar_express`.
    """
    tall = matrix_RC.shape[0] > matrix_RC.shape[1]
    x = matrix_RC.T if tall else matrix_RC
    # Two divisions, because in float32 the squares of numbers near 1e-20 would be 0.
    x = x / x.abs().max().clamp(min=SMALLEST)
    x = x / (SAFETY[coefficients] * torch.sqrt((x * x).sum())).clamp(min=SMALLEST)
    for step in range(steps):
        a, b, c = QUINTIC if coefficients == "quintic" else POLAR_EXPRESS[min(step, len(POLAR_EXPRESS) - 1)]
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x.T if tall else x


def clip(gradients: Parameters, largest_norm: float) -> Parameters:
    """All gradients, scaled down by one factor if their common Euclidean norm is above `largest_norm`."""
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
    if norm <= largest_norm:
        return gradients
    return {name: gradient * (largest_norm / norm) for name, gradient in gradients.items()}
