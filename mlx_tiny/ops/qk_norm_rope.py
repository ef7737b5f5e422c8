"""From the packed projection to attention's inputs: QK-norm and rotary positions.

There are plain MLX, one Metal kernel each way, and a path for the CPU, whose rows are in `heads_cpu.py`.

A row x of a query or key head becomes R (g n) with n = x r, r = 1 / sqrt(mean(x^2) + epsilon), the weight g, and the
rotation R of its position. Backward, from the cotangent d: m = R^T d; the weight's gradient is the sum of m n over all
rows, and that of x is r (g m - n mean(g m n)). The kernels compute r anew, which costs less than storing it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.qk_norm_rope import normalize_and_rotate
from mlx_tiny.ops import dispatch
from mlx_tiny.ops.dispatch import Choice
from mlx_tiny.ops.metal import MetalKernel
from mlx_tiny.ops.rotary import rotary_tables, rotate
from mlx_tiny.ops.self_test import disagreement

IMPLEMENTATIONS = ("auto", "plain", "metal", "cpu")
Tables = tuple[mx.array, mx.array]
Heads = tuple[mx.array, mx.array, mx.array]

_INPUTS = ("projected", "query_norm_weight", "key_norm_weight", "cosine", "sine", "epsilon")
_FORWARD = MetalKernel("qk_norm_rope_forward", _INPUTS, ("query", "key", "value"))
_BACKWARD = MetalKernel(
    "qk_norm_rope_backward",
    (*_INPUTS, "query_gradient", "key_gradient", "value_gradient"),
    ("projected_gradient", "norm_weight_gradient"),
)
_SIMDGROUPS = 4
# A threadgroup of the backward kernel owns so many tokens: more mean fewer partial sums, fewer mean more threadgroups.
_TOKENS = 8


def qk_norm_rope(
    projected_BTXK: mx.array,
    query_norm_weight_K: mx.array,
    key_norm_weight_K: mx.array,
    tables: Tables,
    *,
    key_value_heads: int,
    epsilon: float,
    implementation: str = "auto",
) -> Heads:
    """Take the packed projection apart; normalise query and key over K, scale them by their weights, and rotate them.

    Args:
        projected_BTXK: float32, float16 or bfloat16 [B, T, H + 2G, K] with K even: H query heads, then G key heads,
            then G value heads.
        query_norm_weight_K: same dtype [K].
        key_norm_weight_K: same dtype [K].
        tables: as `rotary_tables` gives them, float32 [T, 1, K/2]; they are constants, no gradient flows to them.
        key_value_heads: G.
        epsilon: added to the mean square, above 0.
        implementation: `plain`, `metal` (one kernel each way, float32 inside, K up to 256), `cpu` (float32), or `auto`:
            what `ops/dispatch.py` chooses.

    Returns:
        Query [B, T, H, K], key [B, T, G, K] and value [B, T, G, K], in the dtype of the projection.

    Raises:
        TinyError: shapes or types that do not fit, an unknown implementation, or `metal` where no kernel can run.
    """
    _check(projected_BTXK, query_norm_weight_K, key_norm_weight_K, tables, key_value_heads, implementation)
    B, T, X, K = projected_BTXK.shape
    counts = X - 2 * key_value_heads, key_value_heads
    implementation = choose(projected_BTXK.dtype, K, counts, B * T, implementation).implementation
    constants = mx.stop_gradient(tables[0]), mx.stop_gradient(tables[1])
    if implementation != "metal":
        turn = normalize_and_rotate if implementation == "cpu" else _plain
        return _separately(
            turn, projected_BTXK, query_norm_weight_K, key_norm_weight_K, constants, key_value_heads, epsilon
        )
    dispatch.require_metal("QK-norm and rotary positions")
    query_BTHK, key_BTGK, value_BTGK = _fused(key_value_heads)(
        projected_BTXK, query_norm_weight_K, key_norm_weight_K, *constants, mx.array([epsilon], dtype=mx.float32)
    )
    return query_BTHK, key_BTGK, value_BTGK


def _separately(
    turn: Callable[[mx.array, mx.array, Tables, float], mx.array],
    projected_BTXK: mx.array,
    query_norm_weight_K: mx.array,
    key_norm_weight_K: mx.array,
    tables: Tables,
    key_value_heads: int,
    epsilon: float,
) -> Heads:
    """Query and key by `turn`, which normalises, scales and rotates heads."""
    H = projected_BTXK.shape[2] - 2 * key_value_heads
    query_BTHK, key_BTGK, value_BTGK = mx.split(projected_BTXK, [H, H + key_value_heads], axis=2)
    return (
        turn(query_BTHK, query_norm_weight_K, tables, epsilon),
        turn(key_BTGK, key_norm_weight_K, tables, epsilon),
        value_BTGK,
    )


def _plain(x_BTHK: mx.array, weight_K: mx.array, tables: Tables, epsilon: float) -> mx.array:
    return rotate(mx.fast.rms_norm(x_BTHK, weight_K, epsilon), tables)


@functools.cache
def _fused(key_value_heads: int) -> Callable[..., Any]:
    """The kernels as one function of the projection, norm weights, tables and epsilon, with its gradient."""

    def template(projected_BTXK: mx.array) -> dict[str, int | bool | mx.Dtype]:
        _, _, heads, K = projected_BTXK.shape
        return {"Element": projected_BTXK.dtype, "K": K, "H": heads - 2 * key_value_heads, "G": key_value_heads}

    def split(projected_BTXK: mx.array, *others: mx.array) -> list[mx.array]:
        B, T, heads, K = projected_BTXK.shape
        key_value_shape = (B, T, key_value_heads, K)
        return _FORWARD(
            [projected_BTXK, *others],
            template=template(projected_BTXK),
            threadgroups=(math.ceil(B * T * heads / _SIMDGROUPS), 1, 1),
            threads=32 * _SIMDGROUPS,
            outputs=[
                (shape, projected_BTXK.dtype)
                for shape in ((B, T, heads - 2 * key_value_heads, K), key_value_shape, key_value_shape)
            ],
        )

    def gradient(primals: list[mx.array], cotangents: list[mx.array], _: list[mx.array]) -> list[mx.array]:
        projected_BTXK, query_norm_weight_K, _key_norm_weight_K, *constants = primals
        B, T, _heads, K = projected_BTXK.shape
        groups = math.ceil(B * T / _TOKENS)
        projected_gradient, partial_P2K = _BACKWARD(
            [*primals, *cotangents],
            template={**template(projected_BTXK), "TOKENS": _TOKENS, "SIMDGROUPS": _SIMDGROUPS},
            threadgroups=(groups, 1, 1),
            threads=32 * _SIMDGROUPS,
            outputs=[(projected_BTXK.shape, projected_BTXK.dtype), ((groups, 2, K), mx.float32)],
        )
        # Views of the sum, where indexing would be two more launches.
        weights = mx.split(mx.sum(partial_P2K, axis=0).astype(query_norm_weight_K.dtype).flatten(), 2)
        return [projected_gradient, *weights, *map(mx.zeros_like, constants)]

    fused = mx.custom_function(split)
    fused.vjp(gradient)
    return fused


def choose(dtype: mx.Dtype, width: int, counts: tuple[int, int], tokens: int, implementation: str = "auto") -> Choice:
    """What serves heads of this type and width on this machine, and why.

    Args:
        counts: H and G, which the kernels are compiled for.
        tokens: positions of all windows together.
        implementation: as `qk_norm_rope` takes it.
    """
    if implementation != "auto":
        return Choice(implementation, dispatch.AS_ASKED)
    here = dispatch.situation("heads", dtype, width=width, rows=tokens, pipeline=counts)
    return dispatch.choose(here, lambda: self_test(dtype, width, counts))


def self_test(dtype: mx.Dtype, width: int, counts: tuple[int, int] = (3, 1)) -> str | None:
    """Evaluate the kernels on a small ragged shape; what is wrong with them on this machine, or None."""
    H, G = counts
    generator = np.random.default_rng(0)
    inputs = [
        mx.array(generator.standard_normal(shape), dtype=mx.float32).astype(dtype)
        for shape in ((2, 7, H + 2 * G, width), (width,), (width,))
    ]
    tables = rotary_tables(7, width, 100.0)

    def split(
        implementation: str, projected: mx.array, query_norm_weight: mx.array, key_norm_weight: mx.array
    ) -> Heads:
        return qk_norm_rope(
            projected,
            query_norm_weight,
            key_norm_weight,
            tables,
            key_value_heads=G,
            epsilon=1e-6,
            implementation=implementation,
        )

    return disagreement(functools.partial(split, "metal"), functools.partial(split, "plain"), inputs, "heads kernel")


def _check(
    projected_BTXK: mx.array,
    query_norm_weight_K: mx.array,
    key_norm_weight_K: mx.array,
    tables: Tables,
    key_value_heads: int,
    implementation: str,
) -> None:
    if implementation not in IMPLEMENTATIONS:
        raise TinyError(
            f"Unknown implementation {implementation!r} of QK-norm and rotary positions",
            expected=f"one of {', '.join(IMPLEMENTATIONS)}",
        )
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
    if implementation == "metal" and K > dispatch.LARGEST_HEADS_WIDTH:
        raise TinyError(
            "The head width is too large for the Metal kernels",
            expected=f"at most {dispatch.LARGEST_HEADS_WIDTH}",
            got=K,
            remedy="Take `auto` or `plain`",
        )
    shapes = [array.shape for array in (query_norm_weight_K, key_norm_weight_K, *tables)]
    if shapes != [(K,), (K,), (T, 1, K // 2), (T, 1, K // 2)]:
        raise TinyError(
            "The norm weights or rotary tables do not fit the packed projection",
            expected=f"norm weights {(K,)} and tables {(T, 1, K // 2)} for a projection {shape}",
            got=", ".join(map(str, shapes)),
        )
    types = [array.dtype for array in (projected_BTXK, query_norm_weight_K, key_norm_weight_K, *tables)]
    if types[0] not in (mx.float32, mx.float16, mx.bfloat16) or types[1:] != [types[0]] * 2 + [mx.float32] * 2:
        raise TinyError(
            "The types of the packed projection, norm weights or rotary tables do not fit",
            expected="projection and norm weights all float32, float16 or bfloat16, and tables float32",
            got=", ".join(map(str, types)),
        )
    if implementation == "cpu" and types[0] != mx.float32:
        raise TinyError("The implementation 'cpu' of QK-norm and rotary positions takes float32", got=types[0])
