"""From the text that MLX generates to C++: one rewrite, and a function behind the text that calls the kernel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .cache import digest

FILE = "kernel.metal"
"""What the compiler calls the captured source."""

_THREADGROUP_ARRAY = re.compile(
    r"\bthreadgroup\s+(?P<type>[\w:]+(?:\s*<[^;{}()]*>)?)\s+(?P<name>\w+)\s*\[(?P<length>[^\[\];]+)\]\s*;"
)
_THREADGROUP_POINTER = re.compile(
    r"\bthreadgroup\s+(?:const\s+|volatile\s+)*[\w:]+(?:\s*<[^;{}()*]*>)?(?:\s+const)?\s*[*&]"
)
_INSTANCE = re.compile(
    r"template \[\[host_name\(\"(?P<host>\w+)\"\)\]\] \[\[kernel\]\] decltype\((?P<function>.+?)\) (?P=function);"
)
# MLX's own function, not one that the header may define.
_SIGNATURE = re.compile(r"\[\[kernel\]\] void (?P<name>custom_kernel_\w+)\((?P<parameters>.*?)\) \{\n", re.DOTALL)
_PARAMETER = re.compile(r"\s*(?P<type>.+?)\s*\b(?P<name>\w+) \[\[(?P<attribute>\w+)(?:\((?P<number>\d+)\))?\]\]\s*")
_NAMESPACE = re.compile(r"^namespace\b", re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

# Kernel attribute -> what the runtime knows of the thread.
_VECTORS = {
    **{
        name: name
        for name in (
            "thread_position_in_grid thread_position_in_threadgroup threadgroup_position_in_grid"
            " threads_per_threadgroup threadgroups_per_grid threads_per_grid"
        ).split()
    },
    "dispatch_threads_per_threadgroup": "threads_per_threadgroup",
    "grid_size": "threads_per_grid",
}
_NUMBERS = {
    **{
        name: f"place.{name}"
        for name in (
            "thread_index_in_threadgroup thread_index_in_simdgroup simdgroup_index_in_threadgroup"
            " simdgroups_per_threadgroup"
        ).split()
    },
    "dispatch_simdgroups_per_threadgroup": "place.simdgroups_per_threadgroup",
    "thread_execution_width": "32",
    "threads_per_simdgroup": "32",
    "thread_index_in_quadgroup": "place.thread_index_in_simdgroup % 4",
    "quadgroup_index_in_threadgroup": "place.thread_index_in_threadgroup / 4",
}


class NotTranslatable(Exception):
    """The text is of a form that the emulator does not take; the message names the line."""


@dataclass(frozen=True)
class Translation:
    """C++ for the shim in runtime/metal.h.

    Args:
        symbol: the function that calls the kernel for one thread.
        text: its definition, and all that it needs but for the shim.
        buffers: names of the kernel's parameters that are buffers, by their numbers.
        alone: the text adds to a namespace of the shim, so that no other may stand in its translation unit.
    """

    symbol: str
    text: str
    buffers: tuple[str, ...]
    alone: bool


def translate(source: str) -> Translation:
    """Make C++ of a captured source, every line in its place.

    Raises:
        NotTranslatable: a threadgroup variable that is no array of one dimension, or an unknown attribute.
    """
    text = _COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), source)
    signature = _SIGNATURE.search(text)
    if not signature:
        raise NotTranslatable("there is no [[kernel]] function in the text")
    instance = _INSTANCE.search(text)
    function = instance["function"] if instance else signature["name"]
    if instance:
        text = text[: instance.start()] + text[instance.end() :]
    text = _with_threadgroup_arrays(text)
    arguments, buffers = _arguments(signature["parameters"])
    symbol = f"kernel_{digest(source)}"
    alone = bool(_NAMESPACE.search(text))
    lines = (
        "" if alone else f"namespace {symbol}_text {{",
        f'#line 1 "{FILE}"',
        text,
        '#line 1 "call"',
        f"EMULATOR_KERNEL void {symbol}(void* const* buffers, const emulator::Place& place) {{",
        f"  {function}(\n    " + ",\n    ".join(arguments) + ");",
        "}",
        "" if alone else "}",
    )
    return Translation(symbol, "\n".join(lines) + "\n", buffers, alone)


def unit(kernels: Sequence[Translation]) -> str:
    """A translation unit that defines the kernels."""
    return "".join(('#include "metal.h"\n', *(kernel.text for kernel in kernels)))


def _with_threadgroup_arrays(text: str) -> str:
    def reference(array: re.Match[str]) -> str:
        length = " ".join(array["length"].split())
        # The line breaks of the declaration, if it has any, keep the lines below in their places.
        breaks = "\n" * array[0].count("\n")
        return f"EMULATOR_THREADGROUP_ARRAY({array['name']}, ({length}), {array['type']});{breaks}"

    for word in re.finditer(r"\bthreadgroup\b", text):
        if not _THREADGROUP_ARRAY.match(text, word.start()) and not _THREADGROUP_POINTER.match(text, word.start()):
            line = text.count("\n", 0, word.start()) + 1
            raise NotTranslatable(
                f"line {line}: expected `threadgroup T name[N];` or a pointer or reference to threadgroup memory,"
                f" got {text.splitlines()[line - 1].strip()!r}"
            )
    return _THREADGROUP_ARRAY.sub(reference, text)


def _arguments(parameters: str) -> tuple[list[str], tuple[str, ...]]:
    arguments: list[str] = []
    buffers: list[str] = []
    for text in re.split(r",\n", parameters):
        parameter = _PARAMETER.fullmatch(text)
        if not parameter:
            raise NotTranslatable(f"expected a parameter with an attribute, got {text.strip()!r}")
        type_, attribute = parameter["type"], parameter["attribute"]
        if attribute == "buffer":
            if int(parameter["number"]) != len(buffers):
                raise NotTranslatable(f"expected buffer {len(buffers)}, got {text.strip()!r}")
            pointer = f"({type_})" if type_.endswith("*") else f"*({type_.rstrip('& ')}*)"
            arguments.append(f"{pointer}buffers[{len(buffers)}]")
            buffers.append(parameter["name"])
        elif attribute in _VECTORS:
            index = f"place.{_VECTORS[attribute]}"
            arguments.append(f"uint3({index}.x, {index}.y, {index}.z)")
        elif attribute in _NUMBERS:
            arguments.append(_NUMBERS[attribute])
        else:
            raise NotTranslatable(f"expected a known attribute, got {text.strip()!r}")
    return arguments, tuple(buffers)
