"""Both models on the same weights and batch: as a whole, and stage by stage in lockstep.

In lockstep every stage of the MLX model gets the reference's result of the stage before it, and its gradient gets the
reference's gradient of the stage after it. So each comparison checks one stage: errors do not add up, and a fault fails
only the stage that contains it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.forward import token_losses
from mlx_tiny.model.parameters import Parameters, parameter_specs
from mlx_tiny.ops.conformance import Array, Result, to_float64
from mlx_tiny.ops.implementations import AUTO, decide
from mlx_tiny.reference import model as reference
from mlx_tiny.tolerances import Bounds, bounds
from mlx_tiny.validate.tensors import as_torch

Arrays = dict[str, Array]


@dataclass(frozen=True)
class ReferenceRun:
    """Results of the reference for a batch, in float64."""

    losses: Array
    """Per target, [B, T]."""
    gradients: Arrays
    """Gradient of the mean loss, by parameter."""
    values: Arrays
    """Intermediate results in the order of computation, the last of them `logits`."""
    slopes: Arrays
    """Gradients of the mean loss with respect to `values`."""
    rows: dict[int, Array]
    """By layer with value embeddings: the rows of the tokens, [B, T, G K]."""

    @property
    def loss(self) -> Array:
        return np.asarray(self.losses.mean())

    def row_terms(self, layer: int) -> float:
        """Sum of the absolute terms in the gradient of a gain of value embeddings, most of which cancel."""
        rows = self.rows[layer]
        return float(np.abs(self.slopes[f"layer.{layer}.attention.value"].reshape(rows.shape) * rows).sum())

    def stream_terms(self, layer: int) -> float:
        """Sum of the absolute terms in the gradient of a residual scale, the larger one of the layer's two.

        The gradient itself is much smaller: because of the norm at the end, the size of the stream has almost no
        effect, and the terms cancel.
        """
        before = "embedded" if layer == 0 else f"layer.{layer - 1}.after_mlp"
        middle, after = f"layer.{layer}.after_attention", f"layer.{layer}.after_mlp"
        pairs = (before, middle), (middle, after)
        return float(max(np.abs(self.values[value] * self.slopes[slope]).sum() for value, slope in pairs))


def run_reference(weights: Parameters, config: ModelConfig, batch: np.ndarray) -> ReferenceRun:
    """Run the reference forward and backward.

    Args:
        weights: of the MLX model, float32.
        batch: integers [B, T+1].
    """
    leaves = {name: weight.requires_grad_() for name, weight in as_torch(weights).items()}
    token_BT1, record = torch.from_numpy(batch.astype(np.int64)), dict[str, Any]()
    losses_BT = reference.token_losses(leaves, config, token_BT1[:, :-1], token_BT1[:, 1:], record=record)
    found = torch.autograd.grad(losses_BT.mean(), [*leaves.values(), *record.values()])
    return ReferenceRun(
        to_float64(losses_BT),
        {name: to_float64(gradient) for name, gradient in zip(leaves, found, strict=False)},
        {name: to_float64(value) for name, value in record.items()},
        {name: to_float64(slope) for name, slope in zip(record, found[len(leaves) :], strict=True)},
        {
            layer: to_float64(weights["value_embedding"][index])[batch[:, :-1]]
            for index, layer in enumerate(_layers_with(config, "value_embedding"))
        },
    )


def in_lockstep(
    weights: Parameters,
    config: ModelConfig,
    batch: np.ndarray,
    expected_run: ReferenceRun,
    *,
    dtype: str,
    asked: str = AUTO,
) -> list[Result]:
    """Compare every stage of the MLX model, which gets the reference's numbers, with the reference.

    Args:
        expected_run: the reference's results for the same weights and batch.
        dtype: of activations.
        asked: implementations of the operations, in the form of `--implementation`.

    Returns:
        The value of each stage in the order of computation, and the losses; then, in reverse order, the gradients with
        respect to the value of each stage and to the parameters of each layer.
    """
    width, tokens = getattr(mx, dtype), (mx.array(batch[:, :-1]), mx.array(batch[:, 1:]))
    window = replace(config, context=batch.shape[1] - 1)
    implementations = decide(window, batch=len(batch), dtype=dtype, asked=asked)

    def run(weights: Parameters, probes: Parameters) -> tuple[mx.array, mx.array, Parameters]:
        own: Parameters = {}

        def tap(name: str, array: mx.array) -> mx.array:
            own[name] = array
            expected = (part[name].astype(np.float32) for part in (expected_run.values, expected_run.slopes))
            meeting = (mx.array(numbers).astype(width) for numbers in expected)
            met: mx.array = _meet()(array, *meeting, probes[name])
            return met

        losses_BT = token_losses(weights, config, *tokens, implementations, dtype=width, tap=tap)
        return losses_BT.mean(), losses_BT, own

    stages = [name for name in expected_run.values if name != "logits"]
    probes = {name: mx.zeros(expected_run.values[name].shape, dtype=width) for name in stages}
    (_, losses_BT, own), (gradients, slopes) = mx.value_and_grad(run, argnums=(0, 1))(weights, probes)
    forward, backward = bounds("stage", dtype), bounds("stage gradient", dtype)
    results = [Result(name, to_float64(own[name]), expected_run.values[name], forward) for name in stages]
    results.append(Result("loss", to_float64(losses_BT), expected_run.losses, bounds("stage loss", dtype)))
    results += [
        Result(f"gradient at {name}", to_float64(slopes[name]), expected_run.slopes[name], backward)
        for name in reversed(stages)
    ]
    specs = parameter_specs(config)
    for name, expected in expected_run.gradients.items():
        got = to_float64(gradients[name])
        if not specs[name].layers:
            results.append(Result(f"gradient of {name}", got, expected, backward))
        else:
            results += [
                Result(
                    f"gradient of layer.{layer}.{name}",
                    got[index],
                    expected[index],
                    gradient_bounds(name, "stage gradient", dtype, expected_run, [layer]),
                )
                for index, layer in reversed(list(enumerate(specs[name].layers)))
            ]
    return results


def gradient_bounds(name: str, operation: str, dtype: str, expected_run: ReferenceRun, layers: Iterable[int]) -> Bounds:
    """Bounds for the gradient of a parameter in these layers, by the entry `operation` of the table."""
    sums = {
        "residual_scale": ("stage sum", expected_run.stream_terms),
        "value_embedding_gain": ("sum over rows", expected_run.row_terms),
    }
    if name not in sums:
        return bounds(operation, dtype)
    entry, terms = sums[name]
    allowed = bounds(entry, dtype)
    return Bounds(0.0, allowed.relative * max(map(terms, layers)), allowed.reason)


def _layers_with(config: ModelConfig, name: str) -> Sequence[int]:
    """The layers that have this parameter."""
    spec = parameter_specs(config).get(name)
    return spec.layers if spec else ()


def _meet() -> Callable[..., Any]:
    """A function of a stage's own value, the reference's value and gradient, and a probe.

    It returns the reference's value, so that the next stage computes from that. In the backward pass, the probe gets
    the gradient that arrives, to be compared; the stage's own value gets the reference's gradient instead.
    """

    def forward(own: mx.array, value: mx.array, slope: mx.array, probe: mx.array) -> mx.array:
        return value

    def backward(
        primals: tuple[mx.array, ...], arriving: mx.array, output: mx.array
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        _, value, slope, _ = primals
        return slope, mx.zeros_like(value), mx.zeros_like(slope), arriving

    meet = mx.custom_function(forward)
    meet.vjp(backward)
    return meet
