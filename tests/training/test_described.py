"""Runs whose config.json lacks settings that are newer than they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import Recorder, story

from mlx_tiny.data.prepare import prepare
from mlx_tiny.tools.signals import Interruption
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.own_text import own_text
from mlx_tiny.training.trainer import Trainer

# A run of the commit 724144b, before the settings of counting, orders, growth and the moment of a rate.
RECORDED = json.loads(Path(__file__).with_name("run_of_724144b.json").read_text())


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The recorded run before its first step, beside its text."""
    monkeypatch.chdir(tmp_path)  # its text is named by a relative path, so that the run is the same everywhere
    text = "\n<|endoftext|>\n".join(story(number) for number in range(60))
    (tmp_path / "stories.txt").write_text(text, encoding="utf-8")
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(RECORDED["config.json"]))
    run = RunFolder(path)
    tokenizer = prepare(run.config.data).directory / "tokenizer.model"
    run.tokenizer_model.write_bytes(tokenizer.read_bytes())
    return run


def train(run: RunFolder, budget: str) -> tuple[RunFolder, Recorder]:
    """A session with this budget; returns the run as the next session finds it."""
    recorder = Recorder()
    run.config = replace(run.config, train=replace(run.config.train, budget=budget))
    Trainer(run, own_text(run), recorder, Interruption(), resume=True).train()
    return RunFolder(run.path), recorder


def test_an_old_run_is_trained_as_it_was_then(old_run: RunFolder) -> None:
    """Where this fails because of a new setting, that lacks a value in `_LATER` that means what was done before."""
    assert old_run.identity() == RECORDED["identity"]
    ended, recorder = train(old_run, "640tok")
    assert [step.multiplier for step in recorder.steps] == pytest.approx(RECORDED["multipliers"], abs=1e-12)
    # Those of another machine, which adds up in another order.
    assert [step.loss for step in recorder.steps] == pytest.approx(RECORDED["losses"], rel=1e-5)
    assert ended.metrics.read()[-1].final_bits_per_byte == pytest.approx(RECORDED["final_bits_per_byte"], rel=1e-5)
    assert ended.identity() == RECORDED["identity"]
    longer, recorder = train(ended, "1280tok")
    assert [step.multiplier for step in recorder.steps[:2]] == [1.0, pytest.approx(0.9)]
    assert longer.identity() == RECORDED["identity"] and longer.load_weights()
    assert not longer.config.train.counting
