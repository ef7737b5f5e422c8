"""Bugs that only a run shows: to the checks of every access, or in the numbers."""

from __future__ import annotations

from emulator.faults import Kind
from emulator.planted_bugs.bug import CHECKS, NUMBERS, OTHER_MAP, Bug

_TOTAL = "sum += partial[32 * other + lane];"
_MIDDLE = "partial[32 * group + lane] = sum;\nthreadgroup_barrier(mem_flags::mem_threadgroup);"
_END_OF_LOOP = "  threadgroup_barrier(mem_flags::mem_threadgroup);\n}\nconst int row"
_COLLECTIVE = "      simdgroup_multiply_accumulate(sums[j], a, b, sums[j]);"


def _check(name: str, what: str, kernel: str, old: str, new: str, kind: Kind, line: str = "") -> Bug:
    return Bug(name, what, kernel, CHECKS, old, new, kind, line)


def _number(name: str, what: str, kernel: str, old: str, new: str) -> Bug:
    return Bug(name, what, kernel, NUMBERS, old, new)


# fmt: off
CHECKED = [
    _check("missing_barrier", "no barrier between writing and reading threadgroup memory", "column_sum", _MIDDLE,
        "partial[32 * group + lane] = sum;", Kind.RACE, "partial[32 * group + lane] = sum;"),
    _check("missing_barrier_of_loop", "no barrier between a loop's reads and its next writes", "product", _END_OF_LOOP,
        "}\nconst int row", Kind.RACE, "] = "),
    _check("barrier_of_no_memory", "a barrier that orders no memory", "column_sum", "mem_flags::mem_threadgroup",
        "mem_flags::mem_none", Kind.RACE, _TOTAL),
    _check("barrier_of_wrong_memory", "a barrier of threadgroup memory for data in device memory", "block_means",
        "mem_flags::mem_device", "mem_flags::mem_threadgroup", Kind.RACE, "squares[opposite]"),
    _check("barrier_of_a_simdgroup", "a barrier of the simdgroup where the threadgroup shares", "transposition",
        "threadgroup_barrier(", "simdgroup_barrier(", Kind.RACE, "tile[lane * stride + i]"),
    _check("barrier_in_a_branch", "a barrier that only some lanes reach", "column_sum", _MIDDLE,
        "partial[32 * group + lane] = sum;\nif (lane < 16) {\n  threadgroup_barrier(mem_flags::mem_threadgroup);\n}",
        Kind.RETURNED, "threadgroup_barrier"),
    _check("simd_sum_in_a_branch", "a simd operation that only some lanes reach", "causal_softmax",
        "sum = simd_sum(sum);", "if (lane <= row) {\n  sum = simd_sum(sum);\n}", Kind.RETURNED, "simd_sum(sum)"),
    _check("matrix_product_in_a_branch", "a matrix product that only some lanes reach", "product", _COLLECTIVE,
        "      if (lane < 16) {\n  " + _COLLECTIVE + "\n      }", Kind.DIFFERENT_PLACES,
        "simdgroup_multiply_accumulate"),
    _check("returned_lanes", "lanes that have returned before a barrier", "column_sum", "float sum = 0.0f;",
        "if (column >= columns) {\n  return;\n}\nfloat sum = 0.0f;", Kind.RETURNED, "threadgroup_barrier"),
    _check("read_beyond_an_input", "a read beyond the end of an input", "causal_softmax",
        "min(row, rows - 1) * columns", "row * columns", Kind.OUT_OF_BOUNDS, "scores[column]"),
    _check("read_of_next_row", "an unguarded read, wrong only in the last row", "column_sum",
        "  if (column < columns) {\n    sum +=", "  {\n    sum +=", Kind.OUT_OF_BOUNDS, "sum += float(x["),
    _check("write_beyond_an_output", "a write beyond the end of an output", "scaled_vectors", "if (index < count) {",
        "if (index <= count) {", Kind.OUT_OF_BOUNDS, "to[index] ="),
    _check("wrong_row_length", "the input's row length taken for the output's", "transposition",
        "y[(first_column + i) * rows +", "y[(first_column + i) * columns +", Kind.OUT_OF_BOUNDS, "y[(first_column"),
    _check("threadgroup_array_too_short", "a write beyond the end of a threadgroup array", "transposition",
        "tile[32 * stride];", "tile[32 * 32];", Kind.OUT_OF_BOUNDS, "tile[i * stride + lane] ="),
    _check("misaligned_vectors", "vectors of four read from an address between two", "scaled_vectors",
        "(const device float4*)x;", "(const device float4*)(x + 1) - 1;", Kind.MISALIGNED, "to[index] ="),
    _check("input_written", "an input written through a cast", "scaled_vectors", "  to[index] =",
        "  ((device float4*)x)[index] = 2.0f * from[index];\n  to[index] =", Kind.READ_ONLY,
        "((device float4*)x)[index]"),
    _check("tile_not_filled", "a tile whose ends are not filled with zeros", "product",
        "left[(i / 16) * stride + i % 16] = row < rows && k < inner ? float(x[row * inner + k]) : 0.0f;",
        "if (row < rows && k < inner) left[(i / 16) * stride + i % 16] = float(x[row * inner + k]);",
        Kind.UNINITIALISED, "simdgroup_load(a, left"),
    _check("partial_sum_missing", "threadgroup memory read that one simdgroup has not written", "column_sum",
        "partial[32 * group + lane] = sum;", "if (group < 3) {\n  partial[32 * group + lane] = sum;\n}",
        Kind.UNINITIALISED, _TOTAL),
    _check("output_read_first", "an output added to, which nobody has written", "block_means", "means[block] = ",
        "means[block] += ", Kind.UNINITIALISED, "means[block] +="),
    _check("register_not_set", "a local array that a loop fills from 1 on", "causal_softmax",
        "float greatest = -INFINITY;\nfor (uint part = 0;", "float greatest = -INFINITY;\nfor (uint part = 1;",
        Kind.UNINITIALISED_LOCAL),
    _check("two_simdgroups_store", "an output that two simdgroups write", "column_sum", "if (group == 0) {",
        "if (group < 2) {", Kind.RACE, "y[column] ="),
    _check("all_threads_store", "an output that all threads write, with the same value", "block_means",
        "if (index == 0) {", "{", Kind.RACE, "means[block] ="),
    _check("threadgroups_overlap", "an output that two threadgroups write", "column_sum",
        "32 * threadgroup_position_in_grid.x", "16 * threadgroup_position_in_grid.x", Kind.RACE_OF_THREADGROUPS,
        "y[column] ="),
    _check("threadgroups_share", "a read of what another threadgroup writes", "block_means",
        "128 * block + 127 - index;", "128 * (block ^ 1) % 256 + 127 - index;", Kind.RACE_OF_THREADGROUPS, "squares"),
    _check("output_not_written", "an output whose last element nobody writes", "column_sum",
        "  if (column < columns) {\n    y[", "  if (column + 1 < columns) {\n    y[", Kind.NOT_WRITTEN),
    _check("too_much_memory", "more than 32 KB of threadgroup memory", "column_sum", "partial[128]", "partial[8193]",
        Kind.TOO_MUCH_MEMORY, "partial[8193]"),
    _check("division_by_zero", "an integer divided by zero", "column_sum",
        "const uint lane = thread_index_in_simdgroup;", "const uint lane = thread_index_in_simdgroup % (columns - 45);",
        Kind.UNDEFINED, "% (columns - 45)"),
    _check("shift_too_far", "a shift by more bits than there are", "column_sum", "32 * threadgroup_position_in_grid.x",
        "(threadgroup_position_in_grid.x << columns)", Kind.UNDEFINED, "<< columns"),
    _check("integer_overflow", "a signed product that does not fit 32 bits", "product", "const int k = start + i / 16;",
        "const int k = (start + i / 16) * 0x40000000 / 0x40000000;", Kind.UNDEFINED, "0x40000000"),
]
# fmt: on

