"""Muon for the matrices of the layers, and AdamW for everything else.

Both are pure functions of parameters, gradients and state, so that a whole training step can be one compiled graph.
Moments and weights are float32. The variants are:
- Muon (Jordan et al. 2024): momentum as an average `m <- mu m + (1 - mu) g`, Nesterov look-ahead
  `g <- mu m + (1 - mu) g`, orthogonalised, times `sqrt(max(1, rows / columns))`; weight decay decoupled,
  `W <- W (1 - rate decay)`.
- AdamW (Loshchilov and Hutter 2019): both moments bias-corrected, epsilon outside the root, weight decay decoupled.
"""

from __future__ import annotations

import math

import mlx.core as mx

from mlx_tiny.config import OptimizerConfig
from mlx_tiny.linux.lanes import lane
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.model.spec import ParameterSpec
from mlx_tiny.ops.implementations import Choice
from mlx_tiny.ops.muon.layout import Layout, make_layout, run_view

State = dict[str, mx.array]

# Keeps the clipping factor finite where all gradients are zero.
_TINY = 1e-12


def muon_parameters(config: OptimizerConfig, specs: dict[str, ParameterSpec]) -> list[str]:
    """Names of the parameters that Muon trains; AdamW trains all others."""
    return [name for name, spec in specs.items() if spec.blocks and config.matrix_optimizer == "muon"]


def muon_layout(config: OptimizerConfig, specs: dict[str, ParameterSpec]) -> Layout | None:
    """The banks of Muon's matrices; None if Muon trains no matrix."""
    names = muon_parameters(config, specs)
    return make_layout([specs[name].shape for name in names], [specs[name].blocks for name in names]) if names else None


def initial_state(config: OptimizerConfig, specs: dict[str, ParameterSpec]) -> State:
    """Moments of zero, float32, and the number of steps taken."""
    muon = muon_parameters(config, specs)
    state = {"step": mx.array(0, dtype=mx.int32)}
    for name, spec in specs.items():
        for moment in ("momentum",) if name in muon else ("first", "second"):
            state[f"{moment}.{name}"] = mx.zeros(spec.shape)
    return state


class Optimizer:
    """The optimizer of a run; its state is that of `initial_state`.

    Args:
        config: rates and constants.
        specs: descriptions of all parameters.
        muon: the implementation of the operation `muon`.
    """

    def __init__(self, config: OptimizerConfig, specs: dict[str, ParameterSpec], muon: Choice) -> None:
        self.config, self.specs, self._muon_choice = config, specs, muon
        self._muon = muon_parameters(config, specs)
        self._layout = muon_layout(config, specs)

    def update(
        self,
        parameters: Parameters,
        gradients: Parameters,
        state: State,
        multiplier: mx.array,
        momentum: mx.array,
    ) -> tuple[Parameters, State]:
        """One step.

        Args:
            parameters, gradients: float32, of the same names and shapes.
            state: from `initial_state` or the last `update`.
            multiplier: of every learning rate, float32 scalar in [0, 1].
            momentum: of Muon, float32 scalar.

        Returns:
            New parameters and new state; the arguments are not changed.
        """
        if self.config.clip_norm:
            gradients = clipped(gradients, self.config.clip_norm)
        new_state = {"step": state["step"] + 1}
        new_parameters = self._muon_step(parameters, gradients, state, new_state, multiplier, momentum)
        for index, name in enumerate(name for name in self.specs if name not in self._muon):
            with lane(index):
                rate = multiplier * getattr(self.config, self.specs[name].rate)
                new_parameters[name] = self._adamw_step(name, parameters[name], gradients[name], state, new_state, rate)
        return {name: new_parameters[name] for name in parameters}, new_state

    def _adamw_step(
        self, name: str, weight: mx.array, gradient: mx.array, state: State, new_state: State, rate: mx.array
    ) -> mx.array:
        c = self.config
        step = new_state["step"].astype(mx.float32)
        first = c.adam_beta1 * state[f"first.{name}"] + (1 - c.adam_beta1) * gradient
        second = c.adam_beta2 * state[f"second.{name}"] + (1 - c.adam_beta2) * mx.square(gradient)
        new_state[f"first.{name}"], new_state[f"second.{name}"] = first, second
        # Both bias corrections are scalars. In the rate and in epsilon they need no pass over the arrays.
        root_correction = mx.sqrt(1 - mx.power(c.adam_beta2, step))
        scaled_rate = rate * root_correction / (1 - mx.power(c.adam_beta1, step))
        decay = c.adamw_decay if self.specs[name].decays else 0.0
        kept = weight * (1 - rate * decay) if decay else weight
        return kept - scaled_rate * first / (mx.sqrt(second) + c.adam_epsilon * root_correction)

    def _muon_step(
        self,
        parameters: Parameters,
        gradients: Parameters,
        state: State,
        new_state: State,
        multiplier: mx.array,
        momentum: mx.array,
    ) -> Parameters:
        if self._layout is None:
            return {}
        averages, banks = self._muon_choice(
            [gradients[name] for name in self._muon],
            [state[f"momentum.{name}"] for name in self._muon],
            momentum,
            layout=self._layout,
            steps=self.config.newton_schulz_steps,
            coefficients=self.config.coefficients,
        )
        new_state.update({f"momentum.{name}": array for name, array in zip(self._muon, averages, strict=True)})
        rate = multiplier * self.config.matrix_rate
        keep = 1 - rate * self.config.matrix_decay
        changed: dict[str, list[mx.array]] = {name: [] for name in self._muon}
        for run in sorted(self._layout.runs, key=lambda run: (run.parameter, run.first_row)):
            name = self._muon[run.parameter]
            weight = parameters[name][:, run.first_row : run.first_row + run.count * run.rows]
            direction = run_view(run, self.specs[name].shape[0], banks[run.bank])
            scale = math.sqrt(max(1.0, run.rows / run.columns))
            # In the shape of the direction, because a reshape of that view would copy it.
            new = keep * weight.reshape(direction.shape) - rate * scale * direction
            changed[name].append(new.reshape(weight.shape))
        return {name: mx.concatenate(parts, axis=1) if len(parts) > 1 else parts[0] for name, parts in changed.items()}


def global_norm(gradients: Parameters) -> mx.array:
    """Euclidean norm of all gradients together, a float32 scalar."""
    return mx.sqrt(sum((mx.sum(mx.square(g)) for g in gradients.values()), start=mx.array(0.0)))


def clipped(gradients: Parameters, largest_norm: float) -> Parameters:
    """The gradients, scaled down if their global norm is above `largest_norm`."""
    scale = mx.minimum(1.0, largest_norm / (global_norm(gradients) + _TINY))
    return {name: gradient * scale for name, gradient in gradients.items()}
