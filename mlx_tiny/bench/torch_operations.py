"""The operations of `operations.py` in PyTorch, by what it has for them: fused attention, norms, losses and AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.bench.operation import Operation
from mlx_tiny.bench.updates import adamw_settings, adamw_step, by_role
from mlx_tiny.errors import TinyError
from mlx_tiny.study.plan import Preset

Tensors = dict[str, Any]


def why_no_torch() -> str | None:
    """Why PyTorch cannot be measured here, or None where it can."""
    from mlx_tiny.reference.requirement import require_torch

    try:
        require_torch()
    except TinyError as error:
        return error.failed.removesuffix(", and the backend torch needs it")
    return None


class TorchRunner:
    """PyTorch on its best device, ready to be checked and timed as `operation.MlxRunner` is.

    Args:
        calls: how many times one run computes the operation before it waits.
    """

    def __init__(self, operation: Operation, preset: Preset, calls: int = 1) -> None:
        from mlx_tiny.reference.backend import choose_device

        self.operation, self.calls, self.device = operation, calls, choose_device()
        self._inputs = self._converted(operation.inputs)
        self._cotangents = self._converted(operation.cotangents) if operation.backward else {}
        self._update = _AdamW(self._inputs) if operation.name == "adamw" else None
        self._function = None if self._update else _FUNCTIONS[operation.name](operation, preset)

    def __call__(self) -> None:
        """Compute the operation `calls` times and wait."""
        for _ in range(self.calls):
            self._compute(self._cotangents)
        self._synchronize()

    def results(self) -> dict[str, NDArray[Any]]:
        """All results for the checking cotangents, as float32; AdamW is to be asked before it was timed."""
        cotangents = self._converted(self.operation.checking_cotangents()) if self.operation.backward else {}
        results = self._compute(cotangents)
        return {name: array.detach().float().cpu().numpy().copy() for name, array in results.items()}

    def peak_memory_bytes(self) -> int | None:
        """Most memory of the device during one computation, beyond what was held before; None on other than CUDA."""
        import torch

        if self.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        before: int = torch.cuda.memory_allocated(self.device)
        self._compute(self._cotangents)
        self._synchronize()
        peak: int = torch.cuda.max_memory_allocated(self.device)
        return max(0, peak - before)

    def _compute(self, cotangents: Tensors) -> Tensors:
        import torch

        if self._update is not None:
            return self._update()
        assert self._function is not None
        if not self.operation.backward:
            with torch.no_grad():
                results: Tensors = self._function(self._inputs)
            return results
        names = self.operation.differentiable
        leaves = {name: self._inputs[name].detach().requires_grad_() for name in names}
        values = self._function({**self._inputs, **leaves})
        gradients = torch.autograd.grad(
            [values[name] for name in cotangents], list(leaves.values()), list(cotangents.values())
        )
        return {**values, **{f"gradient of {name}": array for name, array in zip(names, gradients, strict=True)}}

    def _converted(self, arrays: dict[str, NDArray[Any]]) -> Tensors:
        import torch

        tensors = {}
        for name, array in arrays.items():
            tensor = torch.from_numpy(array.copy()).to(self.device)
            if array.dtype == np.int32:
                tensor = tensor.long()
            elif name not in self.operation.fixed_dtypes:
                tensor = tensor.to(getattr(torch, self.operation.dtype))
            tensors[name] = tensor
        return tensors

    def _synchronize(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


class _AdamW:
    """torch.optim's AdamW, fused, at the step that is timed; its arrays change in place with each call."""

    def __init__(self, inputs: Tensors) -> None:
        import torch

        c = adamw_settings()
        self._weights = by_role(inputs, "weight")
        self._optimizer = torch.optim.AdamW(
            self._weights.values(),
            lr=c.matrix_adamw_rate,
            betas=(c.adam_beta1, c.adam_beta2),
            eps=c.adam_epsilon,
            weight_decay=0.0,
            fused=True,
        )
        roles = {role: by_role(inputs, role) for role in ("gradient", "first", "second")}
        for name, weight in self._weights.items():
            weight.requires_grad_()
            weight.grad = roles["gradient"][name]
            self._optimizer.state[weight] = {
                "step": torch.tensor(float(adamw_step() - 1), device=weight.device),
                "exp_avg": roles["first"][name],
                "exp_avg_sq": roles["second"][name],
            }

    def __call__(self) -> Tensors:
        self._optimizer.step()
        results = {}
        for name, weight in self._weights.items():
            state = self._optimizer.state[weight]
            results[f"weight.{name}"] = weight
            results[f"first.{name}"], results[f"second.{name}"] = state["exp_avg"], state["exp_avg_sq"]
        return results


def _attention(operation: Operation, preset: Preset) -> Callable[[Tensors], Tensors]:
    from torch.nn.functional import scaled_dot_product_attention

    c = preset.model_config()
    grouped = c.heads != c.key_value_heads

    def attend(inputs: Tensors) -> Tensors:
        query, key, value = (inputs[name].transpose(1, 2) for name in ("query", "key", "value"))
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
        return {"mixed": mixed.transpose(1, 2)}

    return attend


def _heads(operation: Operation, preset: Preset) -> Callable[[Tensors], Tensors]:
    from torch.nn.functional import rms_norm

    from mlx_tiny.reference.model import rotate

    c = preset.model_config()
    H, G, K = c.heads, c.key_value_heads, c.head_width

    def split(inputs: Tensors) -> Tensors:
        query, key, value = inputs["projected"].split([H, G, G], dim=2)
        tables = tuple(inputs[name].to(query.dtype) for name in ("cosine", "sine"))
        return {
            "query": rotate(rms_norm(query, (K,), inputs["query norm weight"], c.norm_epsilon), tables),
            "key": rotate(rms_norm(key, (K,), inputs["key norm weight"], c.norm_epsilon), tables),
            "value": value,
        }

    return split


def _cross_entropy(operation: Operation, preset: Preset) -> Callable[[Tensors], Tensors]:
    from torch.nn.functional import cross_entropy

    def lose(inputs: Tensors) -> Tensors:
        target = inputs["target"]
        logits = (inputs["hidden"] @ inputs["head"].T).flatten(0, 1).float()
        return {"losses": cross_entropy(logits, target.flatten(), reduction="none").reshape(target.shape)}

    return lose


def _mlp(operation: Operation, preset: Preset) -> Callable[[Tensors], Tensors]:
    from mlx_tiny.reference.model import transform

    c = preset.model_config()

    def apply(inputs: Tensors) -> Tensors:
        layer = {"mlp_input": inputs["first"], "mlp_output": inputs["second"]}
        return {"output": transform(layer, c, inputs["x"])}

    return apply


def _newton_schulz(operation: Operation, preset: Preset) -> Callable[[Tensors], Tensors]:
    from mlx_tiny.bench.torch_step import orthogonalize_bank
    from mlx_tiny.config import OptimizerConfig

    c = OptimizerConfig()

    def apply(inputs: Tensors) -> Tensors:
        return {name: orthogonalize_bank(bank, c.newton_schulz_steps, c.coefficients) for name, bank in inputs.items()}

    return apply


_FUNCTIONS: dict[str, Callable[[Operation, Preset], Callable[[Tensors], Tensors]]] = {
    "attention": _attention,
    "heads": _heads,
    "cross-entropy": _cross_entropy,
    "mlp": _mlp,
    "newton-schulz": _newton_schulz,
}
