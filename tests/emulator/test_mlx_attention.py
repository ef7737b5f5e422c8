"""The emulator against a kernel that is known to be right: MLX's own attention, as the wheel carries it for Macs."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numeric import normal

from mlx_tiny.ops.conformance import to_float64

from . import KernelFault, Kind, emulated_metal
from .mlx_text import flat_text, include_folder

ATTENTION = "steel/attn/kernels/steel_attention.h"
VECTOR = "sdpa_vector.h"
HEADERS = include_folder() / "mlx/backend/metal/kernels"


def is_at_hand() -> bool:
    """Whether the wheel carries the text, with the log-sum-exp that it stores from MLX 0.32.4 on."""
    return all((HEADERS / name).exists() for name in (ATTENTION, VECTOR)) and "save_lse" in (
        HEADERS / ATTENTION
    ).read_text(encoding="utf-8")


pytestmark = [
    pytest.mark.compile_ahead,
    pytest.mark.skipif(not is_at_hand(), reason="the wheel of MLX carries no such Metal text of its attention"),
]

B, H, G, K, SCALE = 1, 2, 1, 64, 0.17
QUERIES, KEYS, SIMDGROUPS = 32, 16, 4

CALL = """
  mlx::steel::AttnParams parameters;
  const int T = query_shape[2], blocks = (T + 31) / 32, key_blocks = (T + 15) / 16;
  parameters.B = query_shape[0]; parameters.H = query_shape[1]; parameters.D = query_shape[3];
  parameters.qL = T; parameters.kL = T;
  parameters.gqa_factor = query_shape[1] / key_shape[1]; parameters.scale = scale[0];
  parameters.NQ = blocks; parameters.NK = key_blocks;
  parameters.NQ_aligned = T / 32; parameters.NK_aligned = T / 16;
  parameters.qL_rem = T % 32; parameters.kL_rem = T % 16; parameters.qL_off = 0;
  for (int i = 0; i < 3; ++i) {
    parameters.Q_strides[i] = parameters.O_strides[i] = query_strides[i];
    parameters.K_strides[i] = parameters.V_strides[i] = key_strides[i];
  }
  attention<T_, 32, 16, 64, 64, 4, 1, bool, float>(
      query, key, value, output, &parameters, nullptr, nullptr, nullptr, logarithm,
      thread_index_in_simdgroup, simdgroup_index_in_threadgroup, threadgroup_position_in_grid,
      thread_position_in_threadgroup);
