"""One training step: loss, gradients by autograd, update."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig, RunConfig
from mlx_tiny.reference import model, optim
from mlx_tiny.reference.model import Parameters


@dataclass
class TrainingState:
    """Everything that a training step changes."""

    parameters: Parameters
    optimizer: optim.State


def initial_state(
    config: RunConfig, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> TrainingState:
    """New parameters from the run's seed, and moments of zero."""
    parameters = model.initialize(config.model, config.train.seed, dtype=dtype, device=device)
    return TrainingState(parameters, optim.initialize(parameters, config.model, config.optimizer))


def loss_and_gradients(
    parameters: Parameters,
    config: ModelConfig,
    batch: np.ndarray,
    *,
    micro_batches: int = 1,
    dtype: torch.dtype | None = None,
    attention: str = "plain",
) -> tuple[Tensor, Parameters]:
    """Mean loss of a batch in nats per token, and its gradient with respect to every parameter.

    Args:
        batch: integers [B, T+1]; inputs are the first T, targets the last T of each row.
        micro_batches: number of equal parts of the batch, whose losses and gradients are averaged.
        dtype: of activations; see `model.logits`.
        attention: `plain` or `fused`.
    """
    device = parameters["embedding"].device
    leaves = {name: weight.detach().requires_grad_() for name, weight in parameters.items()}
    total = torch.zeros((), dtype=torch.promote_types(parameters["embedding"].dtype, torch.float32), device=device)
    gradients = {name: torch.zeros_like(weight) for name, weight in parameters.items()}
    for part in np.split(batch, micro_batches):
        token_BT1 = torch.from_numpy(part.astype(np.int64)).to(device)
        losses_BT = model.token_losses(
            leaves, config, token_BT1[:, :-1], token_BT1[:, 1:], dtype=dtype, attention=attention
        )
        loss = losses_BT.mean() / micro_batches
        for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            gradients[name] += gradient
        total += loss.detach()
    return total, gradients


def training_step(
    state: TrainingState,
    config: RunConfig,
    batch: np.ndarray,
    multiplier: float,
    momentum: float,
    *,
    attention: str = "plain",
) -> tuple[TrainingState, Tensor]:
    """One step of a run.

    Args:
        config: of the run; activations have its dtype, unless the parameters are float64.
        batch: integers [B, T+1].
        multiplier: of all learning rates.
        momentum: of Muon.

    Returns:
        The new state, and the mean loss before the update; the old state is not changed.
    """
    exact = state.parameters["embedding"].dtype == torch.float64
    loss, gradients = loss_and_gradients(
        state.parameters,
        config.model,
        batch,
        micro_batches=config.train.micro_batches,
        dtype=torch.float64 if exact else getattr(torch, config.train.dtype),
        attention=attention,
    )
    with torch.no_grad():
        parameters, optimizer = optim.update(
            state.parameters, gradients, state.optimizer, config.model, config.optimizer, multiplier, momentum
        )
    return TrainingState(parameters, optimizer), loss
