"""A lock keeps others out, and can be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.tools import locks
from mlx_tiny.tools.locks import is_locked, locked


def test_a_lock_is_seen_and_keeps_others_out(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path, "taken"):
        assert is_locked(tmp_path)
        with pytest.raises(TinyError, match="taken"), locked(tmp_path, "taken"):
            pass
    assert not is_locked(tmp_path)


def test_who_only_looks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, first = locks._taken, iter([False])
    monkeypatch.setattr(locks, "_taken", lambda *words: next(first, True) and taken(*words))
    with locked(tmp_path, "taken"):
        pass
