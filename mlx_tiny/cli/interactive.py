"""`mlx-tiny generate --interactive`: one prompt or message after another, with commands in between."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from mlx_tiny.cli.output import say, show
from mlx_tiny.cli.writer import Writer
from mlx_tiny.config import Sampling
from mlx_tiny.errors import TinyError
from mlx_tiny.files import cache_home, make_folder
from mlx_tiny.tools.signals import keyboard_interrupts

_HELP = """\
/help          show these commands
/settings      show the settings and the speed so far
/NAME VALUE    change a setting, as in /temperature 0.5
/reset         forget the conversation
/system TEXT   begin a conversation with this message of the role system; without TEXT, with none
/quit          leave, as Ctrl-D does
//TEXT         a prompt that begins with a slash
Ctrl-C ends a text."""
_HISTORY_LINES = 1000


def converse(writer: Writer, sampling: Sampling, system: str = "") -> None:
    """Ask until the end of the input; on a terminal with line editing and the history of earlier sessions.

    Args:
        system: message of the role system, with which a conversation begins.

    Raises:
        TinyError: the model does not know this role.
    """
    session, terminal = Session(writer, sampling, system), sys.stdin.isatty()
    if terminal:
        say("Ctrl-D leaves, and /help shows the commands.")
    editing = line_editing(cache_home() / "history") if terminal else contextlib.nullcontext()
    with keyboard_interrupts(), editing:
        while not session.ended and (line := _ask()) is not None:
            session.take(line)


class Session:
    """A model of chats answers in a conversation; any other one goes on from each prompt. Each text has a new seed."""

    def __init__(self, writer: Writer, sampling: Sampling, system: str = "") -> None:
        from mlx_tiny.model.writing import is_chat

        self.writer, self.sampling, self.ended = writer, sampling, False
        self._chat = is_chat(writer.model.tokenizer)
        self._begin(system)

    def take(self, line: str) -> None:
        """Obey a line if it is a command, and write on from it otherwise. What is wrong is said on stderr.

        An empty line is no message of a conversation.
        """
        if self._chat and not line.strip():
            return
        try:
            if line.startswith("/") and not line.startswith("//"):
                self._obey(*line[1:].split(maxsplit=1))
            else:
                self._write(line.removeprefix("/") if line.startswith("//") else line)
        except TinyError as error:
            say(str(error))
        except KeyboardInterrupt:
            show("")

    def _begin(self, system: str) -> None:
        """Begin a conversation with this message of the role system, or with none."""
        from mlx_tiny.model.writing import instruction

        self._beginning = self._conversation = instruction(self.writer.model.tokenizer, system, say)

    def _write(self, text: str) -> None:
        sampling = self.sampling
        self.sampling = dataclasses.replace(sampling, seed=sampling.seed + 1)
        if self._chat:
            self._conversation = self.writer.answer(self._conversation, text, sampling)
        else:
            self.writer.write(text, sampling)

    def _obey(self, name: str = "help", value: str | None = None) -> None:
        fields = {field.name: field for field in dataclasses.fields(Sampling)}
        name = {"temp": "temperature", "exit": "quit"}.get(name, name.replace("-", "_"))
        if name in fields and value is not None:
            settings = dataclasses.asdict(self.sampling)
            self.sampling = Sampling(**{**settings, name: _number(str(fields[name].type), value)})
        elif name in ("settings", *fields):
            settings = dataclasses.asdict(self.sampling)
            say("\n".join(f"{key}: {setting}" for key, setting in settings.items() if name in ("settings", key)))
            if name == "settings":
                say(self.writer.speed())
        elif name == "reset":
            self._conversation = self._beginning
        elif name == "system":
            self._begin(value or "")
        elif name == "quit":
            self.ended = True
        elif name == "help":
            say(_HELP)
        else:
            raise TinyError(f"There is no command /{name}", remedy="See /help, or write // before a prompt")


def _number(kind: str, value: str) -> float:
    try:
        return int(value) if kind == "int" else float(value)
    except ValueError as error:
        raise TinyError("The value of the setting is not a number", expected=kind, got=value) from error


def _ask() -> str | None:
    """The next line, or None at the end of the input."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


@contextlib.contextmanager
def line_editing(history: Path) -> Iterator[None]:
    """Edit lines as in a shell inside the block, where Python has readline, and keep them in the file `history`."""
    try:
        import readline
    except ImportError:
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(_HISTORY_LINES)
    try:
        yield
    finally:
        # A history that cannot be kept is no reason to fail at the end of a session.
        with contextlib.suppress(OSError, TinyError):
            make_folder(history.parent)
            readline.write_history_file(history)
