"""Every kernel of the project passes the type gate and the lint, with each template value with which it is used.

The table's cases launch them here without being run: only the text that MLX generates matters, so all widths and types
are cheap. Inputs of fewer than 8 elements are among the cases, since they arrive in constant memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

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
    texts = list(with_every_value(own))
    assert {finding for text in texts for finding in check_types(text)} == set()
    assert {finding for text in texts for finding in lint(text)} == set()
    assert {finding for record in own for finding in lint_launch(record)} == set()


def with_every_value(records: list[LaunchRecord]) -> Iterator[str]:
    """Texts in which each value of each template argument occurs, and each input in either kind of memory."""
    covered: set[object] = set()
    for record in records:
        (values,) = re.findall(r"\[\[kernel\]\] decltype\(\w+<(.*?)>\)", record.source)
        spaces = [(name, math.prod(shape) < 8) for name, shape, _ in record.inputs]
        shown = {*enumerate(values.split(", ")), *spaces}
        if shown - covered:
            covered |= shown
            yield record.source


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
