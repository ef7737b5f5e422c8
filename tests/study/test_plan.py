"""Presets cost more in their order; the strongest size within the budget is taken, never a smaller one for more."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from mlx_tiny.config import DataConfig, RunConfig
from mlx_tiny.config.presets import PORTABLE, PRESETS, RECIPES, STRONGEST, Preset, ladder, presets_of
from mlx_tiny.data.mixture import resolve_data
from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import matrix_parameters, parameter_count, parameter_specs, training_flops_per_token
from mlx_tiny.study import plan, speed
from mlx_tiny.study.plan import Choice, Plan, Text, choose, expectation_of, expected_tokens, text_bytes
from mlx_tiny.study.speed import Speeds, pauses_s
from mlx_tiny.training.budget import Budget
from mlx_tiny.units import format_count
from study.planted import LAW, SURFACE

MEASURED_FLOPS_PER_S = 50e9
NAMES = [preset.name for preset in presets_of(STRONGEST)]
LADDERS = {
    "seconds": [f"{2**k}s" for k in range(29)],
    "tokens": [f"{100 * 2**k}ktok" for k in range(16)],
    "flops": [f"{10 * 2**k}Gflop" for k in range(30)],
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sizes that were measured on a machine with a fixed rate and much memory, whose law is planted."""
    measured: list[str] = []

    def measure(config: RunConfig, _: object) -> float:
        measured.append(config.train.preset)
        return MEASURED_FLOPS_PER_S / training_flops_per_token(config.model)

    monkeypatch.setattr(speed, "measured_tokens_per_s", measure)
    monkeypatch.setattr(plan, "little_bytes", lambda: 1 << 40)
    monkeypatch.setattr(plan, "law_for", lambda *_: LAW)
    return measured


def test_presets_stand_in_the_order_of_their_cost() -> None:
    models = [preset.config().model for preset in ladder(STRONGEST)]
    assert set(NAMES) < {preset.name for preset in ladder(STRONGEST)}
    for measure in (training_flops_per_token, parameter_count, matrix_parameters):
        sizes = [measure(model) for model in models]
        assert all(small < large for small, large in itertools.pairwise(sizes)), measure


@pytest.mark.parametrize("preset", presets_of(PORTABLE), ids=lambda preset: preset.name)
def test_matrix_parameters_are_all_but_tables_and_norm_weights(preset: Preset) -> None:
    model = preset.config().model
    specs = parameter_specs(model)
    lookups = {"embedding", "query_norm_weight", "key_norm_weight", "residual_scale"}
    assert matrix_parameters(model) == sum(spec.size for name, spec in specs.items() if name not in lookups)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("unit", LADDERS)
def test_a_larger_budget_buys_a_larger_model(unit: str, recipe: str) -> None:
    sizes = ladder(recipe)
    chosen = [sizes.index(choose(recipe, Budget(text)).preset) for text in LADDERS[unit]]
    assert chosen == sorted(chosen) and set(chosen) == set(range(len(sizes)))


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("text", ["2Tflop", "50s", "99s"])
def test_the_strongest_size_within_the_budget_is_taken(text: str) -> None:
    budget, reached = Budget(text), {}
    for preset in ladder(STRONGEST):
        config = preset.config()
        flops = budget.amount
        if budget.quantity == "seconds":
            tokens_per_s = MEASURED_FLOPS_PER_S / training_flops_per_token(config.model)
            pauses = min(0.04 * budget.amount, pauses_s(config, tokens_per_s))
            flops = MEASURED_FLOPS_PER_S * (0.96 * budget.amount - pauses)
        tokens = flops / training_flops_per_token(config.model)
        reached[preset.name] = SURFACE.bits_per_byte(matrix_parameters(config.model), tokens)
    assert choose("auto", budget).preset.name == min(reached, key=lambda name: reached[name])


@pytest.mark.usefixtures("machine")
def test_tokens_are_spent_on_the_largest_model_that_makes_the_most_of_its_flops() -> None:
    chosen = choose("auto", Budget("20Mtok"))
    flops = 20e6 * training_flops_per_token(chosen.config.model)
    sizes = ladder(STRONGEST)
    place = sizes.index(chosen.preset)
    assert sizes.index(choose("auto", Budget(f"{flops:.6g}flop")).preset) >= place
    more = 20e6 * training_flops_per_token(sizes[place + 1].config().model)
    assert sizes.index(choose("auto", Budget(f"{more:.6g}flop")).preset) <= place


