"""The kernel of symmetric products, run by the emulator: against float64, against the plain path, and at the edge."""

from __future__ import annotations

import itertools
import re

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal
from emulator.lint import lint
from emulator.type_gate import check_types
from mlx_tiny.ops.dispatch import Choice
from mlx_tiny.ops.newton_schulz import orthogonalize, symmetric_product
from numeric import assert_close, normal, rounded, to_float64

from mlx_tiny.errors import TinyError
from mlx_tiny.ops import dispatch, newton_schulz

pytestmark = pytest.mark.compile_ahead

# Around the kernel's tiles of 32 and chunks of 32, and beyond four tiles.
SIZES = (1, 7, 31, 32, 33, 65, 130)
DTYPES = ("float32", "bfloat16")
# Where the other size and the number of matrices matter less: every size once as rows, and once as columns.
PAIRS = [(1, 130), (7, 33), (31, 1), (32, 7), (33, 65), (65, 32), (130, 31)]
THREADGROUP_BYTES = {2: 9216, 4: 18432}


@pytest.fixture(params=[newton_schulz._BLOCKS, newton_schulz._LARGE_BLOCKS], ids="{} blocks".format)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Every size of a tile, whatever the matrices' size."""
    monkeypatch.setattr(newton_schulz, "_BLOCKS", request.param)
    monkeypatch.setattr(newton_schulz, "_LARGE_BLOCKS", request.param)
    return int(request.param)


def assert_symmetric(product_NRR: mx.array) -> None:
    bits = np.array(product_NRR.view({2: mx.uint16, 4: mx.uint32}[product_NRR.itemsize]))
    np.testing.assert_array_equal(bits, bits.swapaxes(1, 2))


def assert_products(dtype: str, N: int, rows: int, columns: int) -> None:
    """alpha X X^T alone, and with an addend."""
    generator = np.random.default_rng(rows * 1000 + columns)
    bank, exact = normal(generator, (N, rows, columns), dtype)
    gram = exact @ exact.swapaxes(1, 2)
    addend, added = rounded(gram, dtype)
    alone, both = symmetric_product(bank), symmetric_product(bank, alpha=-0.5, beta=2.0, addend_NRR=addend)
    for product, expected in ((alone, gram), (both, -0.5 * gram + 2.0 * added)):
        assert product.shape == (N, rows, rows) and product.dtype == bank.dtype
        assert_close(product, expected, "symmetric product", dtype)
        assert_symmetric(product)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", SIZES)
def test_products_of_every_shape(rows: int, dtype: str) -> None:
    with emulated_metal():
        for N, columns in zip(itertools.cycle((1, 3)), SIZES):
            assert_products(dtype, N, rows, columns)


