"""The Metal kernels against float64 formulas: which cases, how far each is off, and what is allowed.

The cases run the project's own operations with `implementation="metal"`, so they test the kernels as training uses
them. A checkout runs the same cases without a Mac, through the emulator (`scripts/validate_kernels`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.model import parameter_specs
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.ops.dispatch import ATTENTION_WIDTHS
from mlx_tiny.ops.heads import split_heads
from mlx_tiny.ops.muon_pack import Layout, Packed, Run, make_layout, pack, run_view
from mlx_tiny.ops.newton_schulz import orthogonalize, symmetric_product
from mlx_tiny.ops.rotary import rotary_tables
from mlx_tiny.tolerances import kernel_bounds
from mlx_tiny.validate import references
from mlx_tiny.validate.references import Array

DTYPES = ("float32", "float16", "bfloat16")

# (T, H, G): windows around the kernels' blocks of 32, and every number of query heads to a key head.
WINDOWS = ((1, 2, 1), (7, 2, 2), (31, 4, 2), (32, 4, 1), (33, 2, 2), (63, 4, 4), (65, 4, 2), (128, 2, 1), (257, 2, 2))


# [N, rows, columns] around the tiles of 32 and 64, and the default model's largest bank.
BANKS = ((1, 1, 1), (3, 7, 33), (2, 65, 31), (1, 130, 70), (1, 257, 300))
MUON_DTYPES = ("float32", "bfloat16")

# A model with everything that packing must tell apart: grouped queries, two matrices in the MLP's first, tall and wide.
PACKED_MODEL = ModelConfig(
    layers=2, width=72, heads=4, key_value_heads=2, head_width=18, hidden=100, activation="swiglu", tied=True
)


@dataclass(frozen=True)
class Check:
    """One kernel's result held against its reference."""

    kernel: str
    shape: str
    dtype: str
    error: float
    """Largest, relative to the largest expected magnitude (absolute where nothing but zeros is expected)."""
    allowed: float
    """In the same measure."""
    note: str = ""
    """What went wrong, where the kernel did not run at all."""

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed


@dataclass(frozen=True)
class Case:
    """One launch of an operation with its gradients: `run` gives a check for each kernel that took part."""

    kernels: tuple[str, ...]
    shape: str
    dtype: str
    run: Callable[[], dict[str, tuple[float, float]]]

    def checks(self) -> list[Check]:
        """Evaluate; an error of the device fails every kernel of the case."""
        try:
            results = self.run()
        except RuntimeError as error:
            note = str(error).strip().splitlines()[0]
            return [Check(kernel, self.shape, self.dtype, math.inf, 0.0, note) for kernel in self.kernels]
        return [Check(kernel, self.shape, self.dtype, *results[kernel]) for kernel in self.kernels]


def cases() -> Iterator[Case]:
    """All cases, those of one operation together."""
    windows = itertools.cycle(WINDOWS)
    for width, dtype in itertools.product(ATTENTION_WIDTHS, DTYPES):
        yield _attention_case(width, dtype, *next(windows))
    yield _attention_case(64, "float32", 65, 2, 1, extreme=True)
    for width, dtype in itertools.product((32, 64, 128), DTYPES):
        yield _heads_case(width, dtype, *next(windows))
    for (count, rows, columns), dtype in itertools.product(BANKS, MUON_DTYPES):
        yield _symmetric_product_case(count, rows, columns, dtype)
    for dtype in MUON_DTYPES:
        yield _muon_pack_case(dtype)
    yield _newton_schulz_case(3, 65, 96)


def _attention_case(width: int, dtype: str, T: int, H: int, G: int, extreme: bool = False) -> Case:
    def run() -> dict[str, tuple[float, float]]:
        generator = np.random.default_rng(T)
        query, key, value, cotangent = (_random(generator, (2, T, heads, width), dtype) for heads in (H, G, G, H))
        # Standard normal entries give scores of standard deviation 1, and some four times that among many.
        query = query * 250 if extreme else query
        scale = width**-0.5

        def attend(implementation: str, *inputs: mx.array) -> list[mx.array]:
            return [causal_attention(*inputs, scale=scale, implementation=implementation)]

        got, plain = _both(attend, [query, key, value], [cotangent])
        q, k, v, d = (_float64(array) for array in (query, key, value, cotangent))
        expected = references.attention(q, k, v, d, scale)
        operation = "attention of extreme scores" if extreme else "attention kernel"
        return _worst(_ATTENTION_RESULTS, operation, dtype, got, plain, expected)

    shape = f"B2 T{T} H{H} G{G} K{width}{', scores near 1000' if extreme else ''}"
    return Case(tuple(dict.fromkeys(_ATTENTION_RESULTS)), shape, dtype, run)


