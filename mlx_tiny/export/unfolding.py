"""A model of the architecture `qwen3` in the form of this project: the inverse of `qwen3.py`.

The weights of norms fold into the matrices behind them. Ours has a norm after the embedding, so that the rows of the
embedding must have one length; in what `qwen3.py` writes, only rows of rarely trained tokens are shorter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.export.qwen3 import FIXED, SIZES, Weights
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.model.portable import LARGEST_EPSILON

ROUNDING = {"float32": 1e-6, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""By how much, at most, the rows of an embedding differ in length because they are rounded to a dtype."""
_SHORT = 1e-4
"""A row of ours that comes out of the norm shorter by this share is 14 times as short (its epsilon is 1e-6)."""
_LARGE = 1e30
# All that can be represented here, which is also what transformers takes where nothing is said.
_FIXED = {
    **FIXED,
    "rope_scaling": None,
    "quantization": None,
    "quantization_config": None,
    "partial_rotary_factor": 1.0,
}
_ROPE = ("rope_type", "type", "rope_theta")


def shape_of(described: Mapping[str, Any]) -> ModelConfig:
    """The shape of the model that a `config.json` describes; its head is a matrix of its own.

    Raises:
        TinyError: it is not a qwen3, or one that differs from our model in more than its weights.
    """
    with_code = sorted({"auto_map", "model_file"} & described.keys())
    if described.get("model_type") != "qwen3" or with_code:
        raise TinyError(
            "Training starts only from models of the architecture qwen3 without code of their own",
            expected="the model_type qwen3",
            got=", ".join([str(described.get("model_type")), *with_code]),
            remedy="Where mlx-tiny has exported the model, name its run after --from",
        )
    found: dict[str, Any] = {name: described.get(theirs) for name, theirs in SIZES.items()}
    for name, theirs in SIZES.items():
        _require(isinstance(found[name], int), theirs, "a whole number", found[name])
    for name, value in _FIXED.items():
        got = described.get(name)
        _require(got in (None, value), name, value, got)
    kinds = described.get("layer_types") or []
    same = isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds)
    _require(same, "layer_types", "full_attention", kinds)
    found["rope_base"] = _rope_base(described)
    found["norm_epsilon"] = described.get("rms_norm_eps", 1e-6)
    for name in ("rope_base", "norm_epsilon"):
        _require(isinstance(found[name], int | float) and abs(found[name]) < _LARGE, name, "a number", found[name])
        found[name] = float(found[name])
    known = found["norm_epsilon"]
    _require(known <= LARGEST_EPSILON, "rms_norm_eps", f"at most {LARGEST_EPSILON:g}, as in a portable model", known)
    return ModelConfig(activation="swiglu", **found)


def _rope_base(described: Mapping[str, Any]) -> Any:
    nested = described.get("rope_parameters") or {}
    _require(isinstance(nested, dict), "rope_parameters", "a JSON object", nested)
    for name in ("rope_type", "type"):  # the second is the older name
        _require(nested.get(name) in (None, "default"), name, "default", nested.get(name))
    others = sorted(name for name, value in nested.items() if name not in _ROPE and value is not None)
    _require(not others, "rope_parameters", " and ".join(_ROPE), others)
    known = [values["rope_theta"] for values in (nested, described) if values.get("rope_theta") is not None]
    _require(bool(known) and known[1:] in ([], known[:1]), "rope_theta", "one number", known)
    return known[0]


def _require(fits: bool, name: str, expected: object, got: object) -> None:
    if not fits:
        raise TinyError(f"Training cannot start from this model, because of {name}", expected=expected, got=got)


