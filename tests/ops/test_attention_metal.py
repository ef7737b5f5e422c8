"""The Metal kernels of attention against float64 formulas and the plain path: on a GPU, else in the emulator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal
from mlx_tiny.ops.dispatch import ATTENTION_WIDTHS
from numeric import assert_close, normal, rounded, to_float64
from test_attention import reference

from mlx_tiny.errors import TinyError
from mlx_tiny.ops import metal
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.tolerances import kernel_bounds

pytestmark = pytest.mark.compile_ahead

ON_GPU = metal.why_not_metal() is None
# The emulator's exponentials and logarithms are exact to the last bits, those of a GPU need not be.
OUTPUT, GRADIENT = ("attention kernel",) * 2 if ON_GPU else ("attention", "fused attention gradient")
TYPES = ("float32", "float16", "bfloat16")
# Around the 8 rows of a simdgroup and the 32 of a block, and several blocks with a rest.
LENGTHS = (1, 7, 31, 32, 33, 63, 65, 128, 257)
GROUPS = ((2, 2), (2, 1), (4, 1))
SCALE = 0.3
NAMES = ("output", "gradient of the query", "gradient of the key", "gradient of the value")

# Every pair of (length, width), (length, type), (width, type), (type, groups) and so on, each once or more.
PAIRS = [
    (T, K, TYPES[(k + t) % 3], *GROUPS[(k + 2 * t) % 3])
    for k, K in enumerate(ATTENTION_WIDTHS)
    for t, T in enumerate(LENGTHS)
]
# Every width and type with checking on; 33 positions are a whole block and a rest of one row.
CHECKED = [(K, TYPES[index % 3], 33 + index) for index, K in enumerate(ATTENTION_WIDTHS)]


def attend(implementation: str, scale: float = SCALE):
    return lambda *inputs: [causal_attention(*inputs, scale=scale, implementation=implementation)]


def results(implementation: str, inputs, cotangent, scale: float = SCALE) -> list[mx.array]:
    """The output and the three gradients, evaluated."""
    outputs, gradients = mx.vjp(attend(implementation, scale), list(inputs), [cotangent])
    mx.eval(outputs, gradients)
    return [*outputs, *gradients]


def random_case(B: int, T: int, H: int, G: int, K: int, dtype: str, seed: int = 0):
    """Query, key, value and cotangent, and the float64 numbers that they are."""
    generator = np.random.default_rng(seed)
    shapes = ((B, T, H, K), (B, T, G, K), (B, T, G, K), (B, T, H, K))
    return zip(*(normal(generator, shape, dtype) for shape in shapes), strict=True)


def check(arrays, exact, dtype: str, scale: float = SCALE) -> None:
    """Every result by the table's bounds."""
    got = results("metal", arrays[:3], arrays[3], scale)
    plain = results("plain", arrays[:3], arrays[3], scale)
    output, gradients = reference(*exact[:3], scale, exact[3])
    for index, (name, mine, other, right) in enumerate(zip(NAMES, got, plain, (output, *gradients), strict=True)):
        assert mine.dtype == arrays[0].dtype and mine.shape == right.shape
        operation = GRADIENT if index else OUTPUT
        excess = kernel_bounds(operation, dtype, to_float64(other), right).excess(to_float64(mine), right)
        assert excess <= 1, f"{name} in {dtype} is off by {excess:.3g} times what is allowed"


@contextlib.contextmanager
def gpu_or_emulator() -> Iterator[None]:
    """Inside, the kernels run on the GPU itself where there is one."""
    with contextlib.nullcontext() if ON_GPU else emulated_metal():
        yield


@pytest.mark.parametrize(("T", "K", "dtype", "H", "G"), PAIRS)
def test_output_and_gradients(T: int, K: int, dtype: str, H: int, G: int) -> None:
    arrays, exact = random_case(2 if T < 64 else 1, T, H, G, K, dtype, seed=T + K)
    with gpu_or_emulator():
        check(arrays, exact, dtype)


@pytest.mark.parametrize("lane_map", ["apple", "other"])
@pytest.mark.parametrize(("K", "dtype", "T"), CHECKED)
def test_no_fault_is_found(K: int, dtype: str, T: int, lane_map: str) -> None:
    arrays, exact = random_case(1, T, 2, 1, K, dtype, seed=K)
    with emulated_metal(checking=True, lane_map=lane_map):
        check(arrays, exact, dtype)


@pytest.mark.parametrize(("H", "G"), [(1, 1), (4, 2), (6, 2)])
def test_neighbouring_query_heads_share_a_key_head(H: int, G: int) -> None:
    """Three positions of one head: most arrays have fewer than 8 elements, which MLX puts in constant memory."""
    for T in (3, 40):
        arrays, exact = random_case(1 if T == 3 else 2, T, H, G, 32, "float32")
        with gpu_or_emulator():
            check(arrays, exact, "float32")


