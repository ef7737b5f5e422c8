"""The cases that a Mac runs its kernels with, out of the list of operations; to be used inside `emulated_metal`."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx

from mlx_tiny.ops import conformance
from mlx_tiny.ops.operation import Case, Operation
from mlx_tiny.ops.registry import everything


def table() -> Iterator[tuple[Operation, Case]]:
    """Every case of every operation that has kernels."""
    for operation in everything():
        if "metal" in operation.implementations:
            yield from ((operation, case) for case in conformance.cases(operation, "metal"))


def launch(operation: Operation, case: Case) -> None:
    """Make the launches of a case, with its gradients, and look at no number."""
    results = conformance.computed(operation, operation.by("metal"), case, *conformance.numbers(operation, case))
    mx.eval(list(results.values()))
