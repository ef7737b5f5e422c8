"""Whether the documents of prepared text are single lines, such as names or proverbs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.data.tokenizer import Tokenizer

_TOKENS_AT_ONCE = 1 << 20


def are_single_lines(tokens: NDArray[np.uint16], tokenizer: Tokenizer) -> bool:
    """Whether no document of a token file contains a line end; reading stops at the first one."""
    ends_line = np.array([b"\n" in piece for piece in tokenizer.piece_bytes])
    parts = (tokens[start : start + _TOKENS_AT_ONCE] for start in range(0, len(tokens), _TOKENS_AT_ONCE))
    return not any(ends_line[part].any() for part in parts)
