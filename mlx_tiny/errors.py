"""The exception that is shown to the user: what failed, what was expected, what was found, and what to do."""

from __future__ import annotations

_LONGEST_PART = 1000
"""Characters of one part of an error."""


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
        comparison = ", ".join(f"{label} {_on_one_line(str(value))}" for label, value in values if value is not None)
        sentences = [_on_one_line(self.failed), comparison[:1].upper() + comparison[1:], self.remedy or ""]
        return " ".join(f"{sentence}." for sentence in sentences if sentence)


def _on_one_line(text: str) -> str:
    """The text without line ends, and without the middle of a very long one, such as a name of thousands of letters."""
    text = " ".join(text.splitlines())
    if len(text) <= _LONGEST_PART:
        return text
    return f"{text[: _LONGEST_PART // 2]} ... {text[-_LONGEST_PART // 2 :]}"


class CheckFailed(TinyError):
    """A check ran and found something wrong (exit code 3); bad input is a plain TinyError."""

    exit_code = 3


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
