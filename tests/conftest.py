"""For all tests: missing hardware skips a test with a reason, and the user's cache is not used."""

from __future__ import annotations

import functools
import gc
import importlib.util
import os
import signal
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import hypothesis
import mlx.core as mx
import one_core
import pytest
from compiled_kernels import KEPT, compiler_folder
from emulator.ahead import compiled_ahead  # noqa: F401
from gpu import why_not_metal

from mlx_tiny.linux import native
from mlx_tiny.linux.blas import use_fast_blas
from mlx_tiny.linux.kernels import private_folder
from mlx_tiny.machine.description import device
from mlx_tiny.machine.hardware import memory_bytes, usable_cores
from mlx_tiny.machine.peaks import matmul_peak

WORKER_BYTES = 2 << 30  # MLX, PyTorch and the largest arrays of a test

# Some modules ask when they are collected whether MLX compiles here.
_HOME = tempfile.TemporaryDirectory(prefix="mlx_tiny-tests-home-")
os.environ["MLX_TINY_HOME"] = _HOME.name
# Where transformers copies code to that it runs; it asks when it is imported.
os.environ["HF_MODULES_CACHE"] = f"{_HOME.name}/modules"
if compiler := compiler_folder(Path(_HOME.name)):
    os.environ["PATH"] = os.pathsep.join([str(compiler), os.environ["PATH"]])
# A GPU that cannot run the kernels, as hosted Macs have, is not asked to compute at all.
if mx.metal.is_available() and why_not_metal():
    mx.set_default_device(mx.cpu)
with private_folder():
    native.prepare()
# A shell starts what is in a script's background with SIGINT ignored, and nohup with SIGHUP; children would inherit it.
for number, answer in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, answer)

# Times of single examples say nothing on a shared machine; the suite has its own time limit.
hypothesis.settings.register_profile("mlx_tiny", deadline=None)
hypothesis.settings.load_profile("mlx_tiny")


def pytest_report_header() -> str:
    return f"mlx {version('mlx')} on {device()}, {use_fast_blas().name}"


def pytest_xdist_auto_num_workers() -> int:
    """Processes that `-n auto` starts; without a hook it counts cores that a container may not use."""
    return max(1, min(usable_cores(), memory_bytes() // WORKER_BYTES))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = {}
    if reason := why_not_metal():
        missing["metal"] = reason
    if importlib.util.find_spec("torch") is None:
        missing["torch"] = "PyTorch is not installed (the extra `reference`)"
    if absent := [name for name in ("transformers", "mlx_lm", "gguf") if importlib.util.find_spec(name) is None]:
        missing["export"] = f"{', '.join(absent)} not installed (the extra `export`)"
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Spare each collection of garbage, as before a timing, a third of a second for what has been imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def own_folders() -> Iterator[None]:
    """Prepared data and temporary files go to folders of this process, and no test downloads by mistake."""
    with tempfile.TemporaryDirectory(prefix="mlx_tiny-tests-") as folder, pytest.MonkeyPatch.context() as patch:
        os.chmod(folder, 0o1777)  # tests in which another user is refused must not be refused here
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(KEPT / "inductor"))
        yield


@pytest.fixture(autouse=True, scope="session")
def quick_runs() -> Iterator[None]:
    """The peak of matrix products is measured once, and the samples of reports are short: a second per run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlx_tiny.cli.results._FINAL_SAMPLE_TOKENS", 20)
        # What a command says must not depend on how busy the machine is.
        patch.setattr("mlx_tiny.tools.waiting._FIRST_S", 1e6)
        # Made-up speeds of one test are not those of another.
        patch.setattr("mlx_tiny.study.speed.is_busy", lambda cores: True)
        patch.setattr("mlx_tiny.training.backend.matmul_peak", functools.cache(matmul_peak))
        yield


@pytest.fixture
def all_cores() -> Iterator[None]:
    """Processes that the test starts may use all cores, also where tests run side by side."""
    if not one_core.ALL_CORES:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, one_core.ALL_CORES)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can access, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
