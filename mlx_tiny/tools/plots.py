"""Draws pictures by matplotlib, which is the extra `plot` and imported nowhere else."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write
from mlx_tiny.tools.processes import installing


def installed() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def require_matplotlib(user: str = "--plot") -> None:
    """Check for matplotlib before anything is measured; errors name its `user`.

    Raises:
        TinyError: it is not installed.
    """
    if not installed():
        raise TinyError(
            f"matplotlib is not installed, and {user} needs it",
            remedy=f"Install it with `{installing('mlx-tiny[plot]')}`",
        )


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")  # no window
    from matplotlib import pyplot

    return pyplot


INK, FAINT = "#000001", "#000002"
"""Colours of a drawing, of which the page that it is part of says what they are: of its text, and of its grid."""
_STYLES = {INK: "currentColor", FAINT: "var(--faint)"}
_COLOURS, _MARKERS, _GLYPHS = 6, "os^Dv", "●■▲◆▼"
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)))


def series(number: int) -> dict[str, Any]:
    """How a drawing shows the series of this number: colour, marker and dashes, so that grey is enough."""
    return {"color": f"#0001{number % _COLOURS:02x}", "marker": _MARKERS[number % 5], "linestyle": _DASHES[number % 5]}


def glyph(number: int) -> tuple[str, str]:
    """The marker of a series as a character, and its colour in the style of a page."""
    return _GLYPHS[number % len(_GLYPHS)], f"var(--series-{number % _COLOURS})"


def drawing(name: str, draw: Callable[[Any], None], *, size: tuple[float, float]) -> ElementTree.Element:
    """A picture as an element `svg` to be put into a page, in whose font and colours it is.

    Args:
        name: begins the ids in it, which are those of no other drawing then.
        draw: draws on the axes that it is given, in the colours above; all text in it is our own.
        size: in inches, of 72 units.
    """
    pyplot = _pyplot()
    settings: dict[str, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    settings |= {"axes.edgecolor": FAINT, "grid.color": FAINT, "grid.linewidth": 0.6, "font.size": 10}
    settings |= {
        "font.sans-serif": ["DejaVu Sans"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
    }
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=size, layout="constrained")
        try:
            axes.grid(visible=True)
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
            draw(axes)
            written = io.StringIO()
            figure.savefig(written, format="svg", transparent=True)
        finally:
            pyplot.close(figure)
    return _for_a_page(ElementTree.fromstring(written.getvalue()), name)


def _for_a_page(svg: ElementTree.Element, name: str) -> ElementTree.Element:
    """Without what belongs to a file of its own: namespaces, width and height, metadata and style sheet."""
    for parent in list(svg.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    used = set(re.findall(r"#([\w-]+)", ElementTree.tostring(svg, encoding="unicode")))
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        element.attrib.clear()
        element.attrib.update({key: _own(key, value, name) for key, value in attributes.items()})
        element.text, element.tail = element.text if element.tag == "text" else None, None
    for key in ("width", "height", "version"):
        svg.attrib.pop(key, None)
    return svg


def _own(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"^#|(?<=url\()#", f"#{name}-", value) if not _is_colour(value) else value
    value = re.sub("#0001(..)", lambda found: f"var(--series-{int(found[1], 16)})", value)
    for colour, style in _STYLES.items():
        value = value.replace(colour, style)
    return value


def _is_colour(value: str) -> bool:
    return re.fullmatch("#[0-9a-f]{6}", value) is not None


@contextlib.contextmanager
def picture(path: Path, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, written as a PNG when the block ends.

    Args:
        settings: of `pyplot.subplots`.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(layout="constrained", **settings)
    try:
        yield figure, axes
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=120)
    finally:
        pyplot.close(figure)
