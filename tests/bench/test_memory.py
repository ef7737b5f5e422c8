"""Peaks of memory are those of the process alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from mlx_tiny.bench import memory

ROOT = Path(__file__).parents[2]
_HELD_BYTES = 200_000_000
_PROGRAM = """
from mlx_tiny.bench import memory
print(memory.of_process())
held = b"1" * 50_000_000
del held
print(memory.of_process())
"""


def test_what_a_parent_held_is_not_counted_and_what_was_given_back_is() -> None:
    held = np.ones(_HELD_BYTES, np.uint8)
    child = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, child.stdout.split())
    assert 1e6 < before < _HELD_BYTES / 2 and 45e6 < after - before < 60e6
    assert memory.of_process() > held.nbytes
