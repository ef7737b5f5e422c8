"""The parts of a step that have no choice of implementations: formulas and costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mlx_tiny.bench.parts import ADAMW, MLP
from mlx_tiny.model import forward
from mlx_tiny.ops.conformance import GRADIENT, check, numbers, to_float64
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.operation import Case, least_bytes
from mlx_tiny.optim.optimizer import Optimizer

MODEL = model_of(context=3, width=4, hidden=6)


@pytest.mark.parametrize(("activation", "matrices"), [("relu2", 1), ("swiglu", 2)])
def test_formula_of_the_mlp_has_right_gradients(activation: str, matrices: int) -> None:
    case, generator = Case(replace(MODEL, activation=activation)), np.random.default_rng(0)
    inputs, cotangents = ({n: to_float64(a) for n, a in arrays.items()} for arrays in numbers(MLP, case))
    settings = MLP.proof.settings(case)
    found = MLP.proof.formula(inputs, cotangents, settings)
    for name, array in inputs.items():
        direction = generator.standard_normal(array.shape)
        values = [
            (MLP.proof.formula({**inputs, name: array + step * direction}, cotangents, settings)["output"], step)
            for step in (1e-6, -1e-6)
        ]
        slope = sum(np.sign(step) * (output * cotangents["output"]).sum() for output, step in values) / 2e-6
        assert (found[GRADIENT + name] * direction).sum() == pytest.approx(slope, rel=1e-6)
    weights = matrices * 6 * 4 + 4 * 6
    assert [MLP.proof.flops(case, both) for both in (False, True)] == [2 * 6 * weights, 6 * 6 * weights]
    assert least_bytes(MLP, case, True) == 4 * 2 * (6 * 4 + weights + 6 * 4)


def test_the_functions_of_a_step_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(MODEL)
    assert all(result.passed for part in (MLP, ADAMW) for result in check(part, "plain", case))
    mlp, update = forward.mlp, Optimizer.update

    def changed(self: Optimizer, *arrays: Any) -> Any:
        weights, state = update(self, *arrays)
        return {name: 1.01 * array for name, array in weights.items()}, state

    monkeypatch.setattr(forward, "mlp", lambda *arrays: 1.01 * mlp(*arrays))
    monkeypatch.setattr(Optimizer, "update", changed)
    for part in (MLP, ADAMW):
        assert not all(result.passed for result in check(part, "plain", case))
