"""A mixture has the shares that were asked for: in its tokenizer, and in what is prepared of each text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import story

from mlx_tiny.config import DataConfig
from mlx_tiny.data.generated import StoriesSource
from mlx_tiny.data.mixture import (
    MixedCorpus,
    absolute_source,
    find_data,
    find_mixture,
    mixed_sample,
    prepare_data,
    resolve_data,
    split_weight,
)
from mlx_tiny.data.overlap import disjoint
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.prepared import PreparedCorpus, prepared_folder
from mlx_tiny.errors import TinyError


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """A text of stories and a shorter one of sums, with weights 1 and 3."""
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
    for name, lines in (("stories", map(story, range(300))), ("sums", (f"{n} + {n} = {2 * n}." for n in range(200)))):
        (tmp_path / f"{name}.txt").write_text("\n<|endoftext|>\n".join(lines))
    sources = (f"{tmp_path / 'stories.txt'}:1", f"{tmp_path / 'sums.txt'}:3")
    return DataConfig(sources=sources, vocabulary_size=512, held_out=0.1)


def prepared(config: DataConfig) -> MixedCorpus:
    corpus = prepare_data(config)
    assert isinstance(corpus, MixedCorpus)
    return corpus


def test_a_demand_for_more_tokens_than_the_mixture_supports_is_refused(config: DataConfig) -> None:
    larger = replace(config, vocabulary_size=8192)
    for _ in range(2):
        with pytest.raises(TinyError, match="too small for the vocabulary"):
            prepare_data(larger, exact_vocabulary=True)
        prepared(larger)


def test_a_mixture_from_the_cache_has_the_settings_of_now(config: DataConfig) -> None:
    """Texts that support fewer tokens have one tokenizer for all these sizes, and one prepared text."""
    larger = replace(config, vocabulary_size=8192)
    keys = [
        {part.corpus.key for part in prepared(each).parts} for each in (replace(larger, vocabulary_size=8000), larger)
    ]
    assert keys[0] == keys[1]
    assert {part.corpus.record.settings.vocabulary_size for part in prepared(larger).parts} == {8192}


def test_a_damaged_share_is_noticed(config: DataConfig) -> None:
    first, told = prepared(config), list[str]()
    path = prepared_folder(first.key) / "mixture.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "shares": values["shares"][::-1]}))
    assert find_mixture(first.key) is None
    again = prepare_data(config, tell=told.append)
    assert [part.share for part in again.parts] == [part.share for part in first.parts]
    assert len(told) == 1 and "damaged" in told[0]
    assert find_mixture(first.key) is not None


@pytest.mark.parametrize("weights", [(":1", ":3"), ("", "")], ids=["mixture", "files"])
@pytest.mark.parametrize("changed", [{"vocabulary_size": 300}, {"tokenizer": "characters"}], ids=str)
def test_the_vocabulary_is_the_last_that_was_decided(
    config: DataConfig, weights: tuple[str, str], changed: dict[str, Any]
) -> None:
    """A text is looked for before the preset decides the vocabulary; a resumed run looks for it afterwards."""
    names = (source.rpartition(":")[0] + weight for source, weight in zip(config.sources, weights, strict=True))
    early = replace(config, sources=tuple(names), vocabulary_size=512)
    source = resolve_data(early)
    decided = replace(early, **changed, sources=source.names)
    begun = prepare_data(decided, source=source)
    assert begun.key == prepare_data(decided).key != prepare_data(early).key
    assert {part.corpus.record.settings.vocabulary_size for part in begun.parts} == {decided.vocabulary_size}
    assert begun.tokenizer.size <= decided.vocabulary_size


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stories:0.3", ("stories", 0.3)),
        ("a.txt:2", ("a.txt", 2.0)),
        ("a:b.txt:1e-1", ("a:b.txt", 0.1)),
        ("a.txt", ("a.txt", None)),
        ("a:b", ("a:b", None)),
        ("there.txt:0.3", ("there.txt:0.3", None)),
        ("there.txt:0.3:2", ("there.txt:0.3", 2.0)),
    ],
)
def test_a_weight_follows_a_colon_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: tuple[str, float | None]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.txt:0.3").touch()
    assert split_weight(name) == expected
    assert split_weight(absolute_source(name))[1] == expected[1]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (("stories:0",), "positive number, got 0"),
        (("stories:-1",), "positive number, got -1"),
        (("stories:nan",), "positive number, got nan"),
        (("stories:inf",), "positive number, got inf"),
        (("stories:1e300", "a.txt:1e-300"), "a.txt in the mixture is too small"),
        (("stories:1e308", "a.txt:1e308", "b.txt:1e300"), "b.txt in the mixture is too small"),
        (("stories:1", "tinystories"), "Only some .* none for tinystories"),
        (("stories:1", "nowhere.txt:2"), "nowhere.txt does not exist"),
    ],
)
def test_wrong_weights_are_explained(sources: tuple[str, ...], words: str) -> None:
    with pytest.raises(TinyError, match=words):
        resolve_data(DataConfig(sources=sources))


def test_a_validation_file_is_refused(config: DataConfig) -> None:
    with pytest.raises(TinyError, match="Leave it out"):
        resolve_data(replace(config, validation="other.txt"))


def test_each_text_is_prepared_in_one_vocabulary(config: DataConfig) -> None:
    corpus = prepared(config)
    stories, sums = (part.corpus for part in corpus.parts)
    assert [part.share for part in corpus.parts] == [0.25, 0.75]
    assert stories.tokenizer.hash == sums.tokenizer.hash == corpus.tokenizer.hash
    alone = prepare(replace(config, sources=(config.sources[1].rpartition(":")[0],)), tokenizer=corpus.tokenizer)
    assert (alone.train.tobytes(), alone.valid_text_hash) == (sums.train.tobytes(), sums.valid_text_hash)
    assert "25 % of the sequences" in corpus.description and "75 % of the sequences" in corpus.description
    names = resolve_data(config).names
    assert list(map(split_weight, names)) == list(map(split_weight, config.sources))


def test_it_is_prepared_once_and_found_by_its_key(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = prepared(config)
    with monkeypatch.context() as patch:
        patch.setattr("mlx_tiny.data.mixture.learn_tokenizer", lambda *_: pytest.fail("learned again"))
        assert prepared(config).key == corpus.key
    found = find_data(corpus.key, "")
    assert isinstance(found, MixedCorpus) and found.description == corpus.description
    assert prepare_data(config, tokenizer=corpus.tokenizer).key != corpus.key, "another tokenizer, another key"
    other = replace(config, sources=(config.sources[0], config.sources[1].replace(":3", ":2")))
    assert prepared(other).key != corpus.key
    (corpus.parts[1].corpus.directory / "train.bin").unlink()
    assert find_data(corpus.key, "") is None
    again = prepared(config)
    assert again.key == corpus.key and find_data(corpus.key, "") is not None
    assert again.parts[1].corpus.train.tobytes() == corpus.parts[1].corpus.train.tobytes()


LONG = [
    f"Book {number}. " + " ".join(map(story, range(1000 * number + 1000, 1000 * number + 1060))) for number in range(3)
]


@pytest.mark.parametrize(
    ("first", "second", "dropped"),
    [
        ([story(n) for n in range(300)], [story(n) for n in range(200, 500)], 0),
        ([story(n) for n in range(300)], [story(n) for n in range(4)], 1),
        (LONG[:2], LONG[1:], 0),
        (LONG[:2], [LONG[1], *(story(n) for n in range(300))], 1),
        (["valid", *(story(n) for n in range(5, 15))], [story(n) for n in range(10)], 5),
    ],
)
def test_what_one_text_holds_out_is_not_trained_on_in_another(
    tmp_path: Path, config: DataConfig, first: list[str], second: list[str], dropped: int
) -> None:
    """By the split of the one or of the other, and whether whole documents or their ends are held out."""
    names = []
    for name, texts in (("first", first), ("second", second)):
        folder = tmp_path / name
        folder.mkdir()
        if texts[0] == "valid":
            (folder / "valid.txt").write_text("\n<|endoftext|>\n".join(texts[1:]))
            texts = [story(n) for n in range(20, 300)]
        (folder / "train.txt").write_text("\n<|endoftext|>\n".join(texts))
        names.append(f"{folder}:1")
    corpus = prepared(replace(config, sources=tuple(names)))
    for part in corpus.parts:
        held_out = part.corpus.tokenizer.decode(part.corpus.valid)
        for other in corpus.parts:
            assert held_out[:60] not in other.corpus.tokenizer.decode(other.corpus.train)
    assert sum(part.corpus.record.found.in_both for part in corpus.parts) == dropped
    assert find_data(corpus.key, "") is not None


def test_generated_stories_and_copies_of_them_are_kept_apart(tmp_path: Path, config: DataConfig) -> None:
    small = replace(config, train_bytes=60_000, validation_bytes=3_000)
    made = list(resolve_data(replace(small, sources=("stories",))).documents())  # type: ignore[union-attr]
    (tmp_path / "copies.txt").write_text("\n<|endoftext|>\n".join(document.text for document in made))
    corpus = prepared(replace(small, sources=("stories:1", f"{tmp_path / 'copies.txt'}:1")))
    stories, copies = (part.corpus for part in corpus.parts)
    for text, other in ((stories, copies), (copies, stories)):
        assert text.record.found.in_both > 0 == _common(text, other)


def _common(text: PreparedCorpus, other: PreparedCorpus) -> int:
    """How many documents that `other` holds out are training documents of `text`."""
    learned = text.tokenizer.decode(text.train)
    held_out = np.split(other.valid, np.flatnonzero(other.valid == other.tokenizer.bos))
    return sum(other.tokenizer.decode(tokens) in learned for tokens in held_out if len(tokens) > 1)


def test_a_text_that_is_fetched_meanwhile_is_described_anew() -> None:
    source = StoriesSource(DataConfig())
    first, _ = disjoint([source, source])
    source.description, source.size_bytes = "fetched", 9
    assert (first.description, first.size_bytes) == ("fetched", 9)


def test_a_text_whose_whole_is_held_out_by_another_is_refused(tmp_path: Path, config: DataConfig) -> None:
    for name in ("train", "valid"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{name}.jsonl").write_text("".join(f'"{name} {number}"\n' for number in range(300)))
    with pytest.raises(TinyError, match=r"valid\.jsonl is the same as the validation text.*of a mixture"):
        prepare_data(replace(config, sources=(f"{tmp_path / 'a'}:1", f"{tmp_path / 'a' / 'valid.jsonl'}:1")))


@given(
    sizes=st.lists(st.integers(20, 400), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.05, 1), min_size=4, max_size=4),
)
def test_the_sample_has_the_shares_of_the_mixture(sizes: list[int], weights: list[float]) -> None:
    shares = [weight / sum(weights[: len(sizes)]) for weight in weights[: len(sizes)]]
    samples = [[chr(97 + index) * 3] * size for index, size in enumerate(sizes)]
    mixed = "".join(mixed_sample(samples, shares, limit=3000))
    assert len(mixed) <= 3000 + 3 * len(sizes)
    for index, share in enumerate(shares):
        assert mixed.count(chr(97 + index)) == pytest.approx(share * len(mixed), abs=3 * len(sizes))
    assert any(mixed.count(chr(97 + index)) >= 3 * size for index, size in enumerate(sizes)) or len(mixed) >= 3000
