"""The limits of this process, and what is free."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from mlx_tiny.machine import memory
from mlx_tiny.machine.hardware import memory_bytes

VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            200000.
Pages inactive:                          100000.
Pages speculative:                         2000.
Pages throttled:                              0.
Pages wired down:                         90000.
Pages purgeable:                            500.
"""


def test_the_machine_is_the_limit_without_others() -> None:
    free = memory.free_bytes()
    assert free is not None and free > 1e6 and 0 < memory.limit().bytes <= memory_bytes()
    assert memory.room_bytes() <= min(free * 1.5, memory.limit().bytes)


@pytest.mark.parametrize(("name", "source"), [("RLIMIT_AS", "ulimit -v"), ("RLIMIT_DATA", "ulimit -d")])
def test_a_limit_of_address_space_leaves_less_than_itself(
    name: str, source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What other tests have loaded into this process can take more address space than the limit.
    status = tmp_path / "status"
    status.write_text("VmSize:\t1000000 kB\nVmRSS:\t200000 kB\nVmData:\t500000 kB\n")
    monkeypatch.setattr(memory, "_STATUS", status)

    def limits(kind: int) -> tuple[int, int]:
        most = 2 << 30 if kind == getattr(resource, name) else resource.RLIM_INFINITY
        return most, most

    monkeypatch.setattr(resource, "getrlimit", limits)
    found = memory.limit()
    assert 0 < found.bytes < 2 << 30 and source in found.source


def test_free_memory_of_a_mac_is_what_it_can_take_back() -> None:
    assert memory.free_bytes_of_mac(VM_STAT) == 16384 * 112_500
    assert memory.free_bytes_of_mac("") is None
