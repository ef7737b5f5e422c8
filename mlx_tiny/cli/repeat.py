"""The command that repeats a run: its preset, and every setting that is not as the preset has it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlx_tiny.cli.options import flag_name, has_flag
from mlx_tiny.config import RunConfig
from mlx_tiny.config.differences import differences
from mlx_tiny.config.presets import usual

if TYPE_CHECKING:
    from mlx_tiny.training.checkpoint import RunFolder

_ALWAYS = ("preset", "budget", "seed")
"""Settings of the section `train` that the command names in any case."""


def command_to_repeat(run: RunFolder) -> str:
    """For a shell; what was chosen for the user, such as the size of the model, is named in it."""
    words = ["mlx-tiny", "train"]
    if run.origin is not None:
        words += ["--from", run.origin.run]
    for name in _ALWAYS:
        words += _words("train", name, getattr(run.config.train, name))
    for section, name, value in changed(run.config):
        words += _words(section, name, value)
    return shlex.join(words)


def changed(config: RunConfig) -> Iterator[tuple[str, str, Any]]:
    """The settings with a flag that are not as the preset has them, but for those that are always named."""
    for found in differences([usual(config.train.preset), config]):
        always = found.section == "train" and found.name in _ALWAYS
        if has_flag(found.section, found.name) and not always:
            yield found.section, found.name, found.values[1]


def _words(section: str, name: str, value: Any) -> list[str]:
    flag = flag_name(section, name)
    if isinstance(value, bool):
        return [flag if value else f"--no{flag[1:]}"]
    values = value if isinstance(value, tuple) else () if value is None else (value,)
    return [word for each in values for word in ((flag, str(each)) if str(each)[:1] != "-" else (f"{flag}={each}",))]
