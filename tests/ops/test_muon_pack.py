"""Momentum, look-ahead and banks against float64 numpy: the plain path, and the kernel run by the emulator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal
from emulator.lint import lint
from emulator.type_gate import check_types
from mlx_tiny.ops.muon_pack import Packed, make_layout, pack, run_view, unfit
from numeric import assert_close, normal, to_float64
from test_model import CONFIGS

from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops import muon_pack
from mlx_tiny.ops.metal import KernelText, kernel_text

pytestmark = pytest.mark.compile_ahead

DTYPES = ("float32", "bfloat16")
MU = 0.9


@dataclass(frozen=True)
class Case:
    shapes: tuple[tuple[int, int, int], ...]
    blocks: tuple[tuple[int, ...], ...]


def of_model(name: str) -> Case:
    specs = [spec for spec in parameter_specs(CONFIGS[name]).values() if spec.kind == "matrix"]
    return Case(tuple(spec.shape for spec in specs), tuple(spec.blocks for spec in specs))


CASES = {
    **{name: of_model(name) for name in ("relu2", "grouped", "one key head", "odd sizes")},
    "one entry": Case(((1, 1, 1),), ((1,),)),
    "one row, one column": Case(((3, 1, 70), (2, 70, 1)), ((1,), (70,))),
    "around the tile": Case(((1, 97, 33), (2, 33, 31)), ((33, 32, 32), (33,))),
    "two of four alike": Case(((1, 64, 32), (1, 32, 64), (2, 36, 12)), ((32, 32), (32,), (12, 24))),
    "equal rows apart": Case(((2, 20, 9),), ((6, 8, 6),)),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_implementation = pytest.mark.parametrize("implementation", ["plain", "metal"])


@contextlib.contextmanager
def able_to_run(implementation: str) -> Iterator[None]:
    with emulated_metal() if implementation == "metal" else contextlib.nullcontext():
        yield


def arrays_for(case: Case, seed: int = 0) -> tuple[list[mx.array], list[mx.array], list[np.ndarray], list[np.ndarray]]:
    """Gradients and momenta, and both in float64; the momenta are larger, as they are in training."""
    generator = np.random.default_rng(seed)
    gradients, momenta = ([normal(generator, shape, scale=scale) for shape in case.shapes] for scale in (1.0, 3.0))
    return *([array for array, _ in pairs] for pairs in (gradients, momenta)), *(
        [exact for _, exact in pairs] for pairs in (gradients, momenta)
    )


def matrices(case: Case, arrays: list[np.ndarray]) -> dict[tuple[int, int, int], np.ndarray]:
    """Every matrix by (parameter, layer, block), wide side along the columns, cut out one by one."""
    found = {}
    for parameter, (array, heights) in enumerate(zip(arrays, case.blocks, strict=True)):
        for layer in range(len(array)):
            start = 0
            for block, rows in enumerate(heights):
                matrix = array[layer, start : start + rows]
                found[parameter, layer, block] = matrix.T if rows > matrix.shape[1] else matrix
                start += rows
    return found


def packed(case: Case, implementation: str, dtype: str = "float32", seed: int = 0) -> tuple[Packed, muon_pack.Layout]:
    gradients, momenta, *_ = arrays_for(case, seed)
    layout = make_layout(case.shapes, case.blocks)
    with able_to_run(implementation):
        result = pack(gradients, momenta, mx.array(MU), layout, dtype=getattr(mx, dtype), implementation=implementation)
        mx.eval(result.momenta, result.banks, result.partials)
    return result, layout


@each_case
@each_dtype
@each_implementation
def test_momenta_and_banks_are_numpy_s(case: Case, dtype: str, implementation: str) -> None:
    result, layout = packed(case, implementation, dtype)
    *_, gradients, momenta = arrays_for(case)
    factor = float(np.float32(MU))
    averages = [factor * m + (1 - factor) * g for g, m in zip(gradients, momenta, strict=True)]
    for got, average in zip(result.momenta, averages, strict=True):
        assert got.dtype == mx.float32
        assert_close(got, average, "Muon pack", "float32")
    ahead = matrices(case, [factor * m + (1 - factor) * g for g, m in zip(gradients, averages, strict=True)])
    assert [bank.shape for bank in result.banks] == list(layout.banks)
    assert all(bank.dtype == getattr(mx, dtype) for bank in result.banks)
    assert len({bank.shape[1:] for bank in result.banks}) == len(result.banks), "one bank a shape"
    seen = 0
    for run in layout.runs:
        layers = case.shapes[run.parameter][0]
        first_block = list(np.cumsum([0, *case.blocks[run.parameter]])).index(run.first_row)
        for index in range(layers * run.count):
            layer, block = divmod(index, run.count)
            expected = ahead[run.parameter, layer, first_block + block]
            assert_close(result.banks[run.bank][run.start + index], expected, "Muon pack", dtype)
            seen += 1
    assert seen == len(ahead) == sum(N for N, _, _ in layout.banks)


@each_case
@each_dtype
@each_implementation
def test_the_norms_follow_from_the_parts(case: Case, dtype: str, implementation: str) -> None:
    result, _ = packed(case, implementation, dtype)
    for bank, partials in zip(result.banks, result.partials, strict=True):
        largest, squares = np.moveaxis(to_float64(partials), 2, 0)
        norms = np.sqrt((squares * largest**2).sum(axis=1))
        exact = to_float64(bank)
        np.testing.assert_allclose(norms, np.sqrt((exact**2).sum(axis=(1, 2))), rtol=1e-6)
        np.testing.assert_array_equal(largest.max(axis=1), np.abs(exact).max(axis=(1, 2)))


@each_case
def test_views_of_the_banks_are_the_parameters_again(case: Case) -> None:
    result, layout = packed(case, "plain")
    *_, gradients, momenta = arrays_for(case)
    for run in layout.runs:
        layers = case.shapes[run.parameter][0]
        view = run_view(run, layers, result.banks[run.bank])
        rows = slice(run.first_row, run.first_row + run.count * run.rows)
        gradient, momentum = gradients[run.parameter][:, rows], momenta[run.parameter][:, rows]
        expected = MU * (MU * momentum + (1 - MU) * gradient) + (1 - MU) * gradient
        assert_close(view.reshape(expected.shape), expected, "Muon pack", "float32")


@pytest.mark.parametrize("lane_map", ["apple", "other"])
@pytest.mark.parametrize("name", ["grouped", "one entry", "around the tile"])
@each_dtype
def test_no_fault_is_found(name: str, dtype: str, lane_map: str) -> None:
    case = CASES[name]
    gradients, momenta, *_ = arrays_for(case)
    with emulated_metal(checking=True, lane_map=lane_map) as launches:
        result = pack(
            gradients,
            momenta,
            mx.array(MU),
            make_layout(case.shapes, case.blocks),
            dtype=getattr(mx, dtype),
            implementation="metal",
        )
        mx.eval(result.momenta, result.banks, result.partials)
    assert [launch.name for launch in launches] == ["muon_pack"]
    launch = launches[0]
    assert len(launch.inputs) + len(launch.outputs) <= 31, "Metal's limit"
    assert check_types(launch.source) == [] and lint(launch.source) == []


@pytest.mark.parametrize("scale", [0.0, 1e-37, 1e-30, 1e30, 1e37])
def test_the_parts_neither_overflow_nor_vanish(scale: float) -> None:
    case = CASES["around the tile"]
    gradients = [mx.array((g * scale).astype(np.float32)) for g in arrays_for(case)[2]]
    layout = make_layout(case.shapes, case.blocks)
    with emulated_metal():
        result = pack(
            gradients, [mx.zeros(shape) for shape in case.shapes], mx.array(0.0), layout, implementation="metal"
        )
        mx.eval(result.partials)
    for bank, partials in zip(result.banks, result.partials, strict=True):
        largest, squares = np.moveaxis(to_float64(partials), 2, 0)
        assert np.isfinite(largest).all() and np.isfinite(squares).all() and (largest > 0).all()
        norms = np.sqrt((squares * largest**2).sum(axis=1))
        np.testing.assert_allclose(norms, np.sqrt((to_float64(bank) ** 2).sum(axis=(1, 2))), rtol=1e-6)


def test_one_launch_packs_everything_whatever_the_number_of_tiles() -> None:
    case = CASES["around the tile"]
    gradients, momenta, *_ = arrays_for(case)
    with emulated_metal() as launches:
        mx.eval(
            pack(gradients, momenta, mx.array(MU), make_layout(case.shapes, case.blocks), implementation="metal").banks
        )
    # Of [1, 97, 33] three matrices, 33 x 33 and twice 32 x 33; twice 33 x 31.
    assert [launch.grid for launch in launches] == [((4 + 2 * 2 + 2 * 2) * 128, 1, 1)]


def test_the_same_bits_every_time() -> None:
    first, second = (packed(CASES["grouped"], "metal", seed=3)[0] for _ in range(2))
    for a, b in zip(
        [*first.momenta, *first.banks, *first.partials], [*second.momenta, *second.banks, *second.partials], strict=True
    ):
        np.testing.assert_array_equal(np.array(a), np.array(b))


def test_arrays_that_do_not_lie_in_rows_are_taken() -> None:
    case = Case(((2, 12, 40),), ((12,),))
    (gradient,), (momentum,), *_ = arrays_for(case)
    turned = mx.contiguous(gradient.swapaxes(1, 2)).swapaxes(1, 2)
    layout = make_layout(case.shapes, case.blocks)
    with emulated_metal():
        straight, other = (
            pack([array], [momentum], mx.array(MU), layout, implementation="metal").banks[0]
            for array in (gradient, turned)
        )
        np.testing.assert_array_equal(np.array(straight), np.array(other))


def test_what_does_not_fit_is_refused() -> None:
    layout = make_layout([(1, 4, 6)], [(4,)])
    good, mu = [mx.zeros((1, 4, 6))], mx.array(MU)
    with pytest.raises(TinyError, match="gradients do not fit"):
        pack([mx.zeros((1, 6, 4))], good, mu, layout)
    with pytest.raises(TinyError, match="momenta do not fit"):
        pack(good, [mx.zeros((1, 4, 6), dtype=mx.bfloat16)], mu, layout)
    with pytest.raises(TinyError, match="float32 or bfloat16"):
        pack(good, good, mu, layout, dtype=mx.float16)
    with pytest.raises(TinyError, match="'cuda'"):
        pack(good, good, mu, layout, implementation="cuda")
    five = make_layout([(1, 4, 6)] * 5, [(4,)] * 5)
    with emulated_metal(), pytest.raises(TinyError, match="packs up to 4 parameters, and here are 5"):
        pack(good * 5, good * 5, mu, five, implementation="metal")


@pytest.mark.parametrize(
    ("shape", "blocks", "message"),
    [
        ((1, 10, 6), (4, 4), r"Expected row counts that add up to 10, got \(4, 4\)"),
        ((1, 4, 6), (3, 3), r"add up to 4, got \(3, 3\)"),
        ((1, 4, 6), (), r"add up to 4, got \(\)"),
        ((1, 4, 6), (5, -1), r"add up to 4, got \(5, -1\)"),
        ((1, 4, 6), (4, 0), r"add up to 4, got \(4, 0\)"),
        ((4, 6), (4,), r"Expected \[layers, rows, columns\], none of them 0, got \(4, 6\)"),
        ((0, 4, 6), (4,), r"none of them 0, got \(0, 4, 6\)"),
    ],
)
def test_matrices_that_leave_entries_out_are_refused(
    shape: tuple[int, ...], blocks: tuple[int, ...], message: str
) -> None:
    with pytest.raises(TinyError, match=message):
        make_layout([(1, 2, 3), shape], [(2,), blocks])


@each_dtype
def test_the_self_test_evaluates_every_number_of_parameters(dtype: str) -> None:
    """Each is a kernel of its own to Metal's compiler."""
    with emulated_metal() as launches:
        assert muon_pack.self_test(getattr(mx, dtype)) is None
    assert sorted(launch.name for launch in launches) == ["muon_pack"] * 4
    assert len({launch.source.splitlines()[-1] for launch in launches}) == 4


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_self_test_finds_a_kernel_that_is_wrong_for_one_number(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(name: str) -> KernelText:
        text = kernel_text(name)
        wrong = f"kept * new_momentum * (PARAMETERS == {count} ? 1.01f : 1.0f)"
        assert "kept * new_momentum" in text.body
        return KernelText(name, text.header, text.body.replace("kept * new_momentum", wrong))

    monkeypatch.setattr("mlx_tiny.ops.metal.kernel_text", planted)
    with emulated_metal():
        assert f"PARAMETERS={count}: result" in (muon_pack.self_test(mx.float32) or "")


def test_layouts_that_the_kernels_cannot_address_are_known() -> None:
    assert unfit(make_layout([(1, 4, 6)] * 4, [(4,)] * 4)) is None
    assert unfit(make_layout([(1, 32768, 65535)], [(32768,)])) is None
    assert "entries" in unfit(make_layout([(1, 32768, 65536)], [(32768,)]))


@pytest.mark.skipif(mx.metal.is_available(), reason="there is a Metal GPU here")
def test_the_kernel_is_refused_where_there_is_no_metal() -> None:
    good = [mx.zeros((1, 4, 6))]
    with pytest.raises(TinyError, match="cannot run here"):
        pack(good, good, mx.array(MU), make_layout([(1, 4, 6)], [(4,)]), implementation="metal")
