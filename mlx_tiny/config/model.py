"""Settings of the shape of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mlx_tiny.config.checks import require, require_choices, require_representable


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the transformer."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"activation": ("relu2", "swiglu")}

    vocabulary_size: int = 2048
    """Tokens in the vocabulary, as the data has it."""
    context: int = 256
    """Tokens T per training sequence, which is also how far back the model can look."""
    layers: int = 4
    """Number of transformer layers L."""
    width: int = 128
    """Width D of the residual stream."""
    heads: int = 4
    """Number of query heads H."""
    key_value_heads: int = 4
    """Number of key/value heads G; must divide the number of heads (grouped-query attention)."""
    head_width: int = 32
    """Width K of a head; an even number, for rotary positions."""
    hidden: int = 512
    """Width F of the hidden layer of the MLP; for `swiglu` two thirds of the preset's, where it is not given."""
    activation: str = "relu2"
    """Activation of the MLP: `relu2` (squared ReLU, two matrices) or `swiglu` (three matrices)."""
    tied: bool = False
    """Use the embedding matrix as the output head too."""
    rope_base: float = 10_000.0
    """Base of the angles of rotary positions."""
    norm_epsilon: float = 1e-6
    """Number that RMSNorm adds to the mean square."""
    options: str = ""
    """Options of the architecture with their values, such as "logit_soft_cap=15,value_embeddings=2"; the command info
    lists them."""

    def __post_init__(self) -> None:
        for name in ("context", "layers", "width", "heads", "key_value_heads", "head_width", "hidden"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(
            256 <= self.vocabulary_size <= 65536,
            "vocabulary_size",
            "256 to 65536 (tokens are stored in 16 bits)",
            self.vocabulary_size,
        )
        require(
            self.heads % self.key_value_heads == 0,
            "key_value_heads",
            f"a divisor of heads ({self.heads})",
            self.key_value_heads,
        )
        require(self.head_width % 2 == 0, "head_width", "an even number (rotary pairs)", self.head_width)
        require_choices(self)
        require(1 < self.rope_base < math.inf, "rope_base", "above 1, finite", self.rope_base)
        require(0 < self.norm_epsilon < math.inf, "norm_epsilon", "above 0, finite", self.norm_epsilon)
        require_representable(self)
        self.chosen_options()

    def chosen_options(self) -> dict[str, float]:
        """The value of each architecture option that is on.

        Raises:
            TinyError: the text is not a list of NAME=NUMBER, or names one option twice.
        """
        chosen: dict[str, float] = {}
        for pair in filter(None, self.options.split(",")):
            name, _, value = (part.strip() for part in pair.partition("="))
            expected = "pairs NAME=NUMBER, such as logit_soft_cap=15,value_embeddings=2, each name once"
            require(bool(name) and name not in chosen and _is_number(value), "options", expected, self.options)
            chosen[name] = float(value)
        return chosen


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
