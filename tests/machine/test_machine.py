"""The description of the machine, and explanations where MLX cannot run."""

from __future__ import annotations

import getpass
import json
import os
import re
import runpy
import socket
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

import mlx_tiny
from mlx_tiny import __version__
from mlx_tiny.linux.lanes import prepare
from mlx_tiny.machine import buffers, description, hardware, load, peaks, state
from mlx_tiny.machine.description import Machine, describe
from mlx_tiny.machine.state import State
from mlx_tiny.machine.support import Platform, unsupported_reason
from mlx_tiny.records import from_plain, to_json
from mlx_tiny.tools.processes import ROOT

MAC = Platform("darwin", "arm64", macos=(14, 0))
LINUX = Platform("linux", "x86_64", glibc=(2, 35))


def test_this_machine_is_described() -> None:
    described = describe()
    assert described.system.split()[0] in ("macOS", "Linux")
    assert 1 <= described.cores <= (os.cpu_count() or 1)
    assert 1e8 < described.memory_bytes < 1e14
    assert described.chip and described.blas and described.device in ("cpu", "gpu (Metal)", "gpu (CUDA)")
    assert described.versions["mlx"] == metadata.version("mlx") and described.versions["mlx_tiny"] == __version__
    assert from_plain(Machine, json.loads(to_json(described))) == described
    without = describe(mlx=False)
    assert replace(without, device=described.device, blas=described.blas, state=described.state) == described


def test_nothing_names_the_computer_its_user_or_a_folder() -> None:
    text = to_json(describe())
    words = set(re.findall(r"[\w.-]+", text))
    assert not words & {socket.gethostname(), getpass.getuser()}
    assert str(Path.home()) not in text and str(Path.cwd()) not in text


def test_the_commit_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {"rev-parse": "0123456789ab\n", "status": ""}
    monkeypatch.setattr(description, "output", lambda *command: answers[{*answers}.intersection(command).pop()])
    monkeypatch.setattr(description, "ROOT", tmp_path)
    commit = description.commit.__wrapped__
    assert commit() is None
    (tmp_path / ".git").mkdir()
    assert commit() == "0123456789ab"
    answers["status"] = " M README.md"
    assert commit() == "0123456789ab+changes"
    answers["rev-parse"] = answers["status"] = ""  # git is not there
    assert commit() is None


def test_this_machine_is_supported() -> None:
    assert unsupported_reason() is None


@pytest.mark.parametrize(
    "where",
    [MAC, replace(MAC, macos=(26, 1)), LINUX, replace(LINUX, processor="aarch64"), replace(LINUX, glibc=(2, 41))],
)
def test_platforms_with_a_wheel_are_supported(where: Platform) -> None:
    assert unsupported_reason(where) is None


@pytest.mark.parametrize(
    ("where", "named", "remedy"),
    [
        (replace(MAC, processor="x86_64"), "Intel processor", "Linux"),
        (replace(MAC, processor="x86_64", translated=True), "Rosetta", "arm64 Python"),
        (replace(MAC, macos=(13, 6)), "macOS 13.6", "Update macOS"),
        (Platform("win32", "AMD64"), "Windows", "WSL 2"),
        (Platform("cygwin", "x86_64"), "Windows", "WSL 2"),
        (Platform("freebsd14", "amd64"), "freebsd14", "Linux with glibc"),
        (replace(LINUX, glibc=None), "musl", "glibc 2.35"),
        (replace(LINUX, glibc=(2, 31)), "glibc 2.31", "Ubuntu 22.04"),
        (replace(LINUX, processor="riscv64"), "riscv64", "x86_64 or aarch64"),
        (replace(LINUX, bits=32), "32 bits", "64-bit Python"),
    ],
)
def test_other_platforms_are_refused_in_one_paragraph(where: Platform, named: str, remedy: str) -> None:
    reason = unsupported_reason(where)
    assert reason is not None
    assert named in reason and remedy in reason
    assert "\n" not in reason and reason.endswith(".")


