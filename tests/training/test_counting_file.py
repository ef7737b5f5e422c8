"""The counting of a run belongs to its finished weights, and is either read as it was written or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from tiny_run import MODEL, create_run, tiny_config, tiny_corpus

from mlx_tiny.errors import TinyError
from mlx_tiny.model.mixing import FEATURES, Gate
from mlx_tiny.records import Progress
from mlx_tiny.training import counting_file
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counting_file import counting_path, load_counting, save_counting
from mlx_tiny.training.step import fresh_state
from mlx_tiny.training.trained import load_model

GATE = Gate(tuple(np.float32(np.arange(FEATURES) / 7).tolist()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with weights and counting; tests change copies of it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLX_TINY_HOME", str(folder / "home"))
        config = tiny_config(folder)
        run = create_run(folder / "run", config)
        run.save_weights(fresh_state(config).parameters, 40)
        save_counting(run, np.array(tiny_corpus(config).train), GATE)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(finished / "run", tmp_path / "run")))


def test_what_was_written_is_read(run: RunFolder, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_TINY_HOME", str(finished / "home"))
    corpus = tiny_corpus(run.config)
    mixed = load_model(run.path).mixed
    assert mixed is not None and mixed.gate == GATE and load_model(run.path, plain=True).mixed is None
    text = np.array(corpus.train)
    assert mixed.grams.total_nats(text) / len(text) < np.log(MODEL.vocabulary_size) / 4, "it knows the text"


def test_a_run_without_counting_is_as_before(run: RunFolder) -> None:
    counting_path(run).unlink()
    assert load_counting(run) is None and load_model(run.path).mixed is None


def test_a_run_that_has_gone_on_has_none(run: RunFolder) -> None:
    run.save_checkpoint("last", fresh_state(run.config), Progress(step=41))
    told = list[str]()
    assert load_counting(run, told.append) is None and "without" in told[0]


def other_weights(run: RunFolder) -> None:
    run.save_weights({name: array + 1 for name, array in run.load_weights().items()}, 40)


def another_run(run: RunFolder) -> None:
    run.config = replace(run.config, train=replace(run.config.train, seed=7))
    run.save_config()
    run.save_weights(fresh_state(run.config).parameters, 40)


def changed_byte(run: RunFolder) -> None:
    content = bytearray(counting_path(run).read_bytes())
    content[-1] ^= 1
    counting_path(run).write_bytes(content)


def cut(run: RunFolder) -> None:
    counting_path(run).write_bytes(counting_path(run).read_bytes()[:-9])


def another_vocabulary(run: RunFolder) -> None:
    save_counting(run, np.array([0, MODEL.vocabulary_size], np.uint16), GATE)


def another_gate(run: RunFolder) -> None:
    texts = {"identity": run.identity(), "weights": run.weights_checksum() or ""}
    counting_file.save_arrays(counting_path(run), {"tokens": mx.zeros(9, mx.uint16), "gate": mx.zeros(3)}, texts)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (other_weights, "other weights"),
        (another_run, "another configuration"),
        (changed_byte, "checksum"),
        (cut, "damaged"),
        (another_vocabulary, "tokens"),
        (another_gate, "gate"),
    ],
)
def test_what_does_not_belong_to_the_weights_is_refused(
    run: RunFolder, damage: Callable[[RunFolder], None], word: str
) -> None:
    damage(run)
    with pytest.raises(TinyError, match=word) as refused:
        load_model(run.path)
    assert "--plain" in str(refused.value) and "--resume" in str(refused.value)
    assert load_model(run.path, plain=True).mixed is None
