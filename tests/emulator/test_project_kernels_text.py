"""Every kernel of the project passes the type gate and the lint, with each set of template values in which it is used.

The table's cases launch them here without being run: only the text that MLX generates matters, so all widths and types
are cheap. Inputs of fewer than 8 elements are among the cases, since they arrive in constant memory.
"""

from __future__ import annotations

import re

import pytest

from emulator import LaunchRecord
from emulator.lint import lint, lint_launch
from emulator.table import captured_launches
from emulator.type_gate import check_types
from mlx_tiny.ops.metal import kernel_names


@pytest.fixture(scope="module")
def launches() -> list[LaunchRecord]:
    return captured_launches()


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
