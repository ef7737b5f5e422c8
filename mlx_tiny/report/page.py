"""The page of results: one file of HTML that shows runs and compares them, and needs neither network nor script."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from xml.etree.ElementTree import Element

from mlx_tiny import __version__
from mlx_tiny.errors import TinyError, one_line
from mlx_tiny.files import atomic_write, explained, require_writable
from mlx_tiny.report import sections
from mlx_tiny.report.comparing import short_names
from mlx_tiny.report.curves import Curves
from mlx_tiny.report.markup import element, written
from mlx_tiny.report.report import describes, read_report
from mlx_tiny.report.shown import RunOnPage, Runs
from mlx_tiny.report.surprise import surprise_of
from mlx_tiny.report.texts import learned_texts
from mlx_tiny.tools import plots
from mlx_tiny.training.checkpoint import RunFolder


def write_page(paths: Sequence[Path], out: Path, tell: Callable[[str], None] = lambda _: None) -> None:
    """Write the page about these runs to `out`.

    Args:
        tell: called with a line for what the page lacks.

    Raises:
        TinyError: matplotlib is missing, a run has no report or a damaged one, one is named twice, or `out` cannot be
            written.
    """
    plots.require_matplotlib("--html")
    require_writable(out)
    _require_page(out)
    if len(set(map(os.path.realpath, paths))) < len(paths):
        raise TinyError("A run is named twice", got=", ".join(map(str, paths)), remedy="Name each run once")
    runs = [_looked_at(path, name, tell) for path, name in zip(paths, short_names(paths), strict=True)]
    with atomic_write(out, "w") as file:
        file.write(page(runs))


def _require_page(out: Path) -> None:
    """Refuse to replace a file that is no page, such as one of a run."""
    with explained(out):
        if out.is_file() and out.stat().st_size and not _begins_as_page(out):
            raise TinyError(f"{out} exists, and is no page that could be written again", remedy="Name another file")


def _begins_as_page(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(20).lstrip().lower().startswith(b"<!doctype html")


def page(runs: Runs) -> str:
    """The whole page about runs, in their order."""
    title = f"Comparison of {len(runs)} runs" if len(runs) > 1 else f"Run {runs[0].name}"
    texts = " and ".join(dict.fromkeys(one_line(learned_texts(run.report)) for run in runs))
    found = [made for build in sections.ALL if (made := build(runs)) is not None]
    links = [
        element("li", element("a", heading.text or "", href=f"#{made.get('id')}"))
        for made in found
        if (heading := made.find("h2")) is not None
    ]
    body = element(
        "body",
        element(
            "header",
            element("h1", title),
            element("p", f"Small language models trained with mlx_tiny {__version__} on {texts}."),
            element("nav", element("ul", *links), aria_label="parts of this page"),
        ),
        element("main", *found),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        _style(),
    )
    return written(element("html", head, body, lang="en"))


def _style() -> Element:
    return element("style", (files("mlx_tiny") / "report" / "page.css").read_text(encoding="utf-8"))


def _looked_at(path: Path, name: str, tell: Callable[[str], None]) -> RunOnPage:
    run = RunFolder(path)
    report = read_report(run)
    notes = list[str]()
    if report.continued:
        notes.append("The run has gone on since this report.")
    if report.interrupted:
        notes.append("The run was interrupted, so that it has not spent its budget.")
    if report.earlier:
        notes.append(f"No single command repeats it, as it had other settings before: {', '.join(report.earlier)}.")
    if report.evaluated_training_text:
        notes.append("Nothing was held out: its strength is that on the text that it was trained on.")
    surprise = None
    try:
        if not describes(report, run):
            notes.append("The weights of the run are not those of this report any more.")
        surprise = surprise_of(run, report, tell)
    except TinyError as error:
        tell(f"{name}: no surprise per token: {error}")
        notes.append(f"The surprise per token is missing: {error}")
    return RunOnPage(name, run, report, Curves.of(run, report), surprise, notes)
