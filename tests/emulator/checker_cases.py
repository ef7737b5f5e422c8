"""Small kernels for the checks: what they must let pass, and what they must find, on the line that says `// here`.

Each runs in two threadgroups on inputs a (64 numbers) and b (2), with one element of the output o for each thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from .faults import Kind

START = "uint i = thread_position_in_grid.x, t = thread_position_in_threadgroup.x;"
MARK = "// here"


@dataclass(frozen=True)
class Case:
    """A kernel, and what is wrong with it.

    Args:
        name: what it shows.
        text: its body, behind `START`.
        kinds: of which one is to be found; none: it is clean.
        threads: of a threadgroup.
    """

    name: str
    text: str
    kinds: tuple[Kind, ...] = ()
    threads: int = 64

    @property
    def body(self) -> str:
        """The whole body; its first line is `START`."""
        return START + self.text

    @property
    def line(self) -> int | None:
        """The line of the body that is marked, counted from 1, if any."""
        return self.body.count("\n", 0, self.body.index(MARK)) + 1 if MARK in self.body else None


CLEAN = (
    Case("a thread's own element", """
        threadgroup float x[64];
        x[t] = a[t];
        o[i] = x[t];
    """),
    Case("a barrier", """
        threadgroup float x[64];
        x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[63 - t];
    """),
    Case("a barrier for both memories", """
        threadgroup float x[64];
        x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);
        o[i] = x[63 - t];
    """),
    Case("a simdgroup's barrier within the simdgroup", """
        threadgroup float x[64];
        x[t] = a[t];
        simdgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[t ^ 31];
    """),
    Case("memory used again behind a barrier", """
        threadgroup float x[64];
        x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        float y = x[63 - t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        x[t] = y;
        o[i] = x[t];
    """),
    Case("by way of device memory", """
        o[i] = a[t];
        threadgroup_barrier(mem_flags::mem_device);
        float y = o[i ^ 63];
        threadgroup_barrier(mem_flags::mem_device);
        o[i] = y;
    """),
    Case("halves of one word", """
        threadgroup half x[64];
        x[t] = half(a[t]);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = float(((threadgroup half2*)x)[t / 2].y);
    """),
    Case("elements of one vector", """
        threadgroup float2 x[32];
        x[t / 2][t % 2] = a[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[t / 2].x;
    """),
    Case("a matrix loaded and stored between barriers", """
        threadgroup float x[64];
        x[t] = a[t], x[t + 32] = 1.0f;
        simdgroup_barrier(mem_flags::mem_threadgroup);
        simdgroup_float8x8 m;
        simdgroup_load(m, x, 8);
        simdgroup_barrier(mem_flags::mem_threadgroup);
        simdgroup_store(m, x, 8);
        simdgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[63 - t];
    """, threads=32),
    Case("an atomic counter", """
        threadgroup atomic_uint n[1];
        if (t == 0) atomic_store_explicit(&n[0], 0u, memory_order_relaxed);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        atomic_fetch_add_explicit(&n[0], 1u, memory_order_relaxed);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = float(atomic_load_explicit(&n[0], memory_order_relaxed));
    """),
    Case("a variable set on both paths", """
        float y;
        if (a[t] > 0.0f) y = 1.0f; else y = 2.0f;
        o[i] = y;
    """),
    Case("unset elements that nobody reads", """
        float y[4];
        y[t % 4] = a[t];
        o[i] = y[t % 4];
    """),
    Case("a result that is not a number", """
        o[i] = 0.0f * (a[t] / 0.0f);
    """),
    Case("returns behind the last barrier", """
        threadgroup float x[64];
        x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[63 - t];
        if (t > 7) return;
        o[i] = 2.0f;
    """),
)  # fmt: skip

RACES = (
    Case("no barrier", """
        threadgroup float x[64];
        x[t] = a[t];
        o[i] = x[t ^ 1];  // here
    """, (Kind.RACE,)),
    Case("a write behind a read", """
        threadgroup float x[64];
        x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[63 - t];
        x[t] = 1.0f;  // here
    """, (Kind.RACE,)),
    Case("two writers", """
        threadgroup float x[64];
        x[t / 2] = a[t];  // here
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[t / 2];
    """, (Kind.RACE,)),
    Case("a barrier for the other memory", """
        threadgroup float x[64];
        x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_device);
        o[i] = x[63 - t];  // here
    """, (Kind.RACE,)),
    Case("a barrier for no memory", """
        threadgroup float x[64];
        x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_none);
        o[i] = x[63 - t];  // here
    """, (Kind.RACE,)),
    Case("device memory behind a barrier for the threadgroup's", """
        o[i] = a[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i ^ 63] += 1.0f;  // here
    """, (Kind.RACE,)),
    Case("a simdgroup's barrier across simdgroups", """
        threadgroup float x[64];
        x[t] = a[t];
        simdgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[63 - t];  // here
    """, (Kind.RACE,)),
    Case("a simdgroup's barrier across simdgroups, passed by the other", """
        threadgroup float x[32];
        if (t < 32) x[t] = a[t];
        simdgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[t % 32];  // here
    """, (Kind.RACE,)),
    Case("one reader of many in another simdgroup", """
        threadgroup float x[64];
        x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[0];
        simdgroup_barrier(mem_flags::mem_threadgroup);
        threadgroup_barrier(mem_flags::mem_none);
        if (t == 32) x[0] = 2.0f;  // here
    """, (Kind.RACE,)),
    Case("a sum in place of a barrier", """
        threadgroup float x[64];
        x[t] = a[t];
        float y = simd_sum(1.0f);
        o[i] = x[t ^ 31] + y;  // here
    """, (Kind.RACE,), 32),
    Case("one byte of a word", """
        threadgroup uchar x[64];
        x[t] = uchar(t);
        o[i] = float(((threadgroup uchar4*)x)[t / 4].x);  // here
    """, (Kind.RACE,), 32),
    Case("a matrix loaded before the barrier", """
        threadgroup float x[64];
        x[t] = a[t], x[t + 32] = 1.0f;
        simdgroup_float8x8 m;
        simdgroup_load(m, x, 8);  // here
        o[i] = m.thread_elements()[0];
    """, (Kind.RACE,), 32),
    Case("a matrix stored where another was just loaded", """
        threadgroup float x[64];
        x[t] = a[t], x[t + 32] = 1.0f;
        simdgroup_barrier(mem_flags::mem_threadgroup);
        simdgroup_float8x8 m;
        simdgroup_load(m, x, 8);
        simdgroup_store(m, x, 8);  // here
        o[i] = 1.0f;
    """, (Kind.RACE,), 32),
    Case("threadgroups that write the same", """
        o[i] = 1.0f;
        o[t] = 2.0f;  // here
    """, (Kind.RACE_OF_THREADGROUPS,)),
    Case("a threadgroup that reads another's", """
        o[i] = 1.0f;
        threadgroup_barrier(mem_flags::mem_device);
        float y = o[i - i + t];  // here
        threadgroup_barrier(mem_flags::mem_device);
        o[i] = y;
    """, (Kind.RACE_OF_THREADGROUPS,)),
)  # fmt: skip

UNSET = (
    Case("an element that nobody sets", """
        threadgroup float x[64];
        if (t != 5) x[t] = a[t];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        o[i] = x[63 - t];  // here
    """, (Kind.UNINITIALISED,)),
    Case("left by the threadgroup before", """
        threadgroup float x[64];
        if (i < 64) x[t] = a[t];
        o[i] = x[t];  // here
    """, (Kind.UNINITIALISED,)),
    Case("an output read before it is written", """
        o[i] += a[t];  // here
    """, (Kind.UNINITIALISED,)),
    Case("a matrix of unset elements", """
        threadgroup float x[64];
        simdgroup_float8x8 m;
        simdgroup_load(m, x, 8);  // here
        o[i] = m.thread_elements()[0];
    """, (Kind.UNINITIALISED,), 32),
    Case("a variable set on one path", """
        float y;
        if (a[t] > 0.0f) y = 1.0f;
        o[i] = y;  // here
    """, (Kind.UNINITIALISED_LOCAL,)),
    Case("a sum without a start", """
        float y;
        for (uint k = 0; k < 8; ++k) y += a[k];
        o[i] = y;
    """, (Kind.UNINITIALISED_LOCAL,)),
    Case("a matrix without a start", """
        simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8, 8>(1.0f), d;
        simdgroup_multiply_accumulate(d, m, m, d);
        o[i] = d.thread_elements()[0];
    """, (Kind.UNINITIALISED_LOCAL,), 32),
    Case("zero times a variable without a value", """
        float y[2];
        for (uint k = 0; k < 1; ++k) y[k] = a[t];
        o[i] = y[0] + y[1] * 0.0f;
    """, (Kind.UNINITIALISED_LOCAL,)),
    Case("a last element that is not written", """
        if (i != 127) o[i] = 1.0f;
    """, (Kind.NOT_WRITTEN,)),
)  # fmt: skip

BOUNDS = (
    Case("past the end", """
        o[i + 1] = a[t];  // here
    """, (Kind.OUT_OF_BOUNDS,)),
    Case("before the start", """
        o[i] = a[int(t) - 1];  // here
    """, (Kind.OUT_OF_BOUNDS,)),
    Case("past the end of a small input", """
        o[i] = b[t];  // here
    """, (Kind.OUT_OF_BOUNDS,)),
    Case("past a threadgroup array, where the next may begin", """
        threadgroup float x[64];
        threadgroup float y[64];
        threadgroup float* p = x;
        y[t] = 1.0f;
        p[t + 64] = 1.0f;  // here
        o[i] = y[t];
    """, (Kind.OUT_OF_BOUNDS,)),
    Case("a matrix past the end", """
        simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
        simdgroup_store(m, o, 9);  // here
    """, (Kind.OUT_OF_BOUNDS,), 32),
    Case("an index outside of a local array", """
        float y[4] = {1, 2, 3, 4};
        o[i] = y[t % 5];  // here
    """, (Kind.UNDEFINED,)),
    Case("an index outside of a threadgroup array", """
        threadgroup float x[64];
        x[t + 1] = 1.0f;  // here
        o[i] = 1.0f;
    """, (Kind.UNDEFINED,)),
    Case("a vector at an odd place", """
        o[i] = (*(const device float4*)(a + 1)).x;  // here
    """, (Kind.MISALIGNED,)),
    Case("signed overflow", """
        int y = 2147483600 + int(t);  // here
        o[i] = y;
    """, (Kind.UNDEFINED,)),
    Case("a shift too far", """
        o[i] = 1u << (t + 1);  // here
    """, (Kind.UNDEFINED,)),
    Case("division by zero", """
        o[i] = 8 / int(t);  // here
    """, (Kind.UNDEFINED,)),
    Case("too much threadgroup memory", """
        threadgroup float x[64];
        threadgroup float y[8160];  // here
        y[t] = x[t] = 1.0f;
        o[i] = y[t];
    """, (Kind.TOO_MUCH_MEMORY,)),
)  # fmt: skip

MEETINGS = (
    Case("a barrier for some", """
        o[i] = 1.0f;
        if (t < 40) threadgroup_barrier(mem_flags::mem_none);  // here
    """, (Kind.RETURNED, Kind.STUCK)),
    Case("a barrier behind a return", """
        o[i] = 1.0f;
        if (t == 3) return;
        threadgroup_barrier(mem_flags::mem_none);  // here
    """, (Kind.RETURNED,)),
    Case("a return before a barrier and a sum", """
        o[i] = 1.0f;
        if (t == 3) return;
        if (t >= 40) o[i] = simd_sum(1.0f);
        threadgroup_barrier(mem_flags::mem_none);  // here
    """, (Kind.RETURNED,)),
    Case("a return before a sum and a barrier", """
        if (t == 3) return;
        o[i] = simd_sum(1.0f);  // here
        threadgroup_barrier(mem_flags::mem_none);
    """, (Kind.RETURNED,)),
    Case("two sums in place of one", """
        if (t < 16) o[i] = simd_sum(1.0f);
        else o[i] = simd_sum(2.0f);  // here
    """, (Kind.DIFFERENT_PLACES,), 32),
    Case("two barriers in place of one", """
        o[i] = 1.0f;
        if (t < 32)
          threadgroup_barrier(mem_flags::mem_none);
        else
          threadgroup_barrier(mem_flags::mem_none);  // here
    """, (Kind.DIFFERENT_PLACES,)),
    Case("a sum of some lanes", """
        o[i] = t < 9 ? simd_sum(1.0f) : 0.0f;  // here
    """, (Kind.RETURNED, Kind.STUCK), 32),
    Case("a loop of different lengths", """
        float y = 0.0f;
        for (uint k = 0; k <= t; ++k)
          y += simd_sum(1.0f);  // here
        o[i] = y;
    """, (Kind.RETURNED,), 32),
    Case("lanes that wait for different things", """
        if (t < 16) simdgroup_barrier(mem_flags::mem_none);
        else threadgroup_barrier(mem_flags::mem_none);  // here
        o[i] = 1.0f;
    """, (Kind.STUCK,), 32),
    Case("a matrix product of one half", """
        simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
        if (t < 16) simdgroup_multiply(m, m, m);  // here
        o[i] = m.thread_elements()[0];
    """, (Kind.RETURNED, Kind.STUCK), 32),
    Case("lanes that name different matrices", """
        simdgroup_float8x8 m;
        simdgroup_load(m, a + t / 16, 1);  // here
        o[i] = m.thread_elements()[0];
    """, (Kind.DIFFERENT_ADDRESSES,), 32),
    Case("threadgroup arrays of one thread alone", """
        if (t == 3) {
          threadgroup float x[8];  // here
          x[0] = 1.0f;
        }
        threadgroup float y[8];
        y[t % 8] = 1.0f;
        o[i] = 1.0f;
    """, (Kind.DIFFERENT_ARRAYS,)),
)  # fmt: skip

FAULTY = (*RACES, *UNSET, *BOUNDS, *MEETINGS)
