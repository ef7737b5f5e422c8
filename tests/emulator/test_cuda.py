"""The second witness: the kernels' text compiles as CUDA, and Metal's names mean there what they mean in Metal.

There is no GPU in these tests. NVRTC compiles every text for NVIDIA's GPUs; what the header makes of Metal is *run* by
compiling the same CUDA text with the C++ compiler, and a stand-in for libcuda takes the calls that a GPU would get.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import click.testing
import mlx.core as mx
import numpy as np
import pytest

from emulator import LaunchRecord
from emulator.cuda import nvrtc
from emulator.cuda.driver import Card, CardError, NoCard
from emulator.cuda.launches import Launch, kernels_run_by
from emulator.cuda.nvrtc import CompileError, Nvrtc, why_not_nvrtc
from emulator.cuda.on_cpu import compile_for_cpu, fake_driver, why_not_on_cpu
from emulator.cuda.translation import CudaText, TranslationError, cuda_text
from emulator.cuda.witness import hear, run_on
from emulator.planted_bugs.kernels import SMALL_KERNELS
from emulator.test_project_kernels_text import launches  # noqa: F401
from mlx_tiny.ops.kernel_text import kernel_names
from mlx_tiny.validate import kernels

SCRIPT = Path(__file__).parents[2] / "scripts" / "cuda_witness.py"
LANE_MAPS = ("apple", "other")
# Of the table's cases the smallest that has an inner edge, for each kernel.
SMALL_CASES = {
    ("B2 T7 H2 G2 K80", "float16"),
    ("B2 T7 H2 G2 K32", "bfloat16"),
    ("N2 R65 C31", "bfloat16"),
    ("grouped queries, SwiGLU", "bfloat16"),
}

needs_nvrtc = pytest.mark.skipif(why_not_nvrtc() is not None, reason=str(why_not_nvrtc()))
needs_compiler = pytest.mark.skipif(why_not_on_cpu() is not None, reason=str(why_not_on_cpu()))


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuda")


@pytest.fixture(scope="module")
def card(builds: Path) -> Card:
    return Card(str(fake_driver(builds)))


@pytest.fixture(scope="module")
def compile_text(builds: Path) -> Callable[[CudaText, str], bytes]:
    return lambda kernel, lane_map: compile_for_cpu(kernel, builds, lane_map)


@pytest.fixture(scope="module")
def run(card: Card, compile_text: Callable[[CudaText, str], bytes]) -> Callable[[Launch], list[np.ndarray]]:
    return run_on(card, compile_text)


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cuda_witness", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small_table(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [case for case in kernels.cases() if (case.shape, case.dtype) in SMALL_CASES]
    assert {name for case in chosen for name in case.kernels} == set(kernel_names())
    monkeypatch.setattr(kernels, "cases", lambda: iter(chosen))


def elementwise(name: str, source: str, inputs: dict[str, mx.array], dtype: mx.Dtype, **options: object) -> mx.array:
    """One thread an element of the first input; `source` sets element i of y."""
    (count,) = next(iter(inputs.values())).shape
    kernel = mx.fast.metal_kernel(
        name=name,
        input_names=list(inputs),
        output_names=["y"],
        source=f"const uint i = thread_position_in_grid.x;\n{source}\n",
    )
    (result,) = kernel(
        inputs=list(inputs.values()),
        template=[("T", dtype)],
        grid=(count, 1, 1),
        threadgroup=(64, 1, 1),
        output_shapes=[(count,)],
        output_dtypes=[dtype],
        **options,
    )
    return result


def bits(array: mx.array) -> list[int]:
    return np.array(array.view({2: mx.uint16, 4: mx.uint32}[array.itemsize])).tolist()


def captured(source: str, **inputs: mx.array) -> CudaText:
    """The CUDA text of an elementwise kernel, by way of the stand-in."""
    made: list[Launch] = []

    def keep(launch: Launch) -> list[np.ndarray]:
        made.append(launch)
        return launch.outputs()

    with kernels_run_by(keep):
        elementwise("probe", source, inputs or {"x": mx.zeros(64)}, mx.float32)
    return made[0].kernel


@needs_nvrtc
@pytest.mark.parametrize("name", kernel_names())
def test_every_text_compiles_for_nvidia(name: str, launches: list[LaunchRecord]) -> None:  # noqa: F811
    compiler = Nvrtc()
    texts = [cuda_text(source) for source in {launch.source for launch in launches if launch.name == name}]
    assert texts
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda text: compiler.compile(text, quickly=True), texts):
            assert b".entry witness_entry" in result
    # One of them by the whole of the compiler, for one card.
    longest = max(texts, key=lambda text: len(text.text))
    assert compiler.compile(longest, architecture="sm_90").startswith(b"\x7fELF")


@needs_nvrtc
@pytest.mark.parametrize("name", SMALL_KERNELS)
@pytest.mark.parametrize("lane_map", LANE_MAPS)
def test_small_kernels_compile_under_both_lane_maps(name: str, lane_map: str) -> None:
    small = SMALL_KERNELS[name]
    assert Nvrtc().compile(cuda_text(small.source(small.text())), lane_map=lane_map)


@needs_nvrtc
def test_a_broken_text_is_refused_with_its_line() -> None:
    with pytest.raises(CompileError, match=r"probe\w*\.metal\(\d+\): error: .*\"nothing\" is undefined"):
        Nvrtc().compile(captured("y[i] = x[i] + nothing;"))


@needs_nvrtc
def test_the_architecture_is_the_cards_own_or_one_that_it_can_run() -> None:
    compiler = Nvrtc()
    assert compiler.architecture((9, 0)) == "sm_90"
    assert compiler.architecture((99, 0)).startswith("compute_")
    with pytest.raises(CompileError, match="does not compile for"):
        compiler.architecture((1, 0))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("threadgroup float one; one = 1.0f; y[i] = one;", "threadgroup float one;"),
        ("y[i] = float(quadgroups_per_threadgroup);", "quadgroups_per_threadgroup"),
    ],
)
def test_text_without_a_counterpart_is_refused(source: str, said: str) -> None:
    with pytest.raises(TranslationError, match=said):
        captured(source)


@needs_compiler
@pytest.mark.parametrize(("name", "lane_map"), [*((name, "apple") for name in SMALL_KERNELS), ("product", "other")])
def test_small_kernels_give_right_numbers(name: str, lane_map: str, run: Callable[..., list[np.ndarray]]) -> None:
    small = SMALL_KERNELS[name]
    bound = {mx.float32: 1e-6, mx.float16: 2**-11, mx.bfloat16: 2**-8}[small.dtype]
    with kernels_run_by(run, lane_map):
        assert small.error(small.text()) <= bound


@needs_compiler
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_each_narrow_operation_rounds_as_mlx_does(dtype: mx.Dtype, run: Callable[..., list[np.ndarray]]) -> None:
    generator = np.random.default_rng(3)
    a, b = (mx.array(generator.standard_normal(4096), dtype=mx.float32).astype(dtype) for _ in range(2))
    operations = mx.arange(4096, dtype=mx.int32) % 4
    with kernels_run_by(run):
        source = "y[i] = o[i] == 0 ? a[i] + b[i] : o[i] == 1 ? a[i] - b[i] : o[i] == 2 ? a[i] * b[i] : a[i] / b[i];"
        y = elementwise("arithmetic", source, {"a": a, "b": b, "o": operations}, dtype)
    exact = mx.stack([a + b, a - b, a * b, a / b])
    assert bits(y) == bits(mx.take_along_axis(exact, operations[None], axis=0)[0])


@needs_compiler
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_numbers_narrow_to_the_nearest_even(dtype: mx.Dtype, run: Callable[..., list[np.ndarray]]) -> None:
    # Every pattern of the upper bits, with the ties and their neighbours below.
    upper = np.arange(0, 1 << 32, 1 << 20, dtype=np.int64)
    wide = (upper[:, None] | np.array([0, 0x7FFF, 0x8000, 0x8001, 0x18000, 0x1000, 0x3000, 0xFFF])).reshape(-1)
    x = mx.array(wide.astype(np.uint32)).view(mx.float32)
    with kernels_run_by(run):
        y = elementwise("narrowing", "y[i] = T(x[i]);", {"x": x}, dtype)
    expected = x.astype(dtype)
    known = ~np.array(mx.isnan(x))
    assert np.array_equal(np.array(mx.isnan(y)), ~known)
    assert np.array_equal(np.array(bits(y))[known], np.array(bits(expected))[known])


@needs_compiler
def test_atomics_add_to_the_initial_value(run: Callable[..., list[np.ndarray]]) -> None:
    with kernels_run_by(run):
        kernel = mx.fast.metal_kernel(
            name="histogram",
            input_names=["x"],
            output_names=["y"],
            source="const uint i = thread_position_in_grid.x;\n"
            "atomic_fetch_add_explicit(&y[x[i]], 1u, memory_order_relaxed);\n",
            atomic_outputs=True,
        )
        values = mx.array([i * i % 7 for i in range(128)], dtype=mx.uint32)
        (counts,) = kernel(
            inputs=[values],
            grid=(128, 1, 1),
            threadgroup=(64, 1, 1),
            output_shapes=[(7,)],
            output_dtypes=[mx.uint32],
            init_value=5,
        )
    assert counts.tolist() == (np.bincount(np.array(values), minlength=7) + 5).tolist()


@needs_compiler
def test_a_kernel_learns_the_shape_of_its_inputs(run: Callable[..., list[np.ndarray]]) -> None:
    source = "y[i] = T(1000 * x_shape[0] + 100 * m_ndim + 10 * int(m_strides[0]) + m_shape[1]) + s;"
    inputs = {"x": mx.zeros(64), "m": mx.zeros((2, 3)).T.reshape(1, 6)[:, ::2], "s": mx.array(0.5)}
    with kernels_run_by(run):
        assert elementwise("shapes", source, inputs, mx.float32).tolist() == [64233.5] * 64


@needs_compiler
def test_a_store_beside_an_output_is_reported(run: Callable[..., list[np.ndarray]]) -> None:
    with kernels_run_by(run), pytest.raises(CardError, match="wrote at byte 256 of argument 1"):
        elementwise("beyond", "y[i] = x[i]; if (i == 63) { y[64] = T(1.0f); }", {"x": mx.zeros(64)}, mx.float32)


@needs_compiler
def test_what_is_not_written_is_not_a_number(run: Callable[..., list[np.ndarray]]) -> None:
    with kernels_run_by(run):
        y = elementwise("partly", "if (i < 63) { y[i] = x[i]; }", {"x": mx.zeros(64)}, mx.float32)
    assert np.array(mx.isnan(y)).tolist() == [False] * 63 + [True]


@needs_compiler
def test_the_drivers_error_is_told(run: Callable[..., list[np.ndarray]]) -> None:
    stuck = "if (i < 32) { threadgroup_barrier(mem_flags::mem_none); } y[i] = x[i];"
    with kernels_run_by(run), pytest.raises(CardError, match="cuLaunchKernel with CUDA_ERROR_LAUNCH_FAILED"):
        elementwise("stuck", stuck, {"x": mx.zeros(64)}, mx.float32)


@needs_compiler
@pytest.mark.usefixtures("small_table")
def test_the_projects_kernels_hold_their_bounds_under_another_lane_map(
    card: Card, compile_text: Callable[[CudaText, str], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    checks = hear(card, compile_text, "other")
    assert {check.kernel for check in checks} == set(kernel_names())
    assert [check for check in checks if not check.passed] == []
    assert f"{len(checks)} of {len(checks)} results are within their bounds" in capsys.readouterr().out


@needs_compiler
@needs_nvrtc
@pytest.mark.usefixtures("small_table")
@pytest.mark.parametrize("sound", [True, False])
def test_the_script_writes_what_it_found_on_which_card(
    sound: bool,
    script: ModuleType,
    card: Card,
    compile_text: Callable[[CudaText, str], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compile_for_the_test(_: Nvrtc, kernel: CudaText, *, architecture: str, lane_map: str) -> bytes:
        assert architecture == "sm_90"
        # The planted bug: exponents of e taken as exponents of two.
        text = kernel.text if sound else kernel.text.replace("* M_LOG2E_F", "")
        return compile_text(CudaText(kernel.name, text, kernel.buffers), lane_map)

    if not sound:
        attention = [case for case in kernels.cases() if "attention_forward" in case.kernels]
        monkeypatch.setattr(kernels, "cases", lambda: iter(attention))
    monkeypatch.setattr(script, "Card", lambda: card)
    monkeypatch.setattr(Nvrtc, "compile", compile_for_the_test)
    output = tmp_path / "witness.json"
    result = click.testing.CliRunner().invoke(script.main, ["--output", str(output)])
    found = json.loads(output.read_text())
    assert result.exit_code == (0 if sound else 3), result.output
    assert found["card"] == "a card of this test" and found["compute_capability"] == "9.0"
    assert {row["kernel"] for row in found["kernels"]} == {
        name for name in kernel_names() if sound or "attention" in name
    }
    failed = [row["kernel"] for row in found["kernels"] if row["failed"]]
    assert (found["failed"] == 0) == (failed == []) == sound
    assert card._library.allocations_left() == 0


def test_without_a_gpu_the_script_says_what_to_do() -> None:
    with contextlib.suppress(NoCard):
        pytest.skip(f"there is a GPU here: {Card().name}")
    result = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert result.returncode == 1
    assert "no GPU" in result.stderr and "Run this on Linux with an NVIDIA GPU" in result.stderr
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1


def test_a_compiler_newer_than_the_driver_is_refused(
    script: ModuleType, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvrtc, "why_not_nvrtc", lambda: None)
    monkeypatch.setattr(nvrtc, "installed", lambda: {14: Path("libnvrtc.so.14")})
    with pytest.raises(script.TinyError, match="pip install nvidia-cuda-nvrtc-cu13"):
        script._compiler(card)
