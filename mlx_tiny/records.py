"""Records: frozen dataclasses that are written as JSON, and checked against their types when they are read.

Configurations, runs, steps, evaluations, benchmarks and studies are all written by `to_plain` and read by `from_plain`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import sys
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Union

from mlx_tiny.errors import TinyError
from mlx_tiny.files import hash_text, parse_json, read_json, spelled, write_json

R = TypeVar("R")
_OTHER_VERSION = "It may come from another version of mlx_tiny"
SEAL = "seal"
_LARGEST_WHOLE = 2**64
_LARGEST_COUNT = 2**53
"""Of an account: up to here float64 has all whole numbers."""


class Record:
    """A dataclass that is written on its own: its JSON begins with its kind and version."""

    kind: ClassVar[str]
    version: ClassVar[int]


def to_plain(value: Any) -> Any:
    """A record, or a container of records, as values of JSON: NaN and infinities become None."""
    if dataclasses.is_dataclass(value):
        head: dict[str, Any] = {"kind": value.kind, "version": value.version} if isinstance(value, Record) else {}
        return {**head, **{f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}}
    if isinstance(value, dict):
        return {str(name): to_plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any) -> str:
    """A record, or a container of records, as one line of JSON."""
    return spelled(json.dumps(to_plain(value), allow_nan=False))


def from_plain(record: type[R], values: Any, what: str = "configuration", path: str = "") -> R:
    """Build a record from the values that `to_plain` returned; missing keys take their defaults.

    Args:
        record: a dataclass whose fields are scalars, other dataclasses, lists, tuples and dictionaries of these, some
            perhaps None.
        what: name of the record in errors ("configuration", "report runs/a/report.json").
        path: of the keys that lead to `values`.

    Raises:
        TinyError: another kind or version, a key that is unknown or missing, a value of another type, or one that the
            dataclass rejects.
    """
    if not isinstance(values, dict):
        where = f" at {path.rstrip('.')}" if path else ""
        raise TinyError(f"The {what} is malformed{where}", expected="an object", got=_shown(values))
    if issubclass(record, Record):
        values = _without_head(record, values, what)
    fields = {f.name: f for f in dataclasses.fields(record)}  # type: ignore[arg-type]
    for name in sorted(values.keys() - fields.keys()):
        raise TinyError(
            f"Unknown key {path}{name} in the {what}",
            expected=f"one of {', '.join(fields)}",
            remedy=_OTHER_VERSION,
        )
    for name, described in fields.items():
        if name not in values and described.default is described.default_factory is dataclasses.MISSING:
            raise TinyError(f"The {what} is damaged", expected=f"a value of {path}{name}", got="none")
    hints = _hints(typing.cast(type, record))
    return record(**{name: _typed(hints[name], value, what, f"{path}{name}") for name, value in values.items()})


def _without_head(record: type[Record], values: dict[str, Any], what: str) -> dict[str, Any]:
    found = values.get("kind"), values.get("version")
    if found != (record.kind, record.version):
        raise TinyError(
            f"The {what} is not of a kind and version that can be read here",
            expected=f"kind {record.kind!r}, version {record.version}",
            got=f"kind {found[0]!r}, version {found[1]}",
            remedy=_OTHER_VERSION,
        )
    return {name: value for name, value in values.items() if name not in ("kind", "version")}


@functools.cache
def _hints(record: type) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _typed(hint: Any, value: Any, what: str, path: str) -> Any:
    """The value, converted to its type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), value, what, f"{path}.")
    if origin in (Union, types.UnionType) and type(None) in arguments:
        (other,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _typed(other, value, what, path)
    if origin is dict and isinstance(value, dict):
        return {name: _typed(arguments[1], inner, what, f"{path}.{name}") for name, inner in value.items()}
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        return origin(_typed(arguments[0], inner, what, f"{path}.{index}") for index, inner in enumerate(value))
    scalars = (float, int) if hint is float else hint
    if origin is not None or not isinstance(value, scalars) or (isinstance(value, bool) and hint is not bool):
        expected = hint.__name__ if isinstance(hint, type) and origin is None else hint
        raise TinyError(f"In the {what}, {path} has the wrong type", expected=expected, got=_shown(value))
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
        raise TinyError(f"In the {what}, {path} is too large", expected="a number of 64 bits", got=_shown(value))
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def write(path: Path, record: Record) -> None:
    """Write a record to a file of its own, atomically."""
    write_json(path, to_plain(record))


def read(path: Path, record: type[R], what: str) -> R:
    """Read a record from a file of its own; errors call it `what`, such as "report of the run".

    Raises:
        TinyError: it is missing, damaged, or of another kind or version.
    """
    return from_plain(record, read_json(path, what), f"{what} at {path}")


def write_sealed(path: Path, record: Record) -> None:
    """`write`, with a hash of the values, by which `read_sealed` knows whether they are those that were written."""
    values = to_plain(record)
    write_json(path, {**values, SEAL: seal(values)})


def read_sealed(path: Path, record: type[R], what: str) -> R:
    """`read` of what `write_sealed` has written.

    Raises:
        TinyError: as `read`; or a value is not the one that was written.
    """
    values = read_json(path, what)
    if values.pop(SEAL, None) != seal(values):
        raise TinyError(f"The {what} at {path} is not as it was written")
    return from_plain(record, values, f"{what} at {path}")


def seal(values: dict[str, Any]) -> str:
    """A hash of values of JSON, in any order of their names."""
    return hash_text(plain_text(values))


def plain_text(values: dict[str, Any]) -> str:
    """Values of JSON as one text, whatever the order of their names."""
    return json.dumps(values, sort_keys=True)


class Account:
    """A dataclass that counts: its numbers are finite and not negative."""

    def __post_init__(self) -> None:
        for described in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, described.name)
            for number in value.values() if isinstance(value, dict) else [value]:
                largest = _LARGEST_COUNT if isinstance(number, int) else sys.float_info.max
                if isinstance(number, (int, float)) and not 0 <= number <= largest:
                    raise TinyError(
                        f"The account of the run is damaged at {described.name}",
                        expected=f"a number from 0 to {largest:g}",
                        got=_shown(number),
                    )


