"""Every option of the architecture: against PyTorch, in counts, with a cache, and in resumed runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from graph import beyond_the_diagonal, multiply_adds_of
from numeric import assert_close, to_float64
from numpy_model import SMALL, random_parameters, random_tokens, to_mlx
from tiny_run import STEP_TOKENS, Recorder, assert_same_runs, create_run, tiny_config, tiny_trainer, train_whole

from mlx_tiny.config import ModelConfig, RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.model.forward import logits, token_losses
from mlx_tiny.model.generate import Reader
from mlx_tiny.model.options import all_options, options_of
from mlx_tiny.model.parameters import initialize, multiply_adds_per_token, parameter_count, parameter_specs
from mlx_tiny.ops.implementations import decide
from mlx_tiny.ops.operation import Device
from mlx_tiny.training.step import step_implementations

OPTIONS = {
    "bigram_embedding": "40",
    "input_skip": "1",
    "logit_soft_cap": "2",
    "smear": "1",
    "value_embeddings": "1",
}
"""Each option with a value at which it shows in a model of two layers whose weights are random."""
MODELS = {
    **{name: replace(SMALL, key_value_heads=2, options=f"{name}={value}") for name, value in OPTIONS.items()},
    "all together": replace(SMALL, options=",".join(f"{name}={value}" for name, value in OPTIONS.items())),
}
each_model = pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
each_option = pytest.mark.parametrize("name", OPTIONS)


def losses(weights: dict[str, mx.array], config: ModelConfig, asked: str = "auto") -> mx.array:
    tokens, targets = (mx.array(array) for array in random_tokens(config))
    return token_losses(weights, config, tokens, targets, decide(config, batch=2, asked=asked))


@pytest.mark.torch
def test_every_option_of_the_folder_has_a_twin_and_a_line_in_the_list() -> None:
    from mlx_tiny.reference.options import OPTIONS as TWINS

    assert set(all_options()) == set(TWINS) == set(OPTIONS)


@each_option
def test_it_is_off_by_default_and_shows_where_it_is_on(name: str) -> None:
    with_it, without = MODELS[name], replace(MODELS[name], options="")
    assert options_of(without) == () and [chosen.name for chosen in options_of(with_it)] == [name]
    weights = to_mlx(random_parameters(with_it))
    own = {key: array for key, array in weights.items() if key in parameter_specs(without)}
    assert np.abs(to_float64(losses(weights, with_it)) - to_float64(losses(own, without))).max() > 1e-3
    fresh, other = initialize(with_it, seed=3), initialize(without, seed=3)
    assert all(mx.array_equal(fresh[key], array) for key, array in other.items()), "it changes no other parameter"


@each_option
def test_changed_logits_are_computed_plainly_and_this_is_reported(name: str) -> None:
    config = RunConfig(model=MODELS[name])
    changed = "logits" in all_options()[name].changes
    chosen = step_implementations(config, device=Device("metal")).cross_entropy
    assert (chosen.implementation == "plain" and "option" in chosen.reason) == changed
    asked = replace(config, train=replace(config.train, implementation="cross_entropy=cpu"))
    if changed:
        with pytest.raises(TinyError, match="options that change the logits"):
            step_implementations(asked, device=Device("cpu"))
    else:
        assert step_implementations(asked, device=Device("cpu")).cross_entropy.implementation == "cpu"


@each_model
def test_counts_are_those_of_the_parameters_and_the_graph(config: ModelConfig) -> None:
    fresh, T = initialize(config, seed=0), config.context
    assert {name: array.shape for name, array in fresh.items()} == {
        name: spec.shape for name, spec in parameter_specs(config).items()
    }
    assert sum(array.size for array in fresh.values()) == parameter_count(config)
    counted = multiply_adds_of(lambda weights: [losses(weights, config, "plain").mean()], fresh)
    assert counted - beyond_the_diagonal(config, 2) == 2 * T * multiply_adds_per_token(config)


@each_model
def test_a_token_from_a_cache_is_scored_as_in_its_text(config: ModelConfig) -> None:
    weights, tokens = to_mlx(random_parameters(config)), random_tokens(config, rows=1)[0]
    whole = to_float64(logits(weights, config, mx.array(tokens), decide(config))[0])[0]
    reader = Reader(weights, config)
    assert_close(reader.read(tokens[0, :3].tolist()), whole[2], "cache", "float32")
    for place, token in enumerate(tokens[0, 3:], 3):
        assert_close(reader.read_next(int(token)), whole[place], "cache", "float32", f"token {place}")


@pytest.mark.torch
@each_model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_stage_and_gradient_equals_the_reference(config: ModelConfig, dtype: str) -> None:
    from mlx_tiny.validate.lockstep import in_lockstep, run_reference
    from mlx_tiny.validate.models import fresh_case

    case = fresh_case("options", RunConfig(model=config))
    expected = run_reference(case.weights, config, case.batch)
    results = in_lockstep(case.weights, config, case.batch, expected, dtype=dtype)
    assert not [result.name for result in results if not result.passed]
    assert {name for name in expected.gradients if np.abs(expected.gradients[name]).max() == 0} == set()
    if dtype == "float32":
        scores = logits(case.weights, config, mx.array(case.batch[:, :-1]), decide(config, batch=len(case.batch)))[0]
        assert_close(scores, expected.values["logits"], "model", dtype)


@pytest.mark.torch
@each_model
def test_gradients_of_the_reference_are_the_slopes_of_its_loss(config: ModelConfig) -> None:
    import torch

    from mlx_tiny.reference.step import loss_and_gradients

    parameters = {name: torch.from_numpy(array) for name, array in random_parameters(config).items()}
    batch, generator = np.concatenate(random_tokens(config), axis=1), torch.Generator().manual_seed(0)
    _, gradients = loss_and_gradients(parameters, config, batch)
    for name, weight in parameters.items():
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        moved = [{**parameters, name: weight + step * direction} for step in (1e-6, -1e-6)]
        ahead, behind = (loss_and_gradients(changed, config, batch)[0].item() for changed in moved)
        slope = (gradients[name] * direction).sum()
        assert_close(slope, (ahead - behind) / 2e-6, "slope", "float64", name)


@pytest.mark.torch
@each_model
def test_the_reference_describes_starts_and_trains_the_same_parameters(config: ModelConfig) -> None:
    from mlx_tiny.reference import model

    fields = ("shape", "std", "start", "rate", "decays", "layers", "blocks")
    ours, theirs = (
        [(name, *(getattr(parameter, field) for field in fields)) for name, parameter in described.items()]
        for described in (parameter_specs(config), model.parameters_of(config))
    )
    assert ours == theirs
    fresh, plain = model.initialize(config, seed=1), model.initialize(replace(config, options=""), seed=1)
    assert [(name, tuple(weight.shape)) for name, weight in fresh.items()] == [row[:2] for row in theirs]
    assert all((fresh[name] == weight).all() for name, weight in plain.items())


def run_config(folder: Path, name: str, steps: int, **train: Any) -> RunConfig:
    settings = {"schedule": {"cooldown": 0.0}, "checkpoints": 1, "evaluations": 2, **train}
    return tiny_config(folder, model={"options": MODELS[name].options}, budget=f"{steps * STEP_TOKENS}tok", **settings)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    config = run_config(tmp_path, name, 6)
    whole, _, _ = train_whole(tmp_path / "whole", config)
    broken = create_run(tmp_path / "broken", config)

    class Killed(Exception):
        pass

    class Mortal(Recorder):
        """Ends the session at the step after the checkpoint."""

        def step(self, record) -> None:
            if record.step == 4:
                raise Killed

    with pytest.raises(Killed):
        tiny_trainer(broken, Mortal()).train()
    assert broken.load_checkpoint("last")[1].step == 3
    tiny_trainer(broken, resume=True).train()
    assert_same_runs(whole, broken)
    state, start = whole.load_checkpoint("last")[0], initialize(config.model, config.train.seed)
    assert not [key for key, array in state.parameters.items() if mx.array_equal(array, start[key])], "all are trained"


@pytest.mark.torch
@pytest.mark.parametrize("first", ["torch", "mlx"])
def test_a_run_goes_on_with_the_other_backend(tmp_path: Path, first: str) -> None:
    import torch

    from mlx_tiny.reference.backend import TorchBackend
    from mlx_tiny.training.backend import MlxBackend

    config = run_config(tmp_path, "all together", 10)
    backends = {"torch": TorchBackend(config, device=torch.device("cpu")), "mlx": MlxBackend(config)}
    second = next(name for name in backends if name != first)
    run, whole = (create_run(tmp_path / name, config) for name in ("run", "whole"))
    budget = f"{20 * STEP_TOKENS}tok"
    for place, order in ((run, (first, second)), (whole, (second, second))):
        tiny_trainer(place, backend=backends[order[0]]).train()
        found = tiny_trainer(place, backend=backends[order[1]], resume=True, budget=budget).train()
        assert found.progress.step == 20
        if place is run:
            outcome = found
    # Their fresh weights differ, so that the losses are only near.
    assert outcome.evaluation.loss == pytest.approx(found.evaluation.loss, rel=0.05)
    assert outcome.evaluation.loss < np.log(config.model.vocabulary_size) - 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("soft_cap=2", "Unknown option 'soft_cap'.*logit_soft_cap, smear, value_embeddings"),
        ("logit_soft_cap=0", "logit_soft_cap of the model is out of range.*1 to 1000.*got 0"),
        ("value_embeddings=1.5", "a whole number of layers, 1 to 2.*got 1.5"),
        ("value_embeddings=3", "a whole number of layers, 1 to 2"),
    ],
)
def test_an_unknown_option_is_refused(options: str, message: str) -> None:
    with pytest.raises(TinyError, match=message):
        options_of(replace(SMALL, options=options))


@pytest.mark.torch
def test_the_reference_refuses_an_option_that_it_lacks() -> None:
    from mlx_tiny.reference import model

    with pytest.raises(TinyError, match="reference has no option 'soft_cap'"):
        model.parameters_of(replace(SMALL, options="soft_cap=2"))


@pytest.mark.parametrize(
    "options", ["logit_soft_cap", "logit_soft_cap=high", "=2", "logit_soft_cap=2,logit_soft_cap=3"]
)
def test_options_are_pairs_of_a_name_and_a_number(options: str) -> None:
    with pytest.raises(TinyError, match="pairs NAME=NUMBER"):
        replace(SMALL, options=options)
