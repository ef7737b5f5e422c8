"""Every kernel of the project passes the type gate and the lint, with each set of template values in which it is used.

The wrappers launch them here without being run: only the text that MLX generates matters, so all widths and types are
cheap. Inputs of fewer than 8 elements are among the cases, since they arrive in constant memory.
"""

from __future__ import annotations

import re
from unittest import mock

import mlx.core as mx
import pytest
from mlx_tiny.ops.attention_metal import DTYPES
from mlx_tiny.ops.dispatch import ATTENTION_WIDTHS
from mlx_tiny.ops.muon_pack import make_layout, pack
from mlx_tiny.ops.newton_schulz import orthogonalize, symmetric_product
from mlx_tiny.ops.rotary import rotary_tables

from emulator import LaunchRecord, emulated_metal, stand_in
from emulator.lint import lint, lint_launch
from emulator.type_gate import check_types
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.ops.metal import kernel_names
from mlx_tiny.ops.qk_norm_rope import qk_norm_rope

MUON_DTYPES = (mx.float32, mx.bfloat16)
# B, T, H, G: several blocks and groups, and the smallest there is.
SIZES = ((2, 33, 4, 2), (1, 1, 1, 1))


def attention(dtype: mx.Dtype, B: int, T: int, H: int, G: int, K: int) -> None:
    query = mx.zeros((B, T, H, K), dtype)
    key = mx.zeros((B, T, G, K), dtype)

    def total(*inputs: mx.array) -> mx.array:
        return causal_attention(*inputs, scale=0.125, implementation="metal").sum()

    mx.eval(mx.grad(total, argnums=(0, 1, 2))(query, key, key))


def qk_norm_rope_run(dtype: mx.Dtype, B: int, T: int, H: int, G: int, K: int) -> None:
    projected = mx.zeros((B, T, H + 2 * G, K), dtype)
    weight = mx.zeros(K, dtype)

    def total(*inputs: mx.array) -> mx.array:
        tables = rotary_tables(T, K, 100.0)
        parts = qk_norm_rope(*inputs, tables, key_value_heads=G, epsilon=1e-6, implementation="metal")
        return sum(part.sum() for part in parts)

    mx.eval(mx.grad(total, argnums=(0, 1, 2))(projected, weight, weight))


def muon(dtype: mx.Dtype) -> None:
    for shape in ((2, 19, 35), (1, 300, 33), (1, 2, 3), (1, 1, 1)):
        mx.eval(orthogonalize(mx.zeros(shape, dtype), implementation="metal"))
    for blocks in (2, 4):
        bank = mx.zeros((2, 40, 9), dtype)
        mx.eval(symmetric_product(bank, beta=2.0, addend_NRR=mx.zeros((2, 40, 40), dtype), blocks=blocks))
    for count in (1, 2, 3, 4):
        shapes = [(1, 1, 1), (2, 40, 33), (1, 33, 40), (1, 12, 4)][:count]
        layout = make_layout(shapes, [(1,), (20, 20), (33,), (4, 8)][:count])
        arrays = [mx.zeros(shape) for shape in shapes]
        packed = pack(arrays, arrays, mx.array(0.9), layout, dtype=dtype, implementation="metal")
        mx.eval(packed.banks)


@pytest.fixture(scope="module")
def launches() -> list[LaunchRecord]:
    """Each different text and size once: every width in every type, with the sizes in turn."""
    with mock.patch.object(stand_in, "execute"), emulated_metal() as made:
        for turn, dtype in enumerate(DTYPES):
            for number, width in enumerate(ATTENTION_WIDTHS):
                attention(dtype, *SIZES[(turn + number) % 2], width)
            for number, width in enumerate((2, 6, 32, 80, 256)):
                qk_norm_rope_run(dtype, *SIZES[(turn + number) % 2], width)
        for dtype in MUON_DTYPES:
            muon(dtype)
    return list({(launch.source, launch.grid): launch for launch in made}.values())


@pytest.mark.parametrize("name", kernel_names())
def test_each_kernel_is_launched_and_its_text_is_clean(name: str, launches: list[LaunchRecord]) -> None:
    own = [launch for launch in launches if launch.name == name]
    assert own, f"no case here launches {name}: add one"
    sources = {launch.source for launch in own}
    assert {finding for source in sources for finding in check_types(source)} == set()
    assert {finding for source in sources for finding in lint(source)} == set()
    assert {finding for launch in own for finding in lint_launch(launch)} == set()


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("attention_backward_query", "log_sum_exp"),
        ("attention_backward_key_value", "delta"),
        ("qk_norm_rope_forward", "query_norm_weight"),
        ("qk_norm_rope_backward", "cosine"),
        ("symmetric_product", "x"),
    ],
)
def test_small_inputs_in_constant_memory_are_among_the_cases(
    name: str, small: str, launches: list[LaunchRecord]
) -> None:
    texts = "".join(launch.source for launch in launches if launch.name == name)
    for space in ("constant", "device"):
        assert re.search(rf"const {space} \w+\* {small} \[\[buffer", texts), space
