"""QK-norm and rotary positions: the plain path and the kernels against float64 formulas, and what they launch."""

from __future__ import annotations

import functools
from collections import Counter

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal
from emulator.lint import lint
from emulator.type_gate import check_types
from mlx_tiny.ops.rotary import rotary_tables
from numeric import assert_close, normal, rounded, to_float64

from mlx_tiny.bench.launches import count_launches
from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import why_not_compiled
from mlx_tiny.ops import dispatch, metal
from mlx_tiny.ops import qk_norm_rope as heads
from mlx_tiny.ops.qk_norm_rope import qk_norm_rope
from mlx_tiny.tolerances import kernel_bounds
from mlx_tiny.validate import references

pytestmark = pytest.mark.compile_ahead

TYPES = ("float32", "float16", "bfloat16")
EPSILON = 1e-6
B = 2
NAMES = ("query", "key", "value", "gradient of the projection", "of the query's weight", "of the key's weight")
# (K, H, G): every width, and 1, 2 and 4 query heads to a key head; at (2, 1, 1) most inputs have fewer than 8 elements.
SHAPES = ((2, 1, 1), (6, 2, 1), (32, 2, 2), (48, 4, 1), (64, 4, 2), (80, 2, 1), (96, 2, 2), (128, 4, 1), (256, 1, 1))
# What float16 and bfloat16 add to float32 does not depend on the width.
PATHS = [(*shape, "float32") for shape in SHAPES] + [
    (*shape, dtype) for shape in SHAPES if shape[0] in (6, 48, 64) for dtype in TYPES[1:]
]


class Case:
    """Inputs and cotangents of one call, as MLX and float64 numpy see them."""

    def __init__(self, T, K, H, G, dtype="float32", *, rows=B, seed=0, scale=1.0, offset=0) -> None:
        generator = np.random.default_rng(seed)
        self.G, self.dtype = G, dtype
        inputs = [normal(generator, (rows, T, H + 2 * G, K), dtype, scale)]
        inputs += [rounded(1 + 0.3 * generator.standard_normal(K), dtype) for _ in range(2)]
        cotangents = [normal(generator, (rows, T, heads, K), dtype) for heads in (H, G, G)]
        self.inputs, self.exact = (list(arrays) for arrays in zip(*inputs, strict=True))
        self.cotangents, self.exact_cotangents = (list(arrays) for arrays in zip(*cotangents, strict=True))
        self.tables = rotary_tables(T, K, 100.0, offset)

    def split(self, *inputs, implementation):
        options = {"key_value_heads": self.G, "epsilon": EPSILON, "implementation": implementation}
        return list(qk_norm_rope(*inputs, self.tables, **options))

    def results(self, implementation: str) -> list[mx.array]:
        """Three outputs and three gradients."""
        split = functools.partial(self.split, implementation=implementation)
        outputs, gradients = mx.vjp(split, self.inputs, self.cotangents)
        mx.eval(outputs, gradients)
        assert all(array.dtype == self.inputs[0].dtype for array in (*outputs, *gradients))
        return [*outputs, *gradients]

    def expected(self) -> list[np.ndarray]:
        turn = tuple(to_float64(table)[:, 0] for table in self.tables)
        outputs = references.heads(*self.exact, turn, self.G, EPSILON)
        return [*outputs, *references.heads_gradients(*self.exact, turn, self.G, EPSILON, self.exact_cotangents)]

    def check(self, **options) -> None:
        """The kernels' results by the bounds for kernels, which in 16 bits follow from the plain path's errors."""
        with emulated_metal(**options) as launches:
            results = self.results("metal")
        assert [launch.name for launch in launches] == ["qk_norm_rope_forward", "qk_norm_rope_backward"]
        triples = zip(NAMES, results, self.results("plain"), self.expected(), strict=True)
        for name, got, plain, expected in triples:
            allowed = kernel_bounds("heads kernel", self.dtype, to_float64(plain), expected)
            excess = allowed.excess(to_float64(got), expected)
            assert excess <= 1, f"{name} in {self.dtype} is off by {excess:.3g} times what is allowed"


