"""Elements of a page in HTML; all text in them is escaped when the page is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mlx_tiny.errors import printable

Content = str | Element | None


def element(tag: str, *content: Content, **attributes: str) -> Element:
    """An element with text and elements in it.

    Args:
        content: None stands for nothing.
        attributes: a name may end in an underscore, as `class_`, and has others in place of its hyphens.
    """
    made = Element(tag, {name.rstrip("_").replace("_", "-"): printable(value) for name, value in attributes.items()})
    last: Element | None = None
    for part in content:
        if isinstance(part, str):
            if last is None:
                made.text = (made.text or "") + printable(part)
            else:
                last.tail = (last.tail or "") + printable(part)
        elif part is not None:
            made.append(part)
            last = part
    return made


def table(heading: Sequence[Content], rows: Iterable[Sequence[Content]], caption: str = "") -> Element:
    """A table whose first column names its rows; it scrolls where it is too wide for the page."""
    head = element("tr", *(element("th", cell, scope="col") for cell in heading))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells))
        for first, *cells in rows
    ]
    made = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", head) if any(heading) else None,
        element("tbody", *body),
    )
    return element("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption or "table")


def section(identity: str, title: str, *content: Content) -> Element:
    """A part of the page, to which links lead by its identity."""
    return element("section", element("h2", title), *content, id=identity)


def figure(drawn: Element, described: str, *caption: Content) -> Element:
    """A drawing with words for those who do not see it."""
    drawn.set("role", "img")
    drawn.set("aria-label", described)
    return element("figure", drawn, element("figcaption", *caption) if caption else None)


def tabs(name: str, views: dict[str, Element]) -> Element:
    """Views of which one is shown, chosen by mouse or arrow keys; on paper all are."""
    parts = list[Content]()
    for number, title in enumerate(views):
        identity = f"{name}-{number}"
        chosen = {"checked": ""} if number == 0 else {}
        parts.append(element("input", type="radio", name=name, id=identity, class_="choice", **chosen))
        parts.append(element("label", title, for_=identity))
    parts += [element("div", view, class_="view") for view in views.values()]
    return element("div", *parts, class_="tabs", role="group")


def written(page: Element) -> str:
    """The whole page as text."""
    return "<!doctype html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"
