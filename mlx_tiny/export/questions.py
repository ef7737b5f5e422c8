"""What a program is asked that has loaded an exported model, so that its answers can be compared with ours.

A module `in_PROGRAM.py` of this folder has a function `answers`, which runs in another process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlx_tiny.data.batches import ValidationWindows

_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Questions:
    """What every program is asked; plain values, which can be sent to another process."""

    windows: ValidationWindows
    """All windows of some documents, by the protocol of `training/evaluate.py`."""
    logit_rows: int
    """The logits of so many windows, the first ones, are wanted."""
    prompt: list[int]
    """Tokens, BOS among them, that are continued by the likeliest token `new_tokens` times, also beyond an end."""
    new_tokens: int
    """Few enough that prompt and tokens fit in the context."""
    texts: list[str]
    """Documents, whose token ids are wanted as the program's tokenizer gives them by default."""
    custom_code: bool = False
    """Whether the export has code, which the program is to run."""


@dataclass(frozen=True)
class Answers:
    """What a program computes."""

    logits: np.ndarray
    """Float32 [logit_rows, T, V]."""
    nats: float
    """Negative log-likelihood of all targets of the windows that count."""
    greedy: list[int]
    """The likeliest tokens after the prompt."""
    ids: list[list[int]]
    """Of each text."""
    program: str
    """Name and version."""
    are_log_probabilities: bool = False
    """Whether a number for each position was taken from the logits, so that they are log-probabilities."""


def likelihoods(questions: Questions, logits: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, float]:
    """The logits of the first windows, and the nats of all of them.

    Args:
        logits: takes token ids [B, T], at most some thousand of them, and returns logits [B, T, V].
    """
    windows, kept, nats = questions.windows, list[np.ndarray](), 0.0
    rows = max(1, _BATCH_TOKENS // windows.inputs.shape[1])
    for start in range(0, len(windows.inputs), rows):
        part = slice(start, start + rows)
        logits_BTV = logits(windows.inputs[part]).astype(np.float32, copy=False)
        if start < questions.logit_rows:
            kept.append(logits_BTV[: questions.logit_rows - start])
        nats += float(_losses(logits_BTV, windows.targets[part])[windows.mask[part]].sum())
    return np.concatenate(kept), nats


def _losses(logits_BTV: np.ndarray, target_BT: np.ndarray) -> np.ndarray:
    """Negative log-likelihoods in float64 [B, T]."""
    losses_BT: np.ndarray = -np.take_along_axis(log_probabilities(logits_BTV), target_BT[..., None], axis=-1)[..., 0]
    return losses_BT


def log_probabilities(logits_BTV: np.ndarray) -> np.ndarray:
    """Those of logits, in float64."""
    scores_BTV = logits_BTV.astype(np.float64)
    scores_BTV -= scores_BTV.max(axis=-1, keepdims=True)
    scores_BTV -= np.log(np.exp(scores_BTV).sum(axis=-1, keepdims=True))
    return scores_BTV
