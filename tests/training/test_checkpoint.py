"""Checkpoints are read back bit for bit, and those of another run are refused."""

from __future__ import annotations

import errno
import functools
import json
import operator
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tiny_run import create_run, tiny_config

from mlx_tiny.config import FORMAT_VERSION, RunConfig
from mlx_tiny.data.tokenizers.characters import ByteTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.records import Progress, StepRecord, TextOfRun
from mlx_tiny.tools.processes import environment
from mlx_tiny.training.arrays import all_finite, save_arrays
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.device_errors import DeviceError
from mlx_tiny.training.step import TrainingState, TrainingStep
from mlx_tiny.training.watch import LossWatch

PROGRESS = Progress(
    step=7,
    sequences=28,
    tokens=896,
    flops=1 / 3,
    seconds=0.1 + 0.2,
    best_bits_per_byte=2.0**-30,
    losses={"mean": 1 / 7, "lowest": 0.1},
    phases={"training": 1e-17},
)


def step_record(step: int) -> StepRecord:
    return StepRecord(step, 1 / (step + 1), 128 * step, 1e6 * step, 0.1 * step, 0.01 * step, 1.0, 1000.0)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "run", tiny_config(tmp_path))


@pytest.fixture
def state(run: RunFolder) -> TrainingState:
    """A state whose arrays contain the smallest number, negative zero, and random numbers."""
    state = TrainingStep(run.config, compiled=False).initial_state()
    generator = np.random.default_rng(0)

    def odd(array: mx.array) -> mx.array:
        if array.dtype != mx.float32:
            return array + 7
        values = generator.standard_normal(array.shape).astype(np.float32)
        values.flat[0], values.flat[-1] = 1e-45, -0.0
        return mx.array(values)

    return TrainingState(
        {name: odd(array) for name, array in state.parameters.items()},
        {name: odd(array) for name, array in state.optimizer.items()},
    )


def bits(arrays: dict[str, mx.array]) -> dict[str, tuple]:
    return {name: (str(a.dtype), a.shape, np.array(a).tobytes()) for name, a in arrays.items()}


def left_over(run: RunFolder) -> list[str]:
    return [path.name for path in run.path.rglob(".*")]


def test_every_bit_comes_back(run: RunFolder, state: TrainingState) -> None:
    run.save_checkpoint("last", state, PROGRESS)
    loaded, progress = RunFolder(run.path).load_checkpoint("last")
    assert bits(loaded.parameters) == bits(state.parameters)
    assert bits(loaded.optimizer) == bits(state.optimizer)
    assert progress == PROGRESS
    assert not left_over(run)


def test_a_checkpoint_before_the_first_loss_comes_back(run: RunFolder, state: TrainingState) -> None:
    run.save_checkpoint("last", state, replace(PROGRESS, losses=asdict(LossWatch())))
    assert LossWatch(**run.load_checkpoint("last")[1].losses) == LossWatch()


def test_parameters_come_back_in_their_order(run: RunFolder, state: TrainingState) -> None:
    """The norm of the gradients is added up in this order; another order would round differently."""
    run.save_checkpoint("last", state, PROGRESS)
    assert list(run.load_checkpoint("last")[0].parameters) == list(state.parameters)


def test_weights_come_back(run: RunFolder, state: TrainingState) -> None:
    run.save_checkpoint(
        "last", TrainingState({n: a * 2 for n, a in state.parameters.items()}, state.optimizer), PROGRESS
    )
    assert bits(run.load_weights()) != bits(state.parameters), "without weights the last checkpoint's are taken"
    run.save_weights(state.parameters, 7)
    assert bits(run.load_weights()) == bits(state.parameters)


@pytest.mark.parametrize("name", ["checkpoint", "weights"])
def test_a_file_cut_at_any_length_is_refused(run: RunFolder, state: TrainingState, name: str) -> None:
    run.save_checkpoint("last", state, PROGRESS)
    run.save_weights(state.parameters, 7)
    path, load = (
        (run.checkpoint("last"), lambda: run.load_checkpoint("last"))
        if name == "checkpoint"
        else (run.weights, run.load_weights)
    )
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    generator = np.random.default_rng(0)
    lengths = [0, 1, 7, 8, 9, header - 1, header, header + 1, len(whole) - 1, *generator.integers(0, len(whole), 30)]
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(TinyError, match="damaged"):
            load()
    path.write_bytes(whole)
    load()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[malloc] Unable to allocate 9 bytes.")])
