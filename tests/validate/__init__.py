"""Tests of `mlx-tiny validate`, skipped where PyTorch is missing."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `reference`)")
