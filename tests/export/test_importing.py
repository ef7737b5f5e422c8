"""A folder in the form of Hugging Face becomes the model that a run starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numpy_model import random_parameters, to_mlx
from numpy_qwen3 import CONFIG

from mlx_tiny.data.tokenizers.characters import ByteTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.export.folder import write_hf
from mlx_tiny.export.importing import ImportedModel
from mlx_tiny.export.model import Export
from mlx_tiny.training.arrays import read_arrays
from mlx_tiny.training.described import is_for_other_programs
from mlx_tiny.training.trained import TrainedModel

SHAPE = CONFIG.__class__(**{**CONFIG.__dict__, "vocabulary_size": 257})
PARAMETERS = random_parameters(SHAPE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An exported model."""
    model = TrainedModel(to_mlx(PARAMETERS), SHAPE, ByteTokenizer(), "auto")
    write_hf(Export(model, "x"), tmp_path)
    return tmp_path


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def weights(folder: Path) -> dict[str, mx.array]:
    return read_arrays(folder / "model.safetensors", "weights")[0]


def read(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in ImportedModel(folder).load_weights(lambda _: None).items()}


def test_the_matrices_of_an_export_are_those_of_the_model(folder: Path) -> None:
    model, found = ImportedModel(folder), read(folder)
    assert is_for_other_programs(folder) and model.config.model == SHAPE
    assert model.load_tokenizer().model == ByteTokenizer().model
    assert (model.config.data.tokenizer, model.config.data.vocabulary_size) == ("bytes", 260)
    assert found.keys() == PARAMETERS.keys()
    assert np.allclose(found["head"], PARAMETERS["head"] * np.sign(PARAMETERS["residual_scale"]).prod())
    assert np.allclose(found["query_norm_weight"], PARAMETERS["query_norm_weight"])


def test_it_trains_as_the_portable_preset_of_its_size_does(folder: Path) -> None:
    model = ImportedModel(folder, context=8).config
    assert (model.train.preset, model.model.context, model.optimizer.embedding_rate) == ("portable-tiny", 8, 0.4)
    assert ImportedModel(folder, context=99).config.model.context == SHAPE.context


def test_files_of_parts_of_the_weights_are_read(folder: Path) -> None:
    whole, arrays = read(folder), weights(folder)
    names = sorted(arrays)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in parts.items():
        mx.save_safetensors(str(folder / file), {name: arrays[name] for name in own})
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, own in parts.items() for name in own}}))
    found = read(folder)
    assert all(np.array_equal(found[name], whole[name]) for name in whole)
    for name in ("../a.safetensors", ["a.safetensors"]):
        change(index, weight_map={"lm_head.weight": name})
        with pytest.raises(TinyError, match="not beside it"):
            read(folder)


def test_a_tied_head_is_the_embedding(folder: Path) -> None:
    arrays = weights(folder)
    del arrays["lm_head.weight"]
    mx.save_safetensors(str(folder / "model.safetensors"), arrays)
    with pytest.raises(TinyError, match=r"lm_head\.weight"):
        read(folder)
    change(folder / "config.json", tie_word_embeddings=True)
    assert np.allclose(np.abs(read(folder)["head"]), np.abs(np.array(arrays["model.embed_tokens.weight"])))


def test_rounded_weights_are_told_and_damaged_ones_refused(folder: Path) -> None:
    arrays, told = weights(folder), list[str]()
    mx.save_safetensors(str(folder / "model.safetensors"), {k: v.astype(mx.bfloat16) for k, v in arrays.items()})
    ImportedModel(folder).load_weights(told.append)
    assert len(told) == 1 and "bfloat16" in told[0]
    mixed = {**arrays, "model.norm.weight": mx.ones(SHAPE.width, mx.int8)}
    infinite = {**arrays, "model.norm.weight": mx.full(SHAPE.width, float("inf"))}
    for damaged, words in ((mixed, "int8"), (infinite, "NaN or infinite")):
        mx.save_safetensors(str(folder / "model.safetensors"), damaged)
        with pytest.raises(TinyError, match=words):
            read(folder)
    (folder / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(TinyError, match="damaged"):
        read(folder)


def test_a_model_with_fewer_tokens_than_its_tokenizer_is_refused(folder: Path) -> None:
    change(folder / "config.json", vocab_size=256)
    with pytest.raises(TinyError, match="fewer tokens"):
        ImportedModel(folder)
