"""Layer 1: every operation of the model, outputs and gradients, against the reference's formulas in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np
import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig
from mlx_tiny.model import forward as model
from mlx_tiny.ops import activation, attention, cross_entropy, dispatch, metal, norm, rotary
from mlx_tiny.ops import qk_norm_rope as heads
from mlx_tiny.reference import model as reference
from mlx_tiny.tolerances import Bounds, bounds
from mlx_tiny.validate.arrays import normal, to_float64
from mlx_tiny.validate.table import Comparison, Result

LAYER = "operations"
DTYPES = ("float32", "float16", "bfloat16")

# Rows of these sizes: beside the mean square of the small ones the norm's epsilon weighs.
_SIZES = (1.0, 1e-3)
# Windows around the CPU's blocks of 64 queries and the kernels' of 32, and one that continues a cache.
WINDOWS = ((1, 1), (7, 7), (64, 64), (65, 65), (131, 131), (3, 9))
H, G, K = 4, 2, 32
# Constants that no default has, so that one which is ignored shows.
_MODEL = ModelConfig(
    vocabulary_size=300,
    width=48,
    heads=H,
    key_value_heads=G,
    head_width=K,
    hidden=80,
    rope_base=500.0,
    norm_epsilon=3e-6,
)
ACTIVATIONS = ("relu2", "swiglu")

Ours = Callable[..., list[mx.array]]
Exact = Callable[..., list[Tensor]]


def comparisons(dtypes: Sequence[str] = DTYPES) -> Iterator[Comparison]:
    """One for each operation, implementation that can run here, and type; parts before what they are part of."""
    for dtype in dtypes:

        def ask(
            operation: str, case: str, run: Callable[..., list[Result]], *settings: str, t: str = dtype
        ) -> Comparison:
            return Comparison(LAYER, operation, case, t, functools.partial(run, t, *settings))

        rows = "rows of size 1 and 0.001"
        for name in ("mlx", *_in_float32("cpu", dtype)):
            yield ask(f"RMSNorm, {name}", rows, _norm, name)
        yield ask("rotary positions", f"T131 H{H} K{K}", _rotary)
        yield ask("embedding", rows, _embedding)
        for name in ("plain", *_in_float32("cpu", dtype)):
            yield ask(f"activation, {name}", ", ".join(ACTIVATIONS), _activation, name)
        for name in ACTIVATIONS:
            yield ask(f"MLP, {name}", "D48 F80", _transform, name)
        for name in ("plain", *_in_float32("cpu", dtype), *_with_metal()):
            yield ask(f"QK-norm and rotary, {name}", rows, _heads, name)
        for name in ("plain", "mlx", *_in_float32("cpu", dtype), *_with_metal()):
            yield ask(f"attention, {name}", f"T {', '.join(map(_name, _windows(name)))}", _attention, name)
        for name in ("plain", *_in_float32("cpu", dtype)):
            yield ask(f"cross-entropy, {name}", "N70 D48 V300", _cross_entropy, name)


def both(
    ours: Ours,
    exact: Exact,
    inputs: dict[str, mx.array],
    outputs: Sequence[str],
    allowed: Callable[[str], Bounds],
    generator: np.random.Generator,
) -> list[Result]:
    """Outputs, and gradients for random cotangents, of one function of the inputs by both sides.

    Args:
        ours: in MLX.
        exact: in torch; gets the same numbers in float64.
        inputs: by name, of the type that is tested.
        outputs: names of the function's values.
        allowed: gives the bounds on results of a kind, `output` or `gradient`.
    """
    leaves = [torch.from_numpy(to_float64(array)).requires_grad_() for array in inputs.values()]
    values = exact(*leaves)
    types = [array.dtype for array in ours(*inputs.values())]
    cotangents = [
        mx.array(generator.standard_normal(value.shape), dtype=mx.float32).astype(dtype)
        for value, dtype in zip(values, types, strict=True)
    ]
    slopes = torch.autograd.grad(values, leaves, [torch.from_numpy(to_float64(array)) for array in cotangents])
    found, gradients = mx.vjp(lambda *arrays: ours(*arrays), list(inputs.values()), cotangents)
    results = []
    for kind, names, got, expected in (
        ("output", outputs, found, values),
        ("gradient", [f"gradient of {name}" for name in inputs], gradients, slopes),
    ):
        for name, array, right in zip(names, got, expected, strict=True):
            results.append(Result(name, to_float64(array), to_float64(right), allowed(kind)))
    return results


def by_table(operation: str, dtype: str, gradient: str | None = None) -> Callable[[str], Bounds]:
    """Bounds of the table: those of `operation` for outputs, those of `gradient` (else the same) for gradients."""
    return lambda kind: bounds(gradient if gradient and kind == "gradient" else operation, dtype)


def _norm(dtype: str, implementation: str) -> list[Result]:
    results = []
    for size in _SIZES:
        generator = np.random.default_rng(0)
        results += both(
            lambda x: [norm.rms_norm(x, _MODEL.norm_epsilon, implementation=implementation)],
            lambda x: [reference.normalize(x, _MODEL.norm_epsilon)],
            {f"x of size {size:g}": normal(generator, (2, 7, _MODEL.width), dtype, size)},
            [f"output at size {size:g}"],
            by_table("norm", dtype),
            generator,
        )
    return results


def _rotary(dtype: str) -> list[Result]:
    generator, T = np.random.default_rng(1), 131
    angles = reference.rotation_tables(_MODEL, T)
    tables = rotary.rotary_tables(T, K, _MODEL.rope_base)
    return both(
        lambda x: [rotary.rotate(x, tables)],
        lambda x: [reference.rotate(x, angles)],
        {"x": normal(generator, (2, T, H, K), dtype)},
        ["output"],
        by_table("rotary", dtype),
        generator,
    )


def _embedding(dtype: str) -> list[Result]:
    results = []
    for size in _SIZES:
        generator = np.random.default_rng(2)
        tokens = generator.integers(0, _MODEL.vocabulary_size, (2, 70))

        def ours(table: mx.array, token_BT: np.ndarray = tokens) -> list[mx.array]:
            return [model.embed({"embedding": table}, _MODEL, mx.array(token_BT), getattr(mx, dtype))]

        def exact(table: Tensor, token_BT: np.ndarray = tokens) -> list[Tensor]:
            return [reference.normalize(table[torch.from_numpy(token_BT)], _MODEL.norm_epsilon)]

        results += both(
            ours,
            exact,
            {f"embedding of size {size:g}": normal(generator, (_MODEL.vocabulary_size, _MODEL.width), dtype, size)},
            [f"output at size {size:g}"],
            by_table("norm", dtype),
            generator,
        )
    return results


def _activation(dtype: str, implementation: str) -> list[Result]:
    """Zeros among the inputs, where squared ReLU has its corner and the CPU's sigmoid changes sides."""
    results = []
    for name in ACTIVATIONS:
        generator = np.random.default_rng(3)
        hidden = normal(generator, (2, 7, 2 * _MODEL.hidden), dtype, 2.0)
        hidden = mx.where(mx.arange(2 * _MODEL.hidden) % 9 == 0, mx.zeros_like(hidden), hidden)

        def ours(x: mx.array, kind: str = name) -> list[mx.array]:
            return [activation.activate(x, kind, implementation=implementation)]

        def exact(x: Tensor, kind: str = name) -> list[Tensor]:
            return [reference.activate(x, kind)]

        results += both(
            ours,
            exact,
            {f"hidden, {name}": hidden},
            [f"output, {name}"],
            by_table("activation", dtype),
            generator,
        )
    return results


