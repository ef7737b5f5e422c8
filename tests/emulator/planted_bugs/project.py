"""Bugs planted in the project's own kernels, and runs of its wrappers that compare them with their plain paths."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

import mlx.core as mx
import numpy as np
from mlx_tiny.ops.muon_pack import make_layout, pack
from mlx_tiny.ops.newton_schulz import symmetric_product
from mlx_tiny.ops.rotary import rotary_tables

from emulator.faults import Kind
from emulator.planted_bugs.bug import CHECKS, NUMBERS, Bug
from mlx_tiny.ops import metal
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.ops.metal import KernelText, kernel_text
from mlx_tiny.ops.qk_norm_rope import qk_norm_rope

_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);\n"


def run_of(kernel: str) -> Callable[[], float]:
    """The run that launches a kernel of the project: its largest error over the largest value of a result."""
    runs = {"attention": _attention, "qk": _qk_norm_rope, "symmetric": _symmetric_product, "muon": _pack}
    return runs[kernel.split("_")[0]]


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Inside, the project launches the kernel with the bug in its text."""

    def text(name: str) -> KernelText:
        return bug.plant(kernel_text(name)) if name == bug.kernel else kernel_text(name)

    with mock.patch.object(metal, "kernel_text", text):
        yield


def _worst(results: Sequence[mx.array], expected: Sequence[mx.array]) -> float:
    errors = []
    for result, right in zip(results, expected, strict=True):
        error = mx.abs(result - right).max().item() / mx.abs(right).max().item()
        errors.append(float(np.nan_to_num(error, nan=np.inf)))
    return max(errors)


def _normal(*shapes: tuple[int, ...]) -> list[mx.array]:
    keys = mx.random.split(mx.random.key(0), len(shapes))
    return [mx.random.normal(shape, key=key) for shape, key in zip(shapes, keys, strict=True)]


def _attention() -> float:
    *inputs, cotangent = _normal((2, 41, 2, 32), (2, 41, 1, 32), (2, 41, 1, 32), (2, 41, 2, 32))

    def results(implementation: str) -> list[mx.array]:
        outputs, gradients = mx.vjp(
            lambda *arrays: [causal_attention(*arrays, scale=0.3, implementation=implementation)], inputs, [cotangent]
        )
        return [*outputs, *gradients]

    return _worst(results("metal"), results("plain"))


def _qk_norm_rope() -> float:
    # 55 rows, which the four simdgroups of a threadgroup do not divide.
    inputs = _normal((1, 11, 5, 32), (32,), (32,))
    cotangents = _normal((1, 11, 3, 32), (1, 11, 1, 32), (1, 11, 1, 32))

    def results(implementation: str) -> list[mx.array]:
        tables = rotary_tables(11, 32, 100.0)
        outputs, gradients = mx.vjp(
            lambda *arrays: qk_norm_rope(
                *arrays, tables, key_value_heads=1, epsilon=1e-6, implementation=implementation
            ),
            inputs,
            cotangents,
        )
        return [*outputs, *gradients]

    return _worst(results("metal"), results("plain"))


def _symmetric_product() -> float:
    (bank,) = _normal((2, 45, 39))
    gram = bank @ bank.swapaxes(1, 2)
    return _worst([symmetric_product(bank, alpha=2.0, beta=0.5, addend_NRR=gram)], [2.5 * gram])


def _pack() -> float:
    shapes = [(2, 40, 33), (1, 33, 40)]
    layout = make_layout(shapes, [(20, 20), (33,)])
    arrays = _normal(*shapes, *shapes)

    def results(implementation: str) -> list[mx.array]:
        packed = pack(arrays[:2], arrays[2:], mx.array(0.9), layout, implementation=implementation)
        norms = [mx.sum(mx.square(part[..., 0]) * part[..., 1], axis=1) for part in packed.partials]
        return [*packed.momenta, *packed.banks, *norms]

    return _worst(results("metal"), results("plain"))


