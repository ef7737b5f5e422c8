"""The type gate rejects what Metal rejects, names the line, and lets real kernel text through."""

from __future__ import annotations

import re
from typing import Any

import mlx.core as mx
import pytest

from emulator.capture import capture
from emulator.type_gate import check_types

DTYPES = [mx.float32, mx.float16, mx.bfloat16]

ACCEPTED = """
y[0] = x[0];
y[0] = T(factor[0]);
y[0] = x[0] * x[1] + x[2];
y[0] = factor[0] > 0.0f ? x[0] : T(0.0f);
T a = T(0.0f); a += x[0]; y[0] = -a;
float a = x[0]; a *= factor[0]; y[0] = T(a);
float a = float(x[0]) + factor[0] * x[1]; y[0] = T(a);
threadgroup T tile[K]; tile[0] = x[0]; threadgroup T* p = tile; y[0] = p[0];
threadgroup float tile[K * 2 + 1]; threadgroup const float* p = tile + 1; y[0] = T(p[0]);
float part[K] = {}; thread float* p = part; p[0] = 1.0f; y[0] = T(part[1]);
const device T* p = x + 3; const device T& r = p[1]; y[0] = r;
const device packed* p = (const device packed*)x; y[0] = T(p[0].a);
y[0] = T(max(factor[0], 0.0f)); y[1] = max(x[0], x[1]);
y[0] = T(exp2(factor[0] * M_LOG2E_F)); y[1] = T(metal::precise::sqrt(factor[0])); y[2] = T(fast::exp(factor[0]));
uint a = min(uint(x_shape[0]), 3u); y[a] = T(float(a));
for (int i = 0; i < x_shape[0]; ++i) { y[i] = T(0.0f); }
float4 a = float4(1.0f, 2.0f, 3.0f, 4.0f); a.xy = float2(0.0f); y[0] = T(dot(a, a.wzyx)); y[1] = T(a[2]);
vec<T, 4> a = vec<T, 4>(x[0], x[1], x[2], x[3]); y[0] = a.x; y[1] = a[1];
y[0] = T(simd_sum(factor[0])); y[1] = T(simd_shuffle_xor(factor[0], ushort(1)));
if (simd_any(factor[0] > 0.0f)) { y[0] = T(0.0f); }
threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup); simdgroup_barrier(mem_flags::mem_none);
simdgroup_float8x8 a(0.0f); a = make_filled_simdgroup_matrix<float, 8, 8>(0.0f); y[0] = T(a.thread_elements()[1]);
threadgroup float t[64]; simdgroup_float8x8 a; simdgroup_load(a, t, 8, 0, true); simdgroup_store(a, t, 8);
simdgroup_matrix<T, 8, 8> a; simdgroup_load(a, x, ulong(K)); simdgroup_float8x8 c; simdgroup_multiply(c, a, a);
simdgroup_float8x8 a(1.0f), c(0.0f); simdgroup_multiply_accumulate(c, a, a, c); y[0] = T(c.thread_elements()[0]);
y[0] = T(as_type<float>(7u)); y[1] = isnan(factor[0]) ? T(0.0f) : T(INFINITY); y[2] = T(numeric_limits<float>::max());
if (K > 64) { y[0] = T(float(half(factor[0]))); }
constexpr int a = K / 8; float b[a]; b[0] = 0.0f; y[0] = T(b[0]);
y[0] = T(Limits<T>::min); y[1] = T(ceildiv(x_shape[0], 4)); uint64_t big = 1; y[big] = T(0.0f);
y[0] = T(twice(factor[0])); float a = 1.0f; bump(a); y[1] = T(a); y[2] = first(x);
""".strip().splitlines()

HEADER = """
struct packed { float a; float b; };
constant constexpr float two = 2.0f;
inline float twice(float value) { return two * value; }
inline void bump(thread float& value) { value += 1.0f; }
template <typename T> inline T same(T value) { return value; }
template <typename T> inline T first(const device T* from) { return from[0]; }
"""

