"""The cases that a Mac runs its kernels with, out of the list of operations."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from unittest import mock

import mlx.core as mx

from emulator import LaunchRecord, cache, compile_ahead, emulated_metal, stand_in
from mlx_tiny.ops import conformance
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.operation import DTYPES, Case, Device, Operation
from mlx_tiny.ops.registry import everything, operation_called

# Inputs of fewer than 8 elements, which arrive in constant memory.
_SMALLEST = [
    *(("attention", {"head_width": 32}, dtype) for dtype in DTYPES),
    *(("qk_norm_rope", {"head_width": width}, dtype) for width in (2, 6) for dtype in DTYPES),
]


def table() -> Iterator[tuple[Operation, Case]]:
    """Every case of every operation that has kernels, inside `emulated_metal`."""
    for operation in everything():
        if "metal" in operation.implementations:
            yield from ((operation, case) for case in conformance.cases(operation, "metal"))


def selection() -> Iterator[tuple[Operation, Case]]:
    """For what takes long: few cases of each kernel, with every width, type, ratio of heads and option in one."""
    kernels: set[str] = set()
    for operation in everything():
        own = set(operation.proof.kernels.values()) - kernels
        left = list(conformance.cases(operation, "metal", Device("metal"))) if own else []
        kernels |= own
        covered: set[object] = set()
        while left:
            # Of those that add as much, the smallest with rows in more than one of a kernel's blocks.
            best = max(left, key=lambda case: (len(_shown(case) - covered), case.rows > 64, -case.rows))
            covered |= _shown(best)
            left = [case for case in left if _shown(case) - covered]
            yield operation, best


def _shown(case: Case) -> set[object]:
    m = case.model
    dimensions = {"width": m.head_width, "ratio": m.heads // m.key_value_heads, "batch": case.batch}
    options = {name: case.options[name] for name in ("blocks", "adds", "ragged") if name in case.options}
    return {("dtype", case.dtype), *dimensions.items(), *options.items()}


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


@functools.cache
def captured_launches() -> tuple[LaunchRecord, ...]:
    """Each different text and size that the table launches once, and those of the smallest inputs; nothing is run."""
    with mock.patch.object(stand_in, "execute"), emulated_metal() as made:
        for operation, case in table():
            launch(operation, case)
        for name, dimensions, dtype in _SMALLEST:
            model = model_of(context=1, heads=1, key_value_heads=1, **dimensions)
            launch(operation_called(name), Case(model, batch=1, dtype=dtype))
    return tuple({(record.source, record.grid): record for record in made}.values())