"""


def steel_text(T: int) -> str:
    aligned = {"align_Q": str(int(T % QUERIES == 0)), "align_K": str(int(T % KEYS == 0))}
    return flat_text(ATTENTION, {**aligned, "do_causal": "1", "save_lse": "1"})


def attend(header: str, arrays: list[mx.array], T: int) -> list[mx.array]:
    kernel: Any = mx.fast.metal_kernel(
        name="mlx_attention",
        input_names=["query", "key", "value", "scale"],
        output_names=["output", "logarithm"],
        source=CALL,
        header=header,
    )
    results: list[mx.array] = kernel(
        inputs=[*arrays, mx.array([SCALE])],
        template=[("T_", arrays[0].dtype)],
        grid=(-(-T // QUERIES) * 32 * SIMDGROUPS, H, B),
        threadgroup=(32 * SIMDGROUPS, 1, 1),
        output_shapes=[(B, H, T, K), (B, H, T)],
        output_dtypes=[arrays[0].dtype, mx.float32],
    )
    return results


def inputs(T: int, dtype: str) -> tuple[list[mx.array], list[np.ndarray]]:
    generator = np.random.default_rng(T)
    arrays, exact = zip(*(normal(generator, (B, heads, T, K), dtype) for heads in (H, G, G)), strict=True)
    return list(arrays), list(exact)


def reference(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float64 output [B, H, T, K] and log-sum-exp [B, H, T] of causal attention."""
    key, value = (array.repeat(H // G, axis=1) for array in (key, value))
    scores = SCALE * query @ key.swapaxes(-1, -2)
    scores = np.where(np.tri(query.shape[2], dtype=bool), scores, -np.inf)
    logarithm = np.log(np.exp(scores).sum(-1))
    return np.exp(scores - logarithm[..., None]) @ value, logarithm


@pytest.mark.parametrize(
    ("T", "dtype", "bound", "checking"),
    [
        (64, "float32", 2e-6, False),
        (64, "float32", 2e-6, True),
        (49, "float32", 2e-6, True),
        (45, "bfloat16", 2e-2, True),
    ],
)
def test_it_is_right_and_clean(T: int, dtype: str, bound: float, checking: bool) -> None:
    arrays, exact = inputs(T, dtype)
    with emulated_metal(checking=checking) as launches:
        output, logarithm = attend(steel_text(T), arrays, T)
    assert len(launches) == 1
    for got, right in zip((output, logarithm), reference(*exact), strict=True):
        np.testing.assert_allclose(to_float64(got), right, rtol=0, atol=bound)


def test_its_lane_map_is_that_of_apple() -> None:
    """It knows the map by heart, so under another one it must be wrong: the map of the emulator has an effect."""
    arrays, exact = inputs(64, "float32")
    with emulated_metal(lane_map="other"):
        output, _ = attend(steel_text(64), arrays, 64)
    assert np.abs(to_float64(output) - reference(*exact)[0]).max() > 0.1


BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"


def needed_barriers(text: str) -> list[int]:
    """Positions of the barriers in the loop over keys: before and after each block of keys, and of values."""
    positions, start = [], text.index("// Loop over KV seq length")
    while (start := text.find(BARRIER, start + 1)) >= 0:
        positions.append(start)
    # Two serve the exchange between simdgroups, which this instance does not make.
    exchange = text.index("if constexpr (WN == 2) {", text.index("// Loop over KV seq length"))
    end = text.index("// Apply scale in float32")
    return [position for position in positions if not exchange < position < end]


@pytest.mark.compile_ahead(faults=True)
@pytest.mark.parametrize("which", range(4))
def test_without_a_needed_barrier_it_races(which: int) -> None:
    text = steel_text(64)
    positions = needed_barriers(text)
    assert len(positions) == 4
    at = positions[which]
    text = text[:at] + text[at + len(BARRIER) :]
    with emulated_metal(checking=True), pytest.raises(KernelFault) as caught:
        attend(text, inputs(64, "float32")[0], 64)
    assert {fault.kind for fault in caught.value.faults} & {Kind.RACE, Kind.UNINITIALISED}
    assert all(fault.line is not None for fault in caught.value.faults)


@pytest.mark.compile_ahead(faults=True)
def test_a_barrier_for_the_wrong_memory_does_not_help() -> None:
    text = steel_text(64)
    at = needed_barriers(text)[1]
    text = text[:at] + "threadgroup_barrier(mem_flags::mem_device);" + text[at + len(BARRIER) :]
    with emulated_metal(checking=True), pytest.raises(KernelFault, match="race"):
        attend(text, inputs(64, "float32")[0], 64)


VECTOR_CALL = """
  const int groups = query_shape[1] / key_shape[1], keys = key_shape[2];
  const size_t head = key_strides[1], row = key_strides[2];
  sdpa_vector<T, 64>(
      query, key, value, output, groups, keys, head, row, head, row, scale, nullptr, nullptr, 0, 0, 0, nullptr, 0,
      threadgroup_position_in_grid, threadgroups_per_grid, simdgroup_index_in_threadgroup,
      thread_index_in_simdgroup);
"""


@pytest.mark.parametrize("checking", [False, True])
def test_the_kernel_for_one_query_is_right_and_clean(checking: bool) -> None:
    arrays, exact = inputs(70, "float32")
    arrays[0], exact[0] = arrays[0][:, :, -1:], exact[0][:, :, -1:]
    with emulated_metal(checking=checking):
        kernel: Any = mx.fast.metal_kernel(
            name="mlx_vector_attention",
            input_names=["query", "key", "value", "scale"],
            output_names=["output"],
            source=VECTOR_CALL,
            header=flat_text(VECTOR, {}),
        )
        (output,) = kernel(
            inputs=[*arrays, mx.array(SCALE)],
            template=[("T", mx.float32)],
            grid=(B * H * 1024, 1, 1),
            threadgroup=(1024, 1, 1),
            output_shapes=[(B, H, 1, K)],
            output_dtypes=[mx.float32],
        )
    key, value = (array.repeat(H // G, axis=1) for array in exact[1:])
    weights = np.exp(SCALE * exact[0] @ key.swapaxes(-1, -2))
    expected = weights / weights.sum(-1, keepdims=True) @ value
    np.testing.assert_allclose(to_float64(output), expected, rtol=0, atol=2e-6)
