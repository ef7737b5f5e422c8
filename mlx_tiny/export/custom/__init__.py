"""Models that no program knows, with files of Python that travel beside the weights.

Both files begin with what the program knows of qwen3, and add what the options of a model add. Each has a cache that
also keeps the tokens, because the options read the token before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.export.model import Contents, Export
from mlx_tiny.export.qwen3 import Weights, folded, qwen3_config
from mlx_tiny.model.parameters import parameter_specs

CODE = ("configuration_mlx_tiny.py", "modeling_mlx_tiny.py", "mlx_lm_model.py")
"""Files of this folder that travel; the first two are for transformers."""
_MODEL = "MlxTinyForCausalLM"


def contents(export: Export) -> Contents:
    """Weights, `config.json` and code of a model with any options, for transformers and for mlx-lm.

    Raises:
        TinyError: the code does not know an option of the model.
    """
    config = export.model.config
    parameters = {name: np.asarray(array) for name, array in export.model.parameters.items()}
    weights = _of_qwen3(parameters, config)
    for layer, scale in enumerate(parameters["residual_scale"]):
        weights[f"model.layers.{layer}.residual_scale"] = scale
    for name in config.chosen_options():
        if name not in _WEIGHTS:
            raise TinyError(f"Models with the option {name} cannot be exported", expected=f"{', '.join(_WEIGHTS)}")
        weights |= _WEIGHTS[name](parameters, config)
    folder = Path(__file__).parent
    files = {name: (folder / name).read_text(encoding="utf-8") for name in CODE}
    return Contents(weights, _config(config), files)


def _config(config: ModelConfig) -> dict[str, object]:
    settings, model, for_mlx_lm = CODE
    return {
        **qwen3_config(config),
        "model_type": "mlx_tiny",
        "architectures": [_MODEL],
        "auto_map": {
            "AutoConfig": f"{Path(settings).stem}.MlxTinyConfig",
            "AutoModelForCausalLM": f"{Path(model).stem}.{_MODEL}",
        },
        "model_file": for_mlx_lm,
        "hidden_act": "silu" if config.activation == "swiglu" else config.activation,
        "options": config.chosen_options(),
    }


def _of_qwen3(parameters: Weights, config: ModelConfig) -> Weights:
    """The weights of everything that qwen3 has too; nothing but the norm after the embedding is folded into them."""
    known = replace(config, options="", activation="swiglu")
    own = {name: parameters[name] for name in parameter_specs(known)}
    own["residual_scale"] = np.ones_like(own["residual_scale"])
    if config.activation == "swiglu":
        return folded(own, known)
    # One matrix instead of gate and up: twice, so that there is one to drop.
    own["mlp_input"] = np.concatenate([own["mlp_input"]] * 2, axis=1)
    return {name: array for name, array in folded(own, known).items() if not name.endswith("gate_proj.weight")}


def _bigram_embedding(parameters: Weights, _: ModelConfig) -> Weights:
    return {"model.bigram_embedding.weight": parameters["bigram_gain"] * parameters["bigram_embedding"]}


def _input_skip(parameters: Weights, _: ModelConfig) -> Weights:
    shares = enumerate(parameters["input_skip_share"])
    return {f"model.layers.{layer}.input_skip_share": share for layer, share in shares}


def _smear(parameters: Weights, _: ModelConfig) -> Weights:
    return {"model.smear_share": parameters["smear_share"]}


def _value_embeddings(parameters: Weights, config: ModelConfig) -> Weights:
    layers = parameter_specs(config)["value_embedding"].layers
    tables = parameters["value_embedding_gain"][..., None] * parameters["value_embedding"]
    return {
        f"model.layers.{layer}.self_attn.value_embedding.weight": table
        for layer, table in zip(layers, tables, strict=True)
    }


_WEIGHTS: dict[str, Callable[[Weights, ModelConfig], Weights]] = {
    "bigram_embedding": _bigram_embedding,
    "input_skip": _input_skip,
    "logit_soft_cap": lambda *_: {},
    "smear": _smear,
    "value_embeddings": _value_embeddings,
}
"""What each option adds to the weights, with its gain folded into its table."""
