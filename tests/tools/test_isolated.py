"""A generator in a process of its own gives what it would give here, and its end is not the end of this process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_tiny.data.opening import InputFile
from mlx_tiny.errors import TinyError
from mlx_tiny.tools.isolated import ProcessEnded, isolated


def process() -> int:
    """The number of the process in which generators run now."""
    (number,) = isolated("builtins", "map", os.getsid, [0])
    return int(number)


def test_values_come_as_far_as_they_are_asked_for() -> None:
    assert list(itertools.islice(isolated("itertools", "count", 3), 2)) == [3, 4]
    assert list(isolated("builtins", "map", len, [b"ab", "\ud800", {}])) == [2, 1, 0]


def test_one_process_is_used_again_and_two_generators_have_two() -> None:
    first = process()
    assert first not in (os.getsid(0), 0) and process() == first
    open_one: Iterator[int] = isolated("itertools", "count", 1)
    assert next(open_one) == 1 and process() != first and next(open_one) == 2


def test_names_of_files_are_those_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert list(isolated("builtins", "map", os.path.abspath, ["x"])) == [str(tmp_path / name / "x")]


def test_errors_are_those_of_the_generator(tmp_path: Path) -> None:
    with pytest.raises(TinyError, match=r"absent\.txt does not exist\. Check the path\.$"):
        list(isolated("mlx_tiny.data.opening", "read_lines", InputFile(tmp_path / "absent.txt")))
    with pytest.raises(RuntimeError, match="TypeError"):
        list(isolated("builtins", "map", len, [1]))


@pytest.mark.parametrize(("function", "arguments"), [("map", (os._exit, [134])), ("exit", ())])
def test_the_end_of_the_process_is_told(function: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(ProcessEnded, match="exit code"):
        list(isolated("builtins", function, *arguments))
    assert list(isolated("builtins", "map", len, ["a"])) == [1]
