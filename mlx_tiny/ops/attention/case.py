"""How causal attention is checked and timed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.linux.attention import BLOCK
from mlx_tiny.ops.attention.metal import WIDTHS
from mlx_tiny.ops.inputs import SPECIALS, equal, meetings, model_of
from mlx_tiny.ops.operation import DTYPES, ArraySpec, Case, Exact, Named, Proof, Rival, Settings, Situation, Special

# Two blocks and a rest, two query heads per key head, and the width for which the special scores are computed.
_SPECIAL = (65, 2, 1, 64)
# Query rows per tile of the Metal kernels.
_METAL_TILE = 32


def _case(T: int, H: int, G: int, K: int, dtype: str, special: str = "", past: int = 0, batch: int = 2) -> Case:
    return Case(model_of(context=T, heads=H, key_value_heads=G, head_width=K), batch, dtype, special, past)


def _cases() -> Iterator[Case]:
    for K, dtype, (T, H, G) in meetings(WIDTHS):
        yield _case(T, H, G, K, dtype)
    for dtype in DTYPES:
        yield _case(37, 8, 2, 32, dtype, batch=3)
        yield _case(131, 4, 2, 32, dtype)
        yield _case(3, 4, 2, 32, dtype, past=6)
        yield replace(_case(3, 4, 2, 32, dtype, past=11), options={"filled": 9})
    for special, dtype in itertools.product(_SPECIALS, DTYPES):
        yield _case(*_SPECIAL, dtype, special)
    yield _case(*_SPECIAL, "float32", _SHIFTED)


def _label(case: Case) -> str:
    m = case.model
    of = f" S{m.context + case.past}" if case.past else ""
    of += f" {case.options['filled']} filled" if "filled" in case.options else ""
    return f"B{case.batch} T{m.context}{of} H{m.heads} G{m.key_value_heads} K{m.head_width}"


def _inputs(case: Case) -> dict[str, ArraySpec]:
    m, B = case.model, case.batch
    key = (B, m.context + case.past, m.key_value_heads, m.head_width)
    return {"query": ArraySpec((B, m.context, m.heads, m.head_width)), "key": ArraySpec(key), "value": ArraySpec(key)}


def _outputs(case: Case) -> dict[str, ArraySpec]:
    return {"output": _inputs(case)["query"]}


def _settings(case: Case) -> dict[str, Any]:
    room = {"filled": mx.array(case.options["filled"])} if "filled" in case.options else {}
    return {"scale": case.model.head_width**-0.5, **room}


def _formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    """Softmax attention and its three gradients; the queries are the last T of S positions."""
    query_BTHK, key_BSGK, value_BSGK = inputs.values()
    scale = settings["scale"]
    B, T, H, K = query_BTHK.shape
    S, G = key_BSGK.shape[1:3]
    filled = int(settings.get("filled", S))
    allowed = np.arange(S)[None] <= np.arange(filled - T, filled)[:, None]
    query, cotangent = (a.reshape(B, T, G, H // G, K) for a in (query_BTHK, cotangents["output"]))
    scores = scale * np.einsum("btgrk,bsgk->bgrts", query, key_BSGK, optimize=True)
    scores = np.where(allowed, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    output = np.einsum("bgrts,bsgk->btgrk", weights, value_BSGK, optimize=True)
    weight_gradient = np.einsum("btgrk,bsgk->bgrts", cotangent, value_BSGK, optimize=True)
    delta = (weights * weight_gradient).sum(axis=-1, keepdims=True)
    score_gradient = scale * weights * (weight_gradient - delta)
    query_gradient = np.einsum("bgrts,bsgk->btgrk", score_gradient, key_BSGK, optimize=True)
    return {
        "output": output.reshape(query_BTHK.shape),
        "gradient of query": query_gradient.reshape(query_BTHK.shape),
        "gradient of key": np.einsum("bgrts,btgrk->bsgk", score_gradient, query, optimize=True),
        "gradient of value": np.einsum("bgrts,btgrk->bsgk", weights, cotangent, optimize=True),
    }


def _rare(arrays: Named) -> Named:
    """Key 0 has a score of 30 and the value 0; all others have a score of 0 and huge values.

    So the tiny weights of the others decide the result. Their relative error is 30 times that of the factor log2(e).
    """
    query, key, value = (arrays[name] for name in ("query", "key", "value"))
    first = mx.arange(key.shape[1])[:, None, None] == 0
    score = 30 * query.shape[-1] ** -0.5
    return {
        **arrays,
        "query": equal(query, 1.0),
        "key": mx.where(first, equal(key, score), 0),
        "value": mx.where(first, 0, 1e13 * value),
    }


_SPECIALS = {
    # Standard normal entries give scores with a standard deviation of 1, of which some exceed 4.
    "scores near 1000": Special(
        lambda arrays: {**arrays, "query": arrays["query"] * 250},
        entry="attention of extreme scores",
        only=("plain", "cpu", "native", "metal"),
    ),
    # At K = 64. Without subtracting the largest score, all exponentials would be 0.
    "scores of -1024": Special(
        lambda arrays: {**arrays, "query": equal(arrays["query"], -256.0), "key": equal(arrays["key"], 0.5)}
    ),
    "equal values": Special(lambda arrays: {**arrays, "value": equal(arrays["value"])}),
    "not contiguous": SPECIALS["not contiguous"],
}
_SHIFTED = "one score shifted by 30"


def _flops(case: Case, both: bool) -> float:
    """Two products in which query t has t + 1 keys; gradients are twice as much."""
    m, T = case.model, case.model.context
    return (3 if both else 1) * 2 * 2 * case.batch * m.heads * m.head_width * T * (T + 1) / 2


def _dense(case: Case, both: bool) -> float:
    """FLOPs if the masked half is computed too."""
    m = case.model
    return 2.0 * 2 * case.batch * m.heads * m.head_width * m.context**2 * (3 if both else 1)


def _blocked(case: Case, both: bool) -> float:
    """FLOPs of the CPU's blocks; values have a column of ones, and so has a product of the backward pass."""
    K, blocks = case.model.head_width, -(-case.model.context // BLOCK)
    pairs = _pairs_of_tiles(case, blocks, -(-case.model.context // blocks))
    forward = 2.0 * pairs * (K + K + 1)
    return forward + 2.0 * pairs * (K + 1 + 3 * K) if both else forward


def _tiled(case: Case, both: bool) -> float:
    """FLOPs of the Metal kernels' square tiles: two products forward, three and four in the two backward kernels."""
    pairs = _pairs_of_tiles(case, -(-case.model.context // _METAL_TILE), _METAL_TILE)
    return 2.0 * pairs * case.model.head_width * (2 + 3 + 4 if both else 2)


def _pairs_of_tiles(case: Case, tiles: int, side: int) -> float:
    """Query-key pairs in square tiles of this side, up to the diagonal."""
    return case.batch * case.model.heads * tiles * (tiles + 1) / 2 * side * side


def _by_torch(inputs: dict[str, Any], case: Case) -> dict[str, Any]:
    from torch.nn.functional import scaled_dot_product_attention

    query, key, value = (inputs[name].transpose(1, 2) for name in ("query", "key", "value"))
    grouped = query.shape[1] != key.shape[1]
    mixed = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
    return {"output": mixed.transpose(1, 2)}


def _before_use(situation: Situation) -> Iterator[Case]:
    yield _case(37, 8, 2, situation["K"], situation.dtype)


PROOF = Proof(
    label=_label,
    inputs=_inputs,
    outputs=_outputs,
    settings=_settings,
    formula=_formula,
    cases=_cases,
    entries=("attention", "attention gradient"),
    flops=_flops,
    # The CPU's exponential returns 0 that far below the largest score.
    specials={
        **_SPECIALS,
        _SHIFTED: Special(_rare, entry="attention of rare keys", only=("plain", "mlx", "native", "metal")),
    },
    executed_flops={"plain": _dense, "cpu": _blocked, "metal": _tiled},
    kernels={
        "output": "attention_forward",
        "gradient of query": "attention_backward_query",
        "gradient of key": "attention_backward_key_value",
        "gradient of value": "attention_backward_key_value",
    },
    rivals={"torch": Rival(_by_torch)},
    before_use=_before_use,
)
