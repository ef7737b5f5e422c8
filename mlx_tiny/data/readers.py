"""Reads the documents of one file, whatever its format and packing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mlx_tiny.data.documents import Chat, Item, Rules, Tally, clean, contains_marker, cut
from mlx_tiny.data.formats.jsons import read_json, read_json_lines
from mlx_tiny.data.formats.parquet import read_parquet
from mlx_tiny.data.formats.reading import FileLook, Reading
from mlx_tiny.data.formats.tables import read_csv, read_tsv
from mlx_tiny.data.formats.text import read_text
from mlx_tiny.data.opening import InputFile, is_empty

_READERS: dict[str, Callable[[InputFile, Rules], Reading]] = {
    ".txt": read_text,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}
"""Files of other suffixes are read as text."""


def look(file: InputFile, rules: Rules) -> FileLook:
    """Find out from the beginning of a file how its text becomes documents.

    Raises:
        TinyError: what `read_texts` would raise at its beginning.
    """
    if is_empty(file):
        return FileLook("empty")
    found = _opened(file, rules).look
    if _READERS.get(file.suffix, read_text) is read_text:
        return found if rules.column is None else FileLook(f"{found.how}, no columns for --text-column")
    return found if rules.documents == "auto" else FileLook(f"{found.how}, not by --documents {cut(rules.documents)}")


def read_texts(file: InputFile, rules: Rules, tally: Tally) -> Iterator[str]:
    """Yield the documents of a file: outer white space stripped (but that of whole rows), CR LF and CR made LF.

    Text files are cut into documents by `rules.documents`; each row of JSON lines or a table is one. Null and empty
    texts are skipped and counted. Files of unknown suffixes are read as text.

    Args:
        file: the file, packed or not.
        rules: how it becomes documents.
        tally: counts what is met, as it is met.

    Raises:
        TinyError: the file cannot be read, is not text, or is malformed.
    """
    if is_empty(file):
        tally.skipped["empty file"] += 1
        return
    reading = _opened(file, rules)
    outer = reading.outer
    for item in reading.items:
        # Most texts only need their white space stripped; the check for that is many times faster than the work.
        if isinstance(item, str) and "<|" not in item and "\r" not in item:
            text = item.strip(outer)
        else:
            text = _text_of(item, tally, outer)
        if text:
            tally.documents += 1
            yield text
        else:
            tally.skipped["null text" if item is None else "empty text"] += 1


def _opened(file: InputFile, rules: Rules) -> Reading:
    return _READERS.get(file.suffix, read_text)(file, rules)


def _text_of(item: Item, tally: Tally, outer: str | None) -> str:
    """The document in `item`; its markers and roles are counted."""
    if isinstance(item, Chat):
        tally.roles.update(role for role, _ in item.turns)
        tally.markers += any(contains_marker(content, tally.roles) for _, content in item.turns)
        return item.text()
    text = clean(item or "", outer)
    tally.markers += contains_marker(text, tally.roles)
    return text


__all__ = ["FileLook", "look", "read_texts"]
