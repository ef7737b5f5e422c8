"""Loads an export back in every program that is installed, and compares what they compute with the model itself."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_tiny.config import Sampling
from mlx_tiny.data.batches import documents_of, validation_windows
from mlx_tiny.errors import CheckFailed, TinyError
from mlx_tiny.export.gguf_tokenizer import changes
from mlx_tiny.export.model import Export
from mlx_tiny.export.questions import Answers, Questions
from mlx_tiny.export.target import INSTALL, TARGETS
from mlx_tiny.model.forward import logits
from mlx_tiny.model.generate import generate_tokens
from mlx_tiny.ops.implementations import decide
from mlx_tiny.tolerances import bounds
from mlx_tiny.tools.isolated import ProcessEnded, isolated
from mlx_tiny.tools.processes import installing
from mlx_tiny.tools.tables import Column, Table
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.evaluate import evaluate
from mlx_tiny.training.own_text import cached_text

TEXT_BYTES = 100_000
"""Of the text on which strength is compared."""
NEW_TOKENS = 100
_PROMPT_TOKENS, _LOGIT_TOKENS = 8, 1024
_SENTENCE = "Once upon a time there was a model that had nothing to say."


@dataclass(frozen=True)
class Program:
    """A program that loads models."""

    module: str
    """Of this folder, which asks it."""
    packages: tuple[str, ...]
    """What it needs."""
    install: str = INSTALL
    """How that is installed."""

    def missing(self) -> list[str]:
        """What of that is not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


PROGRAMS: dict[str, Program] = {
    "transformers": Program("in_transformers", ("transformers", "torch")),
    "mlx-lm": Program("in_mlx_lm", ("mlx_lm",)),
    "llama.cpp": Program("in_llama_cpp", ("xllamacpp",), f"Install it with `{installing('xllamacpp')}`"),
}


@dataclass(frozen=True)
class Comparison:
    """What a program computes with an export, beside what the model itself computes."""

    program: str
    """With its version."""
    logit_difference: float
    """The largest of some windows of text."""
    logit_excess: float
    """That difference in multiples of what the rounding of the dtype allows."""
    greedy_equal: int
    """How many of the likeliest tokens are equal before the first that is not."""
    greedy: int
    tie: bool
    """Whether that one is as likely as ours within rounding."""
    bits_per_byte: float
    own_bits_per_byte: float
    bits_excess: float
    """The difference of these in multiples of what is allowed."""
    texts_equal: int
    """Texts that the program's tokenizer turns into the same tokens."""
    texts: int
    exact: bool
    """Whether the dtype is that of the model, so that the likeliest tokens must be the same."""

    def faults(self) -> Iterator[str]:
        """What is not as it has to be."""
        if self.texts_equal < self.texts:
            yield f"{self.texts - self.texts_equal:,} of {self.texts:,} texts become other tokens"
        if not self.logit_excess <= 1:
            yield f"logits differ by up to {self.logit_difference:.2g}"
        if not self.bits_excess <= 1:
            yield f"{self.bits_per_byte:.6f} bits per byte instead of {self.own_bits_per_byte:.6f}"
        if self.exact and self.greedy_equal < self.greedy and not self.tie:
            yield f"the likeliest token after {self.greedy_equal} is another"


def compare(
    export: Export,
    target: str,
    path: Path,
    tell: Callable[[str], None],
    waiting: Callable[[str], AbstractContextManager[object]] = contextlib.nullcontext,
) -> list[Comparison]:
    """Load the export at `path` in every installed program that can read it.

    Args:
        tell: called with lines about what is not compared, and about the text.
        waiting: makes the context of each phase from its name.

    Raises:
        CheckFailed: a program cannot load it, or cannot compute with it.
    """
    names = []
    for name in TARGETS[target].programs:
        if missing := PROGRAMS[name].missing():
            lacking = f"{' and '.join(missing)} is not installed"
            tell(f"not checked in {name}, because {lacking}. {PROGRAMS[name].install}")
        else:
            names.append(name)
    if not names:
        return []
    with waiting("what the model itself computes"):
        texts, kind = _texts(export)
        questions, stream, text_bytes = _questions(export, texts)
        if target == "gguf":
            sure = [text for text in texts if not changes(export.model.tokenizer, text)]
            questions = dataclasses.replace(questions, texts=sure)
            if not sure:
                tell("token ids are not compared, because llama.cpp is known to change each of these texts")
        own = _own_answers(export, questions, stream, text_bytes)
    bits = own.nats / math.log(2) / text_bytes
    tell(f"compared on {text_bytes:,} bytes of {kind}; the model itself has {bits:.6f} bits per byte")
    found = []
    for name in names:
        with waiting(f"loading the export in {name}"):
            other = _answers(name, path, questions)
        found.append(_comparison(export, questions, own, other, text_bytes, exact=export.dtype == "float32"))
    return found


def require_equal(comparisons: Sequence[Comparison], path: Path) -> None:
    """Raise CheckFailed where a program computes something else than the model."""
    found = [f"{each.program}: {', '.join(faults)}" for each in comparisons if (faults := list(each.faults()))]
    if found:
        raise CheckFailed(
            f"The export at {path} is not the model that it should be",
            got="; ".join(found),
            remedy="Do not use it, and report this with the versions of the programs",
        )


