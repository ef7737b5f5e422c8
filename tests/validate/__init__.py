"""Tests of `mlx-tiny validate` beside its command, all of them skipped where PyTorch is missing."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `reference`)")
