"""What people do with an export works: transformers' pipeline, and mlx-lm's commands that write text and fine-tune."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numpy_model import SMALL, random_parameters, to_mlx
from tiny_run import story

from mlx_tiny.data.tokenizer import train_tokenizer
from mlx_tiny.export.model import Export
from mlx_tiny.export.target import export
from mlx_tiny.model.forward import logits
from mlx_tiny.ops.implementations import decide
from mlx_tiny.training.trained import TrainedModel

pytest.importorskip("transformers")
pytest.importorskip("mlx_lm")
pytestmark = pytest.mark.export

OPTIONS = {"portable": "", "strongest": "smear=1,bigram_embedding=40,value_embeddings=2"}
PROMPT, NEW = "Story 1. Ann", 12
STEPS = 20


@pytest.fixture(scope="module", params=OPTIONS)
def model(request: pytest.FixtureRequest) -> TrainedModel:
    tokenizer = train_tokenizer("characters", [story(number) for number in range(20)], 300)
    config = replace(
        SMALL,
        vocabulary_size=tokenizer.size,
        context=64,
        activation="swiglu",
        options=OPTIONS[request.param],
    )
    parameters = random_parameters(config)
    for token in range(tokenizer.size):
        if not (tokenizer.decode([token]) or "\n").isprintable() or not tokenizer.decode([token]).isascii():
            parameters["head"][token] = 0  # no parts of characters, which programs show in ways of their own
    return TrainedModel(to_mlx(parameters), config, tokenizer, "plain")


@pytest.fixture(scope="module")
def folder(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("in_use") / "model"
    export(Export(model, "made up", custom_code=bool(model.config.options)), "hf", path)
    return path


@pytest.fixture(scope="module")
def continued(model: TrainedModel) -> str:
    """The prompt, and the likeliest tokens after it."""
    tokens = [model.tokenizer.bos, *model.tokenizer.encode(PROMPT)]
    written = list[int]()
    for _ in range(NEW):
        window = mx.array([tokens + written])
        window_config = replace(model.config, context=window.shape[1])
        scores = logits(model.parameters, model.config, window, decide(window_config, asked="plain"))[0]
        written.append(int(mx.argmax(scores[0, -1])))
    assert model.tokenizer.bos not in written
    return PROMPT + model.tokenizer.decode(written)


def trust(model: TrainedModel) -> bool:
    return bool(model.config.options)


def test_a_pipeline_of_transformers_writes_the_same(model: TrainedModel, folder: Path, continued: str) -> None:
    from transformers import pipeline

    write: Any = pipeline("text-generation", str(folder), trust_remote_code=trust(model))
    assert write(PROMPT, max_new_tokens=NEW, do_sample=False)[0]["generated_text"] == continued


def test_mlx_lm_generate_writes_the_same(
    model: TrainedModel,
    folder: Path,
    continued: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlx_lm import generate

    options = ["--prompt", PROMPT, "--max-tokens", str(NEW), "--verbose", "False"]
    trusting = ["--trust-remote-code"] if trust(model) else []
    monkeypatch.setattr(sys, "argv", ["mlx_lm.generate", "--model", str(folder), *options, *trusting])
    sys.modules[generate.__module__].main()
    assert capsys.readouterr().out.rstrip("\n") == continued.removeprefix(PROMPT)


def test_mlx_lm_lora_trains_it(
    model: TrainedModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_lm import load, lora

    losses = list[float]()
    listener = SimpleNamespace(
        on_train_loss_report=lambda record: losses.append(record["train_loss"]), on_val_loss_report=lambda _: None
    )
    monkeypatch.setattr(lora, "get_reporting_callbacks", lambda *_, **__: listener)
    for part in ("train", "valid"):
        lines = (json.dumps({"text": story(number)[:50]}) for number in range(12))
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    asked = {
        "model": str(folder),
        "trust_remote_code": trust(model),
        "train": True,
        "data": str(tmp_path),
        "iters": STEPS,
        "steps_per_report": 5,
        "val_batches": 1,
        "learning_rate": 1e-3,
        "max_seq_length": 64,
        "num_layers": -1,
        "adapter_path": str(tmp_path / "adapters"),
    }
    lora.run(SimpleNamespace(**{**lora.CONFIG_DEFAULTS, **asked}))
    assert losses[-1] < 0.9 * losses[0]
    adapted, *_ = load(str(folder), adapter_path=str(tmp_path / "adapters"), trust_remote_code=trust(model))
    assert np.isfinite(np.array(adapted(mx.array([[1, 2, 3]])))).all()
