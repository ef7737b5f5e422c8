"""Writes text with a model: the one way from a prompt to the text after it, for all commands and for samples."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from mlx_tiny.config import ModelConfig, Sampling
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.pieces import marker_text
from mlx_tiny.errors import TinyError
from mlx_tiny.model.generate import generate_tokens
from mlx_tiny.model.healing import Start, split_characters, start_of
from mlx_tiny.model.mixing import Mixed
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.implementations import AUTO

BETWEEN_DOCUMENTS = b"\n\n"
"""How the end of a document is shown if another one follows."""
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
"""The roles of a chat: who says beforehand how to answer, who asks and who answers."""
_MARKER = re.compile(r"<\|(\w+)\|>")


def write_text(
    parameters: Parameters,
    config: ModelConfig,
    tokenizer: Tokenizer,
    prompt: str | bytes,
    sampling: Sampling,
    *,
    stop_texts: Sequence[str] = (),
    documents: int | None = 1,
    turn: bool = False,
    asked: str = AUTO,
    mixed: Mixed | None = None,
    watch: Callable[[int], None] = lambda _: None,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Write on after a prompt, in whole characters, as if the prompt had not been cut (`healing.py`).

    Args:
        prompt: text, or its bytes in UTF-8. If its last character is cut, the text after it completes it. If it is
            longer than the context, its end is read.
        stop_texts: the text ends before the first of these.
        documents: number of documents to write, of which the prompt begins the first; None for no end.
        turn: whether the text also ends at a role's marker.
        asked: `auto`, or `plain` for plain operations everywhere.
        mixed: counting, with which the model is mixed.
        watch: called with each token that is written.
        notice: called with a line about a prompt that is not read as it stands.

    Raises:
        TinyError: the prompt is not UTF-8, or a setting is out of range.
    """
    if documents is not None and (type(documents) is not int or documents < 1):
        raise TinyError("The setting documents is out of range", expected="a whole number from 1 on", got=documents)
    if not isinstance(stop_texts, Sequence) or not all(isinstance(text, str) for text in stop_texts):
        raise TinyError("The texts to stop at are no list of texts", expected="such as ['.']", got=repr(stop_texts))
    if not all(stop_texts):
        raise TinyError("A text to stop at is empty", expected="at least one character")
    prompt = as_bytes(prompt)
    start = start_of(tokenizer, prompt, config.context)
    for line in _notices(tokenizer, prompt, start, config.context):
        notice(line)
    stop = [*([tokenizer.bos] if documents == 1 else []), *(tokenizer.markers.values() if turn else [])]
    drawn = generate_tokens(
        parameters, config, start.tokens, sampling, endings=start.endings, stop=stop, asked=asked, mixed=mixed
    )
    written = _written(drawn, tokenizer, start, documents, sampling.max_tokens, watch)
    cut_character = split_characters(prompt)[1]
    return until(codecs.iterdecode(itertools.chain([cut_character], written), "utf-8", errors="replace"), stop_texts)


def as_bytes(prompt: str | bytes) -> bytes:
    """A prompt in UTF-8, with the bytes that a command line contained if they are not UTF-8.

    Raises:
        TinyError: the text contains half of a character, or the prompt is no text.
    """
    if isinstance(prompt, bytes):
        return prompt
    if not isinstance(prompt, str):
        raise TinyError("The prompt is not a text", expected="str or bytes", got=type(prompt).__name__)
    try:
        return prompt.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise TinyError(
            "The prompt contains a lone surrogate, which is half of a character",
            got=ascii(prompt[error.start : error.end]),
            remedy="Give valid Unicode text",
        ) from error


def as_text(prompt: str | bytes) -> str:
    """The inverse of `as_bytes`; raises the same errors."""
    return as_bytes(prompt).decode(errors="surrogateescape")


def is_chat(tokenizer: Tokenizer) -> bool:
    """Whether the model was trained on chats between a user and an assistant."""
    return {USER, ASSISTANT} <= tokenizer.markers.keys()


