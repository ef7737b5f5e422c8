"""Layer 1: every operation by every implementation that runs here, and two parts of the model made of several."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import mlx.core as mx
import numpy as np
import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig
from mlx_tiny.model import forward
from mlx_tiny.ops import conformance
from mlx_tiny.ops.conformance import GRADIENT, Result, to_float64
from mlx_tiny.ops.implementations import decide
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.operation import DTYPES, Case, Operation, dtype_name
from mlx_tiny.ops.registry import everything
from mlx_tiny.reference import model as reference
from mlx_tiny.tolerances import bounds
from mlx_tiny.validate.table import Comparison
from mlx_tiny.validate.tensors import normal

LAYER = "operations"

# The norm's epsilon matters for the small rows only.
_SIZES = (1.0, 1e-3)
_MODEL = model_of(context=7)


def comparisons(dtypes: Sequence[str] = DTYPES) -> Iterator[Comparison]:
    """A comparison per operation, implementation that runs here, and dtype; parts come before what they are part of.

    The Metal kernels have a table of their own.
    """
    for dtype in dtypes:
        for operation in everything():
            for name in (name for name in operation.implementations if name != "metal"):
                cases = [case for case in conformance.cases(operation, name) if case.dtype == dtype]
                if cases:
                    run = functools.partial(_checked, operation, name, cases)
                    count = f"{len(cases)} case{'s' * (len(cases) > 1)}"
                    yield Comparison(LAYER, f"{operation.name}, {name}", count, dtype, run)
        rows = "rows of size 1 and 0.001"
        yield Comparison(LAYER, "embedding", rows, dtype, functools.partial(_embedding, dtype))
        for name in ("relu2", "swiglu"):
            run = functools.partial(_mlp, dtype, dataclasses.replace(_MODEL, activation=name))
            yield Comparison(LAYER, f"mlp, {name}", f"D{_MODEL.width} F{_MODEL.hidden}", dtype, run)


def _checked(operation: Operation, implementation: str, cases: Sequence[Case]) -> list[Result]:
    return [
        dataclasses.replace(result, name=f"{result.name}, {operation.title(case)}")
        for case in cases
        for result in conformance.check(operation, implementation, case)
    ]


def _beside_reference(
    ours: Callable[..., mx.array],
    exact: Callable[..., Tensor],
    inputs: dict[str, mx.array],
    where: str,
    entry: str,
) -> list[Result]:
    """Output, and gradients for random cotangents, of the same function in MLX (`ours`) and in PyTorch (`exact`)."""
    leaves = [torch.from_numpy(to_float64(array)).requires_grad_() for array in inputs.values()]
    value, dtype = exact(*leaves), next(iter(inputs.values())).dtype
    cotangent = normal(np.random.default_rng(3), tuple(value.shape), dtype_name(dtype))
    slopes = torch.autograd.grad(value, leaves, torch.from_numpy(to_float64(cotangent)))
    (found,), gradients = mx.vjp(lambda *arrays: [ours(*arrays)], list(inputs.values()), [cotangent])
    allowed = bounds(entry, dtype_name(dtype))
    results = [Result(f"output{where}", to_float64(found), to_float64(value), allowed)]
    for name, got, right in zip(inputs, gradients, slopes, strict=True):
        results.append(Result(f"{GRADIENT}{name}{where}", to_float64(got), to_float64(right), allowed))
    return results


def _embedding(dtype: str) -> list[Result]:
    results, generator = [], np.random.default_rng(2)
    tokens = generator.integers(0, _MODEL.vocabulary_size, (2, 70))
    implementations = decide(_MODEL, batch=2, dtype=dtype)

    def ours(table: mx.array) -> mx.array:
        rows = forward.embed({"embedding": table}, mx.array(tokens), getattr(mx, dtype))
        return forward.normalized(rows, _MODEL, implementations)

    def exact(table: Tensor) -> Tensor:
        return reference.normalize(table[torch.from_numpy(tokens)], _MODEL.norm_epsilon)

    for size in _SIZES:
        table = normal(generator, (_MODEL.vocabulary_size, _MODEL.width), dtype, size)
        results += _beside_reference(ours, exact, {"embedding": table}, f", size {size:g}", "norm")
    return results


def _mlp(dtype: str, config: ModelConfig) -> list[Result]:
    generator, names = np.random.default_rng(3), ("mlp_input", "mlp_output")
    D, F = config.width, config.hidden
    implementations = decide(config, batch=2, dtype=dtype)

    def ours(x: mx.array, *weights: mx.array) -> mx.array:
        layer = dict(zip(names, weights, strict=True))
        return forward.mlp(layer, config, x, implementations, lambda _, array: array)

    def exact(x: Tensor, *weights: Tensor) -> Tensor:
        return reference.transform(dict(zip(names, weights, strict=True)), config, x)

    inputs = {
        "x": normal(generator, (2, 7, D), dtype),
        "mlp_input": normal(generator, (2 * F if config.activation == "swiglu" else F, D), dtype, D**-0.5),
        "mlp_output": normal(generator, (D, F), dtype, F**-0.5),
    }
    return _beside_reference(ours, exact, inputs, "", "mlp")
