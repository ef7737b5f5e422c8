"""Turns the Metal text that MLX generates into CUDA text: a function, as it stands, and an entry that calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HEADER_FOLDER = Path(__file__).parent
HEADER = "metal.h"
ENTRY = "witness_entry"
LANE_MAPS = ("apple", "other")

_KERNEL = re.compile(
    r"(?P<template>template <[^>]*>\n)?\[\[kernel\]\] void (?P<name>\w+)\(\n(?P<parameters>.*?)\) \{\n", re.DOTALL
)
_INSTANCE = re.compile(r"^template \[\[host_name\(.*?decltype\(\w+(?P<arguments><.*>)\) \w+<.*>;\s*\Z", re.M | re.S)
_PARAMETER = re.compile(r"(?P<type>.+?)(?P<mark>[*&]?) (?P<name>\w+) \[\[(?P<attribute>[\w()]+)\]\]")
_THREADGROUP_ARRAY = re.compile(
    r"^(?P<indent>\s*)threadgroup (?P<rest>[^*&;()=]+?\w\s*(?:\[[^;=]*\])+\s*;)", re.MULTILINE
)
_THREADGROUP_LEFT = re.compile(r"^\s*threadgroup [^*&()]*;", re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

_ATTRIBUTES = {
    "grid_size": "witness::grid_size()",
    "threads_per_grid": "witness::grid_size()",
    "grid_origin": "metal::uint3(0)",
    "thread_position_in_grid": "witness::position_in_grid()",
    "thread_position_in_threadgroup": "witness::position_in_threadgroup()",
    "threadgroup_position_in_grid": "witness::threadgroup_position()",
    "threadgroups_per_grid": "witness::threadgroup_count()",
    "threads_per_threadgroup": "witness::threadgroup_size()",
    "dispatch_threads_per_threadgroup": "witness::threadgroup_size()",
    "thread_index_in_threadgroup": "witness::index_in_threadgroup()",
    "thread_index_in_simdgroup": "witness::lane()",
    "simdgroup_index_in_threadgroup": "witness::simdgroup()",
    "simdgroups_per_threadgroup": "witness::simdgroup_count()",
    "dispatch_simdgroups_per_threadgroup": "witness::simdgroup_count()",
    "threads_per_simdgroup": "32u",
    "thread_execution_width": "32u",
}


class TranslationError(RuntimeError):
    """The text has a form that has no counterpart here; the message names it."""


@dataclass(frozen=True)
class CudaText:
    """`text` defines the kernel `ENTRY`: its arguments are one device pointer for each name in `buffers`, in order."""

    name: str
    text: str
    buffers: tuple[str, ...]


def cuda_text(source: str) -> CudaText:
    """Translate one generated source; line numbers in the compiler's messages are those of `source`.

    Raises:
        TranslationError: no kernel in the text, an attribute that CUDA does not have, or a threadgroup variable that
            is not an array declared on a line of its own.
    """
    kernel = _KERNEL.search(source)
    if kernel is None:
        raise TranslationError("no [[kernel]] function as MLX writes it is in the text")
    instance = _INSTANCE.search(source, kernel.end())
    name = kernel["name"]
    if (kernel["template"] is None) != (instance is None):
        raise TranslationError(f"{name}: the template and its host_name do not go together")

    arguments, declarations, buffers = [], [], []
    parameters = [_PARAMETER.fullmatch(line.strip()) for line in kernel["parameters"].split(",\n")]
    for parameter in parameters:
        if parameter is None:
            raise TranslationError(f"{name}: the parameters are not as MLX writes them: {kernel['parameters']}")
        if parameter["attribute"].startswith("buffer("):
            if parameter["attribute"] != f"buffer({len(buffers)})":
                raise TranslationError(f"{name}: {parameter['name']} is {parameter['attribute']}, out of order")
            buffers.append(parameter["name"])
            declarations.append(f"{parameter['type']}* {parameter['name']}")
            arguments.append(("*" if parameter["mark"] == "&" else "") + parameter["name"])
        else:
            if parameter["attribute"] not in _ATTRIBUTES:
                raise TranslationError(f"{name}: CUDA has no {parameter['attribute']}")
            arguments.append(_ATTRIBUTES[parameter["attribute"]])

    end = instance.start() if instance else len(source)
    signature = re.sub(
        r" \[\[[\w()]+\]\]", "", source[kernel.start() : kernel.end()].replace("[[kernel]] void", "void")
    )
    body = _THREADGROUP_ARRAY.sub(r"\g<indent>__shared__ __align__(16) \g<rest>", source[kernel.end() : end])
    if left := _THREADGROUP_LEFT.search(_COMMENT.sub("", body)):
        raise TranslationError(f"{name}: not an array declared on a line of its own: {left[0].strip()}")
    text = (
        f'#include "{HEADER}"\nnamespace metal {{\n#line 1 "{name}.metal"\n'
        f"{source[: kernel.start()]}{signature}{body}\n"
        f'#line 1 "entry"\nextern "C" __global__ void {ENTRY}({", ".join(declarations)}) {{\n'
        f"  {name}{instance['arguments'] if instance else ''}({', '.join(arguments)});\n}}\n}}\n"
    )
    return CudaText(name, text, tuple(buffers))
