"""A session of an existing run in a process of its own: `train_driver.py RUN [STEP to die at]`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tiny_run import Recorder, tiny_trainer

from mlx_tiny.training.checkpoint import RunFolder


class Mortal(Recorder):
    """Kills its own process when a certain step is reported."""

    def __init__(self, die_at: int) -> None:
        super().__init__()
        self.die_at = die_at

    def step(self, report) -> None:
        if report.step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    tiny_trainer(RunFolder(Path(sys.argv[1])), Mortal(int([*sys.argv, "-1"][2])), resume=True).train()
