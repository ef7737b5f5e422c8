"""The Metal kernels against float64 formulas: which cases, how far each is off, and what is allowed.

The cases run the project's own operations with `implementation="metal"`, so they test the kernels as training uses
them. A checkout runs the same cases without a Mac, through the emulator (`scripts/validate_kernels`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import said
from mlx_tiny.model.forward import parameter_specs
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.ops.dispatch import ATTENTION_WIDTHS
from mlx_tiny.ops.muon_pack import Layout, Packed, Run, make_layout, pack, run_view
from mlx_tiny.ops.newton_schulz import orthogonalize, symmetric_product
from mlx_tiny.ops.qk_norm_rope import qk_norm_rope
from mlx_tiny.ops.rotary import rotary_tables
from mlx_tiny.study.plan import PRESETS
from mlx_tiny.tolerances import kernel_bounds
from mlx_tiny.validate import references
from mlx_tiny.validate.arrays import Array, normal, to_float64

# Relative error, what is allowed of it, and absolute error.
Measured = tuple[float, float, float]

DTYPES = ("float32", "float16", "bfloat16")

# (T, H, G): windows around the kernels' blocks of 32, and every number of query heads to a key head.
WINDOWS = ((1, 2, 1), (7, 2, 2), (31, 4, 2), (32, 4, 1), (33, 2, 2), (63, 4, 4), (65, 4, 2), (128, 2, 1), (257, 2, 2))
# Of QK-norm: fewer pairs than lanes, one a lane, and several.
HEADS_WIDTHS = (32, 48, 64, 128, 256)
# The window of cases with special inputs: two blocks and a rest, two queries to a key.
_SPECIAL_WINDOW = (65, 2, 1)

# [N, rows, columns] around the tiles of 32 and 64; the largest bank of the smallest preset is added to them.
BANKS = ((1, 1, 1), (3, 7, 33), (2, 65, 31), (1, 130, 70), (1, 257, 300))
_SPECIAL_BANK = (2, 65, 31)
MUON_DTYPES = ("float32", "bfloat16")

# A float64 formula that gives less means zero.
_ZERO = 1e-12

# A model with everything that packing must tell apart: grouped queries, two matrices in the MLP's first, tall and wide.
PACKED_MODEL = ModelConfig(
    layers=2, width=72, heads=4, key_value_heads=2, head_width=18, hidden=100, activation="swiglu", tied=True
)

# What inputs can be, and what makes them so of random ones; those of attention are query, key, value and cotangent.
_Change = Callable[..., Sequence[mx.array]]
_PLAIN, _APART, _REAL_SCORES = "", "not contiguous", "scores near 1000"
_INPUTS: dict[str, _Change] = {
    _PLAIN: lambda *arrays: arrays,
    "equal entries": lambda *arrays: [_equal(array) for array in arrays],
    _APART: lambda *arrays: [_apart(array) for array in arrays],
}
_ATTENTION_INPUTS: dict[str, _Change] = {
    _PLAIN: lambda *arrays: arrays,
    # Standard normal entries give scores of standard deviation 1, and some four times that among many.
    _REAL_SCORES: lambda query, *others: (query * 250, *others),
    # At K = 64; exponentials without the shift by the largest score would all be 0.
    "scores of -1024": lambda query, key, *others: (_equal(query, -256.0), _equal(key, 0.5), *others),
    "equal values": lambda query, key, value, cotangent: (query, key, _equal(value), cotangent),
    _APART: lambda *arrays: [_apart(array) for array in arrays],
}


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
    absolute: float = math.inf
    """Largest absolute error."""
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
    run: Callable[[], dict[str, Measured]]

    def checks(self) -> list[Check]:
        """Evaluate; an error of the device fails every kernel of the case."""
        try:
            results = self.run()
        except RuntimeError as error:
            note = said(error)
            return [Check(kernel, self.shape, self.dtype, math.inf, 0.0, note=note) for kernel in self.kernels]
        return [Check(kernel, self.shape, self.dtype, *results[kernel]) for kernel in self.kernels]


def cases() -> Iterator[Case]:
    """All cases, those of one operation together."""
    for width, dtype, window in _meetings(ATTENTION_WIDTHS):
        yield _attention_case(width, dtype, *window)
    for special, dtype in _special(_ATTENTION_INPUTS, DTYPES):
        yield _attention_case(64, dtype, *_SPECIAL_WINDOW, special)
    for width, dtype, window in _meetings(HEADS_WIDTHS):
        yield _heads_case(width, dtype, *window)
    for special, dtype in _special(_INPUTS, DTYPES):
        yield _heads_case(64, dtype, *_SPECIAL_WINDOW, special)
    for bank, dtype in itertools.product((*BANKS, _largest_bank(PRESETS["tiny"].model_config())), MUON_DTYPES):
        yield _symmetric_product_case(*bank, dtype)
    for special, dtype in _special(_INPUTS, MUON_DTYPES):
        yield _symmetric_product_case(*_SPECIAL_BANK, dtype, special)
    for special, dtype in itertools.product(_INPUTS, MUON_DTYPES):
        yield _muon_pack_case(dtype, special)
    yield _newton_schulz_case(3, 65, 96)


def _meetings(widths: Sequence[int]) -> Iterator[tuple[int, str, tuple[int, int, int]]]:
    """Every window in every type, and every width in every type and with several windows."""
    for (index, window), (shift, dtype) in itertools.product(enumerate(WINDOWS), enumerate(DTYPES)):
        # Twice the shift, so that a width meets other windows in each type.
        yield widths[(index + 2 * shift) % len(widths)], dtype, window


def _special(inputs: Iterable[str], dtypes: Sequence[str]) -> Iterator[tuple[str, str]]:
    return itertools.product((special for special in inputs if special != _PLAIN), dtypes)


def _largest_bank(model: ModelConfig) -> tuple[int, int, int]:
    return max(_layout(model).banks, key=math.prod)


def _layout(model: ModelConfig) -> Layout:
    specs = [spec for spec in parameter_specs(model).values() if spec.kind == "matrix"]
    return make_layout([spec.shape for spec in specs], [spec.blocks for spec in specs])


def _attention_case(width: int, dtype: str, T: int, H: int, G: int, special: str = _PLAIN) -> Case:
    def run() -> dict[str, Measured]:
        generator = np.random.default_rng(T)
        arrays = (normal(generator, (2, T, heads, width), dtype) for heads in (H, G, G, H))
        query, key, value, cotangent = _ATTENTION_INPUTS[special](*arrays)
        scale = width**-0.5

        def attend(implementation: str, *inputs: mx.array) -> list[mx.array]:
            return [causal_attention(*inputs, scale=scale, implementation=implementation)]

        got, plain = _both(attend, [query, key, value], [cotangent])
        q, k, v, d = (to_float64(array) for array in (query, key, value, cotangent))
        expected = references.attention(q, k, v, d, scale)
        operation = "attention of extreme scores" if special == _REAL_SCORES else "attention kernel"
        return _worst(_ATTENTION_RESULTS, operation, dtype, got, plain, expected)

    kernels = tuple(dict.fromkeys(_ATTENTION_RESULTS))
    return Case(kernels, _named(f"B2 T{T} H{H} G{G} K{width}", special), dtype, run)


def _heads_case(width: int, dtype: str, T: int, H: int, G: int, special: str = _PLAIN) -> Case:
    def run() -> dict[str, Measured]:
        generator = np.random.default_rng(T)
        shapes = ((2, T, H + 2 * G, width), (width,), (width,))
        inputs = _INPUTS[special](*(normal(generator, shape, dtype) for shape in shapes))
        random = (normal(generator, (2, T, heads, width), dtype) for heads in (H, G, G))
        cotangents = [_apart(array) if special == _APART else array for array in random]
        tables, epsilon = rotary_tables(T, width, 10_000.0), 1e-6

        def split(implementation: str, projected: mx.array, *weights: mx.array) -> list[mx.array]:
            return list(
                qk_norm_rope(
                    projected,
                    weights[0],
                    weights[1],
                    tables,
                    key_value_heads=G,
                    epsilon=epsilon,
                    implementation=implementation,
                )
            )

        got, plain = _both(split, inputs, cotangents)
        x, query_norm_weight, key_norm_weight = (to_float64(array) for array in inputs)
        turn = to_float64(tables[0])[:, 0], to_float64(tables[1])[:, 0]
        exact_cotangents = [to_float64(cotangent) for cotangent in cotangents]
        expected = (
            *references.heads(x, query_norm_weight, key_norm_weight, turn, G, epsilon),
            *references.heads_gradients(x, query_norm_weight, key_norm_weight, turn, G, epsilon, exact_cotangents),
        )
        return _worst(_HEADS_RESULTS, "heads kernel", dtype, got, plain, expected)

    kernels = tuple(dict.fromkeys(_HEADS_RESULTS))
    return Case(kernels, _named(f"B2 T{T} H{H} G{G} K{width}", special), dtype, run)


def _symmetric_product_case(count: int, rows: int, columns: int, dtype: str, special: str = _PLAIN) -> Case:
    def run() -> dict[str, Measured]:
        generator, alpha, beta = np.random.default_rng(rows), 0.7, -1.3
        bank_NRC = normal(generator, (count, rows, columns), dtype)
        addend_NRR = normal(generator, (count, rows, rows), dtype)
        bank_NRC, addend_NRR = _INPUTS[special](bank_NRC, addend_NRR + addend_NRR.swapaxes(1, 2))
        got = symmetric_product(bank_NRC, alpha=alpha, beta=beta, addend_NRR=addend_NRR)
        plain = mx.addmm(addend_NRR, bank_NRC, bank_NRC.swapaxes(1, 2), alpha=alpha, beta=beta)
        expected = references.symmetric_product(to_float64(bank_NRC), to_float64(addend_NRR), alpha, beta)
        results = [to_float64(got)], [to_float64(plain)], [expected]
        return _worst(["symmetric_product"], "symmetric product", dtype, *results)

    return Case(("symmetric_product",), _named(f"N{count} R{rows} C{columns}", special), dtype, run)


def _newton_schulz_case(count: int, rows: int, columns: int) -> Case:
    """The five steps as a whole, against the plain path in the same type: what the kernels add to its error."""

    def run() -> dict[str, Measured]:
        bank_NRC = normal(np.random.default_rng(rows), (count, rows, columns), "float32")
        got, plain = (
            to_float64(orthogonalize(bank_NRC, implementation=implementation)) for implementation in ("metal", "plain")
        )
        return _worst(["symmetric_product"], "Newton-Schulz kernel", "float32", [got], [plain], [plain])

    return Case(("symmetric_product",), f"five Newton-Schulz steps, N{count} R{rows} C{columns}", "float32", run)


def _muon_pack_case(dtype: str, special: str = _PLAIN) -> Case:
    def run() -> dict[str, Measured]:
        generator, mu, layout = np.random.default_rng(0), 0.9, _layout(PACKED_MODEL)
        gradients, momenta = (
            _INPUTS[special](*(normal(generator, shape, "float32") for shape in layout.shapes)) for _ in range(2)
        )
        got, plain = (
            _unpacked(
                pack(gradients, momenta, mx.array(mu), layout, dtype=getattr(mx, dtype), implementation=implementation),
                layout,
            )
            for implementation in ("metal", "plain")
        )
        averages, ahead = zip(
            *(references.look_ahead(to_float64(g), to_float64(m), mu) for g, m in zip(gradients, momenta, strict=True)),
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

    return Case(("muon_pack",), _named("grouped queries, SwiGLU", special), dtype, run)


def _unpacked(packed: Packed, layout: Layout) -> list[Array]:
    """Momenta, then the look-ahead and its matrices' norms as they stand in the parameters, run by run."""
    parts, norms = [], []
    for run in layout.runs:
        layers, _, columns = layout.shapes[run.parameter]
        part = run_view(run, layers, packed.banks[run.bank])
        parts.append(to_float64(part).reshape(layers, run.count * run.rows, columns))
        largest, squares = np.moveaxis(to_float64(packed.partials[run.bank]), 2, 0)
        norm = np.sqrt((largest**2 * squares).sum(axis=1))
        norms.append(norm[run.start : run.start + layers * run.count])
    return [*(to_float64(array) for array in packed.momenta), *parts, *norms]


