"""Which size of model to train with which budget on which machine.

Speeds are measured (`speed.py`), and the law (`law.py`) says what a model of some size reaches with some number of
tokens: the size that reaches the lowest bits per byte is taken. Every choice can be overridden.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from mlx_tiny.config import RunConfig, TrainConfig
from mlx_tiny.config.presets import AUTO, EVENTS, PRESETS, Preset, Settings, ladder, whole_name
from mlx_tiny.data.find import NAMED
from mlx_tiny.errors import TinyError
from mlx_tiny.machine.memory import little_bytes
from mlx_tiny.model.parameters import matrix_parameters, parameter_count, training_flops_per_token
from mlx_tiny.records import Progress, to_plain
from mlx_tiny.study.law import Expectation, Law, known_laws, law_for
from mlx_tiny.study.speed import Speeds, pauses_s
from mlx_tiny.training.budget import Budget
from mlx_tiny.training.counts import account
from mlx_tiny.training.memory import estimate, fitting_micro_batches
from mlx_tiny.training.pauses import SHARE as PAUSES_SHARE
from mlx_tiny.units import format_count

if TYPE_CHECKING:
    from mlx_tiny.data.mixture import Mixture
    from mlx_tiny.data.sources import Source

# The amount of text doubles from the least to the most, so that two runs of one budget prepare the same data even if
# their measurements differ. 4.5 bytes per token is more than any vocabulary up to 8192 gives on TinyStories, with
# 2.2 GB of training text.
_LEAST_TEXT_BYTES, _MOST_TEXT_BYTES, _BYTES_PER_TOKEN = 10_000_000, 2_560_000_000, 4.5
_FIRST_MEASURED = "mini"
# A speed is measured where so many steps, as fast as they are expected to be, take at most a share of the budget, and a
# second more, so that short runs are planned too.
_STEPS, _SHARE, _MORE_S = 4, 0.02, 1.0
_QUICK_S = 4.0
"""A table has the speed of each size measured that takes no longer."""

_OF_TEXT = {"vocabulary_size", "tokenizer", "stories_scale", "stories_dependency"}
_OF_SIZE = {
    *("layers", "width", "heads", "key_value_heads", "head_width", "hidden", "context", "batch_size"),
    "vocabulary_size",
}
_INDIFFERENT = {
    *("budget", "preset", "micro_batches", "backend", "implementation", "compile", "seed"),
    *("evaluations", "evaluation_tokens", "checkpoints", "samples", "counting"),
}
"""Settings of training that hardly decide how strong a model becomes with some number of tokens."""


@dataclass(frozen=True)
class Text:
    """What is known of a text before it is prepared."""

    corpus: str | None = None
    """Its name, where it is one that the package knows."""
    size_bytes: float = math.inf
    """Of the training text, about; infinite where as much is prepared as a run can read."""

    @staticmethod
    def of(source: Source | Mixture, train_bytes: float | None = None) -> Text:
        """What is known of a source, of which the user wants so many bytes, if it has a name."""
        if len(source.names) == 1 and source.names[0] in NAMED:
            return Text(source.names[0], train_bytes or math.inf)
        return Text(size_bytes=getattr(source, "size_bytes", 0) or math.inf)

    @property
    def unique_tokens(self) -> float:
        """Tokens until the text is read again, about."""
        return self.size_bytes / _BYTES_PER_TOKEN


def preset_for(name: str, data: Mapping[str, object]) -> str:
    """The whole name of the preset; instead of the default, that of events where the settings of `data` name a schema.

    Raises:
        TinyError: there is no such preset.
    """
    return EVENTS if name == TrainConfig.preset and "schema" in data else whole_name(name)


def summary(preset: Preset) -> str:
    """The shape and size of its model in a line."""
    c = preset.config().model
    return (
        f"{c.layers} layers, width {c.width}, {c.heads} heads, vocabulary {c.vocabulary_size}, "
        f"context {c.context}, {format_count(parameter_count(c))} parameters"
    )


class Sized(NamedTuple):
    """A size of the ladder, as the user would have it."""

    preset: Preset
    config: RunConfig
    fits: bool
    """Whether it takes little of the memory."""
    in_parts: bool
    """Whether a batch is computed in parts for that, unasked."""


@dataclass(frozen=True)
class Candidate:
    """What a budget buys of a size."""

    size: Sized
    tokens: float
    expectation: Expectation
    """Of the law that is gone by, even if that is the law of another text."""


@dataclass(frozen=True)
class Choice:
    """A preset, its configuration, and the reason why it was chosen."""

    preset: Preset
    config: RunConfig
    reason: str
    tokens: float | None = None
    """Tokens that the budget is expected to be enough for; None where the user named the preset."""


class Plan:
    """What a budget buys of each size on this machine.

    Args:
        recipe: of all sizes.
        asked: the user's settings by section.
        text: what the models are to be trained on.
        speeds: of this machine.
    """

    def __init__(self, recipe: str, budget: Budget, asked: Settings, text: Text, speeds: Speeds) -> None:
        self.recipe, self.budget, self.text, self.speeds = recipe, budget, text, speeds
        self.law = law_for(text.corpus, recipe)
        self.sizes = [_sized(preset, asked) for preset in ladder(recipe)]

    @staticmethod
    def of(name: str, budget: Budget, asked: Settings, text: Text, speeds: Speeds) -> Plan:
        """The plan for the recipe of a preset's whole name.

        Raises:
            TinyError: it has only one size, or one is to be chosen for a budget in steps.
        """
        recipe, _, size = name.rpartition("-")
        if not recipe:
            raise TinyError(f"The preset {size} has only one size, so that there is nothing to plan")
        if size == AUTO and budget.quantity == "steps":
            raise TinyError(
                "A budget in steps does not decide the size of the model", remedy="Name it, as --preset mini"
            )
        return Plan(recipe, budget, asked, text, speeds)

    def candidate(self, size: Sized) -> Candidate:
        """What the budget buys of a size; one in seconds needs a speed that was measured."""
        tokens = expected_tokens(self.budget, size.config, self.speeds.tokens_per_s)
        return Candidate(size, tokens, self._expected(size, tokens))

    def _expected(self, size: Sized, tokens: float) -> Expectation:
        return self.law.expected(matrix_parameters(size.config.model), tokens, self.text.unique_tokens)

    def best(self, sizes: Sequence[Sized]) -> Candidate:
        """The one that reaches the lowest bits per byte.

        With the same tokens that would always be the largest, however long it takes: for a budget of tokens it is the
        largest for which no other makes more of the FLOPs that it takes.
        """
        candidates = [self.candidate(size) for size in sizes]
        if self.budget.quantity == "tokens":
            return next(each for each in reversed(candidates) if self._is_worth_its_flops(each, sizes))
        return min(candidates, key=lambda candidate: candidate.expectation.bits_per_byte)

    def _is_worth_its_flops(self, candidate: Candidate, sizes: Sequence[Sized]) -> bool:
        flops = candidate.tokens * training_flops_per_token(candidate.size.config.model)
        smaller = sizes[: sizes.index(candidate.size)]
        reached = [self._expected(each, flops / training_flops_per_token(each.config.model)) for each in smaller]
        return all(candidate.expectation.bits_per_byte <= other.bits_per_byte for other in reached)

    def choose(self) -> Candidate:
        """The best of the sizes that fit; for a budget in seconds, some speeds are measured."""
        fitting = [size for size in self.sizes if size.fits] or self.sizes[:1]
        if self.budget.quantity != "seconds":
            return self.best(fitting)
        self._measure_first()
        most_s = _SHARE * self.budget.amount + _MORE_S
        while True:
            best = self.best(fitting)
            place = fitting.index(best.size)
            # A larger model makes more of a machine, so that it can be faster than it is estimated to be.
            near = [size for size in fitting[place : place + 2] if not self.speeds.is_measured(size.config)]
            affordable = [size for size in near if self._steps_s(size) < most_s]
            if not affordable:
                return best
            self.speeds.measure(affordable[0].config)

    def measure(self) -> None:
        """Measure every size that fits and is quick enough, for a table of all."""
        self._measure_first()
        for size in self.sizes:
            if size.fits and self._steps_s(size) < _QUICK_S:
                self.speeds.measure(size.config)

    def _measure_first(self) -> None:
        """Measure one of the sizes, which tells which others are worth it."""
        fitting = [size for size in self.sizes if size.fits] or self.sizes[:1]
        first = next((size for size in fitting if size.preset.size.name == _FIRST_MEASURED), fitting[0])
        self.speeds.measure(first.config)

    def _steps_s(self, size: Sized) -> float:
        """The seconds that a measurement of a size is expected to take."""
        return _STEPS * size.config.train.batch_size * size.config.model.context / self.speeds.tokens_per_s(size.config)

    def seconds(self, candidate: Candidate) -> float:
        """The seconds that the run of a candidate is expected to take, without its final evaluation."""
        if self.budget.quantity == "seconds":
            return self.budget.amount
        speed = self.speeds.tokens_per_s(candidate.size.config)
        return candidate.tokens / speed + pauses_s(candidate.size.config, speed)

    def reason(self, best: Candidate) -> str:
        """Why a size is chosen, in words."""
        speed = ""
        if self.budget.quantity == "seconds":
            measured = "a measured" if self.speeds.is_measured(best.size.config) else "about"
            speed = f" at {measured} {self.speeds.tokens_per_s(best.size.config):,.0f} tokens/s"
        parts = [f"about {format_count(best.tokens)} tokens{speed}", self.strength(best)]
        at_all = self.best(self.sizes)
        if at_all.size is not best.size:
            parts.append(f"{at_all.size.preset.name} would take too much of the memory")
        if best.size.in_parts:
            count = best.size.config.train.micro_batches
            parts.append(f"to take less memory, a batch is computed in parts: --micro-batches {count}")
        return "; ".join(parts)

    def strength(self, candidate: Candidate) -> str:
        """What is expected of a candidate, in words."""
        if self.is_known(candidate):
            return f"expected: {candidate.expectation.describe()} bits per byte"
        return (
            f"how strong it will be is not known for this text and these settings; chosen by the law of {self.law.text}"
        )

    def is_known(self, candidate: Candidate) -> bool:
        """Whether the law is that of the candidate's text and settings."""
        return self.law.text == self.text.corpus and is_of_the_law(self.law, candidate.size.config)


