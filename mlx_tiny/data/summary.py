"""What prepared data contains, in lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlx_tiny.data.findings import Findings
from mlx_tiny.data.prepared import PreparedRecord, TokenFile
from mlx_tiny.units import format_bytes


def summary(record: PreparedRecord) -> list[str]:
    """The line that says how much text is used for what, and what to know about it besides."""
    found = record.found
    again = f"; {_about(found)}{found.duplicates:,} of all are copies of others" if found.duplicates else ""
    line = f"documents: {_amount(record.train)} for training, {_amount(record.valid)} for validation{again}"
    return [line, *_vocabulary(record), *_items(record), *warnings(found)]


def warnings(found: Findings) -> list[str]:
    """Lines that say aloud what is not learned, or not measured, as the user may expect."""
    lines = reading_warnings(found.skipped, found.markers, found.left_out)
    if found.in_both:
        lines.append(
            f"warning: {found.in_both:,} training documents are validation documents too; they are not trained on"
        )
    if found.trained_on_validation:
        lines.append("warning: nothing is held out, so strength is measured on text that the model is trained on")
    return lines


def reading_warnings(skipped: Mapping[str, int], markers: int, left_out: Iterable[str]) -> list[str]:
    """Lines that say aloud what is not read, or not as the user may expect."""
    lines = [f"left out: {files}" for files in left_out]
    if skipped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())
        lines.append(f"warning: skipped {reasons}")
    if markers:
        lines.append(f"warning: documents with a marker such as <|endoftext|> in their text: {markers:,}")
    return lines


def _vocabulary(record: PreparedRecord) -> list[str]:
    size, largest = record.vocabulary_size, record.settings.vocabulary_size
    return (
        [f"vocabulary: {size} tokens, because the text is too short or too uniform for {largest}"]
        if size < largest
        else []
    )


def _items(record: PreparedRecord) -> list[str]:
    """How many items of events can be predicted, and how many of the events have others."""
    counts = [(file.unknown_items, file.events) for file in (record.train, record.valid)]
    shares = [f"{unknown / events:.1%}" for unknown, events in counts if unknown is not None and events]
    if record.items is None or len(shares) < 2:
        return []
    full = "; a larger --vocabulary-size has room for more" * record.items_fill_vocabulary
    return [
        f"items: {record.items:,} can be predicted; {shares[0]} of the events for training and {shares[1]} of those "
        f"for validation are of items without a token of their own{full}"
    ]


def _about(found: Findings) -> str:
    return "about " * found.duplicates_estimated


def _amount(file: TokenFile) -> str:
    return f"{file.documents:,} ({format_bytes(file.bytes)})"
