"""FLOPs and bytes of the operations: by formula, and counted."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from mlx_tiny.linux.attention import BLOCK
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.muon.layout import make_layout
from mlx_tiny.ops.operation import Case, Operation

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
