"""`mlx-tiny bench`: output, files, and errors before anything is measured."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.bench import kernels, step
from mlx_tiny.bench.record import Benchmarks
from mlx_tiny.config.presets import STRONGEST, preset_called, presets_of
from mlx_tiny.machine import description, hardware, peaks
from mlx_tiny.records import read, to_plain

from .cases import USAGE, Case, assert_explained, everything
from .command_line import call, succeeded

QUICK = ("--preset", "tiny", "--seconds", "0.001")


def read_file(path: Path) -> Benchmarks:
    return read(path, Benchmarks, "file of benchmarks")


KERNELS = ("bench", "kernels", *QUICK, "--operation", "adamw")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant peaks, and no PyTorch."""
    monkeypatch.setattr(
        peaks, "measure", lambda dtypes: peaks.Peaks(dict.fromkeys(dtypes, 1e11), 1e10, 1e-6, 1e-5, "float32")
    )
    monkeypatch.setitem(sys.modules, "torch", None)


def test_a_table_on_the_terminal() -> None:
    finished = succeeded(call(*KERNELS))
    lines = finished.out.splitlines()
    assert lines[0].startswith("machine: ") and "\npeaks: 100 GFLOP/s float32; memory 10 GB/s" in finished.out
    assert (
        "adamw, update, strongest-tiny (" in finished.out and "at least" in finished.out and "(memory)" in finished.out
    )
    assert max(map(len, lines)) <= 80
    assert re.search(r"^  plain +[\d.,]+ [mu]?s!? +±\d+%", finished.out, re.MULTILINE)
    assert any(line.strip() == "torch  PyTorch is not installed" for line in lines)
    assert "measuring: adamw, update, strongest-tiny, float32 (" in finished.err


def test_json_is_one_object_and_the_file_holds_the_same(place: Path) -> None:
    shown = json.loads(succeeded(call(*KERNELS, "--json", "--output", "mine.json")).out)
    assert shown == to_plain(read_file(place / "mine.json"))
    assert shown["kind"] == "bench" and shown["machine"]["chip"]
    assert shown["settings"]["presets"] == ["tiny"] and shown["settings"]["operations"] == ["adamw"]
    assert [record["implementation"] for record in shown["results"]] == ["plain", "mlx", "torch"]


def test_generation_is_measured() -> None:
    shown = json.loads(
        succeeded(call("bench", "inference", *QUICK, "--prompt-tokens", "4", "--max-tokens", "3", "--json")).out
    )
    assert [(r["part"], r["tokens"]) for r in shown["results"]] == [("prompt", 4), ("decode", 2)]


def test_all_means_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def remember(name: str) -> Any:
        def run(presets: Any, *arguments: Any, **_: Any) -> Any:
            asked[name] = list(presets)
            return iter(())

        return run

    from mlx_tiny.bench import inference

    for module in (kernels, step, inference):
        monkeypatch.setattr(module, "run", remember(module.__name__.rpartition(".")[2]))
    monkeypatch.setattr(hardware, "chip", lambda: "Chip 9")
    finished = succeeded(call("bench", "--all", "--json"))
    shown = json.loads(finished.out)
    every = [preset.name for preset in presets_of(STRONGEST)]
    assert asked == {"kernels": every, "step": every, "inference": every}
    assert shown["settings"]["benchmarks"] == ["kernels", "step", "inference"]
    # Its own file, which was named before anything was measured, and how long that will take.
    (written,) = place.glob("mlx-tiny-bench-chip-9-*.json")
    assert to_plain(read_file(written)) == shown
    lines = finished.err.splitlines()
    assert lines[0] == f"writing: {written.name}" and re.fullmatch(r"expected: about \d+ minutes", lines[1])


def test_what_was_measured_before_an_interruption_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Benchmarks] = []
    right = kernels.measure

    def measure(*arguments: Any, **others: Any) -> Any:
        if (place / "mine.json").exists():
            seen.append(read_file(place / "mine.json"))
            raise KeyboardInterrupt
        return right(*arguments, **others)

    monkeypatch.setattr(kernels, "measure", measure)
    arguments = ("bench", "kernels", *QUICK, "--operation", "adamw", "--operation", "norm", "--output", "mine.json")
    finished = call(*arguments)
    assert finished.code == 130 and finished.err.splitlines()[-1] == "mlx-tiny: Interrupted."
    kept = read_file(place / "mine.json")
    assert [kept] == seen and not kept.complete and "not complete" in kept.warnings[0]
    assert {result.operation for result in kept.results} == {"adamw"}


def test_a_loaded_machine_is_reported_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "interleaved", lambda tasks, **_: {n: [1.0, 1.0, 1.0, 2.0, 2.0] for n in tasks})
    finished = succeeded(call(*KERNELS))
    assert "1 s!  ±50%" in finished.out
    assert "warning: The machine was too loaded to measure 2 of 2 results" in finished.err
    shown = json.loads(succeeded(call(*KERNELS, "--json")).out)
    assert "too loaded" in shown["warnings"][0] and all(
        r["time_s"]["overloaded"] for r in shown["results"] if r["time_s"]
    )


def test_a_wrong_result_ends_with_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.checked

    def wrong(timed: Any, implementation: str, *rest: Any) -> Any:
        found = right(timed, implementation, *rest)
        return kernels.Verdict("weight.head is 7.0 times off", 7.0) if implementation == "plain" else found

    monkeypatch.setattr(kernels, "checked", wrong)
    finished = call(*KERNELS)
    assert finished.code == 3 and "wrong: weight.head is 7.0 times off" in finished.out
    assert "1 of this project's own results are wrong or missing" in finished.err


