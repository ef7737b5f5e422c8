"""Draws edits of a file that fit its format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from .edits import DTYPES, LONG_BYTES, LONG_TEXTS, THINGS, Edit, Place, View, read_json, value_at

Edits = st.SearchStrategy[Edit]

NUMBERS = (
    "0 -1 1 2 7 1.5 0.1 -0.0 3e-5 1e9 1000000000 2147483647 2147483648 4294967296 9223372036854775807 "
    "-9223372036854775808 18446744073709551616 1e308 1e999 -1e999 NaN Infinity"
).split()
OTHERS = 'null true false "" "x" "auto" "0" "../../x" "/dev/zero" "~nosuchuser" [] {} [[]] [""] [null] {"":0}'.split()
ESCAPES = (r'"\u001b[2J\u202e\u0007"', r'"\ud800"', r'"a\u0000b"', r'"\n\r\u2028"', r'"mlx-tiny: \nbits_per_byte: 0.1"')
HOSTILE = st.sampled_from([*LONG_TEXTS, *NUMBERS, *OTHERS, *ESCAPES])
"""JSON texts that stand where another value is expected."""
BYTES = st.sampled_from(
    [
        *LONG_BYTES,
        *("", "\0", "\x04", "\x1a", "\x1b[31m\x1b]0;x\x07", "\n", "\r", "\r\n", "\t", "9" * 400, "sep=;\n"),
        *("\xff\xfe", "\xef\xbb\xbf", "\xe2\x80\xae", "\xe2\x80\xa8", "\xed\xa0\x80", "\xc0\x80"),
        *"\"',;{}[]\\#-",
        *("NaN", "1e999", "=1+1", "<|endoftext|>", "<|user|>"),
    ]
)
"""Bytes that are put into a file, as latin-1."""


def edits_of(path: Path, internal: bool) -> Edits:
    """Edits of the file at `path`: of its bytes, of its structure, and other things in its place.

    Args:
        internal: no text of the user, which may be a pipe or a device, and is read to its end.
    """
    content = path.read_bytes()
    kinds = [_byte_edits(content)]
    if path.suffix == ".json":
        kinds += [_json_edits(json.loads(content), "all")] * 3
    elif path.suffix == ".jsonl":
        lines = content.splitlines()
        number = st.one_of(st.integers(0, len(lines) - 1), st.just(len(lines) - 1))
        kinds += [number.flatmap(lambda n: _json_edits(json.loads(lines[n]), n))] * 2
    elif path.suffix == ".safetensors":
        kinds += [_tensor_edits(content)] * 3
    if others := sorted(other.name for other in path.parent.iterdir() if other.is_file() and other != path):
        kinds.append(_edit("copy", st.sampled_from(others)))
    kinds.append(_edit("replace", st.sampled_from([t for t in THINGS if internal or t not in ("fifo", "zeros")])))
    return st.one_of(kinds)


def _edit(name: str, *arguments: st.SearchStrategy[Any]) -> Edits:
    return st.tuples(st.just(name), *arguments).map(list)


def _byte_edits(content: bytes) -> Edits:
    size = len(content)
    at, length = st.integers(0, max(0, size - 1)), st.sampled_from([1, 1, 2, 4, 8, 64, 512, size])
    edits = [
        _edit("cut", st.one_of(at, st.just(max(0, size - 1)))),
        _edit("put", at, st.sampled_from([0, 1, 4]), BYTES),
    ]
    if size:
        edits += [
            _edit("cut_before", at),
            _edit("zero", at, length),
            _edit("flip", at, st.integers(0, 7)),
            _edit("repeat", at, length, st.sampled_from([2, 3, 50])),
            _edit("move", at, length, at),
        ]
    return st.one_of(edits)


def _json_edits(values: Any, view: View) -> Edits:
    places = list(_places(values))
    objects, leaves, numbers = list[Place](), list[Place](), list[Place]()
    for place in places:
        value = value_at(values, place)
        if isinstance(value, dict):
            objects.append(place)
        elif not isinstance(value, list):
            leaves.append(place)
        if type(value) in (int, float) and place:
            numbers.append(place)
    of, name = st.just(view), st.sampled_from(["extra", "", "version", "__class__", "\x1b[2J", "k" * 3000])
    edits = [
        *[_edit("set_value", of, st.sampled_from(places), HOSTILE)] * 2,
        _edit("wrap_value", of, st.sampled_from(places), st.sampled_from(["list", "object", "text", "twice"])),
        _edit("swap_values", of, st.sampled_from(leaves), st.sampled_from(leaves)),
    ]
    if objects:
        new = st.tuples(st.sampled_from(objects), name).map(lambda pair: [*pair[0], pair[1]])
        edits.append(_edit("set_value", of, new, HOSTILE))
    if places[1:]:
        edits.append(_edit("remove_value", of, st.sampled_from(places[1:])))
    if numbers:
        factor, plus = st.sampled_from([2, 0.5, -1, 10, 1e6]), st.sampled_from([0, 1, -1])
        edits.append(_edit("scale_value", of, st.sampled_from(numbers), factor, plus))
    return st.one_of(edits)


def _places(values: Any) -> Iterator[Place]:
    """The places of all values in JSON, the root first."""
    yield []
    if isinstance(values, (dict, list)):
        for key, inner in values.items() if isinstance(values, dict) else enumerate(values):
            yield from ([key, *rest] for rest in _places(inner))


def _tensor_edits(content: bytes) -> Edits:
    header = read_json(content, "header")
    names = sorted(name for name in header if name != "__metadata__")

    def elements(name: str) -> Edits:
        first, last = header[name]["data_offsets"]
        values = [float("nan"), float("inf"), -float("inf"), 1e30, 1e-40, -1.0, 0.0, 0.01]
        return _edit("set_element", st.just(name), st.integers(0, (last - first) // 4 - 1), st.sampled_from(values))

    lengths = [0, 1, 2, 100, len(content) - 8, len(content), 2**31, 2**40, 2**63, 2**64 - 1]
    edits = [
        _json_edits(header, "header"),
        st.sampled_from(names).flatmap(elements),
        _edit("retype", st.sampled_from(names), st.sampled_from(sorted(DTYPES))),
        _edit("set_header_length", st.sampled_from(lengths)),
    ]
    if "progress" in header["__metadata__"]:
        edits.append(_json_edits(read_json(content, "progress"), "progress"))
    return st.one_of(edits)