# The statement, and a piece of what is said about it.
REJECTED = [
    ("const T* p = x;", "cannot initialize|no stated address space"),
    ("float* p = nullptr; y[0] = T(p[0]);", "no stated address space"),
    ("float a = 0.0f; float& b = a; y[0] = T(b);", "b points to memory of no stated address space"),
    ("float part[4] = {}; y[0] = T(*((float*)part));", "a cast points to memory of no stated address space"),
    ("float part[4] = {}; y[0] = T(*reinterpret_cast<float*>(part));", "a cast points to memory of no stated"),
    ("const constant T* p = x; y[0] = p[0];", "cannot initialize"),
    ("threadgroup T* p = x; y[0] = p[0];", "cannot initialize"),
    ("device T* p = x; p[0] = T(0.0f);", "cannot initialize"),
    ("threadgroup float t[4]; device float* p = (device float*)t; y[0] = T(p[0]);", "mismatching address spaces"),
    ("device float* p = (device float*)factor; y[0] = T(p[0]);", "mismatching address spaces"),
    ("const device float* p = factor; y[0] = T(p[0]);", "cannot initialize"),
    ("x[0] = T(0.0f);", "read-only|const"),
    ("y[0] = factor[0];", "loses floating-point precision"),
    ("y[0] = 0.0f;", "no viable overloaded '='"),
    ("y[0] = factor[0] > 0.0f ? x[0] : 0.0f;", "no viable overloaded '='"),
    ("T a = 1.0f; y[0] = a;", "no viable conversion"),
    ("T a(1.0f); const T b = a; y[0] = simd_max(b) * same<T>(0.0f);", "no matching function"),
    ("y[0] = half(1.0f);", "incompatible type"),
    ("half a = factor[0]; y[0] = T(float(a));", "loses floating-point precision"),
    ("y[0] = T(factor[0] * 0.5);", "without the suffix f"),
    ("double a = 1.0f; y[0] = T(a);", "a is a double"),
    ("y[0] = T(max(factor[0], 0));", "ambiguous"),
    ("y[0] = T(max(half(1.0f), factor[0]));", "ambiguous"),
    ("y[0] = T(min(1u, x_shape[0]));", "ambiguous"),
    ("y[0] = T(exp(1));", "ambiguous"),
    ("int a = factor[0]; y[a] = T(0.0f);", "floating-point number into integer"),
    ("ulong a = 3; uint b = a; y[b] = T(0.0f);", "loses integer precision"),
    ("uint a = 3; if (a < x_shape[0]) { y[a] = T(0.0f); }", "different signs"),
    ("for (uint i = 3; i >= 0; --i) { y[i] = T(0.0f); }", "always true"),
    ("float a; y[0] = T(a);", "uninitialized"),
    ("float a[x_shape[0]]; a[0] = 0.0f; y[0] = T(a[0]);", "array"),
    ("if (factor[0] > 0.0f) { threadgroup float t[4]; t[0] = 0.0f; }", "outermost scope"),
    ("threadgroup T t[64]; simdgroup_float8x8 a; simdgroup_load(a, t, 8);", "no matching function"),
    ("float t[64]; simdgroup_float8x8 a; simdgroup_load(a, t, 8);", "no matching function"),
    (
        "const simdgroup_float8x8 a(1.0f); simdgroup_float8x8 c(0.0f); simdgroup_multiply_accumulate(c, a, c, c);",
        "no matching function",
    ),
    (
        "const simdgroup_float8x8 a(1.0f); simdgroup_float8x8 c(0.0f); simdgroup_multiply_accumulate(c, c, c, a);",
        "no matching function",
    ),
    ("const simdgroup_float8x8 a(1.0f); simdgroup_float8x8 c; simdgroup_multiply(c, a, a);", "no matching function"),
    ("simdgroup_float8x8 a(1.0f), c; simdgroup_multiply(c, a, simdgroup_float8x8(1.0f));", "no matching function"),
    ("y[0] = T(simd_shuffle_xor(factor[0]));", "no matching function"),
    ("threadgroup_barrier();", "no matching function"),
    ("y[0] = T(not_there(factor[0]));", "undeclared"),
    ("bump(y[0]);", "no matching function"),
    ("float3 a = factor[0] * float4(1.0f); y[0] = T(a.x);", "incompatible|cannot"),
    ("y[0] = first(y + factor);", "invalid operands"),
]

