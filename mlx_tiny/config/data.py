"""Settings of the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlx_tiny.config.checks import require, require_choices, require_representable

TOKENIZERS = ("bpe", "bytes", "characters")
SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 260, 32768


@dataclass(frozen=True)
class DataConfig:
    """Which text the model learns, and how it becomes tokens."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"tokenizer": TOKENIZERS}

    sources: tuple[str, ...] = ("auto",)
    """Training text: `stories` (generated), `tinystories` (downloaded once), or files of your own, named by a path, a
    folder or a glob, and again for more. With weights, as `stories:0.3` and `my.txt:0.7`, the sequences are drawn from
    each text in these shares, and strength is measured on each. `auto` takes TinyStories where it is in the cache, and
    `stories` elsewhere."""
    validation: str | None = None
    """Path of validation text; without it a share of the documents is held out."""
    text_column: str | None = None
    """Column of a table, or key of JSON lines, that contains the text; needed only where several could."""
    documents: str = "auto"
    """How a text file becomes documents: `lines`, `blank-lines`, `files` or `whole` (each file is one), or the text of
    the lines between two documents. `auto` finds it."""
    header: bool | None = None
    """Whether the first line of a table names its columns: without it a line that may be a row is refused. Without a
    header `text_column` is a number, from 1."""
    suffix: tuple[str, ...] = ()
    """Also read files with this suffix in folders, such as `.py`."""
    include: tuple[str, ...] = ()
    """Also read files of this name that are left out in folders, such as `README.md`."""
    schema: str | None = None
    """File that says how the rows of a table become histories of events; `mlx-tiny data describe` writes one."""
    held_out: float = 0.02
    """Share of your own documents that is held out for validation where no validation text is named. With 0, strength
    is measured on training text."""
    vocabulary_size: int = 2048
    """Tokens in the vocabulary, 260 to 32768; unless you name a number, a text in few words gets fewer."""
    tokenizer: str = "bpe"
    """What the tokens are: `bpe` (byte pairs), `bytes`, or `characters` (rare ones in bytes)."""
    train_bytes: int = 40_000_000
    """Bytes of training text from `stories` or `tinystories`; with the preset `auto`, what the budget needs."""
    validation_bytes: int = 1_000_000
    """Largest number of bytes of validation text to take from `stories` or `tinystories`."""
    stories_scale: float = 1.0
    """`stories` only: share of its plots and words that is used, above 0 and up to 1."""
    stories_dependency: int = 1
    """`stories` only: how far an effect follows its cause, from 0 (at once) to 3 (many sentences later)."""
    seed: int = 0
    """Seed of the generated stories."""

    def __post_init__(self) -> None:
        size = self.vocabulary_size
        require(
            SMALLEST_VOCABULARY <= size <= LARGEST_VOCABULARY,
            "vocabulary_size",
            f"{SMALLEST_VOCABULARY} to {LARGEST_VOCABULARY}",
            size,
        )
        require_choices(self)
        unnamed = self.schema is None or self.tokenizer == "bpe"
        require(unnamed, "tokenizer", "none beside a schema, which makes the tokens from cells", self.tokenizer)
        for name, unset in (("text_column", None), ("documents", "auto")):
            value = getattr(self, name)
            require(self.schema is None or value == unset, name, "none beside a schema, which names the columns", value)
        require(0 <= self.held_out < 1, "held_out", "a share from 0 to below 1", self.held_out)
        require(self.train_bytes > 0, "train_bytes", "a positive number of bytes", self.train_bytes)
        require(self.validation_bytes > 0, "validation_bytes", "a positive number of bytes", self.validation_bytes)
        require(0 < self.stories_scale <= 1, "stories_scale", "above 0 to 1", self.stories_scale)
        require(self.stories_dependency in range(4), "stories_dependency", "0 to 3", self.stories_dependency)
        for name in ("sources", "suffix", "include"):
            require(all(getattr(self, name)), name, "no empty names", getattr(self, name))
        require(bool(self.sources), "sources", "at least one name", self.sources)
        require(self.validation != "", "validation", "no empty name", self.validation)
        require(self.documents.strip() != "", "documents", "a rule or the text of a line", self.documents)
        number = self.text_column is None or (self.text_column.isdecimal() and int(self.text_column) > 0)
        require(
            self.header is not False or number,
            "text_column",
            "a number from 1 on, as there is no header",
            self.text_column,
        )
        require_representable(self)
