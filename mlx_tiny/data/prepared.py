"""Prepared data: what its folder contains, and how it is opened.

Layout of a token file (little-endian uint16): each document is BOS and its tokens, and one last BOS ends the
file, so that the end of each document is predicted. Bits per byte divides by the bytes of the documents' texts: the
end of a document adds nats but no bytes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.config import DataConfig
from mlx_tiny.data.batches import require_tokens
from mlx_tiny.data.findings import Findings, Seen
from mlx_tiny.data.sources import Source
from mlx_tiny.data.tokenizer import Tokenizer, load_tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.files import cache_home, explained, hash_file
from mlx_tiny.records import Record, read_sealed

PREPARED_VERSION = 8
"""Goes up by one whenever the same text and settings would give other files."""
EARLIER_VERSIONS = (6, 7)
"""Those that gave the same tokens, and described them otherwise."""
TOKEN_DTYPE = "<u2"
BITS_FILE, BITS_DTYPE = "valid_bits.bin", "<f8"
"""Exact information content of each validation document, where they were generated."""


@dataclass(frozen=True)
class TokenFile:
    """What a token file contains."""

    tokens: int
    documents: int
    bytes: int
    """UTF-8 bytes of the documents' texts."""
    text_hash: str
    """SHA-256 of the documents."""
    token_hash: str
    """SHA-256 of the file. A damaged one is not used: MLX would read and write beyond its arrays by an unknown id."""
    events: int | None = None
    """Lines of the documents, where these are histories of events."""
    unknown_items: int | None = None
    """Events whose item is no token."""


@dataclass(frozen=True)
class PreparedRecord(Record):
    """The content of `meta.json`: what was found in the text, and what became of it."""

    kind = "prepared data"
    version = PREPARED_VERSION

    key: str
    """See `PreparedCorpus`."""
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
    valid_bits_hash: str | None = None
    """SHA-256 of `BITS_FILE`, where there is one."""


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
    valid_file: TokenFile
    """What `valid` contains: less than `record.valid` where only the beginning is measured."""

    @property
    def is_shortened(self) -> bool:
        """Whether `valid` is only the beginning of the validation text."""
        return self.valid_file != self.record.valid

    @property
    def bytes_per_event(self) -> float | None:
        """Bytes of the validation text per event; None where it does not consist of events."""
        events = self.valid_file.events
        return self.valid_bytes / events if events else None

    def entropy_bits_of(self, documents: int) -> float | None:
        """Exact information content of the first validation documents, where they were generated."""
        if self.record.valid_bits_hash is None:
            return None
        return float(np.fromfile(self.directory / BITS_FILE, BITS_DTYPE, count=documents).sum())

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


def require_sequence(parts: Iterable[Part], context: int) -> None:
    """Raise a TinyError when a training text is shorter than one sequence of `context` predicted tokens."""
    for part in parts:
        require_tokens(len(part.corpus.train), context)


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
    """The token files with this key, or None where they are not in the cache, or damaged."""
    with contextlib.suppress(TinyError):
        return open_prepared(key, description)
    return None


def open_prepared(key: str, description: str) -> PreparedCorpus | None:
    """The token files with this key, or None where they are not in the cache.

    Each file is read once as a whole to check its hash, which takes 0.6 s per GB of tokens.

    Raises:
        TinyError: a file is missing, or is not as it was written.
    """
    directory = prepared_folder(key)
    if not directory.is_dir():
        return None
    record = read_sealed(directory / "meta.json", PreparedRecord, "description of the prepared data")
    hashes = {
        "train.bin": record.train.token_hash,
        "valid.bin": record.valid.token_hash,
        "tokenizer.model": record.tokenizer_hash,
        **({BITS_FILE: record.valid_bits_hash} if record.valid_bits_hash else {}),
    }
    for name, written in hashes.items():
        path = directory / name
        with explained(path):
            if not path.is_file() or hash_file(path) != written:
                raise TinyError(f"{path} is not as it was written")
    require_key(directory, record.key)
    return PreparedCorpus(
        directory=directory,
        key=key,
        description=description,
        train=np.memmap(directory / "train.bin", dtype=TOKEN_DTYPE, mode="r"),
        valid=np.memmap(directory / "valid.bin", dtype=TOKEN_DTYPE, mode="r"),
        train_bytes=record.train.bytes,
        valid_bytes=record.valid.bytes,
        bytes_per_token=record.bytes_per_token,
        valid_text_hash=record.valid.text_hash,
        valid_entropy_bits=record.valid_entropy_bits,
        record=record,
        valid_file=record.valid,
    )


def require_key(directory: Path, key: str) -> None:
    """Raise a TinyError when a folder contains what was prepared under another key than its name."""
    if key != directory.name:
        raise TinyError(f"{directory} contains the prepared data of another key", got=key)


def made_again(damage: TinyError) -> str:
    """The line that says why data is prepared once more."""
    return f"warning: prepared data is damaged and is made again: {damage.failed}"
