"""Muon's operations beyond their cases: layouts, magnitudes, symmetry, singular values, launches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numeric import ON_GPU, able_to_run, assert_close, normal, rounded, to_float64
from numpy_model import CONFIGS

from mlx_tiny.config import OptimizerConfig
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops import conformance
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.muon import MUON, MUON_PACK, NEWTON_SCHULZ, SYMMETRIC_PRODUCT
from mlx_tiny.ops.muon.layout import Layout, make_layout, run_view
from mlx_tiny.ops.operation import Case
from mlx_tiny.optim.optimizer import muon_layout

KINDS = ("quintic", "polar_express")
DTYPES = ("float32", "bfloat16")
# Where five steps take singular values between 1e-2 and 1 of the Frobenius norm.
ENDS_IN = {"quintic": (0.65, 1.25), "polar_express": (0.85, 1.16)}
PARAMETERS: dict[str, tuple[Any, Any]] = {
    "one entry": ([(1, 1, 1)], [(1,)]),
    "one row, one column": ([(3, 1, 70), (2, 70, 1)], [(1,), (70,)]),
    "around the tile": ([(1, 97, 33), (2, 33, 31)], [(33, 32, 32), (33,)]),
    "two of four alike": ([(1, 64, 32), (1, 32, 64), (2, 36, 12)], [(32, 32), (32,), (12, 24)]),
    "equal rows apart": ([(2, 20, 9)], [(6, 8, 6)]),
    "grouped, SwiGLU": ([(2, 48, 12), (2, 12, 24), (2, 40, 12), (2, 12, 20)], [(24, 12, 12), (12,), (20, 20), (12,)]),
}
LAYOUTS = {name: make_layout(*parameters) for name, parameters in PARAMETERS.items()}
each_implementation = pytest.mark.parametrize("implementation", ["plain", "metal"])
emulated = pytest.mark.skipif(ON_GPU, reason="the emulator tells of launches")


def of(layout: Layout, dtype: str = "float32") -> Case:
    return Case(model_of(), dtype=dtype, options={"layout": layout})


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@each_implementation
def test_every_layout_is_packed(layout: Layout, implementation: str) -> None:
    with able_to_run(implementation):
        found = [conformance.failure(MUON_PACK, implementation, of(layout, dtype)) for dtype in DTYPES]
        assert found == [None, None]


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_matrix_lies_in_one_place_of_the_bank_of_its_shape(name: str) -> None:
    """Each matrix is cut out of its parameter; neighbours in a layer are neighbours in the bank."""
    (shapes, blocks), layout = PARAMETERS[name], LAYOUTS[name]
    numbers = iter(range(1, 10**6))
    parameters = [np.zeros(shape, np.float32) for shape in shapes]
    for array, heights in zip(parameters, blocks, strict=True):
        for layer in array:
            for start, rows in zip(np.cumsum([0, *heights]), heights, strict=False):
                layer[start : start + rows] = next(numbers)
    # Momenta of zero and a factor of zero: what is packed is the gradient.
    zeros = [mx.zeros(shape) for shape in shapes]
    packed = MUON_PACK("plain", [mx.array(a) for a in parameters], zeros, mx.array(0.0), layout=layout)
    assert [bank.shape for bank in packed.banks] == list(layout.banks)
    assert len({bank.shape[1:] for bank in packed.banks}) == len(packed.banks), "one bank per shape"
    of_each = [np.unique(np.array(matrix)) for bank in packed.banks for matrix in bank]
    assert sorted(found.tolist() for found in of_each) == [[float(n)] for n in range(1, next(numbers))]
    covered = [np.zeros(shape[1], int) for shape in shapes]
    for run in layout.runs:
        covered[run.parameter][run.first_row : run.first_row + run.count * run.rows] += 1
        rows = parameters[run.parameter][:, run.first_row : run.first_row + run.count * run.rows]
        view = run_view(run, shapes[run.parameter][0], packed.banks[run.bank])
        np.testing.assert_array_equal(np.array(view).reshape(rows.shape), rows)
    assert all((rows == 1).all() for rows in covered)


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_matrices_of_a_model_share_a_bank(name: str) -> None:
    specs = parameter_specs(CONFIGS[name])
    layout = muon_layout(OptimizerConfig(), specs)
    assert layout is not None and muon_layout(OptimizerConfig(matrix_optimizer="adamw"), specs) is None
    assert all(short <= long for _, short, long in layout.banks)
    assert len({shape[1:] for shape in layout.banks}) == len(layout.banks)
    assert sum(np.prod(bank) for bank in layout.banks) == sum(spec.size for spec in specs.values() if spec.blocks)


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e30, 1e37])
@each_implementation
def test_the_scale_of_the_gradients_does_not_matter(implementation: str, scale: float) -> None:
    """Squares of the small gradients would be 0, and those of the large ones would overflow."""
    layout, generator = LAYOUTS["around the tile"], np.random.default_rng(0)
    exact = [generator.uniform(-1, 1, shape) for shape in layout.shapes]
    zeros = [mx.zeros(shape) for shape in layout.shapes]
    settings = {"layout": layout, "steps": 5, "coefficients": "polar_express"}
    with able_to_run(implementation):
        directions, expected = (
            MUON(implementation, [rounded(size * a, "float32")[0] for a in exact], zeros, mx.array(0.0), **settings)[1]
            for size in (scale, 1.0)
        )
        for got, right in zip(directions, expected, strict=True):
            assert_close(got, right, "newton_schulz", "float32")


@pytest.mark.parametrize("kind", KINDS)
@each_implementation
def test_extreme_matrices(implementation: str, kind: str) -> None:
    generator = np.random.default_rng(5)
    matrix, huge = generator.uniform(-1, 1, (1, 6, 9)), np.full((1, 4, 4), 1e-30)
    huge[0, 1, 2] = 1e30

    def orthogonal(bank: np.ndarray, dtype: str = "float32") -> np.ndarray:
        return to_float64(NEWTON_SCHULZ(implementation, rounded(bank, dtype)[0], coefficients=kind))

    with able_to_run(implementation):
        for scale in (1e-37, 1e-10, 1e38):
            assert_close(orthogonal(matrix * scale), orthogonal(matrix), "newton_schulz", "float32")
        assert ENDS_IN[kind][0] <= orthogonal(huge)[0, 1, 2] <= ENDS_IN[kind][1]
        for dtype in DTYPES:
            zeros_and_more = orthogonal(np.stack([np.zeros((33, 40)), generator.standard_normal((33, 40))]), dtype)
            assert not zeros_and_more[0].any() and 0.1 < np.abs(zeros_and_more[1]).max() < 2
        # What rounding leaves in other directions is raised as well, so that the one direction alone is known.
        left, right = generator.standard_normal(33), generator.standard_normal(40)
        along = left @ orthogonal(np.outer(left, right)[None])[0] @ right
        assert ENDS_IN[kind][0] <= along / np.linalg.norm(left) / np.linalg.norm(right) <= ENDS_IN[kind][1]


@pytest.mark.parametrize("kind", KINDS)
@each_implementation
def test_in_bfloat16_it_is_close(implementation: str, kind: str) -> None:
    entry = {"plain": "newton_schulz", "metal": "newton_schulz kernel"}[implementation]
    for shape in ((16, 24), (24, 16), (33, 65)):
        bank = normal(np.random.default_rng(7), (2, *shape), "bfloat16")[0]
        with able_to_run(implementation):
            got = NEWTON_SCHULZ(implementation, bank, coefficients=kind)
            expected = NEWTON_SCHULZ(
                "plain", bank if implementation == "metal" else bank.astype(mx.float32), coefficients=kind
            )
        assert got.dtype == mx.bfloat16 and got.shape == bank.shape
        assert_close(got, expected, entry, "bfloat16")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "spare"), [(1, 4), (3, 0), (8, 5)])
def test_singular_values_end_near_one_and_directions_are_kept(kind: str, size: int, spare: int) -> None:
    generator = np.random.default_rng(size)
    left, right = (np.linalg.qr(generator.standard_normal((n, n)))[0] for n in (size, size + spare))
    spectrum = np.geomspace(2e-2, 1.0, size)
    matrix = (left * spectrum / np.linalg.norm(spectrum)) @ right[:size]
    for turned in (lambda x: x, np.transpose):
        bank = rounded(turned(matrix)[None], "float32")[0]
        got = to_float64(NEWTON_SCHULZ("plain", bank, coefficients=kind))[0]
        inner = left.T @ turned(got) @ right[:size].T
        assert np.abs(inner - np.diag(np.diagonal(inner))).max() < 1e-4
        assert ENDS_IN[kind][0] <= np.diagonal(inner).min() <= np.diagonal(inner).max() <= ENDS_IN[kind][1]


def assert_symmetric(product_NRR: mx.array) -> None:
    bits = np.array(product_NRR.view({2: mx.uint16, 4: mx.uint32}[product_NRR.itemsize]))
    np.testing.assert_array_equal(bits, bits.swapaxes(1, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("blocks", [2, 4])
def test_products_of_the_kernel_are_symmetric_to_the_bit(blocks: int, dtype: str) -> None:
    """Only one triangle of an addend is read, even if the addend is not symmetric."""
    generator = np.random.default_rng(0)
    with able_to_run("metal"):
        for R in (1, 7, 33, 65, 130):
            (bank, exact), (addend, added) = normal(generator, (2, R, 40), dtype), normal(generator, (2, R, R), dtype)
            product = SYMMETRIC_PRODUCT("metal", bank, addend, alpha=-0.5, beta=2.0, blocks=blocks)
            assert_symmetric(product)
            lower = np.tril(-0.5 * exact @ exact.swapaxes(1, 2) + 2.0 * added)
            assert_close(np.tril(to_float64(product)), lower, "symmetric_product", dtype)


@each_implementation
def test_a_bad_row_spoils_its_own_products_only(implementation: str) -> None:
    bank, exact = normal(np.random.default_rng(1), (2, 35, 34))
    bank[0, 33] = float("nan")
    with able_to_run(implementation):
        got = to_float64(SYMMETRIC_PRODUCT(implementation, bank))
    expected = exact @ exact.swapaxes(1, 2)
    expected[0, 33] = expected[0, :, 33] = np.nan
    assert_close(got, expected, "symmetric_product", "float32")


@emulated
def test_the_triangle_is_computed_in_tiles_by_the_size_of_the_matrix() -> None:
    with able_to_run("metal") as launches:
        for N, R in ((3, 130), (1, 255), (1, 256)):
            mx.eval(SYMMETRIC_PRODUCT("metal", mx.ones((N, R, 8))))
    # Threadgroups of 128 threads: of 5 and of 8 rows of tiles of 32, and of 4 rows of tiles of 64.
    assert [launch.grid for launch in launches] == [(15 * 128, 3, 1), (36 * 128, 1, 1), (10 * 128, 1, 1)]


@emulated
def test_what_a_step_launches() -> None:
    """One launch packs everything; each iteration has two symmetric products per bank, and a product by MLX."""
    layout = LAYOUTS["around the tile"]
    arrays = [mx.ones(shape) for shape in layout.shapes]
    with able_to_run("metal") as launches:
        settings = {"layout": layout, "steps": 3, "coefficients": "quintic"}
        mx.eval(MUON("metal", arrays, arrays, mx.array(0.9), **settings))
    names = [launch.name for launch in launches]
    assert names == ["muon_pack", *["symmetric_product"] * 6 * len(layout.banks)]
    # Of [1, 97, 33] three matrices, 33 x 33 and twice 32 x 33; twice 33 x 31.
    assert launches[0].grid == ((4 + 2 * 2 + 2 * 2) * 128, 1, 1)
    assert len(launches[0].inputs) + len(launches[0].outputs) <= 31, "Metal's limit"
    N, short, long = layout.banks[0]
    gram, polynomial = ([shape for _, shape, _ in launch.inputs] for launch in launches[1:3])
    assert gram == [(N, short, long)] * 2 + [(2,)] and polynomial == [(N, short, short)] * 2 + [(2,)]


@each_implementation
def test_few_and_many_steps_equal_the_formula(implementation: str) -> None:
    with able_to_run(implementation):
        for steps, kind in ((1, "quintic"), (7, "polar_express")):
            case = Case(model_of(), options={"bank": (1, 4, 9), "steps": steps, "coefficients": kind})
            assert conformance.failure(NEWTON_SCHULZ, implementation, case) is None
        whole = replace(of(LAYOUTS["grouped, SwiGLU"]), special="zero tiles")
        assert conformance.failure(MUON, implementation, whole) is None
