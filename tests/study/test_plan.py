"""Presets are valid and cost more in their order; a larger budget never gives a smaller model."""

from __future__ import annotations

import itertools

import pytest

from mlx_tiny.config.presets import PRESETS, RECIPES, STRONGEST, preset_called, presets_of
from mlx_tiny.errors import TinyError
from mlx_tiny.machine.load import OtherPrograms
from mlx_tiny.model.parameters import parameter_count, parameter_specs, training_flops_per_token
from mlx_tiny.study import plan
from mlx_tiny.study.plan import (
    TOKENS_PER_PARAMETER,
    Choice,
    choose,
    expected_tokens,
    matrix_parameters,
    measured_flops_per_s,
    text_bytes,
)
from mlx_tiny.training.budget import Budget

MEASURED_FLOPS_PER_S = 50e9
NAMES = [preset.name for preset in presets_of(STRONGEST)]
LADDERS = {
    "seconds": [f"{2**k}s" for k in range(24)],
    "tokens": [f"{100 * 2**k}ktok" for k in range(14)],
    "flops": [f"{10 * 2**k}Gflop" for k in range(26)],
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measured_flops_per_s", lambda: MEASURED_FLOPS_PER_S)
    monkeypatch.setattr(plan, "little_bytes", lambda: 1 << 40)


def tokens_within(budget: Budget, name: str) -> float:
    """Tokens that a preset is trained on within a budget, on the machine of the tests."""
    if budget.quantity == "tokens":
        return budget.amount
    flops = budget.amount * (MEASURED_FLOPS_PER_S if budget.quantity == "seconds" else 1.0)
    return flops / training_flops_per_token(PRESETS[name].config().model)


def test_presets_stand_in_the_order_of_their_cost() -> None:
    models = [PRESETS[name].config().model for name in NAMES]
    for measure in (training_flops_per_token, parameter_count, matrix_parameters):
        sizes = [measure(model) for model in models]
        assert all(small < large for small, large in itertools.pairwise(sizes)), measure


@pytest.mark.parametrize("name", NAMES)
def test_matrix_parameters_are_all_but_tables_and_norm_weights(name: str) -> None:
    model = PRESETS[name].config().model
    specs = parameter_specs(model)
    lookups = {"embedding", "query_norm_weight", "key_norm_weight", "residual_scale"}
    assert matrix_parameters(model) == sum(spec.size for name, spec in specs.items() if name not in lookups)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("unit", LADDERS)
def test_a_larger_budget_buys_a_larger_model(unit: str, recipe: str) -> None:
    ladder = presets_of(recipe)
    chosen = [ladder.index(choose(recipe, Budget(text)).preset) for text in LADDERS[unit]]
    assert chosen == sorted(chosen) and set(chosen) == set(range(len(NAMES)))


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("unit", LADDERS)
@pytest.mark.parametrize(("smaller", "name"), list(itertools.pairwise(NAMES)))
def test_a_preset_needs_enough_tokens_per_parameter(unit: str, smaller: str, name: str) -> None:
    model = PRESETS[name].config().model
    tokens = TOKENS_PER_PARAMETER * matrix_parameters(model)
    flops = tokens * training_flops_per_token(model)
    amount = {"tokens": tokens, "flops": flops, "seconds": flops / MEASURED_FLOPS_PER_S}[unit]
    suffix = {"tokens": "tok", "flops": "flop", "seconds": "s"}[unit]
    assert choose("auto", Budget(f"{amount * 1.0001:.12g}{suffix}")).preset.name == name
    assert choose("auto", Budget(f"{amount * 0.9999:.12g}{suffix}")).preset.name == smaller


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("text", "words"), [("5m", "5m00s of wall-clock time at a measured 50 GFLOP/s"), ("20Mtok", "")]
)
def test_the_reason_has_the_numbers(text: str, words: str) -> None:
    choice = choose("auto", Budget(text))
    tokens = tokens_within(Budget(text), choice.preset.name)
    ratio = tokens / matrix_parameters(choice.preset.config().model)
    assert words in choice.reason
    assert choice.reason.endswith(f"about {tokens / 1e6:.2g}M tokens, {ratio:.2g} per parameter without the embedding")
    assert choice.tokens == tokens


def test_text_is_asked_for_in_steps_that_hold_the_tokens_once() -> None:
    steps = [text_bytes(tokens) for tokens in (1, 2e6, 2.3e6, 20e6, 500e6, 1e12)]
    assert steps == [10_000_000, 10_000_000, 20_000_000, 160_000_000, 2_560_000_000, 2_560_000_000]


@pytest.mark.parametrize("name", NAMES)
def test_a_named_preset_is_taken_and_nothing_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measured_flops_per_s", lambda: pytest.fail("measured for nothing"))
    assert choose(name, Budget("1s")) == Choice(PRESETS[name], "as asked")


def test_a_budget_in_steps_needs_a_named_preset() -> None:
    mini = choose("mini", Budget("500steps")).preset
    with pytest.raises(TinyError, match="Name it"):
        choose("auto", Budget("500steps"))
    assert expected_tokens(Budget("500steps"), mini.config(), float) == 500 * 8 * 256


@pytest.mark.parametrize("text", ["20Mtok", "1e15flop"])
def test_only_a_budget_of_time_needs_a_measurement(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measured_flops_per_s", lambda: pytest.fail("measured for nothing"))
    choose("auto", Budget(text))


def test_the_measurement_is_a_rate_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps of half, a quarter and three quarters of a second, by a made-up clock."""
    monkeypatch.setitem(PRESETS, "strongest-mini", preset_called("tiny"))  # which is quicker to run
    monkeypatch.setattr(plan, "_MEASURED_SECONDS", 1.0)
    clock = iter([0.0, 0.0, 0.5, 0.5, 0.75, 0.75, 0.75, 1.5, 1.5])
    monkeypatch.setattr(plan.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(OtherPrograms, "cores", lambda _: 0.0)
    config = preset_called("tiny").config()
    flops = config.train.batch_size * config.model.context * training_flops_per_token(config.model)
    assert measured_flops_per_s() == pytest.approx(flops / 0.25)
