"""How strong counting alone is on a text: a floor for trained models, kept beside the prepared data."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import numpy as np

from mlx_tiny.data.documents import Progress
from mlx_tiny.data.prepare import silent
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.errors import TinyError
from mlx_tiny.files import hash_text
from mlx_tiny.model.counting import KneserNey, Tokens
from mlx_tiny.records import Record, read_sealed, write_sealed
from mlx_tiny.units import format_count

MOST_TOKENS = 4_000_000
"""Of a training text that are counted: a few seconds, and less than half a gigabyte of memory."""
_STRETCHES = 64
COUNTING = "counting alone, which is how often each token followed those before it in the training text"
"""What the strength is that of, for people."""


@dataclass(frozen=True)
class Counted(Record):
    """The strength of the n-gram on a validation text."""

    kind = "counting"
    version = 1

    bits_per_byte: float
    orders: int
    tokens: int
    """Training tokens that were counted."""
    text: str
    """Hash of the text and its tokens."""


def counting_alone(text: PreparedCorpus, progress: Progress = silent) -> Counted | None:
    """The strength of counting on the validation text; None where nothing was held out of the training text."""
    if text.record.found.trained_on_validation:
        return None
    files = (text.record.train, text.valid_file)
    hashed = hash_text(*(file.text_hash for file in files), *(file.token_hash for file in files))
    path = text.directory / (
        "counting.json" if text.valid_file == text.record.valid else f"counting-{hashed[:12]}.json"
    )
    with contextlib.suppress(TinyError):  # not counted yet, or damaged
        found = read_sealed(path, Counted, "strength of counting")
        if found.text == hashed:
            return found
    progress("count", 0, 1)
    tokens = sample(text.train, text.tokenizer.bos, MOST_TOKENS)
    grams = KneserNey(tokens, text.tokenizer.size, text.tokenizer.bos)
    bits_per_byte = grams.total_nats(text.valid) / math.log(2) / text.valid_bytes
    counted = Counted(bits_per_byte, grams.orders, len(tokens), hashed)
    with contextlib.suppress(TinyError):  # a cache that cannot be written: it is counted again next time
        write_sealed(path, counted)
    progress("count", 1, 1)
    return counted


def described(counted: Counted, text: PreparedCorpus) -> str:
    """What was counted, such as "6-gram" or "6-gram of 4.0M of 11M tokens"."""
    part = f" of {format_count(counted.tokens)} of {format_count(len(text.train))} tokens"
    return f"{counted.orders}-gram{part * (counted.tokens < len(text.train))}"


def sample(tokens: Tokens, bos: int, most: int) -> Tokens:
    """All tokens of a training file; of a long one, whole documents from all over it, at most so many tokens."""
    if len(tokens) <= most:
        return np.asarray(tokens)
    starts = np.linspace(0, len(tokens), _STRETCHES, endpoint=False).astype(np.int64)
    length = max(1, most // _STRETCHES)
    stretches = [np.asarray(tokens[start : start + length]) for start in starts]
    return np.concatenate([_whole_documents(stretch, bos) for stretch in stretches])


def _whole_documents(tokens: Tokens, bos: int) -> Tokens:
    """From the first BOS to before the last one; everything where there are not two."""
    begins = np.flatnonzero(tokens == bos)
    return tokens[begins[0] : begins[-1]] if len(begins) > 1 else tokens
