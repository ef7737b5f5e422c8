"""The exception that is shown to the user: what failed, what was expected, what was found, and what to do."""

from __future__ import annotations

import re

UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""What a terminal would obey, what reorders the text around it, and surrogates, such as bytes that are not UTF-8."""

_LONGEST_PART = 1000
"""Characters of one part of an error."""
_LONGEST_LINE = 5000
"""Characters of a line that may be a command for the user, with a path of up to 4096."""


class TinyError(Exception):
    """An error that a user can act on, printed as one paragraph without a traceback.

    Args:
        failed: what failed, a sentence without its full stop.
        expected: what would have been right, if that is not obvious from `failed`.
        got: what was found instead.
        remedy: what to do next, a sentence without its full stop.
    """

    exit_code = 1

    def __init__(
        self,
        failed: str,
        *,
        expected: object | None = None,
        got: object | None = None,
        remedy: str | None = None,
    ) -> None:
        self.failed, self.expected, self.got, self.remedy = failed, expected, got, remedy
        super().__init__(self._paragraph())

    def _paragraph(self) -> str:
        values = (("expected", self.expected), ("got", self.got))
        comparison = ", ".join(f"{label} {_part(value)}" for label, value in values if value is not None)
        remedy = shortened(one_line(self.remedy or ""))
        sentences = [_part(self.failed), comparison[:1].upper() + comparison[1:], remedy]
        return " ".join(sentence + "." * (not sentence.endswith("?")) for sentence in sentences if sentence)


def printable(text: str) -> str:
    """The text with U+FFFD in place of what is unprintable; line ends and tabs stay."""
    return UNPRINTABLE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The printable text with blanks in place of line ends and tabs."""
    return printable(" ".join(text.splitlines()).replace("\t", " "))


def shortened(text: str, longest: int = _LONGEST_LINE) -> str:
    """The text without its middle if it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def _part(value: object) -> str:
    return shortened(one_line(str(value)), _LONGEST_PART)


class CheckFailed(TinyError):
    """A check ran and found something wrong (exit code 3); bad input is a plain TinyError."""

    exit_code = 3


def require_finite(finite: bool) -> None:
    """Refuse what a model computes where it is not finite, although its weights are."""
    if not finite:
        raise TinyError(
            "The model computes NaN or infinity", remedy="Its weights are too large: train again with lower rates"
        )


def first_line(error: BaseException) -> str:
    """The first line of an exception's message.

    Args:
        error: any exception; messages of libraries may have many lines, or be empty.

    Returns:
        The first line and, if there is one, the first later line with "error:", because Metal's compiler gives the
        reason further down. The name of the exception's type if the message is empty.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    why = next((line for line in lines[1:] if "error:" in line), None)
    return lines[0] if why is None else f"{lines[0].rstrip(':')}: {why}"
