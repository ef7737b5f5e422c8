"""An export is written as a whole or not at all, and only where other programs can represent it exactly."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.export.model import Export, load_export
from mlx_tiny.export.target import export, remarks
from mlx_tiny.training.checkpoint import RunFolder


@pytest.fixture(scope="module")
def portable(portable_run: Path) -> Export:
    return load_export(portable_run)


@pytest.mark.parametrize("target", ["hf", "mlx"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_has_what_programs_look_for(portable: Export, tmp_path: Path, target: str, dtype: str) -> None:
    out = tmp_path / "new" / "out"
    export(dataclasses.replace(portable, dtype=dtype), target, out)
    weights = mx.load(str(out / "model.safetensors"))
    assert {array.dtype for array in weights.values()} == {getattr(mx, dtype)}
    config = json.loads((out / "config.json").read_text())
    assert config["model_type"] == "qwen3" and config["torch_dtype"] == dtype
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == portable.model.config.rope_base
    assert config["eos_token_id"] == portable.model.tokenizer.bos
    assert {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "README.md"} <= {
        path.name for path in out.iterdir()
    }
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_the_weights_are_those_that_the_run_hands_over(portable_run: Path, portable: Export) -> None:
    expected = RunFolder(portable_run).load_weights()
    assert all(mx.array_equal(portable.model.parameters[name], array) for name, array in expected.items())


def test_what_qwen3_lacks_is_refused_by_its_name(strongest_run: Path, tmp_path: Path) -> None:
    strongest = load_export(strongest_run)
    with pytest.raises(TinyError, match=r"bigram_embedding.*smear.*value_embeddings.*--custom-code.*portable"):
        export(strongest, "hf", tmp_path / "out")
    with pytest.raises(TinyError) as refusal:
        export(strongest, "gguf", tmp_path / "out")
    assert "--custom-code" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_stream_in_which_the_epsilon_matters_is_told(portable: Export) -> None:
    scales = portable.model.parameters["residual_scale"]
    parameters = {**portable.model.parameters, "residual_scale": mx.full(scales.shape, 0.5)}
    small = dataclasses.replace(portable, model=dataclasses.replace(portable.model, parameters=parameters))
    assert not list(remarks(portable, "hf")) and not list(remarks(dataclasses.replace(small, custom_code=True), "hf"))
    (told,) = remarks(small, "mlx")
    assert "0.062" in told and "--custom-code" in told


def test_nothing_that_exists_is_replaced(portable: Export, tmp_path: Path) -> None:
    empty, used, file, dangling = (tmp_path / name for name in ("empty", "used", "file", "dangling"))
    empty.mkdir()
    used.mkdir()
    (used / "mine").write_text("text")
    file.write_text("text")
    dangling.symlink_to(tmp_path / "nowhere")
    export(portable, "hf", empty)
    assert (empty / "config.json").exists()
    for place in (used, file, dangling, empty):
        with pytest.raises(TinyError, match="exists already"):
            export(portable, "hf", place)
    assert (used / "mine").read_text() == file.read_text() == "text"


def test_a_disk_that_is_full_leaves_nothing(portable: Export, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(TinyError, match="could not be written"):
            export(portable, "hf", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_weight_that_is_too_large_for_the_dtype_is_refused(portable: Export, tmp_path: Path) -> None:
    parameters = {**portable.model.parameters, "head": mx.full(portable.model.parameters["head"].shape, 1e5)}
    large = dataclasses.replace(portable, model=dataclasses.replace(portable.model, parameters=parameters))
    with pytest.raises(TinyError, match="too large for float16"):
        export(dataclasses.replace(large, dtype="float16"), "hf", tmp_path / "out")
    export(dataclasses.replace(large, dtype="bfloat16"), "hf", tmp_path / "out")


def test_a_run_without_weights_is_refused(portable_run: Path, tmp_path: Path) -> None:
    shutil.copytree(portable_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "weights.safetensors").unlink()
    with pytest.raises(TinyError, match="No checkpoint"):
        load_export(tmp_path / "run")
