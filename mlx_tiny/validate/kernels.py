"""The Metal kernels' table: every case of every operation that has a kernel, against float64 formulas.

It needs no PyTorch. `scripts/validate_kernels` computes the same table through the emulator, on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from mlx_tiny.ops import conformance
from mlx_tiny.ops.conformance import Result
from mlx_tiny.ops.operation import Case, Operation
from mlx_tiny.ops.registry import everything
from mlx_tiny.validate.table import Comparison, Row

LAYER = "Metal kernels"


def rows() -> Iterator[Row]:
    """A row for each kernel in each case; no rows where Metal cannot run."""
    for operation in everything():
        if "metal" in operation.implementations:
            for case in conformance.cases(operation, "metal"):
                yield from case_rows(operation, case)


def case_rows(operation: Operation, case: Case) -> Iterator[Row]:
    """The rows of one case; after an error of the device or of Metal's compiler, all of them fail."""
    kernels = operation.proof.kernels
    names = list(dict.fromkeys(kernels.values())) or [operation.name]
    began = time.perf_counter()
    try:
        results = conformance.check(operation, "metal", case)
    except Exception as error:
        yield from (_comparison(operation, case, name, error).row() for name in names)
        return
    seconds = (time.perf_counter() - began) / len(names)
    for name in names:
        own = [result for result in results if kernels.get(result.name, names[0]) == name]
        yield _comparison(operation, case, name, own).row(seconds)


def _comparison(operation: Operation, case: Case, kernel: str, found: list[Result] | Exception) -> Comparison:
    def run() -> list[Result]:
        if isinstance(found, Exception):
            raise found
        return found

    return Comparison(LAYER, kernel, operation.title(case), case.dtype, run)