@pytest.mark.parametrize("lane_map", ["apple", "other"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("blocks")
def test_no_fault_is_found_under_either_lane_map(dtype: str, lane_map: str) -> None:
    with emulated_metal(checking=True, lane_map=lane_map):
        for N, rows, columns in [(3, 33, 7), (1, 65, 33), (2, 1, 1)]:
            assert_products(dtype, N, rows, columns)


def test_large_tiles_are_for_large_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newton_schulz, "_LARGE_ROWS", 65)
    with emulated_metal() as launches:
        for rows in (64, 65):
            assert_products("float32", 1, rows, 9)
    # Threadgroups of 128 threads: the triangle of two rows of tiles, of 32 and of 64 rows.
    assert [launch.grid for launch in launches] == [(3 * 128, 1, 1)] * 4
    assert all(launch.threadgroup == (128, 1, 1) for launch in launches)


def test_the_triangle_is_what_is_computed() -> None:
    with emulated_metal() as launches:
        mx.eval(symmetric_product(mx.ones((3, 130, 8))))
    assert [launch.grid for launch in launches] == [(15 * 128, 3, 1)], "5 of 5, 4 of the next 5, ..."


@pytest.mark.usefixtures("blocks")
def test_one_triangle_of_the_addend_is_read() -> None:
    """Symmetric by construction: an addend that is not is mirrored, too."""
    generator = np.random.default_rng(0)
    bank, exact = normal(generator, (1, 40, 12))
    addend, added = normal(generator, (1, 40, 40))
    with emulated_metal():
        product = symmetric_product(bank, beta=1.0, addend_NRR=addend)
    assert_symmetric(product)
    lower = np.tril(exact @ exact.swapaxes(1, 2) + added)
    assert_close(np.tril(to_float64(product)), lower, "symmetric product", "float32")


def test_a_bad_row_spoils_its_own_products_only() -> None:
    bank, exact = normal(np.random.default_rng(1), (2, 35, 34))
    bank[0, 33] = float("nan")
    with emulated_metal():
        got = to_float64(symmetric_product(bank))
    assert np.isnan(got[0, 33]).all() and np.isnan(got[0, :, 33]).all()
    expected = exact @ exact.swapaxes(1, 2)
    expected[0, 33] = expected[0, :, 33] = np.nan
    assert_close(got, expected, "symmetric product", "float32")


@pytest.mark.parametrize("kind", ["quintic", "polar_express"])
@pytest.mark.parametrize("shape", PAIRS, ids=str)
def test_orthogonalisation_is_the_plain_path_s(shape: tuple[int, int], kind: str) -> None:
    for dtype in DTYPES:
        bank = normal(np.random.default_rng(2), (2, *shape), dtype)[0]
        with emulated_metal():
            got = orthogonalize(bank, coefficients=kind, implementation="metal")
        expected = orthogonalize(bank, coefficients=kind, implementation="plain")
        assert got.shape == bank.shape and got.dtype == bank.dtype
        assert_close(got, to_float64(expected), "Newton-Schulz kernel", dtype)


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e30, 1e38])
def test_huge_and_tiny_entries(scale: float) -> None:
    bank = rounded(np.random.default_rng(3).uniform(-1, 1, (2, 9, 35)) * scale, "float32")[0]
    with emulated_metal():
        got = orthogonalize(bank, implementation="metal")
    assert_close(got, to_float64(orthogonalize(bank, implementation="plain")), "Newton-Schulz kernel", "float32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_and_rank_one_matrices(dtype: str) -> None:
    generator = np.random.default_rng(4)
    left, right = generator.standard_normal(33), generator.standard_normal(40)
    bank = rounded(np.stack([np.zeros((33, 40)), np.outer(left, right)]), dtype)[0]
    with emulated_metal():
        got = to_float64(orthogonalize(bank, implementation="metal"))
    np.testing.assert_array_equal(got[0], 0)
    # What rounding leaves in other directions is raised as well, so that only the one direction is known exactly.
    assert np.isfinite(got[1]).all()
    plain = to_float64(orthogonalize(bank, implementation="plain"))
    along, expected = (
        abs(left @ result @ right) / np.linalg.norm(left) / np.linalg.norm(right) for result in (got[1], plain[1])
    )
    assert 0.7 < along < 1.3
    if dtype == "float32":
        assert along == pytest.approx(expected, rel=1e-5)
        assert_close(got, plain, "Newton-Schulz kernel of rank one", dtype)


def test_the_same_bits_every_time() -> None:
    bank = normal(np.random.default_rng(5), (3, 37, 66))[0]
    results = []
    for _ in range(2):
        with emulated_metal():
            results.append(np.array(orthogonalize(bank, implementation="metal")))
    np.testing.assert_array_equal(results[0], results[1])


def test_what_a_step_launches() -> None:
    with emulated_metal() as launches:
        mx.eval(orthogonalize(mx.ones((2, 8, 9)), steps=3, implementation="metal"))
    assert [launch.name for launch in launches] == ["symmetric_product"] * 6
    gram, polynomial = ([shape for _, shape, _ in launch.inputs] for launch in launches[:2])
    assert gram == [(2, 8, 9), (2, 8, 9), (2,)] and polynomial == [(2, 8, 8), (2, 8, 8), (2,)]
    assert all([shape for _, shape, _ in launch.outputs] == [(2, 8, 8)] for launch in launches)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 33, 40)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_text_passes_the_gates(dtype: str, shape: tuple[int, ...], blocks: int) -> None:
    with emulated_metal() as launches:
        mx.eval(newton_schulz._polynomial_by_kernel(mx.ones(shape, dtype=getattr(mx, dtype)), 1.0, 2.0))
    for launch in launches:
        assert check_types(launch.source) == [] and lint(launch.source) == []
        (length,) = re.findall(r"^threadgroup float \w+\[(.+)\];$", launch.source, re.MULTILINE)
        assert 4 * eval(length, {"BLOCKS": blocks}) == THREADGROUP_BYTES[blocks]


