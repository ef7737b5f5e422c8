"""The kind `items`: a token per known cell of an event, and per known word of a column of words.

The text is that of a history (`mlx_tiny.data.events.histories`): one event per line, cells separated by tabs. Tabs,
line ends and cells that are not known are spelled in bytes, so that any text can be encoded and is decoded exactly.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mlx_tiny.data.events.cells import labels_of
from mlx_tiny.data.events.schema import Column, Schema
from mlx_tiny.data.tokenizers.pieces import PieceTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.files import parse_json
from mlx_tiny.records import from_plain, to_plain

LEAST_OCCURRENCES = 2
"""A cell that occurs once is spelled, so that the model learns to spell: about as many events of the future have unseen
cells as events of the past have cells that occur once (Good 1953)."""
_BOS = 0
_FIRST_BYTE = 1
_FIRST_CELL = 257
_WORD = re.compile(r" ?[^ ]+| ")


class ItemsTokenizer(PieceTokenizer):
    """A token per known cell, for histories of one schema.

    Ids: BOS, 256 bytes, the cells of each column.

    Args:
        schema: of the histories.
        cells: for each column of the schema, its known cells, or words with the space before them.
    """

    kind = "items"
    unit = "event"
    _cut = re.compile("\n")
    event_end = _FIRST_BYTE + ord("\n")
    """The id between two events."""

    def __init__(self, schema: Schema, cells: Sequence[Sequence[str]]) -> None:
        if len(cells) != len(schema.columns):
            raise ValueError("cells of other columns than those of the schema")
        model = {"kind": self.kind, "schema": to_plain(schema), "cells": [list(column) for column in cells]}
        pieces = [b"", *(bytes([byte]) for byte in range(256))]
        self._ids: list[dict[str, bytes]] = []
        for column in cells:
            first = len(pieces)
            self._ids.append({cell: np.array([first + i], "<u2").tobytes() for i, cell in enumerate(column)})
            pieces += [cell.encode() for cell in column]
            if len(self._ids[-1]) != len(column):
                raise ValueError("a cell that occurs twice")
        super().__init__(json.dumps(model, ensure_ascii=False).encode(), pieces, _BOS, {})
        self.schema = schema
        self.items = range(_FIRST_CELL, _FIRST_CELL + len(cells[0]))
        """Ids of the known items."""
        self.has_only_items = all(
            tuple(known) == (labels_of(column) or ())
            for column, known in zip(schema.columns[1:], cells[1:], strict=True)
        )
        """Whether no words or categories are known, so that a full vocabulary may lack items."""

    @classmethod
    def from_model(cls, model: bytes) -> ItemsTokenizer:
        values = parse_json(model)
        if set(values) != {"kind", "schema", "cells"}:
            raise ValueError("a tokenizer of the kind items with other contents than its own")
        if not all(isinstance(cell, str) for column in values["cells"] for cell in column):
            raise ValueError("a cell that is not text")
        return cls(from_plain(Schema, values["schema"], "schema of the tokenizer"), values["cells"])

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocabulary_size: int,
        *,
        roles: Iterable[str] = (),
        schema: Schema | None = None,
    ) -> ItemsTokenizer:
        """The tokenizer with all names of bins, and the most frequent items, then other cells, for which there is room.

        Args:
            schema: of the histories; without one, each line of a text is one item.

        Raises:
            TinyError: no text, or the size has no room for the bytes and the names of bins.
        """
        schema = schema or Schema((Column("item", "item"),))
        counts = [Counter[str]() for _ in schema.columns]
        lines = 0
        for text in texts:
            for line in text.split("\n"):
                lines += 1
                for column, cell, counted in zip(schema.columns, line.split("\t"), counts, strict=False):
                    counted.update(_WORD.findall(cell) if column.kind == "words" else (cell,))
        if not lines:
            raise TinyError("There are no events for a vocabulary", remedy="Give some events")
        return cls(schema, _chosen(schema, counts, vocabulary_size - _FIRST_CELL))

    @property
    def item_pieces(self) -> list[bytes]:
        """The cells of `items`, in UTF-8."""
        return self.piece_bytes[self.items.start : self.items.stop]

    def known_items(self, text: str) -> list[int]:
        """The id of each event's item, and -1 where it is not known.

        Args:
            text: of a history.
        """
        known = self._ids[0]
        cells = (line.partition("\t")[0] for line in text.split("\n"))
        return [int.from_bytes(known[cell], "little") if cell in known else -1 for cell in cells]

    def item_places(self, text: str) -> list[int]:
        """Where the item of each event begins, in the ids of a history after a BOS."""
        ids = np.frombuffer(self.encode_bytes(text), "<u2")
        return [1, *(np.flatnonzero(ids == self.event_end) + 2).tolist()]

    def _encode_plain(self, text: str) -> bytes:
        return _spelled("\n").join(map(self._encode_line, text.split("\n")))

    def _encode_line(self, line: str) -> bytes:
        return _spelled("\t").join(self._encode_cell(index, cell) for index, cell in enumerate(line.split("\t")))

    def _encode_cell(self, index: int, cell: str) -> bytes:
        if index >= len(self._ids):
            return _spelled(cell)
        known = self._ids[index]
        if self.schema.columns[index].kind == "words":
            return b"".join(known.get(word) or _spelled(word) for word in _WORD.findall(cell))
        return known.get(cell) or _spelled(cell)


def _spelled(text: str) -> bytes:
    return (np.frombuffer(text.encode(), np.uint8).astype("<u2") + _FIRST_BYTE).tobytes()


def _chosen(schema: Schema, counts: list[Counter[str]], room: int) -> list[list[str]]:
    """The cells of each column: names of bins, then the most frequent items, then the most frequent other cells.

    Raises:
        TinyError: there is no room for the names of bins.
    """
    chosen = [list(labels_of(column) or ()) for column in schema.columns]
    room -= sum(map(len, chosen))
    if room < 0:
        raise TinyError(
            "The vocabulary is too small for the schema",
            expected=f"at least {_FIRST_CELL + sum(map(len, chosen))}: the bytes, and the names of bins",
            got=room + _FIRST_CELL + sum(map(len, chosen)),
            remedy="Ask for more (--vocabulary-size), or give fewer edges",
        )
    offered = [
        (index > 0, -count, index, cell)
        for index, counted in enumerate(counts)
        if not chosen[index]
        for cell, count in counted.items()
        if cell and count >= LEAST_OCCURRENCES
    ]
    for *_, index, cell in sorted(offered)[:room]:
        chosen[index].append(cell)
    return chosen
