"""A tokenizer in the form of Hugging Face's tokenizers."""

from __future__ import annotations

from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.errors import TinyError


def tokenizer_files(tokenizer: Tokenizer, context: int) -> dict[str, str]:
    """The content of each file, by name: tokenizer.json, tokenizer_config.json, and chat_template.jinja for roles.

    Raises:
        TinyError: the tokenizer cannot be represented exactly.
    """
    raise TinyError("A tokenizer cannot be exported yet")