PROJECT = [
    Bug(
        "forward_barrier",
        "forward attention: no barrier before the next tile overwrites this one",
        "attention_forward",
        CHECKS,
        f"  {_BARRIER}}}\n\nsum = row_sum(sum);",
        "}\n\nsum = row_sum(sum);",
        Kind.RACE,
        "tile[row * tile_stride",
    ),
    Bug(
        "tile_tail",
        "attention: rows of a tile beyond the last one read in place of zeros",
        "attention_forward",
        CHECKS,
        "row < count ? T(source[row * step + column + i]) : T(0.0f);",
        "T(source[row * step + column + i]);",
        Kind.OUT_OF_BOUNDS,
        "source[row * step",
    ),
    Bug(
        "row_stored_beyond",
        "attention: a row beyond the last one stored",
        "attention_forward",
        CHECKS,
        "  if (row < count) {\n",
        "  if (row < count + 1) {\n",
        Kind.OUT_OF_BOUNDS,
        "corner[first] =",
    ),
    Bug(
        "statistics_stored_by_all",
        "forward attention: the log-sum-exp of a row stored by all lanes that share it",
        "attention_forward",
        CHECKS,
        "if (row < length && matrix_column(lane) == 0) {",
        "if (row < length) {",
        Kind.RACE,
        "log_sum_exp[",
    ),
    Bug(
        "forward_mask",
        "forward attention: a query does not see its own key",
        "attention_forward",
        NUMBERS,
        "8 * j + i <= last ? exp2(score)",
        "8 * j + i < last ? exp2(score)",
    ),
    Bug(
        "forward_not_rescaled",
        "forward attention: the sum so far not rescaled to the new maximum",
        "attention_forward",
        NUMBERS,
        "    mixed[c].thread_elements()[0] *= shrink;\n",
        "",
    ),
    Bug(
        "forward_natural_logarithm",
        "forward attention: a natural logarithm kept, which only the gradient shows",
        "attention_forward",
        NUMBERS,
        "= log2(sum);",
        "= log(sum);",
    ),
    Bug(
        "delta_not_written",
        "query gradient: the last row's delta is not written",
        "attention_backward_query",
        CHECKS,
        "if (row < length && matrix_column(lane) == 0)",
        "if (row + 1 < length && matrix_column(lane) == 0)",
        Kind.NOT_WRITTEN,
    ),
    Bug(
        "query_gradient_sign",
        "query gradient: delta added instead of subtracted",
        "attention_backward_query",
        NUMBERS,
        "- row_delta;",
        "+ row_delta;",
    ),
    Bug(
        "query_gradient_scale",
        "query gradient: the scale dropped",
        "attention_backward_query",
        NUMBERS,
        "scale[0], query_gradient",
        "1.0f, query_gradient",
    ),
    Bug(
        "key_gradient_of_one_head",
        "key gradient: only the first of the heads that share a key",
        "attention_backward_key_value",
        NUMBERS,
        "head < (group + 1) * sharing",
        "head < group * sharing + 1",
    ),
    Bug(
        "key_gradient_barrier",
        "key gradient: no barrier before the next tile overwrites this one",
        "attention_backward_key_value",
        CHECKS,
        f"    {_BARRIER}  }}\n}}\n",
        "  }\n}\n",
        Kind.RACE,
        "tile[row * tile_stride",
    ),
    Bug(
        "statistics_beyond",
        "key gradient: the log-sum-exp read beyond the last query",
        "attention_backward_key_value",
        CHECKS,
        "inside ? log_sum_exp[2 * (statistics + ulong(first_query)) + ulong(index)] : INFINITY",
        "inside || true ? log_sum_exp[2 * (statistics + ulong(first_query)) + ulong(index)] : INFINITY",
        Kind.OUT_OF_BOUNDS,
        "log_sum_exp[",
    ),
    Bug(
        "deltas_not_filled",
        "key gradient: the deltas of absent queries left as they were",
        "attention_backward_key_value",
        CHECKS,
        "if (index < rows) {\n      deltas[index] = first_query + index < length ? delta[statistics + "
        "ulong(first_query + index)] : 0.0f;",
        "if (index < rows && first_query + index < length) {\n      deltas[index] = delta[statistics + "
        "ulong(first_query + index)];",
        Kind.UNINITIALISED,
        "deltas[query_index]",
    ),
    Bug(
        "qk_norm_rope_stored_beyond",
        "QK-norm, forward: a row beyond the last one stored",
        "qk_norm_rope_forward",
        CHECKS,
        "  if (row < rows && i < half_width) {",
        "  if (i < half_width) {",
        Kind.OUT_OF_BOUNDS,
        "query[here] =",
    ),
    Bug(
        "squares_of_some_lanes",
        "QK-norm, forward: the squares added up by the lanes that have a pair alone",
        "qk_norm_rope_forward",
        CHECKS,
        "float inverse = inverse_root_mean_square<uint(K)>(squares, epsilon[0]);",
        "float inverse = 0.0f;\nif (lane < half_width) {\n  "
        "inverse = inverse_root_mean_square<uint(K)>(squares, epsilon[0]);\n}",
        Kind.RETURNED,
        "simd_sum(squares)",
    ),
    Bug(
        "rotary_wrong_pair",
        "QK-norm, forward: neighbours turned in place of the two halves",
        "qk_norm_rope_forward",
        NUMBERS,
        "second[pair] = mine ? float(projected[place.packed + half_width + i])",
        "second[pair] = mine ? float(projected[place.packed + i + 1])",
    ),
    Bug(
        "query_weight_for_keys",
        "QK-norm, forward: the query's weight for the keys too",
        "qk_norm_rope_forward",
        NUMBERS,
        "float first_weight = place.is_query ? float(query_norm_weight[i]) : float(key_norm_weight[i]);",
        "float first_weight = float(query_norm_weight[i]);",
    ),
    Bug(
        "rotation_not_inverted",
        "QK-norm, backward: the rotation applied where its inverse belongs",
        "qk_norm_rope_backward",
        NUMBERS,
        "float second_back = b * c - a * s;",
        "float second_back = b * c + a * s;",
    ),
    Bug(
        "norm_weight_barrier",
        "QK-norm, backward: no barrier before the simdgroups' parts are added up",
        "qk_norm_rope_backward",
        CHECKS,
        _BARRIER,
        "",
        Kind.RACE,
        "terms[",
    ),
    Bug(
        "mirror_barrier",
        "symmetric product: no barrier before the mirror image is read",
        "symmetric_product",
        CHECKS,
        f"{_BARRIER}for (uint i = worker; i < TILE * TILE; i += 128) {{\n  const uint row = left",
        "for (uint i = worker; i < TILE * TILE; i += 128) {\n  const uint row = left",
        Kind.RACE,
        "tiles[",
    ),
    Bug(
        "diagonal_not_written",
        "symmetric product: the diagonal left out",
        "symmetric_product",
        CHECKS,
        "column <= row)",
        "column < row)",
        Kind.NOT_WRITTEN,
    ),
    Bug(
        "wrong_triangle_mirrored",
        "symmetric product: both triangles of a diagonal tile mirrored",
        "symmetric_product",
        NUMBERS,
        "if (row < column && column < rows)",
        "if (row < rows && column < rows)",
    ),
    Bug(
        "shared_slots",
        "Muon pack: the squares put where the maxima are still read",
        "muon_pack",
        CHECKS,
        "of_groups[4 + group] = squares;",
        "of_groups[group] = squares;",
        Kind.RACE,
        "of_groups[",
    ),
    Bug(
        "old_momentum",
        "Muon pack: the look-ahead from the old momentum",
        "muon_pack",
        NUMBERS,
        "float(T(kept * new_momentum",
        "float(T(kept * momentum[place]",
    ),
]
