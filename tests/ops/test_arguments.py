"""Every implementation refuses wrong arguments before it computes."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest
from emulator import emulated_metal
from numeric import ON_GPU

from mlx_tiny.errors import TinyError
from mlx_tiny.ops.muon.layout import make_layout
from mlx_tiny.ops.registry import everything

ALL = {operation.name: operation for operation in everything()}
HEADS, ONE = (1, 4, 2, 32), make_layout([(1, 4, 6)], [(4,)])
PROJECTED, WEIGHT, TABLE = (2, 3, 4, 6), (6,), (3, 1, 3)


def zeros(shape: tuple[int, ...], dtype: str = "float32") -> mx.array:
    """An array of zeros that is never evaluated, so that it may be huge."""
    return mx.zeros(shape, dtype=getattr(mx, dtype))


def attention(query, key, value=None, dtypes="float32 float32 float32") -> Callable[[str], object]:
    shapes = (query, key, key if value is None else value)
    arrays = [zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes.split(), strict=True)]
    return lambda name: ALL["attention"](name, *arrays, scale=1.0)


def qk_norm_rope(*shapes, G=1, cast=()) -> Callable[[str], object]:
    arrays = [zeros(shape, dict(cast).get(index, "float32")) for index, shape in enumerate(shapes)]
    return lambda name: ALL["qk_norm_rope"](name, *arrays, key_value_heads=G, epsilon=1e-6)


def pack(gradient, momentum, **settings) -> Callable[[str], object]:
    return lambda name: ALL["muon_pack"](name, [gradient], [momentum], mx.array(0.9), layout=ONE, **settings)


def product(bank, addend=None, **settings) -> Callable[[str], object]:
    return lambda name: ALL["symmetric_product"](name, bank, addend, **settings)


def newton_schulz(bank, **settings) -> Callable[[str], object]:
    return lambda name: ALL["newton_schulz"](name, bank, **settings)


REFUSED = {
    "attention": [
        (attention((1, 4, 32), (1, 4, 32)), "four axes"),
        (attention((1, 4, 3, 32), HEADS), "do not fit"),
        (attention(HEADS, (1, 4, 0, 32)), "do not fit"),
        (attention(HEADS, (1, 3, 2, 32)), "do not fit"),
        (attention(HEADS, (1, 4, 2, 48)), "do not fit"),
        (attention(HEADS, HEADS, (1, 4, 1, 32)), "do not fit"),
        (attention((2, 4, 2, 32), HEADS), "do not fit"),
        (attention((0, 4, 2, 32), (0, 4, 2, 32)), "at least one sequence"),
        (attention(HEADS, HEADS, dtypes="float32 float16 float32"), "all float32, .* got float32, float16, float32"),
        (attention(HEADS, HEADS, dtypes="int32 int32 int32"), "all float32, .* got int32"),
    ],
    "qk_norm_rope": [
        (qk_norm_rope((3, 4, 6), WEIGHT, WEIGHT, TABLE, TABLE), r"wrong shape.*\[B, T, H \+ 2G, K\].*got \(3, 4, 6\)"),
        (qk_norm_rope((2, 3, 2, 6), WEIGHT, WEIGHT, TABLE, TABLE), "at least one query head and G = 1"),
        (qk_norm_rope(PROJECTED, WEIGHT, WEIGHT, TABLE, TABLE, G=0), "with G = 0"),
        (qk_norm_rope((2, 3, 4, 5), (5,), (5,), (3, 1, 2), (3, 1, 2)), "Expected an even number, got 5"),
        (qk_norm_rope(PROJECTED, (5,), WEIGHT, TABLE, TABLE), r"weights \(6,\) and tables \(3, 1, 3\).*\(5,\), \(6,\)"),
        (qk_norm_rope(PROJECTED, WEIGHT, (1, 6), TABLE, TABLE), r"\(6,\), \(1, 6\)"),
        (qk_norm_rope(PROJECTED, WEIGHT, WEIGHT, (2, 1, 3), TABLE), r"\(2, 1, 3\), \(3, 1, 3\)"),
        (qk_norm_rope(PROJECTED, WEIGHT, WEIGHT, TABLE, (3, 3)), r"\(3, 1, 3\), \(3, 3\)"),
        *(
            (qk_norm_rope(PROJECTED, WEIGHT, WEIGHT, TABLE, TABLE, cast=[(index, dtype)]), "types of the packed proj")
            for index, dtype in enumerate(["int32", *["bfloat16"] * 4])
        ),
    ],
    "activation": [(lambda name: ALL["activation"](name, zeros((2, 8)), activation="gelu"), "'gelu'.*relu2 or swiglu")],
    "muon_pack": [
        (pack(zeros((1, 6, 4)), zeros((1, 4, 6))), "gradients do not fit"),
        (pack(zeros((1, 4, 6)), zeros((1, 4, 6), "bfloat16")), "momenta do not fit"),
        (pack(zeros((1, 4, 6)), zeros((1, 4, 6)), dtype=mx.float16), "float32 or bfloat16"),
    ],
    "symmetric_product": [
        (product(zeros((3, 4))), r"bank of matrices.*\[N, rows, columns\], none of them 0, got \(3, 4\)"),
        (product(zeros((1, 3, 4), "float16")), "float32 or bfloat16.*got mlx.core.float16"),
        (product(zeros((2, 3, 4)), zeros((1, 3, 3))), r"addend.*\(2, 3, 3\).*float32, got \(1, 3, 3\)"),
        (product(zeros((2, 3, 4)), zeros((2, 3, 4))), r"addend.*\(2, 3, 3\).*, got \(2, 3, 4\)"),
        (product(zeros((2, 3, 4)), zeros((2, 3, 3), "bfloat16")), r"got \(2, 3, 3\) of mlx.core.bfloat16"),
        (product(zeros((1, 3, 4)), blocks=3), "tile.*Expected 2 or 4 blocks of 16 rows, got 3"),
        # Its entries, and those of its products, are counted in 32 bits.
        (product(zeros((1, 65536, 65536))), r"fewer than 4294967296.*got \(1, 65536, 65536\).*'plain'"),
        (product(zeros((1, 65536, 1))), r"4294967296 entries.*got \(1, 65536, 1\)"),
        (product(zeros((2**20, 64, 64))), r"4294967296 entries.*got \(1048576, 64, 64\)"),
    ],
    "newton_schulz": [
        *((newton_schulz(zeros(shape)), "bank of matrices") for shape in ((3,), (1, 2, 3, 4), (0, 3, 3), (1, 3, 0))),
        *((newton_schulz(zeros((1, 3, 3), dtype)), "float32 or bfloat16") for dtype in ("float16", "int32", "bool_")),
        # Where Metal is pretended, the implementation for CPUs is refused before its coefficients are read.
        (newton_schulz(zeros((1, 3, 3)), coefficients="cubic"), "'cubic'|MLX computes on the CPU"),
    ],
}


@pytest.mark.parametrize(
    ("name", "call", "message"), [(name, *pair) for name, pairs in REFUSED.items() for pair in pairs]
)
def test_inputs_without_a_definition_are_refused(name: str, call, message: str) -> None:
    with emulated_metal() as launches:
        for implementation in ALL[name].implementations:
            with pytest.raises(TinyError, match=message):
                call(implementation)
    assert launches == []


def test_an_implementation_is_refused_for_what_it_does_not_take_wherever_it_is_called() -> None:
    with pytest.raises(
        TinyError, match=r"Unknown implementation 'flash' of causal attention.*plain, mlx, cpu, native, metal"
    ):
        attention(HEADS, HEADS)("flash")
    wide = qk_norm_rope((1, 1, 3, 258), (258,), (258,), (1, 1, 129), (1, 1, 129))
    narrow = attention((1, 4, 2, 40), (1, 4, 2, 40))
    with emulated_metal() as launches:
        for call, message in ((wide, "at most 256, got .*K = 258"), (narrow, "a head width K of 32, 48, .* K = 40")):
            with pytest.raises(TinyError, match=message):
                call("metal")
    assert launches == []
    if not ON_GPU:
        with pytest.raises(TinyError, match=r"Expected that MLX computes on the GPU of a Mac .*, got .*'auto'"):
            attention(HEADS, HEADS)("metal")


@pytest.mark.parametrize(
    ("shape", "blocks", "message"),
    [
        ((1, 10, 6), (4, 4), r"Expected row counts that add up to 10, got \(4, 4\)"),
        ((1, 4, 6), (), r"add up to 4, got \(\)"),
        ((1, 4, 6), (5, -1), r"add up to 4, got \(5, -1\)"),
        ((1, 4, 6), (4, 0), r"add up to 4, got \(4, 0\)"),
        ((4, 6), (4,), r"Expected \[layers, rows, columns\], none of them 0, got \(4, 6\)"),
        ((0, 4, 6), (4,), r"none of them 0, got \(0, 4, 6\)"),
    ],
)
def test_matrices_that_leave_rows_out_are_refused(
    shape: tuple[int, ...], blocks: tuple[int, ...], message: str
) -> None:
    with pytest.raises(TinyError, match=message):
        make_layout([(1, 2, 3), shape], [(2,), blocks])
