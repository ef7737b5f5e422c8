"""The self-test before first use: right kernels pass it, and each kind of wrong one fails."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest
from emulator import emulated_metal
from mlx_tiny.ops.self_test import disagreement

from mlx_tiny.ops import attention, newton_schulz
from mlx_tiny.ops import qk_norm_rope as heads
from mlx_tiny.ops.metal import KernelText, kernel_text

ALLOWED = "attention kernel"
SELF_TESTS: dict[str, Callable[[mx.Dtype], str | None]] = {
    "attention": lambda dtype: attention.self_test(dtype, 32),
    "heads": lambda dtype: heads.self_test(dtype, 32),
    "muon": newton_schulz.self_test,
}


def inputs() -> list[mx.array]:
    return [mx.arange(1, 5, dtype=mx.float32), mx.array([3.0, -1.0, 2.0, 0.5])]


def test_equal_functions_agree() -> None:
    assert disagreement(lambda a, b: a * b, lambda a, b: [b * a], inputs(), ALLOWED) is None


def test_another_value_is_found() -> None:
    assert "output 0" in disagreement(lambda a, b: a * b + 1, lambda a, b: a * b, inputs(), ALLOWED)
    second = disagreement(lambda a, b: (a, a * b + 1), lambda a, b: (a, a * b), inputs(), ALLOWED)
    assert "output 1" in second


def test_another_gradient_of_equal_values_is_found() -> None:
    wrong = disagreement(lambda a, b: a * mx.stop_gradient(b), lambda a, b: a * b, inputs(), ALLOWED)
    assert "gradient 1" in wrong


def test_nan_is_found() -> None:
    assert "output 0" in disagreement(lambda a, b: a * b / 0 * 0, lambda a, b: a * b, inputs(), ALLOWED)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("operation", SELF_TESTS)
def test_the_project_s_kernels_pass(operation: str, dtype: mx.Dtype) -> None:
    with emulated_metal():
        assert SELF_TESTS[operation](dtype) is None


@pytest.mark.parametrize(
    ("operation", "kernel", "right", "wrong"),
    [
        ("attention", "attention_forward", "1.0f / sum", "1.01f / sum"),
        ("attention", "attention_backward_key_value", "scale[0], key_gradient", "-scale[0], key_gradient"),
        ("heads", "qk_norm_rope_backward", "simd_sum(along) / float(K)", "simd_sum(along)"),
        ("muon", "symmetric_product", "factors[0] * tiles", "1.001f * factors[0] * tiles"),
        ("muon", "muon_pack", "squares += ratio * ratio", "squares += ratio"),
    ],
)
def test_a_wrong_kernel_fails(
    operation: str, kernel: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(name: str) -> KernelText:
        text = kernel_text(name)
        if name != kernel:
            return text
        assert right in text.body
        return KernelText(name, text.header, text.body.replace(right, wrong))

    monkeypatch.setattr("mlx_tiny.ops.metal.kernel_text", planted)
    with emulated_metal():
        assert SELF_TESTS[operation](mx.float32) is not None