def test_the_size_that_is_taken_and_the_next_are_measured(machine: list[str]) -> None:
    chosen = choose("auto", Budget("60s")).preset
    names = [preset.name for preset in ladder(STRONGEST)]
    assert set(machine) == {"strongest-mini", *names[names.index(chosen.name) :][:2]}
    assert len(machine) == len(set(machine))


def test_a_size_whose_steps_take_long_is_not_measured(machine: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    slow = speed.measured_tokens_per_s
    monkeypatch.setattr(speed, "measured_tokens_per_s", lambda *arguments: slow(*arguments) / 1e4)
    choose("auto", Budget("60s"))
    assert machine == ["strongest-mini"]


@pytest.mark.usefixtures("machine")
def test_text_that_is_read_again_and_again_is_worth_a_smaller_number_of_tokens() -> None:
    def expected(text: Text) -> float:
        made = Plan(STRONGEST, Budget("1000Mtok"), {}, text, Speeds())
        return made.candidate(made.sizes[0]).expectation.bits_per_byte

    assert expected(Text(size_bytes=1e6)) > expected(Text()) + 0.01
    assert Text(size_bytes=math.inf).unique_tokens == math.inf
    stories = resolve_data(DataConfig(sources=("stories",)))
    assert Text.of(stories) == Text("stories") and Text.of(stories, 1_000_000) == Text("stories", 1e6)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5m", "tokens at a measured"),
        ("20Mtok", "about 20M tokens; "),
        ("1tok", "about 1 tokens; "),
    ],
)
def test_the_reason_has_the_numbers(text: str, words: str) -> None:
    choice = choose("auto", Budget(text), text=Text("tinystories"))
    assert words in choice.reason
    assert choice.tokens is not None and f"about {format_count(choice.tokens)} tokens" in choice.reason
    expected = LAW.expected(matrix_parameters(choice.config.model), choice.tokens)
    assert expected.describe() in choice.reason


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("corpus", "asked"),
    [(None, {}), ("tinystories", {"model": {"width": 32}}), ("tinystories", {"train": {"order": "documents"}})],
)
def test_nothing_is_expected_of_other_texts_and_settings(
    corpus: str | None, asked: dict[str, dict[str, object]]
) -> None:
    assert "not known" in choose("auto", Budget("20Mtok"), asked, Text(corpus)).reason


@pytest.mark.usefixtures("machine")
def test_a_finished_run_is_expected_to_be_as_strong_as_the_law_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "known_laws", lambda: {(LAW.text, LAW.recipe): LAW})
    config = PRESETS["strongest-mini"].config({"data": {"sources": ("tinystories",)}, "train": {"seed": 7}})
    expected = LAW.expected(matrix_parameters(config.model), 1_000_000, 500_000)
    assert expectation_of(config, 1_000_000, 500_000) == expected
    for changed in (
        replace(config, data=replace(config.data, sources=("notes.txt",))),
        replace(config, train=replace(config.train, preset="portable-mini")),
        replace(config, schedule=replace(config.schedule, floor=0.1)),
    ):
        assert expectation_of(changed, 1_000_000, 500_000) is None
    older = replace(LAW, settings={"optimizer": {"matrix_rate": 0.5}})
    monkeypatch.setattr(plan, "known_laws", lambda: {(LAW.text, LAW.recipe): older})
    assert expectation_of(config, 1_000_000, 500_000) is None, "the recipe has changed since the law was fitted"


def test_text_is_asked_for_in_steps_that_hold_the_tokens_once() -> None:
    steps = [text_bytes(tokens) for tokens in (1, 2e6, 2.3e6, 20e6, 500e6, 1e12)]
    assert steps == [10_000_000, 10_000_000, 20_000_000, 160_000_000, 2_560_000_000, 2_560_000_000]


@pytest.mark.parametrize("name", NAMES)
def test_a_named_preset_is_taken_and_nothing_measured(name: str, machine: list[str]) -> None:
    assert choose(name, Budget("1s")) == Choice(PRESETS[name], PRESETS[name].config(), "as asked")
    assert not machine


def test_a_budget_in_steps_needs_a_named_preset() -> None:
    mini = choose("mini", Budget("500steps")).preset
    with pytest.raises(TinyError, match="Name it"):
        choose("auto", Budget("500steps"))
    with pytest.raises(TinyError, match="in steps"):  # before the machine is measured
        Plan.of("portable-auto", Budget("500steps"), {}, Text(), Speeds())
    assert expected_tokens(Budget("500steps"), mini.config(), lambda _: 0.0) == 500 * 8 * 256


@pytest.mark.parametrize("text", ["20Mtok", "1e15flop"])
def test_only_a_budget_of_time_needs_a_measurement(text: str, machine: list[str]) -> None:
    choose("auto", Budget(text))
    assert not machine
