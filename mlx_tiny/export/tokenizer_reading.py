"""The inverse of `tokenizer_json.py`: our tokenizer that has the same ids as a `tokenizer.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.byte_pair import BytePairTokenizer
from mlx_tiny.data.tokenizers.characters import ByteTokenizer, CharacterTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.export.tokenizer_json import BOS_NAME, tokenizer_files

_CONTROLS, _BYTES = 2, 256
# What says nothing of the ids of a text.
_WITHOUT_EFFECT = ("version", "truncation", "padding", "decoder")


def tokenizer_of(described: Mapping[str, Any]) -> Tokenizer:
    """Our tokenizer, of which `tokenizer_files` writes what is described.

    Args:
        described: the content of a `tokenizer.json`.

    Raises:
        TinyError: there is none.
    """
    try:
        tokenizer = _made(described)
        again = json.loads(tokenizer_files(tokenizer, 1)["tokenizer.json"])
    except (TinyError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _refusal(described, str(error)) from error
    for name in sorted({*described, *again} - {*_WITHOUT_EFFECT}):
        ours, theirs = (_comparable(name, values.get(name)) for values in (again, described))
        if ours != theirs:
            raise _refusal(described, f"{name} is another")
    return tokenizer


def _made(described: Mapping[str, Any]) -> Tokenizer:
    """A tokenizer with these names of tokens, of the kind that they seem to be of."""
    model = described["model"]
    vocabulary = model["vocab"]
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError("ids that are not 0, 1, 2 and so on")
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    markers = sorted((token["id"], token["content"]) for token in described["added_tokens"])
    roles = [text[2:-2] for _, text in markers if text != BOS_NAME]
    if not model["byte_fallback"]:
        return ByteTokenizer(roles)
    if names[1] == "<0x00>":
        return CharacterTokenizer(roles, "".join(names[1 + _BYTES : len(names) - len(roles)]))
    return BytePairTokenizer.from_pieces(names[_CONTROLS + len(roles) + _BYTES :], roles)


def _comparable(name: str, value: Any) -> Any:
    """A part of the file, without BOS among the added tokens: programs that write the file again add it."""
    if name == "added_tokens":
        return [token for token in value if token["content"] != BOS_NAME]
    return value


def _refusal(described: Mapping[str, Any], why: str) -> TinyError:
    model = described.get("model")
    parts = [model if not isinstance(model, dict) else f"{model.get('type')} of {len(model.get('vocab', ())):,} tokens"]
    before = described.get("pre_tokenizer")
    if isinstance(before, dict):
        inner = before.get("pretokenizers", [before])
        parts.append(" and ".join(str(one.get("type")) if isinstance(one, dict) else "?" for one in inner))
    return TinyError(
        "Training cannot start from this model, because no tokenizer of mlx-tiny has the ids of its tokenizer.json",
        expected="a tokenizer that mlx-tiny has exported, which other programs may have saved again",
        got=f"{' after '.join(map(str, parts))} ({why})",
    )
