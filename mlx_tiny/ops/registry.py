"""The list of all operations. Everything that chooses, checks, times or counts operations loops over it.

To add one, write a folder with its implementations and its `case.py`, and a line here. See CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlx_tiny.errors import TinyError
from mlx_tiny.ops.activation import ACTIVATION
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.cross_entropy import CROSS_ENTROPY
from mlx_tiny.ops.muon import MUON
from mlx_tiny.ops.norm import NORM
from mlx_tiny.ops.operation import Operation
from mlx_tiny.ops.qk_norm_rope import QK_NORM_ROPE

OPERATIONS = {
    operation.name: operation for operation in (NORM, QK_NORM_ROPE, ATTENTION, ACTIVATION, CROSS_ENTROPY, MUON)
}
"""The operations of a training step, in the order of computation."""


def everything() -> Iterator[Operation]:
    """All operations, each after its parts."""
    for operation in OPERATIONS.values():
        yield from operation.parts
        yield operation


def operation_called(name: str) -> Operation:
    """The operation, or part of an operation, of this name.

    Raises:
        TinyError: there is none.
    """
    found = {operation.name: operation for operation in everything()}
    if name not in found:
        raise TinyError(f"Unknown operation {name!r}", expected=f"one of {', '.join(found)}")
    return found[name]
