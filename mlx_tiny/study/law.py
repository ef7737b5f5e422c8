"""The law: bits per byte of a trained model as a function of its size and of the tokens that it was trained on.

L(N, D) = E + A / N^alpha + B / D^beta, the form of Hoffmann et al. 2022 (arXiv 2203.15556). `benchmarks/fit_law.py`
fits it to our own runs, and writes them with the result to `laws.json`. Text that is read again counts less and less,
as Muennighoff et al. 2023 (arXiv 2305.16264) have measured.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlx_tiny.config.presets import STRONGEST
from mlx_tiny.records import Record, read

LAWS = Path(__file__).with_name("laws.json")
_REPEATED_WORTH = 15.39
"""R_D* of arXiv 2305.16264: however often a text is read again, it is worth at most so many texts of its size more."""
_MARGIN = 1.25
"""A little outside of the measured runs is not told as outside."""
_NORMAL_95 = 1.96
_USUAL_TEXT, _USUAL_RECIPE = "tinystories", STRONGEST


def effective_tokens(tokens: float, unique_tokens: float = math.inf) -> float:
    """How many tokens of fresh text are worth as much as `tokens` read from a text of `unique_tokens`."""
    repeats = tokens / unique_tokens - 1
    if repeats <= 0:
        return tokens
    return unique_tokens * (1 + _REPEATED_WORTH * -math.expm1(-repeats / _REPEATED_WORTH))


@dataclass(frozen=True)
class Surface:
    """The five constants of the law."""

    floor: float
    """E, in bits per byte: what neither size nor text lowers."""
    size_scale: float
    """A, and with it the exponent alpha."""
    size_exponent: float
    data_scale: float
    """B, and with it the exponent beta."""
    data_exponent: float

    def bits_per_byte(self, parameters: float, tokens: float) -> float:
        """What a model of so many parameters reaches with so many tokens of fresh text."""
        of_size = self.size_scale * parameters**-self.size_exponent
        return float(self.floor + of_size + self.data_scale * tokens**-self.data_exponent)


@dataclass(frozen=True)
class MeasuredRun:
    """A run to the end of its budget, of which the law knows."""

    size: str
    parameters: int
    """In matrices that every token is multiplied by, as `matrix_parameters` counts them."""
    tokens: int
    unique_tokens: int
    """Of the training text."""
    seed: int
    bits_per_byte: float

    @property
    def effective_tokens(self) -> float:
        return effective_tokens(self.tokens, self.unique_tokens)


@dataclass(frozen=True)
class Expectation:
    """What a run is expected to reach."""

    bits_per_byte: float
    low: float
    """The ends of the 95 % interval for a single run."""
    high: float
    outside: str
    """What of it lies outside of the runs that the law was fitted to; empty where nothing does."""

    def describe(self) -> str:
        """The numbers in words."""
        doubt = f", but {self.outside}" if self.outside else ""
        return f"{self.bits_per_byte:.3f} ({self.low:.3f} to {self.high:.3f}{doubt})"


@dataclass(frozen=True)
class Law:
    """The law of one text and one recipe, with the runs that it rests on."""

    text: str
    """The name of the corpus."""
    recipe: str
    settings: dict[str, dict[str, Any]]
    """Of all runs, those of a size aside; of a recipe that has changed since, the law knows only the shape."""
    fitted: Surface
    resampled: list[Surface]
    """Fitted to runs that were drawn from all runs with replacement: how uncertain the surface is."""
    residual: float
    """Standard deviation of the logarithm of a run's bits per byte around the surface."""
    runs: list[MeasuredRun]

    def expected(self, parameters: float, tokens: float, unique_tokens: float = math.inf) -> Expectation:
        """What a run is expected to reach, with an interval from the resampled surfaces and the scatter of runs."""
        fresh = effective_tokens(tokens, unique_tokens)
        center = self.fitted.bits_per_byte(parameters, fresh)
        others = [math.log(surface.bits_per_byte(parameters, fresh) / center) for surface in self.resampled]
        margin = math.exp(_NORMAL_95 * math.hypot(self.residual, float(np.std(others)) if others else 0.0))
        return Expectation(center, center / margin, center * margin, self._outside(parameters, fresh))

    def _outside(self, parameters: float, fresh_tokens: float) -> str:
        axes = (
            ("size", parameters, [run.parameters for run in self.runs]),
            ("number of tokens", fresh_tokens, [run.effective_tokens for run in self.runs]),
        )
        wide = [
            f"the {name} is outside of the measured runs ({min(seen):.2g} to {max(seen):.2g})"
            for name, value, seen in axes
            if not min(seen) / _MARGIN <= value <= max(seen) * _MARGIN
        ]
        return " and ".join(wide)


@dataclass(frozen=True)
class Laws(Record):
    """The file of all laws."""

    kind = "laws"
    version = 1

    laws: list[Law]


@functools.cache
def known_laws() -> dict[tuple[str | None, str], Law]:
    """Each law in the package, by text and recipe."""
    return {(law.text, law.recipe): law for law in read(LAWS, Laws, "file of laws").laws}


def law_for(text: str | None, recipe: str) -> Law:
    """The law of a text and recipe; where it is not known, one whose shape is the nearest to it."""
    known = known_laws()
    nearest = ((text, recipe), (_USUAL_TEXT, recipe), (text, _USUAL_RECIPE), (_USUAL_TEXT, _USUAL_RECIPE))
    return next(known[key] for key in nearest if key in known)
