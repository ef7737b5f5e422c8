"""Counts the launches on a GPU of a function compiled by `mx.compile`, from MLX's graph, on any machine.

The graph is not evaluated, and has one lane as on a GPU. Functions for which a GPU has a kernel, and for which a CPU
uses several operations (`mx.fast.rms_norm`, and every `mx.fast.metal_kernel`), are replaced by one opaque node when the
graph is built. `mx.compile` cannot fuse such a node, so the rest is fused as on a GPU. Other functions of `mx.fast` are
counted as their plain operations if there is no GPU. The caller chooses the implementations, for the device `mac`.

The count is a lower bound: MLX also copies arrays that are not contiguous where a kernel or a reshape needs that, and
sums large arrays in two launches.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map

from mlx_tiny.config import RunConfig
from mlx_tiny.linux.lanes import one_lane
from mlx_tiny.ops.operation import Device, generation_here
from mlx_tiny.training.step import TrainingState, fresh_state

VIEWS = {
    # These give another shape or other strides of the same memory.
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
    # These return the same array, and matter for gradients or the scheduler only.
    "Copy",
    "CustomTransforms",
    "StopGradient",
}
"""Primitives that launch nothing."""

# The node that replaces a kernel. mx.checkpoint uses the same primitive, but is not used in what is counted.
_OPAQUE = "Depends"

_NODE = re.compile(r'\{ (?P<node>\d+) \[label ="(?P<primitive>[^"]+)"')
_EDGE = re.compile(r'"\w+" -> (?P<node>\d+)')


def count_launches(function: Callable[..., Any], *arrays: Any) -> Counter[str]:
    """The launches of `mx.compile(function)(*arrays)`, by name of the primitive.

    A fused chain counts as one "Compiled", a kernel of `mx.fast.rms_norm` or `mx.fast.metal_kernel` as one
    "CustomKernel", a concatenation once per input, because each is copied to its place, and views do not count.

    Args:
        function: takes and returns arrays, or trees of them; it is traced, not evaluated.
        arrays: its arguments.
    """
    leaves = _leaves(list(arrays))

    def flat(*values: mx.array) -> list[mx.array]:
        given = iter(values)
        arguments = tree_map(lambda _: next(given), list(arrays))
        return _leaves([function(*arguments)])

    mx.eval(leaves)  # or what made them would be counted
    text = io.StringIO()
    with _opaque_kernels(), one_lane():
        mx.export_to_dot(text, *mx.compile(flat)(*leaves))
    inputs = Counter(edge["node"] for edge in _EDGE.finditer(text.getvalue()))
    counts: Counter[str] = Counter()
    for node in _NODE.finditer(text.getvalue()):
        primitive = "Compiled" if node["primitive"].startswith("Compiled") else node["primitive"]
        primitive = "CustomKernel" if primitive == _OPAQUE else primitive
        if primitive not in VIEWS:
            counts[primitive] += inputs[node["node"]] if primitive == "Concatenate" else 1
    return counts


def _leaves(tree: Any) -> list[mx.array]:
    pairs: Any = tree_flatten(tree)
    return [leaf for _, leaf in pairs]


def mac() -> Device:
    """A Mac with Metal; of the generation of this machine, if that is a Mac."""
    return Device("metal", generation_here())


def step_launches(config: RunConfig, take: Callable[[TrainingState, np.ndarray], list[mx.array]]) -> int:
    """The launches of a function of training state and batch, with the shapes of a configuration."""
    state = fresh_state(config)
    batch = np.zeros((config.train.batch_size, config.model.context + 1), dtype=np.int32)

    def step(parameters: Any, optimizer: Any) -> list[mx.array]:
        return take(TrainingState(parameters, optimizer), batch)

    return count_launches(step, state.parameters, state.optimizer).total()


@contextlib.contextmanager
def _opaque_kernels() -> Iterator[None]:
    """Replace kernels by single nodes inside the block; they compute nothing."""
    changes = {"metal_kernel": _metal_kernel, "rms_norm": _rms_norm}
    kept = {name: getattr(mx.fast, name) for name in changes}
    for dtype in (mx.float32, mx.float16, mx.bfloat16):
        _zero(dtype)
    try:
        for name, function in changes.items():
            setattr(mx.fast, name, function)
        yield
    finally:
        for name, function in kept.items():
            setattr(mx.fast, name, function)


def _launch(inputs: list[mx.array], outputs: list[tuple[tuple[int, ...], mx.Dtype]]) -> list[mx.array]:
    """One node from `inputs` to arrays of these shapes and dtypes."""
    blank = [mx.broadcast_to(_zero(dtype), shape) for shape, dtype in outputs]
    nodes: list[mx.array] = mx.depends(blank, inputs)
    return nodes


@functools.cache
def _zero(dtype: mx.Dtype) -> mx.array:
    zero = mx.zeros((), dtype)
    mx.eval(zero)  # or filling it would be counted, as it would where a graph is being built already
    return zero


def _metal_kernel(**_: Any) -> Callable[..., list[mx.array]]:
    def call(*, inputs: list[Any], output_shapes: list[Any], output_dtypes: list[Any], **_: Any) -> list[mx.array]:
        arrays = [array for array in inputs if isinstance(array, mx.array)]
        return _launch(arrays, list(zip(output_shapes, output_dtypes, strict=True)))

    return call


def _rms_norm(x: mx.array, weight: mx.array | None, eps: float) -> mx.array:
    """As on a GPU: a kernel forward, one backward, and a sum over rows for the gradient of the weight."""

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

    normed: Any = norm(x, weight)
    return normed  # type: ignore[no-any-return]
