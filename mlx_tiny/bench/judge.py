"""What the first losses of a training step must be, by plain operations that no side of `bench step` runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np

from mlx_tiny.config import RunConfig
from mlx_tiny.model import forward as model
from mlx_tiny.ops.activation import activate
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.ops.cross_entropy import head_cross_entropy
from mlx_tiny.ops.qk_norm_rope import qk_norm_rope
from mlx_tiny.ops.rotary import rotary_tables
from mlx_tiny.training.step import TrainingState, TrainingStep


def expected_losses(
    config: RunConfig, weights: dict[str, np.ndarray], batches: Sequence[np.ndarray], multiplier: float, momentum: float
) -> list[float]:
    """The losses of the first steps, a step a batch, in float32 and uncompiled.

    All that has implementations is asked for `plain`, and its gradients are MLX's own, so that no `cpu` or `metal` code
    is judged by itself. The optimizer is the step's, its products plain; PyTorch's sides, held against the same losses,
    vouch for it.
    """
    plain = replace(config.train, attention="plain", muon="plain", dtype="float32", micro_batches=1, compile=False)
    step = _PlainStep(replace(config, train=plain), compiled=False)
    parameters = {name: mx.array(array) for name, array in weights.items()}
    state, losses = TrainingState(parameters, step.optimizer.initialize()), list[float]()
    for batch in batches:
        state, loss = step(state, batch, multiplier, momentum)
        mx.eval(loss, state.arrays())
        losses.append(float(loss))
    return losses


class _PlainStep(TrainingStep):
    """The step whose loss is spelled out below."""

    def _mean_loss(self, parameters: model.Parameters, token_BT1: mx.array) -> mx.array:
        c = self.config.model
        H, G, K, epsilon = c.heads, c.key_value_heads, c.head_width, c.norm_epsilon
        (B, T), target_BT = token_BT1[:, 1:].shape, token_BT1[:, 1:]
        tables = rotary_tables(T, K, c.rope_base)

        def normalize(x: mx.array) -> mx.array:
            return x * mx.rsqrt(mx.mean(mx.square(x), axis=-1, keepdims=True) + epsilon)

        x_BTD = normalize(parameters["embedding"][token_BT1[:, :-1]])
        for index in range(c.layers):
            layer = {name: bank[index] for name, bank in parameters.items() if name not in ("embedding", "head")}
            projected = (normalize(x_BTD) @ layer["query_key_value"].T).reshape(B, T, H + 2 * G, K)
            query, key, value = qk_norm_rope(
                projected,
                layer["query_norm_weight"],
                layer["key_norm_weight"],
                tables,
                key_value_heads=G,
                epsilon=epsilon,
                implementation="plain",
            )
            mixed = causal_attention(query, key, value, scale=K**-0.5, implementation="plain")
            attended = mixed.reshape(B, T, H * K) @ layer["attention_output"].T
            x_BTD = layer["residual_scale"][0] * x_BTD + attended
            hidden = activate(normalize(x_BTD) @ layer["mlp_input"].T, c.activation, implementation="plain")
            x_BTD = layer["residual_scale"][1] * x_BTD + hidden @ layer["mlp_output"].T
        head, rows = model.head_matrix(parameters), normalize(x_BTD).reshape(-1, c.width)
        losses: mx.array = head_cross_entropy(rows, head, target_BT.reshape(-1), implementation="plain")
        return losses.mean()