def _heads_case(width: int, dtype: str, T: int, H: int, G: int) -> Case:
    def run() -> dict[str, tuple[float, float]]:
        generator = np.random.default_rng(T)
        projected = _random(generator, (2, T, H + 2 * G, width), dtype)
        inputs = [projected, *(_random(generator, (width,), dtype) for _ in range(2))]
        cotangents = [_random(generator, (2, T, heads, width), dtype) for heads in (H, G, G)]
        tables, epsilon = rotary_tables(T, width, 10_000.0), 1e-6

        def split(implementation: str, projected: mx.array, *gains: mx.array) -> list[mx.array]:
            return list(
                split_heads(
                    projected,
                    gains[0],
                    gains[1],
                    tables,
                    key_value_heads=G,
                    epsilon=epsilon,
                    implementation=implementation,
                )
            )

        got, plain = _both(split, inputs, cotangents)
        x, query_gain, key_gain = (_float64(array) for array in inputs)
        turn = _float64(tables[0])[:, 0], _float64(tables[1])[:, 0]
        exact_cotangents = [_float64(cotangent) for cotangent in cotangents]
        expected = (
            *references.heads(x, query_gain, key_gain, turn, G, epsilon),
            *references.heads_gradients(x, query_gain, key_gain, turn, G, epsilon, exact_cotangents),
        )
        return _worst(_HEADS_RESULTS, "heads kernel", dtype, got, plain, expected)

    return Case(tuple(dict.fromkeys(_HEADS_RESULTS)), f"B2 T{T} H{H} G{G} K{width}", dtype, run)


def _symmetric_product_case(count: int, rows: int, columns: int, dtype: str) -> Case:
    def run() -> dict[str, tuple[float, float]]:
        generator, alpha, beta = np.random.default_rng(rows), 0.7, -1.3
        bank_NRC = _random(generator, (count, rows, columns), dtype)
        addend_NRR = _random(generator, (count, rows, rows), dtype)
        addend_NRR = addend_NRR + addend_NRR.swapaxes(1, 2)
        got = symmetric_product(bank_NRC, alpha=alpha, beta=beta, addend_NRR=addend_NRR)
        plain = mx.addmm(addend_NRR, bank_NRC, bank_NRC.swapaxes(1, 2), alpha=alpha, beta=beta)
        expected = references.symmetric_product(_float64(bank_NRC), _float64(addend_NRR), alpha, beta)
        results = [_float64(got)], [_float64(plain)], [expected]
        return _worst(["symmetric_product"], "symmetric product", dtype, *results)

    return Case(("symmetric_product",), f"N{count} R{rows} C{columns}", dtype, run)


def _newton_schulz_case(count: int, rows: int, columns: int) -> Case:
    """The five steps as a whole, against the plain path in the same type: what the kernels add to its error."""

    def run() -> dict[str, tuple[float, float]]:
        bank_NRC = _random(np.random.default_rng(rows), (count, rows, columns), "float32")
        got, plain = (
            _float64(orthogonalize(bank_NRC, implementation=implementation)) for implementation in ("metal", "plain")
        )
        return _worst(["symmetric_product"], "Newton-Schulz kernel", "float32", [got], [plain], [plain])

    return Case(("symmetric_product",), f"five Newton-Schulz steps, N{count} R{rows} C{columns}", "float32", run)


