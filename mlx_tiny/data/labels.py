"""Short names of texts, for headings and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlx_tiny.data.documents import cut, listed
from mlx_tiny.data.names import is_kept_stream

_LABEL_CHARACTERS = 40


def label(sources: Sequence[str]) -> str:
    """A text's name for a heading: those of its files without their folders, "standard input", or that of the corpus.

    Args:
        sources: as `DataConfig.sources` names them, without weights.
    """
    return listed(map(_file_name, sources))


def labels(texts: Sequence[Sequence[str]]) -> list[str]:
    """Names for a table of several texts: with their folders where the files are called alike."""
    short = [cut(label(sources), _LABEL_CHARACTERS) for sources in texts]
    return [name if short.count(name) == 1 else ", ".join(sources) for name, sources in zip(short, texts, strict=True)]


def _file_name(name: str) -> str:
    path = Path(name)
    return "standard input" if is_kept_stream(path) else path.name or name
