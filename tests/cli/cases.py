"""Cases of bad input with the expected answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from .command_line import TINY, Finished, files_below

USAGE, USER, FAILED = 2, 1, 3
TRAIN = ("train", *TINY, "--run", "r")
NOTES = (*TRAIN, "--data", "notes.txt")


@dataclasses.dataclass(frozen=True)
class Case:
    """A bad input.

    Args:
        arguments: of `mlx-tiny`.
        words: that the paragraph must hold: what failed, expected and got, the remedy.
        code: exit code.
    """

    arguments: tuple[str, ...]
    words: tuple[str, ...]
    code: int = USER


def assert_explained(finished: Finished, case: Case) -> None:
    assert finished.code == case.code, finished.err
    assert finished.out == "" and "Traceback" not in finished.err
    lines = finished.err.splitlines()
    if case.code == USAGE:
        (paragraph,) = [line for line in lines if line.startswith("Error: ")]
        assert paragraph == lines[-1] and lines[0].startswith("Usage: mlx-tiny")
        paragraph = " ".join(lines)
    else:
        (paragraph,) = [line for line in lines if line.startswith("mlx-tiny: ")]
        assert paragraph == lines[-1] and paragraph.endswith(".") and ".." not in paragraph
    for words in case.words:
        assert words in paragraph


def everything(folder: Path) -> dict[str, bytes]:
    """All files in a folder, and all folders except the empty ones of the cache; without compiled kernels."""
    found = {str(path.relative_to(folder)): b"" for path in folder.rglob("*") if path.is_dir()} | files_below(folder)
    return {
        name: content
        for name, content in found.items()
        if name not in ("home", "home/prepared") and not name.startswith("home/cpu_kernels")
    }
