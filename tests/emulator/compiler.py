"""The C++ compiler of this machine, and the ways in which it compiles a kernel."""

from __future__ import annotations

import functools
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .instrumentation import with_lines, with_nans
from .translation import FILE

RUNTIME = Path(__file__).parent / "runtime"
FLAGS = (
    # 16-bit and float operations round where they are written; -w because the text is Metal's, not ours to mend here.
    *"-std=c++17 -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -fno-threadsafe-statics -w".split(),
    *"-ffp-contract=off -fno-math-errno -fno-strict-aliasing -fsigned-char -fno-builtin".split(),
    # Line numbers for instrumentation.py; a jump in place of a call would hide an access from it.
    *"-g1 -fno-optimize-sibling-calls".split(),
)


# gcc takes an unset variable for whatever suits it best, even where it fills it, unless these passes are off.
_KEEP_UNSET = ("-fno-tree-ccp", "-fno-tree-fre")
_WARNINGS = ("-Wuninitialized", "-Wmaybe-uninitialized")
_CLANG_WARNINGS = ("-Wuninitialized", "-Wsometimes-uninitialized", "-Wconditional-uninitialized")
# Where a variable may be unset clang warns of the branch, and only notes the use.
_UNSET_USE = r"(?:warning: .*\[-W(?!sometimes-).*uninitialized|note: uninitialized use occurs here)"
# Clang takes a read just before a write of the same for no business of its own sanitizer.
_CLANG_WATCHES = ("-mllvm", "-tsan-instrument-read-before-write")

# Zig's own default is to trap on undefined behaviour.
_ZIG = ("-nostdinc++", "-fno-sanitize=undefined", "-fno-sanitize-trap=all")
# Zig would first build libraries for C and C++, for half a minute; on Linux the C library that Python runs on serves.
_ZIG_LINK = ("-nostdlib",) if sys.platform == "linux" else ("-nostdlib++", "-lm")


class CompileError(Exception):
    """The compiler's own words; lines are those of the captured source."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler.

    Args:
        command: how it is called.
        name: its version, as it says itself.
        flags: for this machine.
        libraries: what it links to.
    """

    command: tuple[str, ...]
    name: str
    flags: tuple[str, ...]
    libraries: tuple[str, ...] = ("-lm",)

    @property
    def clang(self) -> bool:
        """Clang, else gcc."""
        return "clang" in self.name

    def run(self, *arguments: str) -> str:
        """Call it; returns what it wrote to the standard error.

        Raises:
            CompileError: it failed.
        """
        finished = subprocess.run([*self.command, *arguments], capture_output=True, text=True)
        if finished.returncode:
            raise CompileError(finished.stderr)
        return finished.stderr


@functools.cache
def compiler() -> Compiler:
    """The system's `c++`, else ziglang from PyPI.

    Raises:
        CompileError: there is neither.
    """
    machine = ("-march=native",) if platform.machine() in ("x86_64", "AMD64") else ()
    if (path := shutil.which("c++")) and (version := _version(path)):
        return Compiler((path,), version, machine)
    if importlib.util.find_spec("ziglang"):
        command = (sys.executable, "-m", "ziglang", "c++")
        if version := _version(*command):
            return Compiler(command, version, (*machine, *_ZIG), _ZIG_LINK)
    raise CompileError("There is no C++ compiler: install g++ 12 or clang 16 as `c++`, or `pip install ziglang`")


def _version(*command: str) -> str | None:
    """What the compiler says, or None where it is too old to fill variables with a pattern."""
    said = subprocess.run([*command, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"(clang version|\)) (\d+)\.", said)
    if not found or int(found[2]) < (16 if "clang" in said else 12):
        return None
    return said


@dataclass(frozen=True)
class Build:
    """One way to compile a kernel and the runtime below it.

    Args:
        flags: for both.
        kernel_flags: for the kernel alone.
        edit: of the kernel's assembly.
    """

    flags: tuple[str, ...]
    kernel_flags: tuple[str, ...]
    edit: Callable[[str], str]


def plain_build(other_lane_map: bool) -> Build:
    """Fast."""
    return Build((), (*_map_flags(other_lane_map), "-O1", "-ftrivial-auto-var-init=pattern"), with_nans)


def nan_build(other_lane_map: bool) -> Build:
    """Local variables hold a NaN until they are given a value."""
    return Build((), (*_map_flags(other_lane_map), "-O0", "-ftrivial-auto-var-init=pattern"), with_nans)


def checking_build(other_lane_map: bool) -> Build:
    """Every load and store goes through the checks; local variables hold zero until they are given a value."""
    # Clang's `bounds` brings a second check of the same with an interface of its own.
    bounds = "array-bounds" if compiler().clang else "bounds"
    checks = f"{bounds},shift,integer-divide-by-zero,signed-integer-overflow,alignment,null"
    watched = ("-fsanitize=thread", f"-fsanitize={checks}", "-ftrivial-auto-var-init=zero")
    flags = (*_map_flags(other_lane_map), "-O1", *_own_flags(), *watched)
    return Build(("-DEMULATOR_CHECKING",), flags, with_lines)


def _own_flags() -> tuple[str, ...]:
    """Of gcc or clang, where unset variables and every access matter."""
    return _CLANG_WATCHES if compiler().clang else _KEEP_UNSET


def _map_flags(other_lane_map: bool) -> tuple[str, ...]:
    return ("-DEMULATOR_OTHER_LANE_MAP",) if other_lane_map else ()


def compile_file(action: str, source: Path, target: Path, flags: tuple[str, ...]) -> None:
    """Compile a C++ file: `action` is -S or -c.

    Raises:
        CompileError: the text is not valid.
    """
    compiler().run(action, *FLAGS, *compiler().flags, *flags, f"-I{RUNTIME}", str(source), "-o", str(target))


def uninitialised(source: Path) -> list[int]:
    """Lines of the captured source in which the compiler sees a variable read that may have no value."""
    flags = [flag for flag in (*FLAGS, *compiler().flags) if flag != "-w"]
    warnings = ("-O1", *_own_flags(), *(_CLANG_WARNINGS if compiler().clang else _WARNINGS))
    said = compiler().run("-S", *flags, *warnings, f"-I{RUNTIME}", str(source), "-o", str(source.with_suffix(".s")))
    found = re.findall(rf"^{FILE}:(\d+):\d+: {_UNSET_USE}", said, re.MULTILINE)
    return sorted({int(line) for line in found})
