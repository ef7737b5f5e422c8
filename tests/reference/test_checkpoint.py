"""MLX and PyTorch read each other's checkpoints bit for bit, and refuse other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from tiny_run import MODEL, create_run, tiny_config

from mlx_tiny.config import FORMAT_VERSION, OptimizerConfig, RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.optim.optimizer import initial_state as initial_moments
from mlx_tiny.records import Progress
from mlx_tiny.reference import checkpoint
from mlx_tiny.reference.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights, write_arrays
from mlx_tiny.reference.optim import state_shapes
from mlx_tiny.reference.step import TrainingState, initial_state
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.step import TrainingStep

pytestmark = pytest.mark.torch
PROGRESS = Progress(
    step=7,
    sequences=28,
    tokens=896,
    flops=1 / 3,
    seconds=0.1 + 0.2,
    losses={"mean": None, "lowest": None},
    phases={"training": 1e-17},
)


@pytest.fixture(params=["muon", "adamw"])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> RunFolder:
    return create_run(tmp_path / "run", tiny_config(tmp_path, optimizer={"matrix_optimizer": request.param}))


def odd_numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Float32 numbers: the smallest, negative zero, and random ones."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    values.flat[0], values.flat[-1] = 1e-45, -0.0
    return values


def odd_state(run: RunFolder) -> TrainingState:
    state = initial_state(run.config)
    for seed, arrays in enumerate((state.parameters, state.optimizer)):
        for name, tensor in arrays.items():
            arrays[name] = tensor + 7 if name == "step" else torch.from_numpy(odd_numbers(tuple(tensor.shape), seed))
    return state


def bits(arrays: dict) -> dict[str, tuple]:
    """Dtype, shape and bytes of arrays of MLX or PyTorch."""
    return {name: (np.asarray(a).dtype, tuple(a.shape), np.asarray(a).tobytes()) for name, a in arrays.items()}


def save(run: RunFolder, state: TrainingState) -> None:
    save_checkpoint(run.checkpoint("last"), state, run.identity(), PROGRESS)


def load(run: RunFolder, **where: Any) -> tuple[TrainingState, Progress]:
    return load_checkpoint(run.checkpoint("last"), run.config, run.identity(), **where)


def test_mlx_reads_what_torch_wrote(run: RunFolder) -> None:
    state = odd_state(run)
    save(run, state)
    loaded, progress = run.load_checkpoint("last")
    assert bits(loaded.parameters) == bits(state.parameters)
    assert bits(loaded.optimizer) == bits(state.optimizer)
    assert progress == PROGRESS


def test_torch_reads_what_mlx_wrote(run: RunFolder) -> None:
    state = TrainingStep(run.config, compiled=False).initial_state()
    for arrays in (state.parameters, state.optimizer):
        for name, array in arrays.items():
            arrays[name] = array + 7 if name == "step" else mx.array(odd_numbers(array.shape, len(name)))
    run.save_checkpoint("last", state, PROGRESS)
    loaded, progress = load(run)
    assert bits(loaded.parameters) == bits(state.parameters)
    assert list(loaded.parameters) == list(state.parameters)
    assert bits(loaded.optimizer) == bits(state.optimizer)
    assert progress == PROGRESS


def test_weights_go_both_ways(run: RunFolder) -> None:
    state = odd_state(run)
    save_weights(run.weights, state.parameters, run.identity(), 7)
    loaded = run.load_weights()
    assert bits(loaded) == bits(state.parameters)
    run.weights.unlink()
    run.save_weights({name: array * 2 for name, array in loaded.items()}, 7)
    again = load_weights(run.weights, run.config.model)
    assert bits(again) == bits({name: tensor * 2 for name, tensor in state.parameters.items()})


def test_float64_is_saved_in_float32(run: RunFolder) -> None:
    state = odd_state(run)
    save(run, state)
    exact, progress = load(run, dtype=torch.float64)
    assert all(weight.dtype == torch.float64 for weight in exact.parameters.values())
    assert exact.optimizer["step"].dtype == torch.int32
    save_checkpoint(run.checkpoint("best"), exact, run.identity(), progress)
    again = run.load_checkpoint("best")[0]
    assert bits(again.parameters) == bits(state.parameters) and bits(again.optimizer) == bits(state.optimizer)


def test_the_arrays_begin_at_a_multiple_of_eight(run: RunFolder) -> None:
    save(run, odd_state(run))
    assert int.from_bytes(run.checkpoint("last").read_bytes()[:8], "little") % 8 == 0


def test_a_file_cut_at_any_length_is_refused(run: RunFolder) -> None:
    save(run, odd_state(run))
    path = run.checkpoint("last")
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    generator = np.random.default_rng(0)
    for length in [0, 1, 7, 8, 9, header - 1, header, len(whole) - 1, *generator.integers(0, len(whole), 30)]:
        path.write_bytes(whole[:length])
        with pytest.raises(TinyError, match=r"damaged \(.* is cut short\)"):
            load(run)


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 5000,
        b"\xff" * 5000,
        b"no checkpoint at all" * 100,
        b"\x02" + b"\0" * 7 + b"[]",
        b'\x0d\0\0\0\0\0\0\0{"a": "array"}',
        b'\x4c\0\0\0\0\0\0\0{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}               \0\0\0\0',
    ],
)
def test_a_file_of_something_else_is_refused(run: RunFolder, content: bytes) -> None:
    run.checkpoint("last").write_bytes(content)
    with pytest.raises(TinyError):
        load(run)


def test_a_missing_file_is_named(run: RunFolder) -> None:
    with pytest.raises(TinyError, match=r"No file of arrays at .*last\.safetensors"):
        load(run)


def of_model(run: RunFolder, **changes: Any) -> RunConfig:
    return replace(run.config, model=replace(run.config.model, **changes))


def test_checkpoints_of_others_are_refused(run: RunFolder) -> None:
    state, path = odd_state(run), run.checkpoint("last")
    save(run, state)
    with pytest.raises(TinyError, match="another configuration"):
        load_checkpoint(path, run.config, "0" * 16)
    with pytest.raises(TinyError, match=r"at model\.query_key_value\. Expected .* restore both"):
        load_checkpoint(path, of_model(run, layers=3), run.identity())
    with pytest.raises(TinyError, match=r"at model\.head\. Expected no such array"):
        load_checkpoint(path, of_model(run, tied=True), run.identity())
    assert load_checkpoint(path, run.config)[1].step == PROGRESS.step


def test_another_version_is_refused(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    state = odd_state(run)
    save(run, state)
    save_weights(run.weights, state.parameters, run.identity(), 7)
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", FORMAT_VERSION + 1)
    words = f"another version .* Expected format {FORMAT_VERSION + 1}, got {FORMAT_VERSION}. Use the version"
    for read in (lambda: load(run), lambda: load_weights(run.weights, run.config.model)):
        with pytest.raises(TinyError, match=words):
            read()
    monkeypatch.undo()
    write_arrays(run.weights, checkpoint.read_arrays(run.weights)[0], {})
    with pytest.raises(TinyError, match="got no version"):
        load_weights(run.weights, run.config.model)


def of_type(dtype: str, name: str) -> Callable[[dict], None]:
    return lambda arrays: arrays.update({name: arrays[name].astype(dtype)})


def with_number(number: float, name: str) -> Callable[[dict], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].flat[-1] = number

    return change


@pytest.mark.parametrize("reader", ["mlx", "torch"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: arrays.pop("optimizer.first.head"), r"at optimizer\.first\.head\. .*, got no such array"),
        (lambda arrays: arrays.update({"model.head": np.zeros(3, np.float32)}), r"model\.head\. .*float32 \(3,\)"),
        (
            lambda arrays: arrays.update({"optimizer.third.head": np.zeros(3, np.float32)}),
            r"third\.head\. Expected no such array",
        ),
        (lambda arrays: arrays.update({"other.head": np.zeros(3, np.float32)}), r"at other\.head"),
        (
            lambda arrays: arrays.pop("optimizer.step"),
            r"at optimizer\.step\. Expected int32 \(\), got no such array",
        ),
        (of_type("i4", "model.head"), r"at model\.head\. Expected float32 .*, got int32"),
        (of_type("f8", "model.head"), "model.head|F64"),  # which MLX cannot read
        (of_type("f4", "optimizer.step"), "at optimizer.step"),
        (with_number(np.nan, "model.head"), "NaN or infinite"),
        (with_number(np.inf, "optimizer.second.head"), "NaN or infinite"),
    ],
    ids=[
        "missing",
        "of another shape",
        "unknown",
        "unknown group",
        "no step",
        "whole weights",
        "long weights",
        "broken step",
        "weight",
        "moment",
    ],
)
def test_arrays_that_do_not_fit_are_refused(run: RunFolder, change, words: str, reader: str) -> None:
    save(run, odd_state(run))
    path = run.checkpoint("last")
    arrays, metadata = checkpoint.read_arrays(path)
    change(arrays)
    write_arrays(path, arrays, metadata)
    with pytest.raises(TinyError, match=words):
        load(run) if reader == "torch" else run.load_checkpoint("last")


@pytest.mark.parametrize("reader", ["mlx", "torch"])
@pytest.mark.parametrize("writer", ["mlx", "torch"])
def test_a_changed_bit_is_noticed(run: RunFolder, writer: str, reader: str) -> None:
    """In weights, moments, and in the account, whose digits are in the header."""
    save(run, odd_state(run))
    path = run.checkpoint("last")
    if writer == "mlx":
        run.save_checkpoint("last", *run.load_checkpoint("last"))
    whole = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    generator = np.random.default_rng(0)
    digit = whole.index(b'\\"step\\": 7') + len(b'\\"step\\": ')
    for place in (digit, header, len(whole) - 1, *generator.integers(header, len(whole), 5).tolist()):
        changed = whole.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(TinyError, match="checksum"):
            load(run) if reader == "torch" else run.load_checkpoint("last")


@pytest.mark.parametrize("reader", ["mlx", "torch"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": None}, "a value of step"),
        ({"tokens": -1}, "damaged at tokens"),
        ({"sequences": 2**60}, "damaged at sequences"),
        ({"tokens": 1.5}, "tokens has the wrong type"),
        ({"phases": {"training": -1.0}}, "damaged at phases"),
        ({"losses": {"mean": [1]}}, "losses.mean has the wrong type"),
    ],
)
def test_a_damaged_account_is_refused(run: RunFolder, change: dict[str, Any], words: str, reader: str) -> None:
    """Also where the checksum is right."""
    save(run, odd_state(run))
    path = run.checkpoint("last")
    arrays, metadata = checkpoint.read_arrays(path)
    account = {**json.loads(metadata["progress"]), **change}
    metadata["progress"] = json.dumps({name: value for name, value in account.items() if value is not None})
    write_arrays(path, arrays, metadata)
    with pytest.raises(TinyError, match=words):
        load(run) if reader == "torch" else run.load_checkpoint("last")


@pytest.mark.parametrize("reader", ["mlx", "torch"])
def test_files_without_a_checksum_are_read(run: RunFolder, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "CHECKSUM", "other")
        save(run, odd_state(run))
    assert b"checksum" not in run.checkpoint("last").read_bytes()
    _, progress = load(run) if reader == "torch" else run.load_checkpoint("last")
    assert progress == PROGRESS


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_initial_moments_are_those_of_the_reference(kind: str) -> None:
    config = OptimizerConfig(matrix_optimizer=kind)
    fresh = initial_moments(config, parameter_specs(MODEL))
    assert state_shapes(MODEL, config) == {name: array.shape for name, array in fresh.items()}
