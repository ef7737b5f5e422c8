"""A finished model is applied to text that is read as its own text was, and what was read is said."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Tally
from mlx_tiny.data.events.schema import Column, Schema
from mlx_tiny.data.measured import config_to_measure, named_texts, reading_lines
from mlx_tiny.data.tokenizers.characters import ByteTokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError

PROSE = """This line of a book was cut at the width of its page, and
the sentence goes on for some more lines after this,
until it ends here, so that no line of it is a text.
"""
LEARNED = DataConfig(text_column="body", documents="lines", suffix=(".md",), held_out=0.5)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ("body", "lines", None)),
        ({"text_column": "title"}, ("title", "lines", None)),
        ({"documents": "whole"}, ("body", "whole", None)),
        ({"header": True}, ("body", "lines", True)),
        ({"header": False}, (None, "lines", False)),
        ({"header": False, "text_column": "2"}, ("2", "lines", False)),
    ],
    ids=str,
)
def test_a_text_is_read_as_the_text_that_was_learned(
    asked: dict[str, Any], expected: tuple[str | None, str, bool | None]
) -> None:
    config, told = config_to_measure("other.csv", LEARNED, asked), list[str]()
    assert (config.text_column, config.documents, config.header) == expected
    assert config.sources == ("other.csv",) and config.suffix == DataConfig().suffix
    assert config_to_measure("other.csv", DataConfig(), asked, told.append).suffix == () and told == []


@pytest.mark.parametrize(
    ("content", "documents"),
    [
        ("Ann\nBob\nCyd\n", 3),
        ("Ann\n\nBob\n", 1),
        ("Ann\nBob\n<|endoftext|>\nCyd\n", 2),
        (PROSE, 1),
    ],
    ids=["lines", "blank lines", "separator", "prose"],
)
def test_a_few_lines_are_documents_for_a_model_of_single_lines(tmp_path: Path, content: str, documents: int) -> None:
    (tmp_path / "few.txt").write_text(content)

    def read(single_lines: bool, **asked: Any) -> int:
        config = config_to_measure(str(tmp_path / "few.txt"), DataConfig(), asked, single_lines=single_lines)
        return len(list(named_texts(config, ByteTokenizer(), Tally())))

    assert read(True) == documents
    assert read(True, documents="whole") == 1
    assert read(False) == (2 if "endoftext" in content else 1)


def test_settings_of_the_run_and_the_column_are_said(tmp_path: Path) -> None:
    path, told, tally = tmp_path / "two.csv", list[str](), Tally()
    path.write_text("title,body\n" + "".join(f"A title {n},The body of {n}.\n" for n in range(20)))
    config = config_to_measure(str(path), LEARNED, {}, told.append)
    texts = [text for _, text in named_texts(config, ByteTokenizer(), tally)]
    assert texts[0] == "The body of 0." and len(texts) == 20
    assert "text-column body" in told[0] and "column 'body'" in reading_lines(tally)[0]


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolons", "jsonl", "json"])
def test_events_on_standard_input_are_a_table(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"article": f"A{n % 7}", "count": f"{n % 3}"} for n in range(20)]
    if kind in ("jsonl", "json"):
        text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
    else:
        delimiter = {"csv": ",", "tsv": "\t", "semicolons": ";"}[kind]
        text = "\n".join(map(delimiter.join, [rows[0], *(row.values() for row in rows)]))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    schema = Schema((Column("article", "item"), Column("count", "category")))
    tokenizer = ItemsTokenizer.train(["A1\t0"], 2048, schema=schema)
    config = config_to_measure("-", DataConfig(schema="shop.yaml"), {})
    found = [text for _, text in named_texts(config, tokenizer, Tally())]
    assert found == ["\n".join("\t".join(row.values()) for row in rows)]


@pytest.mark.parametrize("asked", [{"text_column": "shop"}, {"documents": "lines"}], ids=str)
def test_settings_of_texts_are_refused_for_tables_of_events(asked: dict[str, Any]) -> None:
    with pytest.raises(TinyError, match=f"{next(iter(asked))}.*schema"):
        config_to_measure("shop.csv", DataConfig(schema="shop.yaml"), asked)
