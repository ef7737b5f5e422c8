"""Every kernel of the project passes the type gate and the lint, with each set of template values in which it is used.

The table's cases launch them here without being run: only the text that MLX generates matters, so all widths and types
are cheap. Inputs of fewer than 8 elements are among the cases, since they arrive in constant memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import pytest

from emulator import LaunchRecord
from emulator.lint import lint, lint_launch
from emulator.table import captured_launches
from emulator.type_gate import check_types
from mlx_tiny.ops.metal import kernel_names


@pytest.mark.parametrize("name", kernel_names())
def test_each_kernel_is_launched_and_its_text_is_clean(name: str) -> None:
    own = [record for record in captured_launches() if record.name == name]
    assert own, f"no case of the table launches {name}: add one"
    sources = {record.source for record in own}
    assert {finding for source in one_number_of_heads(own) for finding in check_types(source)} == set()
    assert {finding for source in sources for finding in lint(source)} == set()
    assert {finding for record in own for finding in lint_launch(record)} == set()


def one_number_of_heads(records: list[LaunchRecord]) -> Iterable[str]:
    """The texts, of those of QK-norm that differ in the numbers of heads alone the first: these are no one's type."""
    return {without_heads(record): record.source for record in reversed(records)}.values()


def without_heads(record: LaunchRecord) -> object:
    if not record.name.startswith("qk_norm_rope"):
        return record.source
    return record.name, tuple((str(dtype), shape[-1], math.prod(shape) < 8) for _, shape, dtype in record.inputs)


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
def test_small_inputs_in_constant_memory_are_among_the_cases(name: str, small: str) -> None:
    texts = "".join(record.source for record in captured_launches() if record.name == name)
    for space in ("constant", "device"):
        assert re.search(rf"const {space} \w+\* {small} \[\[buffer", texts), space
