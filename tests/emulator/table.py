"""The cases that a Mac runs its kernels with, out of the list of operations."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import mlx.core as mx

from emulator import cache, compile_ahead, emulated_metal
from mlx_tiny.ops import conformance
from mlx_tiny.ops.operation import Case, Operation
from mlx_tiny.ops.registry import everything


def table() -> Iterator[tuple[Operation, Case]]:
    """Every case of every operation that has kernels, inside `emulated_metal`."""
    for operation in everything():
        if "metal" in operation.implementations:
            yield from ((operation, case) for case in conformance.cases(operation, "metal"))


def launch(operation: Operation, case: Case) -> None:
    """Make the launches of a case, with its gradients, and look at no number; inside `emulated_metal`."""
    results = conformance.computed(operation, operation.by("metal"), case, *conformance.numbers(operation, case))
    mx.eval(list(results.values()))


def compile_table(checking: bool = False, lane_map: str = "apple") -> None:
    """Compile all that the table launches, several texts to a unit and on all cores, unless that has been done."""
    done = cache.digest("table", str(checking), lane_map, cache.sources()) + ".txt"
    if not cache.find(done):
        with emulated_metal(checking=checking, lane_map=lane_map):
            compile_ahead(functools.partial(launch, operation, case) for operation, case in table())
        cache.keep(done, b"")
