"""Strength in bits per byte, by one fixed protocol.

The validation file has a BOS before each document and one at its end. It is cut into non-overlapping windows as long as
the model's context; every token but the first is predicted once, from the tokens before it in its window. The negative
log-likelihoods are added up in float64 and divided by the bytes of the documents' text; the ends of documents are
predicted too, but have no bytes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import starmap

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig, RunConfig
from mlx_tiny.data.batches import ValidationWindows, validation_windows
from mlx_tiny.data.documents import DocumentHash
from mlx_tiny.data.prepared import Part
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.files import hash_text
from mlx_tiny.linux.lanes import lane, lanes
from mlx_tiny.model.counting import Floats
from mlx_tiny.model.forward import token_losses, token_predictions
from mlx_tiny.model.memory import lanes_at_once, windows_bytes
from mlx_tiny.model.mixing import Mixed, Predictions
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.implementations import AUTO, decide
from mlx_tiny.ops.operation import dtype_name
from mlx_tiny.training.device_errors import evaluated
from mlx_tiny.training.documents import Blocks, DocumentsOfText

PROTOCOL = "all documents, BOS before each and at the end, consecutive windows of the model's context, float64 sum, v2"
"""Name of the protocol; a change of the protocol changes the name."""
BATCH_TOKENS = 4096
"""Tokens that are evaluated at once, where nobody asks for fewer."""
_LITTLE_BYTES = 32 << 20


@dataclass(frozen=True)
class Evaluation:
    """Result of one evaluation."""

    nats: float
    """Total negative log-likelihood."""
    tokens: int
    """Predicted tokens."""
    bytes: float
    """UTF-8 bytes of the text that these tokens encode."""
    with_counting_nats: float | None = None
    """The total under the mixture of the model with counting; None where there is none."""
    counting_nats: float | None = None
    """The total under that counting alone; None where there is none."""
    blocks: Blocks | None = field(default=None, compare=False, repr=False)
    """The totals by document; None of a mixture of texts, and of texts that are not those of a run."""

    @property
    def bits_per_byte(self) -> float:
        """Of the model alone."""
        return self.nats / math.log(2) / self.bytes

    @property
    def with_counting_bits_per_byte(self) -> float | None:
        return None if self.with_counting_nats is None else self.with_counting_nats / math.log(2) / self.bytes

    @property
    def counting_bits_per_byte(self) -> float | None:
        return None if self.counting_nats is None else self.counting_nats / math.log(2) / self.bytes

    @property
    def loss(self) -> float:
        """Mean nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Per token; comparable only between models with the same tokenizer."""
        return math.exp(min(self.loss, 700.0))


def combined(shares: Sequence[float], evaluations: Sequence[Evaluation]) -> Evaluation:
    """The strength on a mixture in which each text has its share of the bytes; with all tokens that were predicted."""
    if len(evaluations) == 1:
        return evaluations[0]
    weights = [share / each.bytes for share, each in zip(shares, evaluations, strict=True)]
    tokens = sum(each.tokens for each in evaluations)
    scale = tokens / sum(weight * each.tokens for weight, each in zip(weights, evaluations, strict=True))

    def mean(nats: Iterable[float]) -> float:
        return scale * sum(weight * each for weight, each in zip(weights, nats, strict=True))

    def mean_if_known(nats: Iterable[float | None]) -> float | None:
        known = [each for each in nats if each is not None]
        return mean(known) if len(known) == len(evaluations) else None

    return Evaluation(
        mean(each.nats for each in evaluations),
        tokens,
        scale * sum(shares),
        mean_if_known(each.with_counting_nats for each in evaluations),
        mean_if_known(each.counting_nats for each in evaluations),
    )


def documents_of_run(parts: Sequence[Part], evaluations: Sequence[Evaluation]) -> list[DocumentsOfText]:
    """Strength by document on each text of a run, from evaluations of whole validation texts."""
    return [
        DocumentsOfText(fingerprint(part.corpus.valid_text_hash), part.share, each.blocks)
        for part, each in zip(parts, evaluations, strict=True)
        if each.blocks is not None
    ]


def tokens_at_once(config: RunConfig) -> int:
    """Tokens that a run evaluates at once: those of a step, whose memory they fit in, or what takes little memory."""
    train, model = config.train, config.model
    step = train.batch_size // train.micro_batches * model.context
    little = (
        _LITTLE_BYTES * model.context / windows_bytes(model, 1, train.dtype, train.implementation, mixed=train.counting)
    )
    return min(BATCH_TOKENS, max(step, int(little)))


def evaluate(
    parameters: Parameters,
    config: ModelConfig,
    tokens: np.ndarray,
    text_bytes: float,
    *,
    limit_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    dtype: mx.Dtype = mx.float32,
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> Evaluation:
    """Bits per byte of `tokens` under the model.

    Args:
        tokens: uint16 [n], a prepared validation file.
        text_bytes: UTF-8 bytes of the documents' text in the whole file.
        limit_tokens: evaluate about this many tokens from the start of the file; None evaluates all.
        batch_tokens: tokens evaluated at once, by all lanes together; it changes the result by rounding only.
        dtype: of activations.
        asked: implementations of the operations, in the form of `--implementation`.
        mixed: counting, to give the strength of its mixture with the model too.

    Returns:
        Totals; with a limit, the bytes are the same share of `text_bytes` as the tokens are of all predicted tokens.
    """
    if mixed is not None:
        said = predictions(
            parameters,
            config,
            tokens,
            limit_tokens=limit_tokens,
            batch_tokens=batch_tokens,
            dtype=dtype,
            asked=asked,
        )
        return evaluation_with_counting(mixed, tokens, text_bytes, said)
    total, count = 0.0, 0
    for nats in token_nats(
        parameters, config, tokens, limit_tokens=limit_tokens, batch_tokens=batch_tokens, dtype=dtype, asked=asked
    ):
        total, count = total + float(nats.sum()), count + len(nats)
    return Evaluation(total, count, count * text_bytes / (len(tokens) - 1))


def token_nats(
    parameters: Parameters,
    config: ModelConfig,
    tokens: np.ndarray,
    *,
    limit_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    dtype: mx.Dtype = mx.float32,
    asked: str = AUTO,
) -> Iterator[Floats]:
    """Negative log-likelihood of each token after the first, in their order, some windows at a time.

    See `evaluate` for the arguments.
    """
    windows = validation_windows(tokens, config.context, limit_tokens)
    rows = _rows(config, batch_tokens)
    return _of_tokens(windows, window_losses(parameters, config, windows, rows, dtype=dtype, asked=asked))


def predictions(
    parameters: Parameters,
    config: ModelConfig,
    tokens: np.ndarray,
    *,
    limit_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    dtype: mx.Dtype = mx.float32,
    asked: str = AUTO,
) -> Iterator[Predictions]:
    """What the model says of each token after the first, in their order, some windows at a time.

    See `evaluate` for the arguments; the windows are the same.
    """
    windows = validation_windows(tokens, config.context, limit_tokens)
    rows = _rows(config, batch_tokens)
    said = window_losses(parameters, config, windows, rows, dtype=dtype, asked=asked, function=token_predictions)
    return starmap(Predictions, _of_tokens(windows, said))


def _of_tokens(windows: ValidationWindows, found: Iterable[tuple[slice, Floats]]) -> Iterator[Floats]:
    """What `window_losses` yields, without what has no meaning: [n], or [3, n]."""
    for part, values in found:
        yield values[..., windows.mask[part]]


def evaluation_with_counting(
    mixed: Mixed, tokens: np.ndarray, text_bytes: float, said: Iterable[Predictions]
) -> Evaluation:
    """Strength of a model alone and of its mixture with counting.

    Args:
        tokens, text_bytes: as for `evaluate`.
        said: predictions of the first tokens after the first one, in their order.
    """
    totals, count = np.zeros(3), 0
    for part in all_nats(mixed, tokens, said):
        totals += [values.sum() for values in part]
        count += len(part[0])
    nats, with_counting, counting = totals.tolist()
    return Evaluation(nats, count, count * text_bytes / (len(tokens) - 1), with_counting, counting)


def all_nats(mixed: Mixed, tokens: np.ndarray, said: Iterable[Predictions]) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Negative log-likelihoods of each token under a model alone, under its mixture with counting, and under counting.

    Counting reads the last tokens before each, wherever the windows of the model begin.

    Args:
        tokens: as for `evaluate`.
        said: predictions of the first tokens after the first one, in their order.
    """
    end = 1
    for part in said:
        begin, end = max(0, end - mixed.grams.orders), end + len(part.nats)
        yield part.nats, *mixed.both_nats(np.asarray(tokens[begin:end]), part)


