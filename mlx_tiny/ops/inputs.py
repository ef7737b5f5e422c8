"""Which shapes and inputs the operations are checked with, where several of them share one."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.ops.operation import DTYPES, Named, Special

T = TypeVar("T")

# Constants that no default has, so that one which is ignored shows.
_MODEL = ModelConfig(vocabulary_size=300, width=48, hidden=80, rope_base=500.0, norm_epsilon=3e-6)


def model_of(**dimensions: Any) -> ModelConfig:
    """A model of these dimensions, with constants that no default has."""
    return dataclasses.replace(_MODEL, **dimensions)


def meetings(widths: Sequence[int], sequences: Sequence[T]) -> Iterator[tuple[int, str, T]]:
    """Every sequence in every type, and every width in every type and with several sequences."""
    for (index, sequence), (shift, dtype) in itertools.product(enumerate(sequences), enumerate(DTYPES)):
        # Twice the shift, so that a width meets other sequences in each type.
        yield widths[(index + 2 * shift) % len(widths)], dtype, sequence


def equal(array: mx.array, value: float = 0.75) -> mx.array:
    """As many numbers, all the same."""
    return mx.full(array.shape, value, dtype=array.dtype)


def small(array: mx.array) -> mx.array:
    """A thousandth of the numbers."""
    return array * 1e-3


def not_contiguous(array: mx.array) -> mx.array:
    """The same numbers, but not row-contiguous: the first axis runs fastest, and a NaN lies behind each number."""
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
"""Kinds of inputs that several operations have."""
