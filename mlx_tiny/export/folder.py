"""Writes a model as a folder in the form of Hugging Face, which transformers, mlx-lm and others read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.config import Sampling
from mlx_tiny.errors import TinyError
from mlx_tiny.export import custom
from mlx_tiny.export.card import model_card
from mlx_tiny.export.model import Contents, Export
from mlx_tiny.export.qwen3 import Weights, folded, qwen3_config
from mlx_tiny.export.tokenizer_json import ending_ids, tokenizer_files
from mlx_tiny.files import write_json

WEIGHTS = "model.safetensors"


def write_hf(export: Export, path: Path) -> None:
    """Write the files into the empty folder `path`."""
    _write(export, path, "hf", "transformers", {"format": "pt"})


def write_mlx(export: Export, path: Path) -> None:
    """Write the files into the empty folder `path`, as `mlx_lm.convert` would."""
    _write(export, path, "mlx", "mlx", {"format": "mlx"})


def _write(export: Export, path: Path, target: str, library: str, metadata: dict[str, str]) -> None:
    model = export.model
    tokens = {"bos_token_id": model.tokenizer.bos, "eos_token_id": ending_ids(model.tokenizer)}
    contents = custom.contents(export) if export.custom_code else _qwen3(export)
    # The files first, so that a tokenizer that cannot be represented is refused before weights are written.
    texts = {**tokenizer_files(model.tokenizer, model.config.context), **contents.files}
    for name, text in {**texts, "README.md": model_card(export, library)}.items():
        (path / name).write_text(text, encoding="utf-8")
    write_json(path / "config.json", {**contents.config, **tokens, "torch_dtype": export.dtype})
    write_json(path / "generation_config.json", {**tokens, "pad_token_id": model.tokenizer.bos, **_sampling()})
    arrays = in_dtype(contents.weights, export.dtype)
    with open(path / WEIGHTS, "wb") as file:
        mx.save_safetensors(file, arrays, metadata)


def _sampling() -> dict[str, Any]:
    """How `mlx-tiny generate` draws tokens by default, in the words of transformers."""
    usual = Sampling()
    return {"do_sample": True, "temperature": usual.temperature, "top_p": usual.top_p, "top_k": usual.top_k}


def _qwen3(export: Export) -> Contents:
    model = export.model
    return Contents(folded(model.parameters, model.config), qwen3_config(model.config))


def in_dtype(weights: Weights, dtype: str) -> dict[str, mx.array]:
    """Weights as arrays of a dtype; TinyError where one is too large for it."""
    largest = max(float(np.abs(array).max()) for array in weights.values())
    if not largest <= mx.finfo(getattr(mx, dtype)).max:
        raise TinyError(
            f"A weight is too large for {dtype}", got=f"{largest:.3g}", remedy="Export with --dtype bfloat16 or float32"
        )
    return {name: mx.array(array).astype(getattr(mx, dtype)) for name, array in weights.items()}
