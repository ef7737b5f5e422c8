"""The command that repeats a run: its preset, and every setting that would be another one without its flag."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_tiny.cli.options import SECTIONS, flag_name
from mlx_tiny.config import RunConfig
from mlx_tiny.config.differences import ALWAYS_CHOSEN, Difference, unlike, unlike_preset
from mlx_tiny.config.presets import PRESETS
from mlx_tiny.errors import TinyError

if TYPE_CHECKING:
    from mlx_tiny.training.checkpoint import RunFolder

Setting = tuple[str, str, Any]
"""Section, name and value."""


def command_to_repeat(run: RunFolder) -> str:
    """For a shell; what was chosen for the user, such as the size of the model, is named in it."""
    words = ["mlx-tiny", "train"]
    named = list(map(_setting, unlike_preset(run.config)))
    if run.origin is None:
        named += [setting for setting in _decided_by_others(run.config, named) if setting not in named]
    else:
        words += ["--from", os.path.abspath(run.origin.run)]
        named += [setting for setting in _unlike_origin(run) if setting not in named]
    for name in ALWAYS_CHOSEN:
        words += _words("train", name, getattr(run.config.train, name))
    for setting in named:
        words += _words(*setting)
    return shlex.join(words)


def _decided_by_others(config: RunConfig, named: list[Setting]) -> Iterator[Setting]:
    """Settings that are as the preset has them, but not always without a flag, such as `hidden` by `activation`."""
    if (size := config.data.vocabulary_size) == config.model.vocabulary_size:
        yield "data", "vocabulary_size", size  # unnamed, it may become smaller
    if config.train.preset in PRESETS:
        asked: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        for section, name, value in named:
            asked[section][name] = value
        yield from map(_setting, unlike(PRESETS[config.train.preset].config(asked), config))


def _unlike_origin(run: RunFolder) -> Iterator[Setting]:
    """Settings that a run without their flags would have from the model that this one started from."""
    from mlx_tiny.cli.from_run import OF_STEP, opened

    assert run.origin is not None
    with contextlib.suppress(TinyError):  # it is gone, and nothing repeats the run
        theirs = opened(Path(run.origin.run), run.config.model.context).config
        base = dataclasses.replace(run.config, optimizer=theirs.optimizer, train=theirs.train)
        for section, name, value in map(_setting, unlike(base, run.config)):
            if section == "optimizer" or name in OF_STEP:
                yield section, name, value


def _setting(found: Difference) -> Setting:
    return found.section, found.name, found.values[1]


def _words(section: str, name: str, value: Any) -> list[str]:
    flag = flag_name(section, name)
    if isinstance(value, bool):
        return [flag if value else f"--no{flag[1:]}"]
    values = value if isinstance(value, tuple) else () if value is None else (value,)
    return [word for each in values for word in ((flag, str(each)) if str(each)[:1] != "-" else (f"{flag}={each}",))]