def question(tokenizer: Tokenizer, message: str, notice: Callable[[str], None] = lambda _: None) -> str:
    """A turn of the user, and the marker after which the assistant answers.

    Args:
        notice: called with a line about a marker in the message.

    Raises:
        TinyError: the model was not trained on chats.
    """
    if not is_chat(tokenizer):
        raise TinyError(
            "The model was not trained on chats",
            expected=f"the roles {USER} and {ASSISTANT} in its text",
            got=", ".join(tokenizer.markers) or "a text without roles",
            remedy="Give the beginning of a text as the prompt instead",
        )
    _notice_markers(tokenizer, message, notice)
    return f"{marker_text(USER)}{message}{marker_text(ASSISTANT)}"


def instruction(tokenizer: Tokenizer, message: str, notice: Callable[[str], None] = lambda _: None) -> str:
    """The turn of the role `system` that begins a conversation; none where the message is empty.

    Args:
        notice: called with a line about a marker in the message.

    Raises:
        TinyError: no chat of the training text had this role.
    """
    message = message.strip()  # as the turns of training text are
    if not message:
        return ""
    if SYSTEM not in tokenizer.markers:
        raise TinyError(
            "The model knows no messages of the role system",
            expected="this role in the chats that it was trained on",
            got=", ".join(tokenizer.markers) or "a text without roles",
            remedy="Leave the system message out",
        )
    _notice_markers(tokenizer, message, notice)
    return f"{marker_text(SYSTEM)}{message}"


def _notice_markers(tokenizer: Tokenizer, message: str, notice: Callable[[str], None]) -> None:
    for role in tokenizer.markers:
        if marker_text(role) in message:
            notice(f"The message contains {marker_text(role)}, which begins a turn of its own.")


def until(parts: Iterable[str], stop_texts: Sequence[str]) -> Iterator[str]:
    """Pass a text on, part by part, up to the one of `stop_texts` that is complete first, however the parts are cut.

    What may be the beginning of one of them is held back until that is known.
    """
    held = ""
    for part in parts:
        held += part
        found = [(place + len(stop), place) for stop in stop_texts if (place := held.find(stop)) >= 0]
        if found:
            _, place = min(found)
            if place:
                yield held[:place]
            return
        safe = len(held) - max((_overlap(held, stop) for stop in stop_texts), default=0)
        if safe:
            yield held[:safe]
            held = held[safe:]
    if held:
        yield held


def sample_text(
    parameters: Parameters,
    config: ModelConfig,
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    seed: int,
    prompt: str = "",
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> str:
    """The prompt and the text after it, up to its end or `max_tokens`."""
    sampling = Sampling(max_tokens=max_tokens, seed=seed)
    return prompt + "".join(write_text(parameters, config, tokenizer, prompt, sampling, asked=asked, mixed=mixed))


def _written(
    drawn: Iterable[int],
    tokenizer: Tokenizer,
    start: Start,
    documents: int | None,
    max_tokens: int,
    watch: Callable[[int], None],
) -> Iterator[bytes]:
    """The bytes after the prompt, token by token: at most `max_tokens`, not counting those of which nothing is new."""
    owed, ends, count = len(start.rest), 0, 0
    for token in drawn:
        piece = tokenizer.piece_bytes[token]
        if owed >= len(piece) > 0:
            owed -= len(piece)
            continue
        if token == tokenizer.bos:
            ends += 1
            if ends == documents:
                return
            piece = BETWEEN_DOCUMENTS
        watch(token)
        yield piece[owed:]
        owed = 0
        count += 1
        if count == max_tokens:
            return


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


def _notices(tokenizer: Tokenizer, prompt: bytes, start: Start, context: int) -> Iterator[str]:
    if start.dropped:
        yield (
            f"The prompt is longer than the model's context of {context} tokens: "
            f"its first {start.dropped} tokens are not read."
        )
    for role in dict.fromkeys(_MARKER.findall(split_characters(prompt)[0])):
        if role not in tokenizer.markers:
            yield f"The prompt contains {marker_text(role)}, which is no marker for this model, but plain text."
