"""How the next token is drawn from the logits: a pipeline of functions, each from logits [V] to logits [V].

    penalized -> tempered -> likeliest (top-k) -> nucleus (top-p) -> above_share (min-p) -> a draw

The order is that of Hugging Face's transformers. A token that must not be drawn has minus infinity.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlx_tiny.config import Sampling

PENALIZED_TOKENS = 64
"""A repetition is one of a token among so many before it (the default of llama.cpp's `repeat_last_n`)."""


def draw(scores_V: mx.array, sampling: Sampling, key: mx.array, recent: Sequence[int] = ()) -> mx.array:
    """Draw a token.

    Args:
        scores_V: logits, float32.
        key: of the random numbers; at temperature 0 it plays no part.
        recent: the tokens that the repetition penalty is about.

    Returns:
        The token's id, a scalar.
    """
    scores_V = penalized(scores_V, recent, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return mx.argmax(scores_V)
    scores_V = tempered(scores_V, sampling.temperature)
    if sampling.top_k:
        scores_V = likeliest(scores_V, sampling.top_k)
    if sampling.top_p < 1:
        scores_V = nucleus(scores_V, sampling.top_p)
    if sampling.min_p:
        scores_V = above_share(scores_V, sampling.min_p)
    return mx.random.categorical(scores_V, key=key)


def penalized(scores_V: mx.array, recent: Sequence[int], penalty: float) -> mx.array:
    """Divide the positive logits of recent tokens by `penalty`, and multiply the negative ones by it.

    The penalty of CTRL (Keskar et al. 2019, section 4.1), as in transformers and mlx-lm, which also treat negative
    logits so that they become less likely. A token counts once, however often it occurred.
    """
    if penalty == 1 or not recent:
        return scores_V
    ids = mx.array(sorted(set(recent)))
    scores = scores_V[ids]
    return mx.put_along_axis(scores_V, ids, mx.where(scores > 0, scores / penalty, scores * penalty), axis=0)


def tempered(scores_V: mx.array, temperature: float) -> mx.array:
    """The logits divided by the temperature, the largest at 0."""
    # The largest is subtracted first, because large logits divided by a tiny temperature would overflow.
    return (scores_V - mx.max(scores_V)) / temperature


def likeliest(scores_V: mx.array, top_k: int) -> mx.array:
    """The `top_k` largest logits; minus infinity elsewhere."""
    order = mx.argsort(-scores_V)
    return _kept(scores_V, order, mx.arange(scores_V.size) < top_k)


def nucleus(scores_V: mx.array, top_p: float) -> mx.array:
    """The logits of the smallest set that has `top_p` of the probability (Holtzman et al. 2020)."""
    order = mx.argsort(-scores_V)
    probabilities = mx.softmax(scores_V[order])
    # A token is kept if the likelier ones together are below top_p, so the likeliest is always kept.
    return _kept(scores_V, order, (mx.cumsum(probabilities) - probabilities) < top_p)


def above_share(scores_V: mx.array, min_p: float) -> mx.array:
    """The logits of tokens at least `min_p` times as likely as the likeliest (Nguyen et al. 2024, "min-p")."""
    return mx.where(scores_V >= mx.max(scores_V) + float(np.log(min_p)), scores_V, -mx.inf)


def _kept(scores_V: mx.array, order: mx.array, kept: mx.array) -> mx.array:
    """The logits of the places in `order` where `kept` is true."""
    return mx.put_along_axis(mx.full(scores_V.shape, -mx.inf), order, mx.where(kept, scores_V[order], -mx.inf), axis=0)
