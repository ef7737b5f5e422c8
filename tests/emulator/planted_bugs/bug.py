"""What a planted bug is: one replacement in a kernel's text, or a change of its launch, and the gate that finds it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from emulator.faults import Kind
from mlx_tiny.ops.metal import KernelText

TYPES = "type gate"
LINT = "lint"
CHECKS = "checking executor"
NUMBERS = "numbers"
TABLE = "table of a Mac"
OTHER_MAP = "numbers, other lane map"


@dataclass(frozen=True)
class Bug:
    """A mistake and the gate that must find it.

    Args:
        name: one, unlike the others.
        what: the mistake in words.
        kernel: the one that it is planted in, a small one or one of the project's.
        gate: one of the six above.
        old: text that stands in the kernel once.
        new: what replaces it.
        says: a piece of the finding of the type gate or the lint, or the kind of the executor's fault.
        line: a piece of the line that the gate must name; empty where it names none.
        launch: what changes in the launch instead of the text.
        case: of the table of the project's operations, which shows it; a small one where it is empty.
        dtype: of that case.
    """

    name: str
    what: str
    kernel: str
    gate: str
    old: str = ""
    new: str = ""
    says: str | Kind = ""
    line: str = ""
    launch: dict[str, Any] = field(default_factory=dict)
    case: str = ""
    dtype: str = "float32"

    def plant(self, text: KernelText) -> KernelText:
        """The text with the bug in it."""
        return replaced(text, self.old, self.new) if self.old else text


def replaced(text: KernelText, old: str, new: str) -> KernelText:
    """The text with `old`, which it must hold once, replaced."""
    count = text.header.count(old) + text.body.count(old)
    if count != 1:
        raise AssertionError(f"{old!r} stands {count} times in {text.name}")
    return dataclasses.replace(text, header=text.header.replace(old, new), body=text.body.replace(old, new))
