"""The folder of a run, and its checkpoints, which are either complete or absent.

    RUN/config.json                      all settings, hashes of the tokenizer and the data, and the run it started from
        tokenizer.model
        metrics.jsonl                    one line per step, evaluation or sample; metrics.jsonl.damaged has damaged ones
        checkpoints/last.safetensors     weights, optimizer, position in the data, account: `--resume` reads it
        checkpoints/best.safetensors     the same, from where the validation loss was lowest; `--resume-from best` makes
                                         it the last one, and keeps that as last.safetensors.replaced, the weights too
        weights.safetensors              the finished model, and the step at which the run ended
        report.json, report.md, loss.png

All random numbers of a run come from two integers, its seed and its position in the data: weights from the seed,
batches from both, sample texts from seeds of their own. So these two integers are the whole random state.
"""

from __future__ import annotations

import contextlib
import filecmp
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from mlx_tiny.config import RunConfig
from mlx_tiny.data.tokenizer import Tokenizer, load_tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.files import (
    CHECKSUM,
    atomic_folder,
    atomic_write,
    explained,
    hash_file,
    make_folder,
    remove_leftovers,
    require_ordinary,
)
from mlx_tiny.model.parameters import Parameters, parameter_specs
from mlx_tiny.records import (
    Origin,
    Progress,
    TextOfRun,
    progress_from_json,
    to_json,
)
from mlx_tiny.tools.locks import locked
from mlx_tiny.tools.processes import again
from mlx_tiny.training.arrays import (
    model_arrays,
    named_state,
    open_arrays,
    require_identity,
    require_whole,
    save_arrays,
    state_arrays,
)
from mlx_tiny.training.described import Described, read_described, superseded
from mlx_tiny.training.device_errors import DeviceError
from mlx_tiny.training.metrics import MetricsFile
from mlx_tiny.training.step import TrainingState


