"""The one exception that reaches the user: what failed, expected, got, remedy."""

from __future__ import annotations


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
        comparison = ", ".join(
            f"{label} {value}" for label, value in (("expected", self.expected), ("got", self.got)) if value is not None
        )
        sentences = [self.failed, comparison[:1].upper() + comparison[1:], self.remedy or ""]
        return " ".join(f"{sentence}." for sentence in sentences if sentence)


class CheckFailed(TinyError):
    """A check that ran and found a fault (exit code 3), as opposed to bad input."""

    exit_code = 3