def test_the_reference_has_the_gradients_of_its_own_outputs() -> None:
    case = Case(3, 4, 2, 1, rows=1)
    turn = tuple(to_float64(table)[:, 0] for table in case.tables)
    gradients = case.expected()[3:]
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            change = []
            for step in (1e-6, -1e-6):
                moved = [array.copy() for array in case.exact]
                moved[which][index] += step
                outputs = references.heads(*moved, turn, case.G, EPSILON)
                change.append(sum((a * b).sum() for a, b in zip(outputs, case.exact_cotangents, strict=True)))
            assert gradient[index] == pytest.approx((change[0] - change[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("T", [1, 7, 33])
@pytest.mark.parametrize(("K", "H", "G"), SHAPES[:6])
@pytest.mark.parametrize("implementation", ["plain", "cpu"])
def test_the_other_paths_are_the_reference_in_float32(implementation: str, T: int, K: int, H: int, G: int) -> None:
    case = Case(T, K, H, G)
    for name, got, expected in zip(NAMES, case.results(implementation), case.expected(), strict=True):
        assert_close(got, expected, "heads kernel", "float32", name)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
@pytest.mark.parametrize("implementation", ["plain", "cpu"])
def test_the_other_paths_at_extreme_sizes(implementation: str, scale: float) -> None:
    """Small rows, where epsilon weighs as much as they do, and large ones."""
    case = Case(9, 32, 4, 2, scale=scale)
    for name, got, expected in zip(NAMES, case.results(implementation), case.expected(), strict=True):
        assert_close(got, expected, "heads kernel", "float32", name)


@pytest.mark.skipif(why_not_compiled() is not None, reason="MLX does not compile here")
def test_the_cpu_s_path_compiled() -> None:
    case = Case(33, 32, 4, 2)
    split = functools.partial(case.split, implementation="cpu")
    results = mx.compile(lambda inputs, cotangents: mx.vjp(split, inputs, cotangents))(case.inputs, case.cotangents)
    for name, got, expected in zip(NAMES, [*results[0], *results[1]], case.expected(), strict=True):
        assert_close(got, expected, "heads kernel", "float32", name)


@pytest.mark.parametrize("T", [1, 7, 31, 33, 65])
@pytest.mark.parametrize(("K", "H", "G", "dtype"), PATHS)
def test_the_kernels_outputs_and_gradients(K: int, H: int, G: int, dtype: str, T: int) -> None:
    Case(T, K, H, G, dtype, seed=T).check()


@pytest.mark.parametrize("lane_map", ["apple", "other"])
@pytest.mark.parametrize(
    ("T", "K", "H", "G", "dtype"),
    [(7, 6, 2, 1, "float32"), (9, 48, 4, 1, "bfloat16"), (5, 80, 2, 2, "float16"), (3, 256, 2, 1, "float32")],
)
def test_the_kernels_are_free_of_faults(T: int, K: int, H: int, G: int, dtype: str, lane_map: str) -> None:
    """T = 9 ends a threadgroup's tokens and the rows of another in the middle."""
    Case(T, K, H, G, dtype).check(checking=True, lane_map=lane_map)


def test_one_token_has_inputs_in_constant_memory() -> None:
    case = Case(1, 2, 1, 1, rows=1)
    assert all(array.size < 8 for array in (*case.inputs, *case.tables, *case.cotangents))
    case.check(checking=True)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "T", "K", "H", "G"), [(1, 1, 2, 1, 1), (1, 1, 2, 4, 1), (2, 9, 48, 4, 1)])
def test_the_text_is_valid_metal(rows: int, T: int, K: int, H: int, G: int, dtype: str) -> None:
    """All of the inputs in constant memory, some of them, or none."""
    with emulated_metal() as launches:
        Case(T, K, H, G, dtype, rows=rows).results("metal")
    assert len(launches) == 2
    for launch in launches:
        assert check_types(launch.source) == []
        assert lint(launch.source) == []


@pytest.mark.parametrize("dtype", TYPES)
def test_tables_of_a_later_window(dtype: str) -> None:
    Case(5, 6, 2, 1, dtype, offset=23).check()


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", 1e12), ("float32", 1e-9), ("float16", 1e4), ("bfloat16", 1e12)]
)
def test_large_and_small_values(dtype: str, scale: float) -> None:
    Case(7, 6, 2, 1, dtype, scale=scale).check()


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_of_zeros_stay_zero_and_have_finite_gradients(dtype: str) -> None:
    case = Case(7, 6, 2, 1, dtype)
    nonzero = np.ones(case.exact[0].shape)
    nonzero[:, ::2] = 0
    case.inputs[0], case.exact[0] = rounded(case.exact[0] * nonzero, dtype)
    case.check()
    with emulated_metal():
        results = case.results("metal")
    for array in results[:3]:
        assert not to_float64(array)[:, ::2].any()
    assert np.isfinite(to_float64(results[3])).all()


