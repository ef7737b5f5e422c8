"""What can be wrong with a launch, and how it is told."""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Kind(enum.IntEnum):
    """As in runtime/state.h."""

    DIFFERENT_PLACES = 0
    RETURNED = 1
    STUCK = 2
    OUT_OF_BOUNDS = 3
    RACE = 4
    RACE_OF_THREADGROUPS = 5
    UNINITIALISED = 6
    READ_ONLY = 7
    NOT_WRITTEN = 8
    TOO_MUCH_MEMORY = 9
    MISALIGNED = 10
    UNDEFINED = 11
    BAD_ADDRESS = 12
    STACK_OVERFLOW = 13
    DIFFERENT_ADDRESSES = 14
    DIFFERENT_ARRAYS = 15
    TOO_LONG = 16
    # Below: found outside the runtime.
    UNINITIALISED_LOCAL = 100


class RawFault(ctypes.Structure):
    """`Fault` of runtime/state.h."""

    _fields_ = (
        *((name, ctypes.c_int) for name in "kind line other_line thread other_thread".split()),
        *((name, ctypes.c_int) for name in "threadgroup other_threadgroup buffer".split()),
        ("offset", ctypes.c_long),
        ("size", ctypes.c_long),
        ("operation", ctypes.c_int),
        ("other_operation", ctypes.c_int),
        ("detail", ctypes.c_char_p),
    )


class RawReport(ctypes.Structure):
    """`Report` of runtime/state.h."""

    _fields_ = (("faults", RawFault * 16), ("count", ctypes.c_int))


@dataclass(frozen=True)
class Fault:
    """One finding.

    Args:
        kind: what is wrong.
        message: a sentence that names lines and threads.
        line: of the captured source, counted from 1, or None where it is not known.
        place: the same as file and line of the project, or of the text that the test gave.
    """

    kind: Kind
    message: str
    line: int | None
    place: str


class KernelFault(Exception):
    """A launch did what a kernel must not do.

    Args:
        kernel: its name.
        faults: what was found, the first one first.
    """

    def __init__(self, kernel: str, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join([f"kernel {kernel}:", *(f"  {fault.message}" for fault in faults)]))
        self.kernel = kernel
        self.faults = tuple(faults)


_OPERATIONS = ("a simd operation", "simdgroup_barrier", "threadgroup_barrier", "a matrix operation")
_COLLECTIVE = 1 << 16


def told(raw: RawFault, buffers: Sequence[str], place: Callable[[int], str]) -> Fault:
    """The finding in words.

    Args:
        raw: as the runtime left it.
        buffers: names of the buffers by their numbers.
        place: the name of a line of the captured source.
    """
    kind = Kind(raw.kind)
    here, there = place(raw.line), place(raw.other_line)
    memory = buffers[raw.buffer] if raw.buffer >= 0 else "threadgroup memory"
    where = f"{memory}, byte {raw.offset}"
    group = f"threadgroup {raw.threadgroup}"
    one, other = _thread(raw.thread), _thread(raw.other_thread)
    done, done_there = _OPERATIONS[raw.operation], _OPERATIONS[raw.other_operation]
    accesses, accesses_there = _access(raw.operation), _access(raw.other_operation)
    detail = (raw.detail or b"").decode()
    sentence = {
        Kind.DIFFERENT_PLACES: f"{one} is at {done} while {other} is at {done_there} in {there} ({group})",
        Kind.RETURNED: f"{one} is at {done} that other threads of its group have left by returning ({group})",
        Kind.STUCK: f"{one} waits at {done} and {other} at {done_there} in {there}; nobody can go on ({group})",
        Kind.OUT_OF_BOUNDS: f"access outside of {where}{_of(raw.size)}",
        Kind.RACE: f"race: {one} {accesses} {where}, which {other} {accesses_there} in {there} without a barrier "
        f"that orders this memory between them ({group})",
        Kind.RACE_OF_THREADGROUPS: f"race: {one} of {group} {accesses} {where}, which {other} of threadgroup "
        f"{raw.other_threadgroup} {accesses_there} in {there}",
        Kind.UNINITIALISED: f"{one} reads {where}, which nobody has written ({group})",
        Kind.READ_ONLY: f"write to an input: {where}",
        Kind.NOT_WRITTEN: f"{raw.size} bytes of {memory} are never written, the first at byte {raw.offset}",
        Kind.TOO_MUCH_MEMORY: f"{raw.size} bytes of threadgroup memory, more than 32768",
        Kind.MISALIGNED: f"misaligned access: {where}",
        Kind.UNDEFINED: f"undefined: {detail}",
        Kind.BAD_ADDRESS: "access through a pointer to nowhere",
        Kind.STACK_OVERFLOW: "the local variables of a thread take more than 192 KB",
        Kind.DIFFERENT_ADDRESSES: f"{one} gives a matrix operation another address than {other} ({group})",
        Kind.DIFFERENT_ARRAYS: f"{one} declares another threadgroup array than thread 0 in {there} ({group})",
        Kind.TOO_LONG: "the launch does not end",
    }[kind]
    return Fault(kind, f"{here}: {sentence}", raw.line if raw.line > 0 else None, here)


def _thread(number: int) -> str:
    if number >= _COLLECTIVE:
        return f"simdgroup {number - _COLLECTIVE} as a whole"
    return f"thread {number}"


def _access(bits: int) -> str:
    return "writes" if bits & 1 else "reads"


def _of(size: int) -> str:
    return f" ({size} bytes)" if size else ""