@dataclass(frozen=True)
class StepRecord(Record, Account):
    """A finished training step, a line of `metrics.jsonl`."""

    kind = "step"
    version = 1

    step: int
    loss: float
    """Mean nats per token, before the update."""
    tokens: int
    """Tokens of the run up to this step, including it. The FLOPs count in the same way."""
    flops: float
    seconds: float
    """Time on the budget's clock when the step was finished."""
    fraction: float
    """Fraction of the budget that decided the learning rate: in the middle of the step, or at its beginning."""
    multiplier: float
    tokens_per_s: float
    """Over the last few steps."""


@dataclass(frozen=True)
class EvaluationRecord(Record, Account):
    """An evaluation during the run, a line of `metrics.jsonl`."""

    kind = "evaluation"
    version = 1

    step: int
    tokens: int
    seconds: float
    fraction: float
    validation_bits_per_byte: float
    by_text: list[float] = field(default_factory=list)
    """The same for each text of a mixture."""


@dataclass(frozen=True)
class SampleRecord(Record, Account):
    """A text that the model alone wrote during the run, a line of `metrics.jsonl`."""

    kind = "sample"
    version = 1

    step: int
    tokens: int
    seconds: float
    fraction: float
    text: str


@dataclass(frozen=True)
class FinalRecord(Record, Account):
    """The evaluation that ends a run, the last line of `metrics.jsonl`."""

    kind = "final"
    version = 1

    step: int
    tokens: int
    seconds: float
    final_bits_per_byte: float
    with_counting_bits_per_byte: float | None = None
    """Under the mixture with counting."""


