"""How the head with the cross-entropy is checked and timed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.operation import DTYPES, ArraySpec, Case, Exact, Named, Proof, Rival, Settings, Special


def _cases() -> Iterator[Case]:
    for dtype in DTYPES:
        yield Case(model_of(context=35), 2, dtype)
    for T in (1, 7, 64):
        yield Case(model_of(context=T), 1, "float32")
    # A vocabulary that the CPU sums in parts, and one whose size is prime.
    for V in (2048, 1031):
        yield Case(model_of(context=9, vocabulary_size=V), 2, "float32")
    for special in _SPECIALS:
        yield Case(model_of(context=35), 2, "float32", special)


def _certain(arrays: Named) -> Named:
    """Each hidden state is a multiple of its target's row of the head, so that its logit is by far the largest."""
    return {**arrays, "hidden": 12 * arrays["head"][arrays["target"]]}


_SPECIALS = {
    "certain": Special(_certain, only=("cpu", "native")),
    # Logits of hundreds, whose exponentials without the shift by the largest one would be infinite.
    "large logits": Special(
        lambda arrays: {**arrays, "hidden": 100 * arrays["hidden"]}, entry="cross_entropy of large logits"
    ),
}


def _inputs(case: Case) -> dict[str, ArraySpec]:
    m, N = case.model, case.rows
    return {
        "hidden": ArraySpec((N, m.width)),
        "head": ArraySpec((m.vocabulary_size, m.width), std=m.width**-0.5, by_sequence=False),
        "target": ArraySpec((N,), kind="int32", limit=m.vocabulary_size, differentiable=False),
    }


def _formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    hidden, head, target = inputs["hidden"], inputs["head"], inputs["target"].astype(np.int64)
    logits = hidden @ head.T
    logits -= logits.max(axis=-1, keepdims=True)
    probabilities = np.exp(logits)
    sums = probabilities.sum(axis=-1, keepdims=True)
    everyone = np.arange(len(hidden))
    losses = np.log(sums[:, 0]) - logits[everyone, target]
    probabilities /= sums
    probabilities[everyone, target] -= 1
    probabilities *= cotangents["losses"][:, None]
    return {
        "losses": losses,
        "gradient of hidden": probabilities @ head,
        "gradient of head": probabilities.T @ hidden,
    }


def _by_mlx(inputs: Named, case: Case) -> Named:
    return {"losses": mx.fast.cross_entropy(inputs["hidden"] @ inputs["head"].T, inputs["target"])}


def _by_torch(inputs: dict[str, Any], case: Case) -> dict[str, Any]:
    from torch.nn.functional import cross_entropy

    logits = (inputs["hidden"] @ inputs["head"].T).float()
    return {"losses": cross_entropy(logits, inputs["target"], reduction="none")}


def _flops(case: Case, both: bool) -> float:
    """The product with the head; as in the FLOPs of the model, the softmax does not count."""
    return 2.0 * case.rows * case.model.width * case.model.vocabulary_size * (3 if both else 1)


PROOF = Proof(
    label=lambda case: f"N{case.rows} D{case.model.width} V{case.model.vocabulary_size}",
    inputs=_inputs,
    outputs=lambda case: {"losses": ArraySpec((case.rows,), kind="float32")},
    settings=lambda case: {},
    formula=_formula,
    cases=_cases,
    entries=("cross_entropy", "cross_entropy gradient"),
    flops=_flops,
    specials=_SPECIALS,
    executed_flops=dict.fromkeys(("plain", "mlx", "cpu", "torch"), _flops),
    rivals={"mlx": Rival(_by_mlx), "torch": Rival(_by_torch)},
)
