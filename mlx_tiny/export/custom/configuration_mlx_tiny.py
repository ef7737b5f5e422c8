"""The settings of a model of mlx_tiny, for transformers; no PyTorch is needed to load its tokenizer."""

from typing import Any

from transformers import Qwen3Config


class MlxTinyConfig(Qwen3Config):
    """The file config.json; `hidden_act` is `silu` for SwiGLU, or `relu2` for a squared ReLU without a gate."""

    model_type = "mlx_tiny"
    options: dict | None = None
    """Values of the options that the model has, by their names in mlx_tiny."""

    def option(self, name: str) -> Any:
        """The value of an option, or None."""
        return (self.options or {}).get(name)