def test_inputs_and_cotangents_that_are_not_contiguous() -> None:
    case = Case(7, 6, 2, 1)
    for arrays in (case.inputs, case.cotangents):
        arrays[0] = mx.contiguous(arrays[0].swapaxes(1, 2)).swapaxes(1, 2)
    case.inputs[1] = mx.stack([case.inputs[1], case.inputs[2]], axis=1)[:, 0]
    case.check()


def test_results_are_the_same_to_the_bit() -> None:
    case = Case(33, 64, 4, 2)
    with emulated_metal():
        first, second = case.results("metal"), case.results("metal")
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(to_float64(one), to_float64(other))


@pytest.mark.parametrize("implementation", ["plain", "metal"])
def test_the_tables_get_no_gradient(implementation: str) -> None:
    case = Case(3, 6, 2, 1)

    def total(*tables):
        case.tables = tables
        return sum(output.sum() for output in case.split(*case.inputs, implementation=implementation))

    with emulated_metal():
        for gradient in mx.grad(total, argnums=(0, 1))(*case.tables):
            assert not to_float64(gradient).any()


def test_memory_is_that_of_the_heads_and_small_sums() -> None:
    """Beside outputs and gradients there are only the terms of the weights' gradients, one row per group of tokens."""
    T, K, H, G = 33, 64, 4, 2
    with emulated_metal() as launches:
        Case(T, K, H, G).results("metal")
    groups = -(-B * T // heads._TOKENS)
    shapes = [[shape for _, shape, _ in launch.outputs] for launch in launches]
    assert shapes[0] == [(B, T, H, K), (B, T, G, K), (B, T, G, K)]
    assert shapes[1] == [(B, T, H + 2 * G, K), (groups, 2, K)]
    assert all(launch.threadgroup == (128, 1, 1) for launch in launches)
    assert launches[0].grid == (128 * -(-B * T * (H + 2 * G) // 4), 1, 1)
    assert launches[1].grid == (128 * groups, 1, 1)


@pytest.mark.parametrize("dtype", TYPES)
def test_launches_of_the_compiled_function(dtype: str) -> None:
    """Forward, and forward with backward; the kernels add a sum of the weights' terms, and in 16 bits its cast."""
    case = Case(16, 32, 4, 2, dtype)
    mx.eval(case.tables)

    def launches(implementation: str) -> tuple[Counter[str], Counter[str]]:
        split = functools.partial(case.split, implementation=implementation)
        both = functools.partial(mx.vjp, split)
        return count_launches(split, *case.inputs), count_launches(both, case.inputs, case.cotangents)

    casts = dtype != "float32"
    assert [counts.total() for counts in launches("plain")] == [10 + 2 * casts, 25 + 2 * casts]
    forward, both = launches("metal")
    assert forward == {"CustomKernel": 1}
    assert both == {"CustomKernel": 2, "Sum": 1} | ({"AsType": 1} if casts else {})


def test_auto_is_the_cpu_s_path_here_and_the_kernels_where_they_pass_their_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(7, 6, 2, 1)
    if metal.why_not_metal() is not None:
        np.testing.assert_array_equal(*(to_float64(case.results(name)[0]) for name in ("auto", "cpu")))
    monkeypatch.setattr(dispatch, "_verdicts", {})
    with emulated_metal() as launches:
        case.split(*case.inputs, implementation="auto")
        names = [launch.name for launch in launches]
        wide = Case(1, 258, 1, 1)
        wide.split(*wide.inputs, implementation="auto")
        assert len(launches) == len(names)
    # The self-test's own launches come first.
    assert names == ["qk_norm_rope_forward", "qk_norm_rope_backward", "qk_norm_rope_forward"]


@pytest.mark.skipif(metal.why_not_metal() is None, reason="Metal can run here")
def test_metal_where_there_is_none() -> None:
    case = Case(3, 6, 2, 1)
    with pytest.raises(TinyError, match=r"cannot run here.*got this machine has no Metal GPU.*`auto`"):
        case.split(*case.inputs, implementation="metal")


X, GAIN, TABLE = (2, 3, 4, 6), (6,), (3, 1, 3)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 4, 6), GAIN, GAIN, TABLE, TABLE), r"wrong shape.*\[B, T, H \+ 2G, K\].*got \(3, 4, 6\)"),
        (((2, 3, 2, 6), GAIN, GAIN, TABLE, TABLE), "at least one query head and G = 1"),
        (((2, 3, 4, 5), (5,), (5,), (3, 1, 2), (3, 1, 2)), "Expected an even number, got 5"),
        ((X, (5,), GAIN, TABLE, TABLE), r"norm weights \(6,\) and tables \(3, 1, 3\).*\(5,\), \(6,\)"),
        ((X, GAIN, (1, 6), TABLE, TABLE), r"\(6,\), \(1, 6\)"),
        ((X, GAIN, GAIN, (2, 1, 3), TABLE), r"\(2, 1, 3\), \(3, 1, 3\)"),
        ((X, GAIN, GAIN, TABLE, (3, 3)), r"\(3, 1, 3\), \(3, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    *inputs, cosine, sine = (mx.ones(shape) for shape in shapes)
    with pytest.raises(TinyError, match=message):
        qk_norm_rope(*inputs, (cosine, sine), key_value_heads=1, epsilon=EPSILON)


@pytest.mark.parametrize("which", range(5))
def test_types_that_do_not_fit(which: int) -> None:
    arrays = [mx.ones(shape) for shape in (X, GAIN, GAIN, TABLE, TABLE)]
    arrays[which] = arrays[which].astype(mx.int32 if which == 0 else mx.bfloat16)
    with pytest.raises(TinyError, match=r"types of the packed projection.*tables float32"):
        qk_norm_rope(*arrays[:3], (arrays[3], arrays[4]), key_value_heads=1, epsilon=EPSILON)


def test_too_few_key_heads_unknown_names_and_heads_that_are_too_wide() -> None:
    case = Case(3, 6, 2, 1)
    with pytest.raises(TinyError, match="G = 0"):
        qk_norm_rope(*case.inputs, case.tables, key_value_heads=0, epsilon=EPSILON)
    with pytest.raises(TinyError, match=r"Unknown implementation 'mlx'.*auto, plain, metal"):
        case.split(*case.inputs, implementation="mlx")
    wide = Case(1, 258, 1, 1)
    with pytest.raises(TinyError, match=r"too large.*Expected at most 256, got 258.*`plain`"):
        wide.split(*wide.inputs, implementation="metal")
