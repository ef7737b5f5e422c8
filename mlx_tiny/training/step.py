"""One training step: loss, gradients and update as one graph, compiled where the machine can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.config import RunConfig
from mlx_tiny.linux.lanes import compiled_function, lanes, summed_over_lanes
from mlx_tiny.model.forward import StandIns, as_computed, token_losses
from mlx_tiny.model.parameters import Parameters, initialize, parameter_specs
from mlx_tiny.ops.implementations import Implementations, decide
from mlx_tiny.ops.operation import Device
from mlx_tiny.optim.optimizer import Optimizer, State, initial_state, muon_layout


@dataclass
class TrainingState:
    """Everything that a training step changes."""

    parameters: Parameters
    optimizer: State

    def arrays(self) -> list[mx.array]:
        """All arrays, for evaluation and for copying."""
        return [*self.parameters.values(), *self.optimizer.values()]


def step_implementations(config: RunConfig, device: Device | None = None) -> Implementations:
    """Which implementation computes each operation of the training steps of a run.

    Args:
        device: where they are to run; by default on this machine.

    Raises:
        TinyError: an implementation that was asked for does not support this model, or cannot run there.
    """
    train = config.train
    implementations = decide(
        config.model,
        batch=train.batch_size // train.micro_batches,
        dtype=train.dtype,
        asked=train.implementation,
        muon=muon_layout(config.optimizer, parameter_specs(config.model)),
        device=device,
    )
    return as_computed(implementations, config.model, train.implementation)


class TrainingStep:
    """The training step of a run; call it with a state and a batch.

    With `micro_batches` > 1 it computes the gradients of equal parts of the batch one after the other, and averages
    them, so that only the activations of one part are in memory.

    Args:
        config: of the run; the compiled graph is for this model, optimizer, dtype and number of parts only.
        compiled: whether to use `mx.compile`: one graph, or with several lanes (see `linux/lanes.py`) one for the
            gradients of each lane and one for the update.
        implementations: which implementation computes each operation; by default those that the configuration asks for.
        stand_ins: replacements for parts of the model, for measurements.

    Raises:
        TinyError: an implementation that was asked for does not support this model, or cannot run here.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        compiled: bool,
        implementations: Implementations | None = None,
        stand_ins: StandIns | None = None,
    ) -> None:
        self.config, self.compiled, self._stand_ins = config, compiled, stand_ins
        self.implementations = implementations or step_implementations(config)
        specs = parameter_specs(config.model)
        self.optimizer = Optimizer(config.optimizer, specs, self.implementations.muon)
        self._dtype = getattr(mx, config.train.dtype)
        wrap: Callable[[Any], Any] = compiled_function if compiled else lambda function: function
        self._lane_gradients = wrap(mx.value_and_grad(self._share_of_loss))
        self.update = wrap(self.optimizer.update)
        """`Optimizer.update`, compiled if the step is."""
        # In one graph the lanes would share constants, and MLX fuses operations on another lane's constant less well.
        join: Callable[[Any], Any] = wrap if len(lanes()) == 1 else lambda function: function
        self._gradients = join(self._average_gradients)
        self._whole = join(self._whole_step)

    def initial_state(self) -> TrainingState:
        """New parameters from the run's seed, and moments of zero."""
        state = fresh_state(self.config)
        mx.eval(state.arrays())
        return state

    def __call__(
        self, state: TrainingState, batch: np.ndarray, multiplier: float, momentum: float
    ) -> tuple[TrainingState, mx.array]:
        """Build the graph of one step; MLX evaluates it when the caller needs a result.

        Args:
            batch: integers [B, T+1]; inputs are the first T, targets the last T of each row.
            multiplier: of all learning rates.
            momentum: of Muon.

        Returns:
            The new state and the mean loss (float32 scalar, nats per token) before the update.
        """
        scalars = mx.array(multiplier, dtype=mx.float32), mx.array(momentum, dtype=mx.float32)
        if self.config.train.micro_batches == 1:
            loss, parameters, optimizer = self._whole(state.parameters, state.optimizer, mx.array(batch), *scalars)
        else:
            loss, gradients = self._accumulate(state.parameters, batch)
            parameters, optimizer = self.update(state.parameters, gradients, state.optimizer, *scalars)
        return TrainingState(parameters, optimizer), loss

    def loss_and_gradients(self, parameters: Parameters, batch: np.ndarray) -> tuple[mx.array, Parameters]:
        """Mean loss of a batch and its gradients, computed in parts if the run does so."""
        if self.config.train.micro_batches == 1:
            loss, gradients = self._gradients(parameters, mx.array(batch))
            return loss, gradients
        return self._accumulate(parameters, batch)

    def _whole_step(
        self,
        parameters: Parameters,
        optimizer: State,
        token_BT1: mx.array,
        multiplier: mx.array,
        momentum: mx.array,
    ) -> tuple[mx.array, Parameters, State]:
        loss, gradients = self._average_gradients(parameters, token_BT1)
        return loss, *self.update(parameters, gradients, optimizer, multiplier, momentum)

    def _accumulate(self, parameters: Parameters, batch: np.ndarray) -> tuple[mx.array, Parameters]:
        parts = np.split(batch, self.config.train.micro_batches)
        loss, total = self._gradients(parameters, mx.array(parts[0]))
        for part in parts[1:]:
            # Each part is evaluated before the next: one graph of all parts could keep all their activations in memory.
            mx.async_eval(loss, total)
            part_loss, gradients = self._gradients(parameters, mx.array(part))
            loss, total = loss + part_loss, {name: total[name] + gradients[name] for name in total}
        share = 1.0 / len(parts)
        return loss * share, {name: gradient * share for name, gradient in total.items()}

    def _average_gradients(self, parameters: Parameters, token_BT1: mx.array) -> tuple[mx.array, Parameters]:
        """Mean loss and gradients of a batch; each lane computes some of its sequences."""
        return summed_over_lanes(lambda part, share: self._lane_gradients(parameters, part, share), token_BT1)

    def _share_of_loss(self, parameters: Parameters, token_BT1: mx.array, share: float) -> mx.array:
        """The mean loss of some of the sequences, times their share of the batch."""
        losses_BT = token_losses(
            parameters,
            self.config.model,
            token_BT1[:, :-1],
            token_BT1[:, 1:],
            self.implementations,
            dtype=self._dtype,
            stand_ins=self._stand_ins,
        )
        return losses_BT.mean() if share == 1 else share * losses_BT.mean()


def fresh_state(config: RunConfig) -> TrainingState:
    """New parameters from the run's seed, and moments of zero."""
    specs = parameter_specs(config.model)
    return TrainingState(initialize(config.model, config.train.seed), initial_state(config.optimizer, specs))
