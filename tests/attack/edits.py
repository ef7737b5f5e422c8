"""Edits that damage a file. Each is a name and plain arguments, so that a line of JSON repeats it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlx_tiny.files import CHECKSUM
from mlx_tiny.records import SEAL, seal

Edit = list[Any]
"""The name of a function of `EDITS` and its arguments after the content; or `replace` or `copy`, and by what."""
View = int | str
"""Which JSON in a file: `all`, the `header` of safetensors, the `progress` in it, or the line of this number."""
Place = Sequence[str | int]
"""The keys that lead to a value of JSON."""

LONG_TEXTS = {
    "deep list": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "long list": "[" + "0," * 100_000 + "0]",
    "long number": "9" * 5000,
    "long text": '"' + "x" * 300_000 + '"',
    "many keys": "{" + ",".join(f'"k{n}":1' for n in range(20_000)) + "}",
}
"""Names of JSON texts that are too long to be arguments."""
LONG_BYTES = {"long line": b"x" * 300_000, "many lines": b"\n" * 20_000, "many commas": b"," * 20_000}
THINGS = {
    "absent": None,
    "folder": None,
    "fifo": None,
    "socket": None,
    "itself": None,
    "nowhere": "absent",
    "zeros": "/dev/zero",
    "nothing": "/dev/null",
}
"""What takes the place of a file, and where it leads if it is a link."""
DTYPES = {"F16": 2, "BF16": 2, "I32": 4, "F64": 8, "U8": 1, "BOOL": 1, "C64": 8, "F8_E4M3": 1, "I64": 8}
"""Bytes of a value of each type of safetensors but float32."""
_REMOVED = object()


def apply(path: Path, edit: Edit, forge: bool = False) -> None:
    """Damage the file at `path`.

    Args:
        forge: a hash in the file is made to fit it.
    """
    name, *arguments = edit
    if name == "replace":
        _replace(path, *arguments)
    elif name == "copy":
        shutil.copyfile(path.parent / arguments[0], path)
    else:
        content = EDITS[name](path.read_bytes(), *arguments)
        path.write_bytes(forged(content) if forge else content)


def _replace(path: Path, thing: str) -> None:
    path.unlink()
    if thing == "folder":
        path.mkdir()
    elif thing == "fifo":
        os.mkfifo(path)
    elif thing == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # for the names of sockets are short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
        os.chdir(here)
    elif thing != "absent":
        path.symlink_to(THINGS[thing] or path.name)


def cut(content: bytes, at: int) -> bytes:
    return content[:at]


def cut_before(content: bytes, at: int) -> bytes:
    return content[at:]


def zero(content: bytes, at: int, length: int) -> bytes:
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def flip(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def put(content: bytes, at: int, length: int, text: str) -> bytes:
    """Bytes in place of `length` others."""
    return content[:at] + LONG_BYTES.get(text, text.encode("latin-1")) + content[at + length :]


def repeat(content: bytes, at: int, length: int, times: int) -> bytes:
    return content[:at] + content[at : at + length] * times + content[at + length :]


def move(content: bytes, at: int, length: int, to: int) -> bytes:
    rest = content[:at] + content[at + length :]
    return rest[:to] + content[at : at + length] + rest[to:]


def set_value(content: bytes, view: View, place: Place, value: str) -> bytes:
    """A JSON text in place of a value, or of a new key."""
    return _changed(content, view, place, lambda _: _Text(value))


def scale_value(content: bytes, view: View, place: Place, factor: float, plus: int) -> bytes:
    """Another plausible number."""
    return _changed(content, view, place, lambda number: type(number)(number * factor + plus))


def remove_value(content: bytes, view: View, place: Place) -> bytes:
    return _changed(content, view, place, lambda _: _REMOVED)


def wrap_value(content: bytes, view: View, place: Place, by: str) -> bytes:
    """A list of the value, an object with it, its text, or a list with it twice."""
    wraps: dict[str, Callable[[Any], Any]] = {
        "list": lambda v: [v],
        "object": lambda v: {"value": v},
        "text": json.dumps,
        "twice": lambda v: [v, v],
    }
    return _changed(content, view, place, wraps[by])


def swap_values(content: bytes, view: View, place: Place, other: Place) -> bytes:
    values = read_json(content, view)
    first, second = value_at(values, place), value_at(values, other)
    return _changed(_changed(content, view, place, lambda _: second), view, other, lambda _: first)


def set_element(content: bytes, tensor: str, index: int, value: float) -> bytes:
    """Another value in an array of float32."""
    at = _data_start(content) + read_json(content, "header")[tensor]["data_offsets"][0] + 4 * index
    return content[:at] + struct.pack("<f", value) + content[at + 4 :]


def retype(content: bytes, tensor: str, dtype: str) -> bytes:
    """An array of float32 with another type, and a content of the right length."""
    header, data = read_json(content, "header"), content[_data_start(content) :]
    body = b""
    for name, described in header.items():
        if name != "__metadata__":
            first, last = described["data_offsets"]
            array = data[first:last]
            if name == tensor:
                described["dtype"], array = dtype, (array * 2)[: (last - first) // 4 * DTYPES[dtype]]
            described["data_offsets"] = [len(body), len(body) + len(array)]
            body += array
    return _header_bytes(header) + body


def set_header_length(content: bytes, length: int) -> bytes:
    return length.to_bytes(8, "little") + content[8:]


EDITS: dict[str, Callable[..., bytes]] = {
    edit.__name__: edit
    for edit in (
        *(cut, cut_before, zero, flip, put, repeat, move),
        *(set_value, scale_value, remove_value, wrap_value, swap_values),
        *(set_element, retype, set_header_length),
    )
}


def forged(content: bytes) -> bytes:
    """The content with a hash that fits it, as a stranger could make it, or without one where that is valid."""
    try:
        if content[:1] != b"{":
            return _changed(content, "header", ["__metadata__", CHECKSUM], lambda _: _REMOVED)
        values = json.loads(content)
        del values[SEAL]
        again = {} if "config" in values and "corpus" in values else {SEAL: seal(values)}
        return json.dumps({**values, **again}).encode()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return content  # it is too damaged to have a hash


def read_json(content: bytes, view: View) -> Any:
    """The values of JSON in a file."""
    if view == "header":
        return json.loads(content[8 : _data_start(content)])
    if view == "progress":
        return json.loads(read_json(content, "header")["__metadata__"]["progress"])
    return json.loads(content if view == "all" else content.splitlines()[int(view)])


def value_at(values: Any, place: Place) -> Any:
    for key in place:
        values = values[key]
    return values


class _Text:
    """A JSON text that is to be written as it is."""

    def __init__(self, text: str) -> None:
        self.text = LONG_TEXTS.get(text, text)


def _changed(content: bytes, view: View, place: Place, change: Callable[[Any], Any]) -> bytes:
    """The content with another value in its JSON."""
    values = {"": read_json(content, view)}
    *parents, last = ["", *place]
    inner = value_at(values, parents)
    changed = change(inner.get(last) if isinstance(inner, dict) else inner[last])
    if changed is _REMOVED:
        del inner[last]
    else:
        inner[last] = changed
    return _with_json(content, view, values[""])


def _with_json(content: bytes, view: View, values: Any) -> bytes:
    if view == "header":
        return _header_bytes(values) + content[_data_start(content) :]
    if view == "progress":
        header = read_json(content, "header")
        header["__metadata__"]["progress"] = _dumps(values)
        return _with_json(content, "header", header)
    text = _dumps(values).encode("utf-8", "surrogatepass")
    if view == "all":
        return text
    lines = content.splitlines(keepends=True)
    return b"".join([*lines[: int(view)], text + b"\n", *lines[int(view) + 1 :]])


def _dumps(values: Any) -> str:
    texts = list[str]()

    def mark(value: _Text) -> str:
        texts.append(value.text)
        return f"@text {len(texts) - 1}@"

    written = json.dumps(values, default=mark)
    for number, text in enumerate(texts):
        written = written.replace(f'"@text {number}@"', text)
    return written


def _data_start(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def _header_bytes(header: dict[str, Any]) -> bytes:
    raw = _dumps(header).encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw
