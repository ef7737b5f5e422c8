"""The strength of counting alone is that of the n-gram on the whole validation text, and is found again."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_config, tiny_corpus

from mlx_tiny.config import DataConfig
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.model.counting import KneserNey
from mlx_tiny.training import counted
from mlx_tiny.training.counted import counting_alone, described


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedCorpus:
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
    return tiny_corpus(tiny_config(tmp_path))


def strength(corpus: PreparedCorpus) -> float:
    grams = KneserNey(np.array(corpus.train), corpus.tokenizer.size, corpus.tokenizer.bos)
    return grams.nats(np.array(corpus.valid)).sum() / math.log(2) / corpus.valid_bytes


def test_strength_of_the_whole_text(corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    found = counting_alone(corpus)
    assert (
        found is not None
        and found.bits_per_byte == pytest.approx(strength(corpus))
        and found.tokens == len(corpus.train)
    )
    assert described(found, corpus) == f"{found.orders}-gram"
    monkeypatch.setattr(counted, "KneserNey", lambda *_: pytest.fail("it is counted again"))
    assert counting_alone(corpus) == found


def test_what_is_damaged_is_counted_again(corpus: PreparedCorpus) -> None:
    found = counting_alone(corpus)
    (corpus.directory / "counting.json").write_text('{"kind": "counting", "version": 1, "bits_per_byte": NaN}')
    assert counting_alone(corpus) == found == counting_alone(corpus)


def test_the_strength_of_another_text_is_not_taken(corpus: PreparedCorpus, tmp_path: Path) -> None:
    found, config = counting_alone(corpus), tiny_config(tmp_path)
    other = prepare(dataclasses.replace(config.data, held_out=0.3))
    assert counting_alone(other) != found
    shutil.copy(other.directory / "counting.json", corpus.directory)
    assert counting_alone(corpus) == found


def test_the_strength_in_equal_tokens_of_other_letters_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
    found = []
    for one, two in ("ab", "\u00e4\u00f6"):
        for name, lengths in (("train", range(1, 60)), ("valid", range(60, 80))):
            text = "\n\n".join(one * length + two * (length % 5 + 1) for length in lengths)
            (tmp_path / name).write_text(text, encoding="utf-8")
        train, valid = str(tmp_path / "train"), str(tmp_path / "valid")
        data = DataConfig(sources=(train,), validation=valid, tokenizer="characters", documents="blank-lines")
        found.append(prepare(data))
    latin, umlauts = found
    assert np.array_equal(latin.train, umlauts.train) and np.array_equal(latin.valid, umlauts.valid)
    right = counting_alone(umlauts)
    assert counting_alone(latin) != right
    shutil.copy(latin.directory / "counting.json", umlauts.directory)
    assert counting_alone(umlauts) == right


def test_without_held_out_text_nothing_is_counted(corpus: PreparedCorpus) -> None:
    found = dataclasses.replace(corpus.record.found, trained_on_validation=True)
    assert counting_alone(dataclasses.replace(corpus, record=dataclasses.replace(corpus.record, found=found))) is None


def test_a_long_text_is_counted_in_whole_documents_from_all_over(
    corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    bos, most = corpus.tokenizer.bos, len(corpus.train) // 2
    monkeypatch.setattr(counted, "MOST_TOKENS", most)
    monkeypatch.setattr(counted, "_STRETCHES", 4)
    documents = {tuple(map(int, part)) for part in np.split(corpus.train, np.flatnonzero(corpus.train == bos))}
    sample = counted.sample(corpus.train, bos, most)
    parts = [tuple(map(int, part)) for part in np.split(sample, np.flatnonzero(sample == bos)) if len(part)]
    assert len(sample) <= most and len(parts) > 4 and documents.issuperset(parts)
    found = counting_alone(corpus)
    assert found is not None and found.tokens == len(sample) and " of " in described(found, corpus)
    assert found.bits_per_byte > strength(corpus)
