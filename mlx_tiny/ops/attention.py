"""Causal attention over [B, T, H, K] arrays: plain MLX, MLX's built-in one, one in Metal, and one for the CPU.

The last two are in `attention_metal.py` and `attention_cpu.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.attention import attend_on_cpu
from mlx_tiny.ops import dispatch
from mlx_tiny.ops.attention_metal import DTYPES, attend_on_metal, check_metal
from mlx_tiny.ops.dispatch import Choice
from mlx_tiny.ops.self_test import disagreement, dtype_name

IMPLEMENTATIONS = ("auto", "plain", "metal", "mlx", "cpu")


def causal_attention(
    query_BTHK: mx.array,
    key_BSGK: mx.array,
    value_BSGK: mx.array,
    *,
    scale: float,
    implementation: str = "auto",
    filled: mx.array | None = None,
) -> mx.array:
    """Softmax attention in which position t sees the keys up to its own.

    The T queries are the last T of the S positions, so that T = S in training and T < S when a cache holds the past.
    Where a cache has room for more, they are the last T of the positions that are filled.

    Args:
        query_BTHK: float32, float16 or bfloat16 [B, T, H, K].
        key_BSGK: same dtype [B, S, G, K] with S >= T; G divides H, and H/G neighbouring query heads share a key head.
        value_BSGK: same dtype [B, S, G, K].
        scale: factor on the scores before the softmax.
        implementation: `plain`, `metal` (the project's kernels, for training: T = S, and a head width they take),
            `mlx` (`mx.fast.scaled_dot_product_attention`), `cpu` (float32, T = S), or `auto`: what `ops/dispatch.py`
            chooses.
        filled: how many of the S positions hold anything, an integer scalar; all of them where absent. For `plain` and
            `mlx`, which it chooses from as for T < S.

    Returns:
        [B, T, H, K] in the dtype of the query; scores and softmax are float32.

    Raises:
        TinyError: shapes or types that do not fit, an unknown implementation, or `metal` where there is none.
    """
    choice = choose(query_BTHK, key_BSGK, value_BSGK, implementation)
    if filled is not None:
        attend_with_room = _plain if choice.implementation == "plain" else _built_in
        return attend_with_room(query_BTHK, key_BSGK, value_BSGK, scale, filled)
    attend = {"plain": _plain, "metal": attend_on_metal, "mlx": _built_in, "cpu": attend_on_cpu}[choice.implementation]
    return attend(query_BTHK, key_BSGK, value_BSGK, scale)


def _heads_first(attend: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """The function over [B, T, H, K] for one over [B, H, T, K]."""

    @functools.wraps(attend)
    def swapped(
        query_BTHK: mx.array, key_BSGK: mx.array, value_BSGK: mx.array, scale: float, filled: mx.array | None = None
    ) -> mx.array:
        heads_first = (array.swapaxes(1, 2) for array in (query_BTHK, key_BSGK, value_BSGK))
        return attend(*heads_first, scale, filled).swapaxes(1, 2)

    return swapped


def choose(query_BTHK: mx.array, key_BSGK: mx.array, value_BSGK: mx.array, implementation: str = "auto") -> Choice:
    """What serves these inputs, which are not evaluated, and why; arguments and errors as of `causal_attention`."""
    _check(query_BTHK, key_BSGK, value_BSGK, implementation)
    if implementation != "auto":
        return Choice(implementation, dispatch.AS_ASKED)
    (_, T, _, K), S, dtype = query_BTHK.shape, key_BSGK.shape[1], query_BTHK.dtype
    here = dispatch.situation("attention", dtype, width=K, queries=T, keys=S)
    return dispatch.choose(here, lambda: self_test(dtype, K))


def self_test(dtype: mx.Dtype, width: int) -> str | None:
    """Evaluate the kernels on a small ragged shape; what is wrong with them on this machine, or None."""
    generator = np.random.default_rng(0)
    inputs = [
        mx.array(generator.standard_normal((2, 37, heads, width)), dtype=mx.float32).astype(dtype)
        for heads in (4, 2, 2)
    ]
    attend = functools.partial(causal_attention, scale=width**-0.5)
    return disagreement(
        functools.partial(attend, implementation="metal"),
        functools.partial(attend, implementation="plain"),
        inputs,
        "attention self-test",
    )


@_heads_first
def _built_in(
    query_BHTK: mx.array, key_BGSK: mx.array, value_BGSK: mx.array, scale: float, filled: mx.array | None
) -> mx.array:
    mask: str | mx.array = "causal"
    if filled is not None:
        mask = causal_mask(query_BHTK.shape[2], key_BGSK.shape[2], filled) == 0
    return mx.fast.scaled_dot_product_attention(query_BHTK, key_BGSK, value_BGSK, scale=scale, mask=mask)


@_heads_first
def _plain(
    query_BHTK: mx.array, key_BGSK: mx.array, value_BGSK: mx.array, scale: float, filled: mx.array | None
) -> mx.array:
    B, H, T, K = query_BHTK.shape
    G, S = key_BGSK.shape[1:3]
    # Scores and softmax in float32: 16-bit scores near 1000 would be 4 apart. The weights take the type of the values.
    query = (query_BHTK.astype(mx.float32) * scale).reshape(B, G, H // G, T, K)
    key, value = key_BGSK[:, :, None].astype(mx.float32), value_BGSK[:, :, None]
    scores = query @ key.swapaxes(-1, -2)
    if T > 1 or filled is not None:
        scores = scores + causal_mask(T, S, filled)
    weights = mx.softmax(scores, axis=-1).astype(value.dtype)
    return (weights @ value).reshape(B, H, T, K)


def causal_mask(queries: int, keys: int, filled: mx.array | None = None) -> mx.array:
    """Additive float32 mask [T, S]: 0 where a query may look, the lowest float elsewhere; see `causal_attention`."""
    positions = mx.arange(-queries, 0)[:, None] + (keys if filled is None else filled)
    return mx.where(mx.arange(keys)[None] <= positions, 0.0, mx.finfo(mx.float32).min)


def _check(query_BTHK: mx.array, key_BSGK: mx.array, value_BSGK: mx.array, implementation: str) -> None:
    if implementation not in IMPLEMENTATIONS:
        raise TinyError(
            f"Unknown attention implementation {implementation!r}",
            expected=f"one of {', '.join(IMPLEMENTATIONS)}",
        )
    shapes = f"query {query_BTHK.shape}, key {key_BSGK.shape}, value {value_BSGK.shape}"
    if any(a.ndim != 4 for a in (query_BTHK, key_BSGK, value_BSGK)):
        raise TinyError("Attention takes arrays of four axes", expected="[B, T, H, K]", got=shapes)
    B, T, H, K = query_BTHK.shape
    S, G = key_BSGK.shape[1:3]
    if key_BSGK.shape != (B, S, G, K) or value_BSGK.shape != key_BSGK.shape or G < 1 or H % G or S < T:
        raise TinyError(
            "The shapes of the attention's inputs do not fit",
            expected="query [B, T, H, K], key and value [B, S, G, K] with G a divisor of H and S >= T",
            got=shapes,
        )
    if 0 in query_BTHK.shape:
        raise TinyError(
            "The attention's inputs are empty", expected="at least one sequence, position and head", got=shapes
        )
    types = [array.dtype for array in (query_BTHK, key_BSGK, value_BSGK)]
    if types[0] not in DTYPES or types[1:] != types[:1] * 2:
        raise TinyError(
            "The types of the attention's inputs do not fit",
            expected="query, key and value all float32, float16 or bfloat16",
            got=", ".join(map(dtype_name, types)),
        )
    if implementation == "metal":
        check_metal(query_BTHK.shape, key_BSGK.shape)
    if implementation == "cpu" and (T != S or query_BTHK.dtype != mx.float32):
        raise TinyError(
            "The attention implementation 'cpu' takes float32 and no cache",
            expected="T = S",
            got=f"{shapes}, {query_BTHK.dtype}",
        )
