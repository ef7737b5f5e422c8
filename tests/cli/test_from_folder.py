"""A run that starts from a model in the form of Hugging Face."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from numpy_model import random_parameters, to_mlx
from tiny_run import MODEL, tiny_data

from mlx_tiny.data.prepare import prepare
from mlx_tiny.export.folder import write_hf
from mlx_tiny.export.model import Export
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.evaluate import evaluate
from mlx_tiny.training.trained import TrainedModel

from .command_line import FEW_PAUSES, call, read_report, succeeded

BEGIN = ("train", "--from", "folder", "--budget", "2steps", *FEW_PAUSES, "--run", "new")
TEXT = ("--data", "stories.txt", "--held-out", "0.1")


@pytest.fixture
def strength(place: Path) -> float:
    """Bits per byte on stories.txt of a model that has been exported to `folder`."""
    corpus = prepare(tiny_data(place))
    shape = dataclasses.replace(MODEL, activation="swiglu")
    parameters = to_mlx(random_parameters(shape))
    (place / "folder").mkdir()
    write_hf(Export(TrainedModel(parameters, shape, corpus.tokenizer, "auto"), "x"), place / "folder")
    return evaluate(parameters, shape, corpus.valid, corpus.valid_bytes).bits_per_byte


def test_a_run_starts_with_the_strength_of_the_export(place: Path, strength: float) -> None:
    said = succeeded(call(*BEGIN, *TEXT)).err
    report, run = read_report(place / "new"), RunFolder(place / "new")
    (before,) = report["origin"]["before"].values()
    assert before == pytest.approx(strength, abs=1e-5)
    assert f"starts from the weights of {place / 'folder'}\n" in said
    assert "not known" in said and "trusted too much" in said, "whether it knows the text"
    assert (report["steps"], run.config.model.activation, run.config.train.preset) == (2, "swiglu", "portable-tiny")
    assert report["bits_per_byte"] != before
    succeeded(call("train", "--resume", "new", "--budget", "3steps"))


def test_flags_must_fit_the_model_but_a_shorter_context_does(place: Path, strength: float) -> None:
    refused = call(*BEGIN, *TEXT, "--layers", "3")
    assert refused.code == 1 and "--layers contradicts" in refused.err
    assert call(*BEGIN, *TEXT, "--context", "64").code == 1
    assert "needs the text" in call(*BEGIN).err and not (place / "new").exists()
    succeeded(call(*BEGIN, *TEXT, "--context", "16"))
    assert RunFolder(place / "new").config.model.context == 16


def test_another_architecture_is_refused_and_leaves_nothing(place: Path) -> None:
    (place / "folder").mkdir()
    (place / "folder/config.json").write_text('{"model_type": "llama"}')
    refused = call(*BEGIN, *TEXT)
    assert refused.code == 1 and "qwen3" in refused.err and "llama" in refused.err
    assert not (place / "new").exists()
    refused = call("generate", "folder")
    assert refused.code == 1 and "for other programs" in refused.err
