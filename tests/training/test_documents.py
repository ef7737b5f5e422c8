"""Strength by document: nothing is lost, blocks are those of the text, and the interval is that of the noise."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import tiny_config, tiny_corpus, train_whole

from mlx_tiny.data.prepared import TOKEN_DTYPE
from mlx_tiny.data.tokenizer import Tokenizer, train_tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.training.documents import (
    BLOCK_BYTES,
    Blocks,
    DocumentsOfText,
    blocks_of,
    documents_path,
    how_drawn,
    interval,
    read_documents,
)
from mlx_tiny.training.evaluate import fingerprint

WORDS = train_tokenizer("bpe", ["a river of words, and words of rivers. " * 50], 300)
LETTERS = train_tokenizer("bytes", ["a"], 300)
LENGTHS = (0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES + 3)


def encoded(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    bos = np.array([tokenizer.bos], TOKEN_DTYPE)
    return np.concatenate(
        [*(part for text in texts for part in (bos, np.array(tokenizer.encode(text), TOKEN_DTYPE))), bos]
    )


@given(lengths=st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=5))
@pytest.mark.parametrize("tokenizer", [WORDS, LETTERS])
def test_each_document_has_its_bytes_and_its_nats_in_blocks(tokenizer: Tokenizer, lengths: list[int]) -> None:
    texts = [("a river of words " * 1000)[:length] for length in lengths]
    tokens = encoded(tokenizer, texts)
    nats = np.random.default_rng(0).random(len(tokens) - 1)
    found = blocks_of(tokens, tokenizer, nats, 2 * nats)
    assert [int(found.bytes[found.document == n].sum()) for n in range(len(texts))] == lengths
    assert [int((found.document == n).sum()) for n in range(len(texts))] == [
        max(1, math.ceil(length / BLOCK_BYTES)) for length in lengths
    ]
    ends = np.flatnonzero(tokens == tokenizer.bos)
    for number, (begin, end) in enumerate(itertools.pairwise(ends)):
        assert found.nats[found.document == number].sum() == pytest.approx(nats[begin:end].sum(), rel=1e-5)
    assert found.with_counting_nats == pytest.approx(2 * found.nats) and found.documents == len(texts)


def text_of(nats: np.ndarray, document: np.ndarray, size: int = 1000, share: float = 1.0) -> DocumentsOfText:
    sizes = np.full(len(nats), size, np.uint32)
    return DocumentsOfText("f", share, Blocks(document.astype(np.uint32), sizes, nats.astype(np.float32)))


def ends(*texts: DocumentsOfText) -> tuple[float, float]:
    found = interval(texts, [text.blocks.nats for text in texts])
    assert found is not None
    return found


def width(*texts: DocumentsOfText) -> float:
    low, high = ends(*texts)
    return high - low


def test_the_interval_is_that_of_a_mean_of_independent_documents() -> None:
    nats = np.random.default_rng(1).normal(700, 70, 400)
    text = text_of(nats, np.arange(400))
    low, high = ends(text)
    mean, error = nats.mean() / math.log(2) / 1000, nats.std(ddof=1) / 20 / math.log(2) / 1000
    assert low == pytest.approx(mean - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.2 * error)
    assert ends(text) == (low, high), "the seed is fixed"
    many = text_of(np.random.default_rng(1).normal(700, 70, 12_000), np.arange(12_000))
    assert width(many) == pytest.approx((high - low) / math.sqrt(30), rel=0.1)


def test_documents_are_drawn_whole_where_there_are_enough() -> None:
    """The blocks of a document are alike, so that drawing them one by one would find too little noise."""
    nats = np.repeat(np.random.default_rng(2).normal(700, 70, 100), 8)
    whole = text_of(nats, np.repeat(np.arange(100), 8))
    assert width(whole) == pytest.approx(math.sqrt(8) * width(text_of(nats, np.arange(800))), rel=0.2)
    assert how_drawn([whole]) == "bootstrap over 100 documents"


def test_of_one_long_document_blocks_are_drawn_and_of_little_text_nothing_is_said() -> None:
    nats = np.random.default_rng(3).normal(700, 70, 50)
    book = text_of(nats, np.zeros(50))
    assert width(book) > 0 and "50 blocks" in how_drawn([book])
    short = text_of(nats[:5], np.zeros(5))
    assert interval([short], [short.blocks.nats]) is None
    assert interval([book, short], [book.blocks.nats, short.blocks.nats]) is None


def test_each_text_of_a_mixture_has_its_share_of_the_noise() -> None:
    nats = np.random.default_rng(4).normal(700, 70, 400)
    still, noisy = (text_of(each, np.arange(400), share=0.5) for each in (np.full(400, 350.0), nats))
    alone = text_of(nats, np.arange(400))
    low, high = ends(noisy, still)
    assert high - low == pytest.approx(width(alone) / 2, rel=1e-6)
    assert (low + high) / 2 == pytest.approx((350 + 700) / 2 / math.log(2) / 1000, rel=0.01)


def test_documents_of_two_texts_are_drawn_independently() -> None:
    """Both grow harder in the same way: drawn together, their noise would not average out."""
    text = text_of(np.linspace(400, 1000, 200), np.arange(200), share=0.5)
    alone = text_of(np.linspace(400, 1000, 200), np.arange(200))
    assert width(text, text) == pytest.approx(width(alone) / math.sqrt(2), rel=0.1)


def test_a_run_keeps_them_for_its_weights(tmp_path: Path) -> None:
    run, outcome, _ = train_whole(tmp_path / "run", tiny_config(tmp_path))
    corpus = tiny_corpus(run.config)
    (text,) = read_documents(run)
    blocks, evaluation = text.blocks, outcome.evaluation
    assert (text.fingerprint, text.share) == (fingerprint(corpus.valid_text_hash), 1.0)
    assert (blocks.documents, blocks.bytes.sum()) == (corpus.record.valid.documents, corpus.valid_bytes)
    assert blocks.nats.sum() == pytest.approx(evaluation.nats, rel=1e-6)
    assert blocks.with_counting_nats is not None
    assert blocks.with_counting_nats.sum() == pytest.approx(evaluation.with_counting_nats, rel=1e-6)
    low, high = ends(text)
    assert low < evaluation.bits_per_byte < high
    run.save_weights(outcome.state.parameters, 7)
    with pytest.raises(TinyError, match="other weights"):
        read_documents(run)
    content = bytearray(documents_path(run).read_bytes())
    content[-3] ^= 1
    documents_path(run).write_bytes(content)
    with pytest.raises(TinyError, match="damaged"):
        read_documents(run)
    documents_path(run).unlink()
    with pytest.raises(TinyError, match="does not say"):
        read_documents(run)
