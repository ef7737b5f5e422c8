"""Print constraints that hold each package at the oldest version that the installed mlx_tiny asks for.

Usage: python scripts/oldest.py EXTRA ...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import requires

from packaging.requirements import Requirement


def constraints(requirements: Sequence[str], extras: Sequence[str]) -> Iterator[str]:
    """`NAME==VERSION` for each requirement of these extras, or of none, that applies to this machine."""
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            for bound in requirement.specifier:
                if bound.operator == ">=":
                    yield f"{requirement.name}=={bound.version}"


if __name__ == "__main__":
    print("\n".join(constraints(requires("mlx-tiny") or [], sys.argv[1:])))
