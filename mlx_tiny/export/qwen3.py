"""The SwiGLU model in the form of the architecture `qwen3`, which other programs know.

qwen3 has a plain residual stream, RMSNorm with a weight, and QK-norm before the rotary positions; it has no residual
scales and no norm after the embedding. Both fold into its weights exactly, but for the epsilon of the norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError

Weights = dict[str, np.ndarray]
SIZES = {
    "vocabulary_size": "vocab_size",
    "context": "max_position_embeddings",
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "head_width": "head_dim",
    "hidden": "intermediate_size",
}
"""What `config.json` calls the whole numbers of a `ModelConfig`."""
FIXED = {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False}
"""What it says of every model that both can represent."""
_SMALL_SCALE = 0.1
_ALMOST_ZERO = 1e-12
"""What a residual scale of zero becomes: what it leaves of the stream is lost in the rounding of float32."""
_SMALLEST_SCALE = 1e-15
"""Of the stream; the squares of one that is stretched more, or less, are no float32 numbers."""


def folded(parameters: Mapping[str, Any], config: ModelConfig) -> Weights:
    """The weights of qwen3 that give the same logits, by Hugging Face's names.

    Args:
        parameters: arrays of a model without `obstacles`; computed with in float64.

    Returns:
        Float32, such as "model.layers.0.self_attn.q_proj.weight" [H K, D]. The head is a matrix of its own, also where
        the model is tied, because the norm after the embedding is folded into the embedding.

    Raises:
        TinyError: residual scales, together, are too small or large for float32 weights.
    """
    c = config
    ours = {name: np.asarray(array, dtype=np.float64) for name, array in parameters.items()}
    query_rows, key_rows = c.heads * c.head_width, c.key_value_heads * c.head_width
    rows = ours["embedding"]
    weights = {
        "model.embed_tokens": rows / np.sqrt(np.mean(rows * rows, axis=1, keepdims=True) + c.norm_epsilon),
        "lm_head": ours["embedding" if c.tied else "head"],
    }
    # Ours is `scale` times qwen3's stream; a norm takes the size of it away and leaves the sign.
    scale = 1.0
    for layer in range(c.layers):
        own = {name: array[layer] for name, array in ours.items() if name not in ("embedding", "head")}
        attention, mlp = f"model.layers.{layer}.self_attn.", f"model.layers.{layer}.mlp."
        weights[f"model.layers.{layer}.input_layernorm"] = np.full(c.width, np.sign(scale))
        parts = np.split(own["query_key_value"], [query_rows, query_rows + key_rows])
        for name, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
            weights[attention + name] = part
        weights[attention + "q_norm"] = own["query_norm_weight"]
        weights[attention + "k_norm"] = own["key_norm_weight"]
        scale *= own["residual_scale"][0] or _ALMOST_ZERO
        weights[attention + "o_proj"] = own["attention_output"] / scale
        weights[f"model.layers.{layer}.post_attention_layernorm"] = np.full(c.width, np.sign(scale))
        weights[mlp + "gate_proj"], weights[mlp + "up_proj"] = np.split(own["mlp_input"], 2)
        scale *= own["residual_scale"][1] or _ALMOST_ZERO
        weights[mlp + "down_proj"] = own["mlp_output"] / scale
        if not _SMALLEST_SCALE <= abs(scale) <= 1 / _SMALLEST_SCALE:
            raise TinyError(
                f"qwen3 cannot represent this model: the residual scales up to layer {layer} multiply to {scale:.3g}",
                remedy="Export it for transformers or mlx-lm, with --custom-code",
            )
    weights["model.norm"] = np.full(c.width, np.sign(scale))
    return {f"{name}.weight": array.astype(np.float32) for name, array in weights.items()}


def remarks(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about where the epsilon of the norms may not be lost in the rounding of what `folded` gives."""
    scale = np.abs(np.cumprod(np.asarray(parameters["residual_scale"], dtype=np.float64))).min()
    if scale < _SMALL_SCALE:
        yield (
            f"The residual scales multiply to {scale:.2g}: where the stream is that small, the epsilon of the norms "
            "changes the logits, by about 1e-4 of the largest at 0.1, and more below. "
            "Exact there is --to hf or mlx with --custom-code."
        )


def qwen3_config(config: ModelConfig) -> dict[str, Any]:
    """The part of `config.json` that describes the shape of a model that `folded` has made."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        **FIXED,
        "rms_norm_eps": config.norm_epsilon,
        "attention_dropout": 0.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_cache": True,
        # transformers 5 reads the second, and what is older, as vLLM may be, the first.
        "rope_theta": config.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
    }