def test_what_the_set_up_asks_needs_the_standard_library_alone() -> None:
    code = "from mlx_tiny.machine.support import unsupported_reason; print(unsupported_reason())"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("processors", "board", "expected"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: AMD EPYC\n", "", "AMD EPYC"),
        ("processor\t: 0\nBogoMIPS\t: 108.00\nModel\t\t: Raspberry Pi 5\n", "", "Raspberry Pi 5"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", "Some Board\0", "Some Board"),
        ("", "", "aarch64"),
    ],
)
def test_the_chip_has_a_name_on_linux(processors: str, board: str, expected: str) -> None:
    assert hardware._chip_of_linux(processors, board, "aarch64") == expected


@pytest.mark.parametrize(
    ("battery", "settings", "expected"),
    [
        ("Now drawing from 'AC Power'\n -InternalBattery-0", " lowpowermode         0\n", "mains"),
        ("Now drawing from 'Battery Power'\n", " lowpowermode         1\n", "battery, low power mode"),
        (
            "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1234)\t83%; discharging; 5:01 remaining\n",
            "",
            "battery at 83 %",
        ),
        ("", "", None),
    ],
)
def test_the_power_of_a_mac_is_read(battery: str, settings: str, expected: str | None) -> None:
    assert state.power_of_mac(battery, settings) == expected


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ([], None),
        ([{"type": "Mains", "online": "1"}, {"type": "Battery", "status": "Discharging"}], "mains"),
        ([{"type": "Mains", "online": "0"}, {"type": "Battery", "status": "Discharging"}], "battery"),
        ([{"type": "Battery", "status": "Discharging", "capacity": "7"}], "battery at 7 %"),
        ([{"type": "Battery", "status": "Full"}], "mains"),
        ([{"type": "Battery", "status": "Discharging", "scope": "Device"}], None),
    ],
)
def test_the_power_of_linux_is_read(tmp_path: Path, supplies: list[dict[str, str]], expected: str | None) -> None:
    for number, supply in enumerate(supplies):
        (tmp_path / str(number)).mkdir()
        for name, text in supply.items():
            (tmp_path / str(number) / name).write_text(text + "\n")
    assert state.power_of_linux(tmp_path) == expected


@pytest.mark.parametrize(
    ("pressure", "limits", "expected"),
    [
        ("com.apple.system.thermalpressurelevel 0\n", "", "nominal"),
        ("com.apple.system.thermalpressurelevel 2\n", "", "heavy"),
        ("", "Note: No thermal warning level has been recorded\n", "nominal"),
        ("", "CPU_Speed_Limit \t= 100\n", "nominal"),
        ("com.apple.system.thermalpressurelevel 1\n", " CPU_Speed_Limit = 62", "moderate, CPU held to 62 %"),
        ("com.apple.system.thermalpressurelevel 9\n", "", None),
        ("", "", None),
    ],
)
def test_the_thermal_state_of_a_mac(pressure: str, limits: str, expected: str | None) -> None:
    assert state.thermal_state_of_mac(pressure, limits) == expected


@pytest.mark.parametrize(
    ("zones", "expected"), [([], None), (["41500", "63400"], "63 °C"), (["off", "20000"], "20 °C"), (["off"], None)]
)
def test_the_thermal_state_of_linux(tmp_path: Path, zones: list[str], expected: str | None) -> None:
    for number, text in enumerate(zones):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text + "\n")
    assert state.thermal_state_of_linux(tmp_path) == expected


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        ('+-o IOPMrootDomain\n    "AppleClamshellState" = Yes\n', "closed"),
        ('    "AppleClamshellState" = No\n', "open"),
        ("", None),
    ],
)
def test_the_lid_of_a_mac(registry: str, expected: str | None) -> None:
    assert state.lid_of_mac(registry) == expected


@pytest.mark.parametrize(("text", "expected"), [("state:      closed\n", "closed"), ("", None), (None, None)])
def test_the_lid_of_linux(tmp_path: Path, text: str | None, expected: str | None) -> None:
    if text is not None:
        (tmp_path / "LID0").mkdir()
        (tmp_path / "LID0" / "state").write_text(text)
    assert state.lid_of_linux(tmp_path) == expected


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (State("mains", "nominal", 9.0, "closed", 0.0), []),
        (State(None, "63 °C", None), []),
        (State("battery at 9 %", "heavy, CPU held to 50 %", None), ["battery at 9 %", "heavy"]),
        (State("mains, low power mode", None, None), ["low power mode"]),
        (State(None, None, None, None, 0.6), ["0.6 of 4 cores"]),
    ],
)
def test_what_slows_a_machine_down_is_named(monkeypatch: pytest.MonkeyPatch, now: State, words: list[str]) -> None:
    for module in (load, state):
        monkeypatch.setattr(module, "usable_cores", lambda: 4)
    found = now.disturbances(on_cpu=True)
    assert len(found) == len(words) and all(word in text for word, text in zip(words, found, strict=True))
    assert not State(None, None, None, None, 4.0).disturbances(on_cpu=False)


