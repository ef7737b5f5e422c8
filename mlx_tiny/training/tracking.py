"""Tells the numbers of a run, which `metrics.jsonl` has always, to a tracker too: trackio, wandb or TensorBoard.

Nothing leaves this machine unless the user's own settings of the tracker say so. A tracker that is missing or does not
start is an error before the first step; one that fails later is told once, and the run goes on without it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mlx_tiny.config.train import UNTRACKED
from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.records import EvaluationRecord, StepRecord, to_plain
from mlx_tiny.tools.processes import installing
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.listener import Listener
from mlx_tiny.training.outcome import Outcome

PROJECT = "mlx-tiny"
_SECONDS_BETWEEN_STEPS = 0.1
"""Trackers are told of more steps only in `metrics.jsonl`: a small model takes hundreds per second."""


class _Tracker(Protocol):
    where: str
    """How to look at what it has, in a few words."""

    def log(self, values: dict[str, float], step: int) -> None: ...
    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, run: RunFolder, resumed: bool) -> None:
        from tensorboard.summary import Writer

        folder = run.path / "tensorboard"
        self.where = f"tensorboard --logdir {folder}"
        self._writer = Writer(str(folder))

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Trackio:
    where = f"trackio show --project {PROJECT}"

    def __init__(self, run: RunFolder, resumed: bool) -> None:
        import trackio

        self._finish = trackio.finish  # that of a run would be called once more when Python ends
        self._run = trackio.init(
            project=PROJECT,
            name=run.path.resolve().name,
            config=to_plain(run.config),
            resume="allow" if resumed else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._finish()


class _Wandb:
    def __init__(self, run: RunFolder, resumed: bool) -> None:
        import wandb

        asked = "WANDB_MODE" in os.environ
        self.where = (
            "as WANDB_MODE says" if asked else f"offline; wandb sync uploads the folder in {run.path / 'wandb'}"
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.path.resolve().name,
            config=to_plain(run.config),
            dir=str(run.path),
            mode=None if asked else "offline",
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


_TRACKERS: dict[str, Callable[[RunFolder, bool], _Tracker]] = {
    "trackio": _Trackio,
    "wandb": _Wandb,
    "tensorboard": _TensorBoard,
}


def require_tracker(name: str) -> None:
    """Check for the package of a tracker before anything is prepared.

    Raises:
        TinyError: it is not installed.
    """
    if name != UNTRACKED and importlib.util.find_spec(name) is None:
        raise TinyError(
            f"{name} is not installed, and --track {name} needs it",
            remedy=f"Install it with `{installing(name)}`, or all with `{installing('mlx-tiny[track]')}`, or take "
            "--track none",
        )


@contextlib.contextmanager
def tracked(listener: Listener, run: RunFolder, *, resumed: bool) -> Iterator[Tracked]:
    """A listener of the run that tells its tracker too, if its settings name one.

    Raises:
        TinyError: the tracker does not start.
    """
    name, tracker = run.config.train.track, None
    if name != UNTRACKED:
        listener.wait(f"{name}, to which the run is told")
        try:
            with _unheard():
                tracker = _TRACKERS[name](run, resumed)
        except Exception as error:
            raise TinyError(
                f"{name} does not start: {first_line(error)}", remedy="Correct its settings, or take --track none"
            ) from error
        listener.message(f"tracked by {name}: {tracker.where}")
    both = Tracked(listener, tracker, name)
    try:
        yield both
    finally:
        both.close()


class Tracked:
    """A listener that tells another listener, and then a tracker."""

    def __init__(self, listener: Listener, tracker: _Tracker | None, name: str) -> None:
        self._listener, self._tracker, self._name = listener, tracker, name
        self._last = -_SECONDS_BETWEEN_STEPS

    def message(self, text: str) -> None:
        self._listener.message(text)

    def wait(self, what: str, detail: Callable[[], str] = str) -> None:
        self._listener.wait(what, detail)

    def sample(self, fraction: float, text: str) -> None:
        self._listener.sample(fraction, text)

    def step(self, record: StepRecord) -> None:
        self._listener.step(record)
        if (now := time.monotonic()) - self._last >= _SECONDS_BETWEEN_STEPS:
            self._last = now
            self._log(to_plain(record), record.step)

    def evaluation(self, record: EvaluationRecord) -> None:
        self._listener.evaluation(record)
        self._log({"validation_bits_per_byte": record.validation_bits_per_byte}, record.step)

    def ended(self, outcome: Outcome) -> None:
        """Tell the tracker the result of the run."""
        names = "bits_per_byte", "with_counting_bits_per_byte"
        self._log({f"final_{name}": getattr(outcome.evaluation, name) for name in names}, outcome.progress.step)

    def close(self) -> None:
        """Let the tracker write what it still has."""
        if (tracker := self._tracker) is not None:
            with self._surviving(), _unheard():
                tracker.close()
            self._tracker = None

    def _log(self, values: dict[str, Any], step: int) -> None:
        if (tracker := self._tracker) is not None:
            numbers = {
                name: float(value)
                for name, value in values.items()
                if isinstance(value, (int, float)) and name not in ("step", "version")
            }
            with self._surviving():
                tracker.log(numbers, step)

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._tracker = None
            self._listener.message(
                f"warning: {self._name} failed ({first_line(error)}): the run goes on without it; metrics.jsonl has all"
            )


def _unheard() -> contextlib.AbstractContextManager[Any]:
    """What trackers print is no result of the run."""
    return contextlib.redirect_stdout(io.StringIO())
