"""PyTorch's side of `bench kernels`: right by the same references."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from mlx_tiny.bench.kernels import judge, measure
from mlx_tiny.bench.operation import TORCH
from mlx_tiny.bench.operations import of_preset
from mlx_tiny.bench.torch_operations import TorchRunner, why_no_torch

from .micro import MICRO, PEAKS


def test_a_missing_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert why_no_torch() == "PyTorch is not installed"


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_operation_is_right(dtype: str) -> None:
    for preset in (MICRO, replace(MICRO, model={**MICRO.model, "activation": "relu2", "key_value_heads": 4})):
        for operation in of_preset(preset, dtype):
            runner = TorchRunner(operation, preset)
            verdict = judge(operation, TORCH, runner.results(), operation.expected(), "float32")
            assert verdict.fault is None, (operation.name, operation.direction)
            runner()


@pytest.mark.torch
def test_torch_is_a_row_like_all_others() -> None:
    (operation,) = of_preset(MICRO, "float32", ["adamw"])
    *_, record = measure(operation, PEAKS, seconds=0, compiled=False)
    assert record["implementation"] == "torch eager" and record["median_s"] > 0
    assert set(record["speed_up"]) == {"plain", "mlx"}