def _rows(config: ModelConfig, batch_tokens: int) -> int:
    """Windows that each lane computes at once."""
    return max(1, batch_tokens // config.context // len(lanes()))


def window_losses(
    parameters: Parameters,
    config: ModelConfig,
    windows: ValidationWindows,
    rows: int,
    *,
    dtype: mx.Dtype = mx.float32,
    asked: str = AUTO,
    function: Callable[..., mx.array] = token_losses,
) -> Iterator[tuple[slice, Floats]]:
    """Negative log-likelihoods of the targets of `windows`, in nats, computed on all lanes.

    Args:
        windows: of one length, at most the model's context.
        rows: windows that are computed at once.
        function: `token_losses`, or `token_predictions` for all that mixing with counting asks.

    Raises:
        TinyError: not even the windows of one lane fit in memory.

    Yields:
        Which windows, and float64 [B, T], or [3, B, T]; what `windows.mask` leaves out has no meaning.
    """
    window = dataclasses.replace(config, context=windows.inputs.shape[1])
    implementations = decide(window, batch=rows, dtype=dtype_name(dtype), asked=asked)
    at_once = lanes_at_once(window, min(rows, len(windows.inputs)), dtype_name(dtype), asked)
    slices = [slice(start, start + rows) for start in range(0, len(windows.inputs), rows)]
    for first in range(0, len(slices), at_once):
        group = slices[first : first + at_once]
        losses = []
        for index, part in enumerate(group):
            with lane(index):
                input_BT, target_BT = mx.array(windows.inputs[part]), mx.array(windows.targets[part])
                losses.append(function(parameters, config, input_BT, target_BT, implementations, dtype=dtype))
        for part, losses_BT in zip(group, evaluated(losses), strict=True):
            yield part, losses_BT


def evaluate_texts(
    parameters: Parameters,
    config: ModelConfig,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> tuple[Evaluation, str]:
    """Bits per byte of documents that are not prepared data, by the same protocol; and their `fingerprint`.

    Raises:
        TinyError: there is no text.
    """
    boundary = np.array([tokenizer.bos], dtype=np.uint16)
    parts, size, text_hash = [], 0, DocumentHash()
    for text in texts:
        parts += [boundary, np.array(tokenizer.encode(text), dtype=np.uint16)]
        raw = text.encode()
        text_hash.add(raw)
        size += len(raw)
    if not size:
        raise TinyError("There is no text to evaluate", expected="at least one document that is not empty")
    tokens = np.concatenate([*parts, boundary])
    evaluation = evaluate(parameters, config, tokens, size, asked=asked, mixed=mixed)
    return evaluation, fingerprint(text_hash.value())


def fingerprint(text_hash: str) -> str:
    """Hash of the validation text and the protocol: two results in bits per byte are comparable where it is equal.

    Vocabulary and context are not part of it: they belong to the model.

    Args:
        text_hash: of the documents.
    """
    return hash_text(PROTOCOL, text_hash)[:12]
