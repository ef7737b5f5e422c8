"""`mlx-tiny profile`: output, warnings and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.bench import drift as drift_module
from mlx_tiny.bench import profile as profiling
from mlx_tiny.bench.record import Drift, Group, Profile
from mlx_tiny.machine import peaks
from mlx_tiny.machine.description import describe
from mlx_tiny.machine.state import State
from mlx_tiny.ops import metal
from mlx_tiny.tools.statistics import Spread

from .cases import USAGE, Case, assert_explained, everything
from .command_line import call, succeeded

DRIFT = Drift(60.0, 10.0, 2000.0, 1500.0, 0.75, True, [], State(None, None, None), State(None, None, None))
STEP = Spread(5e-3, 4.9e-3, 5.2e-3, 9, False)


def result(**changes: Any) -> Profile:
    """A finished profile."""
    made = Profile(
        preset="mini",
        shape="B8 T256",
        dtype="float32",
        compiled=True,
        step_s=STEP,
        tokens_per_s=12345.0,
        utilisation=0.41,
        launches=270,
        groups={
            "attention": Group(2e-3, 0.4, 1.9e-3, 2.1e-3, 7, 1e6, 1e6, 0.5),
            "data": Group(1e-5, 0.002),
            "other": Group(-1e-4, -0.02),
        },
        unexplained_s=-1e-4,
        adds_up=True,
        data_within=True,
        peaks=peaks.Peaks({"float32": 1e11}, 1e10, 1e-6, 1e-5, "float32"),
        machine=describe(),
    )
    return replace(made, **changes)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces the measurement; its arguments are kept, and `result` can be replaced."""
    found: dict[str, Any] = {"result": result()}

    def profile(config: Any, _: Any, **others: Any) -> Any:
        found.update(config=config, **others)
        return found["result"]

    def drift(config: Any, seconds: float) -> Any:
        found["drift_s"] = seconds
        return DRIFT

    def measure(dtypes: list[str]) -> peaks.Peaks:
        found["dtypes"] = dtypes
        return peaks.Peaks(dict.fromkeys(dtypes, 1e11), 1e10, 1e-6, 1e-5, "float32")

    monkeypatch.setattr(peaks, "measure", measure)
    monkeypatch.setattr(profiling, "profile", profile)
    monkeypatch.setattr(drift_module, "drift", drift)
    return found


def test_a_real_step_is_accounted_for(place: Path) -> None:
    arguments = (
        "profile",
        "--preset",
        "tiny",
        "--batch-size",
        "2",
        "--seconds",
        "0.001",
        "--json",
        "--output",
        "a.json",
    )
    shown = json.loads(succeeded(call(*arguments)).out)
    assert shown == json.loads((place / "a.json").read_text())
    names = ["attention", "mlp", "head and loss", "norms", "optimizer", "embedding and stream", "data", "host", "other"]
    assert list(shown["groups"]) == names
    groups, explained = shown["groups"], shown["step_s"]["median"] - shown["unexplained_s"]
    assert sum(groups[name]["time_s"] for name in names if name != "other") == pytest.approx(explained)
    assert (
        shown["tokens_per_s"] == pytest.approx(2 * 128 / shown["step_s"]["median"])
        and 0 < shown["step_s"]["median"] < 10
    )
    assert all(0 < groups[name]["launches"] < shown["launches"] for name in names[:6])
    assert 0 < groups["data"]["share"] < 1 and groups["host"]["time_s"] > 0
    assert shown["shape"].startswith("B2 T128 ") and shown["machine"]["chip"]


def test_the_table(asked: dict[str, Any]) -> None:
    finished = succeeded(call("profile", "--drift", "60s"))
    lines = finished.out.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("mini, "))
    assert " ".join(map(str.strip, lines[begin : begin + 2])) == (
        "mini, B8 T256, float32: step 5 ms (4.9 ms to 5.2 ms), 12,345 tokens/s, 41% of the peak, "
        "270 launches if it ran on a GPU"
    )
    rows = {line[2:12].strip(): line.split() for line in lines if line.startswith(("  attention", "  data"))}
    assert rows["attention"][1:] == "2 ms 40.0% 50% 1M 7 1.9 ms 2.1 ms 1 MB".split()
    assert rows["data"][1:] == "10 us 0.2% - - - - - -".split()
    assert "the parts add up to 102% of the step" in lines
    assert "data: 0.20% of a step, within the 1% allowed" in lines
    words = " ".join(map(str.strip, lines[-2:]))
    assert words == "drift: 2,000 tokens/s in the first 10 s, 1,500 in the last: 0.75, the machine throttles"
    assert "warning" not in finished.err and asked["drift_s"] == 60


