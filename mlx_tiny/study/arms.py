"""What a study compares: arms, each of them a way to train, as a study file or the command line describes them."""

from __future__ import annotations

import itertools
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_tiny.config import TrainConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.tools.yaml import read_yaml
from mlx_tiny.training.budget import Budget
from mlx_tiny.units import parse_quantity

_OF_THE_STUDY = ("--budget", "--seed", "--run", "--resume", "--resume-from")
"""Options of `mlx-tiny train` that the study gives itself."""
_PLACES = ("{seed}", "{budget}", "{output}")
_UNITS = {"seconds": "s", "tokens": "tok", "flops": "flop", "steps": "steps"}
_KEYS, _KEYS_OF_AN_ARM = ("budget", "seeds", "options", "arms", "vary"), ("budget", "options", "command")
_MOST_ARMS, _MOST_SEEDS = 1000, 10_000


@dataclass(frozen=True)
class Arm:
    """A way to train, which is run once with each seed.

    Raises:
        TinyError: a wrong budget, options that the study gives itself, or a command without its places.
    """

    name: str
    budget: str
    options: str = ""
    """Of `mlx-tiny train`; with a command, words that follow it."""
    command: str | None = None
    """Another program that trains, with the places {seed}, {budget} and {output}: a JSON file that it has to write."""

    def __post_init__(self) -> None:
        Budget(self.budget)
        words = self._split(self.options)
        if self.command is not None:
            missing = [place for place in _PLACES if place not in self.command]
            if missing or not self._split(self.command):
                raise TinyError(f"The command of the arm {self.name!r} lacks {', '.join(missing)}", got=self.command)
        elif wrong := {word.partition("=")[0] for word in words}.intersection(_OF_THE_STUDY):
            raise TinyError(f"The study itself gives {', '.join(sorted(wrong))} to its runs", got=self.options)

    def _split(self, text: str) -> list[str]:
        try:
            return shlex.split(text)
        except ValueError as error:
            raise TinyError(f"The words of the arm {self.name!r} cannot be told apart: {error}", got=text) from None

    def words(self, seed: int, share: float, folder: Path) -> tuple[list[str], Path]:
        """The command of one run, and the JSON file that it writes.

        Args:
            share: of the arm's budget.
            folder: empty, for the files of the run.
        """
        budget = _scaled(self.budget, share)
        if self.command is None:
            # The whole validation text, because arms of other budgets are to be measured on the same.
            given = ["--budget", budget, "--seed", str(seed), "--run", str(folder / "run"), "--measured-bytes", "all"]
            command = [sys.executable, "-m", "mlx_tiny", "train", *given, *self._split(self.options)]
            return command, folder / "run" / "report.json"
        output = folder / "output.json"
        # Unlike our own modules, a script may import what is beside it.
        command = ["env", "PYTHONSAFEPATH=", *self._split(self.command), *self._split(self.options)]
        values = {"{python}": sys.executable, **dict(zip(_PLACES, (str(seed), budget, str(output)), strict=True))}
        for place, value in values.items():
            command = [word.replace(place, value) for word in command]
        return command, output


def _scaled(budget: str, share: float) -> str:
    quantity, amount = parse_quantity(budget)
    return budget if share == 1 else f"{amount * share:.12g}{_UNITS[quantity]}"


@dataclass(frozen=True)
class Description:
    """A study before its arms are made; what a file and a command line say of it can be joined."""

    budget: str | None = None
    seeds: str | None = None
    options: str = ""
    """Of all arms that are runs of `mlx-tiny train`."""
    arms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Name -> budget, options, command."""
    vary: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Option without its dashes -> values; every arm is run with each of them, or of their combinations."""

    def assembled(self) -> list[Arm]:
        """The arms; the others are compared with the first."""
        budget = self.budget or TrainConfig.budget
        if (count := math.prod(map(len, self.vary.values())) * max(1, len(self.arms))) > _MOST_ARMS:
            raise TinyError("The study has too many arms", expected=f"at most {_MOST_ARMS}", got=count)
        grid = [list(zip(self.vary, values, strict=True)) for values in itertools.product(*self.vary.values())]
        found = list[Arm]()
        for (name, given), values in itertools.product((self.arms or {"": {}}).items(), grid):
            label = " ".join(filter(None, [name, *(f"{setting}={value}" for setting, value in values)]))
            varied = [f"--{setting}={shlex.quote(value)}" for setting, value in values]
            common = self.options if "command" not in given else ""
            options = " ".join(filter(None, [common, given.get("options"), *varied]))
            found.append(Arm(label or "train", given.get("budget") or budget, options, given.get("command")))
        names = [arm.name for arm in found]
        if not found or len(set(names)) < len(names):
            raise TinyError("The study has no arms, or two of one name", got=", ".join(names) or "none")
        return found


