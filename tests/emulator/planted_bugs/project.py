"""Bugs planted in the project's own kernels, found in a case of the table that a Mac runs, or by the checks there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from emulator.faults import Kind
from emulator.planted_bugs.bug import CHECKS, TABLE, Bug
from emulator.table import table
from mlx_tiny.ops import conformance, metal
from mlx_tiny.ops.metal import KernelText, kernel_text

_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
# Where a bug names no case: small, with ends of tiles in it, and with several heads, matrices or parameters.
_CASES = {
    "attention_forward": "B3 T37 H8 G2 K32",
    "attention_backward_query": "B3 T37 H8 G2 K32",
    "attention_backward_key_value": "B3 T37 H8 G2 K32",
    "qk_norm_rope_forward": "B3 T37 H8 G2 K32",
    "qk_norm_rope_backward": "B3 T37 H8 G2 K32",
    "symmetric_product": "N2 R65 C31",
    "muon_pack": "2 ragged",
}


def wrong_results(kernel: str, title: str = "", dtype: str = "float32") -> list[str]:
    """Run a case of the table, inside `emulated_metal`: which results are further off than they may be.

    Args:
        kernel: one that has a part in the case.
        title: of the case; a small one where it is empty.
        dtype: of the case.

    Raises:
        AssertionError: the table has no such case.
    """
    title = title or _CASES[kernel]
    for operation, case in table():
        if kernel in operation.proof.kernels.values() and (operation.title(case), case.dtype) == (title, dtype):
            return [result.name for result in conformance.check(operation, "metal", case) if not result.passed]
    raise AssertionError(f"the table has no case {title!r} of {kernel} in {dtype}")


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Inside, the project launches the kernel with the bug in its text."""

    def text(name: str) -> KernelText:
        return bug.plant(kernel_text(name)) if name == bug.kernel else kernel_text(name)

    with mock.patch.object(metal, "kernel_text", text):
        yield


