"""How good the model of a run is on each of several texts, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlx_tiny.data.labels import label, labels
from mlx_tiny.data.mixture import Corpus
from mlx_tiny.report.record import Report, TextStrength
from mlx_tiny.tools.tables import Column, Table
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counts import split
from mlx_tiny.training.evaluate import fingerprint
from mlx_tiny.training.origin import doubts
from mlx_tiny.training.outcome import Outcome


def texts_of(run: RunFolder, corpus: Corpus, outcome: Outcome, old: Sequence[TextStrength]) -> list[TextStrength]:
    if len(corpus.parts) == 1 and (run.origin is None or outcome.interrupted):
        return []
    before = {} if run.origin is None or outcome.interrupted else run.origin.before
    own = []
    for part, evaluation in zip(corpus.parts, outcome.parts, strict=True):
        mark = fingerprint(part.corpus.valid_text_hash)
        epochs = part.share * outcome.progress.tokens / len(split(part, run.config).learned)
        strength = evaluation.bits_per_byte, before.get(mark), part.corpus.floor_bits_per_byte
        text = part.corpus
        own.append(
            TextStrength(
                text.description,
                part.share,
                epochs,
                *strength,
                mark,
                sources=text.record.settings.sources,
                with_counting_bits_per_byte=evaluation.with_counting_bits_per_byte,
            )
        )
    known = {text.fingerprint for text in own}
    return [*own, *(text for text in old if text.fingerprint not in known)]


def weighted(shares: Sequence[float], values: Sequence[float | None]) -> float | None:
    """The mean of the values with these weights, or None where one is missing."""
    found = [share * value for share, value in zip(shares, values, strict=True) if value is not None]
    return sum(found) if found and len(found) == len(values) else None


def rows_of_texts(report: Report) -> dict[str, str]:
    """A row per text: its bits per byte, its share, and the bits per byte of the weights that the run started from."""
    rows = {}
    if report.origin is not None:
        rows["started from"] = report.origin.weights_of
        rows["validation text"] = " ".join(doubts(report.origin))
    for name, text in zip(labels([text.sources for text in report.texts]), report.texts, strict=True):
        rows[f"bits per byte on {name}"] = _describe_strength(text)
    origin, measured = report.origin, {text.fingerprint for text in report.texts}
    if (
        origin
        and origin.data_key
        and not report.interrupted
        and not (origin.texts and measured.issuperset(origin.texts))
    ):
        rows[f"bits per byte on {label(origin.sources)}"] = "not measured: the text is not in the cache"
    return rows


def table_of_texts(report: Report) -> Iterator[str]:
    """Strength on each of several texts, before and after, as a table in plain text; nothing of a single text."""
    if not report.texts:
        return
    trained_on = Column[tuple[str, TextStrength]](
        "trained on", lambda row: _trained_on(row[1]), "validation documents that are training text of this run"
    )
    with_counting = Column[tuple[str, TextStrength]](
        "with counting", lambda row: number(row[1].with_counting_bits_per_byte, ".4f")
    )
    table = Table[tuple[str, TextStrength]](
        lambda row: row[0],
        [
            Column("bits per byte", lambda row: f"{row[1].bits_per_byte:.4f}"),
            *([with_counting] if any(text.with_counting_bits_per_byte for text in report.texts) else []),
            Column("before", lambda row: number(row[1].before, ".4f")),
            Column("change", lambda row: number(_change(row[1]), "+.4f"), "a rise is what is forgotten"),
            Column("share", lambda row: number(row[1].share, ".3g"), "of the training sequences"),
            Column("epochs", lambda row: "" if row[1].share is None else f"{row[1].epochs:.2f}"),
            Column("floor", lambda row: number(row[1].entropy_floor_bits_per_byte, ".4f"), "entropy of the text"),
            *([trained_on] if any(text.learned_documents for text in report.texts) else []),
        ],
    )
    yield from table.lines(list(zip(labels([text.sources for text in report.texts]), report.texts, strict=True)))
    yield from table.legend()


def _change(text: TextStrength) -> float | None:
    return None if text.before is None else text.bits_per_byte - text.before


def learned_texts(report: Report) -> str:
    """The names of the texts that the model was trained on."""
    learned = [text.sources for text in report.texts if text.share is not None]
    return " and ".join(labels(learned)) or label(report.config.data.sources)


def _describe_strength(text: TextStrength) -> str:
    """Strength on one text in a line, such as "1.2345 (before: 2.3456, -1.1111; 0.3 of the sequences)"."""
    notes = []
    if text.before is not None:
        notes.append(f"before: {text.before:.4f}, {text.bits_per_byte - text.before:+.4f}")
    if text.entropy_floor_bits_per_byte is not None:
        notes.append(f"entropy floor {text.entropy_floor_bits_per_byte:.4f}")
    if text.share is not None:
        notes.append(f"{text.share:.3g} of the sequences, {text.epochs:.2f} epochs")
    elif text.learned_documents:
        notes.append(f"trained on {_trained_on(text)} validation documents")
    else:
        notes.append("not trained on")
    return f"{text.bits_per_byte:.4f} ({'; '.join(notes)})"


def _trained_on(text: TextStrength) -> str:
    return f"{text.learned_documents:,} of the {text.documents:,}" if text.learned_documents else ""


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
