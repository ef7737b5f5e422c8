"""Every default is valid, and everything else is refused by name."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from mlx_tiny.config import (
    BACKENDS,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainConfig,
    from_dict,
    to_dict,
)
from mlx_tiny.errors import TinyError

SECTIONS = (DataConfig, ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig)

REJECTED = [
    (DataConfig, "vocabulary_size", [0, 511, 32769]),
    (DataConfig, "held_out", [0.0, 1.0, -0.1, math.nan]),
    (DataConfig, "train_bytes", [0, -1]),
    (DataConfig, "validation_bytes", [0, -1]),
    (DataConfig, "stories_scale", [0.0, 1.01, -1.0, math.nan]),
    (DataConfig, "stories_dependency", [-1, 4]),
    *((ModelConfig, name, [0, -1]) for name in ("context", "layers", "width", "heads", "key_value_heads", "hidden")),
    (ModelConfig, "vocabulary_size", [255, 65537]),
    (ModelConfig, "key_value_heads", [3, 8]),
    (ModelConfig, "head_width", [0, 1, 33]),
    (ModelConfig, "activation", ["gelu", "", "SwiGLU"]),
    (ModelConfig, "rope_base", [1.0, 0.0, -5.0, math.nan]),
    (ModelConfig, "norm_epsilon", [0.0, -1e-6, math.nan]),
    (OptimizerConfig, "matrix_optimizer", ["sgd", ""]),
    (OptimizerConfig, "coefficients", ["cubic", ""]),
    *(
        (OptimizerConfig, f"{name}_rate", [0.0, -1.0, math.nan])
        for name in ("matrix", "matrix_adamw", "embedding", "head", "scalar")
    ),
    *(
        (OptimizerConfig, name, [-0.1, 1.0, math.nan])
        for name in ("momentum", "momentum_start", "momentum_warmup", "adam_beta1", "adam_beta2")
    ),
    *((OptimizerConfig, name, [-0.1, math.nan]) for name in ("matrix_decay", "adamw_decay", "clip_norm")),
    (OptimizerConfig, "adam_epsilon", [0.0, -1e-9, math.nan]),
    (OptimizerConfig, "newton_schulz_steps", [0, 11]),
    *((ScheduleConfig, name, [-0.1, 1.1, math.nan]) for name in ("warmup", "cooldown", "floor")),
    *((TrainConfig, name, [0, -1]) for name in ("batch_size", "micro_batches", "evaluations", "evaluation_tokens")),
    *((TrainConfig, name, [-1]) for name in ("checkpoints", "samples")),
    (TrainConfig, "micro_batches", [3, 32]),
    (TrainConfig, "dtype", ["float16", "fp32", ""]),
    (TrainConfig, "backend", ["jax", "MLX", ""]),
    (TrainConfig, "attention", ["torch", "flash", ""]),
    (TrainConfig, "muon", ["mlx", "cpu", ""]),
]
# Any value of the type will do: text, paths, seeds, switches.
FREE = {"source", "validation", "text_column", "seed", "tied", "budget", "preset", "compile"}


def test_defaults_are_valid() -> None:
    for section in (*SECTIONS, RunConfig):
        section()


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [(section, name, value) for section, name, values in REJECTED for value in values],
)
def test_a_value_out_of_range_is_refused_by_its_name(section: type, name: str, value: object) -> None:
    with pytest.raises(TinyError, match=rf"setting .*{name}.* is out of range. Expected .*got") as raised:
        section(**{name: value})
    assert repr(value) in str(raised.value)


def test_every_setting_is_checked_or_free() -> None:
    checked = {(section, name) for section, name, _ in REJECTED}
    for section in SECTIONS:
        for field in dataclasses.fields(section):
            assert ((section, field.name) in checked) != (field.name in FREE), f"{section.__name__}.{field.name}"


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (DataConfig, {"vocabulary_size": 512, "stories_scale": 1.0, "stories_dependency": 3}),
        (DataConfig, {"vocabulary_size": 32768, "held_out": 1e-9}),
        (ModelConfig, {"vocabulary_size": 65536, "heads": 6, "key_value_heads": 3, "head_width": 2}),
        (ModelConfig, {"context": 1, "layers": 1, "width": 1, "heads": 1, "key_value_heads": 1, "hidden": 1}),
        (OptimizerConfig, {"momentum": 0.0, "momentum_warmup": 0.0, "adam_beta1": 0.0, "newton_schulz_steps": 10}),
        (ScheduleConfig, {"warmup": 0.0, "cooldown": 0.0, "floor": 1.0}),
        (ScheduleConfig, {"warmup": 0.3, "cooldown": 0.7}),
        (ScheduleConfig, {"warmup": 1.0, "cooldown": 0.0}),
        (TrainConfig, {"batch_size": 12, "micro_batches": 12, "checkpoints": 0, "samples": 0, "evaluations": 1}),
    ],
)
def test_values_at_the_edge_are_taken(section: type, values: dict) -> None:
    config = section(**values)
    assert {name: getattr(config, name) for name in values} == values


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("setting", ["attention", "muon"])
def test_implementations_belong_to_their_backend(backend: str, setting: str) -> None:
    known = BACKENDS[backend][setting]
    assert {"auto", "plain"} <= set(known)
    for value in {value for names in BACKENDS.values() for value in names[setting]}:
        if value in known:
            assert getattr(TrainConfig(**{"backend": backend, setting: value}), setting) == value
        else:
            with pytest.raises(TinyError, match=f"with the backend {backend}, got '{value}'"):
                TrainConfig(**{"backend": backend, setting: value})


def test_warm_up_and_cool_down_fit_into_the_budget_together() -> None:
    with pytest.raises(TinyError, match=r"warmup \+ cooldown"):
        ScheduleConfig(warmup=0.6, cooldown=0.5)


def test_a_configuration_does_not_change() -> None:
    for section in (*SECTIONS, RunConfig):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(section(), dataclasses.fields(section)[0].name, 1)


CHANGED = RunConfig(
    data=DataConfig(source="stories", validation="x.txt", held_out=0.1 + 0.2, seed=2**40),
    model=ModelConfig(layers=7, tied=True, activation="swiglu", rope_base=12345.678),
    optimizer=OptimizerConfig(matrix_rate=1 / 3, matrix_optimizer="adamw"),
    schedule=ScheduleConfig(warmup=0.0),
    train=TrainConfig(budget="1h30m", compile=False, dtype="bfloat16"),
)


@pytest.mark.parametrize("config", [RunConfig(), CHANGED], ids=["defaults", "changed"])
def test_a_configuration_comes_back_from_json(config: RunConfig) -> None:
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_absent_keys_take_their_defaults() -> None:
    assert from_dict(RunConfig, {}) == RunConfig()
    got = from_dict(RunConfig, {"model": {"layers": 9}})
    assert got == RunConfig(model=ModelConfig(layers=9))


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"modell": {}}, "modell"),
        ({"model": {"depth": 3}}, "model.depth"),
        ({"train": {"Budget": "5m"}}, "train.Budget"),
    ],
)
def test_an_unknown_key_is_refused_by_its_path(values: dict, key: str) -> None:
    with pytest.raises(TinyError, match=f"Unknown key {key} in the configuration. Expected one of"):
        from_dict(RunConfig, values)


WRONG = {
    int: ["1", 1.0, 1.5, None, True, [1]],
    float: ["1", None, True, [0.5]],
    str: [1, None, True, ["a"]],
    bool: [0, 1, "yes", None],
}


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        (section, field.name, value)
        for section in dataclasses.fields(RunConfig)
        for field in dataclasses.fields(section.default_factory)
        if field.default is not None
        for value in WRONG[type(field.default)]
    ],
)
def test_a_value_of_another_type_is_refused_by_its_path(section, name: str, value: object) -> None:
    with pytest.raises(TinyError, match=rf"setting {section.name}\.{name} has the wrong type"):
        from_dict(RunConfig, {section.name: {name: value}})


def test_what_may_be_absent_may_be_null() -> None:
    assert from_dict(RunConfig, {"data": {"validation": None, "text_column": "story"}}).data.text_column == "story"
    with pytest.raises(TinyError, match=r"data\.validation has the wrong type"):
        from_dict(RunConfig, {"data": {"validation": 3}})


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_section_is_an_object(value: object) -> None:
    with pytest.raises(TinyError, match="malformed"):
        from_dict(RunConfig, {"model": value})
    with pytest.raises(TinyError, match="malformed"):
        from_dict(RunConfig, value)


def test_a_whole_number_will_do_for_a_share() -> None:
    assert from_dict(RunConfig, {"schedule": {"floor": 1}}).schedule.floor == 1


def test_every_setting_is_described() -> None:
    """Each field has a docstring or a name that says it all."""
    assert all(section.__doc__ for section in SECTIONS)
