"""How validation text is chosen where there are no validation files."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_tiny.data.documents import document_hash
from mlx_tiny.data.findings import Duplicates
from mlx_tiny.data.splitting import FEW_DOCUMENTS, MEASURED_BYTES, choose_split, cut_end

LINES = "\n".join(f"Line {number} of a long book." for number in range(1000))
BOOK = " ".join(f"word{number}" for number in range(5000))


@pytest.mark.parametrize(("text", "mark"), [(LINES, "\n"), (BOOK, " "), (LINES.replace("\n", "\n\n"), "\n\n")])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.5])
def test_the_end_is_cut_between_lines_or_words(text: str, mark: str, share: float) -> None:
    begin, end = cut_end(text, share)
    assert begin + mark + end == text
    assert len(end) == pytest.approx(max(64, share * len(text)), abs=30)


def test_text_without_spaces_is_cut_too() -> None:
    begin, end = cut_end("東" * 10_000, 0.02)
    assert (len(begin), len(end)) == (9_800, 200)


@given(st.text(min_size=1).map(str.strip).filter(len), st.floats(0.001, 0.999))
def test_no_text_is_lost(text: str, share: float) -> None:
    begin, end = cut_end(text, share)
    assert re.sub(r"\s", "", begin + end) == re.sub(r"\s", "", text)
    assert begin or not end


def test_few_documents_lose_their_ends_and_many_are_held_out_whole() -> None:
    texts = [f"{number} {LINES}" for number in range(FEW_DOCUMENTS)]
    few = choose_split(texts[1:], 0.02)
    assert few.kind == "ends"
    parts = list(few.documents((text, document_hash(text)) for text in texts[1:]))
    assert len(parts) == 2 * (FEW_DOCUMENTS - 1)
    assert sum(len(part.text) for part in parts if part.held_out) < 0.04 * sum(map(len, texts))
    assert choose_split(texts, 0.02).kind == "hash"


@pytest.mark.parametrize("count", [2, FEW_DOCUMENTS - 1, FEW_DOCUMENTS, 100])
def test_one_document_is_held_out_at_least(count: int) -> None:
    """Also where the documents are too short to be cut."""
    texts = [f"{number:03}" for number in range(count)]
    split = choose_split(texts, 1e-9)
    parts = list(split.documents((text, document_hash(text)) for text in texts))
    assert sorted(part.text for part in parts) == texts
    (held_out,) = [part.text for part in parts if part.held_out]
    assert document_hash(held_out) == min(map(document_hash, texts))


def test_no_more_is_read_than_the_choice_needs() -> None:
    def endless():
        number = 0
        while True:
            yield f"Document {number}"
            number += 1

    assert choose_split(endless(), 0.02).share == 0.02


def test_strength_is_measured_on_the_beginning_where_nothing_is_held_out() -> None:
    texts = ["a" * 1000, "b" * 300_000, "c"]
    parts = list(choose_split(texts, 0.0).documents((text, document_hash(text)) for text in texts))
    assert [part.text for part in parts if not part.held_out] == texts
    assert [len(part.text) for part in parts if part.held_out] == [1000, MEASURED_BYTES]


def test_duplicates_are_counted_exactly_and_then_by_a_sample() -> None:
    exact, sampled = Duplicates(), Duplicates(largest=500)
    for number in range(20_000):
        for duplicates in (exact, sampled):
            duplicates.add(document_hash(str(number % 15_000)))
    assert (exact.number, exact.estimated) == (5000, False)
    assert sampled.estimated and len(sampled._counts) <= 500 and 3500 < sampled.number < 6500