def control_groups(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(hardware, "_text", lambda path: files.get(str(path), ""))


@pytest.mark.parametrize(
    ("own", "files", "cores", "memory"),
    [
        ("0::/a/b", {"a/b/cpu.max": "100000 100000", "a/memory.max": "1000000"}, 1, 1_000_000),
        ("0::/", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ("4:memory:/a\n3:cpu,cpuacct:/a", {"memory/a/memory.limit_in_bytes": "2000000"}, None, 2_000_000),
        ("3:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "70000", "cpu/a/cpu.cfs_period_us": "100000"}, 1, None),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
        ("0::/../x", {"cpu.max": "50000 100000", "memory.max": "3000000"}, 1, 3_000_000),
        ("", {}, None, None),
    ],
)
def test_limits_of_containers_count(
    monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], cores: int | None, memory: int | None
) -> None:
    memory_bytes = hardware.memory_bytes.__wrapped__
    control_groups(monkeypatch, {})
    cores_without, memory_without = hardware.usable_cores(), memory_bytes()
    mounted = {f"/sys/fs/cgroup/{name}": text for name, text in files.items()}
    control_groups(monkeypatch, {"/proc/self/cgroup": own, **mounted})
    assert hardware.usable_cores() == (cores or cores_without)
    assert memory_bytes() == (memory or memory_without)


def test_measuring_leaves_the_random_state_alone() -> None:
    before = mx.random.state[0].tolist()
    peaks.matmul_peak(seconds=0.01)
    peaks.copy_peak(1_000_000)
    assert mx.random.state[0].tolist() == before


def test_a_mac_is_kept_awake_inside_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    class Helper:
        def __init__(self, command: list[str], **_: Any) -> None:
            calls.append(command)

        def terminate(self) -> None:
            calls.append("ended")

        def wait(self) -> None:
            calls.append("waited")

    monkeypatch.setattr(state.subprocess, "Popen", Helper)
    monkeypatch.setattr(state.sys, "platform", "darwin")
    with pytest.raises(KeyError), state.keep_awake():
        assert calls == [["caffeinate", "-ims", "-w", str(os.getpid())]]
        raise KeyError
    assert calls[1:] == ["ended", "waited"]


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_missing_caffeinate_is_no_error(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    def absent(*_: object, **__: Any) -> None:
        raise FileNotFoundError("caffeinate")

    monkeypatch.setattr(state.subprocess, "Popen", absent)
    monkeypatch.setattr(state.sys, "platform", platform)
    with state.keep_awake():
        pass


@pytest.mark.parametrize(("memory", "limit"), [(8 << 30, 512 << 20), (64 << 30, 4 << 30), (2 << 30, 256 << 20)])
def test_freed_buffers_of_a_mac_are_bounded(monkeypatch: pytest.MonkeyPatch, memory: int, limit: int) -> None:
    found: list[int] = []
    monkeypatch.setattr(buffers, "memory_bytes", lambda: memory)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "set_cache_limit", found.append)
    prepare.__wrapped__()
    assert found == [limit]


@pytest.mark.parametrize(
    ("platform", "before", "after"), [("darwin", None, "1"), ("darwin", "0", "0"), ("linux", None, None)]
)
def test_importing_the_package_makes_a_mac_patient(
    monkeypatch: pytest.MonkeyPatch, platform: str, before: str | None, after: str | None
) -> None:
    name = "AGX_RELAX_CDM_CTXSTORE_TIMEOUT"
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "environ", {} if before is None else {name: before})
    runpy.run_path(mlx_tiny.__file__)
    assert os.environ.get(name) == after
