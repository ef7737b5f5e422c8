"""Bits per byte: how many bits the model needs for each byte of a text that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.reference.model import Parameters, logits, token_losses


@dataclass(frozen=True)
class Evaluation:
    """Result of one evaluation."""

    nats: float
    """Total negative log-likelihood."""
    tokens: int
    """Predicted tokens."""
    bytes: float
    """Bytes of the text that these tokens encode."""

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes


def evaluate(
    parameters: Parameters,
    config: ModelConfig,
    tokens: np.ndarray,
    text_bytes: float,
    *,
    limit_tokens: int | None = None,
    batch_tokens: int = 4096,
    dtype: torch.dtype | None = None,
    attention: str = "plain",
) -> Evaluation:
    """Predict every token after the first once, from those before it in its window.

    The windows do not overlap. Each has `config.context` predictions, and the last one those that are left. The
    log-likelihoods are added up in float64.

    Args:
        tokens: integers [n], a prepared validation file.
        text_bytes: bytes of text in the whole file.
        limit_tokens: how many tokens to predict, from the first on; None predicts all.
        batch_tokens: tokens predicted at once.
        dtype, attention: see `model.logits`.

    Raises:
        TinyError: fewer than two tokens.
    """
    nats, count = 0.0, 0
    for part in token_nats(
        parameters,
        config,
        tokens,
        limit_tokens=limit_tokens,
        batch_tokens=batch_tokens,
        dtype=dtype,
        attention=attention,
    ):
        nats, count = nats + float(part.sum()), count + len(part)
    return Evaluation(nats, count, count * text_bytes / (len(tokens) - 1))


def token_nats(
    parameters: Parameters,
    config: ModelConfig,
    tokens: np.ndarray,
    *,
    limit_tokens: int | None = None,
    batch_tokens: int = 4096,
    dtype: torch.dtype | None = None,
    attention: str = "plain",
) -> Iterator[np.ndarray]:
    """Negative log-likelihoods of the tokens of `evaluate`, which see for arguments, some at a time: float64 [n]."""

    def nats(input_BT: torch.Tensor, target_BT: torch.Tensor) -> torch.Tensor:
        return token_losses(parameters, config, input_BT, target_BT, dtype=dtype, attention=attention)

    return _computed(nats, parameters, _windows(config.context, tokens, limit_tokens, batch_tokens))


def predictions(
    parameters: Parameters,
    config: ModelConfig,
    tokens: np.ndarray,
    *,
    limit_tokens: int | None = None,
    batch_tokens: int = 4096,
    dtype: torch.dtype | None = None,
    attention: str = "plain",
) -> Iterator[np.ndarray]:
    """What mixing with counting asks of the model, for the same tokens as `evaluate`, some at a time: float64 [3, n].

    The negative log-likelihood of each token, the entropy of its distribution, and the log-probability of the likeliest
    token there, in nats.
    """

    def said(input_BT: torch.Tensor, target_BT: torch.Tensor) -> torch.Tensor:
        scores_BTV = logits(parameters, config, input_BT, dtype=dtype, attention=attention)
        log_BTV = torch.log_softmax(scores_BTV, dim=-1)
        nats_BT = -log_BTV.gather(-1, target_BT[..., None])[..., 0]
        return torch.stack([nats_BT, -(log_BTV.exp() * log_BTV).sum(-1), log_BTV.amax(-1)])

    return _computed(said, parameters, _windows(config.context, tokens, limit_tokens, batch_tokens))


def _computed(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], parameters: Parameters, parts: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """What a function of inputs and targets [B, T] gives for each part, [..., B, T], as float64 [..., B T]."""
    for part in parts:
        with torch.inference_mode():
            found = function(*torch.from_numpy(part).to(parameters["embedding"].device))
        yield found.flatten(-2).cpu().double().numpy()


def _windows(T: int, tokens: np.ndarray, limit_tokens: int | None, batch_tokens: int) -> list[np.ndarray]:
    """Inputs and targets, [2, B, T] each; the last part is the window that is not whole."""
    count = min(len(tokens) - 1, len(tokens) if limit_tokens is None else limit_tokens)
    if count < 1:
        raise TinyError("The validation data is too short", expected="at least 2 tokens", got=len(tokens))
    taken = np.asarray(tokens[: count + 1], dtype=np.int64)
    whole = count // T * T
    windows = np.stack([taken[:whole].reshape(-1, T), taken[1 : whole + 1].reshape(-1, T)])
    rows = max(1, batch_tokens // T)
    parts = [windows[:, start : start + rows] for start in range(0, windows.shape[1], rows)]
    if whole < count:
        parts.append(np.stack([taken[None, whole:-1], taken[None, whole + 1 :]]))
    return parts