def test_arrays_and_cotangents_that_are_not_contiguous() -> None:
    T, H, G, K = 35, 2, 1, 32
    arrays, exact = random_case(2, T, H, G, K, "float32", seed=3)
    query = mx.contiguous(arrays[0].swapaxes(1, 2)).swapaxes(1, 2)
    key = mx.contiguous(mx.concatenate([arrays[1], -arrays[1]], axis=3))[..., :K]
    value = mx.contiguous(arrays[2][:, ::-1])[:, ::-1]
    cotangent = mx.contiguous(arrays[3].swapaxes(1, 3)).swapaxes(1, 3)
    with gpu_or_emulator():
        check((query, key, value, cotangent), exact, "float32")
        # A sum's cotangent is one number, broadcast.
        gradient = mx.grad(lambda q: 2 * attend("metal")(q, key, value)[0].sum())(query)
    _, expected = reference(*exact[:3], SCALE, np.full(exact[0].shape, 2.0))
    assert_close(gradient, expected[0], GRADIENT, "float32")


@pytest.mark.parametrize("dtype", TYPES[1:])
def test_the_rounding_of_large_outputs_does_not_reach_the_gradients(dtype: str) -> None:
    """delta is a sum over the output, of which 16 bits round away as much as values near 300 differ by."""
    arrays, exact = (list(found) for found in random_case(1, 40, 2, 1, 32, dtype, seed=9))
    arrays[2], exact[2] = rounded(300 + 0.5 * exact[2], dtype)
    arrays[3], exact[3] = rounded(np.abs(exact[3]), dtype)
    with gpu_or_emulator():
        _, *got = results("metal", arrays[:3], arrays[3])
    _, expected = reference(*exact[:3], SCALE, exact[3])
    for name, gradient, right in zip(NAMES[1:], got, expected, strict=True):
        assert_close(gradient, right, "attention gradient", dtype, name)


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_near_a_thousand(sign: int) -> None:
    """Whole numbers, so that float32 holds the scores exactly, and only the softmax can err."""
    generator = np.random.default_rng(5)
    shape = (1, 70, 2, 64)
    query, key = (rounded(generator.integers(-12, 13, shape).astype(np.float64), "float32") for _ in range(2))
    value, cotangent = normal(generator, shape), normal(generator, shape)
    assert np.abs(np.einsum("bthk,bshk->bhts", query[1], key[1])).max() > 1.3e3
    arrays, exact = zip(query, key, value, cotangent, strict=True)
    with gpu_or_emulator():
        check(arrays, exact, "float32", scale=0.75 * sign)


@pytest.mark.parametrize("dtype", TYPES)
def test_all_scores_near_a_thousand_below(dtype: str) -> None:
    """exp(-1000) is 0 in float32: without the largest score taken off, the weights would be 0 / 0."""
    shape = (1, 37, 1, 32)
    query, key = (rounded(np.full(shape, number), dtype) for number in (8.0, -4.0))
    generator = np.random.default_rng(6)
    arrays, exact = zip(query, key, normal(generator, shape, dtype), normal(generator, shape, dtype), strict=True)
    with gpu_or_emulator():
        check(arrays, exact, dtype, scale=1.0)


@pytest.mark.parametrize("dtype", TYPES)
def test_equal_values_come_out_as_they_are(dtype: str) -> None:
    arrays, exact = random_case(1, 66, 2, 1, 48, dtype, seed=7)
    constant, exact_constant = rounded(np.full(exact[2].shape, 0.75), dtype)
    with gpu_or_emulator():
        check((*arrays[:2], constant, arrays[3]), (*exact[:2], exact_constant, exact[3]), dtype)