MetricsRecord = StepRecord | EvaluationRecord | SampleRecord | FinalRecord
_METRICS: dict[str, type[MetricsRecord]] = {
    each.kind: each for each in (StepRecord, EvaluationRecord, SampleRecord, FinalRecord)
}


def metrics_from_json(line: bytes, what: str) -> MetricsRecord:
    """Read a line of `metrics.jsonl`.

    Raises:
        ValueError: one of the errors of `parse_json`.
        TinyError: it is not one of the records above.
    """
    values = parse_json(line)
    kind = values.get("kind") if isinstance(values, dict) else None
    return from_plain(_METRICS.get(str(kind), StepRecord), values, what)


@dataclass(frozen=True)
class TextOfRun:
    """What a run remembers of the text that it is trained on."""

    key: str
    """Of the prepared text, the name of its folder in the cache."""
    tokenizer: str
    """SHA-256 of the tokenizer."""
    description: str = ""
    single_lines: bool = False
    """Whether each document is a single line, such as a name."""

    def __post_init__(self) -> None:
        _require_keys(self.key)


def _require_keys(*keys: str) -> None:
    """Refuse keys that may name another folder than one of prepared text."""
    for key in keys:
        if not re.fullmatch("[0-9a-f]*", key):
            raise TinyError("The key of a prepared text is damaged", expected="hexadecimal digits", got=_shown(key))


@dataclass(frozen=True)
class Origin:
    """The run whose weights and tokenizer another run started from, or a model in the form of another program."""

    run: str
    """Its folder at that time, for display."""
    step: int | None
    """At which it had these weights; None where another program has written them."""
    weights: str
    """SHA-256 of the weights."""
    tokenizer: str
    """SHA-256 of the tokenizer."""
    data: str
    """Description of the text that it was trained on."""
    data_key: str
    """Key of its prepared text in the cache; empty where the text is not known."""
    texts: list[str]
    """Fingerprints of its validation texts; none where they were not in the cache when this run began."""
    before: dict[str, float]
    """Bits per byte of these weights on each validation text, by the fingerprint of the text."""
    validation_documents: int = 0
    """Of the text of this run."""
    learned_documents: int | None = None
    """Those of them that the weights were trained on before; None where some of that text was not in the cache."""
    earlier_keys: tuple[str, ...] = ()
    """Of the texts that these weights were trained on before that of `data_key`."""
    sources: tuple[str, ...] = ()
    """What the user of that run named as its text, without weights."""

    def __post_init__(self) -> None:
        _require_keys(self.data_key, *self.earlier_keys)

    @property
    def weights_of(self) -> str:
        """Where the weights are from, for display."""
        return self.run if self.step is None else f"{self.run}, step {self.step}"


@dataclass(frozen=True)
class Progress(Account):
    """The account of a run: everything in a checkpoint that is not an array."""

    step: int = 0
    sequences: int = 0
    """Training sequences read so far, which is the position in the data."""
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    """Time on the budget's clock."""
    best_bits_per_byte: float | None = None
    spent_budget: str | None = None
    """The budget that is spent to its end; None during a run."""
    losses: dict[str, float | None] = field(default_factory=dict)
    """State of the divergence watch."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase."""
    computed_by: str | None = None
    """Framework, device and lanes, on which the last bits of a result depend; None in older checkpoints."""
    restarts: int = 0
    """How often a new process continued the run after an error of the device."""


def progress_from_json(text: str, what: str) -> Progress:
    """Read the account in a checkpoint; errors call it `what`.

    Raises:
        ValueError: one of the errors of `parse_json`.
        TinyError: it is not such an account, or lacks what every version has written.
    """
    values = parse_json(text)
    for name in ("step", "sequences", "tokens", "flops", "seconds") if isinstance(values, dict) else ():
        if name not in values:
            raise TinyError(f"The {what} is damaged", expected=f"a value of {name}", got="none")
    return from_plain(Progress, values, what)
