"""Stories drawn from a program: reproducible streams, exact probabilities, and separate validation stories."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from math import inf, log2
from random import Random

from mlx_tiny.data.stories import lexicon
from mlx_tiny.data.stories.grammar import Alternative, Choice, Derivation, Program, derive, generate
from mlx_tiny.data.stories.interludes import INTERLUDE
from mlx_tiny.data.stories.notation import Compiler, Rule, share
from mlx_tiny.data.stories.phrases import PARAMETERS, RULES
from mlx_tiny.data.stories.plots import PLOTS
from mlx_tiny.errors import TinyError

VERSION = 1
"""Must be raised when the code draws other stories for the same seed; words and plots are in the fingerprint anyway."""

PATIENCE = 10_000
"""If so many training stories in a row are also validation stories, the stream raises an error."""

_TRAINING, _VALIDATION = 0, 1
_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Story:
    """A text and its exact information content.

    Attributes:
        text: paragraphs, separated by one newline.
        bits: -log2 p(text), exact up to float64 rounding.
    """

    text: str
    bits: float


class Language:
    """The texts of a program, as reproducible streams with known probabilities.

    Args:
        program: what stories are drawn from; every text must have exactly one derivation.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    def story(self, seed: int, index: int) -> Story:
        """Story number `index` of the stream `seed`, independent of all others."""
        return self._draw(_TRAINING, seed, index)

    def stories(self, seed: int, start: int = 0) -> Iterator[Story]:
        """The endless stream `seed` from story number `start` on."""
        return (self._draw(_TRAINING, seed, index) for index in count(start))

    def validation(self, seed: int, count: int) -> list[Story]:
        """The first `count` stories of the validation stream `seed`; repeats are kept, so that they are an exact sample."""
        return [self._draw(_VALIDATION, seed, index) for index in range(count)]

    def training(self, seed: int, validation: list[Story]) -> Iterator[Story]:
        """The endless stream `seed` without any story whose text is in `validation`.

        Raises:
            TinyError: `PATIENCE` stories in a row are in `validation`, which contains all but the rarest texts.
        """
        excluded = {story.text for story in validation}
        skipped = 0
        for story in self.stories(seed):
            if story.text not in excluded:
                skipped = 0
                yield story
                continue
            skipped += 1
            if skipped == PATIENCE:
                raise TinyError(
                    "The generated language is too small to train on",
                    expected="stories that are not in the validation set",
                    got=f"{PATIENCE} validation stories in a row ({len(excluded)} different ones are held out)",
                    remedy="Raise the scale of the stories or hold out fewer of them",
                )

    def derivations(self, text: str) -> list[Derivation]:
        """Every derivation of `text`: one, or none if the text is not in the language."""
        return derive(self.program, text)

    def bits(self, text: str) -> float:
        """-log2 p(text); infinite if the text is not in the language."""
        found = self.derivations(text)
        if len(found) == 1:
            return found[0].bits
        return -log2(sum(2.0**-derivation.bits for derivation in found)) if found else inf

    def _draw(self, space: int, seed: int, index: int) -> Story:
        random = Random(((space << 64 | seed & _WORD) << 64) | index).random
        return Story(*generate(self.program, random))


class StoryGrammar(Language):
    """The grammar of the generated children's stories.

    Args:
        scale: share of plots, phrasings and words in use, above 0 to 1; less means less entropy.
        dependency: interludes between the set-up of a story and its payoff, 0 to 3.

    Raises:
        TinyError: a setting is out of range.
    """

    def __init__(self, *, scale: float = 1.0, dependency: int = 1) -> None:
        if not 0 < scale <= 1:
            raise TinyError("The scale of the stories is out of range", expected="above 0 to 1", got=repr(scale))
        if dependency not in range(4):
            raise TinyError("The dependency of the stories is out of range", expected="0 to 3", got=repr(dependency))
        self.scale, self.dependency = scale, dependency
        self.plots = tuple(PLOTS)[: share(scale, len(PLOTS))]

    @functools.cached_property
    def program(self) -> Program:  # type: ignore[override]
        """Compiled for the first story, so that text that is prepared already need not wait for it."""
        arms = [Alternative(program) for program in compile_plots(self.plots, self.scale, self.dependency).values()]
        return (Choice(arms, [1] * len(arms), "plot"),)

    def plot(self, derivation: Derivation) -> str:
        """Name of the plot of a story, which is its first choice."""
        return self.plots[derivation.choices[0]]

    def fingerprint(self) -> str:
        """SHA-256 (hex) over version, settings, and every word and phrase of the grammar: a key for cached data."""
        content = (
            VERSION,
            self.scale,
            self.dependency,
            lexicon.SOURCES,
            RULES,
            PARAMETERS,
            INTERLUDE,
            PLOTS,
            lexicon.QUALIFIERS,
        )
        return hashlib.sha256(repr(content).encode()).hexdigest()


@functools.cache
def compile_plots(names: tuple[str, ...], scale: float, dependency: int) -> dict[str, Program]:
    """The programs of the plots `names`, with word lists and phrases cut to `scale`; takes half a second."""
    rules = {name: Rule(PARAMETERS.get(name, ()), text) for name, text in RULES.items()}
    rules["interlude"] = Rule((), INTERLUDE)
    compiler = Compiler(lexicon.tables(scale), rules, scale, dependency, lexicon.QUALIFIERS)
    return {name: compiler.compile("{@prelude}" + PLOTS[name].strip() + "{@coda}", name) for name in names}