def _muon_pack_case(dtype: str) -> Case:
    def run() -> dict[str, tuple[float, float]]:
        generator, mu = np.random.default_rng(0), 0.9
        specs = [spec for spec in parameter_specs(PACKED_MODEL).values() if spec.kind == "matrix"]
        layout = make_layout([spec.shape for spec in specs], [spec.blocks for spec in specs])
        gradients, momenta = ([_random(generator, spec.shape, "float32") for spec in specs] for _ in range(2))
        got, plain = (
            _unpacked(
                pack(gradients, momenta, mx.array(mu), layout, dtype=getattr(mx, dtype), implementation=implementation),
                layout,
            )
            for implementation in ("metal", "plain")
        )
        averages, ahead = zip(
            *(references.look_ahead(_float64(g), _float64(m), mu) for g, m in zip(gradients, momenta, strict=True)),
            strict=True,
        )
        matrices = [
            ahead[run.parameter][:, run.first_row : run.first_row + run.count * run.rows] for run in layout.runs
        ]
        expected = [
            *averages,
            *matrices,
            *(_norms(array, run) for array, run in zip(matrices, layout.runs, strict=True)),
        ]
        return _worst(["muon_pack"] * len(expected), "Muon pack", dtype, got, plain, expected)

    return Case(("muon_pack",), "grouped queries, SwiGLU, width 72", dtype, run)


def _unpacked(packed: Packed, layout: Layout) -> list[Array]:
    """Momenta, then the look-ahead and its matrices' norms as they stand in the parameters, run by run."""
    parts, norms = [], []
    for run in layout.runs:
        layers, _, columns = layout.shapes[run.parameter]
        part = run_view(run, layers, packed.banks[run.bank])
        parts.append(_float64(part).reshape(layers, run.count * run.rows, columns))
        largest, squares = np.moveaxis(_float64(packed.partials[run.bank]), 2, 0)
        norm = np.sqrt((largest**2 * squares).sum(axis=1))
        norms.append(norm[run.start : run.start + layers * run.count])
    return [*(_float64(array) for array in packed.momenta), *parts, *norms]


def _norms(rows_LRC: Array, run: Run) -> Array:
    return references.frobenius_norm(rows_LRC.reshape(-1, run.rows, run.columns))


# Which kernel makes which result: of attention the output and the gradients of query, key and value;
_ATTENTION_RESULTS = ("attention_forward", "attention_backward_query", *["attention_backward_key_value"] * 2)
# of the heads query, key and value, then the gradients of the projection and of both gains.
_HEADS_RESULTS = (*["heads_forward"] * 3, *["heads_backward"] * 3)


def _both(
    operation: Callable[..., list[mx.array]], inputs: Sequence[mx.array], cotangents: Sequence[mx.array]
) -> tuple[list[Array], list[Array]]:
    """Outputs and gradients by the kernels, and by the plain path in the same type."""
    results = []
    for implementation in ("metal", "plain"):
        function = functools.partial(operation, implementation)
        outputs, gradients = mx.vjp(function, list(inputs), list(cotangents))
        results.append([_float64(array) for array in (*outputs, *gradients)])
    return results[0], results[1]


def _worst(
    kernels: Sequence[str],
    operation: str,
    dtype: str,
    got: Sequence[Array],
    plain: Sequence[Array],
    expected: Sequence[Array],
) -> dict[str, tuple[float, float]]:
    """For each kernel the error and bound of that of its results which comes closest to its bound, or beyond."""
    found: dict[str, tuple[float, float]] = {}
    for kernel, *arrays in zip(kernels, got, plain, expected, strict=True):
        error, allowed = _error(operation, dtype, *arrays)
        if kernel not in found or error * found[kernel][1] > found[kernel][0] * allowed:
            found[kernel] = error, allowed
    return found


def _error(operation: str, dtype: str, got: Array, plain: Array, expected: Array) -> tuple[float, float]:
    bounds = kernel_bounds(operation, dtype, plain, expected)
    magnitude = float(np.abs(expected).max()) or 1.0
    error = float(np.abs(got - expected).max()) if np.isfinite(got).all() else math.inf
    return error / magnitude, bounds.relative + bounds.absolute / magnitude


def _random(generator: np.random.Generator, shape: tuple[int, ...], dtype: str) -> mx.array:
    return mx.array(generator.standard_normal(shape), dtype=mx.float32).astype(getattr(mx, dtype))


def _float64(array: mx.array) -> Any:
    return np.array(array.astype(mx.float32)).astype(np.float64)
