"""A GGUF file gives llama.cpp the tokens, the weights and the conversations of the model."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import sentencepiece
from export.test_tokenizer_json import MESSAGES, TEXTS, conversation, each, make_tokenizer, texts_with_markers
from hypothesis import example, given, settings
from numpy_model import random_parameters

from mlx_tiny.config import ModelConfig
from mlx_tiny.data.tokenizer import Tokenizer, train_tokenizer
from mlx_tiny.data.tokenizers.byte_pair import META_SPACE
from mlx_tiny.data.tokenizers.characters import CharacterTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.export import check, gguf
from mlx_tiny.export.gguf_tokenizer import changes, gguf_tokenizer
from mlx_tiny.export.in_llama_cpp import Server
from mlx_tiny.export.model import Export, load_export
from mlx_tiny.export.target import export, remarks
from mlx_tiny.training.trained import TrainedModel

library = pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.export

SHAPE = ModelConfig(layers=1, width=32, heads=2, key_value_heads=1, head_width=16, hidden=80, activation="swiglu")


def model_of(tokenizer: Tokenizer, dtype: str = "float32") -> Export:
    """A model with random weights, in which the rows of one matrix are no multiple of 32."""
    config = dataclasses.replace(SHAPE, vocabulary_size=tokenizer.size)
    parameters = {name: mx.array(array) for name, array in random_parameters(config).items()}
    return Export(TrainedModel(parameters, config, tokenizer, "auto"), "random", dtype=dtype)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[Tokenizer, Server]]]:
    """A tokenizer of a kind with roles, and llama.cpp with it."""
    made: dict[str, tuple[Tokenizer, Server]] = {}

    def make(name: str) -> tuple[Tokenizer, Server]:
        if name not in made:
            tokenizer = make_tokenizer(name)
            path = tmp_path_factory.mktemp("gguf") / "model.gguf"
            gguf.write(model_of(tokenizer), path)
            made[name] = tokenizer, Server(str(path), SHAPE.context)
        return made[name]

    yield make
    for _, server in made.values():
        server.__exit__()


@each
@given(text=texts_with_markers())
@example("")
@example("<s><unk><0x41><|endoftext|>")
@settings(max_examples=40, deadline=None)
def test_every_text_has_the_same_ids(served: Callable[[str], tuple[Tokenizer, Server]], name: str, text: str) -> None:
    ours, server = served(name)
    if changes(ours, text):
        assert META_SPACE in text
    else:
        assert server.tokenize(text) == [ours.bos, *ours.encode(text)]


@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters"])
def test_a_conversation_is_what_generate_reads(served: Callable[[str], tuple[Tokenizer, Server]], kind: str) -> None:
    ours, server = served(f"{kind}/chat")
    written = server.conversation(MESSAGES)
    assert server.tokenize(written, special=True) == [ours.bos, *ours.encode(conversation(ours))]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "q8_0"])
def test_llama_cpp_computes_the_same(
    portable_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(check, "TEXT_BYTES", 1000)
    monkeypatch.setattr(check, "_LOGIT_TOKENS", 64)
    model = load_export(portable_run, dtype)
    export(model, "gguf", tmp_path / "model.gguf")
    (found,) = check.compare(model, "gguf", tmp_path / "model.gguf", print)
    check.require_equal([found], tmp_path / "model.gguf")
    assert found.program.startswith("llama.cpp")
    if dtype == "float32":
        assert found.logit_difference <= 2e-5 and found.greedy_equal == found.greedy


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", {"F32"}),
        ("float16", {"F16", "F32"}),
        ("bfloat16", {"BF16", "F32"}),
        ("q8_0", {"Q8_0", "F16", "F32"}),
    ],
)
def test_weights_have_the_dtype_where_it_is_possible(tmp_path: Path, dtype: str, expected: set[str]) -> None:
    model = model_of(train_tokenizer("bytes", ["a"], 300), dtype)
    gguf.write(model, tmp_path / "model.gguf")
    tensors = library.GGUFReader(tmp_path / "model.gguf").tensors
    assert {tensor.tensor_type.name for tensor in tensors} == expected
    assert {tensor.tensor_type.name for tensor in tensors if len(tensor.shape) == 1} == {"F32"}
    assert any("1 of the 9 matrices" in line for line in remarks(model, "gguf")) == (dtype == "q8_0")


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(TinyError, match="The disk is full"):
            export(model_of(train_tokenizer("bytes", ["a"], 300)), "gguf", tmp_path / "out.gguf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_weight_beyond_float16_is_refused(tmp_path: Path) -> None:
    model = model_of(train_tokenizer("bytes", ["a"], 300), "float16")
    model.model.parameters["head"] = 1e5 + model.model.parameters["head"]
    with pytest.raises(TinyError, match="too large"):
        gguf.write(model, tmp_path / "model.gguf")


def test_texts_that_llama_cpp_changes_are_told() -> None:
    tokenizer = train_tokenizer("bpe", TEXTS, 400)
    assert len(list(remarks(model_of(tokenizer), "gguf"))) == 2
    assert changes(tokenizer, "a" * 2001) and not changes(tokenizer, "a" * 2000 + " a")
    assert not list(remarks(model_of(train_tokenizer("bytes", ["a"], 300)), "gguf"))


@pytest.mark.parametrize(
    ("setting", "text", "message"),
    [
        ("split_by_unicode_script", "<0x41 <0x41 1>", "read a text as a token"),
        ("split_by_whitespace", "on the mat on the mat", "continues after a space"),
    ],
)
def test_pieces_that_llama_cpp_would_merge_otherwise_are_refused(
    monkeypatch: pytest.MonkeyPatch, setting: str, text: str, message: str
) -> None:
    real = sentencepiece.SentencePieceTrainer.train
    other: dict[str, Any] = {setting: False, "split_by_number": False}
    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "train", lambda **given: real(**given, **other))
    with pytest.raises(TinyError, match=message):
        gguf_tokenizer(train_tokenizer("bpe", [text] * 50, 300))


@pytest.mark.parametrize(("characters", "named"), [(f"a {META_SPACE}", "2581"), ("a \0", "0000")])
def test_characters_that_gguf_cannot_write_are_refused(characters: str, named: str) -> None:
    with pytest.raises(TinyError, match=named):
        gguf_tokenizer(CharacterTokenizer(characters=characters))