def test_settings_reach_the_step(asked: dict[str, Any]) -> None:
    succeeded(call("profile", "--preset", "small", "--dtype", "bfloat16", "--batch-size", "4", "--seconds", "3"))
    train = asked["config"].train
    assert (train.preset, train.dtype, train.batch_size) == ("strongest-small", "bfloat16", 4)
    assert asked["seconds"] == 3 and asked["dtypes"] == ["float32", "bfloat16"]


def test_unreliable_results_are_marked(asked: dict[str, Any]) -> None:
    groups = {**result().groups, "data": Group(1e-4, 0.02)}
    asked["result"] = result(
        step_s=Spread(5e-3, 4e-3, 6.2e-3, 9, True), adds_up=False, unexplained_s=1e-3, data_within=False, groups=groups
    )
    finished = succeeded(call("profile"))
    assert "warning: The machine was too loaded to measure: the times of a step spread by 44%" in finished.err
    assert "warning: The parts do not add up: +20% of the step is unexplained" in finished.err
    assert "the parts add up to 80% of the step" in finished.out
    assert "data: 2.00% of a step, MORE THAN the 1% allowed" in finished.out
    assert "warning: Reading the data takes 2.0% of a step, more than 1 %." in finished.err


def test_nan_is_null(asked: dict[str, Any]) -> None:
    asked["result"] = result(utilisation=float("inf"))
    assert json.loads(succeeded(call("profile", "--json")).out)["utilisation"] is None


def test_a_trace_is_recorded_and_nothing_else(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Path] = []
    monkeypatch.setattr(profiling, "trace", lambda config, path: recorded.append(path))
    assert succeeded(call("profile", "--trace", "a.gputrace")).out == "recorded: a.gputrace; open it with Xcode\n"
    assert recorded == [Path("a.gputrace")] and "config" not in asked


REFUSED = {
    "preset": Case(("profile", "--preset", "huge"), ("Unknown preset 'huge'", "auto, tiny, mini")),
    "type": Case(("profile", "--dtype", "int8"), ("The setting dtype is out of range", "float32 or bfloat16")),
    "batch": Case(("profile", "--batch-size", "0"), ("The setting batch_size is out of range",)),
    "drift": Case(("profile", "--drift", "60tok"), ("--drift needs a time", "Expected for example 60s")),
    "drift unit": Case(("profile", "--drift", "soon"), ("Cannot read the amount 'soon'",)),
    "no time": Case(("profile", "--seconds", "-1"), ("--seconds must be above 0",), USAGE),
    "trace and more": Case(("profile", "--trace", "a.gputrace", "--json"), ("--trace cannot be combined",), USAGE),
    "output is a folder": Case(("profile", "--output", "."), ("is a folder", "the name of a file")),
    "large": Case(
        ("profile", "--preset", "large"),
        ("A step of strongest-large is too long to be profiled here", "smaller --preset"),
    ),
    "folder": Case(("profile", "--output", "no/where.json"), ("no does not exist", "Check the path")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_profile_that_is_impossible_is_explained(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = peaks.Peaks({"float32": 1e9}, 1e10, 1e-6, 1e-5, "float32")
    monkeypatch.setattr(peaks, "measure", lambda dtypes: slow)
    before = everything(place)
    assert_explained(call(*REFUSED[name].arguments), REFUSED[name])
    assert everything(place) == before


def test_without_metal_there_is_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metal, "why_not_metal", lambda: "no GPU in a test")
    case = Case(
        ("profile", "--trace", "a.gputrace"), ("A trace of the GPU cannot be recorded here", "got no GPU in a test")
    )
    assert_explained(call(*case.arguments), case)
