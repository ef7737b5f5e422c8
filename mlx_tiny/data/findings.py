"""What was found in the data: which files, how they are read, what is left out, and how the text is split."""

from __future__ import annotations

import bisect
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mlx_tiny.data.documents import Tally

LARGEST_COUNT = 1 << 18
"""Hashes that are kept to count duplicates, about 30 MB; of a larger corpus a sample of the hashes is kept."""


@dataclass(frozen=True)
class FileGroup:
    """Files with one purpose that are read in one way."""

    split: str
    """`train`, `valid` or `test`; the last is not read."""
    how: str
    """In one line, such as "csv, column 'text'"."""
    files: int
    bytes: int
    """As they are stored, perhaps compressed."""
    first: str
    """Name of the first one."""


@dataclass(frozen=True)
class Findings:
    """What the first pass over the documents met; part of the record of prepared data."""

    split: str = ""
    """How training and validation text were told apart."""
    groups: tuple[FileGroup, ...] = ()
    left_out: tuple[str, ...] = ()
    """Files beside the data that were not read, with the way to take them."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Rows or documents that were not learned, by the reason."""
    duplicates: int = 0
    """Documents whose text had occurred before; they are learned again."""
    duplicates_estimated: bool = False
    """Whether `duplicates` is an estimate from a sample."""
    in_both: int = 0
    """Training documents that were left out, because they are validation documents too."""
    markers: int = 0
    """Documents that contain the text of a marker, such as <|endoftext|>."""
    roles: tuple[str, ...] = ()
    """Roles of chats."""
    trained_on_validation: bool = False
    """Whether nothing is held out, so that strength is measured on training text."""


class Seen:
    """What one pass over the documents meets."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.duplicates = Duplicates()
        self.in_both = 0


class HashSet:
    """Numbers below 2**64 in 8 bytes each, which a set of Python's needs ten times.

    Args:
        numbers: such as the hashes of documents.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._sorted = array("Q", numbers)
        if self._sorted:
            np.frombuffer(self._sorted, np.uint64).sort()

    def __contains__(self, number: int) -> bool:
        at = bisect.bisect_left(self._sorted, number)
        return at < len(self._sorted) and self._sorted[at] == number


class Duplicates:
    """Counts texts that occurred before, by 8-byte hashes, in bounded memory.

    All hashes below a bound are kept. When they become too many, the bound is halved; the count is then the one of this
    sample, scaled up.
    """

    def __init__(self, largest: int = LARGEST_COUNT) -> None:
        self._largest = largest
        self._bound = 1 << 64
        self._counts: Counter[int] = Counter()

    def add(self, text_hash: int) -> None:
        """Count a text by its hash, a number below 2**64."""
        if text_hash < self._bound:
            self._counts[text_hash] += 1
            if len(self._counts) > self._largest:
                self._bound //= 2
                self._counts = Counter({key: count for key, count in self._counts.items() if key < self._bound})

    @property
    def estimated(self) -> bool:
        """Whether `number` is an estimate."""
        return self._bound < 1 << 64

    @property
    def number(self) -> int:
        """Texts that occurred before."""
        return round((self._counts.total() - len(self._counts)) * ((1 << 64) / self._bound))