class RunFolder:
    """Paths and files of one run.

    Args:
        path: of an existing run; `create` makes a new one.

    Raises:
        TinyError: there is no run, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "config.json").exists():
            raise TinyError(f"{path} contains no run", remedy="Name the folder that `mlx-tiny train` wrote")
        described = read_described(path / "config.json")
        self.config, self.corpus, self.origin = described.config, described.corpus, described.origin
        self.earlier = described.earlier
        self.resumes_from = "last"
        """The checkpoint from which the next session goes on: `last`, or `best` where it is to go back."""

    @staticmethod
    def require_free(path: Path) -> None:
        """Raise a TinyError if `path` exists, so that a new run cannot be put there."""
        if path.exists():
            raise TinyError(
                f"{path} exists already",
                remedy="Name another folder with --run, continue that run with --resume, or remove it",
            )

    @staticmethod
    def create(
        path: Path,
        config: RunConfig,
        corpus: TextOfRun,
        tokenizer: Tokenizer,
        start: tuple[Origin, TrainingState] | None = None,
    ) -> RunFolder:
        """Make the folder of a new run, with configuration and tokenizer.

        Args:
            start: another run, and a state with its weights, which becomes the first checkpoint; by default the run
                starts from random weights, without a checkpoint.

        Raises:
            TinyError: `path` exists, or cannot be written.
        """
        RunFolder.require_free(path)
        remove_leftovers(path.parent)
        with atomic_folder(path) as aside:
            tokenizer.save(aside / "tokenizer.model")
            Described(config, corpus, start[0] if start else None).write(aside / "config.json")
            if start:
                RunFolder(aside).save_checkpoint("last", start[1], Progress())
        make_folder(path / "checkpoints")
        return RunFolder(path)

    def save_config(self, step: int = 0) -> None:
        """Write the settings where they differ from those in the folder, so that later sessions have them too.

        Args:
            step: until which those in the folder held.

        Raises:
            TinyError: disk full, no permission.
        """
        before = RunFolder(self.path).config
        if before != self.config:
            self.earlier += superseded(before, self.config, step)
            self._described().write(self.path / "config.json")

    @property
    def tokenizer_model(self) -> Path:
        return self.path / "tokenizer.model"

    def load_tokenizer(self) -> Tokenizer:
        """The tokenizer of the run.

        Raises:
            TinyError: it is missing, damaged, or not the one with which the run is trained.
        """
        path = self.tokenizer_model
        require_ordinary(path, "tokenizer")
        with explained(path):
            found = hash_file(path)  # before a library reads it that may not be made for damage
        if found != self.corpus.tokenizer:
            raise TinyError(
                f"{path} is not the tokenizer with which this run is trained",
                expected=f"the hash in config.json, {self.corpus.tokenizer}",
                got=found,
                remedy="Restore it from a copy, or train again",
            )
        return load_tokenizer(path)

    def inherited_tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the run that this one started from; None where it was trained on this run's own text.

        Raises:
            TinyError: one of the errors of `load_tokenizer`.
        """
        tokenizer = self.load_tokenizer()
        return None if self.origin is None else tokenizer

    @property
    def metrics(self) -> MetricsFile:
        return MetricsFile(self.path / "metrics.jsonl")

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    def checkpoint(self, name: str) -> Path:
        """Path of the checkpoint `last` or `best`."""
        return self.path / "checkpoints" / f"{name}.safetensors"

    def save_checkpoint(self, name: str, state: TrainingState, progress: Progress) -> None:
        """Write a checkpoint; the old one of that name is replaced when the new one is on disk.

        Raises:
            TinyError: disk full, no permission.
        """
        texts = {"identity": self.identity(), "progress": to_json(progress)}
        save_arrays(self.checkpoint(name), named_state(state.parameters, state.optimizer), texts)

    def load_checkpoint(self, name: str) -> tuple[TrainingState, Progress]:
        """Read a checkpoint and check that it is whole and belongs to this run.

        Raises:
            TinyError: missing, damaged, or of another version or configuration; where the other of `last` and `best`
                could be taken instead, the error says so.
        """
        other, flags = ("best", ["--resume-from", "best"]) if name == "last" else ("last", [])
        try:
            return self._load_checkpoint(name)
        except TinyError as error:
            raise self._offering(other, "go on from it", flags, error) from error

    def _load_checkpoint(self, name: str) -> tuple[TrainingState, Progress]:
        path = self.checkpoint(name)
        arrays, texts = open_arrays(path, "checkpoint")
        require_identity(path, "checkpoint", texts.get("identity"), self.identity())
        require_whole(path, "checkpoint", arrays, texts, state_arrays(self.config))
        progress = _progress(path, texts)
        # The norm of all gradients is added up in the order of the parameters, so it must be that of a new run.
        parameters = {name: arrays[f"model.{name}"] for name in parameter_specs(self.config.model)}
        moments = {key.removeprefix("optimizer."): a for key, a in arrays.items() if key.startswith("optimizer.")}
        return TrainingState(parameters, moments), progress

    def _offering(self, name: str, purpose: str, flags: list[str], error: TinyError) -> TinyError:
        """The error, with a way out where the checkpoint `name` is whole: to resume with these flags."""
        if isinstance(error, DeviceError) or isinstance(error.__cause__, OSError):
            return error  # which says nothing about the content of the file
        try:
            _, progress = self._load_checkpoint(name)
        except TinyError:
            return error
        command = again("train", "--resume", str(self.path), *flags)
        remedy = f"The {name} checkpoint, of step {progress.step}, is whole; to {purpose}: {command}"
        return TinyError(error.failed, expected=error.expected, got=error.got, remedy=remedy)

    def has_checkpoint(self) -> bool:
        """Whether one was written, so that the run goes on from the last one, or not at all."""
        return any(self.checkpoint(name).exists() for name in ("last", "best"))

    def return_to_best(self) -> list[Path]:
        """Make the best checkpoint the last one, which it may be already; the caller has read it and locked the run.

        Returns:
            Where the weights and the old last one are kept, as far as there were any.

        Raises:
            TinyError: disk full, no permission.
        """
        last, best = self.checkpoint("last"), self.checkpoint("best")
        with explained(last):
            if last.exists() and filecmp.cmp(last, best, shallow=False):
                return []
            # The weights first: they are those of an end that will not be that of the run any more.
            kept = [_set_aside(path) for path in (self.weights, last) if path.exists()]
            with atomic_write(last) as file, open(best, "rb") as source:
                shutil.copyfileobj(source, file)
        return kept

    def save_weights(self, parameters: Parameters, step: int) -> None:
        """Write the finished model, and the step at which the run ended."""
        save_arrays(self.weights, dict(parameters), {"identity": self.identity(), "step": str(step)})

    def load_weights(self, tell: Callable[[str], None] = lambda _: None) -> Parameters:
        """Parameters of the newest state: the finished model, or the last checkpoint where the run has not ended since.

        Args:
            tell: called with a line where it is not the finished model.

        Raises:
            TinyError: missing, damaged, of another version, or not of this configuration.
        """
        ended = None
        if self.weights.exists():
            parameters, ended = self._load_weights()
            last = self.last_step(
                lambda why: tell(f"warning: {why}; the weights are those of the end at step {ended}.")
            )
            if last in (None, ended):
                return parameters
        state, progress = self.load_checkpoint("last")
        why = self._why_not_ended(ended, progress)
        tell(f"{why}: the weights are those of its last checkpoint, step {progress.step}.")
        return state.parameters

    def _why_not_ended(self, ended: int | None, progress: Progress) -> str:
        """Why the finished model of step `ended` is not the newest state."""
        if ended is None and progress.spent_budget is None:
            return "The run has not ended"
        if ended is not None and ended < progress.step:
            return "The run has gone on since its end"
        found = "is missing" if ended is None else f"is of step {ended}, which the run has not reached"
        command = again("train", "--resume", str(self.path))
        return f"warning: {self.weights} {found} ({command} writes it again)"

    def _load_weights(self) -> tuple[Parameters, int]:
        """The finished model, and the step at which the run ended."""
        what = "weights file"
        try:
            arrays, texts = open_arrays(self.weights, what)
            identity = self.identity()
            require_identity(self.weights, what, texts.get("identity", identity), identity)  # older ones have none
            require_whole(self.weights, what, arrays, texts, model_arrays(self.config))
            return arrays, _step(self.weights, texts)
        except TinyError as error:
            raise self._offering("last", "write the weights again", [], error) from error

    def weights_step(self) -> int | None:
        """The step at which the run ended and wrote its weights, or None where it has not ended.

        Raises:
            TinyError: the weights are damaged, or of another version.
        """
        if not self.weights.exists():
            return None
        return _step(self.weights, open_arrays(self.weights, "weights file")[1])

    def has_ended(self) -> bool:
        """Whether the finished model is the newest state: the run has not gone on since.

        Raises:
            TinyError: the weights are damaged, or of another version.
        """
        ended = self.weights_step()
        return ended is not None and self.last_step() in (None, ended)

    def newest_step(self) -> int | None:
        """The step at which the run has the weights that `load_weights` gives.

        Raises:
            TinyError: the weights are damaged, or of another version.
        """
        return (self.weights_step() if self.has_ended() else self.last_step()) or 0

    def weights_checksum(self) -> str | None:
        """The checksum of the weights, which covers identity and step too; None where an older version wrote them.

        Raises:
            TinyError: the weights are missing or damaged, or of another version.
        """
        return open_arrays(self.weights, "weights file")[1].get(CHECKSUM)

    def last_step(self, tell: Callable[[str], None] = lambda _: None) -> int | None:
        """The step of the last checkpoint, or None where there is none that says so.

        Args:
            tell: called with the reason where there is one.
        """
        path = self.checkpoint("last")
        try:
            return _progress(path, open_arrays(path, "checkpoint")[1]).step
        except TinyError as error:
            if path.exists():
                tell(error.failed)
            return None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run for this process inside the block.

        Raises:
            TinyError: another process is training it.
        """
        # The folder itself, because a file that is replaced would take its lock along.
        with locked(self.path, f"Another process is training the run at {self.path}"):
            yield

    def remove_leftovers(self) -> None:
        """Delete the incomplete files of sessions that were killed."""
        for folder in (self.path, self.path / "checkpoints"):
            remove_leftovers(folder)

    def identity(self) -> str:
        """Hash of everything that must be equal in a checkpoint and in the run that loads it."""
        return self._described().identity()

    def _described(self) -> Described:
        return Described(self.config, self.corpus, self.origin, self.earlier)


def _set_aside(path: Path) -> Path:
    """Give a file another name, which no other file has, and return it."""
    names = (path.with_name(f"{path.name}.replaced{number or ''}") for number in itertools.count())
    kept = next(name for name in names if not name.exists())
    os.replace(path, kept)
    return kept


def _progress(path: Path, texts: dict[str, str]) -> Progress:
    """The account in the texts of a checkpoint."""
    try:
        return progress_from_json(texts["progress"], f"progress in {path}")
    except (KeyError, ValueError) as error:
        raise TinyError(
            f"The checkpoint {path} is damaged: it does not say how far the run was",
            remedy="Restore it from a copy, or start the run again",
        ) from error


def _step(path: Path, texts: dict[str, str]) -> int:
    """The step in the texts of a weights file."""
    step = texts.get("step", "")
    if not re.fullmatch("[0-9]{1,15}", step):
        raise TinyError(
            f"The weights file {path} does not say at which step the run ended",
            remedy="Resume the run, or start it again",
        )
    return int(step)
