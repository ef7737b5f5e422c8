"""The text of errors."""

from __future__ import annotations

import pytest

from mlx_tiny.errors import CheckFailed, TinyError, first_line, one_line, printable


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "It broke."),
        ({"expected": 3}, "It broke. Expected 3."),
        ({"got": "none"}, "It broke. Got none."),
        ({"expected": 3, "got": 4}, "It broke. Expected 3, got 4."),
        ({"expected": 0, "got": ""}, "It broke. Expected 0, got ."),
        ({"remedy": "Mend it"}, "It broke. Mend it."),
        ({"remedy": "Is it mended?"}, "It broke. Is it mended?"),
        ({"expected": "a", "got": "B", "remedy": "Mend it"}, "It broke. Expected a, got B. Mend it."),
    ],
)
def test_an_error_is_one_paragraph(arguments: dict, text: str) -> None:
    assert str(TinyError("It broke", **arguments)) == text


@pytest.mark.parametrize("part", ["failed", "expected", "got"])
def test_parts_are_short_and_on_one_line(part: str) -> None:
    error = str(TinyError(**{"failed": "It broke", "remedy": "Mend it", part: "a\nb" + "x" * 5000 + "end"}))
    assert "\n" not in error and len(error) < 1200
    assert "a b" in error and "end" in error and error.endswith("Mend it.")


def test_a_remedy_is_bounded_but_a_command_with_a_long_path_is_whole() -> None:
    assert "/" + "x" * 4000 + " --budget 5m" in str(
        TinyError("It broke", remedy=f"Run train /{'x' * 4000} --budget 5m")
    )
    assert len(str(TinyError("It broke", remedy="x" * 10**6))) < 6000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x7f\x9b2J\r", "\ufffd[31mred\ufffd\ufffd2J\ufffd"),
        ("abc\u202ecba\u2066", "abc\ufffdcba\ufffd"),
        ("caf\udce9", "caf\ufffd"),
        ("a\tb\n", "a\tb\n"),
        ("שלום\u200f 👩\u200d🚀 ن\u200cم \xa0", "שלום\u200f 👩\u200d🚀 ن\u200cم \xa0"),
    ],
)
def test_what_a_terminal_would_obey_is_replaced_and_all_languages_stay(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(TinyError(text)).splitlines() == [one_line(text) + "."]


def test_exit_codes() -> None:
    assert TinyError("x").exit_code == 1
    assert CheckFailed("x").exit_code == 3
    assert isinstance(CheckFailed("x"), TinyError)


METAL = """[metal::Device] Unable to build metal library from source
program_source:3:10: warning: unused variable 'row'
    float row = 0;
program_source:7:5: error: use of undeclared identifier 'colum'
    colum += 1;
program_source:9:1: error: expected expression
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("out of memory"), "out of memory"),
        (RuntimeError("\n  out of memory\nstack: 0x12\n"), "out of memory"),
        (RuntimeError(), "RuntimeError"),
        (ValueError(" \n"), "ValueError"),
        (
            RuntimeError(METAL),
            "[metal::Device] Unable to build metal library from source: "
            "program_source:7:5: error: use of undeclared identifier 'colum'",
        ),
        (RuntimeError("It did not link:\nld: error: no symbol"), "It did not link: ld: error: no symbol"),
        (RuntimeError("error: one thing\nanother"), "error: one thing"),
        (TinyError("It broke", expected=1, got=2), "It broke. Expected 1, got 2."),
        (ZeroDivisionError("float division by zero"), "float division by zero"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_what_an_exception_says_fits_in_a_line(error: BaseException, line: str) -> None:
    assert first_line(error) == line
