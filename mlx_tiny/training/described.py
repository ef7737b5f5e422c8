"""The file `config.json` of a run: its settings, what it remembers of its text, and the run that it started from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_tiny.config import FORMAT_VERSION, RunConfig
from mlx_tiny.config.differences import differences
from mlx_tiny.errors import TinyError
from mlx_tiny.files import hash_text, read_json, write_json
from mlx_tiny.records import SEAL, Origin, TextOfRun, from_plain, plain_text, seal, to_plain
from mlx_tiny.training.arrays import OTHER_VERSION

# Settings that may change when a run is resumed.
_HOW_OFTEN = ("evaluations", "evaluation_tokens", "measured_bytes", "checkpoints", "samples", "track")
_BY_WHAT = ("backend", "implementation", "compile")
_DECISIVE = ("budget", "backend", "implementation")
# Settings that the first runs of this format did not have, and the value that means what these did. Each new setting
# belongs here; the files of older runs would not be theirs any more without it.
_LATER = (
    ("schedule", "rate_at", "beginning"),
    ("train", "counting", False),
    ("train", "order", "cut"),
    ("train", "short_sequences", 0.0),
    ("train", "small_batches", 0.0),
)
_SEALED = ("corpus", "origin")


@dataclass(frozen=True)
class Described:
    """What a run is."""

    config: RunConfig
    corpus: TextOfRun
    origin: Origin | None = None
    """The run whose weights this one started from; None for random weights."""
    earlier: tuple[str, ...] = ()
    """Settings that decided its result and were changed since, such as `budget 40steps until step 40`; runs of older
    versions do not say."""

    def identity(self) -> str:
        """Hash of everything that must be equal in a checkpoint and in the run that loads it.

        Budget, backend, implementations, and how often the run evaluates and saves may change between sessions.
        """
        config = to_plain(self.config)
        for name in (*_HOW_OFTEN, *_BY_WHAT, "budget"):
            config["train"].pop(name)
        for section, name, before in _LATER:
            if config[section][name] == before:
                config[section].pop(name)
        origin = [] if self.origin is None else [self.origin.weights]
        parts = self.corpus.tokenizer, self.corpus.key, *origin
        return hash_text(plain_text(config), *parts)[:16]

    def write(self, path: Path) -> None:
        """Write the file, with a seal of what nobody may change."""
        values = to_plain(self)
        write_json(path, {"format_version": FORMAT_VERSION, **values, SEAL: seal(_sealed(values))})


def is_for_other_programs(path: Path) -> bool:
    """Whether the folder contains a model in the form of Hugging Face, and not a run.

    Raises:
        TinyError: its `config.json` is damaged.
    """
    described = path / "config.json"
    return described.is_file() and "model_type" in read_json(described, "description of the model")


def read_described(path: Path) -> Described:
    """Read the file of a run.

    Raises:
        TinyError: it is missing, damaged, or of another version.
    """
    values, what = read_json(path, "run configuration"), f"run configuration {path}"
    version, found = values.pop("format_version", None), values.pop(SEAL, None)
    if "model_type" in values:
        raise TinyError(
            f"{path.parent} contains a model for other programs, and no run",
            remedy="Name the run that it was exported from, or train a new one --from it",
        )
    if version != FORMAT_VERSION:
        raise TinyError(
            f"The run at {path.parent} was written by another version of mlx_tiny",
            expected=f"format {FORMAT_VERSION}",
            got=version,
            remedy=OTHER_VERSION,
        )
    config = values.get("config")
    for section, name, before in _LATER:
        if isinstance(config, dict) and isinstance(settings := config.get(section), dict):
            settings.setdefault(name, before)
    described = from_plain(Described, values, what)
    if found not in (None, seal(_sealed(values))):  # runs of older versions have no seal
        raise TinyError(
            f"The {what} is damaged: what it says of text and origin of the run is not as it was written",
            remedy="Restore it from a copy, or start a new run",
        )
    return described


def superseded(before: RunConfig, after: RunConfig, step: int) -> tuple[str, ...]:
    """The settings of `Described.earlier` that were changed at this step, in words."""
    changed = [found for found in differences([before, after]) if step and found.name in _DECISIVE]
    return tuple(f"{found.name} {found.values[0]} until step {step:,}" for found in changed)


def _sealed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values.get(name) for name in _SEALED}