def _norms(rows_LRC: Array, run: Run) -> Array:
    return references.frobenius_norm(rows_LRC.reshape(-1, run.rows, run.columns))


def _named(shape: str, special: str) -> str:
    return f"{shape}, {special}" if special else shape


def _apart(array: mx.array) -> mx.array:
    """The same numbers, but not row-contiguous: the first axis runs fastest, and a NaN lies behind each number."""
    turned = array.transpose()
    gaps = mx.full(turned.shape, math.nan, dtype=turned.dtype)
    return mx.contiguous(mx.stack([turned, gaps], axis=-1).flatten(-2))[..., ::2].transpose()


def _equal(array: mx.array, value: float = 0.75) -> mx.array:
    return mx.full(array.shape, value, dtype=array.dtype)


# Which kernel makes which result: of attention the output and the gradients of query, key and value;
_ATTENTION_RESULTS = ("attention_forward", "attention_backward_query", *["attention_backward_key_value"] * 2)
# of the heads query, key and value, then the gradients of the projection and of both norm weights.
_HEADS_RESULTS = (*["qk_norm_rope_forward"] * 3, *["qk_norm_rope_backward"] * 3)


def _both(
    operation: Callable[..., list[mx.array]], inputs: Sequence[mx.array], cotangents: Sequence[mx.array]
) -> tuple[list[Array], list[Array]]:
    """Outputs and gradients by the kernels, and by the plain path in the same type."""
    results = []
    for implementation in ("metal", "plain"):
        function = functools.partial(operation, implementation)
        outputs, gradients = mx.vjp(function, list(inputs), list(cotangents))
        results.append([to_float64(array) for array in (*outputs, *gradients)])
    return results[0], results[1]


def _worst(
    kernels: Sequence[str],
    operation: str,
    dtype: str,
    got: Sequence[Array],
    plain: Sequence[Array],
    expected: Sequence[Array],
) -> dict[str, Measured]:
    """For each kernel the measures of that of its results which comes closest to its bound, or beyond."""
    found: dict[str, Measured] = {}
    for kernel, *arrays in zip(kernels, got, plain, expected, strict=True):
        measured = _error(operation, dtype, *arrays)
        if kernel not in found or measured[0] * found[kernel][1] > found[kernel][0] * measured[1]:
            found[kernel] = measured
    return found


def _error(operation: str, dtype: str, got: Array, plain: Array, expected: Array) -> Measured:
    """Infinite where the shape differs or a number is none, as `Bounds.excess` has it."""
    bounds = kernel_bounds(operation, dtype, plain, expected)
    largest = float(np.abs(expected).max())
    magnitude = largest if largest > _ZERO else 1.0
    absolute = float(np.abs(got - expected).max()) if math.isfinite(bounds.excess(got, expected)) else math.inf
    return absolute / magnitude, (bounds.relative * largest + bounds.absolute) / magnitude, absolute
