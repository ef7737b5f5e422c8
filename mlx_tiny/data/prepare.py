"""Documents become token files, once per text and settings; later runs only open them.

Layout of a token file (little-endian uint16): each document is BOS and its tokens, and one last BOS ends the
file, so that the end of each document is predicted. Bits per byte divides by the bytes of the documents' texts: the
end of a document adds nats but no bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.config import DataConfig
from mlx_tiny.data.batches import require_tokens
from mlx_tiny.data.documents import Document, Progress
from mlx_tiny.data.events.histories import count_events
from mlx_tiny.data.events.schema import Schema
from mlx_tiny.data.findings import Findings, Seen
from mlx_tiny.data.sampling import Survey, survey
from mlx_tiny.data.sources import Source, resolve
from mlx_tiny.data.tokenizer import Tokenizer, load_tokenizer, require_size, schema_of, train_tokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.files import (
    DocumentHash,
    atomic_folder,
    cache_home,
    discard_folder,
    hash_file,
    hash_text,
    remove_leftovers,
)
from mlx_tiny.records import Record, read, write

PREPARED_VERSION = 6
"""Goes up by one whenever the same text and settings would give other files."""
TOKEN_DTYPE = "<u2"
_REPORT_BYTES = 1 << 20
_ATTEMPTS = 2
"""More than one, because another process that finds the folder damaged may discard it between writing and opening."""


@dataclass(frozen=True)
class TokenFile:
    """What a token file contains."""

    tokens: int
    documents: int
    bytes: int
    """UTF-8 bytes of the documents' texts."""
    text_hash: str
    """SHA-256 of the documents."""
    events: int | None = None
    """Lines of the documents, where these are histories of events."""
    unknown_items: int | None = None
    """Events whose item is no token."""


@dataclass(frozen=True)
class PreparedRecord(Record):
    """The content of `meta.json`: what was found in the text, and what became of it."""

    kind = "prepared data"
    version = PREPARED_VERSION

    source: str
    """Description of the source."""
    found: Findings
    train: TokenFile
    valid: TokenFile
    bytes_per_token: float
    valid_entropy_bits: float | None
    tokenizer_hash: str
    vocabulary_size: int
    """Of the tokenizer; a small text supports less than was asked for."""
    settings: DataConfig
    items: int | None = None
    """Tokens of the vocabulary that are items of events."""
    items_fill_vocabulary: bool = False
    """Whether more items would perhaps be known in a larger vocabulary."""


