"""Every kernel of the project passes the type gate and the lint, with each set of template values in which it is used.

The table's cases launch them here without being run: only the text that MLX generates matters, so all widths and types
are cheap. Inputs of fewer than 8 elements are among the cases, since they arrive in constant memory.
"""

from __future__ import annotations

import re
from unittest import mock

import pytest

from emulator import LaunchRecord, emulated_metal, stand_in
from emulator.lint import lint, lint_launch
from emulator.table import launch, table
from emulator.type_gate import check_types
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.metal import kernel_names
from mlx_tiny.ops.operation import DTYPES, Case
from mlx_tiny.ops.registry import operation_called

SMALLEST = [
    *(("attention", {"head_width": 32}, dtype) for dtype in DTYPES),
    *(("qk_norm_rope", {"head_width": width}, dtype) for width in (2, 6) for dtype in DTYPES),
]


@pytest.fixture(scope="module")
def launches() -> list[LaunchRecord]:
    """Each different text and size once."""
    with mock.patch.object(stand_in, "execute"), emulated_metal() as made:
        for operation, case in table():
            launch(operation, case)
        for name, dimensions, dtype in SMALLEST:
            model = model_of(context=1, heads=1, key_value_heads=1, **dimensions)
            launch(operation_called(name), Case(model, batch=1, dtype=dtype))
    return list({(record.source, record.grid): record for record in made}.values())


@pytest.mark.parametrize("name", kernel_names())
def test_each_kernel_is_launched_and_its_text_is_clean(name: str, launches: list[LaunchRecord]) -> None:
    own = [record for record in launches if record.name == name]
    assert own, f"no case of the table launches {name}: add one"
    sources = {record.source for record in own}
    assert {finding for source in sources for finding in check_types(source)} == set()
    assert {finding for source in sources for finding in lint(source)} == set()
    assert {finding for record in own for finding in lint_launch(record)} == set()


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
    texts = "".join(record.source for record in launches if record.name == name)
    for space in ("constant", "device"):
        assert re.search(rf"const {space} \w+\* {small} \[\[buffer", texts), space
