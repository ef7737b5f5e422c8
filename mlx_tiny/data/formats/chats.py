"""Chats: messages with roles, or a prompt and its completion."""

from __future__ import annotations

import re
from typing import Any

from mlx_tiny.data.documents import Chat, clean, listed, require_no_nul
from mlx_tiny.errors import TinyError

_ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_CALLS = ("tool_calls", "function_call")


def chat_of_messages(value: Any, where: str) -> Chat | None:
    """The chat in a list of messages; None for null, an empty list, or messages that say nothing.

    Args:
        value: a list of {"role": ..., "content": text or list of parts {"type": "text", "text": ...}}.
        where: the place in the file, for errors.

    Raises:
        TinyError: anything else.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise _fault(where, type(value).__name__)
    turns = tuple(_turn(message, where) for message in value)
    return Chat(turns) if any(content for _, content in turns) else None


def chat_of_pair(prompt: str, completion: str) -> Chat | None:
    """The chat of a user's prompt and the assistant's completion; None if the completion says nothing."""
    turns = (("user", clean(prompt)), ("assistant", clean(completion)))
    return Chat(turns) if turns[1][1] else None


def _turn(message: Any, where: str) -> tuple[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        keys = f"the keys {listed(map(str, message))}" if isinstance(message, dict) else type(message).__name__
        raise _fault(where, keys)
    role, content = message["role"].strip(), message.get("content")
    if not _ROLE.fullmatch(role):
        raise _fault(where, f"the role {role[:40]!r}")
    for key in _CALLS:
        if message.get(key):
            raise _fault(where, f"{key} in a message of {role}")
    if isinstance(content, list):
        content = "".join(_part(part, where) for part in content)
    if not isinstance(content, str):
        raise _fault(where, f"{type(content).__name__} as content of {role}")
    require_no_nul(content, where)
    return role, clean(content)


def _part(part: Any, where: str) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    if isinstance(text, str) and (not isinstance(part, dict) or part.get("type", "text") == "text"):
        return text
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise _fault(where, f"a part of type {str(kind)[:40]!r} in a message")


def _fault(where: str, found: str) -> TinyError:
    return TinyError(
        f"{where} is not a chat that can be learned",
        expected='messages such as {"role": "user", "content": "text"}',
        got=found,
        remedy="Correct or remove it",
    )
