"""How often an optimizer step launches a GPU, for the default model: ours, with and without kernels, and MLX's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.optimizers import AdamW, Muon
from mlx_tiny.ops.newton_schulz import orthogonalize

from mlx_tiny.bench.launches import count_launches
from mlx_tiny.config import ModelConfig, OptimizerConfig
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.model.spec import ParameterSpec
from mlx_tiny.ops import metal
from mlx_tiny.optim.optimizer import Optimizer
from mlx_tiny.study.plan import PRESETS

Specs = dict[str, ParameterSpec]
MODELS = {"default": ModelConfig(), "mini": PRESETS["mini"].model_config()}
MOST_A_BANK = 20
FEWER = 5
README = Path(__file__).parents[2] / "kernels" / "README.md"


@pytest.fixture(autouse=True)
def metal_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are counted, not run, so the kernels may be asked for anywhere."""
    monkeypatch.setattr(metal, "why_not_metal", lambda: None)


def matrices(specs: Specs) -> Specs:
    return {name: spec for name, spec in specs.items() if spec.kind == "matrix"}


def ours(specs: Specs, muon: str) -> Counter[str]:
    """The whole update of these parameters."""
    optimizer = Optimizer(OptimizerConfig(), specs, muon=muon)
    state = optimizer.initialize()

    def update(weights: list, gradients: list, moments: list, *scalars: mx.array) -> list[list[mx.array]]:
        by_name = (dict(zip(specs, arrays, strict=True)) for arrays in (weights, gradients))
        new = optimizer.update(*by_name, dict(zip(state, moments, strict=True)), *scalars)
        return [list(arrays.values()) for arrays in new]

    arrays = arrays_of(spec.shape for spec in specs.values()), arrays_of(spec.shape for spec in specs.values())
    return count_launches(update, *arrays, list(state.values()), mx.array(1.0), mx.array(0.9))


def theirs(specs: Specs) -> Counter[str]:
    """MLX's Muon on every matrix by itself, and its AdamW on the rest."""
    single = [(rows, spec.shape[2]) for spec in matrices(specs).values() for rows in spec.blocks * spec.shape[0]]
    rest = [spec.shape for spec in specs.values() if spec.kind != "matrix"]
    counts = launches_of(lambda: Muon(learning_rate=0.02), single, ("v",))
    return counts + launches_of(lambda: AdamW(learning_rate=0.02), rest, ("m", "v")) if rest else counts


def launches_of(
    make: Callable[[], Muon | AdamW], shapes: list[tuple[int, ...]], moments: tuple[str, ...]
) -> Counter[str]:
    names = [f"array{index}" for index in range(len(shapes))]

    def update(weights: list, gradients: list, *states: list) -> list[mx.array]:
        optimizer = make()
        parameters = dict(zip(names, weights, strict=True))
        optimizer.init(parameters)
        for key, arrays in zip(moments, states, strict=True):
            for name, array in zip(names, arrays, strict=True):
                optimizer.state[name][key] = array
        new = optimizer.apply_gradients(dict(zip(names, gradients, strict=True)), parameters)
        return [*new.values(), *(optimizer.state[name][key] for name in names for key in moments)]

    return count_launches(update, *(arrays_of(shapes) for _ in range(2 + len(moments))))


def arrays_of(shapes) -> list[mx.array]:
    return [mx.zeros(shape) for shape in shapes]


@pytest.mark.parametrize("implementation", ["plain", "metal"])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(16, 128, 128), (8, 128, 512), (2, 12, 5)], ids=str)
def test_a_bank_takes_few_launches(shape: tuple[int, ...], dtype: mx.Dtype, implementation: str) -> None:
    counts = count_launches(lambda bank: orthogonalize(bank, implementation=implementation), mx.zeros(shape, dtype))
    assert counts.total() <= MOST_A_BANK, counts
    assert counts["CustomKernel"] == (10 if implementation == "metal" else 0)


def launches(specs: Specs) -> dict[str, int]:
    """How often each launches, by the names of README's rows."""
    return {
        "with these kernels": ours(specs, "metal").total(),
        "plain": ours(specs, "plain").total(),
        "`mlx.optimizers.Muon` (one matrix at a time), and `AdamW`": theirs(specs).total(),
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_kernels_launch_at_least_five_times_less_than_mlx_s_optimizers(name: str) -> None:
    specs = parameter_specs(MODELS[name])
    assert ours(matrices(specs), "metal")["CustomKernel"] == 1 + 2 * 2 * 5, "one packs, and two banks take two a step"
    for part in (matrices(specs), specs):
        by_kernels, plain, mlx = launches(part).values()
        assert FEWER * by_kernels <= mlx
        assert by_kernels < plain


def test_the_kernels_readme_has_the_counts() -> None:
    section = README.read_text(encoding="utf-8").split("### Launches of an optimizer step\n")[1]
    version = re.search(r"mlx ([\d.]+\d)", section)[1]
    if version != mx.__version__:
        pytest.skip(f"the README counts for mlx {version}, and this is {mx.__version__}")
    rows = re.findall(r"^\| (\S.*) \| (\d+) \| (\d+) \|$", section, re.MULTILINE)
    said = {name: (int(muon), int(whole)) for name, muon, whole in rows}
    for model in MODELS.values():
        specs = parameter_specs(model)
        muon, whole = launches(matrices(specs)), launches(specs)
        assert said == {name: (muon[name], whole[name]) for name in muon}
