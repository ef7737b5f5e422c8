"""Commands mix the model with counting where the run has it, and take the model alone with --plain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlx_tiny
from mlx_tiny.model.mixing import Gate
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counting_file import counting_path, save_counting

from .command_line import call, succeeded


@pytest.fixture
def run(trained: Path, place: Path) -> RunFolder:
    """A copy of the trained run, whose counting knows the sentence of the text alone, and has half of the weight."""
    run = RunFolder(Path(shutil.copytree(trained, place / "copy")))
    tokenizer = run.load_tokenizer()
    (place / "text.txt").write_text("Zebras quack.")
    known = [tokenizer.bos, *tokenizer.encode("Zebras quack.")] * 3
    save_counting(run, np.array(known, np.uint16), Gate.constant(0.5))
    return run


def result(*arguments: str | Path) -> Any:
    return json.loads(succeeded(call(*arguments, "--json")).out)


def test_eval_tells_both(run: RunFolder) -> None:
    both, plain = result("eval", run.path, "text.txt"), result("eval", run.path, "text.txt", "--plain")
    assert both["bits_per_byte"] == pytest.approx(plain["bits_per_byte"], rel=1e-5)
    assert both["with_counting_bits_per_byte"] < both["bits_per_byte"] / 2
    assert "with_counting_bits_per_byte" not in plain


def test_score_and_predict_take_the_mixture(run: RunFolder) -> None:
    scores, likeliest = [], []
    for plain in ([], ["--plain"]):
        scores.append(result("score", run.path, "text.txt", *plain)["documents"][0]["bits_per_byte"])
        likeliest.append(result("predict", run.path, "text.txt", *plain)["predictions"][0]["next"][0])
    assert scores[0] < scores[1] / 2
    assert likeliest[0]["text"] == "" and likeliest[0]["probability"] > 0.3, "the end of the text"
    assert likeliest[1] != likeliest[0]


def test_generate_writes_what_was_counted(run: RunFolder) -> None:
    options = ["--prompt", "Zebras q", "--temp", "0", "--max-tokens", "5"]
    assert succeeded(call("generate", run.path, *options)).out == "Zebras quack.\n"
    plain = succeeded(call("generate", run.path, *options, "--plain")).out
    assert plain != "Zebras quack.\n"
    counting_path(run).unlink()
    assert succeeded(call("generate", run.path, *options)).out == plain


@pytest.mark.filterwarnings("ignore:it is not known whether the text was trained on")
def test_python_takes_the_mixture(run: RunFolder) -> None:
    mixed, plain = mlx_tiny.load(run.path), mlx_tiny.load(run.path, plain=True)
    assert mlx_tiny.generate(mixed, "Zebras q", temperature=0) == "uack."
    assert mlx_tiny.score(mixed, "Zebras quack.").bits_per_byte < mlx_tiny.score(plain, "Zebras quack.").bits_per_byte
    found = mlx_tiny.evaluate(mixed, ["Zebras quack."])
    assert found.with_counting_bits_per_byte is not None and found.with_counting_bits_per_byte < found.bits_per_byte
    assert mlx_tiny.evaluate(plain, ["Zebras quack."]).with_counting_bits_per_byte is None


def test_a_damaged_file_is_refused(run: RunFolder) -> None:
    (run.path / "counting.safetensors").write_bytes(b"no counting")
    for command in (("eval", run.path, "text.txt"), ("generate", run.path)):
        refused = call(*command)
        assert refused.code == 1 and "--plain" in refused.err
        succeeded(call(*command, "--plain"))
