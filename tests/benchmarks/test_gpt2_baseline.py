"""The baseline: model, schedule, evaluation, and a tiny run from text to record."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mlx_tiny.config import DataConfig
from mlx_tiny.data.prepare import prepare
from mlx_tiny.errors import TinyError
from mlx_tiny.tools.processes import ROOT

torch = pytest.importorskip("torch", reason="needs PyTorch (the extra `reference`)")

from benchmarks import gpt2_baseline as baseline  # noqa: E402
from benchmarks.gpt2_baseline import BaselineConfig  # noqa: E402
from benchmarks.gpt2_model import GPT2, adamw  # noqa: E402

pytestmark = pytest.mark.torch
VOCABULARY, CONTEXT = 64, 16


def tiny_model() -> Any:
    torch.manual_seed(0)
    return GPT2(vocabulary_size=VOCABULARY, context=CONTEXT, layers=2, heads=2, width=8)


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
    draw = random.Random(0)
    syllables = [a + b for a in "bdfglmnprst" for b in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(400)]
    stories = [" ".join(draw.choices(words, k=60)) + "." for _ in range(120)]
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": story}) + "\n" for story in stories))
    return path


@pytest.mark.parametrize("tokens", [2, CONTEXT, CONTEXT + 1, CONTEXT + 2, 5 * CONTEXT + 7])
def test_uniform_logits_cost_log2_of_the_vocabulary(tokens: int) -> None:
    model = tiny_model()
    torch.nn.init.zeros_(model.token_embedding.weight)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, tokens).astype(np.uint16)
    nats, predicted = baseline.evaluate(model, ids, CONTEXT)
    assert predicted == tokens - 1
    assert nats / math.log(2) / predicted == pytest.approx(math.log2(VOCABULARY), rel=1e-6)


def test_the_evaluation_is_the_sum_over_windows() -> None:
    model = tiny_model().double()
    ids = np.random.default_rng(1).integers(0, VOCABULARY, 3 * CONTEXT + 6).astype(np.uint16)
    total = 0.0
    for start in range(0, len(ids) - 1, CONTEXT):
        window = torch.tensor(ids[start : start + CONTEXT + 1].astype(np.int64))
        with torch.no_grad():
            scores = torch.log_softmax(model.logits(window[None, :-1])[0], dim=-1)
        total -= float(scores[torch.arange(len(window) - 1), window[1:]].sum())
    # `forward` takes its logits to float32 before the softmax.
    assert baseline.evaluate(model, ids, CONTEXT)[0] == pytest.approx(total, rel=1e-6)


def test_no_position_sees_what_follows() -> None:
    model, ids = tiny_model(), torch.arange(CONTEXT)[None] % VOCABULARY
    changed = ids.clone()
    changed[0, 9:] = 5
    with torch.no_grad():
        first, second = model.logits(ids), model.logits(changed)
    torch.testing.assert_close(first[:, :9], second[:, :9])
    assert not torch.allclose(first[:, 9:], second[:, 9:])


def test_parameters_and_their_groups_add_up() -> None:
    model, D = tiny_model(), 8
    matrices = VOCABULARY * D + CONTEXT * D + 2 * 12 * D * D
    vectors = 2 * ((3 + 1 + 4 + 1) * D + 4 * D) + 2 * D
    assert model.parameter_count() == matrices + vectors
    decayed, free = adamw(model, betas=(0.9, 0.95), weight_decay=0.1).param_groups
    assert sum(p.numel() for p in decayed["params"]) == matrices and decayed["weight_decay"] == 0.1
    assert sum(p.numel() for p in free["params"]) == vectors and free["weight_decay"] == 0.0


def test_swiglu_has_about_as_many_parameters_and_an_untied_head_its_own() -> None:
    def model(**chosen: Any) -> Any:
        return GPT2(vocabulary_size=VOCABULARY, context=CONTEXT, layers=2, heads=2, width=48, **chosen)

    gated, untied = model(activation="swiglu"), model(tied=False)
    # Two biases of 8/3 D instead of one of 4 D.
    assert gated.parameter_count() - model().parameter_count() == 2 * (2 * 128 - 192)
    assert untied.parameter_count() - model().parameter_count() == VOCABULARY * 48
    decayed, _ = adamw(untied, betas=(0.9, 0.95), weight_decay=0.1).param_groups
    assert any(p is untied.head.weight for p in decayed["params"])


def test_swiglu_is_the_formula() -> None:
    torch.manual_seed(0)
    block = GPT2(vocabulary_size=8, context=4, layers=1, heads=2, width=12, activation="swiglu").blocks[0].double()
    x = torch.randn(3, 12, dtype=torch.float64)
    gate, up = (x @ part.weight.T + part.bias for part in (block.mlp_gate, block.mlp_input))
    expected = (gate / (1 + torch.exp(-gate)) * up) @ block.mlp_output.weight.T + block.mlp_output.bias
    torch.testing.assert_close(block._mlp(x), expected)


def test_initialisation_is_gpt2s() -> None:
    torch.manual_seed(0)
    model = GPT2(vocabulary_size=512, context=64, layers=8, heads=4, width=64)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert parameter.abs().max() == 0
        elif parameter.dim() == 1:
            assert parameter.min() == parameter.max() == 1
        else:
            expected = 0.02 / 4 if name.endswith(("attention_output.weight", "mlp_output.weight")) else 0.02
            assert float(parameter.detach().std()) == pytest.approx(expected, rel=0.06), name


def test_the_rate_rises_and_falls_with_the_budget() -> None:
    config = BaselineConfig(warmup=0.1, floor=0.1)
    fractions = (0.0, 0.05, 0.1, 0.55, 1.0, 1.2)
    got = [baseline.multiplier(config, fraction) for fraction in fractions]
    assert got == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1, 0.1])


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"width": 10}, {"device": "tpu"}, {"warmup": 1.0}, {"beta2": 1.0}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TinyError, match="out of range"):
        BaselineConfig(**wrong)


def tiny_options(text: Path) -> list[str]:
    options = "--vocabulary-size 512 --layers 1 --heads 2 --width 16 --context 32 --batch-size 4 --threads 1"
    return ["--data", str(text), *options.split(), "--device", "cpu", "--no-allocator"]


def test_a_tiny_run_from_text_to_record(text: Path, tmp_path: Path) -> None:
    output = tmp_path / "record.json"
    options = [*tiny_options(text), "--budget", "40ktok", "--rate", "1e-2", "--json", str(output)]
    result = CliRunner().invoke(baseline.command, options)
    assert result.exit_code == 0, result.output
    record = json.loads(output.read_text())
    assert record["tokens"] == record["steps"] * 4 * 32 and abs(record["tokens"] - 40_000) <= 64
    bits = math.log2(record["perplexity_per_token"]) * record["validation_tokens"] / record["validation_bytes"]
    assert record["bits_per_byte"] == pytest.approx(bits)
    assert record["perplexity_per_token"] < 512 / 2, "it learned something"
    assert record["parameters"] == (512 + 32) * 16 + 12 * 16 * 16 + 13 * 16 + 2 * 16
    assert f"bits_per_byte: {record['bits_per_byte']:.6g}" in result.output.splitlines()
    assert record["tokens_per_s"] == pytest.approx(record["tokens"] / record["seconds"])
    # Head, four matrices of the block, and attention over (32 + 1) / 2 keys, each times 6.
    assert record["flops"] == pytest.approx(record["tokens"] * 6 * (512 * 16 + 12 * 16 * 16 + 2 * 16 * 16.5))
    assert str(tmp_path) not in output.read_text()


def test_the_same_seed_gives_the_same_model_and_the_warm_up_leaves_no_trace(text: Path) -> None:
    data = DataConfig(sources=(str(text),), vocabulary_size=512)
    config = BaselineConfig(
        budget="2ktok", layers=1, heads=2, width=16, context=32, batch_size=4, device="cpu", threads=1
    )
    corpus, weights = prepare(data), []
    for warm in (True, False):
        trainer = baseline.Trainer(config, corpus)
        if warm:
            trainer.warm_up()
        trainer.spend()
        weights.append(trainer.model.token_embedding.weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_a_time_budget_is_kept_within_a_step(text: Path) -> None:
    data = DataConfig(sources=(str(text),), vocabulary_size=512)
    config = BaselineConfig(budget="0.5s", layers=1, heads=2, width=16, context=32, batch_size=2, device="cpu")
    trainer = baseline.Trainer(config, prepare(data))
    trainer.warm_up()
    spent = trainer.spend()
    # A step takes about a millisecond; the rest is for a machine that is busy with other things.
    assert 0.4 < spent.seconds < 0.9 and spent.steps > 1


def test_a_diverged_run_says_so(text: Path) -> None:
    options = [*tiny_options(text), "--budget", "100ktok", "--rate", "1e30"]
    result = CliRunner().invoke(baseline.command, options)
    assert isinstance(result.exception, TinyError) and "lower --rate" in str(result.exception)


def test_the_baseline_does_not_import_mlx() -> None:
    code = "import sys, benchmarks.gpt2_baseline; print([n for n in sys.modules if n.partition('.')[0] == 'mlx'])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
