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
OTHER_MAP = "numbers, other lane map"


@dataclass(frozen=True)
class Bug:
    """A mistake and the gate that must find it.

    Args:
        name: one, unlike the others.
        what: the mistake in words, for the table of the README.
        kernel: the small kernel that it is planted in.
        gate: one of the five above.
        old: text that stands in the kernel once.
        new: what replaces it.
        says: a piece of the finding of the type gate or the lint, or the kind of the executor's fault.
        line: a piece of the line that the gate must name; empty where it names none.
        launch: what changes in the launch instead of the text.
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

    def plant(self, text: KernelText) -> KernelText:
        """The text with the bug in it."""
        return replaced(text, self.old, self.new) if self.old else text


def replaced(text: KernelText, old: str, new: str) -> KernelText:
    """The text with `old`, which it must hold once, replaced."""
    count = text.header.count(old) + text.body.count(old)
    if count != 1:
        raise AssertionError(f"{old!r} stands {count} times in {text.name}")
    return dataclasses.replace(text, header=text.header.replace(old, new), body=text.body.replace(old, new))
