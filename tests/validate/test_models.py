"""Layer 2: whole models, and which stage of a wrong model fails."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.config import ModelConfig
from mlx_tiny.model import forward as model
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.attention.plain import attend_plainly
from mlx_tiny.ops.operation import Implementation
from mlx_tiny.validate import models
from mlx_tiny.validate.lockstep import in_lockstep, run_reference

from .small import CONFIG, small_case

pytestmark = pytest.mark.torch
STAGES = (
    "attention.query attention.key attention.value attention.mixed attention.output after_attention mlp.hidden "
    "mlp.output after_mlp"
).split()
BANKS = "query_key_value attention_output mlp_input mlp_output query_norm_weight key_norm_weight residual_scale".split()


def lockstep(dtype: str = "float32") -> list:
    subject = small_case()
    return in_lockstep(subject.weights, CONFIG.model, subject.batch, subject.expected_run, dtype=dtype)


def failing(results: list) -> list[str]:
    return [result.name for result in results if not result.passed]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_stages_in_lockstep_come_in_the_order_of_computation(dtype: str) -> None:
    results = lockstep(dtype)
    stages = ["embedded", *(f"layer.{index}.{name}" for index in range(2) for name in STAGES), "normalized"]
    parameters = [f"gradient of layer.{index}.{bank}" for bank in BANKS for index in (1, 0)]
    assert [result.name for result in results] == [
        *stages,
        "loss",
        *(f"gradient at {name}" for name in reversed(stages)),
        "gradient of embedding",
        *parameters,
        "gradient of head",
    ]
    assert failing(results) == []
    assert all(np.abs(result.expected).max() > 0 for result in results)


def test_each_stage_is_blamed_for_its_own_fault_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in one layer changes no number of the other layers."""
    genuine = model.layers_of

    def wrong(*arguments) -> list:
        first, second = genuine(*arguments)
        return [first, {**second, "mlp_output": -second["mlp_output"]}]

    monkeypatch.setattr(model, "layers_of", wrong)
    found = failing(lockstep())
    assert found == ["layer.1.mlp.output", "gradient at layer.1.mlp.hidden", "gradient of layer.1.mlp_output"]


def test_a_wrong_gradient_is_blamed_on_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(*arrays: mx.array) -> mx.array:
        return attend_plainly(*arrays, scale=CONFIG.model.head_width**-0.5)

    def backward(primals, cotangent, output) -> list:
        gradients = mx.vjp(lambda *arrays: [plain(*arrays)], list(primals), [cotangent])[1]
        return [gradients[0], 2 * gradients[1], gradients[2]]

    attend = mx.custom_function(plain)
    attend.vjp(backward)
    wrong = Implementation(lambda *arrays, **_: attend(*arrays))
    for name in ATTENTION.implementations:
        monkeypatch.setitem(ATTENTION.implementations, name, wrong)
    assert failing(lockstep()) == [f"gradient at layer.{index}.attention.key" for index in (1, 0)]


def test_the_rows_of_a_sound_model_pass() -> None:
    subject = small_case()
    train = replace(CONFIG.train, dtype="bfloat16")
    rows = [
        q.row()
        for q in models.comparisons(replace(subject, config=replace(CONFIG, train=train)), presets=models.PRESETS[:1])
    ]
    assert [row.lines() for row in rows if not row.passed] == []
    whole, rough = ["layers in lockstep", "logits", "training step"], ["layers in lockstep", "training step"]
    assert [row.operation for row in rows] == 3 * [*whole, *rough]
    assert [row.case for row in rows] == ["tied, B2 T64"] * 5 + ["strongest-tiny, B2 T128"] * 5 + ["small, B2 T19"] * 5
    assert [row.dtype for row in rows[:5]] == ["float32"] * 3 + ["bfloat16"] * 2


def test_comparisons_include_every_preset_and_a_tied_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "fresh_weights", lambda *_: {})
    cases = {question.case.split(",")[0] for question in models.comparisons(None)}
    assert cases == {"tied", *models.PRESETS}
    tied, default = models.tied_case().config.model, ModelConfig()
    assert tied.tied and tied.activation == "swiglu" and tied.key_value_heads < tied.heads
    for name in ("rope_base", "norm_epsilon"):
        assert getattr(tied, name) != getattr(default, name) != getattr(CONFIG.model, name), name


def test_a_fresh_model_proves_something() -> None:
    """At the start of training, output projections and head are zero, so that most gradients would be zero."""
    weights = small_case().weights
    assert {name: array.shape for name, array in weights.items()} == {
        name: spec.shape for name, spec in parameter_specs(CONFIG.model).items()
    }
    assert all(mx.abs(array).min() > 0 for array in weights.values())


def test_the_reference_passes_once() -> None:
    subject = small_case()
    assert subject.expected_run is subject.expected_run
    passage = run_reference(subject.weights, CONFIG.model, subject.batch)
    np.testing.assert_array_equal(passage.losses, subject.expected_run.losses)
    assert passage.loss == pytest.approx(passage.losses.mean()) and passage.losses.shape == (2, 19)


@pytest.mark.parametrize("off", [0.0, 1e-2])
def test_the_gradient_of_a_gain_is_a_sum_of_terms_that_cancel(off: float) -> None:
    """Its error is measured by the terms: they are 1,900 times their sum in a layer of `base`."""
    config = replace(CONFIG, model=replace(CONFIG.model, options="value_embeddings=1"))
    subject = models.fresh_case("gains", config)
    expected = run_reference(subject.weights, config.model, subject.batch)
    gradient = expected.gradients["value_embedding_gain"]
    gradient *= 1 + off
    found = in_lockstep(subject.weights, config.model, subject.batch, expected, dtype="float32")
    assert failing(found) == ["gradient of layer.1.value_embedding_gain"] * bool(off)
    terms = expected.rows[1] * expected.slopes["layer.1.attention.value"].reshape(expected.rows[1].shape)
    assert terms.sum() * (1 + off) == pytest.approx(gradient[0, 0])
