"""Bugs of the project's kernels that ordinary numbers do not show: each has its case in the table that a Mac runs."""

from __future__ import annotations

from emulator.planted_bugs.bug import TABLE, Bug

_SHIFTED = "B2 T65 H2 G1 K64, one score shifted by 30"
_SMALL_ROWS = "B2 T65 H2 G1 K64, rows of size 0.001"
_INVERSE = "rsqrt(simd_sum(squares) / float(K) + epsilon)"
_AHEAD = "kept * new_momentum + (1.0f - kept) * gradient[place]"


def _bug(name: str, what: str, kernel: str, old: str, new: str, case: str = "", dtype: str = "float32") -> Bug:
    return Bug(name, what, kernel, TABLE, old, new, case=case, dtype=dtype)


# fmt: off
FOUND_BY_ITS_CASE = [
    _bug("head_map_modulo", "forward attention: query heads on key heads in turn instead of in groups",
        "attention_forward", "head / (heads / groups)", "head % groups"),
    *(
        _bug(
            f"{kernel}_pairs_of_heads",
            f"{words}: at most two query heads to a key head, which shows from 8 heads on 2 on",
            kernel,
            "head / (heads / groups)",
            "head / min(heads / groups, 2) % groups",
        )
        for kernel, words in (
            ("attention_forward", "forward attention"),
            ("attention_backward_query", "query gradient"),
        )
    ),
    _bug("third_sequence", "forward attention: the second sequence of the batch in place of all that follow",
        "attention_forward", "((ulong(batch) * ulong(length)", "((ulong(min(batch, 1)) * ulong(length)"),
    _bug("position_in_third_sequence",
        "QK-norm, forward: positions that begin anew in the second sequence, and not in the third",
        "qk_norm_rope_forward", "found.position = token % positions;",
        "found.position = token < positions ? token : token - positions;"),
    _bug("rounded_log2_e", "forward attention: log2(e) rounded to four digits", "attention_forward",
        "scale[0] * M_LOG2E_F", "scale[0] * 1.4427f", _SHIFTED),
    *(
        _bug(f"{direction}_{name}", f"QK-norm, {direction}: {what}", kernel, _INVERSE, new, _SMALL_ROWS)
        for direction, kernel in (("forward", "qk_norm_rope_forward"), ("backward", "qk_norm_rope_backward"))
        for name, what, new in (
            ("epsilon_forgotten", "epsilon forgotten", "rsqrt(simd_sum(squares) / float(K))"),
            (
                "epsilon_added_to_the_sum",
                "epsilon added to the sum of squares in place of their mean",
                "rsqrt((simd_sum(squares) + epsilon) / float(K))",
            ),
            (
                "epsilon_outside_the_root",
                "epsilon added outside of the root",
                "1.0f / (sqrt(simd_sum(squares) / float(K)) + epsilon)",
            ),
        )
    ),
    _bug("zero_tile", "Muon pack: nothing divided by nothing in a tile of zeros", "muon_pack",
        "largest = max(largest, SMALLEST);\n", "", "grouped queries, SwiGLU, zero tiles"),
    _bug("norm_of_unrounded_values", "Muon pack: the norm of what is packed before it is rounded to bfloat",
        "muon_pack", f"float(T({_AHEAD}))", _AHEAD, "grouped queries, SwiGLU", "bfloat16"),
    _bug("stand_in_not_written", "Muon pack: the output that stands in for an absent parameter not written",
        "muon_pack", "    average3[0] = 0.0f;\n", ""),
    _bug("maximum_without_a_simdgroup", "Muon pack: a tile's largest magnitude without that of one simdgroup",
        "muon_pack", "max(of_groups[2], of_groups[3])", "of_groups[2]", "grouped queries, SwiGLU, few large rows"),
    _bug("columns_not_guarded", "symmetric product: columns beyond the last one read from the next matrix",
        "symmetric_product", "upper + row < rows && column < columns", "upper + row < rows",
        "N2 R65 C31, NaN in the next matrix"),
]
# fmt: on
