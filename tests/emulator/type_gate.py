"""Does the text that MLX generated obey Metal's types? clang answers, reading it as C++ for OpenCL behind `prelude.h`.

The two languages share the parser and the rules for address spaces, so what Metal's compiler would reject for its
types is rejected here, on any machine. House rules are stricter: nothing becomes a half silently, and signed is not
compared with unsigned. Nothing is compiled or run.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path

from clang import cindex

from .cache import digest, find, keep

_PRELUDE = Path(__file__).with_name("prelude.h")
_FILE = "kernel.metal"
# A target that has the type __bf16, whatever this machine is.
_COMMON = ["-include", str(_PRELUDE), *"-target x86_64-linux-gnu -Xclang -target-feature -Xclang +sse2".split()]
_OPENCL = [
    *_COMMON,
    *"-x clcpp -cl-std=clc++2021 -cl-no-stdinc -fno-builtin -Xclang -cl-ext=+cl_khr_fp16 -ferror-limit=0".split(),
    *"-Wall -Wextra -Wfloat-conversion -Wimplicit-float-conversion -Wshorten-64-to-32".split(),
    # The template's values stand in the text, so tests of them are constant; MLX passes what a kernel may not need.
    *"-Wno-unused-parameter -Wno-unused-variable -Wno-unused-function -Wno-tautological-compare".split(),
    "-Wtautological-unsigned-zero-compare",
]
_PLAIN = [*_COMMON, *"-x c++ -std=c++17 -nostdinc -fno-builtin -ferror-limit=0 -w".split()]
_SIGNATURE = re.compile(r"(?:template <(?P<parameters>[^>]*)>\n)?\[\[kernel\]\] void (?P<name>\w+)\(")
_HOST_NAME = re.compile(
    r"\ntemplate \[\[host_name\(.*?\)\]\] \[\[kernel\]\] decltype\((?P<name>\w+)<(?P<values>.*)>\) .*;"
)
_ATTRIBUTE = re.compile(r"\[\[\w+(?:\(\w*\))?\]\]")
_VECTOR = re.compile(r"\bvec<([^<>]+)>\(")
_SPACES = ("__global", "__local", "__private", "__constant")
_CAST_KINDS = {
    cindex.CursorKind.CSTYLE_CAST_EXPR,
    cindex.CursorKind.CXX_STATIC_CAST_EXPR,
    cindex.CursorKind.CXX_REINTERPRET_CAST_EXPR,
    cindex.CursorKind.CXX_FUNCTIONAL_CAST_EXPR,
}
_DECLARATIONS = {
    cindex.CursorKind.VAR_DECL,
    cindex.CursorKind.PARM_DECL,
    cindex.CursorKind.FIELD_DECL,
    cindex.CursorKind.TYPEDEF_DECL,
    cindex.CursorKind.TYPE_ALIAS_DECL,
}
_FUNCTIONS = {cindex.CursorKind.FUNCTION_DECL, cindex.CursorKind.FUNCTION_TEMPLATE, cindex.CursorKind.CXX_METHOD}
_POINTERS = {cindex.TypeKind.POINTER, cindex.TypeKind.LVALUEREFERENCE, cindex.TypeKind.RVALUEREFERENCE}


def check_types(source: str) -> list[str]:
    """All findings about one kernel, each naming its line; empty is clean. Kept from run to run.

    Args:
        source: what MLX generated: the header, the kernel as a template, and its instantiation.
    """
    name = digest("types", source, _rules()) + ".json"
    if path := find(name):
        return list(json.loads(path.read_bytes()))
    findings = _findings(source)
    keep(name, json.dumps(findings).encode())
    return findings


@functools.cache
def _rules() -> str:
    return digest(_PRELUDE.read_text(), Path(__file__).read_text(), importlib.metadata.version("libclang"))


def _findings(source: str) -> list[str]:
    lines = source.splitlines()
    unit = _parse(as_opencl(source), _OPENCL)
    found = [_from_clang(diagnostic) for diagnostic in unit.diagnostics]
    if not found and "bfloat" in source:
        found = [_from_clang(diagnostic) for diagnostic in _parse(as_opencl(source), _PLAIN).diagnostics]
    found += [finding for cursor in _cursors(unit.cursor) for finding in _from_tree(cursor)]
    findings = []
    for line, message in sorted(set(found)):
        text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        findings.append(f"line {line}: {message}: {text}")
    return findings


def _parse(text: str, options: list[str]) -> cindex.TranslationUnit:
    return cindex.Index.create().parse(_FILE, args=options, unsaved_files=[(_FILE, text)])


def as_opencl(source: str) -> str:
    """The text with the template's values in place, so that every body is checked; each line keeps its number."""
    instance = _HOST_NAME.search(source)
    values = instance["values"].split(", ") if instance else []
    source = _HOST_NAME.sub("\n", source)
    source = _SIGNATURE.sub(lambda match: _plain_signature(match["parameters"], values, match["name"]), source)
    return _VECTOR.sub(r"make_vector<\1>(", _ATTRIBUTE.sub("", source))


