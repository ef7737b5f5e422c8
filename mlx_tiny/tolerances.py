"""How far a result may lie from its float64 reference: one table, each entry with its reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Bounds:
    """The error allowed at every entry of an array: `relative` times the largest expected magnitude, plus `absolute`."""

    relative: float
    absolute: float
    reason: str

    def excess(self, got: ArrayLike, expected: ArrayLike) -> float:
        """Largest error as a multiple of what is allowed: at most 1 where all is well.

        Args:
            got: array, as float64 or convertible to it.
            expected: the reference, of the same shape.

        Returns:
            0 for equal arrays; infinity where the shapes differ or one holds a NaN or infinity that the other lacks.
        """
        got, expected = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
        if got.shape != expected.shape:
            return float("inf")
        finite = np.isfinite(expected)
        if not np.array_equal(got[~finite], expected[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
            return float("inf")
        if not finite.any():
            return 0.0
        error = np.abs(got[finite] - expected[finite]).max()
        allowed = self.relative * np.abs(expected[finite]).max() + self.absolute
        return float(error / allowed) if allowed else (0.0 if error == 0 else float("inf"))


# Half a unit in the last place of 1, the rounding error of one operation: 24, 11 and 8 bits of mantissa.
_FLOAT32, _FLOAT16, _BFLOAT16 = 2.0**-24, 2.0**-11, 2.0**-8

TABLE: dict[tuple[str, str], Bounds] = {}


def bounds(operation: str, dtype: str) -> Bounds:
    """The entry of the table for an operation in a type, such as ("attention", "float32").

    Raises:
        KeyError: no such entry.
    """
    return TABLE[operation, dtype]
