"""A model mixed with counting: p = (1 - w) p_model + w p_counting, which adds up to 1 whatever w is.

The weight w of counting is a logistic function of a few features, a gate. They depend on the context and on what the
model expects after it, never on the token that follows, so that one w holds for the whole distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlx_tiny.errors import TinyError
from mlx_tiny.model.counting import ORDERS, Contexts, Floats, KneserNey, Tokens

PRIOR_SHARE = 0.5
"""The weight of counting where there is no text to fit it on: at most one bit per token worse than the better part."""
FEATURES = ORDERS + 14
"""Which order is the longest known; the logarithms of four counts, squared too, and times the model's entropy; this
entropy, and the model's largest log-probability."""
_SCALE = 4.0
"""All features but the order are divided by it, so that they are about as large as 1."""
_PULL = 0.3
"""Nats per square of a weight's distance from its start, so that few tokens change little."""
_LEAST_TOKENS = 100
"""With 20 tokens a gate was worse than a constant, and with 100 a little better."""
_PRIOR_TOKENS = 10.0
"""Tokens that the prior counts for when the constant weight is chosen, half of them for each part."""
_NEARLY_0 = 1e-6
"""The weight of what adds nothing."""
_COST_OF_PRIOR = 1.0
"""Nats; half of what the prior costs where all tokens are for one of the parts."""
_BISECTIONS, _MOST_STEPS, _MOST_HALVINGS = 40, 50, 30
_LEAST_GAIN = 1e-7
"""Nats per token; a step that gains less is the last one."""


class Predictions(NamedTuple):
    """What a model says of some tokens, each given those before it; float64 [n] each, in nats."""

    nats: Floats
    """Negative log-likelihood of the token."""
    entropy: Floats
    """Of the distribution of the token."""
    top: Floats
    """Log-probability of the likeliest token."""


@dataclass(frozen=True)
class Gate:
    """The weight of counting as a logistic function of the features."""

    weights: tuple[float, ...]

    @staticmethod
    def constant(share: float = PRIOR_SHARE) -> Gate:
        """The same weight of counting, between 0 and 1, everywhere."""
        logit = float(np.log(share) - np.log1p(-share))
        return Gate((logit,) * ORDERS + (0.0,) * (FEATURES - ORDERS))

    def __post_init__(self) -> None:
        if len(self.weights) != FEATURES or not np.isfinite(self.weights).all():
            raise TinyError(
                "The weights of the gate do not fit", expected=f"{FEATURES} finite numbers", got=self.weights
            )

    def logits(self, features: Floats) -> Floats:
        """The logit of the weight of counting, [n].

        Args:
            features: [n, F].
        """
        logits: Floats = features @ np.array(self.weights)
        return logits


@dataclass(frozen=True)
class Mixed:
    """Counting, and the gate with which a model is mixed with it."""

    grams: KneserNey
    gate: Gate

    def nats(self, tokens: Tokens, predictions: Predictions) -> Floats:
        """Negative log-likelihoods under the mixture, float64 [n].

        Args:
            tokens: uint16, at least n + 1; the last n of them are those that are predicted.
            predictions: of the model, for these n.
        """
        return self.both_nats(tokens, predictions)[0]

    def both_nats(self, tokens: Tokens, predictions: Predictions) -> tuple[Floats, Floats]:
        """Negative log-likelihoods under the mixture, and under counting alone, [n] each; see `nats` for arguments."""
        counted, features = _read(self.grams, tokens, predictions)
        return _mixed(self.gate.logits(features), predictions.nats, counted), counted

    def shares(self, tokens: Tokens, predictions: Predictions) -> Floats:
        """The weight of counting in each prediction, [n]; see `nats` for the arguments."""
        return _sigmoid(self.gate.logits(_read(self.grams, tokens, predictions)[1]))

    def log_probabilities(self, context: Sequence[int], scores_V: Floats) -> Floats:
        """Log-probability of each token after a context, float64 [V].

        Args:
            context: the tokens before.
            scores_V: the model's logits after them, finite.
        """
        if len(scores_V) != self.grams.vocabulary_size:
            raise TinyError(
                "Counting and model have different vocabularies",
                expected=f"{self.grams.vocabulary_size} logits",
                got=len(scores_V),
            )
        log_V = log_softmax(scores_V)
        top, entropy = log_V.max(), -(np.exp(log_V) * log_V).sum()
        counted_V, known = self.grams.after(context)
        logit = self.gate.logits(_features(known, np.array([entropy]), np.array([top])))
        return -_mixed(logit, -log_V, -np.log(counted_V))


