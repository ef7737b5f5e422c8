"""A life of a run, to be killed at any moment: `kill_driver.py WORD TIMES CHANGES COMMAND...`.

It is `mlx-tiny COMMAND...`, which also says on its output in which phase it is. When phases from WORD on have begun
TIMES times, it kills itself before its CHANGES-th change to a file or folder; with 0 CHANGES it only says "now". What
the command prints goes to stderr. So that a life is short, nothing is measured or drawn, and samples are short.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from typing import Any

START, NOW = "starting", "now"
PHASES = {
    START: "",
    "reading": "mlx_tiny.data.prepare:survey",
    "tokenizer": "mlx_tiny.data.prepare:learn_tokenizer",
    "encoding": "mlx_tiny.data.prepare:_write_tokens",
    "opening": "mlx_tiny.data.prepare:open_prepared",
    "compiling": "mlx_tiny.linux.warmup:CompilingAhead.wait",
    "creating": "mlx_tiny.training.checkpoint:RunFolder.create",
    "beginning": "mlx_tiny.training.trainer:Trainer.__init__",
    "rewinding": "mlx_tiny.training.metrics:MetricsFile.rewind",
    "step": "mlx_tiny.training.trainer:Trainer._one_step",
    "saving": "mlx_tiny.training.checkpoint:RunFolder.save_checkpoint",
    "evaluating": "mlx_tiny.training.trainer:Trainer._evaluate_beginning",
    "ending": "mlx_tiny.training.trainer:Trainer._finish",
    "weights": "mlx_tiny.training.checkpoint:RunFolder.save_weights",
    "reporting": "mlx_tiny.cli.session:report",
    "writing": "mlx_tiny.report.report:write_report",
}
"""Phases in the order of a life, and the functions that they are."""
_CHANGING = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.chmod", "os.truncate"}


class Life:
    """What this process does, and when it ends."""

    def __init__(self, word: str, times: int, changes: int) -> None:
        self._words = os.dup(1)
        os.dup2(2, 1)
        self._phases, order = [START], list(PHASES)
        self._awaited = set(order[order.index(word) :]) if word else set()
        self._times, self._changes, self._armed = times, changes, False
        sys.addaudithook(self._see)

    def enter(self, word: str) -> None:
        self._phases.append(word)
        self._say(word)
        if word in self._awaited:
            self._times -= 1
            if self._times == 0:
                self._armed = True
                if not self._changes:
                    self._say(NOW)

    def leave(self) -> None:
        self._phases.pop()
        self._say(self._phases[-1])

    def _say(self, word: str) -> None:
        os.write(self._words, f"{word}\n".encode())

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._armed and (event in _CHANGING or (event == "open" and _writes(arguments[2]))):
            self._changes -= 1
            if self._changes == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _writes(flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def announce(life: Life, word: str, place: str) -> None:
    """Say `word` at each call of a function, and the phase around it at its end."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def call(*arguments: Any, **named: Any) -> Any:
        life.enter(word)
        try:
            return inner(*arguments, **named)
        finally:
            life.leave()

    static = isinstance(vars(owner)[name], staticmethod)
    setattr(owner, name, staticmethod(call) if static else call)


def shorten() -> None:
    from mlx_tiny.cli import results
    from mlx_tiny.tools import plots
    from mlx_tiny.training import backend

    results._FINAL_SAMPLE_TOKENS = 20
    plots.installed = lambda: False
    backend.matmul_peak = lambda *_: 1e11


def main(word: str, times: str, changes: str, *command: str) -> None:
    life = Life(word, int(times), int(changes))
    life.enter(START)
    for phase, place in PHASES.items():
        if phase != START:
            announce(life, phase, place)
    shorten()
    from mlx_tiny.cli import main as mlx_tiny

    mlx_tiny(list(command))


if __name__ == "__main__":
    main(*sys.argv[1:])