def unfolded(weights: Mapping[str, np.ndarray], config: ModelConfig, dtype: str = "float32") -> Weights:
    """The parameters of our model that give the same logits as a qwen3, but for the epsilon of the norms.

    Args:
        weights: by Hugging Face's names, such as "model.layers.0.self_attn.q_proj.weight", "lm_head.weight" too;
            computed with in float64.
        config: the result of `shape_of`.
        dtype: a name in `ROUNDING`, in which the weights were stored.

    Returns:
        Float32, by our names.

    Raises:
        TinyError: a weight is missing, not known, or of another shape; or rows of the embedding differ in length.
    """
    c = config
    _require_shapes(weights, _shapes(c))
    theirs = {name.removesuffix(".weight"): np.asarray(array, dtype=np.float64) for name, array in weights.items()}
    rows, length = _rows(theirs["model.embed_tokens"], c.norm_epsilon, ROUNDING[dtype])
    # Our stream begins with rows of length 1, and is theirs after the first residual scale.
    scales = np.ones((c.layers, 2))
    scales[0, 0] = length
    layers: dict[str, list[np.ndarray]] = {}
    for layer in range(c.layers):
        own, attention, mlp = (f"model.layers.{layer}.{part}" for part in ("", "self_attn.", "mlp."))
        before = theirs[f"{own}input_layernorm"]
        if layer == 0:  # whose norm meets a stream of another length, and its epsilon too
            before = before * length * np.sqrt((1 + c.norm_epsilon) / (length**2 + c.norm_epsilon))
        stacked = np.concatenate([theirs[f"{attention}{part}_proj"] for part in "qkv"])
        gates = np.concatenate([theirs[f"{mlp}{part}_proj"] for part in ("gate", "up")])
        parts = {
            "query_key_value": stacked * before,
            "attention_output": theirs[f"{attention}o_proj"],
            "mlp_input": gates * theirs[f"{own}post_attention_layernorm"],
            "mlp_output": theirs[f"{mlp}down_proj"],
            "query_norm_weight": theirs[f"{attention}q_norm"],
            "key_norm_weight": theirs[f"{attention}k_norm"],
            "residual_scale": scales[layer],
        }
        for name, array in parts.items():
            layers.setdefault(name, []).append(array)
    whole = {"embedding": rows, "head": theirs["lm_head"] * theirs["model.norm"]}
    parameters = {**whole, **{name: np.stack(arrays) for name, arrays in layers.items()}}
    return {name: parameters[name].astype(np.float32) for name in parameter_specs(c)}


def _rows(rows: np.ndarray, epsilon: float, rounding: float) -> tuple[np.ndarray, float]:
    """The rows of our embedding, and what their norm is to be multiplied by.

    A row e of ours gives e / sqrt(mean(e^2) + epsilon), which is shorter than 1 the shorter e is.
    """
    lengths = np.sqrt(np.mean(rows**2, axis=1))
    length = float(lengths.max())
    if not length or np.median(lengths) < length * (1 - max(_SHORT, rounding)):
        raise TinyError(
            "Training cannot start from this model, because the rows of its embedding differ in length, and ours have "
            "a norm behind them",
            expected="rows of one length, as in what mlx-tiny exports and in what LoRA has trained from that",
            got=f"root mean squares of {lengths.min():.4g} to {length:.4g}",
        )
    shares = (lengths / length)[:, None]
    whole = shares >= 1 - rounding
    squares = np.where(whole, 1.0, epsilon * shares**2 / np.where(whole, 1.0, 1 - shares**2))
    # Stretched by the inverse of our norm; what is whole but for rounding gets the length 1.
    return rows / length * np.where(whole, 1 / np.maximum(shares, 0.5), np.sqrt(squares + epsilon)), length


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a qwen3 whose head is a matrix of its own."""
    c = config
    queries, keys = c.heads * c.head_width, c.key_value_heads * c.head_width
    of_layer = {
        "input_layernorm": (c.width,),
        "post_attention_layernorm": (c.width,),
        "self_attn.q_proj": (queries, c.width),
        "self_attn.k_proj": (keys, c.width),
        "self_attn.v_proj": (keys, c.width),
        "self_attn.o_proj": (c.width, queries),
        "self_attn.q_norm": (c.head_width,),
        "self_attn.k_norm": (c.head_width,),
        "mlp.gate_proj": (c.hidden, c.width),
        "mlp.up_proj": (c.hidden, c.width),
        "mlp.down_proj": (c.width, c.hidden),
    }
    table = (c.vocabulary_size, c.width)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": table, "model.norm": (c.width,), "lm_head": table}
    for layer in range(c.layers):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in of_layer.items()}
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def _require_shapes(weights: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> None:
    for name in dict.fromkeys([*expected, *weights]):
        got = weights[name].shape if name in weights else None
        if got != expected.get(name):
            raise TinyError(
                f"The weights do not fit config.json at {name}",
                expected=expected.get(name, "no such weight"),
                got=got or "no such weight",
            )
