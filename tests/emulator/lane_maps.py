"""A second lane map: the text that knows the map is exchanged with the map."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

from mlx_tiny.ops.metal import kernel_folder

from .capture import Captured

OTHER = Path(__file__).parent / "other_simdgroup.h"
_FUNCTION = re.compile(r"^(?:template <.*>\s*)?inline .*?\b\w+\(.*?\)", re.MULTILINE)


def with_other_lane_map(launch: Captured) -> Captured:
    """The launch with `other_simdgroup.h` in place of the verbatim text of kernels/simdgroup.h, line for line."""
    known, other = _texts()
    return dataclasses.replace(launch, source=launch.source.replace(known, other))


@functools.cache
def _texts() -> tuple[str, str]:
    known, other = (kernel_folder() / "simdgroup.h").read_text(), OTHER.read_text()
    functions = [sorted(_FUNCTION.findall(text)) for text in (known, other)]
    if functions[0] != functions[1]:
        raise AssertionError(f"{OTHER.name} must define what kernels/simdgroup.h does: {functions}")
    missing = known.count("\n") - other.count("\n")
    if missing < 0:
        raise AssertionError(f"{OTHER.name} must not be longer than kernels/simdgroup.h")
    # As many lines, so that the lines behind keep their numbers.
    return known, other + "\n" * missing