@dataclass(frozen=True)
class PreparedCorpus:
    """Token files on disk, opened by memory map."""

    directory: Path
    key: str
    """Hash of the text and the settings, and the name of the folder."""
    description: str
    """One line that says where the text came from."""
    train: NDArray[np.uint16]
    valid: NDArray[np.uint16]
    train_bytes: int
    """UTF-8 bytes of the training texts."""
    valid_bytes: int
    bytes_per_token: float
    """Bytes of the validation text per predicted token; the ends of documents count as predicted tokens."""
    valid_text_hash: str
    """SHA-256 of the validation documents; the vocabulary does not change it."""
    valid_entropy_bits: float | None
    """Exact information content of the validation texts, where they were generated."""
    record: PreparedRecord

    @property
    def bytes_per_event(self) -> float | None:
        """Bytes of the validation text per event; None where it does not consist of events."""
        events = self.record.valid.events
        return self.valid_bytes / events if events else None

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, loaded at first use."""
        return load_tokenizer(self.directory / "tokenizer.model")

    @property
    def parts(self) -> tuple[Part, ...]:
        """This text as the only part, as a mixture of several texts has its parts."""
        return (Part(1.0, self),)

    @property
    def floor_bits_per_byte(self) -> float | None:
        """Exact entropy of the validation text, where it was generated."""
        return None if self.valid_entropy_bits is None else self.valid_entropy_bits / self.valid_bytes


class Part(NamedTuple):
    """A text of a mixture."""

    share: float
    """Of the training sequences, and of the bytes when strength is measured."""
    corpus: PreparedCorpus


def prepare(
    config: DataConfig,
    *,
    progress: Progress | None = None,
    source: Source | None = None,
    tokenizer: Tokenizer | None = None,
    exact_vocabulary: bool = False,
) -> PreparedCorpus:
    """Open the token files of these settings, and write them first where they are missing or damaged.

    Args:
        config: which text, and the kind and the largest size of the vocabulary.
        progress: called as the work proceeds.
        source: the result of `resolve(config)`, if the caller has it already.
        tokenizer: of a trained model, to be used instead of one that is trained on this text.
        exact_vocabulary: a text that does not support a vocabulary of this size is an error.

    Raises:
        TinyError: the text cannot be read, or is too small for the settings.
    """
    source = source or resolve(config)
    _require_schema_of(tokenizer, source)
    report = progress or silent
    source.make_ready(report)
    fingerprint = source.fingerprint()
    vocabulary = (config.tokenizer, config.vocabulary_size) if tokenizer is None else tokenizer.hash
    key = hash_text("prepared", PREPARED_VERSION, fingerprint, vocabulary)[:32]
    directory = prepared_folder(key)
    for attempt in range(_ATTEMPTS + 1):
        prepared = _open_if_whole(directory, source.description)
        if prepared is not None:
            if exact_vocabulary:
                require_size(prepared.record.vocabulary_size, config.vocabulary_size)
            return renamed(prepared, source, config)
        if attempt < _ATTEMPTS:
            _make(directory, config, source, tokenizer, fingerprint, report, exact_vocabulary)
    raise TinyError(
        f"The prepared data in {directory} is damaged as soon as it is written",
        remedy="Check the disk, or name another folder (MLX_TINY_HOME)",
    )


def renamed(prepared: PreparedCorpus, source: Source, config: DataConfig) -> PreparedCorpus:
    """The corpus with the names of a source and with settings that may not be those with which it was prepared."""
    now = source.findings(Seen())
    found = replace(prepared.record.found, split=now.split, groups=now.groups, left_out=now.left_out)
    record = replace(prepared.record, source=source.description, found=found, settings=config)
    return replace(prepared, description=source.description, record=record)


def prepared_folder(key: str) -> Path:
    """The folder of the prepared data with this key, which may not exist."""
    return cache_home() / "prepared" / key


def find_prepared(key: str, description: str) -> PreparedCorpus | None:
    """The token files with this key, or None where they are not in the cache."""
    return _open_if_whole(prepared_folder(key), description)


def _require_schema_of(tokenizer: Tokenizer | None, source: Source) -> None:
    """Raise a TinyError when a tokenizer of histories is to encode other documents, or the other way round."""
    schema, other = schema_of(tokenizer), source.schema
    if tokenizer is not None and schema != other:
        parts = "" if schema is None or other is None else f", with other {' and '.join(schema.differences(other))}"
        raise TinyError(
            "The data does not fit the tokenizer of the model",
            expected="texts" if schema is None else "histories by the schema that the model was trained with",
            got="texts" if other is None else f"histories by a schema{parts}",
            remedy="Leave --schema out: a model of histories knows its schema, and one of texts has none",
        )


def require_sequence(parts: Iterable[Part], context: int) -> None:
    """Raise a TinyError when a training text is shorter than one sequence of `context` predicted tokens."""
    for part in parts:
        require_tokens(len(part.corpus.train), context)


def silent(phase: str, done: float, total: float) -> None:
    """Show no progress."""


def _make(
    directory: Path,
    config: DataConfig,
    source: Source,
    tokenizer: Tokenizer | None,
    fingerprint: str,
    report: Progress,
    exact_vocabulary: bool,
) -> None:
    """Write the folder; a damaged one is removed first."""
    discard_folder(directory)
    remove_leftovers(directory.parent)
    with atomic_folder(directory) as folder:
        _write(folder, config, source, tokenizer, report, exact_vocabulary)
        if source.fingerprint() != fingerprint:
            raise TinyError("The text changed while it was being prepared", remedy="Run again when it is complete")


def _open_if_whole(directory: Path, description: str) -> PreparedCorpus | None:
    """The corpus in `directory`, or None where it is missing or not what its `meta.json` says."""
    if not directory.is_dir():
        return None
    try:
        record = read(directory / "meta.json", PreparedRecord, "description of the prepared data")
        return _open(directory, record, description)
    except (TinyError, OSError):
        return None


def _open(directory: Path, record: PreparedRecord, description: str) -> PreparedCorpus | None:
    for name, file in (("train.bin", record.train), ("valid.bin", record.valid)):
        if (directory / name).stat().st_size != 2 * file.tokens:
            return None
    if hash_file(directory / "tokenizer.model") != record.tokenizer_hash:
        return None
    return PreparedCorpus(
        directory=directory,
        key=directory.name,
        description=description,
        train=np.memmap(directory / "train.bin", dtype=TOKEN_DTYPE, mode="r"),
        valid=np.memmap(directory / "valid.bin", dtype=TOKEN_DTYPE, mode="r"),
        train_bytes=record.train.bytes,
        valid_bytes=record.valid.bytes,
        bytes_per_token=record.bytes_per_token,
        valid_text_hash=record.valid.text_hash,
        valid_entropy_bits=record.valid_entropy_bits,
        record=record,
    )


def _write(
    folder: Path,
    config: DataConfig,
    source: Source,
    tokenizer: Tokenizer | None,
    report: Progress,
    exact_vocabulary: bool,
) -> None:
    surveyed = survey(source, config, report)
    if tokenizer is None:
        tokenizer = learn_tokenizer(
            surveyed.sample,
            config,
            report,
            exact_vocabulary=exact_vocabulary,
            roles=surveyed.found.roles,
            schema=source.schema,
        )
    (folder / "tokenizer.model").write_bytes(tokenizer.model)
    train, valid = _write_tokens(folder, surveyed, tokenizer, report)
    record = PreparedRecord(
        source=source.description,
        found=surveyed.found,
        train=train.counts(),
        valid=valid.counts(),
        bytes_per_token=valid.bytes / (valid.tokens - 1),
        valid_entropy_bits=valid.bits,
        tokenizer_hash=tokenizer.hash,
        vocabulary_size=tokenizer.size,
        settings=config,
    )
    if isinstance(tokenizer, ItemsTokenizer):
        full = tokenizer.has_only_items and tokenizer.size >= config.vocabulary_size
        record = replace(record, items=len(tokenizer.items), items_fill_vocabulary=full)
    write(folder / "meta.json", record)


def learn_tokenizer(
    sample: list[str],
    config: DataConfig,
    report: Progress,
    *,
    exact_vocabulary: bool,
    roles: Sequence[str],
    schema: Schema | None = None,
) -> Tokenizer:
    """The tokenizer of these settings, trained on a sample of the text.

    Args:
        exact_vocabulary: see `prepare`.
        roles: of chats; their markers become symbols.
        schema: of histories of events.

    Raises:
        TinyError: the sample is too small for it.
    """
    report("tokenizer", 0, 1)
    tokenizer = train_tokenizer(
        config.tokenizer, sample, config.vocabulary_size, exact=exact_vocabulary, roles=roles, schema=schema
    )
    report("tokenizer", 1, 1)
    return tokenizer


def _write_tokens(
    folder: Path, surveyed: Survey, tokenizer: Tokenizer, report: Progress
) -> tuple[_TokenWriter, _TokenWriter]:
    done = reported = 0
    with open(folder / "train.bin", "wb") as train_file, open(folder / "valid.bin", "wb") as valid_file:
        train, valid = _TokenWriter(train_file, tokenizer), _TokenWriter(valid_file, tokenizer)
        for document in surveyed.documents:
            done += (valid if document.held_out else train).add(document)
            if done >= reported:
                report("encode", done, surveyed.total_bytes)
                reported = done + _REPORT_BYTES
        train.end()
        valid.end()
    report("encode", done, done)
    return train, valid


class _TokenWriter:
    """A token file that is being written."""

    def __init__(self, file: IO[bytes], tokenizer: Tokenizer) -> None:
        self.file, self.tokenizer = file, tokenizer
        self.documents = self.bytes = self.tokens = self.events = self.unknown_items = 0
        self._text = DocumentHash()
        self.bits: float | None = 0.0
        self._bos = np.array([tokenizer.bos], TOKEN_DTYPE).tobytes()

    def add(self, document: Document) -> int:
        """Append a document, and return the number of bytes of its text."""
        text = document.text
        encoded = self.tokenizer.encode_bytes(text)
        self.file.write(self._bos)
        self.file.write(encoded)
        self.documents += 1
        self.tokens += 1 + len(encoded) // 2
        self.events += count_events(text)
        if isinstance(self.tokenizer, ItemsTokenizer):
            self.unknown_items += self.tokenizer.known_items(text).count(-1)
        raw = text.encode()
        self._text.add(raw)
        self.bytes += len(raw)
        self.bits = None if self.bits is None or document.bits is None else self.bits + document.bits
        return len(raw)

    def end(self) -> None:
        """Append the BOS that follows the last document."""
        self.file.write(self._bos)
        self.tokens += 1

    def counts(self) -> TokenFile:
        """What `meta.json` records about this file."""
        events = (self.events, self.unknown_items) if self.tokenizer.unit == "event" else ()
        return TokenFile(self.tokens, self.documents, self.bytes, self._text.value(), *events)
