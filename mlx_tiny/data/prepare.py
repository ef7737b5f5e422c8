"""Documents become token files, once per text and settings; later runs only open them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Document, DocumentHash, Progress
from mlx_tiny.data.events.histories import count_events
from mlx_tiny.data.events.schema import Schema
from mlx_tiny.data.prepared import (
    BITS_DTYPE,
    BITS_FILE,
    PREPARED_VERSION,
    TOKEN_DTYPE,
    PreparedCorpus,
    PreparedRecord,
    TokenFile,
    made_again,
    open_prepared,
    prepared_folder,
    renamed,
)
from mlx_tiny.data.sampling import Survey, survey
from mlx_tiny.data.sources import Source, resolve
from mlx_tiny.data.tokenizer import Tokenizer, require_size, schema_of, train_tokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.files import (
    atomic_folder,
    discard_folder,
    hash_text,
    remove_leftovers,
)
from mlx_tiny.records import write_sealed

_REPORT_BYTES = 1 << 20
_ATTEMPTS = 2
"""More than one, because another process that finds the folder damaged may discard it between writing and opening."""


def prepare(
    config: DataConfig,
    *,
    progress: Progress | None = None,
    source: Source | None = None,
    tokenizer: Tokenizer | None = None,
    exact_vocabulary: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> PreparedCorpus:
    """Open the token files of these settings, and write them first where they are missing or damaged.

    Args:
        config: which text, and the kind and the largest size of the vocabulary.
        progress: called as the work proceeds.
        source: the result of `resolve(config)`, if the caller has it already.
        tokenizer: of a trained model, to be used instead of one that is trained on this text.
        exact_vocabulary: a text that does not support a vocabulary of this size is an error.
        tell: called with a line where they are damaged.

    Raises:
        TinyError: the text cannot be read, or is too small for the settings.
    """
    source = source or resolve(config)
    _require_schema_of(tokenizer, source)
    report = progress or silent
    source.make_ready(report)
    fingerprint = source.fingerprint()
    key = text_key(PREPARED_VERSION, fingerprint, config, tokenizer)
    remove_leftovers(prepared_folder(key).parent)
    for attempt in range(_ATTEMPTS + 1):
        prepared = None
        try:
            prepared = open_prepared(key, source.description)
        except TinyError as error:
            tell(made_again(error))
        if prepared is not None:
            if exact_vocabulary:
                require_size(prepared.record.vocabulary_size, config.vocabulary_size)
            return renamed(prepared, source, config)
        if attempt < _ATTEMPTS:
            _make(key, config, source, tokenizer, fingerprint, report, exact_vocabulary)
    raise TinyError(
        f"The prepared data in {prepared_folder(key)} is damaged as soon as it is written",
        remedy="Check the disk, or name another folder (MLX_TINY_HOME)",
    )


def text_key(version: int, fingerprint: str, config: DataConfig, tokenizer: Tokenizer | None) -> str:
    """The key under which this version prepares the text with this fingerprint."""
    return hash_text("prepared", version, fingerprint, vocabulary_of(config, tokenizer))[:32]


def vocabulary_of(config: DataConfig, tokenizer: Tokenizer | None) -> object:
    """What decides the tokens beside the text."""
    return (config.tokenizer, config.vocabulary_size) if tokenizer is None else tokenizer.hash


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


def silent(phase: str, done: float, total: float) -> None:
    """Show no progress."""


def _make(
    key: str,
    config: DataConfig,
    source: Source,
    tokenizer: Tokenizer | None,
    fingerprint: str,
    report: Progress,
    exact_vocabulary: bool,
) -> None:
    """Write the folder; a damaged one is removed first."""
    directory = prepared_folder(key)
    discard_folder(directory)
    with atomic_folder(directory) as folder:
        _write(folder, key, config, source, tokenizer, report, exact_vocabulary)
        if source.fingerprint() != fingerprint:
            raise TinyError("The text changed while it was being prepared", remedy="Run again when it is complete")


def _write(
    folder: Path,
    key: str,
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
        key=key,
        source=source.description,
        found=surveyed.found,
        train=train.counts(),
        valid=valid.counts(),
        bytes_per_token=valid.bytes / (valid.tokens - 1),
        valid_entropy_bits=None if valid.bits is None else math.fsum(valid.bits),
        tokenizer_hash=tokenizer.hash,
        vocabulary_size=tokenizer.size,
        settings=config,
    )
    if isinstance(tokenizer, ItemsTokenizer):
        full = tokenizer.has_only_items and tokenizer.size >= config.vocabulary_size
        record = replace(record, items=len(tokenizer.items), items_fill_vocabulary=full)
    if valid.bits is not None:
        bits = np.array(valid.bits, BITS_DTYPE).tobytes()
        (folder / BITS_FILE).write_bytes(bits)
        record = replace(record, valid_bits_hash=hashlib.sha256(bits).hexdigest())
    write_sealed(folder / "meta.json", record)


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
        self._text, self._token_hash = DocumentHash(), hashlib.sha256()
        self.bits: list[float] | None = []
        """Of each document; None where that of one is not known."""
        self._bos = np.array([tokenizer.bos], TOKEN_DTYPE).tobytes()

    def add(self, document: Document) -> int:
        """Append a document, and return the number of bytes of its text."""
        text = document.text
        encoded = self.tokenizer.encode_bytes(text)
        self._write(self._bos)
        self._write(encoded)
        self.documents += 1
        self.events += count_events(text)
        if isinstance(self.tokenizer, ItemsTokenizer):
            self.unknown_items += self.tokenizer.known_items(text).count(-1)
        raw = text.encode()
        self._text.add(raw)
        self.bytes += len(raw)
        if document.bits is None:
            self.bits = None
        elif self.bits is not None:
            self.bits.append(document.bits)
        return len(raw)

    def end(self) -> None:
        """Append the BOS that follows the last document."""
        self._write(self._bos)

    def counts(self) -> TokenFile:
        """What `meta.json` records about this file."""
        events = (self.events, self.unknown_items) if self.tokenizer.unit == "event" else ()
        hashes = self._text.value(), self._token_hash.hexdigest()
        return TokenFile(self.tokens, self.documents, self.bytes, *hashes, *events)

    def _write(self, tokens: bytes) -> None:
        self.file.write(tokens)
        self._token_hash.update(tokens)
        self.tokens += len(tokens) // 2