def parse_seeds(text: str) -> list[int]:
    """The seeds of "5", which is 0 to 4, or of "0,3,7"; "7," is the seed 7 alone."""
    parts = [part.strip() for part in text.removesuffix(",").split(",")]
    # A seed has 64 bits.
    if all(part.isdecimal() and len(part) < 20 for part in parts) and len(set(map(int, parts))) == len(parts):
        seeds = list(map(int, parts)) if "," in text else range(int(parts[0]))
        if 0 < len(seeds) <= _MOST_SEEDS:
            return list(seeds)
    raise TinyError(
        f"Cannot read the seeds {text[:80]!r}",
        expected=f"their number, at most {_MOST_SEEDS}, or different ones such as 0,3,7",
    )


def parse_shares(text: str) -> list[float]:
    """The shares of "0.1,1", from the smallest to the largest."""
    try:
        shares = sorted({float(part) for part in text.split(",")})
    except ValueError:
        shares = []
    if not (shares and shares[0] > 0 and shares[-1] <= 1):
        raise TinyError(f"Cannot read the shares {text!r}", expected="numbers above 0 up to 1, such as 0.1,1")
    return shares


def parse_vary(text: str) -> tuple[str, list[str]]:
    """The setting and the values of "matrix-rate=0.01,0.02"."""
    setting, equals, values = text.partition("=")
    if not (setting.strip("-") and equals and all(values.split(","))):
        raise TinyError(f"Cannot read --vary {text!r}", expected="a setting and values, as in matrix-rate=0.01,0.02")
    return setting.lstrip("-"), values.split(",")


def read_description(path: Path) -> Description:
    """Read a study file.

    Raises:
        TinyError: it is missing, no YAML, or has other keys or values than a study; the error names the place.
    """
    what = f"study file {path}"
    values = _mapping(read_yaml(path, "study file"), what, _KEYS)
    arms = {
        name: {"options": given} if isinstance(given, str) else _mapping(given, f"arm {name!r}", _KEYS_OF_AN_ARM)
        for name, given in _mapping(values.get("arms", {}), f"arms of the {what}").items()
    }
    for name, given in (("study", {key: values[key] for key in _KEYS[:3] if key in values}), *arms.items()):
        for key, value in given.items():
            if not isinstance(value, str):
                raise TinyError(f"{key} of {name} in the {what} is not a text", got=_shown(value))
    vary = _mapping(values.get("vary", {}), f"vary of the {what}")
    for name, found in vary.items():
        if not isinstance(found, list) or not found or not all(isinstance(value, str) for value in found):
            raise TinyError(f"{name} in the {what} needs values to vary", expected="a list, as in [0.01, 0.02]")
    return Description(**{**values, "arms": arms, "vary": vary})


def _mapping(value: Any, what: str, known: tuple[str, ...] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TinyError(f"The {what} is malformed", expected="names with values", got=_shown(value))
    if known is not None and (unknown := [key for key in value if key not in known]):
        raise TinyError(f"Unknown key {unknown[0]!r} in the {what}", expected=f"one of {', '.join(known)}")
    return value


def _shown(value: Any) -> str:
    """A value of a file for an error; of a list not its parts, which may be the same ones millions of times."""
    return (value or "nothing") if isinstance(value, str) else "a list" if isinstance(value, list) else "names"