def table(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """The comparisons as a table with its legend."""
    columns = [
        Column[Comparison]("logits", lambda row: f"{row.logit_difference:.1e}", "largest difference to the model"),
        Column[Comparison]("tokens", _greedy_cell, "likeliest tokens in a row that are the same, of all compared"),
        Column[Comparison]("bits per byte", lambda row: f"{row.bits_per_byte:.6f}"),
        Column[Comparison](
            "texts", lambda row: f"{row.texts_equal}/{row.texts}", "documents that become the same tokens"
        ),
    ]
    marks = [("~", "the next token is as likely as the model's, within rounding")]
    printed = Table[Comparison](lambda row: row.program, columns, marks=marks)
    yield from printed.lines(comparisons, "loaded by")
    yield from printed.legend()


def _greedy_cell(row: Comparison) -> str:
    return f"{row.greedy_equal}{'~' * row.tie}/{row.greedy}"


def _texts(export: Export) -> tuple[list[str], str]:
    """Documents of about `TEXT_BYTES` bytes together, and what they are."""
    model, found = export.model, list[str]()
    corpus = None if model.run is None else cached_text(RunFolder(model.run))
    parts = () if corpus is None else corpus.parts
    for part in parts:
        room = TEXT_BYTES // len(parts)
        for ids in documents_of(part.corpus.valid, model.tokenizer.bos):
            if room <= 0:
                break
            found.append(model.tokenizer.decode(ids.tolist()).encode()[:room].decode(errors="ignore"))
            room -= len(found[-1].encode())
    if any(found):
        return found, "the run's validation text"
    for seed in range(4):
        written = generate_tokens(
            model.parameters,
            model.config,
            [model.tokenizer.bos],
            Sampling(seed=seed, max_tokens=model.config.context),
            stop=(model.tokenizer.bos,),
            asked=model.implementation,
        )
        found.append(model.tokenizer.decode(written))
    if not any(found):
        return [_SENTENCE], "a sentence, because the run's own text is not in the cache, and the model writes none"
    return found, "text that the model has written, because the run's own is not in the cache"


def _questions(export: Export, texts: list[str]) -> tuple[Questions, np.ndarray, int]:
    """What programs are asked; the texts as a token file; and their bytes."""
    config, tokenizer = export.model.config, export.model.tokenizer
    stream = [token for text in texts for token in (tokenizer.bos, *tokenizer.encode(text))]
    tokens = np.array([*stream, tokenizer.bos], dtype=np.uint16)
    prompt = stream[: max(1, min(_PROMPT_TOKENS, config.context // 4))]
    questions = Questions(
        validation_windows(tokens, config.context),
        max(1, _LOGIT_TOKENS // config.context),
        prompt,
        min(NEW_TOKENS, config.context - len(prompt)),
        texts,
        export.custom_code,
    )
    return questions, tokens, sum(len(text.encode()) for text in texts)


def _own_answers(export: Export, questions: Questions, tokens: np.ndarray, text_bytes: int) -> Answers:
    """What the model itself computes."""
    model, windows = export.model, questions.windows
    likeliest = Sampling(temperature=0, max_tokens=questions.new_tokens)
    return Answers(
        logits=_own_logits(export, windows.inputs[: questions.logit_rows]),
        nats=evaluate(model.parameters, model.config, tokens, text_bytes, asked=model.implementation).nats,
        greedy=list(
            generate_tokens(model.parameters, model.config, questions.prompt, likeliest, asked=model.implementation)
        ),
        ids=[[model.tokenizer.bos, *model.tokenizer.encode(text)] for text in questions.texts],
        program="mlx_tiny",
    )


def _own_logits(export: Export, input_BT: np.ndarray) -> np.ndarray:
    """Float32 [B, T, V]."""
    model = export.model
    window = dataclasses.replace(model.config, context=input_BT.shape[1])
    implementations = decide(window, batch=len(input_BT), asked=model.implementation)
    return np.asarray(logits(model.parameters, model.config, mx.array(input_BT), implementations)[0])


def _answers(name: str, path: Path, questions: Questions) -> Answers:
    """What a program computes, in another process: it may end that, or change settings of MLX."""
    module = f"mlx_tiny.export.{PROGRAMS[name].module}"
    try:
        answers: Answers = next(isolated(module, "answers", str(path.absolute()), questions))
    except (TinyError, ProcessEnded, RuntimeError) as error:
        raise CheckFailed(
            f"{name} cannot use the export at {path}",
            got=str(error).rstrip().rsplit("\n", 1)[-1],
            remedy="Do not use it there, and report this with the version of the program",
        ) from error
    return answers


def _comparison(
    export: Export, questions: Questions, own: Answers, other: Answers, text_bytes: int, *, exact: bool
) -> Comparison:
    bits, own_bits = (answers.nats / math.log(2) / text_bytes for answers in (other, own))
    allowed = bounds("export", export.dtype)
    logits_BTV = other.logits
    if other.are_log_probabilities:
        logits_BTV = logits_BTV + (own.logits - logits_BTV).mean(axis=-1, keepdims=True)
    equal = next((i for i, pair in enumerate(zip(own.greedy, other.greedy, strict=False)) if pair[0] != pair[1]), None)
    tie = False
    if equal is not None:
        scores_V = _own_logits(export, np.array([[*questions.prompt, *own.greedy[:equal]]]))[0, -1]
        pair = scores_V[[own.greedy[equal], other.greedy[equal]]]
        # Two scores that have moved towards each other, each as far as is allowed.
        tie = bool(pair[0] - pair[1] <= 2 * (allowed.relative * np.abs(own.logits).max() + allowed.absolute))
    return Comparison(
        program=other.program,
        logit_difference=float(np.abs(logits_BTV - own.logits).max()),
        logit_excess=allowed.excess(logits_BTV, own.logits),
        greedy_equal=len(other.greedy) if equal is None else equal,
        greedy=questions.new_tokens,
        tie=tie,
        bits_per_byte=bits,
        own_bits_per_byte=own_bits,
        bits_excess=bounds("export bits per byte", export.dtype).excess(bits, own_bits),
        texts_equal=sum(ids == right for ids, right in zip(other.ids, own.ids, strict=True)),
        texts=len(own.ids),
        exact=exact,
    )