def log_softmax(scores: Floats) -> Floats:
    """Log-probabilities of logits, [..., V]."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    log_probabilities: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probabilities


def gathered(parts: Iterable[Predictions]) -> Predictions:
    """Predictions of consecutive tokens as one."""
    return Predictions(*map(np.concatenate, zip(*parts, strict=True)))


def fit(grams: KneserNey, tokens: Tokens, predictions: Predictions) -> Gate:
    """The gate under which a text is likeliest; on it, it is as good as the constant from which it starts, or better.

    That is the best constant weight, which the prior draws towards a half where there are few tokens. It keeps model
    or counting alone where that is better by what the prior costs, as one of them adds nothing to the other then.

    Args:
        grams: of other text, or the gate would trust counting too much.
        tokens, predictions: as for `Mixed.nats`; few predictions give a constant, and none gives `PRIOR_SHARE`.
    """
    if not len(predictions.nats):
        return Gate.constant()
    counted, features = _read(grams, tokens, predictions)
    start = Gate.constant(_best_constant(predictions.nats, counted))
    few = len(predictions.nats) < _LEAST_TOKENS
    found = start if few else _descended(start, features, predictions.nats, counted)
    nats = float(_mixed(found.logits(features), predictions.nats, counted).sum())
    for alone, share in ((predictions.nats, _NEARLY_0), (counted, 1 - _NEARLY_0)):
        if float(alone.sum()) < nats - _COST_OF_PRIOR:
            return Gate.constant(share)
    return found


def _best_constant(model_nats: Floats, counted_nats: Floats) -> float:
    """The share of counting under which the tokens and the prior are likeliest; the likelihood is concave in it."""
    # Each gain is (p_counting - p_model) / p_mixed, computed without the underflow of the probabilities.
    smaller = np.minimum(model_nats, counted_nats)
    model, counted = np.exp(smaller - model_nats), np.exp(smaller - counted_nats)
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        prior = _PRIOR_TOKENS / 2 * (1 / middle - 1 / (1 - middle))
        rising = np.sum((counted - model) / (model + middle * (counted - model))) + prior > 0
        low, high = (middle, high) if rising else (low, middle)
    return (low + high) / 2


def _descended(start: Gate, features: Floats, model_nats: Floats, counted_nats: Floats) -> Gate:
    """Newton's method from `start`, with steps that are halved until the loss falls."""
    origin = np.array(start.weights)

    def loss(weights: Floats) -> float:
        pull = _PULL * float(np.sum((weights - origin) ** 2))
        return float(_mixed(features @ weights, model_nats, counted_nats).sum()) + pull

    weights, least = origin, loss(origin)
    for _ in range(_MOST_STEPS):
        logits = features @ weights
        share = _sigmoid(logits)
        posterior = _sigmoid(logits + model_nats - counted_nats)
        gradient = features.T @ (share - posterior) + 2 * _PULL * (weights - origin)
        # The loss is not convex; without the second part of its curvature, the bound of expectation maximisation is.
        bound = share * (1 - share)
        for curvature in (bound - posterior * (1 - posterior), bound):
            hessian = (features * curvature[:, None]).T @ features + 2 * _PULL * np.eye(FEATURES)
            if np.linalg.eigvalsh(hessian)[0] > 0:
                break
        step = np.linalg.solve(hessian, gradient)
        trials = (weights - step / 2**halvings for halvings in range(_MOST_HALVINGS))
        found = next(((loss(trial), trial) for trial in trials if loss(trial) < least), None)
        if found is None:
            break
        gained, (least, weights) = least - found[0], found
        if gained < _LEAST_GAIN * len(model_nats):
            break
    return Gate(tuple(map(float, weights)))


def _read(grams: KneserNey, tokens: Tokens, predictions: Predictions) -> tuple[Floats, Floats]:
    """Nats of the last n tokens under counting, and the features of the gate before each of them, [n] and [n, F]."""
    first = len(tokens) - 1 - len(predictions.nats)
    counted, known = grams.read(tokens)
    features = _features(Contexts(*(values[first:] for values in known)), predictions.entropy, predictions.top)
    return counted[first:], features


def _features(known: Contexts, entropy: Floats, top: Floats) -> Floats:
    """[n, F]"""
    orders = known.order[:, None] == np.arange(1, ORDERS + 1)
    counts, entropy, top = np.log1p(known[1:]).T / _SCALE, entropy / _SCALE, top / _SCALE
    return np.column_stack([orders, counts, counts**2, counts * entropy[:, None], entropy, top])


def _mixed(logits: Floats, model_nats: Floats, counted_nats: Floats) -> Floats:
    """Nats of a mixture with logits of the weight of counting, without underflow."""
    mixed: Floats = np.logaddexp(0, logits) - np.logaddexp(-model_nats, logits - counted_nats)
    return mixed


def _sigmoid(logits: Floats) -> Floats:
    share: Floats = np.exp(-np.logaddexp(0, -logits))
    return share
