"""Where the documents come from: the user's own files, generated stories, or TinyStories."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Document, Progress, Rules, Tally, split_fraction
from mlx_tiny.data.opening import InputFile, readable
from mlx_tiny.data.readers import read_texts, supported, supported_names
from mlx_tiny.errors import TinyError
from mlx_tiny.files import hash_file, hash_text
from mlx_tiny.units import format_bytes

NAMED = ("auto", "stories", "tinystories")
"""Values of `--data` that are no files."""


class Source(Protocol):
    """A corpus that has a name and a hash, and can be read from the start as often as needed."""

    @property
    def names(self) -> tuple[str, ...]:
        """The value of `DataConfig.sources` that means this source, now and in a resumed run."""

    @property
    def description(self) -> str:
        """One line for the header of a run."""

    @property
    def shuffled(self) -> bool:
        """Whether the beginning is a fair sample of the whole."""

    @property
    def size_bytes(self) -> int:
        """Bytes of text, for the progress bar; 0 where unknown."""

    def make_ready(self, report: Progress) -> None:
        """Download what is not on this machine yet; to be called before `fingerprint` and `documents`."""

    def fingerprint(self) -> str:
        """Hash of everything that decides the documents."""

    def documents(self) -> Iterator[Document]:
        """All documents, in the order of the corpus."""


def resolve(config: DataConfig) -> Source:
    """Find the source that the settings name.

    Raises:
        TinyError: it does not exist, or has no file that can be read.
    """
    named = next((name for name in config.sources if name in NAMED), None)
    if named is None:
        return FileSource(config)
    _require_alone(named, config)
    return _stories(config) if named == "stories" else _tinystories(config)


def _require_alone(named: str, config: DataConfig) -> None:
    if len(config.sources) > 1:
        raise TinyError(
            f"{named} cannot be combined with other text",
            got=", ".join(config.sources),
            remedy="Name it alone, or only your own files",
        )
    if config.validation is not None:
        raise TinyError(
            f"A validation file can only be used with your own text, and the data is {named!r}",
            remedy="Name your text with --data, or leave the validation file out",
        )


def _stories(config: DataConfig) -> Source:
    from mlx_tiny.data.generated import StoriesSource

    return StoriesSource(config)


def _tinystories(config: DataConfig) -> Source:
    from mlx_tiny.data.tinystories import TinyStoriesSource, cached

    if "tinystories" in config.sources:
        return TinyStoriesSource(config)
    if cached(config) is None:
        return _stories(config)
    return TinyStoriesSource(config, cached_only=True)


class FileSource:
    """The user's own files, with separate validation files or with documents held out by a hash of their text."""

    shuffled = False

    def __init__(self, config: DataConfig) -> None:
        self.names = config.sources
        self._config = config
        self._validation = find_files(config.validation) if config.validation is not None else []
        self._train = _without(_find_all(config.sources), self._validation, config)
        self.size_bytes = _text_bytes([*self._train, *self._validation])
        self.description = self._describe()

    def make_ready(self, report: Progress) -> None:
        """Nothing to do: the files are there."""

    def fingerprint(self) -> str:
        """Hash of the files' contents in their order, and of the settings that decide how they are read."""
        parts = [(path.suffixes[-2:], _hash(path), held_out) for path, held_out in self._files()]
        share = None if self._validation else self._config.held_out
        return hash_text("files", self._config.text_column, share, *parts)

    def documents(self) -> Iterator[Document]:
        """Documents of the training files in sorted order, then those of the validation files."""
        rules = Rules(column=self._config.text_column)
        for path, held_out in self._files():
            for text in read_texts(InputFile(path), rules, Tally()):
                yield Document(text, held_out if self._validation else split_fraction(text) < self._config.held_out)

    def _files(self) -> Iterator[tuple[Path, bool]]:
        yield from ((path, False) for path in self._train)
        yield from ((path, True) for path in self._validation)

    def _describe(self) -> str:
        count = len(self._train)
        size = format_bytes(sum(path.stat().st_size for path in self._train))
        split = (
            f"validation on {self._config.validation}"
            if self._validation
            else f"{self._config.held_out:.3g} of the documents held out by hash"
        )
        return f"own text: {', '.join(self.names)} ({count} file{'s' * (count > 1)}, {size}; {split})"


def _find_all(names: tuple[str, ...]) -> list[Path]:
    """The files of several names, each once, in the order in which they are named."""
    return list({path.resolve(): path for name in names for path in find_files(name)}.values())


def find_files(named: str) -> list[Path]:
    """Files of a path, a folder (recursive, sorted, without hidden and unsupported ones) or a glob.

    Raises:
        TinyError: nothing there, or nothing with a supported suffix.
    """
    path = Path(named).expanduser()
    if path.is_dir():
        return _require_files(list(_walk(path)), f"The folder {named} contains no text")
    if path.exists():
        return [_require_supported(path)]
    if glob.has_magic(named):
        matches = [Path(match) for match in glob.glob(os.path.expanduser(named), recursive=True)]
        if not matches:
            raise TinyError(f"No file matches {named}", remedy="Check the pattern")
        return _require_files(_expand(matches), f"No file that matches {named} is text")
    raise TinyError(
        f"{named} does not exist",
        expected="a file, a folder, a glob, or one of auto, stories, tinystories",
        remedy="Check the path",
    )


def _expand(matches: Iterable[Path]) -> list[Path]:
    found = (_walk(match) if match.is_dir() else [match] for match in matches)
    return [path for paths in found for path in paths if supported(path)]


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    with readable(folder):
        for parent, folders, names in os.walk(folder, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(parent, name) for name in names if not name.startswith(".") and supported(Path(name)))


def _require_files(paths: list[Path], failed: str) -> list[Path]:
    if not paths:
        raise TinyError(failed, expected=f"files that end in {supported_names()}")
    return sorted(set(paths))


def _require_supported(path: Path) -> Path:
    if supported(path):
        return path
    raise TinyError(
        f"{path} has an unsupported suffix",
        expected=supported_names(),
        got=path.suffix or "none",
        remedy="Rename the file if it is one of these",
    )


def _without(paths: list[Path], removed: list[Path], config: DataConfig) -> list[Path]:
    """The training files without the validation files, which may lie in the same folder."""
    resolved = {path.resolve() for path in removed}
    rest = [path for path in paths if path.resolve() not in resolved]
    if not rest:
        raise TinyError(
            f"Every file of {', '.join(config.sources)} is a validation file ({config.validation})",
            remedy="Name other text for training, or leave the validation file out",
        )
    return rest


def _hash(path: Path) -> str:
    with readable(path):
        return hash_file(path)


def _text_bytes(paths: list[Path]) -> int:
    return 0 if any(path.suffix in (".gz", ".parquet") for path in paths) else sum(p.stat().st_size for p in paths)
