from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_tiny.data.events.histories import event_text, rows_of
from mlx_tiny.data.events.schema import Column, Schema
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError

SCHEMA = Schema((Column("article", "item"), Column("title", "words"), Column("count", "number", (2.0, 6.0))))
TEXT = "A7\tRED BAG\t<2\nB\tRED BAG\t>=6\nA7\tBAG RED\t\nC\tTIN\t<2\nB\tRED BAG\t2..<6"


@pytest.fixture(scope="module")
def items() -> ItemsTokenizer:
    return ItemsTokenizer.train([TEXT], 2048, schema=SCHEMA)


def pieces(tokenizer: ItemsTokenizer, text: str) -> list[str]:
    return [tokenizer.piece_bytes[index].decode() for index in tokenizer.encode(text)]


def test_known_cells_and_words_are_tokens_and_others_are_spelled(items: ItemsTokenizer) -> None:
    assert pieces(items, TEXT)[:12] == ["A7", "\t", "RED", " BAG", "\t", "<2", "\n", "B", "\t", "RED", " BAG", "\t"]
    assert pieces(items, "C\tRED TIN\t<2") == ["C", "\t", "RED", *" TIN", "\t", "<2"]
    assert items.unit == "event"


def test_the_same_text_in_two_columns_is_two_tokens() -> None:
    schema = Schema((Column("from", "item"), Column("to", "category")))
    tokenizer = ItemsTokenizer.train(["A\tA\nA\tA"], 2048, schema=schema)
    first, _, second = tokenizer.encode("A\tA")
    assert first != second and tokenizer.decode([first, second]) == "AA"


def test_a_small_vocabulary_takes_always_the_bins_then_items_then_the_most_frequent_words() -> None:
    bins = 3
    size = 257 + bins
    assert pieces(ItemsTokenizer.train([TEXT], size, schema=SCHEMA), "A7\tRED\t<2") == [*"A7\tRED\t", "<2"]
    for room, known in enumerate(([], ["A7"], ["A7", "B"], ["A7", "B", " BAG"], ["A7", "B", " BAG", "RED"])):
        chosen = ItemsTokenizer.train([TEXT], size + room, schema=SCHEMA)
        assert [piece.decode() for piece in chosen.piece_bytes[257:] if piece[:1] not in b"<>2"] == known
        assert len(chosen.items) == min(room, 2)
    with pytest.raises(TinyError, match=r"at least 260.*got 259"):
        ItemsTokenizer.train([TEXT], size - 1, schema=SCHEMA)
    with pytest.raises(TinyError, match="no events"):
        ItemsTokenizer.train([], size, schema=SCHEMA)


def test_the_items_of_a_history_are_found_where_they_are_known(items: ItemsTokenizer) -> None:
    found = items.known_items(TEXT)
    assert [index >= 0 for index in found] == [True, True, True, False, True]
    assert found[0] == items.encode(TEXT)[0] and set(found) - {-1} == set(items.items)
    assert items.item_pieces == [b"A7", b"B"]
    ids = [items.bos, *items.encode(TEXT)]
    begun = [items.piece_bytes[ids[place]] for place in items.item_places(TEXT)]
    assert begun == [b"A7", b"B", b"A7", b"C", b"B"]
    assert items.item_places("") == [1]


part = st.sampled_from(["A7", "B", "C", "RED", " BAG", " ", "\t", "\n", "<2", ">=6", "\u00e9", "\\", "\r", ""])


@given(st.lists(st.one_of(part, st.text(st.characters(exclude_categories=["Cs"]), max_size=4))).map("".join))
def test_any_text_round_trips(items: ItemsTokenizer, text: str) -> None:
    ids = items.encode(text)
    assert items.decode(ids) == text
    assert b"".join(items.piece_bytes[index] for index in ids) == text.encode()


def test_rows_come_back_from_tokens(items: ItemsTokenizer) -> None:
    rows = rows_of(items.decode(items.encode(TEXT)), SCHEMA)
    assert rows[0] == {"article": "A7", "title": "RED BAG", "count": "<2"}
    assert "\n".join(event_text(row, SCHEMA) for row in rows) == TEXT


def test_the_schema_is_a_part_of_the_file(items: ItemsTokenizer) -> None:
    assert ItemsTokenizer.from_model(items.model).schema == SCHEMA
    assert ItemsTokenizer.from_model(items.model).hash == items.hash


@pytest.mark.parametrize("cells", ['[["A"]]', '[["A", "A"], [], []]', "5", "[[5], [], []]"])
def test_a_damaged_file_is_refused(items: ItemsTokenizer, cells: str) -> None:
    head, _, _ = items.model.decode().rpartition('"cells": ')
    with pytest.raises((ValueError, TypeError)):
        ItemsTokenizer.from_model(f'{head}"cells": {cells}}}'.encode())
