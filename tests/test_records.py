"""Records are written as JSON and read back, and damaged ones are refused with the place of the damage."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.records import Record, from_plain, read, to_json, to_plain, write

CHANGED = RunConfig(
    data=DataConfig(sources=("stories",), validation="x.txt", held_out=0.1 + 0.2, seed=2**40),
    model=ModelConfig(layers=7, tied=True, activation="swiglu", rope_base=12345.678),
    optimizer=OptimizerConfig(matrix_rate=1 / 3, matrix_optimizer="adamw"),
    schedule=ScheduleConfig(warmup=0.0),
    train=TrainConfig(budget="1h30m", compile=False, dtype="bfloat16"),
)


@dataclass(frozen=True)
class Part:
    size: int


@dataclass(frozen=True)
class Whole(Record):
    kind = "whole"
    version = 3
    name: str
    parts: list[Part]
    counts: dict[str, float]
    pair: tuple[int, ...] = ()
    last: Part | None = None
    error: float | None = None
    open: Any = field(default_factory=dict)


WHOLE = Whole("a", [Part(1), Part(2)], {"b": 0.5}, (3, 4), Part(5), 0.25, {"anything": [1]})


@pytest.mark.parametrize("record", [RunConfig(), CHANGED, WHOLE, Whole("a", [], {})])
def test_a_record_comes_back_from_json(record: Any, tmp_path: Path) -> None:
    assert from_plain(type(record), json.loads(to_json(record))) == record
    write(tmp_path / "a.json", record)
    assert read(tmp_path / "a.json", type(record), "record") == record


def test_its_json_begins_with_what_it_is() -> None:
    assert list(to_plain(WHOLE).items())[:3] == [("kind", "whole"), ("version", 3), ("name", "a")]
    assert "kind" not in to_plain(Part(1))


def test_nan_is_null() -> None:
    infinite = dataclasses.replace(WHOLE, error=-float("inf"))
    plain = to_plain({"a": [float("nan"), 1.0], "b": (float("inf"), "text"), "c": infinite})
    assert plain["a"] == [None, 1.0] and plain["b"] == [None, "text"] and plain["c"]["error"] is None


def test_absent_keys_take_their_defaults() -> None:
    assert from_plain(RunConfig, {"model": {"layers": 9}}) == RunConfig(model=ModelConfig(layers=9))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"kind": "half"},
            "not of a kind and version that can be read here. Expected kind 'whole', version 3, got kind 'half'",
        ),
        ({"version": 2}, "got kind 'whole', version 2"),
        ({"extra": 1}, "Unknown key extra in the record. Expected one of name, parts"),
        ({"parts": [{"size": 1}, {"sise": 2}]}, "Unknown key parts.1.sise in the record"),
        ({"parts": [{}]}, "The record is damaged. Expected a value of parts.0.size, got none"),
        ({"parts": {}}, "In the record, parts has the wrong type. Expected list"),
        ({"parts": [1]}, "The record is malformed at parts.0. Expected an object, got 1"),
        ({"counts": {"b": "x"}}, "In the record, counts.b has the wrong type. Expected float, got 'x'"),
        ({"pair": [1, 2.5]}, "In the record, pair.1 has the wrong type. Expected int, got 2.5"),
        ({"last": 7}, "The record is malformed at last"),
        ({"error": "x" * 99}, f"In the record, error has the wrong type. Expected float, got '{'x' * 59}..."),
    ],
)
def test_damage_is_named_by_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TinyError) as caught:
        from_plain(Whole, {**to_plain(WHOLE), **change}, "record")
    assert words in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_record_is_an_object(value: object) -> None:
    for values in (value, {"model": value}):
        with pytest.raises(TinyError, match="malformed"):
            from_plain(RunConfig, values)


WRONG: dict[Any, list[Any]] = {
    int: ["1", 1.0, 1.5, None, True, [1]],
    float: ["1", None, True, [0.5]],
    str: [1, None, True, ["a"]],
    bool: [0, 1, "yes", None],
}


@pytest.mark.parametrize("section", dataclasses.fields(RunConfig), ids=lambda section: section.name)
def test_a_setting_of_another_type_is_refused_by_its_path(section: Any) -> None:
    for setting in dataclasses.fields(section.default_factory):
        for value in WRONG.get(type(setting.default), [3]):
            with pytest.raises(TinyError, match=rf"{section.name}\.{setting.name} has the wrong type"):
                from_plain(RunConfig, {section.name: {setting.name: value}})


def test_a_whole_number_will_do_for_a_share_and_null_for_what_may_be_absent() -> None:
    assert from_plain(RunConfig, {"schedule": {"floor": 1}}).schedule.floor == 1
    assert from_plain(RunConfig, {"data": {"validation": None, "text_column": "story"}}).data.text_column == "story"