# fmt: off
COMPUTED = [
    _number(
        "mask_off_by_one", "a mask that hides the diagonal", "causal_softmax", "column <= row;", "column + 1 <= row;"
    ),
    _number("mask_too_wide", "a mask that shows one column too many", "causal_softmax", "column <= row;",
        "column <= row + 1;"),
    _number("scale_dropped", "a scale that is not applied", "causal_softmax", "scale[0] * float(scores[column])",
        "float(scores[column])"),
    _number("maximum_not_subtracted", "exponentials without the shift by the maximum", "causal_softmax",
        "exp(parts[part] - greatest)", "exp(parts[part])"),
    _number("maximum_of_one_lane", "each lane with a maximum of its own", "causal_softmax",
        "greatest = simd_max(greatest);\n", ""),
    _number("wrong_sign", "a product with the wrong sign", "product", "T(alpha[0] *", "T(-alpha[0] *"),
    _number("operand_transposed", "a matrix loaded transposed", "product", "right + k * stride + 8 * j, stride)",
        "right + k * stride + 8 * j, stride, 0, true)"),
    _number("operands_exchanged", "the factors of a matrix product exchanged", "product", "sums[j], a, b, s",
        "sums[j], b, a, s"),
    _number("sum_not_kept", "a matrix product that forgets the sum so far", "product",
        "simdgroup_multiply_accumulate(sums[j], a, b, sums[j]);", "simdgroup_multiply(sums[j], a, b);"),
    _number("simdgroup_left_out", "a sum that leaves out one simdgroup", "column_sum", "for (uint other = 1;",
        "for (uint other = 2;"),
    _number("rows_left_out", "a loop that skips every other row", "column_sum", "row < rows; row += 4",
        "row < rows; row += 8"),
    _number("not_transposed", "a tile read the way it was written", "transposition", "= tile[lane * stride + i];",
        "= tile[i * stride + lane];"),
    Bug("hidden_lane_map", "a lane map that the lint does not recognise", "product", OTHER_MAP, "int(matrix_row(lane))",
        "int((lane >> 4) * 4 + (lane >> 1) % 4)"),
]
# fmt: on