def test_the_self_test_passes_here_and_names_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulated_metal():
        assert all(newton_schulz.self_test(dtype) is None for dtype in (mx.float32, mx.bfloat16))
        monkeypatch.setattr(
            newton_schulz, "symmetric_product", lambda bank_NRC, **_: bank_NRC @ bank_NRC.swapaxes(1, 2)
        )
        assert "orthogonalised bank" in (newton_schulz.self_test(mx.float32) or "")


def bank_of(*shape: int, dtype: str = "float32") -> mx.array:
    """Zeros that are never evaluated, whatever their number."""
    return mx.zeros(shape, dtype=getattr(mx, dtype))


@pytest.mark.parametrize(
    ("bank", "arguments", "message"),
    [
        (bank_of(3, 4), {}, r"bank of matrices.*\[N, rows, columns\], none of them 0, got \(3, 4\)"),
        (bank_of(0, 3, 4), {}, r"none of them 0, got \(0, 3, 4\)"),
        (bank_of(1, 0, 4), {}, r"none of them 0, got \(1, 0, 4\)"),
        (bank_of(1, 4, 0), {}, r"none of them 0, got \(1, 4, 0\)"),
        (bank_of(1, 3, 4, dtype="float16"), {}, "takes float32 or bfloat16.*got mlx.core.float16"),
        (bank_of(1, 3, 4, dtype="int32"), {}, "takes float32 or bfloat16.*got mlx.core.int32"),
        (bank_of(2, 3, 4), {"addend_NRR": bank_of(1, 3, 3)}, r"addend.*\(2, 3, 3\).*float32, got \(1, 3, 3\)"),
        (bank_of(2, 3, 4), {"addend_NRR": bank_of(2, 3, 4)}, r"addend.*\(2, 3, 3\).*, got \(2, 3, 4\)"),
        (bank_of(2, 3, 4), {"addend_NRR": bank_of(3, 3)}, r"addend.*, got \(3, 3\)"),
        (
            bank_of(2, 3, 4),
            {"addend_NRR": bank_of(2, 3, 3, dtype="bfloat16")},
            r"addend.*float32, got \(2, 3, 3\) of mlx.core.bfloat16",
        ),
        (bank_of(1, 3, 4), {"blocks": 3}, "tile.*Expected 2 or 4 blocks of 16 rows, got 3"),
        (bank_of(1, 65536, 65536), {}, r"4294967296 entries.*fewer than 4294967296.*got \(1, 65536, 65536\).*'plain'"),
        (bank_of(1, 65536, 1), {}, r"4294967296 entries.*got \(1, 65536, 1\)"),
        (bank_of(2**20, 64, 64), {}, r"4294967296 entries.*got \(1048576, 64, 64\)"),
    ],
)
def test_what_the_kernel_does_not_take_is_refused(bank: mx.array, arguments: dict, message: str) -> None:
    with emulated_metal() as launches, pytest.raises(TinyError, match=message):
        symmetric_product(bank, **arguments)
    assert launches == []


def test_large_banks_are_the_plain_path_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where the kernel is asked for by name; `auto` takes the plain path."""
    monkeypatch.setattr(newton_schulz, "_MOST_ENTRIES", 100)
    monkeypatch.setattr(dispatch, "choose", lambda *_: Choice("metal", "this is a Mac"))
    small, large = mx.ones((1, 11, 9)), mx.ones((1, 10, 10))
    with emulated_metal() as launches:
        mx.eval(orthogonalize(small, steps=1))
        assert [launch.name for launch in launches] == ["symmetric_product"] * 2
        with pytest.raises(TinyError, match=r"100 entries.*got \(1, 10, 10\)"):
            orthogonalize(large, implementation="metal")
        mx.eval(orthogonalize(large))
    assert len(launches) == 2


@pytest.mark.skipif(mx.metal.is_available(), reason="there is a Metal GPU here")
def test_the_product_is_refused_where_there_is_no_metal() -> None:
    with pytest.raises(TinyError, match=r"Muon cannot run here.*no Metal GPU"):
        symmetric_product(mx.ones((1, 3, 4)))
