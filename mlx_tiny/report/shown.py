"""A run as the page of results knows and names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from mlx_tiny.report.curves import Curves
from mlx_tiny.report.markup import element
from mlx_tiny.report.record import Report
from mlx_tiny.report.surprise import Surprise
from mlx_tiny.tools.plots import glyph
from mlx_tiny.training.checkpoint import RunFolder


@dataclass(frozen=True)
class RunOnPage:
    """What the page knows of a run."""

    name: str
    """Different for each run of the page."""
    run: RunFolder
    report: Report
    curves: Curves
    surprise: Surprise | None
    notes: list[str]
    """What a reader has to know before comparing."""


Runs = Sequence[RunOnPage]


def key(number: int, run: RunOnPage) -> Element:
    """The name of a run behind the marker and in the colour of its series."""
    character, colour = glyph(number)
    return element("span", element("b", character, style=f"color:{colour}", aria_hidden="true"), run.name, class_="key")


def legend(runs: Runs) -> Element | None:
    if len(runs) == 1:
        return None
    return element("ul", *(element("li", key(number, run)) for number, run in enumerate(runs)), class_="legend")