def test_equal_inputs_give_equal_bits() -> None:
    arrays, _ = random_case(1, 70, 4, 2, 64, "bfloat16", seed=8)
    with gpu_or_emulator():
        first, second = (results("metal", arrays[:3], arrays[3]) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(to_float64(one), to_float64(other))


def test_a_neighbouring_sequence_does_not_leak_into_the_tails() -> None:
    """NaN follows each array's last row in memory; a zero weight would not stop it."""
    arrays, _ = random_case(2, 33, 2, 1, 32, "float32", seed=9)
    poisoned = [mx.concatenate([array[:1], mx.full(array[1:].shape, float("nan"))]) for array in arrays]
    with gpu_or_emulator():
        clean, mixed = results("metal", arrays[:3], arrays[3]), results("metal", poisoned[:3], poisoned[3])
    for one, other in zip(clean, mixed, strict=True):
        np.testing.assert_array_equal(np.array(one[0]), np.array(other[0]))
        assert np.isnan(np.array(other[1])).all()


def test_the_future_has_no_weight_at_all() -> None:
    T, first = 70, 38
    arrays, _ = random_case(1, T, 2, 1, 80, "float32", seed=10)
    changed = [array * 1 for array in arrays]
    changed[1][:, first:], changed[2][:, first:] = 100.0, -100.0
    with gpu_or_emulator():
        before, after = (np.array(results("metal", a[:3], a[3])[0]) for a in (arrays, changed))
    np.testing.assert_array_equal(before[:, :first], after[:, :first])
    assert (before[:, first:] != after[:, first:]).any()


def test_no_matrix_of_scores_is_in_device_memory() -> None:
    """Of every buffer of every launch: an input or result of the operation, or B H T numbers a few times."""
    B, T, H, G, K = 2, 257, 2, 1, 32
    arrays, _ = random_case(B, T, H, G, K, "float16", seed=11)
    with emulated_metal() as launches:
        results("metal", arrays[:3], arrays[3])
    assert len(launches) == 3
    extra = {}
    for launch in launches:
        for name, shape, dtype in (*launch.inputs, *launch.outputs):
            if tuple(shape) not in {(B, T, H, K), (B, T, G, K), (1,)}:
                extra[name] = (tuple(shape), dtype)
    assert extra == {"log_sum_exp": ((B, H, T, 2), mx.float32), "delta": ((B, H, T), mx.float32)}
    written = [name for launch in launches for name, _, _ in launch.outputs]
    assert written == ["output", "log_sum_exp", "query_gradient", "delta", "key_gradient", "value_gradient"]


def test_a_compiled_step_builds_the_same_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator does not run inside `mx.compile`; what a launch returns is made up here, its graph is not."""
    names = []

    def stand_in(name, **_):
        def launch(inputs, output_shapes, output_dtypes, **_):
            names.append(name)
            total = sum(array.astype(mx.float32).sum() for array in inputs)
            made_up = [mx.full(shape, total * 1e-3) for shape in output_shapes]
            return [array.astype(dtype) for array, dtype in zip(made_up, output_dtypes, strict=True)]

        return launch

    monkeypatch.setattr(mx.fast, "metal_kernel", stand_in)
    monkeypatch.setattr(metal, "why_not_metal", lambda: None)
    arrays, _ = random_case(1, 5, 2, 1, 32, "float32")

    def loss(query, key, value):
        return attend("metal")(query, key, value)[0].square().sum()

    step = mx.value_and_grad(loss, argnums=(0, 1, 2))
    for compiled, eager in zip(mx.compile(step)(*arrays[:3])[1], step(*arrays[:3])[1], strict=True):
        assert_close(compiled, to_float64(eager), "fused attention gradient", "float32")
    assert names == 2 * ["attention_forward", "attention_backward_query", "attention_backward_key_value"]


@pytest.mark.parametrize(
    ("query", "key", "dtypes", "message"),
    [
        ((1, 4, 2, 40), (1, 4, 2, 40), "float32 float32", "a head width K of 32, 48, .* got 40.* 'auto'"),
        ((1, 3, 2, 32), (1, 4, 2, 32), "float32 float32", "as many queries as keys.* got 3 queries and 4 keys"),
        ((1, 4, 2, 32), (1, 4, 2, 32), "float32 float16", "all float32, float16 or bfloat16, got float32, float16"),
        ((1, 4, 2, 32), (1, 4, 2, 32), "int32 int32", "all float32, float16 or bfloat16, got int32"),
        ((0, 4, 2, 32), (0, 4, 2, 32), "float32 float32", "at least one sequence"),
        ((1, 4, 32), (1, 4, 32), "float32 float32", "four axes"),
        ((1, 4, 3, 32), (1, 4, 2, 32), "float32 float32", "do not fit"),
        ((1, 4, 2, 32), (1, 4, 0, 32), "float32 float32", "do not fit"),
    ],
)
def test_what_the_kernels_do_not_take_is_refused(query, key, dtypes: str, message: str) -> None:
    query_type, key_type = (getattr(mx, name) for name in dtypes.split())
    arrays = [mx.zeros(query, query_type), mx.zeros(key, key_type), mx.zeros(key, key_type)]
    with pytest.raises(TinyError, match=message):
        attend("metal")(*arrays)


@pytest.mark.parametrize("implementation", ["auto", "plain", "mlx"])
@pytest.mark.parametrize(
    ("dtypes", "shape"),
    [("float32 float16", (1, 40, 2, 32)), ("int32 int32", (1, 40, 2, 32)), ("float32 float32", (0, 40, 2, 32))],
)
def test_no_implementation_takes_what_attention_is_not_defined_for(implementation: str, dtypes: str, shape) -> None:
    query, other = (mx.zeros(shape, getattr(mx, name)) for name in dtypes.split())
    with emulated_metal() as launches, pytest.raises(TinyError, match=r"do not fit|are empty"):
        causal_attention(query, other, other, scale=1.0, implementation=implementation)
    assert launches == []


def test_metal_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metal, "why_not_metal", lambda: "this machine is made of wood")
    with pytest.raises(TinyError, match=r"cannot run.*Expected a Mac.*got this machine is made of wood.*`auto`"):
        attend("metal")(*3 * [mx.zeros((1, 4, 2, 32))])
