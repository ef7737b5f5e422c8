"""What the kernels' wrappers launch in a compiled graph, beside the kernels themselves."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from mlx_tiny.ops import conformance, metal
from mlx_tiny.ops.conformance import computed, numbers
from mlx_tiny.ops.operation import Operation
from mlx_tiny.ops.registry import operation_called

# Primitives that launch nothing: other shapes or strides over the same bytes, and words to `grad`.
VIEWS = "Broadcast CustomTransforms ExpandDims Flatten Reshape Slice Split Squeeze StopGradient Transpose Unflatten"
ZEROS = {dtype: mx.zeros((), dtype) for dtype in (mx.float32, mx.float16, mx.bfloat16)}


def one_node(**_: Any) -> Callable[..., list[mx.array]]:
    """In place of `mx.fast.metal_kernel`: a launch is one node that nothing is fused with."""

    def launch(*, inputs: list, output_shapes: list, output_dtypes: list, **_: Any) -> list[mx.array]:
        outputs = zip(output_shapes, output_dtypes, strict=True)
        return mx.depends([mx.broadcast_to(ZEROS[dtype], shape) for shape, dtype in outputs], inputs)

    return launch


def launched(operation: Operation, dtype: str, backward: bool) -> Counter[str]:
    """Primitives of the compiled graph that are no views; a fused chain is one."""
    cases = [case for case in conformance.cases(operation, "metal") if case.dtype == dtype]
    case = max(cases, key=lambda case: case.rows)
    inputs, cotangents = numbers(operation, case)
    mx.eval(inputs, cotangents, ZEROS)
    graph, text = mx.compile(lambda a, b: computed(operation, operation.by("metal"), case, a, b)), io.StringIO()
    mx.export_to_dot(text, *graph(inputs, cotangents if backward else {}).values())
    names = re.findall(r'\{ \d+ \[label ="(\w+)"', text.getvalue())
    return Counter("Compiled" if name.startswith("Compiled") else name for name in names if name not in VIEWS.split())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        ("attention", {"Depends": 1}, {"Depends": 3}),
        # The terms of the weights' gradients are added up, and in 16 bits cast.
        ("qk_norm_rope", {"Depends": 1}, {"Depends": 2, "Sum": 1}),
    ],
)
def test_kernels_bring_little_beside_them(
    name: str, forward: dict, backward: dict, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mx.fast, "metal_kernel", one_node)
    monkeypatch.setattr(metal, "why_not_metal", lambda: None)
    casts = {"AsType": 1} if name == "qk_norm_rope" and dtype != "float32" else {}
    assert launched(operation_called(name), dtype, backward=False) == forward
    assert launched(operation_called(name), dtype, backward=True) == {**backward, **casts}