# Helpers that no call makes right.
BAD_HEADERS = [
    ("inline float help(float* p) { return p[0]; }", "no stated address space"),
    ("template <typename U> inline void help(U& p) { p = U(0.0f); }", "no stated address space"),
    ("inline device float* help(float* device* p) { return nullptr; }", "no stated address space"),
    ("inline void help() { threadgroup float t[4]; t[0] = 0.0f; }", "non-kernel function"),
    ("inline float help(float a) { return a > 1.0f ? help(a - 1.0f) : a; }", "calls itself"),
    ("constexpr int help = 3;", "not in constant memory"),
    ("typedef float* help;", "no stated address space"),
    ("struct help { float* p; };", "no stated address space"),
    ("inline float help(float a) { return 2.0 * a; }", "without the suffix f"),
]


def source(body: str, *, header: str = HEADER, dtype: mx.Dtype = mx.bfloat16) -> str:
    kernel: Any = mx.fast.metal_kernel(
        name="probe", input_names=["x", "factor"], output_names=["y"], source=f"// x_shape\n{body}\n", header=header
    )
    launch = {
        "template": [("T", dtype), ("K", 32)],
        "grid": (128, 1, 1),
        "threadgroup": (128, 1, 1),
        "output_shapes": [(64,)],
        "output_dtypes": [dtype],
    }
    return capture(kernel, "probe", [mx.zeros(64, dtype=dtype), mx.zeros(1)], launch).source


def line_of(text: str, piece: str) -> int:
    (number,) = [number for number, line in enumerate(text.splitlines(), 1) if line == piece]
    return number


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_valid_text_has_no_findings(dtype: mx.Dtype) -> None:
    # A threadgroup array must stand in the outermost scope; the others share one text.
    alone = [body for body in ACCEPTED if re.search(r"threadgroup \w+ \w+\[", body)]
    together = "\n".join(f"{{ {body} }}" for body in ACCEPTED if body not in alone)
    for body in (*alone, together):
        assert check_types(source(body, dtype=dtype)) == []


@pytest.mark.parametrize(("body", "said"), REJECTED, ids=[body for body, _ in REJECTED])
def test_what_metal_rejects_is_found_on_its_line(body: str, said: str) -> None:
    text = source(body)
    findings = check_types(text)
    assert findings
    assert all(finding.startswith(f"line {line_of(text, body)}: ") for finding in findings)
    assert any(piece in finding for finding in findings for piece in said.split("|")), findings


@pytest.mark.parametrize(("helper", "said"), BAD_HEADERS, ids=[helper for helper, _ in BAD_HEADERS])
def test_helpers_are_checked_without_being_called(helper: str, said: str) -> None:
    text = source("y[0] = x[0];", header=f"\n{helper}\n")
    findings = check_types(text)
    assert findings
    assert all(finding.startswith(f"line {line_of(text, helper)}: ") for finding in findings)
    assert any(said in finding for finding in findings), findings


def test_the_bodies_of_template_helpers_are_checked_with_the_real_arguments() -> None:
    header = "template <typename U> inline void clear(device U* p) {\n  p[0] = 0.0f;\n}\n"
    assert check_types(source("clear(y);", header=header, dtype=mx.float32)) == []
    (finding,) = check_types(source("clear(y);", header=header, dtype=mx.bfloat16))
    assert finding.startswith("line 2: ")


def test_the_template_arguments_are_those_of_the_launch() -> None:
    body = 'static_assert(K == 32 && is_same_v<T, half>, "");'
    assert check_types(source(body, dtype=mx.float16)) == []
    assert "static assertion failed" in check_types(source(body, dtype=mx.float32))[0]


def test_a_kernel_without_a_template_is_checked_too() -> None:
    kernel: Any = mx.fast.metal_kernel(name="probe", input_names=["x"], output_names=["y"], source="y[0] = x[0] + 1.0;")
    sizes = {"grid": (32, 1, 1), "threadgroup": (32, 1, 1), "output_shapes": [(1,)], "output_dtypes": [mx.float32]}
    text = capture(kernel, "probe", [mx.zeros(8)], sizes).source
    assert any("without the suffix f" in finding for finding in check_types(text))
