"""A fast training step in PyTorch: fused norms, attention and AdamW, Muon by banks.

It computes the same as the step of the reference, which is written to be read.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlx_tiny.config import ModelConfig, RunConfig
from mlx_tiny.errors import TinyError

Parameters = dict[str, Any]


def orthogonalize_bank(bank_NRC: Any, steps: int, coefficients: str) -> Any:
    """`reference.optim.orthogonalize` for all matrices of a bank at once, by fused products and sums.

    Args:
        bank_NRC: wide or square matrices.
        coefficients: `quintic` or `polar_express`.
    """
    import torch

    from mlx_tiny.reference.optim import POLAR_EXPRESS, QUINTIC, SAFETY, SMALLEST

    polynomials = [QUINTIC] * steps if coefficients == "quintic" else POLAR_EXPRESS
    norm = torch.linalg.vector_norm(bank_NRC.float(), dim=(1, 2), keepdim=True).to(bank_NRC.dtype)
    x = bank_NRC / (SAFETY[coefficients] * norm).clamp(min=SMALLEST)
    for step in range(steps):
        a, b, c = polynomials[min(step, len(polynomials) - 1)]
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def next_token_scores(parameters: Parameters, config: ModelConfig, token_BT: Any, dtype: Any, rotation: Any) -> Any:
    """`reference.model.logits` by the fused functions of PyTorch, [B, T, V], float32.

    Args:
        dtype: of activations and products.
        rotation: from `reference.model.rotation_tables`, in that dtype.
    """
    from torch.nn.functional import embedding, linear, relu, rms_norm, scaled_dot_product_attention, silu

    from mlx_tiny.reference.model import rotate

    H, G, K, epsilon = config.heads, config.key_value_heads, config.head_width, config.norm_epsilon
    weights = {name: array.to(dtype) for name, array in parameters.items()}
    banks = {name: bank.unbind() for name, bank in weights.items() if name not in ("embedding", "head")}

    def normalize(x_BTD: Any) -> Any:
        return rms_norm(x_BTD, (config.width,), eps=epsilon)

    x_BTD = normalize(embedding(token_BT, weights["embedding"]))
    for index in range(config.layers):
        layer = {name: bank[index] for name, bank in banks.items()}
        projected = linear(normalize(x_BTD), layer["query_key_value"]).unflatten(-1, (H + 2 * G, K))
        query, key, value = projected.split([H, G, G], dim=2)
        query = rotate(rms_norm(query, (K,), layer["query_norm_weight"], epsilon), rotation)
        key = rotate(rms_norm(key, (K,), layer["key_norm_weight"], epsilon), rotation)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=H != G)
        mixed = mixed.transpose(1, 2).flatten(2)
        x_BTD = layer["residual_scale"][0] * x_BTD + linear(mixed, layer["attention_output"])
        hidden = linear(normalize(x_BTD), layer["mlp_input"])
        if config.activation == "swiglu":
            gate, up = hidden.chunk(2, dim=-1)
            hidden = silu(gate) * up
        else:
            hidden = relu(hidden).square()
        x_BTD = layer["residual_scale"][1] * x_BTD + linear(hidden, layer["mlp_output"])
    return linear(normalize(x_BTD), weights.get("head", weights["embedding"])).float()


class TunedStep:
    """The step of a run on the best device of PyTorch; parameters and moments change in place.

    Args:
        parameters: with the names of the reference, float32.
        compiled: use torch.compile for forward, backward and Muon's banks.

    Raises:
        TinyError: the model has options, which this step does not have.
    """

    def __init__(self, config: RunConfig, parameters: Parameters, device: Any, *, compiled: bool) -> None:
        import torch

        from mlx_tiny.reference.model import rotation_tables
        from mlx_tiny.reference.optim import muon_parameters

        if config.model.options:
            raise TinyError(f"it has no options of the model, and here are {config.model.options}")
        self.config, self.device = config, device
        self._dtype = getattr(torch, config.train.dtype)
        tables = rotation_tables(config.model, config.model.context)
        self._rotation = tuple(table.to(self._dtype).to(device) for table in tables)
        self.parameters = {name: array.to(device).requires_grad_() for name, array in parameters.items()}
        # Shapes are the same at every step, and there are few banks.
        wrap: Callable[..., Any] = (
            functools.partial(torch.compile, dynamic=False) if compiled else lambda function: function
        )
        self._loss = wrap(self._mean_loss)
        self._orthogonalize = wrap(orthogonalize_bank)
        self._muon = {
            name: torch.zeros_like(self.parameters[name]) for name in muon_parameters(config.model, config.optimizer)
        }
        self._adamw = self._make_adamw()

    def _make_adamw(self) -> Any:
        import torch

        from mlx_tiny.reference.model import parameters_of

        c, described = self.config.optimizer, parameters_of(self.config.model)
        groups = [
            {
                "params": [array],
                "rate": getattr(c, described[name].rate),
                "lr": getattr(c, described[name].rate),
                "weight_decay": c.adamw_decay if described[name].decays else 0.0,
            }
            for name, array in self.parameters.items()
            if name not in self._muon
        ]
        return torch.optim.AdamW(groups, betas=(c.adam_beta1, c.adam_beta2), eps=c.adam_epsilon, fused=True)

    def __call__(self, batch: np.ndarray, multiplier: float, momentum: float) -> float:
        """One step on a batch [B, T+1]; returns the mean loss before the update, which is read when it is done."""
        import torch

        token_BT1 = torch.from_numpy(batch.astype(np.int64)).to(self.device)
        loss = self._loss(self.parameters, token_BT1)
        loss.backward()
        with torch.no_grad():
            if self.config.optimizer.clip_norm:
                torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.optimizer.clip_norm)
            for group in self._adamw.param_groups:
                group["lr"] = multiplier * group["rate"]
            self._adamw.step()
            self._step_muon(multiplier, momentum)
            for array in self.parameters.values():
                array.grad = None
        return float(loss.detach())

    def _mean_loss(self, parameters: Parameters, token_BT1: Any) -> Any:
        from torch.nn.functional import cross_entropy

        scores = next_token_scores(parameters, self.config.model, token_BT1[:, :-1], self._dtype, self._rotation)
        return cross_entropy(scores.flatten(0, 1), token_BT1[:, 1:].flatten())

    def _step_muon(self, multiplier: float, momentum: float) -> None:
        """The same as `reference.optim.muon`, for all matrices of equal shape at once."""
        import torch

        from mlx_tiny.reference.model import parameters_of

        c, gathered = self.config.optimizer, dict[tuple[int, int], list[Any]]()
        described = parameters_of(self.config.model)
        rate = multiplier * c.matrix_rate
        for name, average in self._muon.items():
            weight, gradient = self.parameters[name], self.parameters[name].grad
            average.lerp_(gradient, 1 - momentum)
            ahead = torch.lerp(gradient, average, momentum)
            weight.mul_(1 - rate * c.matrix_decay)
            blocks = list(described[name].blocks)
            for part, direction in zip(weight.split(blocks, 1), ahead.split(blocks, 1), strict=True):
                rows, columns = part.shape[1:]
                tall = rows > columns
                shape = (columns, rows) if tall else (rows, columns)
                scale = math.sqrt(max(1.0, rows / columns))
                gathered.setdefault(shape, []).append((part, direction.mT if tall else direction, tall, scale))
        for parts in gathered.values():
            bank = torch.cat([direction for _, direction, _, _ in parts])
            moved = self._orthogonalize(bank, c.newton_schulz_steps, c.coefficients)
            for (part, _, tall, scale), change in zip(parts, moved.split([len(p[0]) for p in parts]), strict=True):
                part.sub_(change.mT if tall else change, alpha=rate * scale)