def _sized(preset: Preset, asked: Settings) -> Sized:
    config = preset.config(asked)
    less = sparing(config, in_parts="micro_batches" not in asked.get("train", {}))
    return Sized(preset, less or config, less is not None, less not in (None, config))


def is_of_the_law(law: Law, config: RunConfig) -> bool:
    """Whether a configuration is, in what decides its strength, a preset of the recipe that the law was fitted to."""
    preset = PRESETS.get(config.train.preset)
    if preset is None or preset.recipe.name != law.recipe or decisive(config) != decisive(preset.config()):
        return False
    # Settings that are newer than the law had their defaults.
    usual = of_recipe(RunConfig())
    return of_recipe(config) == {name: {**values, **law.settings.get(name, {})} for name, values in usual.items()}


def of_recipe(config: RunConfig) -> dict[str, dict[str, object]]:
    """Of the settings that decide the strength, those that are the same for all sizes of a recipe."""
    values = {
        section: {name: value for name, value in settings.items() if name not in _OF_SIZE}
        for section, settings in decisive(config).items()
    }
    options = config.model.chosen_options()
    values["model"]["options"] = {
        name: "layers" if value == config.model.layers else value for name, value in sorted(options.items())
    }
    return values


def decisive(config: RunConfig) -> dict[str, dict[str, object]]:
    """The settings, by section, that decide how strong a model becomes with some number of tokens."""
    values: dict[str, dict[str, object]] = to_plain(config)
    values["data"] = {name: value for name, value in values["data"].items() if name in _OF_TEXT}
    values["train"] = {name: value for name, value in values["train"].items() if name not in _INDIFFERENT}
    return values


