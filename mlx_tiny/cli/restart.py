"""Continues a run in a new process after an error of the GPU.

MLX reads the length of its command buffers once, and macOS may refuse further GPU work to a process whose work failed.
So this process is replaced by one that resumes the run. What was done since the last checkpoint is done again, and is
charged once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlx_tiny.cli.output import say
from mlx_tiny.tools.processes import environment
from mlx_tiny.training.device_errors import Continuation, DeviceError, device_errors_explained

if TYPE_CHECKING:
    from mlx_tiny.tools.signals import Interruption
    from mlx_tiny.training.trainer import Trainer

MOST_RESTARTS = 3
"""From one checkpoint; a run that gets further in between may go on for ever."""
_COUNTS = "MLX_TINY_RESTARTS"
# MLX's own limits are 20 to 50, depending on the chip. They divide the work and do not change its results.
_LENGTHS, _USUAL_LENGTH, _SHORTER = ("MLX_MAX_OPS_PER_BUFFER", "MLX_MAX_MB_PER_BUFFER"), 40, 4


def counts() -> tuple[int, int]:
    """Restarts before this process: since the run last got further, and all that it knows of."""
    words = os.environ.get(_COUNTS, "").split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(map(str.isdecimal, words)) else (0, 0)


def lines() -> list[str]:
    """What the header says of restarts."""
    count, total = counts()
    lengths = ", ".join(f"{name}={_length(name)}" for name in _LENGTHS)
    return [f"restarts: {total} after errors of the GPU; {lengths}"] if count else []


@contextlib.contextmanager
def offered(trainer: Trainer) -> Iterator[None]:
    """Note in a `DeviceError` inside the block how a new process can go on with the run, where it can."""
    began_at, train = trainer.step_number, trainer.config.train
    try:
        with device_errors_explained(trainer.run.path, train.batch_size, train.micro_batches):
            yield
    except DeviceError as error:
        before = 0 if (trainer.run.last_step() or 0) > began_at else counts()[0]
        if error.passes and before < MOST_RESTARTS and not trainer.interruption.requested:
            error.continuation = Continuation(trainer.run.path, before + 1, trainer.restarts + 1)
        raise


def go_on(error: DeviceError, interruption: Interruption, *, debug: bool) -> None:
    """Replace this process by one that continues the run; returns only where that is not offered or not possible.

    Raises:
        Interrupted: a signal has come meanwhile.
    """
    continuation = error.continuation
    if continuation is None or not sys.executable:
        return
    interruption.hold("")
    if debug:
        traceback.print_exception(error)
    shorter = {name: str(max(1, _length(name) // _SHORTER)) for name in _LENGTHS}
    say(
        f"mlx-tiny: {error.failed}. The run goes on from its last checkpoint in a new process with shorter command "
        f"buffers, restart {continuation.count} of at most {MOST_RESTARTS} from there"
    )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    command = [sys.executable, "-m", "mlx_tiny", *(["--debug"] if debug else []), "train"]
    changes = {**shorter, _COUNTS: f"{continuation.count} {continuation.total}"}
    with contextlib.suppress(OSError), interruption.left_to_the_system():
        os.execve(command[0], [*command, f"--resume={continuation.run}", *continuation.flags], environment(**changes))


def _length(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else _USUAL_LENGTH
