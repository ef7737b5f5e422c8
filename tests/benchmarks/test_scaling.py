"""The study of cost against context, batch, width and depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.micro import MICRO
from click.testing import CliRunner

from benchmarks import scaling
from benchmarks.scaling import Point, Scaling
from mlx_tiny.config import RunConfig
from mlx_tiny.errors import CheckFailed, TinyError
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.records import read
from mlx_tiny.tools.statistics import Spread


def point(axis: str, value: int, s_per_token: float, flops: float, overloaded: bool = False) -> Point:
    return Point(axis, value, 8, 4096, flops, Spread(s_per_token, s_per_token, s_per_token, 9, overloaded))


@pytest.mark.parametrize("axis", scaling.AXES)
@pytest.mark.parametrize(("cores", "tokens"), [(1, 4096), (2, 4096), (8, 16384)])
def test_one_dimension_varies_and_no_core_is_idle(
    axis: str, cores: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "lanes", lambda: (None,) * cores)
    values = scaling.values_of(axis)
    configs = [scaling.configuration(axis, value) for value in values]
    assert all(c.train.batch_size % cores == 0 for c in configs)
    fields = {"context": "context", "width": "width", "depth": "layers"}
    if axis == "batch":
        assert [c.train.batch_size for c in configs] == [cores * factor for factor in (1, 2, 4, 8, 16)]
        assert len({c.model for c in configs}) == 1
        return
    assert [getattr(c.model, fields[axis]) for c in configs] == list(values)
    assert {c.train.batch_size * c.model.context for c in configs} == {tokens}
    same = {"context": ("layers", "width", "hidden", "heads"), "width": ("layers", "context"), "depth": ("width",)}
    assert all(len({getattr(c.model, field) for c in configs}) == 1 for field in same[axis])
    assert all(c.model.heads * c.model.head_width == max(c.model.width, 64) for c in configs)


@pytest.mark.parametrize(
    ("costs", "factor", "between"),
    [
        ((1.0, 2.0, 4.0), 1.0, None),
        # From the second to the third: 2.5 times the cost for twice the FLOPs.
        ((1.0, 1.0, 2.5), 1.25, (2, 3)),
        # Cheaper at first: only growth counts, and that is from the cheapest on.
        ((4.0, 2.0, 4.2), 1.05, (2, 3)),
    ],
)
def test_growth_is_the_worst_between_any_two(
    costs: tuple[float, ...], factor: float, between: tuple[int, int] | None
) -> None:
    points = [point("depth", number, cost, 2.0**number) for number, cost in enumerate(costs, 1)]
    (found,) = scaling.verdicts(points)
    assert found.factor == pytest.approx(factor) and (between is None or (found.smaller, found.larger) == between)


def test_a_verdict_for_each_axis() -> None:
    points = [
        point("depth", 1, 1.0, 1.0),
        point("depth", 2, 2.3, 2.0),
        point("width", 64, 1.0, 1.0),
        point("width", 128, 5.0, 4.0),
    ]
    found = scaling.verdicts(points)
    assert list(map(str, found)) == [
        "depth: from 1 to 2 the cost per token grows by 1.15 times what its FLOPs do, within the 1.20 allowed",
        "width: from 64 to 128 the cost per token grows by 1.25 times what its FLOPs do, MORE THAN the 1.20 allowed",
    ]
    with pytest.raises(CheckFailed, match=r"along width\. Expected at most 1\.20 .*got 1\.25 from width 64 to 128"):
        scaling.require_kept(found)
    scaling.require_kept(found[:1])
    lines = list(scaling.table(points))
    assert lines[2].split()[:2] == ["depth", "2"] and lines[2].split()[5:8] == ["2.30", "2.00", "1.15"]
    assert lines[4].split()[5:8] == ["5.00", "4.00", "1.25"] and max(map(len, lines)) <= 80


def test_a_machine_too_loaded_decides_nothing() -> None:
    points = [point("depth", 1, 1.0, 1.0, overloaded=True), point("depth", 2, 3.0, 2.0), point("depth", 3, 4.5, 3.0)]
    (found,) = scaling.verdicts(points)
    assert str(found).endswith("MORE THAN the 1.20 allowed; uncertain, as the machine was too loaded")
    scaling.require_kept([found])


def small(axis: str, value: int) -> RunConfig:
    """The axis `depth` of a model that is computed within a moment."""
    config = MICRO.config()
    return replace(
        config, model=replace(config.model, layers=value), train=replace(config.train, batch_size=2, compile=False)
    )


def test_points_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "configuration", small)
    monkeypatch.setattr(scaling, "values_of", lambda axis: (1, 3))
    monkeypatch.setattr(scaling, "ALLOWED_GROWTH", 100)
    arguments = ["--axis", "depth", "--seconds", "0.001", "--output", str(tmp_path / "a.json")]
    shown = CliRunner().invoke(scaling.command, arguments)
    assert shown.exit_code == 0, shown.output
    written = read(tmp_path / "a.json", Scaling, "study")
    assert [(p.axis, p.value) for p in written.points] == [("depth", 1), ("depth", 3)]
    for found in written.points:
        assert found.tokens_per_step == 2 * 40 and 1e-9 < found.s_per_token.median < 1
        config = small("depth", found.value)
        banks = [(config.model.layers * count, m) for count, m in ((2, 64), (2, 128), (3, 80))]
        # Five steps of two symmetric products and one more, for matrices of 48 rows.
        muon = 5 * sum(count * 48 * 48 * (m + 48 + 2 * m) for count, m in banks) / 80
        model = training_flops_per_token(config.model)
        # AdamW's update of the rest is a small matter.
        assert model + muon < found.flops_per_token < 1.1 * (model + muon) and muon > 0.1 * model
    assert written.machine.chip and len(written.verdicts) == 1 and written.verdicts[0] in shown.output


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs that grow more than is allowed, without a measurement."""

    def measure(axis: str, values: Any, *_: Any) -> list[Point]:
        return [point(axis, value, 2.0 * number, 1.0) for number, value in enumerate(values, 1)]

    monkeypatch.setattr(scaling, "measure", measure)


@pytest.mark.usefixtures("planted")
def test_growth_beyond_what_is_allowed_ends_with_code_3(tmp_path: Path) -> None:
    shown = CliRunner().invoke(scaling.command, ["--axis", "depth", "--output", str(tmp_path / "a.json")])
    assert isinstance(shown.exception, CheckFailed) and shown.exception.exit_code == 3
    assert "MORE THAN" in read(tmp_path / "a.json", Scaling, "study").verdicts[0]


@pytest.mark.parametrize(("name", "words"), [("", "is a folder"), ("no/a.json", "does not exist")])
def test_a_file_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setattr(scaling, "measure", lambda *_: pytest.fail("something is measured"))
    shown = CliRunner().invoke(scaling.command, ["--output", str(tmp_path / name)])
    assert isinstance(shown.exception, TinyError) and words in str(shown.exception)
    shown = CliRunner().invoke(scaling.command, ["--output", "a.png"])
    assert shown.exit_code == 2 and "names the JSON file" in shown.output


def test_times_are_per_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "interleaved", lambda tasks, **_: {name: [4.0, 8.0, 16.0] for name in tasks})
    (found,) = scaling.measure("depth", [1], 0.0, small)
    assert (found.s_per_token.median, found.s_per_token.overloaded, found.s_per_token.count) == (0.1, True, 3)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `plot`)")
    points = [point(axis, value, 1e-6 * value, value) for axis in scaling.AXES for value in (1, 2, 4)]
    scaling.plot(points, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
