"""Prints what a model writes, token by token."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_tiny.cli.output import say, write

if TYPE_CHECKING:
    from mlx_tiny.config import Sampling
    from mlx_tiny.training.trained import TrainedModel


@dataclass
class Writer:
    """Prints texts of a model, and measures its speed."""

    model: TrainedModel
    stop_texts: tuple[str, ...] = ()
    """A text ends before the first of these."""
    documents: int | None = 1
    """Documents per text; None for no end."""
    tokens: int = 0
    """Tokens that were written so far."""
    timed_tokens: int = 0
    """Those of them after the first one of each text."""
    seconds: float = 0.0
    """Time that these took."""

    def write(self, prompt: str | bytes, sampling: Sampling) -> None:
        """Print a prompt and the text after it; nothing before the model's first token is there."""
        from mlx_tiny.model.healing import split_characters
        from mlx_tiny.model.writing import as_bytes

        self._print(split_characters(as_bytes(prompt))[0], prompt, sampling, turn=False)

    def answer(self, conversation: str, message: str, sampling: Sampling) -> str:
        """Print the answer to a message after the turns of a conversation; returns the conversation with both.

        Raises:
            TinyError: the model does not know the roles of a chat.
        """
        from mlx_tiny.model.writing import question

        asked = conversation + question(self.model.tokenizer, message, say)
        return asked + self._print("", asked, sampling, turn=True).strip()

    def speed(self) -> str:
        """Number of tokens, and tokens per second after the first one of each text."""
        rate = f", {self.timed_tokens / self.seconds:,.0f} tokens/s" if self.seconds else ""
        return f"{self.tokens} tokens{rate}"

    def _print(self, head: str, prompt: str | bytes, sampling: Sampling, *, turn: bool) -> str:
        from mlx_tiny.model.writing import write_text

        moments = list[float]()
        written = write_text(
            self.model.parameters,
            self.model.config,
            self.model.tokenizer,
            prompt,
            sampling,
            stop_texts=self.stop_texts,
            documents=self.documents,
            turn=turn,
            asked=self.model.implementation,
            mixed=self.model.mixed,
            watch=lambda _: moments.append(time.perf_counter()),
            notice=say,
        )
        text = ""
        for part in written:
            write(part if text else head + part)
            text += part
        write("\n" if text else f"{head}\n")
        if moments:
            self.tokens += len(moments)
            self.timed_tokens += len(moments) - 1
            self.seconds += moments[-1] - moments[0]
        return text
