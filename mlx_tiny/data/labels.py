"""Short names of texts, for headings and tables: from the long lines that describe their sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mlx_tiny.data.documents import cut, listed
from mlx_tiny.data.names import is_kept_stream

_FILES = re.compile(
    r"(?P<whole>(?:own text|events): (?P<names>.+?)) \((?:[\d,]+ files?, )?[\d.]+[kMGT]?B; .*?"
    r"(?P<note>; standard input was taken for [^;]*)?\)",
    re.DOTALL,
)
"""The description of the user's own files."""
_LABEL_CHARACTERS = 40


def label(description: str) -> str:
    """A text's name for a heading: those of its files without their folders, "standard input", or the corpus."""
    files = _FILES.fullmatch(description)
    if files is None:
        return re.split(r": | \(", description, maxsplit=1)[0]
    return listed(map(_file_name, files["names"].split(", ")))


def labels(descriptions: Sequence[str]) -> list[str]:
    """Names for a table of several texts: with their folders where the files are called alike."""
    short = [cut(label(description), _LABEL_CHARACTERS) for description in descriptions]
    return [
        name if short.count(name) == 1 else without_details(description)
        for name, description in zip(short, descriptions, strict=True)
    ]


def without_details(description: str) -> str:
    """The description without what is said of the files one by one; what standard input was taken for stays."""
    files = _FILES.fullmatch(description)
    return description if files is None else files["whole"] + (files["note"] or "")


def _file_name(name: str) -> str:
    path = Path(name)
    return "standard input" if is_kept_stream(path) else path.name or name
