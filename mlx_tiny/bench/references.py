"""Float64 formulas in numpy for what `bench kernels` times: named results from named inputs and cotangents.

Attention and the heads' norm come from `validate/references.py`. A gradient is called "gradient of X".
"""

from __future__ import annotations

import numpy as np

from mlx_tiny.validate import references
from mlx_tiny.validate.arrays import Array

Arrays = dict[str, Array]

# Amsel et al. 2025 (arXiv 2505.16932), for singular values in [1e-3, 1] after division by 1.01 times the norm.
_POLAR_EXPRESS = (
    (8.15655, -22.48329, 15.87877),
    (4.04293, -2.80892, 0.50002),
    (3.89167, -2.77248, 0.50606),
    (3.28575, -2.36813, 0.46449),
    (2.34654, -1.70978, 0.42324),
)
_QUINTIC = ((3.4445, -4.7750, 2.0315),) * 5
_POLYNOMIALS = {"polar_express": (1.01, _POLAR_EXPRESS), "quintic": (1.0, _QUINTIC)}


def attention(inputs: Arrays, cotangents: Arrays) -> Arrays:
    """Causal softmax attention of query, key and value with the scale 1 / sqrt(K)."""
    query = inputs["query"]
    results = references.attention(
        query, inputs["key"], inputs["value"], cotangents["mixed"], scale=query.shape[3] ** -0.5
    )
    return _named(("mixed", *_gradients("query", "key", "value")), results)


def heads(inputs: Arrays, cotangents: Arrays, key_value_heads: int, epsilon: float) -> Arrays:
    """QK-norm and rotary positions of the packed projection."""
    arguments = inputs["projected"], inputs["query norm weight"], inputs["key norm weight"]
    turn = inputs["cosine"][:, 0], inputs["sine"][:, 0]
    names = "query", "key", "value"
    outputs = references.heads(*arguments, turn, key_value_heads, epsilon)
    gradients = references.heads_gradients(
        *arguments, turn, key_value_heads, epsilon, [cotangents[name] for name in names]
    )
    return {
        **_named(names, outputs),
        **_named(_gradients("projected", "query norm weight", "key norm weight"), gradients),
    }


def cross_entropy(inputs: Arrays, cotangents: Arrays) -> Arrays:
    """Nats of each target under the softmax of hidden head^T."""
    hidden, head, target = inputs["hidden"], inputs["head"], inputs["target"].astype(np.int64)
    width = hidden.shape[-1]
    rows, targets = hidden.reshape(-1, width), target.reshape(-1)
    logits = rows @ head.T
    logits -= logits.max(axis=-1, keepdims=True)
    probabilities = np.exp(logits)
    sums = probabilities.sum(axis=-1, keepdims=True)
    everyone = np.arange(len(rows))
    losses = np.log(sums[:, 0]) - logits[everyone, targets]
    probabilities /= sums
    probabilities[everyone, targets] -= 1
    probabilities *= cotangents["losses"].reshape(-1, 1)
    return {
        "losses": losses.reshape(target.shape),
        "gradient of hidden": (probabilities @ head).reshape(hidden.shape),
        "gradient of head": probabilities.T @ rows,
    }


def mlp(inputs: Arrays, cotangents: Arrays, activation: str) -> Arrays:
    """Two products with squared ReLU, or SwiGLU, between them."""
    x, first, second = inputs["x"], inputs["first"], inputs["second"]
    rows, cotangent = x.reshape(-1, x.shape[-1]), cotangents["output"].reshape(-1, x.shape[-1])
    before = rows @ first.T
    if activation == "swiglu":
        gate, up = np.split(before, 2, axis=-1)
        share = 1 / (1 + np.exp(-gate))
        hidden = gate * share * up
        back = cotangent @ second
        inner = np.concatenate([back * up * share * (1 + gate * (1 - share)), back * gate * share], axis=-1)
    else:
        positive = np.maximum(before, 0)
        hidden = positive**2
        inner = cotangent @ second * 2 * positive
    return {
        "output": (hidden @ second.T).reshape(x.shape),
        "gradient of x": (inner @ first).reshape(x.shape),
        "gradient of first": inner.T @ rows,
        "gradient of second": cotangent.T @ hidden,
    }


def newton_schulz(inputs: Arrays, coefficients: str) -> Arrays:
    """Five steps towards the nearest matrix with orthonormal rows, for banks of wide or square matrices."""
    safety, polynomials = _POLYNOMIALS[coefficients]
    results = {}
    for name, bank in inputs.items():
        x = bank / (safety * np.sqrt((bank**2).sum(axis=(1, 2), keepdims=True)))
        for a, b, c in polynomials:
            gram = x @ x.swapaxes(1, 2)
            x = a * x + (b * gram + c * gram @ gram) @ x
        results[name] = x
    return results


def adamw(inputs: Arrays, rate: float, betas: tuple[float, float], epsilon: float, step: int) -> Arrays:
    """Step number `step` without decay: Loshchilov and Hutter 2019, both moments corrected."""
    results = {}
    for name in [name.partition(".")[2] for name in inputs if name.startswith("weight.")]:
        gradient = inputs[f"gradient.{name}"]
        first = betas[0] * inputs[f"first.{name}"] + (1 - betas[0]) * gradient
        second = betas[1] * inputs[f"second.{name}"] + (1 - betas[1]) * gradient**2
        mean, square = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        results[f"weight.{name}"] = inputs[f"weight.{name}"] - rate * mean / (np.sqrt(square) + epsilon)
        results[f"first.{name}"], results[f"second.{name}"] = first, second
    return results


def _gradients(*names: str) -> tuple[str, ...]:
    return tuple(f"gradient of {name}" for name in names)


def _named(names: tuple[str, ...], arrays: tuple[Array, ...]) -> Arrays:
    return dict(zip(names, arrays, strict=True))
