"""Causal attention of [B, T, H, K] arrays: plain MLX, MLX's own function, Metal kernels, and one for the CPU."""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.attention import attend_on_cpu
from mlx_tiny.linux.primitives import attend_natively
from mlx_tiny.ops.attention.case import PROOF
from mlx_tiny.ops.attention.metal import WIDTHS, attend_on_metal
from mlx_tiny.ops.attention.plain import attend_by_mlx, attend_plainly
from mlx_tiny.ops.operation import DTYPES, Implementation, Operation, Rule, Situation, dtype_name, in_cpp

# From this width on `auto` takes MLX's own. On an M3 Max a fused backward pass is reported to have 0.67 to 0.76 times
# the speed of unfused products at a width of 128, and 1.17 to 1.37 times at 96 (ml-explore/mlx, pull request 3241).
_BUILT_IN_WIDTH = 128
# The first generation whose GPU has matrix units that MLX's products use, and simdgroup matrices do not.
MATRIX_UNITS_GENERATION = 5
# Queries per block of the forward kernel.
_SHORTEST_WINDOW = 32


def _whole(here: Situation) -> str | None:
    return None if here["T"] == here["S"] and not here["room"] else "as many keys as queries, since it takes no cache"


def _for_metal(here: Situation) -> str | None:
    if here["K"] not in WIDTHS:
        return f"a head width K of {', '.join(map(str, WIDTHS))}"
    return _whole(here)


def _for_cpu(here: Situation) -> str | None:
    return _whole(here) if here.dtype == "float32" else "float32"


def _for_native(here: Situation) -> str | None:
    return _whole(here) or in_cpp(here)


def _check(
    query_BTHK: mx.array,
    key_BSGK: mx.array,
    value_BSGK: mx.array,
    *,
    scale: float,
    filled: mx.array | None = None,
) -> None:
    shapes = f"query {query_BTHK.shape}, key {key_BSGK.shape}, value {value_BSGK.shape}"
    if any(a.ndim != 4 for a in (query_BTHK, key_BSGK, value_BSGK)):
        raise TinyError("Attention needs arrays of four axes", expected="[B, T, H, K]", got=shapes)
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
    types = [dtype_name(array.dtype) for array in (query_BTHK, key_BSGK, value_BSGK)]
    if types[0] not in DTYPES or types[1:] != types[:1] * 2:
        raise TinyError(
            "The types of the attention's inputs do not fit",
            expected="query, key and value all float32, float16 or bfloat16",
            got=", ".join(types),
        )


def _dimensions(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *, scale: float, filled: object = None
) -> dict[str, int]:
    return {"T": query[1], "S": key[1], "K": query[3], "room": filled is not None}


ATTENTION = Operation(
    name="attention",
    summary="causal attention",
    implementations={
        "plain": Implementation(attend_plainly),
        "mlx": Implementation(attend_by_mlx),
        "cpu": Implementation(attend_on_cpu, _for_cpu, device="cpu"),
        "native": Implementation(attend_natively, _for_native, device="cpu"),
        "metal": Implementation(attend_on_metal, _for_metal, device="metal"),
    },
    rules=(
        Rule(
            "native",
            "in C++, scores stay in the CPU's cache, and none of the masked half are computed beyond a tile",
            lambda s: s.kind == "cpu" and s["T"] > 1 and _for_native(s) is None,
        ),
        Rule(
            "cpu",
            "on a CPU it is fastest: blocks without the masked half, with a gradient of their own",
            lambda s: s.kind == "cpu" and s["T"] == s["S"] > 1 and s.dtype == "float32",
        ),
        Rule("plain", "the implementation for a CPU needs whole sequences in float32", lambda s: s.kind == "cpu"),
        Rule("mlx", "the kernels need Metal", lambda s: s.kind != "metal"),
        Rule(
            "mlx",
            "the kernels need whole sequences, and these keys come from a cache",
            lambda s: s["T"] != s["S"],
        ),
        Rule(
            "mlx",
            f"the sequences are shorter than a block of {_SHORTEST_WINDOW} queries",
            lambda s: s["T"] < _SHORTEST_WINDOW,
        ),
        Rule("mlx", f"the kernels need a head width of {', '.join(map(str, WIDTHS))}", lambda s: s["K"] not in WIDTHS),
        Rule(
            "mlx",
            f"from a head width of {_BUILT_IN_WIDTH} on, MLX's own is expected to be faster",
            lambda s: s["K"] >= _BUILT_IN_WIDTH,
        ),
        Rule(
            "mlx",
            "MLX uses the matrix units of this chip, and the kernels cannot",
            lambda s: (s.device.generation or 0) >= MATRIX_UNITS_GENERATION,
        ),
        Rule(
            "metal", "fused forward and backward, without the masked half; expected to be faster, not measured on a Mac"
        ),
    ),
    proof=PROOF,
    dimensions=_dimensions,
    check=_check,
)
"""Softmax attention in which each position attends to the keys up to its own.

The T queries are the last T of the S positions: T = S in training, T < S if keys come from a cache. If the cache has
unused positions, they are the last T of the used positions.

Args:
    query_BTHK: float32, float16 or bfloat16 [B, T, H, K].
    key_BSGK: same dtype [B, S, G, K] with S >= T; G divides H, and H/G neighbouring query heads share a key head.
    value_BSGK: same dtype [B, S, G, K].
    scale: factor on the scores before the softmax.
    filled: number of the S positions that are used, an integer scalar; by default all. Only `plain` and `mlx` support
        it.

Returns:
    [B, T, H, K] in the dtype of the query; scores and softmax are float32.
"""
