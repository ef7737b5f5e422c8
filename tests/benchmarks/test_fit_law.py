"""The fit of the law finds planted constants, and its command predicts runs that were held out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import fit_law
from mlx_tiny.config.presets import STRONGEST, preset_called
from mlx_tiny.errors import TinyError
from mlx_tiny.records import read
from mlx_tiny.study.law import Laws, MeasuredRun, Surface

TRUE = Surface(0.5, 12.0, 0.28, 60.0, 0.38)
SIZES, TOKENS = (160_000, 530_000, 1_050_000, 2_600_000), (75_000, 150_000, 300_000, 600_000, 1_200_000)


def run(parameters: int, tokens: int, noise: float = 0.0, unique_tokens: int = 10**9) -> MeasuredRun:
    planted = MeasuredRun(f"{parameters:.0e}", parameters, tokens, unique_tokens, 0, 0.0)
    reached = TRUE.bits_per_byte(parameters, planted.effective_tokens) * math.exp(noise)
    return replace(planted, bits_per_byte=reached)


def grid(std: float = 0.0, unique_tokens: int = 10**9) -> list[MeasuredRun]:
    random = np.random.default_rng(0)
    return [run(n, d, std * random.standard_normal(), unique_tokens) for n in SIZES for d in TOKENS]


@pytest.mark.parametrize("unique_tokens", [10**9, 200_000])
def test_planted_constants_are_found(unique_tokens: int) -> None:
    found = fit_law.fit(grid(unique_tokens=unique_tokens))
    assert found.floor == pytest.approx(TRUE.floor, abs=0.01)
    assert (found.size_exponent, found.data_exponent) == pytest.approx((0.28, 0.38), abs=0.01)
    for parameters, tokens in ((1_050_000, 5_000_000), (6_000_000, 2_000_000)):
        expected = TRUE.bits_per_byte(parameters, tokens)
        assert found.bits_per_byte(parameters, tokens) == pytest.approx(expected, rel=0.003)


def test_a_run_that_went_wrong_hardly_moves_the_surface() -> None:
    runs = grid()
    runs[7] = replace(runs[7], bits_per_byte=1.3 * runs[7].bits_per_byte)
    assert fit_law.fit(runs).bits_per_byte(1_050_000, 600_000) == pytest.approx(
        TRUE.bits_per_byte(1_050_000, 600_000), rel=0.005
    )


def test_a_known_floor_is_kept() -> None:
    assert fit_law.fit(grid(), floor=0.45).floor == pytest.approx(0.45)


def test_the_interval_holds_runs_that_were_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_law, "_RESAMPLED", 10)
    found = fit_law.law("stories", STRONGEST, {}, grid(0.004))
    random = np.random.default_rng(1)
    new = [run(700_000, tokens, 0.004 * random.standard_normal()) for tokens in (100_000, 200_000, 400_000, 800_000)]
    expectations = [found.expected(each.parameters, each.tokens) for each in new]
    assert all(e.low < each.bits_per_byte < e.high for e, each in zip(expectations, new, strict=True))
    assert all(e.high / e.low < 1.05 for e in expectations)


@pytest.mark.parametrize("runs", [grid()[:5], grid()[:5] * 2, [run(n, 75_000) for n in SIZES] * 3])
def test_too_few_runs_are_refused(runs: list[MeasuredRun]) -> None:
    with pytest.raises(TinyError, match="Too few runs"):
        fit_law.fit(runs)


def test_the_command_predicts_what_is_held_out_and_keeps_other_laws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {f"{r.parameters}-{r.tokens}": r for r in grid()}
    for name in runs:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(fit_law, "_RESAMPLED", 2)
    report = SimpleNamespace(entropy_floor_bits_per_byte=None, config=preset_called("mini").config())
    monkeypatch.setattr(fit_law, "measured", lambda folder: (runs[folder.name], report))
    output, folders = tmp_path / "laws.json", [str(tmp_path / name) for name in runs]
    for text in ("stories", "tinystories", "stories"):
        options = ["--text", text, "--hold-out", "*-600000", "--output", str(output)]
        result = CliRunner().invoke(fit_law.command, [*folders, *options], catch_exceptions=False)
        assert result.exit_code == 0
    assert "median error of 4 runs held out: 0.0" in result.output
    laws = read(output, Laws, "file of laws").laws
    assert [(each.text, len(each.runs)) for each in laws] == [("tinystories", 16), ("stories", 16)]


def test_only_runs_of_one_recipe_are_fitted_together() -> None:
    def reports(**asked: dict[str, Any]) -> dict[Path, Any]:
        configs = {"tiny": preset_called("tiny").config(), "mini": preset_called("mini").config(asked)}
        return {Path(name): SimpleNamespace(config=config) for name, config in configs.items()}

    settings = fit_law.common_settings(reports(train={"seed": 3}))
    assert settings["model"]["options"]["value_embeddings"] == "layers"
    with pytest.raises(TinyError, match=r"mini is not .* matrix_rate 0.02"):
        fit_law.common_settings(reports(optimizer={"matrix_rate": 0.5}))
