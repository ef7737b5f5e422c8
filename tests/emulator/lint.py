"""Rules for the text of kernels that neither a compiler nor the emulator checks.

They are about text that MLX's generator cannot handle or only Apple's compiler refuses, and about the project's rules.
The type gate checks types, and the emulator checks behaviour.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Protocol

from mlx_tiny.ops.metal import KernelText, kernel_folder

# MLX adds one of these as a parameter where its name occurs in a body, comments included.
THREAD_ATTRIBUTES = """
dispatch_quadgroups_per_threadgroup dispatch_simdgroups_per_threadgroup dispatch_threads_per_threadgroup grid_origin
grid_size quadgroup_index_in_threadgroup quadgroups_per_threadgroup simdgroup_index_in_threadgroup
simdgroups_per_threadgroup thread_execution_width thread_index_in_quadgroup thread_index_in_simdgroup
thread_index_in_threadgroup thread_position_in_grid thread_position_in_threadgroup threadgroup_position_in_grid
threadgroups_per_grid threads_per_grid threads_per_simdgroup threads_per_threadgroup
""".split()
_ATTRIBUTE = "|".join(THREAD_ATTRIBUTES)

# Each is a pattern of code (comments blanked), and what is wrong with it.
_FORBIDDEN = [
    (r"\b(?:auto|goto|double|asm)\b", "'{}' is not allowed in kernel text"),
    (r"\bstd::", "Metal has no 'std::'"),
    (r"[=(,]\s*\[[\w\s,&=]*\]\s*[({]", "a lambda"),
    (r"\b(?:local|global|private|generic)\b", "'{}' is a keyword of OpenCL, which the type gate reads"),
    (r"^[ \t]*#[ \t]*include\b", "an include that is not one of the first lines of the kernel's file"),
    (r"\bsimdgroup_async_copy\w*", "'{}' was removed in Metal 4"),
    (r"\b__metal_\w+", "'{}' is internal to Metal's library"),
    (r"\bmemory_order_(?!relaxed)\w+", "'{}': Metal's atomics are relaxed"),
    (r"(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?(?![\w.])", "'{}' lacks the suffix f"),
]
# A row or column of an 8x8 matrix worked out from a lane's number, whitespace removed.
_LANE_MAP = re.compile(
    r"/4\)?&[24]|>>2\)?&[24]|\b\w*lane\w*/2\)?%4|\b\w*lane\w*%2\)?\*2|\b\w*lane\w*&1\)?(?:\*2|<<1)|\b\w*lane\w*>>1\)?&3"
)
_SIGNATURE = re.compile(r"\[\[kernel\]\] void \w+\(")
_BODY_END = re.compile(r"\n\}\n(?:\ntemplate \[\[host_name.*)?\s*$")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ARRAY = re.compile(r"threadgroup\s+(?:const\s+)?[\w:]+(?:\s*<[^;=]*>)?\s+\w+\s*\[[^\[\]]*\]\s*$")
_MAY_PRECEDE = re.compile(r"(?:constexpr|using|typedef|static_assert|threadgroup)\b")
# Generated parameters end at this number: Metal takes 31 buffers.
_LAST_BUFFER = 30

Found = Iterator[tuple[int, str]]


class Launch(Protocol):
    """What the emulator records of a launch."""

    @property
    def name(self) -> str: ...
    @property
    def grid(self) -> Sequence[int]: ...
    @property
    def threadgroup(self) -> Sequence[int]: ...


def lint(source: str) -> list[str]:
    """All findings about the text that MLX generated, each naming its line; empty is clean."""
    signature = _SIGNATURE.search(source)
    end = _BODY_END.search(source)
    if signature is None or end is None:
        return ["line 1: this is not the text of a kernel as MLX generates it"]
    start = source.index(") {\n", signature.end()) + 4
    parameters = source[signature.end() : start]
    findings = [*_anywhere(source), *_in_body(source[start : end.start()], start)]
    findings += [(signature.end() + at, message) for at, message in _in_parameters(parameters)]
    return _in_order(source, findings)


def lint_text(text: KernelText) -> list[str]:
    """The same for a kernel's own text, before MLX has made a function of it; lines count header and body together."""
    source = text.header + text.body
    return _in_order(source, [*_anywhere(source), *_in_body(text.body, len(text.header))])


def lint_launch(launch: Launch) -> list[str]:
    """Whether the sizes of a launch keep to the rules."""
    threads = math.prod(launch.threadgroup)
    findings = []
    if threads % 32 or not 128 <= threads <= 256:
        findings.append(f"{launch.name}: {threads} threads a threadgroup, not 128 to 256 in whole simdgroups of 32")
    if launch.threadgroup[0] % 32:
        findings.append(f"{launch.name}: rows of {launch.threadgroup[0]} threads split a simdgroup of 32")
    for axis, total, part in zip("xyz", launch.grid, launch.threadgroup, strict=True):
        if total < 1 or total % part:
            findings.append(f"{launch.name}: {total} threads along {axis} are not whole threadgroups of {part}")
    return findings


