"""QK-norm with rotary positions: from the packed projection to the inputs of attention.

A row x of a query or key head becomes R (w n) with n = x r, r = 1 / sqrt(mean(x^2) + epsilon), the weight w, and the
rotation R of its position. With the cotangent d and m = R^T d, the gradient of the weight is the sum of m n over all
rows, and that of x is r (w m - n mean(w m n)). The kernels compute r again, which costs less than storing it.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.primitives import turn_natively
from mlx_tiny.linux.rows import turn_on_cpu
from mlx_tiny.ops.operation import (
    DTYPES,
    Implementation,
    Operation,
    Rule,
    Situation,
    dtype_name,
    in_cpp,
    in_float32,
    many_rows_on_cpu,
    native_rows_on_cpu,
)
from mlx_tiny.ops.qk_norm_rope import case
from mlx_tiny.ops.qk_norm_rope.metal import LARGEST_WIDTH, normalize_and_rotate_on_metal
from mlx_tiny.ops.qk_norm_rope.plain import by_heads, rotate_from_start, turn_plainly


def _for_metal(here: Situation) -> str | None:
    return None if here["K"] <= LARGEST_WIDTH else f"a head width K of at most {LARGEST_WIDTH}"


def _dimensions(projected: tuple[int, ...], *others: tuple[int, ...], **settings: int) -> dict[str, int]:
    B, T, X, K = projected
    G = settings["key_value_heads"]
    # With H and G, because the kernels are compiled for each value of these.
    return {"K": K, "H": X - 2 * G, "G": G, "rows": B * T}


def _check(
    projected_BTXK: mx.array,
    query_norm_weight_K: mx.array,
    key_norm_weight_K: mx.array,
    cosine_T1X: mx.array,
    sine_T1X: mx.array,
    *,
    key_value_heads: int,
    epsilon: float,
) -> None:
    shape = projected_BTXK.shape
    if len(shape) != 4 or key_value_heads < 1 or shape[2] <= 2 * key_value_heads:
        raise TinyError(
            "The packed projection has the wrong shape",
            expected=f"[B, T, H + 2G, K] with at least one query head and G = {max(key_value_heads, 1)}",
            got=f"{shape} with G = {key_value_heads}",
        )
    _, T, _, K = shape
    if K % 2:
        raise TinyError("The head width does not fit rotary pairs", expected="an even number", got=K)
    others = (query_norm_weight_K, key_norm_weight_K, cosine_T1X, sine_T1X)
    if [array.shape for array in others] != [(K,), (K,), (T, 1, K // 2), (T, 1, K // 2)]:
        raise TinyError(
            "The norm weights or rotary tables do not fit the packed projection",
            expected=f"weights {(K,)} and tables {(T, 1, K // 2)} for a projection {shape}",
            got=", ".join(str(array.shape) for array in others),
        )
    types = [dtype_name(array.dtype) for array in (projected_BTXK, *others)]
    if types[0] not in DTYPES or types[1:] != [types[0]] * 2 + ["float32"] * 2:
        raise TinyError(
            "The types of the packed projection, norm weights or rotary tables do not fit",
            expected="projection and weights all float32, float16 or bfloat16, and tables float32",
            got=", ".join(types),
        )


ROTARY = Operation(
    name="rotary",
    summary="rotary positions",
    implementations={"plain": Implementation(rotate_from_start)},
    proof=case.ROTARY,
)
"""Rotary positions 0 to T-1 of an array [B, T, H, K], for a base of the angles."""

QK_NORM_ROPE = Operation(
    name="qk_norm_rope",
    summary="QK-norm with rotary positions",
    implementations={
        "plain": Implementation(by_heads(turn_plainly)),
        "cpu": Implementation(by_heads(turn_on_cpu), in_float32, device="cpu"),
        "native": Implementation(by_heads(turn_natively), in_cpp, device="cpu"),
        "metal": Implementation(normalize_and_rotate_on_metal, _for_metal, device="metal"),
    },
    rules=(
        Rule("native", "in C++, for the CPU of this machine", native_rows_on_cpu),
        Rule("cpu", "on a CPU it computes head by head, with a gradient of its own", many_rows_on_cpu),
        Rule(
            "plain",
            "the kernels need Metal",
            lambda s: s.kind != "metal",
        ),
        Rule("plain", f"the kernels need a head width of at most {LARGEST_WIDTH}", lambda s: s["K"] > LARGEST_WIDTH),
        Rule("metal", "one launch forward and one backward; expected to be faster, not measured on a Mac"),
    ),
    proof=case.PROOF,
    dimensions=_dimensions,
    check=_check,
    parts=(ROTARY,),
)
"""Split the projection; normalise query and key over K, multiply them by their weights, and rotate them.

Args:
    projected_BTXK: float32, float16 or bfloat16 [B, T, H + 2G, K] with K even: H query heads, then G key heads, then G
        value heads.
    query_norm_weight_K, key_norm_weight_K: same dtype [K].
    cosine_T1X, sine_T1X: from `rotary_tables`, float32 [T, 1, K/2]; they have no gradient.
    key_value_heads: G.
    epsilon: added to the mean square, above 0.

Returns:
    Query [B, T, H, K], key [B, T, G, K] and value [B, T, G, K], in the dtype of the projection.
"""
