"""What `auto` stands for: the table, the self-test that comes before a kernel, and what is said."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import mlx.core as mx
import pytest
from mlx_tiny.ops.dispatch import ATTENTION_WIDTHS, Situation, choose

from mlx_tiny.errors import TinyError
from mlx_tiny.ops import activation, dispatch, metal, norm
from mlx_tiny.ops import qk_norm_rope as heads

MAC = Situation("attention", mx.float32, "metal", generation=3, width=64, queries=256, keys=256)
CPU = replace(MAC, device="cpu", generation=None)


@pytest.fixture(autouse=True)
def no_verdicts() -> Iterator[None]:
    with mock.patch.dict(dispatch._verdicts, clear=True):
        yield


def passes() -> None:
    return None


def never() -> None:
    raise AssertionError("no kernel was chosen, and yet its self-test was run")


@pytest.mark.parametrize(
    ("situation", "implementation", "reason"),
    [
        (CPU, "cpu", "causal half"),
        (replace(CPU, dtype=mx.bfloat16), "plain", "float32"),
        (replace(CPU, queries=1), "plain", "whole windows"),
        (replace(CPU, queries=1, keys=1), "plain", "whole windows"),
        (replace(CPU, device="cuda"), "mlx", "Metal's"),
        (replace(MAC, queries=1), "mlx", "cache"),
        (replace(MAC, queries=31, keys=31), "mlx", "shorter than one block"),
        (replace(MAC, width=72), "mlx", "32, 48, 64, 80, 96, 128"),
        (replace(MAC, width=128), "mlx", "expected to be faster"),
        (replace(MAC, generation=5), "mlx", "matrix units"),
        (replace(MAC, generation=6), "mlx", "matrix units"),
        (replace(CPU, operation="heads", rows=512), "cpu", "head by head"),
        (replace(CPU, operation="heads", rows=1), "plain", "Metal's"),
        (replace(CPU, operation="heads", rows=512, dtype=mx.bfloat16), "plain", "Metal's"),
        (replace(CPU, operation="norm", rows=512), "cpu", "once a row"),
        (replace(CPU, operation="norm", rows=1), "mlx", "one kernel"),
        (replace(MAC, operation="norm", rows=512), "mlx", "one kernel"),
        (replace(CPU, operation="activation", rows=512), "cpu", "slow"),
        (replace(MAC, operation="activation", rows=512), "plain", "one kernel"),
        (replace(CPU, operation="cross-entropy", rows=512), "cpu", "both ways"),
        (replace(CPU, operation="cross-entropy", dtype=mx.bfloat16), "plain", "one kernel"),
        (replace(MAC, operation="cross-entropy"), "plain", "one kernel"),
        (replace(MAC, operation="heads", width=258), "plain", "up to 256"),
        (replace(CPU, operation="muon"), "plain", "Metal's"),
        (replace(MAC, operation="muon", generation=5), "plain", "matrix units"),
    ],
)
def test_where_no_kernel_serves(situation: Situation, implementation: str, reason: str) -> None:
    choice = choose(situation, never)
    assert choice.implementation == implementation
    assert reason in choice.reason


@pytest.mark.parametrize(
    "situation",
    [
        *(replace(MAC, width=width) for width in ATTENTION_WIDTHS if width < 128),
        *(replace(MAC, generation=generation) for generation in (1, 2, 4, None)),
        replace(MAC, dtype=mx.bfloat16),
        replace(MAC, queries=32, keys=32),
        replace(MAC, operation="heads", width=256),
        replace(MAC, operation="heads", generation=5),
        replace(MAC, operation="muon", width=0, queries=0, keys=0),
    ],
)
def test_where_a_kernel_serves_after_its_self_test(situation: Situation) -> None:
    choice = choose(situation, passes)
    assert choice.implementation == "metal"
    assert "not yet measured" in choice.reason


@pytest.mark.parametrize(("operation", "fallback"), [("attention", "mlx"), ("heads", "plain"), ("muon", "plain")])
def test_kernels_that_fail_their_self_test_do_not_serve(operation: str, fallback: str) -> None:
    with pytest.warns(UserWarning, match=r"not used: output 0 is off.*mlx-tiny validate --kernels"):
        choice = choose(replace(MAC, operation=operation), lambda: "output 0 is off")
    assert choice.implementation == fallback
    assert "output 0 is off" in choice.reason


def test_a_text_that_metal_does_not_compile_fails_the_self_test() -> None:
    def self_test() -> None:
        raise RuntimeError("[metal::Device] Unable to build metal library\nprogram_source:1: error: no")

    with pytest.warns(UserWarning, match="Unable to build metal library.*error: no"):
        assert choose(MAC, self_test).implementation == "mlx"


def test_a_self_test_is_run_once_and_spoken_of_once() -> None:
    self_test = mock.Mock(return_value="wrong")
    with pytest.warns(UserWarning, match="wrong"):
        choose(MAC, self_test)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose(replace(MAC, queries=512, keys=512), self_test).implementation == "mlx"
    assert self_test.call_count == 1


@pytest.mark.parametrize("other", [{"dtype": mx.bfloat16}, {"width": 32}, {"operation": "heads"}, {"pipeline": (4, 1)}])
def test_a_verdict_holds_for_one_operation_type_width_and_pipeline(other: dict) -> None:
    self_test = mock.Mock(return_value=None)
    choose(MAC, self_test)
    choose(replace(MAC, **other), self_test)
    assert self_test.call_count == 2


@pytest.mark.parametrize(
    ("chip", "generation"),
    [("Apple M1", 1), ("Apple M3 Max", 3), ("Apple M12 Ultra", 12), ("AMD EPYC 9354", None), ("", None)],
)
def test_the_generation_is_read_from_the_chip_s_name(chip: str, generation: int | None) -> None:
    with mock.patch.object(dispatch, "chip", return_value=chip):
        assert dispatch.generation_here.__wrapped__() == generation


def test_metal_where_there_is_none_names_the_reason_and_the_remedy() -> None:
    with (
        mock.patch.object(metal, "why_not_metal", return_value="this machine has no Metal GPU"),
        pytest.raises(TinyError, match=r"of Muon cannot run here.*got this machine has no Metal GPU.*Take `auto`"),
    ):
        dispatch.require_metal("Muon")


def test_the_device_is_named() -> None:
    with mock.patch.object(metal, "why_not_metal", return_value=None):
        assert dispatch.device_here() == "metal"
    with mock.patch.object(metal, "why_not_metal", return_value="no"):
        assert dispatch.device_here() == "cpu" if mx.default_device() == mx.cpu else "cuda"


@pytest.mark.skipif(dispatch.device_here() != "cpu", reason="MLX computes on a GPU here")
def test_on_a_cpu_a_training_step_meets_the_cpu_s_implementations() -> None:
    """The table's rows are of use only where the operations ask with what the rows look at."""
    hidden_BTF = mx.zeros((2, 8, 16))
    assert norm.choose(hidden_BTF).implementation == "cpu"
    assert activation.choose(hidden_BTF).implementation == "cpu"
    assert heads.choose(mx.float32, 32, (4, 2), 16).implementation == "cpu"
    assert norm.choose(hidden_BTF[:1, :1]).implementation == "mlx"
    assert activation.choose(hidden_BTF[:1, :1]).implementation == "plain"
    assert heads.choose(mx.float32, 32, (4, 2), 1).implementation == "plain"
