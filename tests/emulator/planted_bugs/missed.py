"""Mistakes that no gate finds: what the README says about the emulator's limits, as text that can be run."""

from __future__ import annotations

from emulator.planted_bugs.bug import Bug

NONE = "none"


def _missed(name: str, what: str, kernel: str, old: str, new: str) -> Bug:
    return Bug(name, what, kernel, NONE, old, new)


# fmt: off
MISSED = [
    _missed("bank_conflicts", "rows of a tile that all begin in one bank of memory: right, and slow", "transposition",
        "constexpr uint stride = 33;", "constexpr uint stride = 32;"),
    _missed("less_precise_function", "a function of less precision, which is as precise as any on a CPU",
        "causal_softmax", "exp(parts[part] - greatest)", "fast::exp(parts[part] - greatest)"),
    _missed("stale_tail", "a tile's tail left from the tile before, harmless until an input holds a NaN there",
        "product", "left[(i / 16) * stride + i % 16] = row < rows",
        "if (start == 0 || k < inner) left[(i / 16) * stride + i % 16] = row < rows"),
    _missed("conversion_out_of_range", "a float converted to an integer that cannot hold it", "column_sum",
        "const uint lane = thread_index_in_simdgroup;",
        "const uint lane = thread_index_in_simdgroup + (uint(int(3e10f * float(rows))) & 0u);"),
    _missed("large_sizes_only", "a barrier left out at sizes that no test runs", "column_sum",
        "threadgroup_barrier(mem_flags::mem_threadgroup);",
        "if (rows < 1000) {\n  threadgroup_barrier(mem_flags::mem_threadgroup);\n}"),
]
# fmt: on
