"""The file that a benchmark leaves: settings, peaks, records, and what must be said about them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlx_tiny.bench.kernels import OWN
from mlx_tiny.bench.worker import OURS
from mlx_tiny.errors import CheckFailed, TinyError
from mlx_tiny.files import read_json
from mlx_tiny.machine.description import Machine, describe
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.records import from_plain, to_plain

Record = dict[str, Any]

KIND, FORMAT_VERSION = "mlx-tiny bench", 1
NAMES = ("benchmark", "operation", "direction", "part", "preset", "shape", "dtype", "implementation")
"""The fields that together name a record."""
_SHARES = ("share_of_bound", "utilisation")
PEAKS_AGREE_WITHIN = 1.15
"""Factor between the peaks before and after, beyond which shares of them are doubtful."""


def assemble(records: Sequence[Record], before: Peaks, after: Peaks | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The whole file as plain values.

    Args:
        before: the peaks that the records were compared with.
        after: the same, measured again at the end; None while there is more to measure.
    """
    unfinished = [] if after else ["This is not complete: the measurement had not ended when it was written."]
    return {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "complete": after is not None,
        "settings": settings,
        "machine": to_plain(describe()),
        "peaks": to_plain(before),
        "peaks_after": to_plain(after) if after else None,
        "warnings": [*unfinished, *(changed_peaks(before, after) if after else []), *warnings(records)],
        "records": to_plain(list(records)),
    }


def name_of(record: Record) -> tuple[str, ...]:
    """What tells a record from all others of its file."""
    return tuple(str(record[field]) for field in NAMES if record.get(field) is not None)


def title_of(record: Record) -> str:
    """What is measured, without who measured it: "attention, forward, mini"."""
    fields = ("operation", "direction", "part", "preset")
    words = [str(record[field]) for field in fields if record.get(field) is not None]
    return ", ".join(words if "operation" in record else [_LONG_NAMES[record["benchmark"]], *words])


_LONG_NAMES = {"step": "training step", "inference": "generation"}


def changed_peaks(before: Peaks, after: Peaks) -> list[str]:
    """What must be said where the machine could do more, or less, at the end than at the beginning; one sentence."""
    pairs = {
        f"{dtype} products": (first, after.matmul_flops_per_s[dtype], "GFLOP/s")
        for dtype, first in before.matmul_flops_per_s.items()
    }
    pairs["copies"] = (before.copy_bytes_per_s, after.copy_bytes_per_s, "GB/s")
    for what, (first, last, unit) in pairs.items():
        if max(first, last) > PEAKS_AGREE_WITHIN * min(first, last):
            return [
                f"The peak of {what} was {first / 1e9:.0f} {unit} before and {last / 1e9:.0f} {unit} after: what is "
                "said of shares, all of the first, and of bounds is uncertain by as much."
            ]
    return []


def warnings(records: Sequence[Record]) -> list[str]:
    """What a reader must know before trusting the figures; a sentence each."""
    found = []
    timed = [record for record in records if "spread" in record]
    wide = [record for record in timed if record["overloaded"]]
    if wide:
        most = max(record["spread"] for record in wide)
        found.append(
            f"The machine was too loaded to measure {len(wide)} of {len(timed)} records: their times spread by more "
            f"than 30 %, up to {most:.0%}. Close other programs, or let the machine cool, and measure again."
        )
    beyond = [record for record in timed if max(record.get(name) or 0 for name in _SHARES) > 1]
    if beyond:
        found.append(
            f"{len(beyond)} of {len(timed)} records were faster than the peaks allow, the first being "
            f"{title_of(beyond[0])}, {beyond[0]['implementation']}: the machine can do more than it did when its peaks "
            "were measured, or caches held what is counted as read from memory. Their shares, above 100 % and with a "
            "question mark, are not of a bound."
        )
    for record in records:
        if record.get("wrong"):
            found.append(f"{title_of(record)}, {record['implementation']}: {record['reason']}; its time is not shown.")
    return found


def require_right(records: Sequence[Record]) -> None:
    """Raise where one of the project's own implementations failed, or computed something wrong.

    Raises:
        CheckFailed: naming the first.
    """
    faults = [r for r in records if (r.get("wrong") or r.get("failed")) and is_own(r["implementation"])]
    if faults:
        raise CheckFailed(
            f"{len(faults)} of this project's own results are wrong or missing; the first is {title_of(faults[0])}, "
            f"{faults[0]['implementation']}",
            got=faults[0]["reason"].removeprefix("wrong: "),
            remedy="Run `mlx-tiny validate --kernels`, and report what it prints",
        )


def is_own(implementation: str) -> bool:
    """Whether an implementation is this project's."""
    return implementation in OWN or implementation.startswith(OURS)


def read(path: Path) -> dict[str, Any]:
    """Read such a file.

    Raises:
        TinyError: it is missing, damaged, of another kind, or of another version.
    """
    found = read_json(path, "file of benchmark results")
    if found.get("kind") != KIND or found.get("format_version") != FORMAT_VERSION:
        raise TinyError(
            f"{path} is no file of benchmark results that this version reads",
            expected=f"kind {KIND!r}, format {FORMAT_VERSION}",
            got=f"kind {found.get('kind')!r}, format {found.get('format_version')}",
            remedy="Write one with `mlx-tiny bench --all --output FILE`",
        )
    from_plain(Machine, found.get("machine"), f"machine in {path}")
    if (damage := _damage(found)) is not None:
        raise TinyError(
            f"{path} is damaged", expected=damage, remedy="Write it anew with `mlx-tiny bench --all --output FILE`"
        )
    return found


def _damage(file: dict[str, Any]) -> str | None:
    """What a reader would miss in the file, or None."""
    if not isinstance(file.get("created"), str):
        return "when it was created"
    if not isinstance(file.get("warnings"), list):
        return "a list of warnings"
    records = file.get("records")
    if not isinstance(records, list):
        return "a list of records"
    for number, record in enumerate(records):
        if not isinstance(record, dict) or not {"benchmark", "dtype", "implementation"} <= record.keys():
            return f"a benchmark, a dtype and an implementation in record {number}"
        times = [record.get(name) for name in ("median_s", "p10_s", "p90_s")]
        timed = all(isinstance(t, (int, float)) and t > 0 for t in times) and isinstance(record.get("overloaded"), bool)
        if not timed and not isinstance(record.get("reason"), str):
            return f"times, or a reason why there are none, in record {number}"
    return None
