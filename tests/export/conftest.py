"""Two runs to export: one that qwen3 represents, and one that needs code of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import tiny_config, tokens, train_whole

OPTIONS = "smear=1,bigram_embedding=64,value_embeddings=1"


@pytest.fixture(scope="session")
def portable_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 12 steps, enough for residual scales and norms to leave 1."""
    folder = tmp_path_factory.mktemp("portable")
    run, _, _ = train_whole(folder / "notes", tiny_config(folder, model={"activation": "swiglu"}, budget=tokens(12)))
    return run.path


@pytest.fixture(scope="session")
def strongest_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 12 steps with the options of the recipe `strongest`."""
    folder = tmp_path_factory.mktemp("strongest")
    model = {"activation": "swiglu", "options": OPTIONS}
    run, _, _ = train_whole(folder / "notes", tiny_config(folder, model=model, budget=tokens(12)))
    return run.path
