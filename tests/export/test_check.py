"""Other programs compute what the model computes; what they compute otherwise is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numpy_qwen3 import qwen3_logits

from mlx_tiny.errors import CheckFailed
from mlx_tiny.export import check, folder
from mlx_tiny.export.model import Export, load_export
from mlx_tiny.export.questions import Answers, Questions, likelihoods
from mlx_tiny.export.target import export


@pytest.fixture(scope="module")
def portable(portable_run: Path) -> Export:
    return load_export(portable_run)


@pytest.mark.export
@pytest.mark.torch
def test_transformers_and_mlx_lm_compute_the_same(portable: Export, tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        model, out = dataclasses.replace(portable, dtype=dtype), tmp_path / dtype
        export(model, "hf", out)
        found = check.compare(model, "hf", out, print)
        assert [each.program.split()[0] for each in found] == ["transformers", "mlx-lm"]
        check.require_equal(found, out)
        assert dtype != "float32" or max(each.logit_difference for each in found) <= 2e-5
    # In the same test, because to load the programs takes seconds.
    (out / folder.WEIGHTS).unlink()
    with pytest.raises(CheckFailed, match="transformers cannot use the export") as failure:
        check.compare(model, "hf", out, print)
    assert failure.value.exit_code == 3


class Stranger:
    """A program that computes qwen3 in float64, and can be made to err."""

    def __init__(self, export: Export) -> None:
        self.export = export
        self.ids_begin: list[int] = [export.model.tokenizer.bos]
        self.tokens: list[int] | None = None
        self.factor = 1.0

    def answers(self, name: str, path: Path, questions: Questions) -> Answers:
        weights = {name: np.asarray(array) for name, array in mx.load(str(path / folder.WEIGHTS)).items()}

        def logits(input_BT: np.ndarray) -> np.ndarray:
            config = self.export.model.config
            return self.factor * np.stack([qwen3_logits(weights, config, tokens) for tokens in input_BT])

        written = list(questions.prompt)
        for _ in range(questions.new_tokens):
            written.append(int(logits(np.array([written]))[0, -1].argmax()))
        tokenizer = self.export.model.tokenizer
        return Answers(
            *likelihoods(questions, logits),
            greedy=self.tokens or written[len(questions.prompt) :],
            ids=[[*self.ids_begin, *tokenizer.encode(text)] for text in questions.texts],
            program="stranger 1.0",
        )


@pytest.fixture
def stranger(portable: Export, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    found = Stranger(portable)
    monkeypatch.setattr(check, "_answers", found.answers)
    monkeypatch.setattr(check.Program, "missing", lambda self: [] if self.module == "in_transformers" else ["it"])
    monkeypatch.setattr(check, "TEXT_BYTES", 4000)
    return found


def compared(model: Export, path: Path) -> check.Comparison:
    """What the stranger computes with an export of the model."""
    export(model, "hf", path)
    (found,) = check.compare(model, "hf", path, print)
    return found


def test_what_is_the_same_is_found_to_be(stranger: Stranger, portable: Export, tmp_path: Path) -> None:
    found = compared(portable, tmp_path / "out")
    assert not list(found.faults()) and found.logit_difference < 1e-5
    assert found.greedy_equal == found.greedy == 24  # what the context has room for after the prompt
    assert found.texts_equal == found.texts > 1
    assert abs(found.bits_per_byte - found.own_bits_per_byte) < 1e-6
    assert any("stranger 1.0" in line for line in check.table([found]))


def wrong_weights(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Let one matrix of every export be too large."""
    sound = folder.folded

    def folded(*arguments: Any) -> dict[str, np.ndarray]:
        weights = sound(*arguments)
        weights["model.layers.1.mlp.down_proj.weight"] *= factor
        return weights

    monkeypatch.setattr(folder, "folded", folded)


def test_other_weights_are_found(
    stranger: Stranger, portable: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_weights(monkeypatch, 1.001)
    with pytest.raises(CheckFailed, match="logits differ") as failure:
        check.require_equal([compared(portable, tmp_path / "out")], tmp_path / "out")
    assert failure.value.exit_code == 3


def test_logits_that_are_not_finite_are_found(stranger: Stranger, portable: Export, tmp_path: Path) -> None:
    stranger.factor = float("nan")
    faults = " ".join(compared(portable, tmp_path / "out").faults())
    assert "logits differ" in faults and "bits per byte" in faults


def test_other_tokens_are_found(stranger: Stranger, portable: Export, tmp_path: Path) -> None:
    stranger.ids_begin, stranger.tokens = [], [5] * 24
    found = compared(portable, tmp_path / "out")
    assert found.texts_equal == 0
    faults = " ".join(found.faults())
    assert "other tokens" in faults and "likeliest token" in faults


def test_without_the_text_of_the_run_the_model_writes_one(
    stranger: Stranger, portable: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "cached_text", lambda _: None)
    found = compared(portable, tmp_path / "out")
    assert not list(found.faults()) and found.texts == 4


def test_a_model_that_writes_nothing_is_compared_on_a_sentence(
    stranger: Stranger, portable: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "cached_text", lambda _: None)
    monkeypatch.setattr(check, "generate_tokens", lambda *_, **__: iter(()))
    texts, kind = check._texts(portable)
    assert len(texts) == 1 and texts[0] and "sentence" in kind
