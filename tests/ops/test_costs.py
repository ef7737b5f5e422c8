"""FLOPs and bytes of the operations: by formula, and counted."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from mlx_tiny.linux.attention import BLOCK
from mlx_tiny.ops.activation import ACTIVATION
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.cross_entropy import CROSS_ENTROPY
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.muon import MUON, NEWTON_SCHULZ
from mlx_tiny.ops.muon.layout import make_layout
from mlx_tiny.ops.norm import NORM
from mlx_tiny.ops.operation import Case, Operation, least_bytes
from mlx_tiny.ops.qk_norm_rope import QK_NORM_ROPE

B, H, G, K, D, F, V = 2, 4, 2, 6, 5, 8, 300
LAYOUT = make_layout([(3, 2, 5), (1, 4, 4)], [(2,), (4,)])


def case(T: int = 7, **changes: Any) -> Case:
    dimensions = {"heads": H, "key_value_heads": G, "head_width": K, "width": D, "hidden": F, "vocabulary_size": V}
    return Case(model_of(context=T, **{**dimensions, **changes}), B)


def flops(operation: Operation, at: Case) -> tuple[float, float]:
    """FLOPs forward, and with gradients."""
    return operation.proof.flops(at, False), operation.proof.flops(at, True)


@pytest.mark.parametrize("T", [1, 7, 31, 33, 63, 65, 131])
def test_attention(T: int) -> None:
    at, causal = case(T), sum(s <= t for t, s in itertools.product(range(T), repeat=2))
    assert flops(ATTENTION, at) == (B * H * causal * 4 * K, 3 * B * H * causal * 4 * K)
    executed = {name: (count(at, False), count(at, True)) for name, count in ATTENTION.proof.executed_flops.items()}
    assert executed["plain"] == (B * H * T * T * 4 * K, 3 * B * H * T * T * 4 * K)
    # The CPU's blocks of queries are equally long, the last one padded, and meet keys up to their last.
    blocks = math.ceil(T / BLOCK)
    rows = math.ceil(T / blocks)
    met = B * H * sum(rows * rows * (number + 1) for number in range(blocks))
    forward = met * 2 * (K + (K + 1))
    # Backward: the weights' gradients take K + 1 numbers per pair, those of query, key and value K each.
    assert executed["cpu"] == (forward, forward + met * 2 * ((K + 1) + 3 * K))
    side = math.ceil(T / 32)
    tiled = B * H * 32 * 32 * sum(row >= column for row, column in itertools.product(range(side), repeat=2))
    assert executed["metal"] == (tiled * 2 * K * 2, tiled * 2 * K * 9)


def test_rows() -> None:
    N = 7 * B
    assert flops(QK_NORM_ROPE, case()) == (7 * N * (H + G) * K, 21 * N * (H + G) * K)
    assert flops(NORM, case()) == (3 * N * D, 9 * N * D)
    assert flops(CROSS_ENTROPY, case()) == (2 * N * D * V, 6 * N * D * V)
    for activation, each in (("relu2", 2), ("swiglu", 5)):
        assert flops(ACTIVATION, case(activation=activation)) == (each * N * F, 3 * each * N * F)


def test_newton_schulz() -> None:
    at = Case(case().model, options={"layout": LAYOUT})
    gram, square, product = 2 * 2 * 5, 2 * 2 * 2, 2 * 2 * 5
    halved = 2 * (3 * (gram / 2 + square / 2 + product) + 4**3 * 2)
    assert flops(NEWTON_SCHULZ, at) == (5 * halved, 5 * halved)
    for name in ("plain", "torch"):
        direct = 2 * (3 * (gram + square + product) + 4**3 * 3)
        assert NEWTON_SCHULZ.proof.executed_flops[name](at, False) == 5 * direct
    assert flops(MUON, at)[0] == 5 * halved + 10 * (3 * 10 + 16)


def test_bytes_are_those_of_inputs_and_outputs_and_of_their_gradients() -> None:
    N = 7 * B
    query, key = N * H * K, N * G * K
    assert least_bytes(ATTENTION, case(), False) == 4 * (query + key + key + query)
    half = Case(case().model, B, "bfloat16")
    assert least_bytes(ATTENTION, half, True) == 2 * 2 * (query + key + key + query)
    # Targets and losses take four bytes; with gradients the losses' are read, and targets have none.
    assert least_bytes(CROSS_ENTROPY, half, False) == 2 * (N * D + V * D) + 4 * 2 * N
    assert least_bytes(CROSS_ENTROPY, case(), True) == 4 * 2 * (N * D + V * D) + 4 * 3 * N
    # Gradients and momenta in, momenta and directions out.
    assert least_bytes(MUON, Case(case().model, options={"layout": LAYOUT}), False) == 4 * 4 * (3 * 10 + 16)