def _transform(dtype: str, kind: str) -> list[Result]:
    generator = np.random.default_rng(3)
    config = replace(_MODEL, activation=kind)
    D, F = config.width, config.hidden
    names = ("mlp_input", "mlp_output")
    return both(
        lambda x, *weights: [model.mlp(dict(zip(names, weights, strict=True)), config, x)],
        lambda x, *weights: [reference.transform(dict(zip(names, weights, strict=True)), config, x, {})],
        {
            "x": normal(generator, (2, 7, D), dtype),
            "mlp_input": normal(generator, (2 * F if kind == "swiglu" else F, D), dtype, D**-0.5),
            "mlp_output": normal(generator, (D, F), dtype, F**-0.5),
        },
        ["output"],
        by_table("MLP", dtype),
        generator,
    )


def _heads(dtype: str, implementation: str) -> list[Result]:
    T = 131
    angles = reference.rotation_tables(_MODEL, T)
    tables = rotary.rotary_tables(T, K, _MODEL.rope_base)

    def ours(projected: mx.array, query_norm_weight: mx.array, key_norm_weight: mx.array) -> list[mx.array]:
        split = heads.qk_norm_rope(
            projected,
            query_norm_weight,
            key_norm_weight,
            tables,
            key_value_heads=G,
            epsilon=_MODEL.norm_epsilon,
            implementation=implementation,
        )
        return list(split)

    def exact(projected: Tensor, *weights: Tensor) -> list[Tensor]:
        query, key, value = torch.split(projected, [H, G, G], dim=2)
        scaled = [
            reference.normalize(x, _MODEL.norm_epsilon) * weight
            for x, weight in zip((query, key), weights, strict=True)
        ]
        return [*(reference.rotate(x, angles) for x in scaled), value]

    results = []
    for size in _SIZES:
        generator = np.random.default_rng(4)
        results += both(
            ours,
            exact,
            {
                f"projection of size {size:g}": normal(generator, (2, T, H + 2 * G, K), dtype, size),
                f"query norm weight at size {size:g}": normal(generator, (K,), dtype),
                f"key norm weight at size {size:g}": normal(generator, (K,), dtype),
            },
            [f"{name} at size {size:g}" for name in ("query", "key", "value")],
            by_table("heads", dtype),
            generator,
        )
    return results


