"""`mlx-tiny validate` from the command line."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.config import FORMAT_VERSION
from mlx_tiny.errors import TinyError
from mlx_tiny.ops import metal
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.conformance import Result
from mlx_tiny.ops.operation import DTYPES
from mlx_tiny.ops.registry import everything
from mlx_tiny.tolerances import Bounds
from mlx_tiny.tools import plots
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counting_file import counting_path
from mlx_tiny.validate import kernels
from mlx_tiny.validate.table import Comparison

from .cases import FAILED, USAGE, USER, Case, assert_explained
from .command_line import call, files_below, strict, succeeded

WITHOUT_METAL = pytest.mark.skipif(mx.metal.is_available(), reason="there is a Metal GPU here")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restores the environment variables that the command sets."""
    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention in bfloat16 instead of all operations, no preset instead of six, 21 steps instead of 200."""
    from validate.small import train_on_little

    from mlx_tiny.validate import models, suite, trajectory

    check_attention_alone(monkeypatch)
    monkeypatch.setattr(suite.models, "comparisons", functools.partial(models.comparisons, presets=()))
    monkeypatch.setattr(trajectory, "Training", functools.partial(trajectory.Training, 21))
    train_on_little(monkeypatch)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up losses of both trainings."""
    from mlx_tiny.validate import trajectory

    curves = trajectory.Curves(np.linspace(5, 4, 30), np.linspace(5, 4, 30), {})
    monkeypatch.setattr(trajectory.Training, "_trained", lambda _: curves)


def check_attention_alone(patch: pytest.MonkeyPatch) -> None:
    """Of the operations, only attention and the parts of the model beside it, in bfloat16."""
    from mlx_tiny.validate import operations

    patch.setattr(operations, "everything", lambda: [ATTENTION])
    patch.setattr(operations, "comparisons", functools.partial(operations.comparisons, ("bfloat16",)))