def expectation_of(config: RunConfig, tokens: int, unique_tokens: float) -> Expectation | None:
    """What a run that was trained on so many tokens was to reach by the law; None where none is about such runs."""
    names = config.data.sources
    law = known_laws().get((names[0] if len(names) == 1 else None, config.train.preset.rpartition("-")[0]))
    if law is None or not is_of_the_law(law, config):
        return None
    return law.expected(matrix_parameters(config.model), tokens, unique_tokens)


def choose(
    name: str, budget: Budget, asked: Settings | None = None, text: Text | None = None, speeds: Speeds | None = None
) -> Choice:
    """The preset called `name`, or for `auto` the one that is the strongest within the budget and fits in memory.

    Args:
        name: as `--preset` takes it.
        asked: the user's settings by section.
        text: what the model is to be trained on; by default one of which nothing is known.
        speeds: asked only for `auto` and a budget in seconds.

    Raises:
        TinyError: no such preset, or a budget in steps for `auto`.
    """
    name, asked = whole_name(name), asked or {}
    if name in PRESETS:
        preset = PRESETS[name]
        return Choice(preset, preset.config(asked), "for histories of events" if name == EVENTS else "as asked")
    plan = Plan.of(name, budget, asked, text or Text(), speeds or Speeds())
    if not any(size.fits for size in plan.sizes):  # not even a measurement would fit
        smallest = plan.sizes[0]
        return Choice(smallest.preset, smallest.config, "the smallest, because little memory is free")
    best = plan.choose()
    return Choice(best.size.preset, best.size.config, plan.reason(best), best.tokens)


def expected_tokens(budget: Budget, config: RunConfig, tokens_per_s: Callable[[RunConfig], float]) -> float:
    """Tokens that the budget is expected to be enough for.

    Args:
        tokens_per_s: the speed of training; called only for a budget in seconds.
    """
    if budget.quantity == "tokens":
        return budget.amount
    if budget.quantity == "steps":
        return budget.amount * config.train.batch_size * config.model.context
    if budget.quantity == "flops":
        return budget.amount / training_flops_per_token(config.model)
    speed = tokens_per_s(config)
    for_counting_s = account(replace(config.train, budget=budget.text), Progress()).aside_s
    return speed * (budget.amount - for_counting_s - min(PAUSES_SHARE * budget.amount, pauses_s(config, speed)))


def sparing(config: RunConfig, *, in_parts: bool = True) -> RunConfig | None:
    """The configuration with a batch in the fewest parts with which it takes little of the memory; None if none does.

    Args:
        in_parts: whether the number of parts may be changed, which changes the rounding of sums.
    """
    most = little_bytes()
    if estimate(config).bytes <= most:
        return config
    count = fitting_micro_batches(config, most) if in_parts else None
    return None if count is None else replace(config, train=replace(config.train, micro_batches=count))


def text_bytes(tokens: float) -> int:
    """Bytes of `stories` or `tinystories` to prepare so that training on so many tokens sees no text twice."""
    amount = _LEAST_TEXT_BYTES
    while amount < min(_BYTES_PER_TOKEN * tokens, _MOST_TEXT_BYTES):
        amount *= 2
    return amount
