"""The list of operations: everything that is chosen, checked, timed or counted by operation goes through it.

To add one: a folder with its implementations and its `case.py`, and a line here. See CONTRIBUTING.md.
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
"""Those that a training step chooses an implementation of, in the order of computation."""


def everything() -> Iterator[Operation]:
    """All operations, each after the parts that it is made of."""
    for operation in OPERATIONS.values():
        yield from operation.parts
        yield operation


def operation_called(name: str) -> Operation:
    """The operation, or part of one, of this name.

    Raises:
        TinyError: there is none.
    """
    found = {operation.name: operation for operation in everything()}
    if name not in found:
        raise TinyError(f"Unknown operation {name!r}", expected=f"one of {', '.join(found)}")
    return found[name]
