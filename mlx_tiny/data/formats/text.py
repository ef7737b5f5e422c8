"""Text files: what a document is, and where it ends."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections.abc import Callable, Iterator

from mlx_tiny.data.documents import LARGEST_DOCUMENT_BYTES, SEPARATOR, Rules, cut, quoted, too_large
from mlx_tiny.data.formats.reading import FileLook, Reading
from mlx_tiny.data.opening import InputFile, read_chunks, read_lines
from mlx_tiny.errors import TinyError

LINES, BLANK_LINES, FILES, WHOLE = "lines", "blank-lines", "files", "whole"
_DESCRIPTIONS = {
    LINES: "each line is a document",
    BLANK_LINES: "documents between blank lines",
    FILES: "the whole file is one document",
    WHOLE: "the whole file is one document",
}
_FOUND_SUFFIXES = ("", ".txt", ".text")
"""Files in which the rule is found; in others each file is a document, but for tunes."""
_TUNES = ".abc"
_FEWEST_BLOCKS, _SHORTEST_BLOCK_BYTES = 20, 256
"""Blocks between blank lines are documents from these on; the speeches of a play average 154 bytes."""
_FEWEST_LINES = 20
_WRAPPED_WIDTHS = range(40, 121)
"""Columns per line of prose that is wrapped."""
_LETTERS_PER_WORD = 3
_SENTENCE_ENDS = (".", "!", "?", '"', "”", "。", "！", "？", "」", "』")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


def read_text(file: InputFile, rules: Rules) -> Reading:
    """The documents of a text file, by the rule that the user gave or that is found.

    Raises:
        TinyError: the file is not text, or does not contain the separator that the user gave.
    """
    rule = find_rule(file, found=rules.found) if rules.documents == "auto" else rules.documents.strip()
    if rule not in _DESCRIPTIONS and rules.documents != "auto" and not _contains_separator(file, rule):
        raise _missing_separator(file, rule)
    how = _DESCRIPTIONS.get(rule, f"documents between lines of {cut(rule)}")
    if rules.documents == "auto" and is_rule_found(file) and rule != SEPARATOR:
        how += " (--documents changes this)"
    return Reading(FileLook(f"{file.suffix.removeprefix('.') or 'text'}, {how}"), _documents(file, rule))


def _documents(file: InputFile, rule: str) -> Iterator[str]:
    if rule == LINES:
        return (line for chunk in read_chunks(file) for line in chunk.split("\n") if line and not line.isspace())
    if rule == BLANK_LINES:
        return _blocks(file)
    # A whole file is joined from its chunks, because each line is an object that needs memory.
    pieces = read_chunks(file) if rule in (FILES, WHOLE) else read_lines(file)
    return _split(file, pieces, _cutting(rule))


def may_be_lines(file: InputFile) -> bool:
    """Whether each line of a text file may be a document, however few they are: nothing in it says otherwise.

    Raises:
        TinyError: the file is not text.
    """
    return is_rule_found(file) and find_rule(file, fewest_lines=1) == LINES


def is_rule_found(file: InputFile) -> bool:
    """Whether the rule for a text file is found in its text; otherwise its suffix tells."""
    return file.suffix in _FOUND_SUFFIXES


def find_rule(file: InputFile, fewest_lines: int = _FEWEST_LINES, found: str | None = None) -> str:
    """What a document of a text file is, as `Rules.documents` says it.

    Args:
        file: the file.
        fewest_lines: from so many on, lines may be documents.
        found: the rule of the files to which this one belongs, for a text without separators.

    Raises:
        TinyError: the file is not text.
    """
    if not is_rule_found(file):
        return BLANK_LINES if file.suffix == _TUNES else FILES
    if found == SEPARATOR or _contains_separator(file, SEPARATOR):
        return SEPARATOR
    if found is not None:
        return found
    chunks = read_chunks(file)
    sample = next(chunks, "")
    is_whole = next(chunks, None) is None
    return _rule_of(sample if is_whole else sample[: sample.rfind("\n\n") + 1] or sample, fewest_lines)


def _rule_of(sample: str, fewest_lines: int) -> str:
    """The rule that fits a text without separators, of which `sample` is the beginning."""
    lines = sample.split("\n")
    blocks = [size for size in _block_sizes(lines) if size]
    if len(blocks) >= _FEWEST_BLOCKS and statistics.fmean(blocks) >= _SHORTEST_BLOCK_BYTES:
        return BLANK_LINES
    while lines and not lines[-1].strip():
        lines.pop()
    has_blank_lines = any(not line.strip() for line in lines)
    if not has_blank_lines and len(lines) >= fewest_lines and not _is_wrapped(lines):
        return LINES
    return WHOLE


def _block_sizes(lines: list[str]) -> Iterator[int]:
    """UTF-8 bytes of the blocks between blank lines."""
    size = 0
    for line in lines:
        if line.strip():
            size += len(line.encode()) + 1
        else:
            yield size
            size = 0
    yield size


def _is_wrapped(lines: list[str]) -> bool:
    """Whether the lines look like prose that is cut at a width, not like items.

    Most lines of such prose come close to the width, do not end a sentence, and have several words.
    """
    lengths = sorted(_columns(line.rstrip()) for line in lines)
    width = lengths[int(0.98 * (len(lengths) - 1))]
    if width not in _WRAPPED_WIDTHS:
        return False
    full = [line for line in lines if _columns(line.rstrip()) >= 0.75 * width]
    open_ends = [line for line in full if not line.rstrip().endswith(_SENTENCE_ENDS)]
    words = statistics.fmean(map(_words, lines))
    return len(full) >= 0.5 * len(lines) and len(open_ends) >= 0.5 * len(full) and words >= 5


def _columns(line: str) -> int:
    """The width of a line: two for each wide character, such as a Chinese one."""
    return len(line) if line.isascii() else len(line) + sum(unicodedata.east_asian_width(c) in "WF" for c in line)


def _words(line: str) -> float:
    """The words of a line, about; scripts without upper and lower case are often written without spaces."""
    words = len(line.split())
    if line.isascii():
        return words
    return max(words, sum(unicodedata.category(c) == "Lo" for c in line) / _LETTERS_PER_WORD)


def _split(file: InputFile, pieces: Iterator[str], divide: Callable[[str], list[str]]) -> Iterator[str]:
    """The documents of a file; white space alone is no document.

    Args:
        file: the file, for errors.
        pieces: its lines, or its chunks where no document ends before the last.
        divide: gives the parts of a line between which documents end, a single one where none does.
    """
    parts, size, start = list[str](), 0, 1
    for number, line in enumerate(pieces, 1):
        *ended, rest = divide(line)
        for part in ended:
            if size or part:
                yield from _joined([*parts, part])
            parts, size = [], 0
        if rest:
            start = start if parts else number
            parts.append(rest)
            size += len(rest)
            if size >= LARGEST_DOCUMENT_BYTES:
                raise too_large(file.name, start)
    yield from _joined(parts)


def _blocks(file: InputFile) -> Iterator[str]:
    """The documents between blank lines."""
    parts, size, start, line = list[str](), 0, 1, 1
    for chunk in read_chunks(file):
        # The line end before the chunk makes a blank line at its beginning look like the others.
        first, *others = _BLANK_LINES.split(f"\n{chunk}")
        line += chunk.count("\n")
        parts.append(first.removeprefix("\n"))
        size += len(first)
        for block in others:
            if size >= LARGEST_DOCUMENT_BYTES:
                break
            yield from _joined(parts)
            parts, size = [block], len(block)
        if others:
            start = line - others[-1].count("\n")
        if size >= LARGEST_DOCUMENT_BYTES:
            raise too_large(file.name, start)
    yield from _joined(parts)


def _joined(parts: list[str]) -> Iterator[str]:
    text = "".join(parts)
    if text and not text.isspace():
        yield text


def _cutting(rule: str) -> Callable[[str], list[str]]:
    """How a rule cuts a line; see `_split`."""
    if rule in (FILES, WHOLE):
        return lambda line: [line]
    if rule == SEPARATOR:
        return lambda line: _cut_at_markers(line) if SEPARATOR in line else [line]
    return lambda line: ["", ""] if line.strip() == rule else [line]


def _cut_at_markers(line: str) -> list[str]:
    """The parts of a line between the markers that end a document.

    A marker does so at the line's beginning or end, and where a word or a sentence's end is joined to it; a marker in
    quotes or between spaces is a mention.
    """
    first, *pieces = line.split(SEPARATOR)
    parts, mentions = list[str](), [first]
    is_blank, last = not first.strip(), first[-1:]
    for index, after in enumerate(pieces, 1):
        ends_line = index == len(pieces)
        at_edge = is_blank or not (after.strip() if ends_line else after)
        joined = last.isalnum() or last in (".", "!", "?") or after[:1].isalnum()
        if at_edge or joined:
            parts.append(SEPARATOR.join(mentions))
            mentions, is_blank = [after], not after.strip()
        else:
            mentions.append(after)
        last = after[-1:] or last
    return [*parts, SEPARATOR.join(mentions)]


def _contains_separator(file: InputFile, separator: str) -> bool:
    divide = _cutting(separator)
    return any(
        len(divide(line)) > 1
        for chunk in read_chunks(file)
        if separator in chunk
        for line in chunk.split("\n")
        if separator in line
    )


def _missing_separator(file: InputFile, separator: str) -> TinyError:
    return TinyError(
        f"No line of {file.name} separates documents",
        expected=f"lines of {quoted(separator)}, as --documents says",
        remedy=f"Give --documents {LINES}, {BLANK_LINES}, {FILES}, {WHOLE}, or the text of such lines",
    )
