"""A tokenizer in the form of GGUF, for llama.cpp.

llama.cpp has sentencepiece's algorithm, in which a space is the character U+2581, and GPT-2's on bytes. The kind
`bytes` is of the second form, and the others are of the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.byte_pair import LONGEST_WORD, META_SPACE, BytePairTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.export.tokenizer_json import BOS_NAME, spells_bytes, token_names

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 3, 4, 5, 6
"""Types of tokens, as in llama.h; those that users define are found in a text before all others."""
_FOUND_BY_TEXT = (_NORMAL, _USER_DEFINED)


@dataclass(frozen=True)
class GGUFTokenizer:
    """Values of the keys `tokenizer.ggml.*`."""

    model: str
    """Name of the algorithm."""
    tokens: list[str]
    scores: list[float]
    """The pieces of better scores are merged first."""
    types: list[int]
    merges: list[str]
    """Of GPT-2's algorithm; empty for the other one."""


def gguf_tokenizer(tokenizer: Tokenizer) -> GGUFTokenizer:
    """The tokenizer that llama.cpp reads.

    Raises:
        TinyError: it would give other ids for texts to which `remarks` does not apply.
    """
    names = token_names(tokenizer)
    types = [_NORMAL if piece else _UNUSED for piece in tokenizer.piece_bytes]
    types[tokenizer.bos] = _CONTROL
    for index in tokenizer.markers.values():
        types[index] = _USER_DEFINED
    if spells_bytes(tokenizer):
        # Without any merge a file would not be read; this one never happens.
        return GGUFTokenizer("gpt2", names, [], types, [f"{BOS_NAME} {BOS_NAME}"])
    for byte in range(256):
        types[names.index(f"<0x{byte:02X}>")] = _BYTE
    if " " not in names:
        space = names.index("<0x20>")
        names[space], types[space] = " ", _NORMAL
    if any("\0" in name for name in names):
        raise TinyError(
            "llama.cpp ends the text of a token at U+0000, and the tokenizer has a token with this character"
        )
    _require_same_merges(names, types)
    scores = tokenizer.scores() if isinstance(tokenizer, BytePairTokenizer) else [0.0] * len(names)
    names = [
        name.replace(" ", META_SPACE) if kind == _NORMAL else name for name, kind in zip(names, types, strict=True)
    ]
    if len(set(names)) < len(names):
        raise TinyError("GGUF cannot tell a space from U+2581, and the tokenizer has tokens for both")
    return GGUFTokenizer("llama", names, scores, types, [])


def changes(tokenizer: Tokenizer, text: str) -> bool:
    """Whether llama.cpp may give a text other ids than the tokenizer."""
    if spells_bytes(tokenizer):
        return False
    words = re.findall(" +[^ ]*|[^ ]+", text) if isinstance(tokenizer, BytePairTokenizer) else []
    return META_SPACE in text or any(len(word) > LONGEST_WORD for word in words)


def remarks(tokenizer: Tokenizer) -> Iterator[str]:
    """Sentences about the texts that it may change."""
    if not spells_bytes(tokenizer):
        yield "llama.cpp reads the character U+2581 as a space."
    if isinstance(tokenizer, BytePairTokenizer):
        yield f"llama.cpp may divide a word of more than {LONGEST_WORD:,} characters into other tokens."


def _require_same_merges(names: list[str], types: list[int]) -> None:
    """Refuse pieces across words, and those of which llama.cpp would merge a name, such as "<0x0A>" in a text."""
    pieces = {name for name, kind in zip(names, types, strict=True) if kind == _NORMAL}
    crossing = next((piece for piece in pieces if " " in piece.lstrip(" ")), None)
    if crossing is not None:
        raise TinyError("The tokenizer cannot be exported to GGUF: a token continues after a space", got=repr(crossing))
    for name, kind in zip(names, types, strict=True):
        halves = [(name[:place], name[place:]) for place in range(1, len(name))] if kind not in _FOUND_BY_TEXT else []
        if any({left, right} <= pieces for left, right in halves):
            raise TinyError(
                "The tokenizer cannot be exported to GGUF: llama.cpp would read a text as a token that it is not",
                got=repr(name),
            )
