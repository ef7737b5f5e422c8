"""Runs that nobody has trained: folders with settings, weights and a report, as fast as files are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from bench.micro import MACHINE
from numpy.typing import NDArray

from mlx_tiny.config import OptimizerConfig, RunConfig, TrainConfig
from mlx_tiny.data.tokenizers.characters import ByteTokenizer
from mlx_tiny.records import TextOfRun, write_sealed
from mlx_tiny.report.record import Report
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.documents import Blocks, DocumentsOfText, save_documents

TEXT = "0123456789ab"
CONFIG = RunConfig(train=TrainConfig(budget="20ktok", preset="strongest-tiny"))
REPORT = Report(
    bits_per_byte=0.8,
    bits_per_event=None,
    entropy_floor_bits_per_byte=None,
    excess_bits_per_byte=None,
    perplexity_per_token=9.0,
    evaluated_tokens=1000,
    evaluated_whole_file=True,
    evaluation_fingerprint=TEXT,
    weights_from="last",
    interrupted=False,
    data="own text: notes.txt",
    budget="20ktok",
    steps=100,
    tokens=20_000,
    epochs=1.0,
    flops=1e9,
    seconds=10.0,
    tokens_per_s=2000.0,
    training_flops_per_s=1e8,
    peak_flops_per_s=1e9,
    utilisation=0.1,
    parameters=123_456,
    parameters_by_group={"embedding": 123_456},
    multiply_adds_per_token=1.0,
    training_flops_per_token=6.0,
    peak_memory_bytes=100_000_000,
    phases_s={"training": 10.0},
    backend="mlx",
    implementations={},
    machine=MACHINE,
    samples=["Once"],
    config=CONFIG,
    weights_step=100,
)


def unreported_run(path: Path, *, seed: int = 0, matrix_rate: float = 0.02, **train: Any) -> RunFolder:
    """The folder of a run that has just been created."""
    config = dataclasses.replace(
        CONFIG,
        train=dataclasses.replace(CONFIG.train, seed=seed, **train),
        optimizer=OptimizerConfig(matrix_rate=matrix_rate),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    return RunFolder.create(path, config, TextOfRun("abc", "def", "own text: notes.txt"), ByteTokenizer())


def planted_run(
    path: Path,
    bits: float = 0.8,
    *,
    report: dict[str, Any] | None = None,
    documents: Sequence[float] | NDArray[np.float64] = (),
    **settings: Any,
) -> RunFolder:
    """A run with weights, and a report of its settings.

    Args:
        documents: nats of each document, with 100 bytes; half as many with counting.
        report: what it says otherwise than `REPORT`.
        settings: see `unreported_run`.
    """
    run = unreported_run(path, **settings)
    run.save_weights({"weight": mx.zeros(1)}, REPORT.steps)
    own = {"bits_per_byte": bits, "config": run.config, "weights_checksum": run.weights_checksum()}
    if len(documents):
        nats = np.array(documents, np.float32)
        blocks = Blocks(
            np.arange(len(nats), dtype=np.uint32),
            np.full(len(nats), 100, np.uint32),
            nats,
            (nats / 2).astype(np.float32),
        )
        save_documents(run, [DocumentsOfText(TEXT, 1.0, blocks)])
    write_sealed(path / "report.json", dataclasses.replace(REPORT, **{**own, **(report or {})}))
    return run
