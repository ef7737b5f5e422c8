"""Muon for the hidden matrices, AdamW for everything else, and who belongs to whom.

Both are pure functions from (parameters, gradients, state) to new parameters and state, so that a whole training
step can be one compiled graph. Moments and weights are float32.

Variants, since names alone do not tell:
- Muon (Jordan et al. 2024): momentum as an average `m <- mu m + (1 - mu) g`, Nesterov look-ahead
  `g <- mu m + (1 - mu) g`, orthogonalised, times `sqrt(max(1, rows / columns))`; weight decay decoupled,
  `W <- W (1 - rate decay)`.
- AdamW (Loshchilov and Hutter 2019): both moments bias-corrected, epsilon outside the root, weight decay decoupled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import mlx.core as mx

from mlx_tiny.config import OptimizerConfig
from mlx_tiny.linux.lanes import boundaries, lane, shares
from mlx_tiny.model.forward import Parameters, ParameterSpec
from mlx_tiny.ops import muon_pack
from mlx_tiny.ops.dispatch import Choice
from mlx_tiny.ops.newton_schulz import choose, orthogonalize

State = dict[str, mx.array]

# Keeps the clipping factor finite where all gradients are zero.
_TINY = 1e-12


def groups(specs: dict[str, ParameterSpec]) -> dict[str, list[str]]:
    """Parameter names by kind: `matrix` (Muon's, unless configured otherwise), and AdamW's three."""
    result: dict[str, list[str]] = {"matrix": [], "embedding": [], "head": [], "scalar": []}
    for name, spec in specs.items():
        result[spec.kind].append(name)
    return result


class Optimizer:
    """The update rule of one run: `initialize` makes its state, `update` is one step.

    Args:
        config: rates and constants.
        specs: of all parameters, as `model.parameter_specs` gives them.
        muon: `plain`, `metal` (own kernels), or `auto`: what `ops/dispatch.py` chooses. The state is the same.

    Raises:
        TinyError: an unknown `muon`, or `metal` where no kernel can run.
    """

    def __init__(self, config: OptimizerConfig, specs: dict[str, ParameterSpec], muon: str = "auto") -> None:
        self.config, self.specs = config, specs
        self._muon = groups(specs)["matrix"] if config.matrix_optimizer == "muon" else []
        self._layout = muon_pack.make_layout(
            [specs[name].shape for name in self._muon], [specs[name].blocks for name in self._muon]
        )
        self.choice = self._choose(muon)
        """What computes Muon's update, `plain` or `metal`, and why."""

    def _choose(self, muon: str) -> Choice:
        if not self._muon:
            return Choice("plain", "no matrix is trained by Muon")
        if muon == "auto" and (reason := muon_pack.unfit(self._layout)) is not None:
            return Choice("plain", reason)
        return choose(mx.float32, muon)

    def initialize(self) -> State:
        """Zero moments, in float32, and the number of steps taken."""
        state = {"step": mx.array(0, dtype=mx.int32)}
        for name, spec in self.specs.items():
            if name in self._muon:
                state[f"momentum.{name}"] = mx.zeros(spec.shape)
            else:
                state[f"first.{name}"] = mx.zeros(spec.shape)
                state[f"second.{name}"] = mx.zeros(spec.shape)
        return state

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
            parameters, gradients: float32, same names and shapes.
            state: as `initialize` or the last `update` gave it.
            multiplier: float32 scalar in [0, 1], on every learning rate.
            momentum: float32 scalar, Muon's.

        Returns:
            New parameters and new state; the arguments are left as they are.
        """
        if self.config.clip_norm:
            gradients = clipped(gradients, self.config.clip_norm)
        new_state = {"step": state["step"] + 1}
        muon_step = (
            self._muon_step_by_kernels if self.choice.implementation == "metal" and self._muon else self._muon_step
        )
        new_parameters = muon_step(parameters, gradients, state, new_state, multiplier, momentum)
        for index, name in enumerate(name for name in self.specs if name not in self._muon):
            with lane(index):
                rate = multiplier * self._adamw_rate(self.specs[name].kind)
                new_parameters[name] = self._adamw_step(name, parameters[name], gradients[name], state, new_state, rate)
        return {name: new_parameters[name] for name in parameters}, new_state

    def _adamw_rate(self, group: str) -> float:
        c = self.config
        return {
            "matrix": c.matrix_adamw_rate,
            "embedding": c.embedding_rate,
            "head": c.head_rate,
            "scalar": c.scalar_rate,
        }[group]

    def _adamw_step(
        self, name: str, weight: mx.array, gradient: mx.array, state: State, new_state: State, rate: mx.array
    ) -> mx.array:
        c = self.config
        step = new_state["step"].astype(mx.float32)
        first = c.adam_beta1 * state[f"first.{name}"] + (1 - c.adam_beta1) * gradient
        second = c.adam_beta2 * state[f"second.{name}"] + (1 - c.adam_beta2) * mx.square(gradient)
        new_state[f"first.{name}"], new_state[f"second.{name}"] = first, second
        # The corrections are scalars: folded into the rate and epsilon, they cost no pass over the arrays.
        root_correction = mx.sqrt(1 - mx.power(c.adam_beta2, step))
        scaled_rate = rate * root_correction / (1 - mx.power(c.adam_beta1, step))
        decay = 0.0 if self.specs[name].kind == "scalar" else c.adamw_decay
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
        ahead = {}
        for name in self._muon:
            average = momentum * state[f"momentum.{name}"] + (1 - momentum) * gradients[name]
            new_state[f"momentum.{name}"] = average
            ahead[name] = momentum * average + (1 - momentum) * gradients[name]
        directions = over_banks(ahead, self.specs, self._orthogonalized)
        rate = multiplier * self.config.matrix_rate
        keep = 1 - rate * self.config.matrix_decay
        return {name: keep * parameters[name] - rate * directions[name] for name in self._muon}

    def _muon_step_by_kernels(
        self,
        parameters: Parameters,
        gradients: Parameters,
        state: State,
        new_state: State,
        multiplier: mx.array,
        momentum: mx.array,
    ) -> Parameters:
        """The same from one packing launch, kernels for the symmetric products, and one update a parameter."""
        packed = muon_pack.pack(
            [gradients[name] for name in self._muon],
            [state[f"momentum.{name}"] for name in self._muon],
            momentum,
            self._layout,
            implementation="metal",
        )
        new_state.update({f"momentum.{name}": array for name, array in zip(self._muon, packed.momenta, strict=True)})
        banks = [self._orthogonalized(*both) for both in zip(packed.banks, packed.partials, strict=True)]
        rate = multiplier * self.config.matrix_rate
        keep = 1 - rate * self.config.matrix_decay
        changed: dict[str, list[mx.array]] = {name: [] for name in self._muon}
        for run in sorted(self._layout.runs, key=lambda run: (run.parameter, run.first_row)):
            name = self._muon[run.parameter]
            layers = self.specs[name].shape[0]
            weight = parameters[name][:, run.first_row : run.first_row + run.count * run.rows]
            direction = muon_pack.run_view(run, layers, banks[run.bank])
            scale = math.sqrt(max(1.0, run.rows / run.columns))
            # In the shape of the direction, whose view a reshape would have to copy.
            new = keep * weight.reshape(direction.shape) - rate * scale * direction
            changed[name].append(new.reshape(weight.shape))
        return {name: mx.concatenate(parts, axis=1) if len(parts) > 1 else parts[0] for name, parts in changed.items()}

    def _orthogonalized(self, bank_NRC: mx.array, partials_NP2: mx.array | None = None) -> mx.array:
        c = self.config
        return orthogonalize(
            bank_NRC,
            steps=c.newton_schulz_steps,
            coefficients=c.coefficients,
            implementation=self.choice.implementation,
            partials_NP2=partials_NP2,
        )


def over_banks(
    arrays: Parameters, specs: dict[str, ParameterSpec], transform: Callable[[mx.array], mx.array]
) -> Parameters:
    """Apply `transform` to all matrices of equal shape at once and scale each by `sqrt(max(1, rows / columns))`.

    Stacked matrices (a parameter's `blocks`) are taken apart, tall ones transposed, and everything is put back, so the
    result has the names and shapes of `arrays`.
    """
    pieces = list(_pieces(arrays, specs))
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, (_, _, piece) in enumerate(pieces):
        by_shape.setdefault(piece.shape[1:], []).append(index)
    changed: dict[int, mx.array] = {}
    for members in by_shape.values():
        whole = by_lanes(mx.concatenate([pieces[index][2] for index in members]), transform)
        counts = [len(pieces[index][2]) for index in members]
        changed.update(zip(members, mx.split(whole, boundaries(counts)), strict=True))
    blocks: dict[str, list[mx.array]] = {name: [] for name in arrays}
    for index, (name, tall, _) in enumerate(pieces):
        block = changed[index].swapaxes(1, 2) if tall else changed[index]
        blocks[name].append(block * math.sqrt(max(1.0, block.shape[1] / block.shape[2])))
    return {name: mx.concatenate(parts, axis=1) if len(parts) > 1 else parts[0] for name, parts in blocks.items()}


def by_lanes(bank_NRC: mx.array, transform: Callable[[mx.array], mx.array]) -> mx.array:
    """`transform` of a bank, whose matrices do not look at each other: each lane takes a part of them."""
    parts = []
    for number, part_NRC in enumerate(mx.split(bank_NRC, boundaries(shares(len(bank_NRC))))):
        with lane(number):
            parts.append(transform(part_NRC))
    return mx.concatenate(parts) if len(parts) > 1 else parts[0]


def _pieces(arrays: Parameters, specs: dict[str, ParameterSpec]) -> Iterator[tuple[str, bool, mx.array]]:
    """Each block as (parameter, whether it was transposed, [L, short side, long side])."""
    for name, array in arrays.items():
        for block in mx.split(array, boundaries(specs[name].blocks), axis=1):
            tall = block.shape[1] > block.shape[2]
            yield name, tall, block.swapaxes(1, 2) if tall else block


def global_norm(gradients: Parameters) -> mx.array:
    """Euclidean norm of all gradients together, float32 scalar."""
    return mx.sqrt(sum((mx.sum(mx.square(g)) for g in gradients.values()), start=mx.array(0.0)))


def clipped(gradients: Parameters, largest_norm: float) -> Parameters:
    """The gradients scaled so that their global norm is at most `largest_norm`."""
    scale = mx.minimum(1.0, largest_norm / (global_norm(gradients) + _TINY))
    return {name: gradient * scale for name, gradient in gradients.items()}