def without_comments(text: str) -> str:
    """The text with every comment blanked; each character keeps its place."""
    return _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def _in_order(source: str, findings: list[tuple[int, str]]) -> list[str]:
    lines = source.splitlines()
    numbered = sorted({(source.count("\n", 0, at) + 1, message) for at, message in findings})
    return [f"line {number}: {message}: {lines[number - 1].strip()}" for number, message in numbered]


def _anywhere(source: str) -> Found:
    for match in re.finditer(r"[^\x00-\x7f]", source):
        yield match.start(), f"{match[0]!r} is not ASCII"
    code = without_comments(source)
    for pattern, message in _FORBIDDEN:
        for match in re.finditer(pattern, code, re.MULTILINE):
            yield match.start(), message.format(match[0].strip())
    yield from _lane_maps(code)


def _lane_maps(code: str) -> Found:
    for name in _map_functions():
        code = re.sub(
            rf"inline \w+ {name}\([^)]*\) \{{.*?\n\}}",
            lambda match: re.sub(r"\S", " ", match[0]),
            code,
            flags=re.DOTALL,
        )
    places = [at for at, character in enumerate(code) if not character.isspace()]
    dense = "".join(code[at] for at in places)
    for match in _LANE_MAP.finditer(dense):
        yield places[match.start()], "the lane map of the 8x8 matrix belongs to simdgroup.h alone"


def _map_functions() -> list[str]:
    text = (kernel_folder() / "simdgroup.h").read_text(encoding="ascii")
    return re.findall(r"^inline \w+ (\w+)\(", text, re.MULTILINE)


def _in_parameters(parameters: str) -> Found:
    for match in re.finditer(r"(\w+) \[\[buffer\((\d+)\)\]\]", parameters):
        if int(match[2]) > _LAST_BUFFER:
            yield match.start(), f"{match[1]} is buffer {match[2]}, and the last is {_LAST_BUFFER}"
        if match[1].endswith(("_strides", "_ndim")):
            yield match.start(), f"{match[1]}: a kernel takes row-contiguous inputs and asks only for X_shape[i]"


def _in_body(body: str, offset: int) -> Found:
    code = without_comments(body)
    for comment in _COMMENT.finditer(body):
        for match in re.finditer(rf"\b(?:{_ATTRIBUTE}|\w+_shape|\w+_strides|\w+_ndim)\b", comment[0]):
            yield offset + comment.start() + match.start(), f"{match[0]} in a comment makes MLX add a parameter"
    for match in re.finditer(rf"\b([A-Za-z_]\w*)\s+({_ATTRIBUTE})\b", code):
        if match[1] not in {"return", "else", "case", "in"}:
            yield offset + match.start(2), f"{match[2]} is a parameter that MLX adds, not a name for a local"
    for match in re.finditer(r"\breturn\b", code):
        yield offset + match.start(), "a kernel never returns early: later barriers would wait for these threads"
    for at, message in _threadgroup_memory(code):
        yield offset + at, message


def _threadgroup_memory(code: str) -> Found:
    """Each array is declared alone, plainly, and before the body's first statement that does something."""
    at_top = True
    for at, statement, depth in _statements(code):
        # Sizes may hold a star or a name; what is left decides between an array and a pointer.
        plain = re.sub(r"\[[^\]]*\]", "[]", statement)
        declares = re.match(r"threadgroup\b(?![^=;(]*[*&])", plain)
        if not declares:
            at_top = at_top and bool(_MAY_PRECEDE.match(statement))
            # A loop's or a branch's head comes with the first statement inside.
            if re.search(r"[)\s;{]threadgroup\s+[\w:]+\s+\w+\s*[\[;=,]", plain):
                yield at, "threadgroup memory is declared at the top of the body"
        elif depth or not at_top:
            yield at, "threadgroup memory is declared at the top of the body"
        elif "=" in plain or "{" in plain:
            yield at, "threadgroup memory cannot be initialised where it is declared"
        elif not _ARRAY.match(statement):
            yield at, "threadgroup memory is declared as one array of one dimension: threadgroup T name[N];"


def _statements(code: str) -> Iterator[tuple[int, str, int]]:
    """Start, text and depth in braces of each piece between semicolons and braces, directives left out."""
    code = re.sub(r"^[ \t]*#.*$", lambda match: " " * len(match[0]), code, flags=re.MULTILINE)
    depth = start = parentheses = 0
    for at, character in enumerate(code):
        parentheses += (character == "(") - (character == ")")
        if character not in ";{}" or (parentheses and character == ";"):
            continue
        piece = code[start:at]
        if piece.strip():
            # An opening brace stays, so that an initialiser can be told from a declaration.
            text = piece.strip() + ("{" if character == "{" else "")
            yield start + len(piece) - len(piece.lstrip()), text, depth
        depth += (character == "{") - (character == "}")
        start = at + 1
