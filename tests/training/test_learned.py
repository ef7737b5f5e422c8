"""Documents that a run was trained on are found among others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import story

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import SEPARATOR, Tally
from mlx_tiny.data.events.schema import Column, Schema, format_schema
from mlx_tiny.data.events.source import histories_to_measure
from mlx_tiny.data.mixture import prepare_data
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.training.learned import count_learned, count_learned_validation


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
    return tmp_path


def corpus_of(folder: Path, texts: list[str], held_out: float) -> PreparedCorpus:
    (folder / "text.txt").write_text(f"\n{SEPARATOR}\n".join(texts))
    return prepare(DataConfig(sources=(str(folder / "text.txt"),), held_out=held_out, vocabulary_size=400))


def test_training_documents_are_learned_and_those_held_out_are_not(folder: Path) -> None:
    stories = [story(n) for n in range(200)]
    corpus = corpus_of(folder, stories, 0.3)
    new = [story(n) for n in range(500, 510)]
    assert 0 < corpus.record.train.documents < len(stories)
    assert count_learned([*stories, *new], corpus.tokenizer, [corpus]) == corpus.record.train.documents
    assert count_learned(stories, corpus.tokenizer, [corpus, corpus]) == corpus.record.train.documents
    assert count_learned(new, corpus.tokenizer, [corpus]) == 0 == count_learned(stories, corpus.tokenizer, [])


def test_a_mixture_is_learned_in_all_its_texts(folder: Path) -> None:
    stories, sums = [story(n) for n in range(200)], [f"{n} + {n} = {2 * n}." for n in range(400)]
    for name, texts in (("a", stories), ("b", sums)):
        (folder / f"{name}.txt").write_text(f"\n{SEPARATOR}\n".join(texts))
    sources = (f"{folder}/a.txt:1", f"{folder}/b.txt:1")
    corpus = prepare_data(DataConfig(sources=sources, held_out=0.1, vocabulary_size=400))
    trained = sum(part.corpus.record.train.documents for part in corpus.parts)
    assert count_learned([*stories, *sums], corpus.tokenizer, [corpus]) == trained < 600


def test_few_documents_are_learned_although_their_ends_are_held_out(folder: Path) -> None:
    long = " ".join(map(story, range(30)))
    corpus = corpus_of(folder, [long], 0.2)
    assert corpus.record.valid.documents == 1
    end = long[-len(long) // 20 :]
    assert count_learned([long, end, story(99)], corpus.tokenizer, [corpus]) == 1


def test_a_document_is_learned_where_nothing_is_held_out(folder: Path) -> None:
    corpus = corpus_of(folder, [story(n) for n in range(5)], 0.0)
    assert count_learned([story(2)], corpus.tokenizer, [corpus]) == 1


def purchases(folder: Path, days: int, first: int = 0, customers: int = 30) -> Path:
    """A table in which each customer buys an article a day."""
    rows = [f"C{n},A{n * n * day % 11},{day}" for day in range(1, days + 1) for n in range(first, first + customers)]
    (folder / "shop.csv").write_text("\n".join(["customer,article,day", *rows]))
    return folder / "shop.csv"


@pytest.mark.parametrize("split", ["history", "time"])
def test_a_history_is_learned_whose_beginning_was_trained_on(folder: Path, split: str) -> None:
    columns = Column("article", "item"), Column("customer", "category")
    schema = Schema(columns, ("customer",), "day", "seconds", split)
    (folder / "s.yaml").write_text(format_schema(schema))
    config = DataConfig(sources=(str(purchases(folder, 10)),), schema=str(folder / "s.yaml"), held_out=0.3)
    corpus = prepare(config)

    def learned(days: int, first: int = 0) -> int:
        config = DataConfig(sources=(str(purchases(folder, days, first)),))
        texts = [history.text for history in histories_to_measure(config, schema, Tally())]
        return count_learned(texts, corpus.tokenizer, [corpus])

    expected = corpus.record.train.documents
    assert (expected == 30) == (split == "time")
    assert learned(10) == learned(12) == learned(5) == expected
    assert learned(10, 100) == 0


@pytest.mark.parametrize("texts", [[story(n) for n in range(200)], [" ".join(map(story, range(60)))]])
def test_validation_text_that_another_split_trains_on_is_found(folder: Path, texts: list[str]) -> None:
    learned = corpus_of(folder, texts, 0.1)
    for share, most in ((0.1, 0), (0.05, 0), (0.4, None)):
        config = replace(learned.record.settings, held_out=share)
        other = prepare(config, tokenizer=learned.tokenizer)
        both = other.record.valid.documents - (learned.record.valid.documents if len(texts) > 1 else 0)
        assert count_learned_validation(other, [learned]) == (both if most is None else most)
    assert both > 0 and count_learned_validation(learned, []) == 0
    nothing = prepare(replace(config, held_out=0.0), tokenizer=learned.tokenizer)
    assert count_learned_validation(learned, [nothing]) == learned.record.valid.documents
