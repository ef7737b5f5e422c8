"""Edits the compiler's assembly: each watched access is told its line, and unset variables hold NaNs.

With -fsanitize=thread a compiler calls, say, `__tsan_read4(address)` before a load. The call may destroy the register
of a second argument, so the line that the debug information gives is put there just before it.
"""

from __future__ import annotations

import platform
import re

from .translation import FILE

_FILE = re.compile(r"\s*\.file\s+(?P<number>\d+)\s+(?P<name>\".*)")
_LINE = re.compile(r"\s*\.loc\s+(?P<file>\d+)\s+(?P<line>\d+)")
_CALL = re.compile(
    r"\s*(?:callq?|bl)\s+_{2,3}tsan_(?:(?:unaligned_|volatile_)?(?:read|write|read_write)\d+"
    r"|(?P<two>(?:read|write)_range)|(?P<three>mem(?:cpy|move|set)))\b"
)
_ARM = platform.machine() in ("arm64", "aarch64")
# Registers of the second, third and fourth argument.
_REGISTERS = ("w1", "w2", "w3") if _ARM else ("%esi", "%edx", "%ecx")

# What gcc's -ftrivial-auto-var-init=pattern writes (0xfe in each byte); all ones are a NaN, as clang has it.
_PATTERN = re.compile(r"(?<![\w.])-(?:16843010|72340172838076674)\b")


def with_lines(assembly: str) -> str:
    """The assembly with the kernel's line as one more argument of each watched access."""
    own: set[str] = set()
    line = "0"
    result = []
    for text in assembly.splitlines():
        if found := _LINE.match(text):
            # A place in the runtime's headers: the kernel's line before it called them.
            if found["file"] in own and found["line"] != "0":
                line = found["line"]
        elif found := _FILE.match(text):
            if FILE in found["name"]:
                own.add(found["number"])
        elif found := _CALL.match(text):
            register = _REGISTERS[1 if found["two"] else 2 if found["three"] else 0]
            result.append(f"\tmov {register}, #{line}" if _ARM else f"\tmovl ${line}, {register}")
        result.append(text)
    return "\n".join(result) + "\n"


def with_nans(assembly: str) -> str:
    """The assembly with NaNs where gcc's pattern for unset variables was."""
    return _PATTERN.sub("-1", assembly)
