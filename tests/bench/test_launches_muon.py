"""Launches of an optimizer step for the default model: with kernels, without, and of MLX's optimizers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.optimizers import AdamW, Muon

from mlx_tiny.bench.launches import count_launches
from mlx_tiny.config import ModelConfig, OptimizerConfig
from mlx_tiny.config.presets import preset_called
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.model.spec import ParameterSpec
from mlx_tiny.ops.implementations import AS_ASKED, Choice
from mlx_tiny.ops.muon import MUON, NEWTON_SCHULZ
from mlx_tiny.optim.optimizer import Optimizer, initial_state

Specs = dict[str, ParameterSpec]
SQUARED_RELU = {"model": {"activation": "relu2", "options": ""}}
MODELS = {"default": ModelConfig(), "mini": preset_called("mini").config(SQUARED_RELU).model}
MOST_PER_BANK = 20
FEWER = 5
README = Path(__file__).parents[2] / "kernels" / "README.md"


def matrices(specs: Specs) -> Specs:
    return {name: spec for name, spec in specs.items() if spec.blocks}


def ours(specs: Specs, muon: str) -> Counter[str]:
    """The update of these parameters by the project's optimizer."""
    config = OptimizerConfig()
    optimizer = Optimizer(config, specs, Choice(MUON, muon, AS_ASKED))
    arrays = {name: mx.zeros(spec.shape) for name, spec in specs.items()}
    return count_launches(optimizer.update, arrays, arrays, initial_state(config, specs), mx.array(1.0), mx.array(0.9))


def theirs(specs: Specs) -> Counter[str]:
    """MLX's Muon on every matrix, and its AdamW on the others."""
    single: list[tuple[int, ...]] = [
        (rows, spec.shape[2]) for spec in matrices(specs).values() for rows in spec.blocks * spec.shape[0]
    ]
    rest = [spec.shape for name, spec in specs.items() if name not in matrices(specs)]
    counts = launches_of(lambda: Muon(learning_rate=0.02), single, ("v",))
    return counts + launches_of(lambda: AdamW(learning_rate=0.02), rest, ("m", "v")) if rest else counts


def launches_of(
    make: Callable[[], Muon | AdamW], shapes: list[tuple[int, ...]], moments: tuple[str, ...]
) -> Counter[str]:
    arrays = {f"array{index}": mx.zeros(shape) for index, shape in enumerate(shapes)}

    def update(weights: dict, gradients: dict, *states: dict) -> list[mx.array]:
        optimizer = make()
        optimizer.init(weights)
        for key, by_name in zip(moments, states, strict=True):
            for name, array in by_name.items():
                optimizer.state[name][key] = array
        new = optimizer.apply_gradients(gradients, weights)
        return [*new.values(), *(optimizer.state[name][key] for name in arrays for key in moments)]

    return count_launches(update, *[arrays] * (2 + len(moments)))


@pytest.mark.parametrize("implementation", ["plain", "metal"])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(16, 128, 128), (8, 128, 512), (2, 12, 5)], ids=str)
def test_a_bank_takes_few_launches(shape: tuple[int, ...], dtype: mx.Dtype, implementation: str) -> None:
    counts = count_launches(NEWTON_SCHULZ.implementations[implementation].function, mx.zeros(shape, dtype))
    assert counts.total() <= MOST_PER_BANK, counts
    assert counts["CustomKernel"] == (10 if implementation == "metal" else 0)


def launches(specs: Specs) -> dict[str, int]:
    """Number of launches, by the names of the rows in kernels/README.md."""
    return {
        "with these kernels": ours(specs, "metal").total(),
        "plain": ours(specs, "plain").total(),
        "`mlx.optimizers.Muon` (one matrix at a time), and `AdamW`": theirs(specs).total(),
    }


@pytest.mark.parametrize("name", MODELS)
def test_kernels_launch_at_most_a_fifth_of_mlx_optimizers(name: str) -> None:
    specs = parameter_specs(MODELS[name])
    assert ours(matrices(specs), "metal")["CustomKernel"] == 1 + 2 * 2 * 5, "one packs, and two banks take two a step"
    for part in (matrices(specs), specs):
        by_kernels, plain, mlx = launches(part).values()
        assert FEWER * by_kernels <= mlx
        assert by_kernels < plain


def test_the_kernels_readme_has_the_counts() -> None:
    section = README.read_text(encoding="utf-8").split("### Launches of an optimizer step\n")[1]
    counted = re.search(r"mlx ([\d.]+\d)", section)[1]
    if counted != version("mlx"):
        pytest.skip(f"the README counts for mlx {counted}, and this is {version('mlx')}")
    rows = re.findall(r"^\| (\S.*) \| (\d+) \| (\d+) \|$", section, re.MULTILINE)
    said = {name: (int(muon), int(whole)) for name, muon, whole in rows}
    for model in MODELS.values():
        specs = parameter_specs(model)
        muon, whole = launches(matrices(specs)), launches(specs)
        assert said == {name: (muon[name], whole[name]) for name in muon}