def test_an_implementation_of_ours_that_fails_ends_with_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.checked

    def fail(timed: Any, implementation: str, *rest: Any) -> Any:
        if implementation == "plain":
            raise RuntimeError("[malloc] Unable to allocate\nand more")
        return right(timed, implementation, *rest)

    monkeypatch.setattr(kernels, "checked", fail)
    finished = call(*KERNELS, "--json")
    assert finished.code == 3 and "Got failed: [malloc] Unable to allocate." in finished.err
    assert [r["implementation"] for r in json.loads(finished.out)["results"] if r["time_s"]] == ["mlx"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces the measurement of steps; its arguments are kept."""
    found: dict[str, Any] = {}

    def run(presets: Any, dtype: str, _: Any, *, change: Any, cores: Any, **others: Any) -> Any:
        found.update(config=change(preset_called(presets[0]).config()), cores=cores)
        return iter(())

    monkeypatch.setattr(step, "run", run)
    return found


def test_a_step_can_be_changed_as_a_run_can(asked: dict[str, Any]) -> None:
    flags = ("--batch-size", "6", "--layers", "3", "--width", "96", "--heads", "4", "--matrix-optimizer", "adamw")
    shown = json.loads(succeeded(call("bench", "step", "--preset", "tiny", *flags, "--json")).out)
    config, model = asked["config"], asked["config"].model
    assert (config.train.batch_size, config.optimizer.matrix_optimizer) == (6, "adamw")
    assert (model.layers, model.width, model.heads, model.hidden, model.context) == (3, 96, 4, 168, 128)
    assert shown["settings"]["changes"]["model"] == {"layers": 3, "width": 96, "heads": 4} and asked["cores"] == []


@pytest.mark.skipif(description.device() != "cpu", reason="cores are of the CPU")
def test_one_core_is_always_among_the_cores(asked: dict[str, Any]) -> None:
    most = hardware.usable_cores()
    succeeded(call("bench", "step", "--cores", f" {most}, {most}"))
    assert asked["cores"] == sorted({1, most})


def test_cores_are_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "device", lambda: "gpu (Metal)")
    case = Case(("bench", "step", "--cores", "1"), ("--cores is for CPUs", "Got gpu (Metal)", "Leave it out"))
    assert_explained(call(*case.arguments), case)


@pytest.mark.parametrize("flag", ["--batch-size", "--layers", "--width", "--heads"])
def test_a_step_that_cannot_be_is_explained(flag: str) -> None:
    case = Case(("bench", "step", flag, "0"), (f"The setting {flag[2:].replace('-', '_')} is out of range",))
    assert_explained(call(*case.arguments), case)


REFUSED = {
    "nothing": Case(("bench",), ("Name one benchmark (kernels, step, inference), or give --all",), USAGE),
    "both": Case(("bench", "step", "--all"), ("Name one benchmark",), USAGE),
    "unknown benchmark": Case(("bench", "speed"), ("'speed' is not one of 'kernels', 'step', 'inference'",), USAGE),
    "operation of a step": Case(("bench", "step", "--operation", "mlp"), ("is only for `bench kernels`",), USAGE),
    "plot of a step": Case(("bench", "step", "--plot", "a.png"), ("is only for `bench kernels`",), USAGE),
    "layers of kernels": Case(("bench", "kernels", "--layers", "2"), ("--layers is only for `bench step`",), USAGE),
    "cores of inference": Case(("bench", "inference", "--cores", "1"), ("--cores is only for `bench step`",), USAGE),
    "no core": Case(("bench", "step", "--cores", "0"), ("--cores takes numbers of cores", "Expected 1 to", "got '0'")),
    "many cores": Case(("bench", "step", "--cores", "1,9999"), ("--cores takes numbers of cores", "got '1,9999'")),
    "words": Case(("bench", "step", "--cores", "1;2"), ("--cores takes numbers of cores",)),
    "output is a folder": Case((*KERNELS, "--output", "."), ("is a folder", "the name of a file")),
    "plot is a folder": Case((*KERNELS, "--plot", "."), ("is a folder", "Name a file in it")),
    "prompt of kernels": Case(("bench", "kernels", "--max-tokens", "3"), ("is only for `bench inference`",), USAGE),
    "no time": Case(("bench", "kernels", "--seconds", "0"), ("--seconds must be above 0",), USAGE),
    "preset": Case(("bench", "step", "--preset", "huge"), ("Unknown preset 'huge'", "auto, tiny, mini")),
    "operation": Case(
        ("bench", "kernels", "--operation", "softmax"), ("Unknown operation 'softmax'", "one of norm, qk_norm_rope")
    ),
    "type": Case(("bench", "kernels", "--dtype", "int8"), ("Unknown dtype 'int8'", "float32, bfloat16")),
    "lengths": Case(
        ("bench", "inference", "--preset", "tiny", "--prompt-tokens", "500"), ("do not fit the model's context",)
    ),
    "folder": Case((*KERNELS, "--output", "no/where.json"), ("no does not exist", "Check the path")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_commands_are_explained_and_change_nothing(place: Path, name: str) -> None:
    before = everything(place)
    assert_explained(call(*REFUSED[name].arguments), REFUSED[name])
    assert everything(place) == before


def test_a_picture_needs_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    case = Case((*KERNELS, "--plot", "a.png"), ("matplotlib is not installed", "pip install 'mlx-tiny[plot]'"))
    assert_explained(call(*case.arguments), case)


def test_a_picture_is_drawn(place: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `plot`)")
    assert "drawn: a.png" in succeeded(call(*KERNELS, "--plot", "a.png")).err
    assert (place / "a.png").read_bytes().startswith(b"\x89PNG")
