"""A qwen3 becomes a model of this project that gives the same logits, or is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy_model import Arrays, logits, random_parameters
from numpy_qwen3 import CONFIG, qwen3_logits

from mlx_tiny.errors import TinyError
from mlx_tiny.export.qwen3 import folded, qwen3_config
from mlx_tiny.export.unfolding import shape_of, unfolded

# Of the largest logit; see test_qwen3.py.
LARGEST_DIFFERENCE = 2e-5
TOKENS = np.random.default_rng(5).integers(0, CONFIG.vocabulary_size, CONFIG.context)


def foreign(length: float = 0.02) -> Arrays:
    """Random weights as other programs train them: norms have weights, and rows of the embedding this length."""
    generator = np.random.default_rng(1)
    weights = {}
    for name, array in folded(random_parameters(CONFIG), CONFIG).items():
        values = generator.standard_normal(array.shape)
        weights[name] = 1 + 0.3 * values if array.ndim == 1 else values / np.sqrt(array.shape[1])
    rows = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = length * rows / np.sqrt(np.mean(rows**2, axis=1, keepdims=True))
    return {name: array.astype(np.float32) for name, array in weights.items()}


def difference(weights: Arrays) -> float:
    """That of our logits and those of qwen3, as a share of the largest."""
    theirs = qwen3_logits({name: array.astype(np.float64) for name, array in weights.items()}, CONFIG, TOKENS)
    ours = {name: array.astype(np.float64) for name, array in unfolded(weights, CONFIG).items()}
    return float(np.abs(logits(ours, CONFIG, TOKENS) - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("length", [0.02, 1.0, 3.0])
def test_weights_of_norms_and_the_length_of_the_embedding_unfold(length: float) -> None:
    assert difference(foreign(length)) < LARGEST_DIFFERENCE


def test_what_was_folded_unfolds_to_the_same_function() -> None:
    parameters = random_parameters(CONFIG)
    parameters["embedding"][TOKENS[:4]] *= 0.02  # rarely trained rows, which the norm's epsilon makes shorter
    assert difference(folded(parameters, CONFIG)) < LARGEST_DIFFERENCE


def test_rounded_rows_have_one_length() -> None:
    weights = foreign(1.0)
    rows = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = rows.astype(np.float16).astype(np.float32)
    lengths = np.sqrt(np.mean(unfolded(weights, CONFIG, "float16")["embedding"] ** 2, axis=1))
    assert np.allclose(lengths, 1, rtol=1e-6)


def test_rows_of_other_lengths_are_refused() -> None:
    weights = foreign()
    weights["model.embed_tokens.weight"] *= np.linspace(0.5, 1, CONFIG.vocabulary_size, dtype=np.float32)[:, None]
    with pytest.raises(TinyError, match="differ in length"):
        unfolded(weights, CONFIG)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.1.mlp.up_proj.weight", None),
        ("model.layers.1.mlp.up_proj.weight", (3, 4)),
        ("model.layers.0.self_attn.q_proj.bias", (24,)),
    ],
)
def test_weights_that_do_not_fit_are_named(name: str, shape: tuple[int, ...] | None) -> None:
    weights = {theirs: array for theirs, array in foreign().items() if theirs != name}
    if shape:
        weights[name] = np.zeros(shape, np.float32)
    with pytest.raises(TinyError, match=re.escape(name)):
        unfolded(weights, CONFIG)


def test_the_shape_is_that_of_the_export() -> None:
    assert shape_of(qwen3_config(CONFIG)) == CONFIG


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "llama"},
        {"model_file": "model.py"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"use_sliding_window": True, "sliding_window": 8},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0}},
        {"rope_theta": 1e6},
        {"quantization": {"bits": 4}},
        {"head_dim": None},
        {"layer_types": 5},
        {"rope_parameters": "linear"},
        {"rope_parameters": {"type": "linear", "rope_theta": 10000.0}},
        {"rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 10000.0}},
        {"partial_rotary_factor": 0.5},
        {"rms_norm_eps": 10**400},
        {"rms_norm_eps": 1e-3},
        {"vocab_size": 151936},
    ],
    ids=str,
)
def test_another_architecture_is_refused_with_the_part(changes: dict[str, Any]) -> None:
    part = {
        "model_file": "code of their own",
        "vocab_size": "vocabulary_size",
        "rope_parameters": "rope_|of type",
        "rms_norm_eps": "norm_epsilon|rms_norm_eps",
    }
    name = next(iter(changes))
    with pytest.raises(TinyError, match=part.get(name, name)):
        shape_of({**qwen3_config(CONFIG), **changes})
