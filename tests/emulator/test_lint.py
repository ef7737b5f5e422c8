"""Each rule of the lint fires on the text that breaks it, names its line, and leaves proper text alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from emulator.capture import capture
from emulator.lint import THREAD_ATTRIBUTES, lint, lint_launch, lint_text, without_comments
from mlx_tiny.ops.metal import KernelText, kernel_folder, kernel_names, kernel_text

GOOD = [
    "y[0] = 1.0f + .5f + 2.f + 1e-3f + 2.5e3f + x[1];",
    "y[0] = float(1.0h) + float(0x1f + 3u + 10) + x[0];",
    "// Local sums: they return to auto-correct the goto; 1.0 is a double here.",
    "/* a lambda\n [](int i) { return; }\n*/ y[0] = x[0];",
    "uint lane = thread_index_in_simdgroup; y[lane] = x[lane / 8 + lane % 8];",
    "constexpr int n = 3;\nusing E = float;\n// Tiles.\nthreadgroup E a[n * (n + 1)];\nthreadgroup float b[n];",
    "threadgroup float a[8];\nthreadgroup float* p = a;\nif (p[0] > 0.0f) {\n  threadgroup const float* q = p;\n}",
    "#if 1\nthreadgroup float tile[8];\n#endif\ny[0] = x[0];",
    "float part[3] = {x[0], x[1], x[2]}; y[part[0] > 0.0f ? 1 : 0] = part[1];",
    "uint row = matrix_row(thread_index_in_simdgroup); y[row] = x[0];",
    "y[x_shape[0] - 1] = x[0];",
    "threadgroup_barrier(mem_flags::mem_threadgroup);",
]

# The line at fault, and a piece of what is said about it.
BAD = [
    ("y[0] = x[0];  // naïve", "not ASCII"),
    ("auto z = x[0]; y[0] = z;", "'auto'"),
    ("goto end; end: y[0] = x[0];", "'goto'"),
    ("double z = x[0]; y[0] = z;", "'double'"),
    ("y[0] = std::min(x[0], x[1]);", "std::"),
    ("float2 z = apply([](float a) { y[0] = a; });", "lambda"),
    ("const float z = [&] { y[0] = x[0]; }();", "lambda"),
    ("int local = 0; y[local] = x[0];", "'local'"),
    ("int global = 0; y[global] = x[0];", "'global'"),
    ("int generic = 0; y[generic] = x[0];", "'generic'"),
    ("int private = 0; y[private] = x[0];", "'private'"),
    ("#include <metal_stdlib>", "include"),
    ("simdgroup_async_copy(y, x);", "simdgroup_async_copy"),
    ("y[0] = __metal_exp(x[0]);", "internal"),
    ("atomic_fetch_add_explicit(y, 1, memory_order_acquire);", "relaxed"),
    ("y[0] = x[0] * 0.5;", "'0.5' lacks the suffix f"),
    ("y[0] = x[0] * 1.;", "'1.' lacks the suffix f"),
    ("y[0] = x[0] * .5;", "'.5' lacks the suffix f"),
    ("y[0] = x[0] + 1e-6;", "'1e-6' lacks the suffix f"),
    ("y[0] = x[0];  // by thread_position_in_grid", "comment"),
    ("y[0] = x[0];  // as x_shape says", "comment"),
    ("uint grid_size = 3; y[grid_size] = x[0];", "not a name for a local"),
    ("for (uint thread_index_in_simdgroup = 0; ; ) { y[0] = x[0]; }", "not a name for a local"),
    ("if (x[0] > 0.0f) return;", "never returns early"),
    ("if (x[0] > 0.0f) { threadgroup float t[3]; y[0] = t[0]; }", "at the top"),
    ("y[0] = x[0]; threadgroup float t[3];", "at the top"),
    ("for (int i = 0; i < 3; i++) threadgroup float t[3];", "at the top"),
    ("threadgroup float t[3], u[3];", "one array of one dimension"),
    ("threadgroup float t[2 * 3], u[3];", "one array of one dimension"),
    ("y[0] = x[0]; threadgroup float t[2 * 3];", "at the top"),
    ("threadgroup float t[3][4];", "one array of one dimension"),
    ("threadgroup float t;", "one array of one dimension"),
    ("threadgroup float t[3] = {0.0f};", "initialised"),
    ("threadgroup float t[3]{};", "initialised"),
    ("threadgroup float t = 1.0f;", "initialised"),
    ("uint row = ((lane / 4) & 4) + part;", "lane map"),
    ("uint row = ((lane >> 2) & 4) + part;", "lane map"),
    ("uint part = (lane / 2) % 4;", "lane map"),
    ("uint column = ((l / 4) & 2) * 2 + part;", "lane map"),
    ("uint part = (simd_lane % 2) * 2;", "lane map"),
    ("uint part = (lane & 1) << 1;", "lane map"),
]


def source(body: str, *, header: str = "", inputs: int = 1) -> str:
    names = ["x", *(f"x{number}" for number in range(1, inputs))]
    kernel: Any = mx.fast.metal_kernel(name="probe", input_names=names, output_names=["y"], source=body, header=header)
    launch = {
        "template": [("T", mx.float32)],
        "grid": (128, 1, 1),
        "threadgroup": (128, 1, 1),
        "output_shapes": [(64,)],
        "output_dtypes": [mx.float32],
    }
    return capture(kernel, "probe", [mx.zeros(64)] * inputs, launch).source


@pytest.mark.parametrize("body", GOOD)
def test_proper_text_has_no_findings(body: str) -> None:
    assert lint(source(body, header=(kernel_folder() / "simdgroup.h").read_text())) == []
    assert lint_text(KernelText("probe", "", body)) == []


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
def test_each_rule_names_the_line(line: str, said: str) -> None:
    text = source(f"// first\n{line}\n// last", header="// header\n")
    number = text.splitlines().index(line) + 1
    findings = lint(text)
    assert findings
    assert all(finding.startswith(f"line {number}: ") for finding in findings), findings
    assert any(said in finding for finding in findings), findings
    assert any(said in finding for finding in lint_text(KernelText("probe", "", line)))


@pytest.mark.parametrize("attribute", THREAD_ATTRIBUTES)
def test_mlx_makes_a_parameter_of_each_thread_attribute_in_a_comment(attribute: str) -> None:
    # This is MLX's behaviour, the reason for the rule; the list is complete as long as it holds.
    text = source(f"// {attribute}\ny[0] = x[0];")
    assert f"[[{attribute}]]" in text
    assert len(lint(text)) == 1


def test_strides_and_dimensions_are_refused() -> None:
    findings = lint(source("y[0] = x[x_strides[0] + x_ndim];"))
    assert len(findings) == 2
    assert all("row-contiguous" in finding for finding in findings)


def test_metal_takes_31_buffers() -> None:
    assert lint(source("y[0] = x[0];", inputs=30)) == []
    (finding,) = lint(source("y[0] = x[0];", inputs=31))
    assert "y is buffer 31" in finding


def test_a_text_without_a_kernel_is_reported() -> None:
    assert "not the text of a kernel" in lint("void f() {}")[0]


def test_blanked_comments_keep_each_character_in_its_place() -> None:
    text = "a // b\n/* c\n d */ e"
    assert without_comments(text) == "a     \n    \n      e"


@pytest.mark.parametrize(
    ("grid", "threadgroup", "said"),
    [
        ((256, 2, 1), (128, 1, 1), None),
        ((512, 3, 2), (256, 1, 1), None),
        ((64, 4, 1), (32, 4, 1), None),
        ((96, 1, 1), (96, 1, 1), "96 threads"),
        ((64, 1, 1), (64, 1, 1), "64 threads"),
        ((512, 1, 1), (512, 1, 1), "512 threads"),
        ((144, 1, 1), (144, 1, 1), "144 threads"),
        ((16, 8, 1), (16, 8, 1), "split a simdgroup"),
        ((200, 1, 1), (128, 1, 1), "200 threads along x"),
        ((128, 0, 1), (128, 1, 1), "0 threads along y"),
    ],
)
def test_sizes_of_launches(grid: tuple[int, ...], threadgroup: tuple[int, ...], said: str | None) -> None:
    findings = lint_launch(SimpleNamespace(name="probe", source="", grid=grid, threadgroup=threadgroup))
    assert (said is None) == (findings == [])
    assert said is None or said in findings[0]


@pytest.mark.parametrize("name", kernel_names())
def test_the_projects_own_text_is_clean(name: str) -> None:
    assert lint_text(kernel_text(name)) == []
