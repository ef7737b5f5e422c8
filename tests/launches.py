"""How many times a GPU is launched by a function that `mx.compile` has compiled, read from MLX's own graph.

The graph is that of the compiled function, unevaluated, on any machine. What a GPU has a kernel for but a CPU spells
out (`mx.fast.rms_norm`, and every `mx.fast.metal_kernel`) is replaced while the graph is built by one opaque node. As
`mx.compile` cannot fuse such a node either, the rest is fused as on a GPU. Other functions of `mx.fast` are counted as
their plain operations where no GPU is at hand. `implementation="auto"` stands for what a Mac with Metal would take.

What is counted is a lower bound: MLX also copies arrays that a kernel or a reshape needs contiguous and are not, and
sums large arrays in two launches.
"""

from __future__ import annotations

import functools
import io
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from mlx_tiny.ops import dispatch, metal

VIEWS = {
    # Another shape or other strides over the same bytes.
    "AsStrided",
    "Broadcast",
    "BroadcastAxes",
    "ExpandDims",
    "Flatten",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unflatten",
    "View",
    # The same array, with something to say to `grad` or to the scheduler.
    "Copy",
    "CustomTransforms",
    "StopGradient",
}
"""Primitives that launch nothing."""

# The node that stands for a kernel. mx.checkpoint uses the same primitive; nothing that is counted here does.
_OPAQUE = "Depends"

_NODE = re.compile(r'\{ (?P<node>\d+) \[label ="(?P<primitive>\w+)"')
_EDGE = re.compile(r'"\w+" -> (?P<node>\d+)')


def count_launches(function: Callable[..., Any], *arrays: Any) -> Counter[str]:
    """The launches of `mx.compile(function)(*arrays)` by the primitive's name.

    A fused chain counts as one "Compiled", a kernel of `mx.fast.rms_norm` or `mx.fast.metal_kernel` as one
    "CustomKernel", a concatenation once an input, because each is copied to its place, views not at all.

    Args:
        function: takes and returns arrays, or trees of them; it is traced, not evaluated.
        arrays: its arguments.
    """
    leaves = tree_flatten(list(arrays))
    names = [name for name, _ in leaves]

    def flat(*values: mx.array) -> list[mx.array]:
        arguments = tree_unflatten(list(zip(names, values, strict=True)))
        return [leaf for _, leaf in tree_flatten([function(*arguments)])]

    mx.eval([leaf for _, leaf in leaves])  # or what made them would be counted
    text = io.StringIO()
    with (
        mock.patch.object(mx.fast, "metal_kernel", _metal_kernel),
        mock.patch.object(mx.fast, "rms_norm", _rms_norm),
        mock.patch.object(metal, "why_not_metal", return_value=None),
        # The kernels compute nothing here, so their self-tests are taken as passed, and that is forgotten afterwards.
        mock.patch.object(dispatch, "_failure", return_value=None),
        mock.patch.dict(dispatch._verdicts, clear=True),
    ):
        mx.export_to_dot(text, *mx.compile(flat)(*(leaf for _, leaf in leaves)))
    inputs = Counter(edge["node"] for edge in _EDGE.finditer(text.getvalue()))
    counts: Counter[str] = Counter()
    for node in _NODE.finditer(text.getvalue()):
        primitive = "Compiled" if node["primitive"].startswith("Compiled") else node["primitive"]
        primitive = "CustomKernel" if primitive == _OPAQUE else primitive
        if primitive not in VIEWS:
            counts[primitive] += inputs[node["node"]] if primitive == "Concatenate" else 1
    return counts


def _launch(inputs: list[mx.array], outputs: list[tuple[tuple[int, ...], mx.Dtype]]) -> list[mx.array]:
    """One node from `inputs` to arrays of these shapes and types."""
    blank = [mx.broadcast_to(_zero(dtype), shape) for shape, dtype in outputs]
    nodes: list[mx.array] = mx.depends(blank, inputs)
    return nodes


@functools.cache
def _zero(dtype: mx.Dtype) -> mx.array:
    zero = mx.zeros((), dtype)
    mx.eval(zero)  # or filling it would be counted
    return zero


def _metal_kernel(**_: Any) -> Callable[..., list[mx.array]]:
    def call(*, inputs: list[Any], output_shapes: list[Any], output_dtypes: list[Any], **_: Any) -> list[mx.array]:
        arrays = [array for array in inputs if isinstance(array, mx.array)]
        return _launch(arrays, list(zip(output_shapes, output_dtypes, strict=True)))

    return call


def _rms_norm(x: mx.array, weight: mx.array | None, eps: float) -> mx.array:
    """As on a GPU: a kernel forward, one backward, and a sum over rows for the weight's gradient."""

    @mx.custom_function
    def norm(x: mx.array, weight: mx.array | None) -> mx.array:
        return _launch([x] if weight is None else [x, weight], [(x.shape, x.dtype)])[0]

    @norm.vjp
    def norm_vjp(primals: Any, cotangent: mx.array, _: Any) -> Any:
        x, weight = primals
        if weight is None:
            return _launch([x, cotangent], [(x.shape, x.dtype)])[0], None
        gradient, terms = _launch([x, weight, cotangent], [(x.shape, x.dtype)] * 2)
        return gradient, terms.reshape(-1, weight.size).sum(axis=0)

    return norm(x, weight)
