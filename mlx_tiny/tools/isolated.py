"""Generators in a process of their own, for libraries that end their process when they meet damaged data.

The process answers requests until its input ends; without a generator it ends by itself after a few seconds, so that it
needs no memory while a model is trained.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from mlx_tiny.errors import TinyError
from mlx_tiny.tools.processes import Child

_IDLE_S = 5
_LENGTH_BYTES = 8
"""Before each reply its length, little-endian."""
_idle: list[Child] = []


class ProcessEnded(Exception):
    """The process of a generator has ended before the generator."""


def isolated(module: str, function: str, *arguments: Any) -> Iterator[Any]:
    """The values of a generator function of the package, which runs in another process as far as they are asked for.

    Args:
        module, function: its names.
        arguments: can be pickled, as the values.

    Raises:
        TinyError: as the generator.
        ProcessEnded: its process has ended.
        RuntimeError: the generator has raised another exception, whose traceback this one contains.
    """
    child = _begun((os.getcwd(), module, function, arguments))
    is_waiting = False
    try:
        while (reply := _asked(child, {"next": True})).keys() == {"value"}:
            is_waiting = True
            yield reply["value"]
            is_waiting = False
        is_waiting = True
        if "error" in reply:
            raise TinyError(**reply["error"])
        if "traceback" in reply:
            raise RuntimeError(reply["traceback"])
    finally:
        if is_waiting:
            child.send({"stop": True})
            _idle.append(child)
        else:
            child.close()


def _begun(call: tuple[str, str, str, tuple[Any, ...]]) -> Child:
    """A process that has begun the call; one that was idle may be ending just now."""
    while _idle:
        child = _idle.pop()
        try:
            _asked(child, {"begin": _packed(call)})
            return child
        except ProcessEnded:
            child.close()
    child = Child(__name__)
    try:
        _asked(child, {"begin": _packed(call)})
    except BaseException:
        child.close()
        raise
    return child


def _asked(child: Child, request: dict[str, Any]) -> dict[str, Any]:
    child.send(request)
    size = int.from_bytes(_read(child, _LENGTH_BYTES), "little")
    reply: dict[str, Any] = pickle.loads(_read(child, size))
    return reply


def _read(child: Child, size: int) -> bytearray:
    assert child.process.stdout is not None
    found = bytearray()
    while len(found) < size:
        block = os.read(child.process.stdout.fileno(), size - len(found))
        if not block:
            raise ProcessEnded(f"it ended with exit code {child.process.wait()}")
        found += block
    return found


def _packed(value: Any) -> str:
    return base64.b64encode(pickle.dumps(value)).decode()


def _unpacked(text: str) -> Any:
    return pickle.loads(base64.b64decode(text))


def main() -> None:
    """Answer requests from stdin, one line each, on stdout, pickled; what libraries print is dropped."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    values: Iterator[Any] = iter(())
    for line in sys.stdin:
        signal.alarm(0)
        request = json.loads(line)
        if "stop" in request:
            values = iter(())
            signal.alarm(_IDLE_S)
            continue
        if "begin" in request:
            folder, module, function, arguments = _unpacked(request["begin"])
            os.chdir(folder)
            values = getattr(importlib.import_module(module), function)(*arguments)
            reply: dict[str, Any] = {"begun": True}
        else:
            reply = _next(values)
        raw = pickle.dumps(reply)
        replies.write(len(raw).to_bytes(_LENGTH_BYTES, "little"))
        replies.write(raw)
        replies.flush()


def _next(values: Iterator[Any]) -> dict[str, Any]:
    try:
        return {"value": next(values)}
    except StopIteration:
        return {"end": True}
    except TinyError as error:
        parts = {name: getattr(error, name) for name in ("failed", "expected", "got", "remedy")}
        return {"error": {name: None if part is None else str(part) for name, part in parts.items()}}
    except Exception:
        return {"traceback": traceback.format_exc()}


if __name__ == "__main__":
    main()