def _attention(dtype: str, implementation: str) -> list[Result]:
    if dispatch.device_here() == "cpu":
        gradient = "fused attention gradient" if dtype == "float32" else "attention gradient"
        allowed = by_table("attention", dtype, gradient)
    else:
        allowed = by_table("attention self-test", dtype)
    results = []
    for T, S in _windows(implementation):
        generator = np.random.default_rng(T)

        def ours(*inputs: mx.array) -> list[mx.array]:
            return [attention.causal_attention(*inputs, scale=K**-0.5, implementation=implementation)]

        def exact(query: Tensor, key: Tensor, value: Tensor, past: int = S - T) -> list[Tensor]:
            # Queries of the past, whose results are dropped, make the window whole.
            query = torch.cat([torch.zeros(query.shape[0], past, H, K, dtype=query.dtype), query], dim=1)
            key, value = (array.repeat_interleave(H // G, dim=2) for array in (key, value))
            return [reference.plain_attention(query, key, value)[:, past:]]

        window = f"T {_name((T, S))}"
        results += both(
            ours,
            exact,
            {
                f"query, {window}": normal(generator, (2, T, H, K), dtype),
                f"key, {window}": normal(generator, (2, S, G, K), dtype),
                f"value, {window}": normal(generator, (2, S, G, K), dtype),
            },
            [f"output, {window}"],
            allowed,
            generator,
        )
    return results


def _cross_entropy(dtype: str, implementation: str) -> list[Result]:
    generator = np.random.default_rng(5)
    targets = generator.integers(0, _MODEL.vocabulary_size, 70)
    return both(
        lambda hidden, head: [
            cross_entropy.head_cross_entropy(hidden, head, mx.array(targets), implementation=implementation)
        ],
        lambda hidden, head: [reference.cross_entropy(hidden @ head.T, torch.from_numpy(targets))],
        {
            "hidden": normal(generator, (70, _MODEL.width), dtype),
            "head": normal(generator, (_MODEL.vocabulary_size, _MODEL.width), dtype, _MODEL.width**-0.5),
        },
        ["loss"],
        by_table("cross-entropy", dtype, "cross-entropy gradient"),
        generator,
    )


def _with_metal() -> tuple[str, ...]:
    return ("metal",) if metal.why_not_metal() is None else ()


def _in_float32(implementation: str, dtype: str) -> tuple[str, ...]:
    return (implementation,) if dtype == "float32" else ()


def _windows(implementation: str) -> list[tuple[int, int]]:
    """The windows that an implementation takes: two of them take no cache."""
    return [(T, S) for T, S in WINDOWS if T == S or implementation in ("plain", "mlx")]


def _name(window: tuple[int, int]) -> str:
    T, S = window
    return str(T) if T == S else f"{T} of {S}"
