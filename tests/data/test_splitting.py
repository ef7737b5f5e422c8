"""How validation text is chosen where there are no validation files."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_tiny.data.documents import document_hash
from mlx_tiny.data.findings import Duplicates, HashSet
from mlx_tiny.data.splitting import MEASURED_BYTES, choose_split, cut_end

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


CHAT = "<|user|>Hi there.<|assistant|>" + "Hello, what is it? " * 4 + "<|user|>Bye<|assistant|>Good bye"


@pytest.mark.parametrize(
    ("texts", "share", "kind"),
    [
        ([f"{number} {LINES}" for number in range(199)], 0.02, "ends"),
        ([f"{number} {LINES}" for number in range(200)], 0.02, "hash"),
        ([f"{number} {LINES}" for number in range(7)], 0.5, "ends"),
        ([f"{number} {LINES}" for number in range(8)], 0.5, "hash"),
        ([LINES, "short"], 0.02, "ends"),
        ([LINES[:1000]], 0.02, "ends"),
        ([LINES[:1000]] * 3, 0.02, "ends"),
        ([LINES[:1999], LINES[:1998]], 0.02, "hash"),
        (["Ann", "Ben", "Cleopatra"] * 8, 0.02, "hash"),
        ([CHAT, CHAT * 500], 0.02, "hash"),
        ([CHAT], 0.02, "ends"),
    ],
)
def test_ends_are_held_out_of_few_documents_that_are_long(texts: list[str], share: float, kind: str) -> None:
    split = choose_split(texts, share)
    assert split.kind == kind
    parts = list(split.documents((text, document_hash(text)) for text in texts))
    learned, held_out = ({part.text for part in parts if part.held_out is side} for side in (False, True))
    assert learned and held_out and not learned & held_out
    if kind == "hash":
        assert learned | held_out == set(texts)


@pytest.mark.parametrize(
    ("text", "share", "end"),
    [
        (CHAT, 0.02, "<|assistant|>Good bye"),
        (CHAT, 0.25, "<|user|>Bye<|assistant|>Good bye"),
        (CHAT, 0.99, CHAT[17:]),
        ("<|user|>Hi<|assistant|>Hello", 0.02, "<|assistant|>Hello"),
        ("<|user|>" + "a" * 92, 0.95, "a" * 92),
        ("a" * 95 + "<|user|>" + "b" * 5, 0.1, "<|user|>bbbbb"),
        ("a" * 95 + "<|tool call|>" + "b" * 5, 0.1, "<|tool call|>bbbbb"),
        (f"{'a' * 400} {'b' * 100} {'c' * 99}", 0.3, f"{'b' * 100} {'c' * 99}"),
        (f"{'a' * 100} {'b' * 70}", 0.02, "b" * 70),
        ("X:1\nT:A\nK:C\nCDEFGABc", 0.02, "CDEFGABc"),
        ("A tune\nCDEFGABc", 0.02, "CDEFGABc"),
        ("One\nTwo words", 0.02, "words"),
    ],
)
def test_no_word_and_no_marker_is_cut_and_no_turn_of_a_chat(text: str, share: float, end: str) -> None:
    assert cut_end(text, share)[1] == end


def test_one_of_few_documents_is_learned_whatever_the_share() -> None:
    texts = ["Ann", "Ben"]
    parts = list(choose_split(texts, 0.99).documents((text, document_hash(text)) for text in texts))
    assert sorted(part.held_out for part in parts) == [False, True]


@pytest.mark.parametrize(("count", "expected"), [(2, 1), (18, 1), (24, 2), (60, 4), (199, 4)])
def test_of_few_documents_some_are_held_out_whatever_the_share(count: int, expected: int) -> None:
    """Also where the documents are too short to be cut, and where some of them recur."""
    texts = [f"{number:03}" for number in range(count)]
    for each in (texts, [*texts, texts[0]]):
        parts = list(choose_split(each, 1e-9).documents((text, document_hash(text)) for text in each))
        assert sorted(part.text for part in parts) == sorted(each)
        held_out = {part.text for part in parts if part.held_out}
        assert held_out == set(sorted(texts, key=document_hash)[:expected])


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


@given(st.sets(st.integers(0, 2**64 - 1)), st.integers(0, 2**64 - 1))
def test_a_set_of_hashes_contains_what_it_is_made_of(numbers: set[int], other: int) -> None:
    hashes = HashSet(iter([*numbers, *numbers]))
    assert all(number in hashes for number in numbers) and (other in hashes) == (other in numbers)