@pytest.mark.parametrize("function", ["load", "eval"])
def test_too_little_memory_is_no_damage(
    run: RunFolder, state: TrainingState, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    for name in ("last", "best"):
        run.save_checkpoint(name, state, PROGRESS)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(mx, function, refuse)
    with pytest.raises(DeviceError, match=r"Out of memory") as raised:
        run.load_checkpoint("last")
    assert "best" not in str(raised.value)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"\xff" * 5000, b"no checkpoint at all" * 100, b"\x02" + b"\0" * 7 + b"{}"]
)
def test_a_file_of_something_else_is_refused(run: RunFolder, content: bytes) -> None:
    run.checkpoint("last").write_bytes(content)
    with pytest.raises(TinyError):
        run.load_checkpoint("last")


def test_a_missing_checkpoint_is_named(run: RunFolder) -> None:
    with pytest.raises(TinyError, match=r"No checkpoint at .*last\.safetensors"):
        run.load_checkpoint("last")
    with pytest.raises(TinyError, match="No checkpoint"):
        run.load_weights()


def rewrite_config(run: RunFolder, *sections: str, **changes: Any) -> RunFolder:
    """The run with some values changed in a section of its config.json."""
    path = run.path / "config.json"
    saved = json.loads(path.read_text())
    functools.reduce(operator.getitem, sections, saved).update(changes)
    path.write_text(json.dumps(saved))
    return RunFolder(run.path)


IDENTITY: list[tuple[str, str, dict[str, Any]]] = [
    *(("config", "model", change) for change in ({"layers": 3}, {"hidden": 32}, {"rope_base": 500.0})),
    *(("config", "train", change) for change in ({"seed": 5}, {"batch_size": 8}, {"dtype": "bfloat16"})),
    ("config", "optimizer", {"matrix_rate": 0.5}),
    ("config", "schedule", {"cooldown": 0.1}),
    ("config", "data", {"held_out": 0.3}),
]
OF_A_SESSION = {
    "budget": "9h",
    "evaluations": 9,
    "evaluation_tokens": 64,
    "checkpoints": 0,
    "samples": 1,
    "compile": True,
    "backend": "torch",
    "implementation": "plain",
}


def test_a_run_of_another_configuration_or_of_other_data_is_refused(run: RunFolder, state: TrainingState) -> None:
    run.save_checkpoint("last", state, PROGRESS)
    whole = (run.path / "config.json").read_text()
    for part, section, change in IDENTITY:
        with pytest.raises(TinyError, match="another configuration"):
            rewrite_config(run, part, section, **change).load_checkpoint("last")
        (run.path / "config.json").write_text(whole)


@pytest.mark.parametrize(
    "change", [{"key": "0" * 32}, {"tokenizer": "0" * 32}, {"description": "another"}, {"single_lines": True}]
)
def test_what_a_run_says_of_its_text_cannot_change(run: RunFolder, change: dict[str, Any]) -> None:
    with pytest.raises(TinyError, match="not as it was written"):
        rewrite_config(run, "corpus", **change)


def test_a_run_without_a_seal_is_read_and_bound_to_its_text(run: RunFolder, state: TrainingState) -> None:
    run.save_checkpoint("last", state, PROGRESS)
    older = rewrite_config(run, seal=None)
    assert older.load_checkpoint("last")[1] == PROGRESS
    with pytest.raises(TinyError, match="another configuration"):
        rewrite_config(run, "corpus", key="0" * 32).load_checkpoint("last")


@pytest.mark.parametrize("corpus", [[], None, {"key": "../../other", "tokenizer": ""}, {"tokenizer": ""}, {"key": 3}])
def test_a_damaged_text_of_a_run_is_refused(run: RunFolder, corpus: object) -> None:
    with pytest.raises(TinyError, match=r"corpus|key of a prepared text"):
        rewrite_config(run, corpus=corpus)


def test_what_is_of_a_session_may_change(run: RunFolder, state: TrainingState) -> None:
    run.save_checkpoint("last", state, PROGRESS)
    other = rewrite_config(run, "config", "train", **OF_A_SESSION)
    assert other.load_checkpoint("last")[1] == PROGRESS


def test_weights_of_another_shape_are_refused(run: RunFolder, state: TrainingState) -> None:
    run.save_weights({**state.parameters, "head": mx.zeros((3, 3))}, 7)
    with pytest.raises(TinyError, match=r"at head\. Expected .*, got float32 \(3, 3\)\. .*restore both from one copy"):
        run.load_weights()
    run.save_weights({name: array for name, array in state.parameters.items() if name != "query_norm_weight"}, 7)
    with pytest.raises(TinyError, match="at query_norm_weight"):
        run.load_weights()