# fmt: off
PROJECT = [
    Bug("forward_barrier", "forward attention: no barrier before the next tile overwrites this one",
        "attention_forward", CHECKS, f"  {_BARRIER}}}\n\nsum = row_sum(sum);", "}\n\nsum = row_sum(sum);", Kind.RACE,
        "tile[row * tile_stride"),
    Bug("tile_tail", "attention: rows of a tile beyond the last one read in place of zeros", "attention_forward",
        CHECKS, "row < count ? T(source[row * step + column + i]) : T(0.0f);", "T(source[row * step + column + i]);",
        Kind.OUT_OF_BOUNDS, "source[row * step"),
    Bug("row_stored_beyond", "attention: a row beyond the last one stored", "attention_forward", CHECKS,
        "  if (row < count) {\n", "  if (row < count + 1) {\n", Kind.OUT_OF_BOUNDS, "corner[first] ="),
    Bug("statistics_stored_by_all", "forward attention: the log-sum-exp of a row stored by all lanes that share it",
        "attention_forward", CHECKS, "if (row < length && matrix_column(lane) == 0) {", "if (row < length) {",
        Kind.RACE, "log_sum_exp["),
    Bug("forward_mask", "forward attention: a query does not see its own key", "attention_forward", TABLE,
        "8 * j + i <= last ? exp2(score)", "8 * j + i < last ? exp2(score)"),
    Bug("forward_not_rescaled", "forward attention: the sum so far not rescaled to the new maximum",
        "attention_forward", TABLE, "    mixed[c].thread_elements()[0] *= shrink;\n", ""),
    Bug("forward_natural_logarithm", "forward attention: a natural logarithm kept, which only the gradient shows",
        "attention_forward", TABLE, "= log2(sum);", "= log(sum);"),
    Bug("delta_not_written", "query gradient: the last row's delta is not written", "attention_backward_query", CHECKS,
        "if (row < length && matrix_column(lane) == 0)", "if (row + 1 < length && matrix_column(lane) == 0)",
        Kind.NOT_WRITTEN),
    Bug("query_gradient_sign", "query gradient: delta added instead of subtracted", "attention_backward_query", TABLE,
        "- row_delta;", "+ row_delta;"),
    Bug("query_gradient_scale", "query gradient: the scale dropped", "attention_backward_query", TABLE,
        "scale[0], query_gradient", "1.0f, query_gradient"),
    Bug("key_gradient_of_one_head", "key gradient: only the first of the heads that share a key",
        "attention_backward_key_value", TABLE, "head < (group + 1) * sharing", "head < group * sharing + 1"),
    Bug("key_gradient_barrier", "key gradient: no barrier before the next tile overwrites this one",
        "attention_backward_key_value", CHECKS, f"    {_BARRIER}  }}\n}}\n", "  }\n}\n", Kind.RACE,
        "tile[row * tile_stride"),
    Bug("statistics_beyond", "key gradient: the log-sum-exp read beyond the last query", "attention_backward_key_value",
        CHECKS, "inside ? log_sum_exp[2 * (statistics + ulong(first_query)) + ulong(index)] : INFINITY",
        "inside || true ? log_sum_exp[2 * (statistics + ulong(first_query)) + ulong(index)] : INFINITY",
        Kind.OUT_OF_BOUNDS, "log_sum_exp["),
    Bug("deltas_not_filled", "key gradient: the deltas of absent queries left as they were",
        "attention_backward_key_value", CHECKS,
        "if (index < rows) {\n      deltas[index] = first_query + index < length ? delta[statistics + "
        "ulong(first_query + index)] : 0.0f;",
        "if (index < rows && first_query + index < length) {\n      deltas[index] = delta[statistics + "
        "ulong(first_query + index)];", Kind.UNINITIALISED, "deltas[query_index]"),
    Bug("qk_norm_rope_stored_beyond", "QK-norm, forward: a row beyond the last one stored", "qk_norm_rope_forward",
        CHECKS, "  if (row < rows && i < half_width) {", "  if (i < half_width) {", Kind.OUT_OF_BOUNDS, "query[here] =",
        case="B3 T11 H3 G1 K32"),
    Bug("squares_of_some_lanes", "QK-norm, forward: the squares added up by the lanes that have a pair alone",
        "qk_norm_rope_forward", CHECKS, "float inverse = inverse_root_mean_square<uint(K)>(squares, epsilon[0]);",
        "float inverse = 0.0f;\nif (lane < half_width) {\n  inverse = inverse_root_mean_square<uint(K)>(squares, "
        "epsilon[0]);\n}", Kind.RETURNED, "simd_sum(squares)"),
    Bug("rotary_wrong_pair", "QK-norm, forward: neighbours turned in place of the two halves", "qk_norm_rope_forward",
        TABLE, "second[pair] = mine ? float(projected[place.packed + half_width + i])",
        "second[pair] = mine ? float(projected[place.packed + i + 1])"),
    Bug("query_weight_for_keys", "QK-norm, forward: the query's weight for the keys too", "qk_norm_rope_forward", TABLE,
        "float first_weight = place.is_query ? float(query_norm_weight[i]) : float(key_norm_weight[i]);",
        "float first_weight = float(query_norm_weight[i]);"),
    Bug("rotation_not_inverted", "QK-norm, backward: the rotation applied where its inverse belongs",
        "qk_norm_rope_backward", TABLE, "float second_back = b * c - a * s;", "float second_back = b * c + a * s;"),
    Bug("norm_weight_barrier", "QK-norm, backward: no barrier before the simdgroups' parts are added up",
        "qk_norm_rope_backward", CHECKS, _BARRIER, "", Kind.RACE, "terms["),
    Bug("mirror_barrier", "symmetric product: no barrier before the mirror image is read", "symmetric_product", CHECKS,
        f"{_BARRIER}for (uint i = worker; i < TILE * TILE; i += 128) {{\n  const uint row = left",
        "for (uint i = worker; i < TILE * TILE; i += 128) {\n  const uint row = left", Kind.RACE, "tiles["),
    Bug("diagonal_not_written", "symmetric product: the diagonal left out", "symmetric_product", CHECKS,
        "column <= row)", "column < row)", Kind.NOT_WRITTEN),
    Bug("wrong_triangle_mirrored", "symmetric product: both triangles of a diagonal tile mirrored", "symmetric_product",
        TABLE, "if (row < column && column < rows)", "if (row < rows && column < rows)"),
    Bug("shared_slots", "Muon pack: the squares put where the maxima are still read", "muon_pack", CHECKS,
        "of_groups[4 + group] = squares;", "of_groups[group] = squares;", Kind.RACE, "of_groups["),
    Bug("old_momentum", "Muon pack: the look-ahead from the old momentum", "muon_pack", TABLE,
        "float(T(kept * new_momentum", "float(T(kept * momentum[place]"),
]
# fmt: on