def _plain_signature(parameters: str | None, values: list[str], name: str) -> str:
    if parameters is None:
        return f"__kernel void {name}("
    given = []
    for parameter, value in zip(parameters.split(", "), values, strict=True):
        kind, parameter_name = parameter.split()
        typed = f"using {parameter_name} = {value};"
        given.append(typed if kind == "typename" else f"constant constexpr {kind} {parameter_name} = {value};")
    return f"{' '.join(given)}\n__kernel void {name}("


def _from_clang(diagnostic: cindex.Diagnostic) -> tuple[int, str]:
    # clang speaks OpenCL; a finding about another file is a mistake of the prelude, and says so.
    where, message = diagnostic.location, diagnostic.spelling
    for opencl, metal in (("__global", "device"), ("__local", "threadgroup"), ("__private", "thread")):
        message = message.replace(opencl, metal)
    message = message.replace("__constant", "constant").replace("__bf16", "bfloat")
    if where.file and where.file.name != _FILE:
        return 0, f"{Path(where.file.name).name}:{where.line}: {message}"
    return where.line, message


def _cursors(root: cindex.Cursor) -> Iterator[cindex.Cursor]:
    """All of the text, and nothing of the prelude."""
    for cursor in root.get_children():
        if cursor.location.file is None or cursor.location.file.name == _FILE:
            yield from cursor.walk_preorder()


def _from_tree(cursor: cindex.Cursor) -> Iterator[tuple[int, str]]:
    line = cursor.location.line
    if cursor.kind in _DECLARATIONS or cursor.kind in _CAST_KINDS:
        yield from _type_findings(cursor.type, cursor.spelling or "a cast", line)
    if cursor.kind in _FUNCTIONS:
        yield from _type_findings(cursor.result_type, f"the result of {cursor.spelling}", line)
        if _calls(cursor, cursor.canonical):
            yield line, f"{cursor.spelling} calls itself"
    if cursor.kind == cindex.CursorKind.FLOATING_LITERAL and _is_double(cursor.type):
        yield line, "a literal without the suffix f"
    if cursor.kind == cindex.CursorKind.VAR_DECL and _at_file_scope(cursor) and not _is_constant(cursor.type):
        yield line, f"{cursor.spelling} stands outside of functions and is not in constant memory"


def _calls(cursor: cindex.Cursor, function: cindex.Cursor) -> bool:
    """Whether a call of the function stands below the cursor; one of a template's instances counts as none."""
    return any(
        (child.referenced is not None and child.kind.is_expression() and child.referenced.canonical == function)
        or _calls(child, function)
        for child in cursor.get_children()
    )


def _type_findings(declared: cindex.Type, name: str, line: int) -> Iterator[tuple[int, str]]:
    if _is_double(declared):
        yield line, f"{name} is a double"
    inner = declared.get_canonical()
    while inner.kind in _POINTERS:
        inner = inner.get_pointee()
        if not any(space in _outermost(inner) for space in _SPACES):
            yield line, f"{name} points to memory of no stated address space"
            return


def _outermost(pointee: cindex.Type) -> str:
    """The type's words but for what it points to in turn: `float *__private` is a private pointer."""
    if pointee.kind == cindex.TypeKind.POINTER:
        return str(pointee.spelling).rpartition("*")[2]
    return str(pointee.spelling)


def _is_double(candidate: cindex.Type) -> bool:
    return bool(candidate.get_canonical().kind == cindex.TypeKind.DOUBLE)


def _at_file_scope(cursor: cindex.Cursor) -> bool:
    return cursor.semantic_parent.kind in {cindex.CursorKind.TRANSLATION_UNIT, cindex.CursorKind.NAMESPACE}


def _is_constant(declared: cindex.Type) -> bool:
    return "__constant" in declared.get_canonical().spelling