def test_another_format_is_refused(run: RunFolder, state: TrainingState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_tiny.training.arrays.FORMAT_VERSION", FORMAT_VERSION + 1)
    run.save_checkpoint("last", state, PROGRESS)
    monkeypatch.undo()
    remedy = "Use the version that wrote it"
    with pytest.raises(TinyError, match=f"another version.*{remedy}"):
        run.load_checkpoint("last")
    for version in (FORMAT_VERSION + 1, FORMAT_VERSION - 1, None, str(FORMAT_VERSION)):
        with pytest.raises(TinyError, match=f"another version.*{remedy}"):
            rewrite_config(run, format_version=version)


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TinyError, match="contains no run"):
        RunFolder(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TinyError, match="contains no run"):
        RunFolder(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text('{"format_version": 1, "config": {"mod')
    with pytest.raises(TinyError, match="cannot be read"):
        RunFolder(tmp_path / "empty")


def test_a_run_is_not_created_over_something(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    create_run(tmp_path / "run", config)
    with pytest.raises(TinyError, match="exists already"):
        create_run(tmp_path / "run", config)


def test_a_run_is_created_whole_or_not_at_all(tmp_path: Path) -> None:
    unwritable = TextOfRun("", "", description=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        RunFolder.create(tmp_path / "run", tiny_config(tmp_path), unwritable, ByteTokenizer())
    assert sorted(os.listdir(tmp_path)) == ["stories.txt"]


ACTIONS: dict[str, Callable[[RunFolder, TrainingState], object]] = {
    "checkpoint": lambda run, state: run.save_checkpoint("last", state, Progress(step=8)),
    "weights": lambda run, state: run.save_weights({name: 2 * array for name, array in state.parameters.items()}, 7),
    "rewound metrics": lambda run, _: run.metrics.rewind(0),
    "metrics": lambda run, _: run.metrics.append(step_record(2)),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "No permission")])
def test_a_refused_write_leaves_the_old_content(
    run: RunFolder, state: TrainingState, monkeypatch: pytest.MonkeyPatch, action: str, number: int, words: str
) -> None:
    run.save_checkpoint("last", state, PROGRESS)
    run.save_weights(state.parameters, 7)
    run.metrics.append(step_record(1))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("mlx_tiny.files.os.fsync", refuse)
    monkeypatch.setattr("mlx_tiny.training.metrics.open", refuse, raising=False)
    with pytest.raises(TinyError, match=words):
        ACTIONS[action](run, state)
    monkeypatch.undo()
    loaded, progress = run.load_checkpoint("last")
    assert progress == PROGRESS and bits(loaded.parameters) == bits(state.parameters)
    assert bits(run.load_weights()) == bits(state.parameters) and run.metrics.read() == [step_record(1)]
    assert not left_over(run)


def test_leftovers_of_killed_sessions_are_removed_and_no_others(run: RunFolder, state: TrainingState) -> None:
    run.save_checkpoint("last", state, PROGRESS)
    code = (
        "import os, signal, sys; from pathlib import Path; from mlx_tiny.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file: file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)"
    )
    for path in (run.checkpoint("last"), run.metrics.path):
        assert subprocess.run([sys.executable, "-c", code, str(path)], env=environment()).returncode == -9
    assert len(left_over(run)) == 2
    run.remove_leftovers()
    assert not left_over(run)
    assert run.load_checkpoint("last")[1] == PROGRESS


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_number_is_seen(state: TrainingState, bad: float) -> None:
    assert all_finite(state.arrays())
    for name, array in state.parameters.items():
        changed = array * 1
        changed[(-1,) * array.ndim] = bad
        assert not all_finite({**state.parameters, name: changed}.values()), name


def test_a_run_can_be_moved(run: RunFolder, state: TrainingState, tmp_path: Path) -> None:
    run.save_checkpoint("last", state, PROGRESS)
    shutil.move(run.path, tmp_path / "elsewhere")
    assert RunFolder(tmp_path / "elsewhere").load_checkpoint("last")[1] == PROGRESS


def test_the_configuration_comes_back(run: RunFolder, tmp_path: Path) -> None:
    assert isinstance(run.config, RunConfig)
    assert run.config == tiny_config(tmp_path)


LOAD = """
import sys
from pathlib import Path
from mlx_tiny.training.arrays import open_arrays
print(len(open_arrays(Path(sys.argv[1]), "weights file")[0]))
"""


@pytest.mark.parametrize(("name", "expected"), [("rün日".encode(), "2"), (b"r\xfc", "is not UTF-8")])
def test_a_name_outside_of_the_locale_is_no_damage(tmp_path: Path, name: bytes, expected: str) -> None:
    save_arrays(tmp_path / "weights", {"a": mx.ones(2), "b": mx.ones(3)}, {})
    os.rename(tmp_path / "weights", os.fsencode(tmp_path) + b"/" + name)
    locale = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    command = [os.fsencode(part) for part in (sys.executable, "-c", LOAD)]
    found = subprocess.run([*command, os.fsencode(tmp_path) + b"/" + name], env=locale, capture_output=True)
    assert expected in (found.stdout + found.stderr).decode() and b"damaged" not in found.stderr
