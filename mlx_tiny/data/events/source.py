"""Tables of events as a source: their rows become histories by a schema, and each history is a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Document, Progress, Rules, Tally, document_hash
from mlx_tiny.data.events.histories import History, HistoryReader, cut_time
from mlx_tiny.data.events.schema import Schema, read_schema
from mlx_tiny.data.find import file_bytes, find
from mlx_tiny.data.findings import FileGroup, Findings, Seen
from mlx_tiny.data.formats.records import read_records
from mlx_tiny.data.opening import InputFile, content_hash
from mlx_tiny.data.sources import files_to_measure, training_files, validation_files
from mlx_tiny.data.splitting import Split
from mlx_tiny.errors import TinyError, one_line
from mlx_tiny.files import hash_text
from mlx_tiny.units import format_bytes


class EventSource:
    """The user's tables, with the histories of other tables as validation text, or with some histories held out.

    Unlike texts, histories with equal events are not taken for copies: short ones are often equal by chance.

    Args:
        config: which tables, the file of the schema, and how much is held out.
        schema: the content of that file, if it is known.

    Raises:
        TinyError: a file is missing, or the schema is not valid.
    """

    shuffled = False

    def __init__(self, config: DataConfig, schema: Schema | None = None) -> None:
        assert config.schema is not None
        self.names = config.sources
        self.schema = schema or read_schema(Path(config.schema))
        self._config, self._rules = config, Rules(header=config.header)
        found = find(config.sources, config.suffix, config.include)
        self._left_out = found.left_out
        self._valid = validation_files(config, found)
        self.unused = found.unused
        self._train = training_files(config, found, self._valid)
        self.size_bytes = 0
        size = format_bytes(sum(map(file_bytes, self._train)))
        self.description = one_line(
            f"events: {', '.join(self.names)} ({size}; by {config.schema}; {self._split_description})"
        )

    def make_ready(self, report: Progress) -> None:
        """Nothing to do: the files are there."""

    def fingerprint(self) -> str:
        """Hash of the files' contents, the schema, and what is held out."""
        parts = [
            (file.member, content_hash(file.path), held_out)
            for files, held_out in ((self._train, False), (self._valid, True))
            for file in files
        ]
        share = None if self._valid else self._config.held_out
        return hash_text("events, items first", self.schema, self._config.header, share, *parts)

    def documents(self, seen: Seen | None = None) -> Iterator[Document]:
        """The histories, in the order of their first rows; then those of the validation tables."""
        seen = seen or Seen()
        histories, skipped = self._histories
        seen.tally.skipped.update(skipped)
        for document in self._divided(histories):
            seen.tally.documents += 1
            seen.duplicates.add(document_hash(document.text))
            yield document
        if self._valid:
            for history in read_histories(self._valid, self.schema, self._rules, seen.tally.skipped):
                yield Document(history.text, True)

    def findings(self, seen: Seen) -> Findings:
        """What a whole pass has found."""
        return Findings(
            split=self._split_description,
            groups=tuple(
                FileGroup(split, f"table of events by {self._config.schema}", len(files), _bytes(files), files[0].name)
                for split, files in (("train", self._train), ("valid", self._valid))
                if files
            ),
            left_out=tuple(self._left_out),
            skipped=dict(seen.tally.skipped),
            duplicates=seen.duplicates.number,
            duplicates_estimated=seen.duplicates.estimated,
            trained_on_validation=not self._valid and not self._config.held_out,
        )

    @cached_property
    def _histories(self) -> tuple[list[History], Counter[str]]:
        skipped = Counter[str]()
        return read_histories(self._train, self.schema, self._rules, skipped), skipped

    @property
    def _split_description(self) -> str:
        share = self._config.held_out
        if self._valid:
            return f"validation on {self._config.validation or self._valid[0].name}"
        if not share:
            return Split("none", 0.0).description
        if self.schema.split == "time":
            return f"the last {share:.3g} of the events in time held out"
        return "histories held out by a hash of their names"

    def _divided(self, histories: list[History]) -> Iterator[Document]:
        share = self._config.held_out
        if self._valid:
            yield from (Document(history.text, False) for history in histories)
        elif not share:
            yield from Split("none", 0.0).documents((history.text, 0) for history in histories)
        elif self.schema.split == "time":
            cut = cut_time(histories, self.schema, share)
            for history in histories:
                parts = zip(history.divided(cut), (False, True), strict=True)
                yield from (Document(part.text, held_out) for part, held_out in parts if part is not None)
        else:
            yield from _by_name(histories, share)


def _by_name(histories: list[History], share: float) -> Iterator[Document]:
    """Hold out the histories whose names have a hash below the share, or at least the one with the smallest."""
    if len(histories) < 2:
        raise TinyError(
            "The table has a single history, so that none can be held out",
            expected="at least two histories",
            got=len(histories),
            remedy="Correct history in the schema, or write split: time",
        )
    hashes = [document_hash(history.name) / 2**64 for history in histories]
    bound = max(share, min(hashes) * (1 + 1e-12))
    for history, number in zip(histories, hashes, strict=True):
        yield Document(history.text, number < bound)


def read_histories(files: Iterable[InputFile], schema: Schema, rules: Rules, skipped: Counter[str]) -> list[History]:
    """The histories of some tables together; `skipped` counts the rows that gave no event.

    Raises:
        TinyError: a table cannot be read, or does not fit the schema.
    """
    reader = HistoryReader(schema, skipped)
    for file in files:
        reader.read(read_records(file, rules, schema.needed), file.name)
    return reader.histories()


def histories_to_measure(config: DataConfig, schema: Schema, tally: Tally) -> list[History]:
    """The histories of the user's tables on which a finished model is applied; see `files_to_measure`.

    Raises:
        TinyError: a table is missing, cannot be read, or does not fit the schema.
    """
    files = files_to_measure(config, tally).files
    histories = read_histories(files, schema, Rules(header=config.header), tally.skipped)
    tally.documents += len(histories)
    return histories


def _bytes(files: Iterable[InputFile]) -> int:
    return sum(map(file_bytes, files))
