from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Document, Tally
from mlx_tiny.data.events.schema import format_schema
from mlx_tiny.data.events.source import EventSource, histories_to_measure
from mlx_tiny.data.findings import Seen
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.sources import resolve
from mlx_tiny.data.summary import summary
from mlx_tiny.data.tokenizers.characters import ByteTokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError

from .conftest import SHOP, shop_row

ROWS = [shop_row(str(n % 50), f"A{n * n % 7}", f"2010-12-{1 + n // 10:02}", str(n % 9)) for n in range(200)]


def write_table(path: Path, rows: list[dict[str, str]] = ROWS) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(SHOP.needed))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "schema.yaml").write_text(format_schema(SHOP))
    return write_table(tmp_path / "shop.csv")


def config(table: Path, **settings: Any) -> DataConfig:
    return DataConfig(sources=(str(table),), schema=str(table.parent / "schema.yaml"), **settings)


def documents(settings: DataConfig, seen: Seen | None = None) -> list[Document]:
    return list(EventSource(settings).documents(seen))


def test_histories_are_held_out_by_their_names(table: Path) -> None:
    found = documents(config(table, held_out=0.3))
    assert 5 < sum(document.held_out for document in found) < 25
    assert sum(document.text.count("\n") + 1 for document in found) == len(ROWS)
    chosen = {document.text for document in found if document.held_out}
    write_table(table, ROWS[:100] * 2)
    again = {d.text.partition("\n")[0] for d in documents(config(table, held_out=0.3)) if d.held_out}
    assert again == {text.partition("\n")[0] for text in chosen}


def test_at_least_one_history_is_held_out(table: Path) -> None:
    assert sum(document.held_out for document in documents(config(table, held_out=1e-9))) == 1
    write_table(table, [{**row, "customer": "7"} for row in ROWS])
    with pytest.raises(TinyError, match="single history"):
        documents(config(table))


def test_the_last_events_in_time_are_held_out_where_the_schema_says_so(table: Path) -> None:
    (table.parent / "schema.yaml").write_text(format_schema(replace(SHOP, split="time")))
    found = documents(config(table, held_out=0.2))
    events = {side: sum(d.text.count("\n") + 1 for d in found if d.held_out is side) for side in (False, True)}
    assert events == {False: 160, True: 40}


def test_nothing_or_another_table_can_be_held_out(table: Path) -> None:
    everything = documents(config(table, held_out=0.0))
    assert sum(not document.held_out for document in everything) == 50
    assert [d.text for d in everything if d.held_out] == [d.text for d in everything if not d.held_out]
    other = write_table(table.parent / "other.csv", ROWS[:3])
    found = documents(config(table, validation=str(other)))
    assert [document.held_out for document in found] == [False] * 50 + [True] * 3


def test_what_is_skipped_is_counted_and_malformed_lines_are_named(table: Path) -> None:
    write_table(table, [*ROWS, shop_row("", "A1", "2010-12-01")])
    source, seen = EventSource(config(table)), Seen()
    list(source.documents(seen))
    assert source.findings(seen).skipped == {"empty customer": 1}
    write_table(table, [*ROWS, shop_row("7", "A1", "someday")])
    with pytest.raises(TinyError, match=r"Line 202 of .*shop.csv.*someday"):
        documents(config(table))


def test_the_schema_is_a_part_of_the_fingerprint(table: Path) -> None:
    first = resolve(config(table)).fingerprint()
    assert resolve(config(table)).fingerprint() == first
    assert resolve(config(table, held_out=0.5)).fingerprint() != first
    (table.parent / "schema.yaml").write_text(format_schema(SHOP, {"order": "another comment"}))
    assert resolve(config(table)).fingerprint() == first
    (table.parent / "schema.yaml").write_text(format_schema(replace(SHOP, split="time")))
    assert resolve(config(table)).fingerprint() != first


def test_prepared_histories_have_a_tokenizer_of_items(table: Path) -> None:
    corpus = prepare(config(table, held_out=0.3))
    tokenizer = corpus.tokenizer
    assert isinstance(tokenizer, ItemsTokenizer) and tokenizer.schema == SHOP
    events = corpus.record.valid.events
    assert events == sum(d.text.count("\n") + 1 for d in documents(config(table, held_out=0.3)) if d.held_out)
    texts = [document.text for document in documents(config(table, held_out=0.3)) if not document.held_out]
    ids = [index for text in texts for index in (tokenizer.bos, *tokenizer.encode(text))]
    assert corpus.train.tolist() == [*ids, tokenizer.bos]


def test_known_items_and_events_with_others_are_counted_and_said(table: Path) -> None:
    write_table(table, [*ROWS, *(shop_row(str(n), f"B{n}", "2010-12-30") for n in range(50))])
    record = prepare(config(table, held_out=0.3)).record
    items = {row["article"] for row in ROWS}
    assert record.items == len(items)
    for file in (record.train, record.valid):
        assert file.unknown_items == file.documents
    assert [line for line in summary(record) if line.startswith(f"items: {len(items)} ") and "20.0%" in line]
    for room in range(3):
        small = prepare(config(table, vocabulary_size=257 + 17 + len(items) - 1 + room)).record
        said = any("--vocabulary-size" in line for line in summary(small))
        assert (small.items, said) == ((len(items) - 1, True), (len(items), True), (len(items), False))[room]


def test_a_model_of_other_histories_or_texts_is_refused(table: Path) -> None:
    tokenizer = prepare(config(table)).tokenizer
    assert prepare(config(table, held_out=0.5), tokenizer=tokenizer).tokenizer.hash == tokenizer.hash
    with pytest.raises(TinyError, match="schema"):
        prepare(DataConfig(sources=(str(table),)), tokenizer=tokenizer)
    with pytest.raises(TinyError, match="schema"):
        prepare(config(table), tokenizer=ByteTokenizer())
    (table.parent / "schema.yaml").write_text(format_schema(replace(SHOP, columns=SHOP.columns[:2])))
    with pytest.raises(TinyError, match="other columns"):
        prepare(config(table), tokenizer=tokenizer)


def test_the_file_of_a_schema_that_is_known_is_not_read(table: Path) -> None:
    first = resolve(config(table)).fingerprint()
    (table.parent / "schema.yaml").unlink()
    assert resolve(config(table), SHOP).fingerprint() == first
    with pytest.raises(TinyError, match="schema"):
        resolve(config(table))


def test_tables_to_measure_need_no_schema_file(table: Path) -> None:
    tally = Tally()
    found = histories_to_measure(DataConfig(sources=(str(table),)), SHOP, tally)
    assert [history.text for history in found] == [d.text for d in documents(config(table))]
    assert tally.documents == 50


def test_generated_stories_have_no_schema(table: Path) -> None:
    with pytest.raises(TinyError, match="schema"):
        resolve(DataConfig(sources=("stories",), schema=str(table.parent / "schema.yaml")))
