"""Every default is valid, and wrong values are refused by name."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from mlx_tiny.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig, Sampling, ScheduleConfig, TrainConfig
from mlx_tiny.errors import TinyError

SECTIONS = (DataConfig, ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig)

REJECTED: list[tuple[Any, str, list[Any]]] = [
    (DataConfig, "vocabulary_size", [0, 259, 32769]),
    (DataConfig, "tokenizer", ["", "BPE", "items"]),
    (DataConfig, "held_out", [1.0, -0.1, math.nan]),
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
    *((TrainConfig, name, [-0.1, 1.1]) for name in ("short_sequences", "small_batches")),
    (TrainConfig, "order", ["random", ""]),
    (TrainConfig, "track", ["mlflow", ""]),
    (TrainConfig, "measured_bytes", ["", "some", "999", "-5000", "5e6", "9" * 50]),
    (ScheduleConfig, "rate_at", ["end", ""]),
    *((ModelConfig, name, [10**9]) for name in ("context", "layers", "width", "heads", "key_value_heads", "hidden")),
    *((TrainConfig, name, [10**9]) for name in ("batch_size", "evaluations", "checkpoints", "samples")),
    (ModelConfig, "options", ["logit_soft_cap", "=15", "logit_soft_cap=", "logit_soft_cap=inf", "a=1,a=1", "a=b"]),
]
REJECTED += [
    (DataConfig, "sources", [(), ("",)]),
    (DataConfig, "validation", [""]),
    (DataConfig, "suffix", [("",)]),
    (DataConfig, "include", [("",)]),
    (DataConfig, "documents", ["", " "]),
]
BESIDE_SCHEMA: list[dict[str, Any]] = [{"text_column": "title"}, {"documents": "lines"}, {"tokenizer": "bytes"}]
# Any value of the type will do: text, paths, seeds, switches.
FREE = {
    "counting",
    "schema",
    "text_column",
    "header",
    "seed",
    "tied",
    "budget",
    "preset",
    "compile",
    "implementation",
}


def test_defaults_are_valid() -> None:
    for section in (*SECTIONS, RunConfig):
        section()


@pytest.mark.parametrize(
    ("section", "name", "value"), [(section, name, value) for section, name, values in REJECTED for value in values]
)
def test_a_value_out_of_range_is_refused_by_its_name(section: type, name: str, value: object) -> None:
    with pytest.raises(TinyError, match=rf"setting .*{name}.* is out of range. Expected .*got") as raised:
        section(**{name: value})
    assert repr(value) in str(raised.value)


NUMBERS = [(section, f.name, f.type) for section in (*SECTIONS, Sampling) for f in dataclasses.fields(section)]


@pytest.mark.parametrize(
    ("section", "name", "kind"), [number for number in NUMBERS if number[2] in ("int", "float")], ids=str
)
def test_extreme_numbers_are_refused(section: type, name: str, kind: str) -> None:
    """Numbers that MLX, numpy or PyTorch cannot represent."""
    whole = [-1, -(2**70), 2**63, 2**64, 10**30]
    for value in whole if kind == "int" else [-1.0, math.nan, math.inf, -math.inf, 1e39, 1e-40]:
        with pytest.raises(TinyError, match=rf"setting .*{name}.* is out of range"):
            section(**{name: value})


@pytest.mark.parametrize("column", ["-1", "0", "1.5", "text", ""])
def test_without_a_header_a_column_is_a_number(column: str) -> None:
    with pytest.raises(TinyError, match=r"text_column is out of range\. Expected a number from 1 on"):
        DataConfig(header=False, text_column=column)
    assert DataConfig(header=False, text_column="2").text_column == "2"


def test_every_setting_is_checked_or_free() -> None:
    checked = {(section, name) for section, name, _ in REJECTED}
    for section in SECTIONS:
        for field in dataclasses.fields(section):
            assert ((section, field.name) in checked) != (field.name in FREE), f"{section.__name__}.{field.name}"


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (DataConfig, {"vocabulary_size": 260, "stories_scale": 1.0, "stories_dependency": 3}),
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


def test_options_are_pairs_of_a_name_and_a_number() -> None:
    assert ModelConfig().chosen_options() == {}
    assert ModelConfig(options="b=2, a = 1.5,").chosen_options() == {"a": 1.5, "b": 2.0}


def test_warm_up_and_cool_down_fit_into_the_budget_together() -> None:
    with pytest.raises(TinyError, match=r"warmup \+ cooldown"):
        ScheduleConfig(warmup=0.6, cooldown=0.5)


def test_a_configuration_does_not_change() -> None:
    for section in (*SECTIONS, RunConfig):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(section(), dataclasses.fields(section)[0].name, 1)


def test_every_setting_is_described() -> None:
    """Each field has a docstring, or a name that needs none."""
    assert all(section.__doc__ for section in SECTIONS)


@pytest.mark.parametrize("settings", BESIDE_SCHEMA, ids=str)
def test_what_a_schema_makes_idle_is_refused_beside_it(settings: dict[str, Any]) -> None:
    with pytest.raises(TinyError, match="schema"):
        DataConfig(schema="shop.yaml", **settings)