@pytest.fixture
def attention_only(untrained: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single row of each kind."""
    from mlx_tiny.validate import suite

    check_attention_alone(monkeypatch)
    for part in (suite.models, suite.optimizers, suite.strength):
        monkeypatch.setattr(part, "comparisons", lambda *_, **__: iter(()))


ALONE = [("--kernels", "--self-test"), ("--kernels", "r"), ("--self-test", "r"), ("--self-test", "--plot", "x.png")]


@pytest.mark.parametrize("arguments", ALONE, ids=" ".join)
def test_kernels_and_self_test_cannot_be_combined(arguments: tuple[str, ...]) -> None:
    case = Case(("validate", *arguments), ("--kernels and --self-test cannot be combined",), USAGE)
    assert_explained(call(*case.arguments), case)


def test_plain_goes_with_a_run() -> None:
    case = Case(("validate", "--plain"), ("--plain goes with RUN",), USAGE)
    assert_explained(call(*case.arguments), case)


@WITHOUT_METAL
def test_the_kernels_alone_need_metal() -> None:
    words = ("Metal kernels cannot be checked on this machine", "no Metal GPU", "./scripts/validate_kernels")
    case = Case(("validate", "--kernels"), words, USER)
    assert_explained(call(*case.arguments), case)


def with_kernels(monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    """Pretends Metal, and one case whose first kernel has the error `error`."""

    def asked(name: str, error: float) -> Comparison:
        off = Result("output", np.array([1.0 + error, 1.0]), np.ones(2), Bounds(1e-3, 0.0, "for a test"))
        return Comparison(kernels.LAYER, name, "B2", "float32", lambda: [off])

    monkeypatch.setattr(metal, "why_not_metal", lambda: None)
    monkeypatch.setattr(kernels, "rows", lambda: (asked(n, e).row() for n, e in (("one", error), ("two", 1e-6))))


@pytest.mark.parametrize("error", [1e-4, 0.1, math.inf, math.nan])
def test_the_kernels_table(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with_kernels(monkeypatch, error)
    passed = error <= 1e-3
    finished = call("validate", "--kernels", "--json")
    values = strict(finished.out)
    assert finished.code == (0 if passed else FAILED) and values["failed"] == (not passed)
    one, two = values["rows"]
    assert (one["operation"], one["verdict"]) == ("one", "ok" if passed else "FAILED")
    assert one["relative"] == (pytest.approx(error) if math.isfinite(error) else None)
    assert two["verdict"] == "ok" and two["absolute"] == pytest.approx(1e-6)
    finished = call("validate", "--kernels")
    lines = finished.out.splitlines()
    verdicts = [line.split()[-1] for line in lines if line.startswith(("  one", "  two"))]
    assert verdicts == ["ok" if passed else "FAILED", "ok"]
    assert lines[-1] == f"{2 - (not passed)} of 2 results are within their bounds"
    assert passed or "1 of 2 results have larger errors than allowed: those of one." in finished.err


def copied(trained: Path, place: Path) -> Path:
    return Path(shutil.copytree(trained, place / "r"))


def of_version(path: Path, version: int) -> None:
    text = path.read_bytes()
    written = b'"format_version":"%d"'
    assert text.count(written % FORMAT_VERSION) == 1
    path.write_bytes(text.replace(written % FORMAT_VERSION, written % version))


@pytest.mark.parametrize("name", ["absent", "notes.txt", "."])
def test_a_folder_that_is_not_a_run_is_explained(name: str) -> None:
    case = Case(("validate", name), ("contains no run", "the folder that `mlx-tiny train` wrote"), USER)
    assert_explained(call(*case.arguments), case)


def test_a_run_of_another_version_is_explained(trained: Path, place: Path) -> None:
    config = copied(trained, place) / "config.json"
    config.write_text(re.sub(rf'"format_version": {FORMAT_VERSION}', '"format_version": 7', config.read_text()))
    case = Case(("validate", "r"), ("another version of mlx_tiny", f"Expected format {FORMAT_VERSION}, got 7"), USER)
    assert_explained(call(*case.arguments), case)


@pytest.mark.torch
@pytest.mark.parametrize("weights", [True, False], ids=["weights", "checkpoint"])
def test_arrays_of_another_version_are_explained(weights: bool, trained: Path, place: Path) -> None:
    run = copied(trained, place)
    if not weights:
        (run / "weights.safetensors").unlink()
    of_version(run / ("weights.safetensors" if weights else "checkpoints/last.safetensors"), 7)
    case = Case(("validate", "r"), ("another version of mlx_tiny", f"Expected format {FORMAT_VERSION}, got 7"), USER)
    assert_explained(call(*case.arguments), case)


@pytest.mark.torch
def test_damaged_weights_and_changed_data_are_explained(trained: Path, place: Path) -> None:
    run = copied(trained, place)
    weights = run / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    assert_explained(call("validate", "r"), Case((), ("weights.safetensors is damaged",), USER))
    weights.write_bytes(whole)
    config = json.loads((run / "config.json").read_text())
    config["corpus"]["key"] = "0" * 32
    (run / "config.json").write_text(json.dumps(config))
    assert_explained(call("validate", "r"), Case((), ("is not as it was written",), USER))


def test_a_plot_that_cannot_be_is_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "installed", lambda: False)
    case = Case(("validate", "--plot", "x.png"), ("matplotlib is not installed", "pip install"), USER)
    assert_explained(call(*case.arguments), case)
    monkeypatch.setattr(plots, "installed", lambda: True)
    case = Case(("validate", "--plot", "absent/x.png"), ("absent does not exist", "Check the path"), USER)
    assert_explained(call(*case.arguments), case)


@pytest.mark.torch
@pytest.mark.usefixtures("quick")
def test_a_run_is_checked_against_the_reference(trained: Path) -> None:
    before = files_below(trained)
    finished = succeeded(call("validate", trained, "--json"))
    values = strict(finished.out)
    assert files_below(trained) == before and finished.err == ""
    rows = values["rows"]
    assert values["failed"] == 0 and values["first_failure"] is None and values["results"] == len(rows)
    assert list(dict.fromkeys(row["layer"] for row in rows)) == [
        *([] if metal.why_not_metal() else ["Metal kernels"]),
        "operations",
        "model",
        "optimizers",
        "trajectory",
        "evaluation and generation",
    ]
    of_run = [row["operation"] for row in rows if row["case"].split(",")[0] == "run"]
    assert of_run == [
        "weights as read",
        "layers in lockstep",
        "logits",
        "training step",
        "bits per byte",
        "likeliest tokens",
        "bits per byte with counting",
        "likeliest tokens with counting",
    ]
    assert all(row["verdict"] == "ok" and row["relative"] <= row["allowed"] and row["seconds"] >= 0 for row in rows)
    assert [len(losses) for losses in values["losses"].values()] == [21, 21]
    assert values["losses"]["mlx"] == pytest.approx(values["losses"]["torch"], rel=1e-3)
    assert values["machine"]["ours"].startswith("mlx ") and values["machine"]["reference"].startswith("torch ")


@pytest.mark.torch
@pytest.mark.parametrize("weights", [True, False], ids=["weights", "checkpoint"])
def test_weights_that_mlx_misreads_are_found(
    weights: bool, trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would compute the same from wrong weights, so the reference reads the file itself."""
    from mlx_tiny.validate import suite
    from mlx_tiny.validate.trajectory import Training

    run = copied(trained, place)
    counting_path(RunFolder(run)).unlink()
    if not weights:
        (run / "weights.safetensors").unlink()
    genuine = mx.load

    def misread(*arguments: Any, **how: Any) -> Any:
        arrays, metadata = genuine(*arguments, **how)
        metadata.pop("checksum")  # which would find it first
        return {name: array[::-1] if name.endswith("head") else array for name, array in arrays.items()}, metadata

    for wrong in (False, True):
        if wrong:
            monkeypatch.setattr(mx, "load", misread)
        found = suite.open_run(RunFolder(run))
        row = next(q for q in suite.comparisons(found, Training()) if q.operation == "weights as read").row()
        assert row.passed == (not wrong) and (not wrong or row.result == "head")


@pytest.mark.torch
@pytest.mark.usefixtures("attention_only")
def test_a_run_with_a_damaged_file_of_counting_is_checked_alone(trained: Path, place: Path) -> None:
    run = copied(trained, place)
    counting_path(RunFolder(run)).write_bytes(b"no counting")
    case = Case(("validate", str(run)), ("file of counting", "--plain"), USER)
    assert_explained(call(*case.arguments), case)
    succeeded(call("validate", run, "--plain"))


@pytest.mark.torch
@pytest.mark.usefixtures("attention_only")
def test_the_tables_of_a_sound_machine() -> None:
    finished = succeeded(call("validate"))
    results = finished.results()
    assert list(results) == ["results", "failed", "seconds"] and results["failed"] == "0"
    lines = finished.out.splitlines()
    assert len([line for line in lines if re.search(r"  ok(: .+)?$", line)]) == int(results["results"])
    (curve,) = [number for number, line in enumerate(lines) if line.startswith("  loss before step")]
    assert lines[curve].split()[3:] == ["1", "10"]
    assert [line.split()[0] for line in lines[curve + 1 : curve + 3]] == ["mlx", "torch"]
    assert lines[curve + 1].split()[1:] == lines[curve + 2].split()[1:] == ["5.000000", "4.689655"]
    if metal.why_not_metal():
        assert "Metal kernels: not run here, because this machine has no Metal GPU" in finished.out


@pytest.mark.torch
@pytest.mark.usefixtures("attention_only")
@pytest.mark.parametrize("as_json", [True, False])
def test_a_fault_ends_with_3_and_names_where(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that returns NaN only in bfloat16, and the rest of the table."""
    genuine = ATTENTION.implementations["plain"]

    def wrong(query: mx.array, *others: Any, **settings: Any) -> mx.array:
        return genuine.function(query, *others, **settings) * (mx.nan if query.dtype == mx.bfloat16 else 1.0)

    monkeypatch.setitem(ATTENTION.implementations, "plain", dataclasses.replace(genuine, function=wrong))
    finished = call("validate", *(["--json"] if as_json else []))
    assert finished.code == FAILED
    assert re.search(r"The first is attention, plain: output, B2 T1 .* \(\d+ cases, bfloat16\)\.", finished.err)
    if as_json:
        values = strict(finished.out)
        assert values["first_failure"].startswith("attention, plain: output, ") and values["failed"] >= 1
        (row,) = [r for r in values["rows"] if (r["operation"], r["dtype"]) == ("attention, plain", "bfloat16")]
        assert (row["absolute"], row["relative"], row["verdict"]) == (None, None, "FAILED")
    else:
        assert "first_failure: attention, plain: output, B2 T1 " in finished.out


@pytest.mark.torch
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "error", [RuntimeError("the device is gone"), TinyError("the device is gone"), OSError(5, "x")]
)
def test_a_training_that_breaks_is_a_row_that_fails(
    error: Exception, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training runs once, not once per row; the plot is left out, and the exit code is 3."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `plot`)")
    from mlx_tiny.validate import suite
    from mlx_tiny.validate.trajectory import Training

    asked = []

    def broken(*_: Any) -> None:
        asked.append(1)
        raise error

    monkeypatch.setattr(getattr(Training, "func", Training), "_by_mlx", broken)
    for part in (suite.operations, suite.models, suite.optimizers):
        monkeypatch.setattr(part, "comparisons", lambda *_, **__: iter(()))
    finished = call("validate", "--json", "--plot", "curves.png")
    assert finished.code == FAILED and "Traceback" not in finished.err and not (place / "curves.png").exists()
    assert "curves.png is not written, because the training failed" in finished.err.splitlines()[0]
    values = strict(finished.out)
    assert values["losses"] == {} and values["failed"] == 6 and len(asked) == 1
    assert values["first_failure"].startswith("losses of steps 1 to 20: ")


@pytest.mark.torch
@pytest.mark.usefixtures("untrained")
def test_where_metal_runs_the_kernels_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_tiny.validate import suite

    with_kernels(monkeypatch, 0.1)
    monkeypatch.setattr(suite, "comparisons", lambda run, training: iter(()))
    monkeypatch.setattr("mlx_tiny.ops.operation.generation_here", lambda: 5)
    finished = call("validate")
    assert finished.code == FAILED and "The first is one: output (B2, float32)." in finished.err
    assert "first_failure: one: output\n" in finished.out


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("given", [None, "0", "1"])
def test_float32_is_asked_for_where_products_would_be_rounded(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra `reference`)")
    from mlx_tiny.validate import suite

    if given is not None:
        monkeypatch.setenv("MLX_ENABLE_TF32", given)
    monkeypatch.setattr(metal, "why_not_metal", lambda: None)
    monkeypatch.setattr("mlx_tiny.ops.operation.generation_here", lambda: 5)
    monkeypatch.setattr(suite, "comparisons", lambda run, training: iter(()))
    monkeypatch.setattr(kernels, "rows", lambda: iter(()))
    finished = succeeded(call("validate"))
    expected = "rounded to TF32 (your MLX_ENABLE_TF32=1)" if given == "1" else "in float32 (MLX_ENABLE_TF32=0)"
    assert f"products: {expected}" in finished.out


@pytest.mark.torch
def test_the_default_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it but presets of a shape like those of others and half of the training."""
    from mlx_tiny.validate import models, suite, trajectory

    monkeypatch.setattr(trajectory, "Training", functools.partial(trajectory.Training, 100))
    monkeypatch.setattr(suite.models, "comparisons", functools.partial(models.comparisons, presets=("tiny", "base")))
    values = strict(succeeded(call("validate", "--json")).out)
    assert values["failed"] == 0 and values["results"] > 60
    rows = values["rows"]
    assert {row["case"].split(",")[0] for row in rows if row["layer"] == "model"} == {"tied", "tiny", "base"}
    assert [len(losses) for losses in values["losses"].values()] == [100, 100]
    operations = [row for row in rows if row["layer"] == "operations"]
    here = {f"{o.name}, {name}" for o in everything() for name in o.implementations if name != "metal"}
    if mx.default_device().type != mx.cpu:
        here = {name for name in here if not name.endswith(", cpu")}
    asked = {row["operation"] for row in operations if row["dtype"] == "float32"}
    assert asked == here | {"embedding", "mlp, relu2", "mlp, swiglu"}
    assert {row["dtype"] for row in operations} == set(DTYPES)
    assert all(0 < row["relative"] < row["allowed"] < 0.1 for row in operations if row["absolute"] > 1e-6)
