"""How QK-norm with rotary positions is checked and timed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.ops.inputs import SPECIALS, meetings, model_of, small
from mlx_tiny.ops.operation import DTYPES, ArraySpec, Case, Exact, Named, Proof, Rival, Settings, Situation, Special
from mlx_tiny.ops.qk_norm_rope.plain import rotary_tables

Array = NDArray[np.float64]

# Widths with fewer pairs than a simdgroup has lanes, with one per lane, and with several.
_WIDTHS = (32, 48, 64, 128, 256)
_SPECIAL = (65, 2, 1, 64)
# Elementwise work per number: square, sum, scale, weight, and three for the rotation.
_FLOPS = 7


def _case(T: int, H: int, G: int, K: int, dtype: str, special: str = "", batch: int = 2) -> Case:
    return Case(model_of(context=T, heads=H, key_value_heads=G, head_width=K), batch, dtype, special)


def _cases() -> Iterator[Case]:
    for K, dtype, (T, H, G) in meetings(_WIDTHS):
        yield _case(T, H, G, K, dtype)
    for dtype in DTYPES:
        yield _case(37, 8, 2, 32, dtype, batch=3)
        # The number of rows is not a multiple of the four simdgroups of a threadgroup.
        yield _case(11, 3, 1, 32, dtype, batch=3)
        yield _case(131, 4, 2, 32, dtype)
    for special, dtype in itertools.product(_SPECIALS, DTYPES):
        yield _case(*_SPECIAL, dtype, special)


def _inputs(case: Case) -> dict[str, ArraySpec]:
    m, B = case.model, case.batch
    T, K = m.context, m.head_width

    def table(index: int) -> ArraySpec:
        return ArraySpec(
            (T, 1, K // 2),
            kind="float32",
            values=lambda: np.array(rotary_tables(T, K, m.rope_base)[index]),
            differentiable=False,
            by_sequence=False,
        )

    weight = ArraySpec((K,), by_sequence=False)
    return {
        "projected": ArraySpec((B, T, m.heads + 2 * m.key_value_heads, K)),
        "query norm weight": weight,
        "key norm weight": weight,
        "cosine": table(0),
        "sine": table(1),
    }


def _outputs(case: Case) -> dict[str, ArraySpec]:
    m = case.model
    heads = {"query": m.heads, "key": m.key_value_heads, "value": m.key_value_heads}
    return {name: ArraySpec((case.batch, m.context, count, m.head_width)) for name, count in heads.items()}


def _settings(case: Case) -> dict[str, Any]:
    return {"key_value_heads": case.model.key_value_heads, "epsilon": case.model.norm_epsilon}


def _formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    """Query and key after RMSNorm with a weight and rotation, the unchanged value, and the gradients."""
    projected, query_weight, key_weight, cosine, sine = inputs.values()
    G, epsilon = settings["key_value_heads"], settings["epsilon"]
    H = projected.shape[2] - 2 * G
    query, key, value = np.split(projected, [H, H + G], axis=2)
    results: Exact = {}
    gradients, weights = [], []
    for name, x, weight in (("query", query, query_weight), ("key", key, key_weight)):
        inverse = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)
        results[name] = _turn(x * inverse * weight, cosine, sine)
        scaled = _turn(cotangents[name], cosine, -sine)
        weights.append((scaled * x * inverse).sum(axis=(0, 1, 2)))
        along = (scaled * weight * x).mean(axis=-1, keepdims=True)
        gradients.append(inverse * scaled * weight - inverse**3 * x * along)
    return {
        **results,
        "value": value,
        "gradient of projected": np.concatenate([*gradients, cotangents["value"]], axis=2),
        "gradient of query norm weight": weights[0],
        "gradient of key norm weight": weights[1],
    }


def _turn(x_BTHK: Array, cosine_T1X: Array, sine_T1X: Array) -> Array:
    """Rotate the pair (i, i + K/2) by the angle of column i."""
    first, second = np.split(x_BTHK, 2, axis=-1)
    return np.concatenate([first * cosine_T1X - second * sine_T1X, second * cosine_T1X + first * sine_T1X], axis=-1)


_SPECIALS = {
    **SPECIALS,
    # Compared with the mean square of these rows, the norm's epsilon matters.
    "rows of size 0.001": Special(lambda arrays: {**arrays, "projected": small(arrays["projected"])}),
}


def _by_mlx(inputs: Named, case: Case) -> Named:
    projected, *weights = (inputs[name] for name in ("projected", "query norm weight", "key norm weight"))
    m = case.model
    H, G, K = m.heads, m.key_value_heads, m.head_width
    query, key, value = mx.split(projected, [H, H + G], axis=2)

    def turned(x_BTHK: mx.array, weight_K: mx.array) -> mx.array:
        normed = mx.fast.rms_norm(x_BTHK, weight_K, m.norm_epsilon).swapaxes(1, 2)
        return mx.fast.rope(normed, K, traditional=False, base=m.rope_base, scale=1.0, offset=0).swapaxes(1, 2)

    return {"query": turned(query, weights[0]), "key": turned(key, weights[1]), "value": value}


def _by_torch(inputs: dict[str, Any], case: Case) -> dict[str, Any]:
    import torch
    from torch.nn.functional import rms_norm

    projected, query_weight, key_weight = (
        inputs[name] for name in ("projected", "query norm weight", "key norm weight")
    )
    cosine, sine = (inputs[name].to(projected.dtype) for name in ("cosine", "sine"))
    m = case.model
    query, key, value = projected.split([m.heads, m.key_value_heads, m.key_value_heads], dim=2)

    def turned(x: Any, weight: Any) -> Any:
        first, second = rms_norm(x, (m.head_width,), weight, m.norm_epsilon).chunk(2, dim=-1)
        return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)

    return {"query": turned(query, query_weight), "key": turned(key, key_weight), "value": value}


def _flops(case: Case, both: bool) -> float:
    """Norm, weight and rotation of queries and keys; values are only copied."""
    m = case.model
    return float(_FLOPS * case.rows * (m.heads + m.key_value_heads) * m.head_width * (3 if both else 1))


def _before_use(situation: Situation) -> Iterator[Case]:
    yield _case(7, situation["H"], situation["G"], situation["K"], situation.dtype)


PROOF = Proof(
    label=lambda case: (
        f"B{case.batch} T{case.model.context} H{case.model.heads} G{case.model.key_value_heads} "
        f"K{case.model.head_width}"
    ),
    inputs=_inputs,
    outputs=_outputs,
    settings=_settings,
    formula=_formula,
    cases=_cases,
    entries=("qk_norm_rope", "qk_norm_rope"),
    flops=_flops,
    specials=_SPECIALS,
    kernels={
        **dict.fromkeys(("query", "key", "value"), "qk_norm_rope_forward"),
        **dict.fromkeys(
            ("gradient of projected", "gradient of query norm weight", "gradient of key norm weight"),
            "qk_norm_rope_backward",
        ),
    },
    rivals={"mlx": Rival(_by_mlx), "torch": Rival(_by_torch)},
    before_use=_before_use,
)


def _exactly_at_positions(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    x_BTHK = inputs["x"]
    T, K = x_BTHK.shape[1], x_BTHK.shape[3]
    angles = np.arange(T)[:, None, None] * settings["base"] ** (-np.arange(0, K, 2) / K)
    cosine, sine = np.cos(angles), np.sin(angles)
    return {
        "output": _turn(x_BTHK, cosine, sine),
        "gradient of x": _turn(cotangents["output"], cosine, -sine),
    }


def _heads(case: Case) -> ArraySpec:
    m = case.model
    return ArraySpec((case.batch, m.context, m.heads, m.head_width))


ROTARY = Proof(
    label=PROOF.label,
    inputs=lambda case: {"x": _heads(case)},
    outputs=lambda case: {"output": _heads(case)},
    settings=lambda case: {"base": case.model.rope_base},
    formula=_exactly_at_positions,
    cases=lambda: [_case(131, 4, 2, 32, dtype) for dtype in DTYPES],
    entries=("rotary", "rotary"),
    flops=lambda case, both: float((2 if both else 1) * 3 * case.rows * case.model.heads * case.model.head_width),
)
