"""A validation text is shortened to the same text in every vocabulary, and its numbers are those of what is left."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from tiny_run import story

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import DocumentHash
from mlx_tiny.data.mixture import prepare_data
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.prepared import BITS_FILE, PreparedCorpus, find_prepared
from mlx_tiny.data.shortened import extent_line, shortened
from mlx_tiny.model.counting import KneserNey
from mlx_tiny.training.counted import counting_alone

KINDS = ("bpe", "bytes", "characters")


def prepared(folder: Path, texts: list[str], **settings: object) -> PreparedCorpus:
    """Corpus with these validation documents."""
    for name, documents in (("train", [story(number) for number in range(300)]), ("valid", texts)):
        (folder / f"{name}.txt").write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    config = DataConfig(
        (str(folder / "train.txt"),), str(folder / "valid.txt"), documents="<|endoftext|>", vocabulary_size=400
    )
    return prepare(dataclasses.replace(config, **settings))  # type: ignore[arg-type]


def read(corpus: PreparedCorpus) -> list[str]:
    """The documents that are measured."""
    ends = np.flatnonzero(np.asarray(corpus.valid) == corpus.tokenizer.bos)
    assert ends[0] == 0 and ends[-1] == len(corpus.valid) - 1
    return [corpus.tokenizer.decode(corpus.valid[begin + 1 : end].tolist()) for begin, end in itertools.pairwise(ends)]


def require_consistent(corpus: PreparedCorpus, texts: list[str]) -> None:
    hashed = DocumentHash()
    for text in texts:
        hashed.add(text.encode())
    assert read(corpus) == texts
    assert corpus.valid_text_hash == corpus.valid_file.text_hash == hashed.value()
    assert corpus.valid_bytes == corpus.valid_file.bytes == sum(len(text.encode()) for text in texts)
    assert (corpus.valid_file.tokens, corpus.valid_file.documents) == (len(corpus.valid), len(texts))
    assert corpus.bytes_per_token == pytest.approx(corpus.valid_bytes / (len(corpus.valid) - 1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_documents_are_read_until_they_have_so_many_bytes(tmp_path: Path, kind: str) -> None:
    texts = [story(number) for number in range(300, 400)]
    whole = prepared(tmp_path, texts, tokenizer=kind)
    few = shortened(whole, 2000)
    assert isinstance(few, PreparedCorpus)
    count = few.valid_file.documents
    require_consistent(few, texts[:count])
    assert sum(len(text) for text in texts[: count - 1]) < 2000 <= few.valid_bytes <= 2500
    assert few.train is whole.train and few.record == whole.record
    line = extent_line(whole, few)
    assert line is not None and "MB" not in line and extent_line(whole, whole) is None


@pytest.mark.parametrize("most_bytes", [None, 10**9])
def test_enough_is_all(tmp_path: Path, most_bytes: int | None) -> None:
    whole = prepared(tmp_path, [story(number) for number in range(300, 320)])
    assert shortened(whole, most_bytes) is whole
    assert shortened(whole, int(whole.valid_bytes / 1.2)) is whole


def test_a_long_document_is_cut_at_the_same_place_in_every_vocabulary(tmp_path: Path) -> None:
    book = "\n".join(f"{story(number)} – ünd sö" for number in range(300, 400))
    texts = [story(400), book]
    found = [shortened(prepared(tmp_path, texts, tokenizer=kind), 3000) for kind in KINDS]
    rest = read(found[0].parts[0].corpus)[1]
    assert book.startswith(rest) and book[len(rest)] == "\n" and 1500 < len(rest.encode()) <= 3000
    for corpus in found:
        require_consistent(corpus.parts[0].corpus, [texts[0], rest])


def test_a_text_without_words_is_cut_between_characters(tmp_path: Path) -> None:
    whole = prepared(tmp_path, ["ab", "ü" * 4000], tokenizer="bytes")
    few = shortened(whole, 2003)
    require_consistent(few.parts[0].corpus, ["ab", "ü" * 1000])


def test_each_text_of_a_mixture_has_its_share(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 5000)):
        texts = (story(number) for number in range(first, first + 4000))
        (tmp_path / f"{name}.txt").write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    config = DataConfig((f"{tmp_path}/a.txt:0.75", f"{tmp_path}/b.txt:0.25"), held_out=0.1, vocabulary_size=400)
    whole = prepare_data(config)
    few = shortened(whole, 60_000)
    assert [round(part.corpus.valid_bytes, -3) for part in few.parts] == pytest.approx([45_000, 15_000], abs=1000)
    assert few.valid_text_hash != whole.valid_text_hash and [part.share for part in few.parts] == [0.75, 0.25]
    assert len((extent_line(whole, few) or "").split(",")) == 2


def test_the_floor_is_that_of_the_stories_which_are_read() -> None:
    config = DataConfig(("stories",), train_bytes=50_000, validation_bytes=60_000, vocabulary_size=400)
    whole, stories = prepare(config), prepare(dataclasses.replace(config, validation_bytes=20_000))
    few = shortened(whole, stories.valid_bytes).parts[0].corpus
    assert few.valid_text_hash == stories.valid_text_hash
    assert few.floor_bits_per_byte == pytest.approx(stories.floor_bits_per_byte, rel=1e-9)
    bits = whole.directory / BITS_FILE
    bits.write_bytes(bits.read_bytes()[8:])
    assert find_prepared(whole.key, "") is None, "it is damaged"
    assert (
        shortened(prepare(config), stories.valid_bytes).parts[0].corpus.floor_bits_per_byte == few.floor_bits_per_byte
    )


def test_counting_is_measured_on_what_is_read_and_kept_beside_that_on_all(tmp_path: Path) -> None:
    whole = prepared(tmp_path, [story(number) for number in range(300, 400)])
    few = shortened(whole, 2000).parts[0].corpus
    grams = KneserNey(np.array(whole.train), whole.tokenizer.size, whole.tokenizer.bos)
    for corpus in (whole, few, whole, few):
        found = counting_alone(corpus)
        assert found is not None
        expected = grams.total_nats(np.array(corpus.valid)) / np.log(2) / corpus.valid_bytes
        assert found.bits_per_byte == pytest.approx(expected)
