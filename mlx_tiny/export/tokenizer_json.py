"""A tokenizer in the form of Hugging Face's tokenizers, with the same ids for every text."""

from __future__ import annotations

import json
from typing import Any

from mlx_tiny.data.documents import SEPARATOR
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.byte_pair import LONGEST_WORD, META_SPACE, BytePairTokenizer
from mlx_tiny.data.tokenizers.characters import ByteTokenizer, CharacterTokenizer
from mlx_tiny.data.tokenizers.pieces import marker_text
from mlx_tiny.errors import TinyError
from mlx_tiny.model.writing import ASSISTANT, SYSTEM, USER, is_chat

BOS_NAME = SEPARATOR
"""Name of BOS, which begins a document and so ends the one before."""
_PRINTABLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
"""The bytes that GPT-2's tokenizer writes as the characters of the same number; it writes the others from U+0100 on."""
_CHAT = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] not in ROLES %}
        {{- raise_exception('The model knows no messages of the role ' + message['role']) }}
    {%- endif %}
    {%- set content = message['content'] if message['role'] == 'USER' else message['content'] | trim %}
    {%- if content or message['role'] != 'SYSTEM' %}
        {{- '<|' + message['role'] + '|>' + content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|ASSISTANT|>' }}
{%- endif %}
"""


def tokenizer_files(tokenizer: Tokenizer, context: int) -> dict[str, str]:
    """The content of each file, by name: tokenizer.json, tokenizer_config.json, and chat_template.jinja for chats.

    A text gives the ids of a document, BOS first, and its ids give the text. The form has two limits: in text that is
    not UTF-8, which only models write, each byte of a broken character becomes a U+FFFD; and the name of BOS in a text
    is BOS where the model knows chats, because a chat template writes a text.

    Args:
        context: of the model, in tokens.

    Raises:
        TinyError: the tokenizer cannot be represented exactly.
    """
    chat = is_chat(tokenizer)
    config = {
        # The class that belongs to a type of models would build another tokenizer of the same vocabulary.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS_NAME,
        "eos_token": BOS_NAME,
        "pad_token": BOS_NAME,
        "padding_side": "left",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": not chat,
    }
    contents = {"tokenizer.json": _described(tokenizer, chat), "tokenizer_config.json": config}
    files = {name: json.dumps(content, ensure_ascii=False, indent=1) for name, content in contents.items()}
    return {**files, "chat_template.jinja": chat_template(tokenizer)} if chat else files


def token_names(tokenizer: Tokenizer) -> list[str]:
    """What other programs call each id: the text of pieces and markers, `<0x0A>` for the byte 10, and a name for BOS.

    The kind `bytes` has GPT-2's characters for bytes instead.

    Raises:
        TinyError: the tokenizer is one of events, or two ids have the same name.
    """
    if not isinstance(tokenizer, BytePairTokenizer | ByteTokenizer):
        raise TinyError(
            "A tokenizer of events cannot be exported: which token a cell has depends on its column",
            remedy="Use the run itself, with mlx-tiny predict",
        )
    names = [piece.decode(errors="replace") or "<unk>" for piece in tokenizer.piece_bytes]
    for byte in range(256):
        name = byte_character(byte) if spells_bytes(tokenizer) else f"<0x{byte:02X}>"
        names[tokenizer.piece_bytes.index(bytes([byte]))] = name
    names[tokenizer.bos] = BOS_NAME
    if len(set(names)) < len(names):
        twice = sorted(name for name in set(names) if names.count(name) > 1)
        raise TinyError("The tokenizer cannot be exported: two tokens have the same name", got=", ".join(twice))
    return names


def ending_ids(tokenizer: Tokenizer) -> int | list[int]:
    """At which tokens a program has to stop: the end of the document, and the next turn where the model chats."""
    return [tokenizer.bos, *tokenizer.markers.values()] if is_chat(tokenizer) else tokenizer.bos


def spells_bytes(tokenizer: Tokenizer) -> bool:
    """Whether each byte of a text is a token."""
    return isinstance(tokenizer, ByteTokenizer) and not isinstance(tokenizer, CharacterTokenizer)


def byte_character(byte: int) -> str:
    """The character that stands for a byte in GPT-2's tokenizer, and those that were made after it."""
    return chr(byte if byte in _PRINTABLE else 0x100 + sum(other not in _PRINTABLE for other in range(byte)))


def chat_template(tokenizer: Tokenizer) -> str:
    """A template in Jinja that writes what `mlx-tiny generate --chat` reads, BOS included."""
    names = {"ROLES": str(sorted(tokenizer.markers)), "USER": USER, "SYSTEM": SYSTEM, "ASSISTANT": ASSISTANT}
    template = _CHAT
    for name, value in names.items():
        template = template.replace(name, value)
    return template


def _described(tokenizer: Tokenizer, chat: bool) -> dict[str, Any]:
    names = token_names(tokenizer)
    added = [_added(index, marker_text(role), chat) for role, index in tokenizer.markers.items()]
    if chat:
        added = [_added(tokenizer.bos, BOS_NAME, True), *added]
    spells = spells_bytes(tokenizer)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level if spells else _words() if isinstance(tokenizer, BytePairTokenizer) else None,
        "post_processor": _after_bos(tokenizer.bos),
        "decoder": {"type": "Sequence", "decoders": [byte_level] if spells else _from_bytes(names)},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": not spells,
            "ignore_merges": False,
            "vocab": {name: index for index, name in enumerate(names)},
            "merges": _merges(tokenizer),
        },
    }


def _from_bytes(names: list[str]) -> list[dict[str, Any]]:
    """Decoders for the kinds of tokenizers that spell in bytes what is no token.

    The first one changes nothing, but only with it mlx-lm puts characters together from bytes while it writes; a lone
    ByteLevel, for the kind `bytes`, would make it leave a first space out.
    """
    decoders = [{"type": "ByteFallback"}, {"type": "Fuse"}]
    if any(META_SPACE in name for name in names) or sum(name.startswith("<0x") for name in names) > 256:
        return decoders  # mlx-lm would take the character for a space, and a piece for a byte
    return [{"type": "Replace", "pattern": {"String": META_SPACE}, "content": " "}, *decoders]


def _added(index: int, text: str, special: bool) -> dict[str, Any]:
    """A token that is found in a text before all others."""
    kept = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": text, **kept, "special": special}


def _words() -> dict[str, Any]:
    """Cuts a text before the spaces of each word, and a longer word into parts, as `BytePairTokenizer` does."""
    patterns = (" +[^ ]*|[^ ]+", f"[\\s\\S]{{1,{LONGEST_WORD}}}")
    cuts = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]
    return {"type": "Sequence", "pretokenizers": cuts}


def _after_bos(bos: int) -> dict[str, Any]:
    """Puts BOS before a text, and before each of two."""
    first, second = (
        [{"SpecialToken": {"id": BOS_NAME, "type_id": kind}}, {"Sequence": {"id": name, "type_id": kind}}]
        for kind, name in enumerate("AB")
    )
    special = {BOS_NAME: {"id": BOS_NAME, "ids": [bos], "tokens": [BOS_NAME]}}
    return {"type": "TemplateProcessing", "single": first, "pair": [*first, *second], "special_tokens": special}


def _merges(tokenizer: Tokenizer) -> list[list[str]]:
    if not isinstance(tokenizer, BytePairTokenizer):
        return []
    try:
        return [list(parts) for parts in tokenizer.merges()]
    except ValueError as error:
        raise TinyError("The tokenizer cannot be exported", got=str(error)) from error
