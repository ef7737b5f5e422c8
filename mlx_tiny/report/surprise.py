"""How surprising each piece of a text is to the model of a run, and to counting."""

from __future__ import annotations

import codecs
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlx_tiny.data.batches import documents_of
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.report.record import Report
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.own_text import cached_text
from mlx_tiny.training.scoring import score_texts
from mlx_tiny.training.trained import load_model

_LEAST_BYTES, _MOST_CHARACTERS, _MOST_DOCUMENTS = 300, 900, 200
MODEL, COUNTING, MIXED = "model", "counting", "both mixed"


@dataclass(frozen=True)
class Surprise:
    """A text in pieces of whole characters, and the bits that each of them has cost."""

    origin: str
    """Where the text is from, in words."""
    pieces: list[str]
    bits: dict[str, list[float]]
    """By who was asked: `MODEL`, and of a run that counts also `COUNTING` and `MIXED`."""

    def bits_per_byte(self, asked: str) -> float:
        """The mean over the text."""
        return sum(self.bits[asked]) / len("".join(self.pieces).encode())


def surprise_of(run: RunFolder, report: Report, tell: Callable[[str], None] = lambda _: None) -> Surprise:
    """Of the first validation document of some length, or of the run's own sample where the cache has the text no more.

    Args:
        tell: as for `load_model`.

    Raises:
        TinyError: the weights are missing or damaged, or there is no text.
    """
    model = load_model(run.path, tell)
    origin, text = _text(run, report, model.tokenizer)
    arguments = (model.parameters, model.config, model.tokenizer, [text])
    (score,) = score_texts(*arguments, asked=model.implementation)
    nats = {MODEL: -score.log_probabilities}
    if model.mixed is not None:
        tokens = np.concatenate([[model.tokenizer.bos], score.tokens]).astype(np.uint16)
        nats[COUNTING] = model.mixed.grams.read(tokens)[0]
        (mixed,) = score_texts(*arguments, asked=model.implementation, mixed=model.mixed)
        nats[MIXED] = -mixed.log_probabilities
    # The end of the document is left out, since the text may have been cut.
    pieces, groups = _pieces(model.tokenizer, score.tokens[:-1].tolist())
    bits = {asked: np.add.reduceat(values[:-1] / math.log(2), groups).tolist() for asked, values in nats.items()}
    return Surprise(origin, pieces, bits)


def _text(run: RunFolder, report: Report, tokenizer: Tokenizer) -> tuple[str, str]:
    corpus = cached_text(run)
    if corpus is not None:
        part = corpus.parts[0].corpus
        documents = itertools.islice(documents_of(part.valid, tokenizer.bos), _MOST_DOCUMENTS)
        found = [tokenizer.decode(document.tolist()) for document in documents]
        long = next((text for text in found if len(text.encode()) >= _LEAST_BYTES), max(found, key=len, default=""))
        if long:
            learned = report.evaluated_training_text
            origin = "a text that it was trained on" if learned else "a validation text, which it was not trained on"
            cut = _beginning(long)
            return origin if cut == long else f"the beginning of {origin}", cut
    if sample := next(filter(None, report.samples), ""):
        return "a sample that it has written itself, as its validation text is not in the cache any more", sample
    raise TinyError(
        f"There is no text left to show the surprise of the run at {run.path} on",
        remedy="Restore the cache (MLX_TINY_HOME)",
    )


def _beginning(text: str) -> str:
    """About so much of a text, up to the end of a word if there is one."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    cut = text[:_MOST_CHARACTERS]
    return cut[: cut.rfind(" ")] if " " in cut else cut


def _pieces(tokenizer: Tokenizer, tokens: list[int]) -> tuple[list[str], list[int]]:
    """The text of tokens in whole characters, and the number of the first token of each such piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces, groups, first = list[str](), list[int](), 0
    for number, token in enumerate(tokens):
        last = number == len(tokens) - 1
        piece = decoder.decode(tokenizer.piece_bytes[token], final=last)
        if piece or last:
            pieces.append(piece)
            groups.append(first)
            first = number + 1
    return pieces, groups
