"""Settings of a process that runs tests, which must be made before MLX and numpy start their threads.

Of several processes each computes on one core. A test of lanes or threads asks for its own number, and one whose child
processes need more cores for the fixture `all_cores`.
"""

from __future__ import annotations

import os

ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()


def keep_to_core(number: int) -> None:
    """Keep this process and those that it starts to one core, where threads do not interrupt each other.

    MLX's main thread wakes another at every operation of a graph. Between two cores, that is most of the time of a
    small step; on one core, the other thread begins when the main one waits.
    """
    core = sorted(ALL_CORES)[number % len(ALL_CORES)]
    for thread in map(int, os.listdir("/proc/self/task")):
        os.sched_setaffinity(thread, {core})
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))


# Where products would be rounded to TF32, as on an M5, float32 is to be float32; read at MLX's first product.
os.environ.setdefault("MLX_ENABLE_TF32", "0")
# PyTorch's threads would spin while they wait, which on a machine that others use too takes a hundred times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# So would numpy's in the processes that run the tests, and there is one of these per core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    if ALL_CORES:
        keep_to_core(int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")))
    for name in ("MLX_TINY_LANES", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
