"""Layer 3: the optimizers against the reference and against other libraries."""

from __future__ import annotations

import mlx.core as mx
import pytest
import torch
from emulator import emulated_metal

from mlx_tiny.config import OptimizerConfig
from mlx_tiny.optim.optimizer import Optimizer, global_norm
from mlx_tiny.validate import optimizers, wrong
from mlx_tiny.validate.table import FAILED, LEFT_OUT, OK

pytestmark = pytest.mark.torch


def rows(*operations: str) -> list:
    return [q.row() for q in optimizers.comparisons() if not operations or q.operation in operations]


def test_every_optimizer_takes_the_same_steps() -> None:
    found = rows()
    assert [row.lines() for row in found if not row.passed] == []
    assert {row.operation for row in found} >= {
        "learning rate and momentum",
        "clipping",
        "Muon, plain",
        "AdamW",
        "torch.optim.AdamW",
        "mlx.optimizers.AdamW",
        "torch.optim.Muon",
        "mlx.optimizers.Muon",
    }
    assert all(row.note for row in found if row.operation.startswith(("torch.", "mlx.")))


def test_a_torch_without_muon_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    (row,) = rows("torch.optim.Muon")
    assert (row.verdict, row.passed) == (LEFT_OUT, True) and torch.__version__ in row.note


def test_where_metal_runs_its_muon_is_asked_too() -> None:
    with emulated_metal():
        found = [q for q in optimizers.comparisons() if q.operation.endswith("metal")]
        assert [q.operation for q in found] == ["Muon, metal"] * 2
        assert found[0].row().verdict == OK


def test_the_gradients_meet_zero_and_epsilon() -> None:
    way = optimizers.optimizer_run(OptimizerConfig())
    assert len(way.gradients) == len(way.multipliers) == len(way.momenta) == optimizers.STEPS == 20
    embedding = mx.stack([gradient["embedding"] for gradient in way.gradients])
    sizes = mx.abs(embedding).max(axis=(0, 2))
    assert sizes[:8].max() == 0 and 0 < sizes[8:16].max() < 1e-8 and sizes[16:].min() > 1e-3


def epsilon_inside_the_root(self, name, weight, gradient, state, new_state, rate):
    """Another variant of Adam: sqrt(v + epsilon^2) has the same magnitude as sqrt(v) + epsilon, but is not equal."""
    c, step = self.config, new_state["step"].astype(mx.float32)
    first = c.adam_beta1 * state[f"first.{name}"] + (1 - c.adam_beta1) * gradient
    second = c.adam_beta2 * state[f"second.{name}"] + (1 - c.adam_beta2) * gradient**2
    new_state[f"first.{name}"], new_state[f"second.{name}"] = first, second
    root = mx.sqrt(second / (1 - c.adam_beta2**step) + c.adam_epsilon**2)
    decay = c.adamw_decay if self.specs[name].decays else 0.0
    return weight * (1 - rate * decay) - rate * first / (1 - c.adam_beta1**step) / root


def a_longer_step(self, name, weight, *others):
    return weight + (ADAMW_STEP(self, name, weight, *others) - weight) * 1.001


ADAMW_STEP, MUON_STEP = Optimizer._adamw_step, Optimizer._muon_step


@pytest.mark.parametrize("wrong", [epsilon_inside_the_root, a_longer_step])
@pytest.mark.parametrize("name", ["AdamW", "torch.optim.AdamW", "mlx.optimizers.AdamW"])
def test_another_adamw_is_found(name: str, wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Optimizer, "_adamw_step", wrong)
    assert [row.verdict for row in rows(name)] == [FAILED]


@pytest.mark.parametrize("name", ["torch.optim.AdamW", "mlx.optimizers.AdamW"])
def test_where_gradients_are_large_an_epsilon_inside_the_root_is_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test above finds the epsilon, and not another mistake of the wrong version."""
    monkeypatch.setattr(optimizers, "_SMALL", optimizers._SCALE)
    monkeypatch.setattr(Optimizer, "_adamw_step", epsilon_inside_the_root)
    assert [row.verdict for row in rows(name)] == [OK]


@pytest.mark.parametrize("wrong", [wrong.half_the_momentum, wrong.without_look_ahead])
@pytest.mark.parametrize("name", ["torch.optim.Muon", "mlx.optimizers.Muon"])
def test_another_muon_is_found(name: str, wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Optimizer, "_muon_step", wrong(MUON_STEP))
    assert [row.verdict for row in rows(name)] == [FAILED]


def test_no_constant_is_the_default() -> None:
    default = OptimizerConfig()
    for name in ("matrix_decay", "adamw_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "newton_schulz_steps"):
        assert getattr(optimizers._CONFIG, name) != getattr(default, name), name
    gradients = optimizers.optimizer_run(default).gradients
    assert all(global_norm(gradient) > 2 * optimizers._CLIP > 0 for gradient in gradients)
