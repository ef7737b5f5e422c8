"""Shapes and inputs for checks that several operations share."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.ops.operation import DTYPES, Named, Special

# Constants that are not the defaults, so that code which ignores them fails.
_MODEL = ModelConfig(vocabulary_size=300, width=48, hidden=80, rope_base=500.0, norm_epsilon=3e-6)


def model_of(**dimensions: Any) -> ModelConfig:
    """A model of these dimensions, with constants that are not the defaults."""
    return dataclasses.replace(_MODEL, **dimensions)


# (T, H, G): lengths around the blocks of attention, of 32 in the kernels and 64 on the CPU; numbers of rows that are
# multiples of a threadgroup's simdgroups and tokens, and others; and several ratios of query heads to key heads. With 4
# query heads per key head, a wrong assignment fails.
_SEQUENCES = (
    (1, 2, 1),
    (7, 2, 2),
    (31, 4, 2),
    (32, 4, 1),
    (33, 2, 2),
    (63, 4, 4),
    (65, 4, 2),
    (128, 2, 1),
    (257, 2, 2),
    (40, 8, 2),
)


def meetings(widths: Sequence[int]) -> Iterator[tuple[int, str, tuple[int, int, int]]]:
    """Head width, dtype and (T, H, G): every sequence in every dtype, and every width in every dtype several times."""
    for (index, sequence), (shift, dtype) in itertools.product(enumerate(_SEQUENCES), enumerate(DTYPES)):
        # Shifted by two, so that a width is combined with other sequences in each dtype.
        yield widths[(index + 2 * shift) % len(widths)], dtype, sequence


def equal(array: mx.array, value: float = 0.75) -> mx.array:
    """An array of the same shape, with all entries equal."""
    return mx.full(array.shape, value, dtype=array.dtype)


def small(array: mx.array) -> mx.array:
    """The numbers divided by 1000."""
    return array * 1e-3


def not_contiguous(array: mx.array) -> mx.array:
    """The same numbers, but not row-contiguous: the first axis runs fastest, and a NaN follows each number."""
    turned = array.transpose()
    gaps = mx.full(turned.shape, math.nan, dtype=turned.dtype)
    return mx.contiguous(mx.stack([turned, gaps], axis=-1).flatten(-2))[..., ::2].transpose()


def _floating(arrays: Named) -> list[str]:
    return [name for name, array in arrays.items() if mx.issubdtype(array.dtype, mx.floating)]


SPECIALS = {
    "equal entries": Special(lambda arrays: {**arrays, **{name: equal(arrays[name]) for name in _floating(arrays)}}),
    "not contiguous": Special(
        lambda arrays: {**arrays, **{name: not_contiguous(arrays[name]) for name in _floating(arrays)}}
    ),
}
"""Special inputs of several operations."""
