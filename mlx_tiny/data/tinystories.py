"""TinyStories, version 2: downloaded once from the Hugging Face hub, only as much as is needed, and kept as text.

Ronen Eldan and Yuanzhi Li, TinyStories (arXiv 2305.07759); data set `roneneldan/TinyStories`,
CDLA-Sharing-1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_tiny.config import DataConfig
from mlx_tiny.data import hub
from mlx_tiny.data.documents import SEPARATOR, Document, Progress, Rules, Tally, clean
from mlx_tiny.data.find import shadowed
from mlx_tiny.data.findings import Findings, Seen
from mlx_tiny.data.opening import InputFile
from mlx_tiny.data.readers import read_texts
from mlx_tiny.errors import TinyError
from mlx_tiny.files import (
    atomic_folder,
    cache_home,
    discard_folder,
    hash_file,
    hash_text,
    read_json,
    remove_leftovers,
    write_json,
)
from mlx_tiny.units import format_bytes

REPOSITORY = "roneneldan/TinyStories"
FILES = {"train": "TinyStoriesV2-GPT4-train.txt", "valid": "TinyStoriesV2-GPT4-valid.txt"}
_VERSION = 1
_REPORT_BYTES = 1 << 20


@dataclass(frozen=True)
class Cached:
    """A part of the data set on this machine."""

    folder: Path
    train_bytes: float
    """How much of the split was asked for; infinite if all of it is here."""
    valid_bytes: float
    hashes: dict[str, str]
    """SHA-256 of the file of each split; none where version 0.1 has written them."""

    def suffices(self, config: DataConfig) -> bool:
        """Whether it contains as much as the settings ask for."""
        return self.train_bytes >= config.train_bytes and self.valid_bytes >= config.validation_bytes


def cached(config: DataConfig) -> Cached | None:
    """The smallest cached part that is enough for the settings, else the largest, else None.

    Raises:
        TinyError: none is enough, and one is damaged, which may have been.
    """
    parts, damage = list[Cached](), None
    for folder in _home().iterdir() if _home().is_dir() else ():
        if not folder.name.startswith("."):
            try:
                if (part := _read_part(folder)) is not None:
                    parts.append(part)
            except TinyError as error:
                damage = error
    parts.sort(key=lambda part: (part.train_bytes, part.valid_bytes))
    found = next((part for part in parts if part.suffices(config)), None)
    if found is None and damage is not None:
        raise damage
    return found or (parts[-1] if parts else None)


class TinyStoriesSource:
    """The first documents of TinyStories: as many bytes of its validation and training splits as the settings ask for.

    Args:
        config: how many bytes.
        cached_only: take what is in the cache, even if it is less, and never ask the hub.

    Raises:
        TinyError: it is not in the cache, or damaged there, and the hub does not answer or is not to be asked.
    """

    shuffled = False
    schema = None

    def __init__(self, config: DataConfig, *, cached_only: bool = False) -> None:
        self._config = config
        # A resumed run with the name "tinystories" would download what the cache lacks.
        self.names = ("auto" if cached_only else "tinystories",)
        self._part, damage = None, None
        try:
            self._part = cached(config)
        except TinyError as error:
            if cached_only:
                raise
            damage = error
        self._to_fetch = False
        self._note = ""
        if self._part is None or not (cached_only or self._part.suffices(config)):
            obstacle = hub.obstacle(REPOSITORY)
            if obstacle is not None and self._part is None:
                raise damage or _out_of_reach(obstacle)
            self._to_fetch = obstacle is None
            self._note = f"; the hub does not answer ({obstacle})" if obstacle else ""
        self.size_bytes = config.train_bytes + config.validation_bytes

    @property
    def description(self) -> str:
        """One line that says how much of it is used, and whether it will be downloaded."""
        return f"TinyStories V2 ({self._amount()}{self._note})"

    def make_ready(self, report: Progress) -> None:
        """Download what the cache lacks.

        Raises:
            TinyError: the download failed; no part of it is kept.
        """
        if self._to_fetch:
            self._part = _fetch(self._config, report)
            self._to_fetch = False

    def fingerprint(self) -> str:
        """Hash of the cached texts and of the amounts that the settings ask for.

        Raises:
            TinyError: a text is not as it was written.
        """
        assert self._part is not None, "make_ready comes first"
        bounds = (self._config.train_bytes, self._config.validation_bytes)
        hashes = {split: hash_file(self._text(split)) for split in FILES}
        if not self._part.hashes.items() <= hashes.items():
            raise _damaged(self._part.folder, "files with other hashes")
        return hash_text("tinystories", *bounds, *hashes.values())

    def findings(self, seen: Seen) -> Findings:
        """Nothing to find: the data set comes with a split."""
        return Findings(split="validation on the data set's own split", left_out=shadowed(self._config.sources))

    def documents(self, seen: Seen | None = None) -> Iterator[Document]:
        """Validation documents, then training documents, as many bytes of each as the settings ask for."""
        for text in _up_to(_read(self._text("valid")), self._config.validation_bytes):
            yield Document(text, True)
        for text in _up_to(_read(self._text("train")), self._config.train_bytes):
            yield Document(text, False)

    def _text(self, split: str) -> Path:
        assert self._part is not None, "make_ready comes first"
        return self._part.folder / f"{split}.txt"

    def _amount(self) -> str:
        asked = format_bytes(self._config.train_bytes)
        if self._to_fetch:
            return f"the first {asked}, to be downloaded"
        assert self._part is not None
        if self._part.suffices(self._config):
            return f"the first {asked}, from the cache"
        held = format_bytes(self._part.train_bytes)
        return f"the first {held}, which is all that the cache has; {asked} were asked for"


def _home() -> Path:
    return cache_home() / "sources" / "tinystories-v2"


def _read_part(folder: Path) -> Cached | None:
    """The part in `folder`, or None where there is none, or one of another version.

    Raises:
        TinyError: the files do not agree with its `meta.json`, or cannot be read.
    """
    if not folder.is_dir():
        return None
    try:
        meta = read_json(folder / "meta.json", "description of the cached data")
        if meta["version"] != _VERSION:
            return None
        for path, size in ((folder / f"{split}.txt", meta[split]["file_bytes"]) for split in FILES):
            if path.stat().st_size != size:
                raise ValueError(f"{path.name} with {path.stat().st_size:,} bytes in place of {size:,}")
        limits = [float("inf") if meta[split]["whole"] else float(meta[split]["limit"]) for split in FILES]
        hashes = {split: str(meta[split]["file_hash"]) for split in FILES if "file_hash" in meta[split]}
    except (TinyError, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, str(error).rstrip(".")) from error
    return Cached(folder, limits[0], limits[1], hashes)


def _fetch(config: DataConfig, report: Progress) -> Cached:
    limits = {"train": config.train_bytes, "valid": config.validation_bytes}
    folder = _home() / f"{config.train_bytes}-{config.validation_bytes}"
    try:
        known = _read_part(folder)
    except TinyError:
        known = None
    if known is None:
        discard_folder(folder)
    remove_leftovers(_home())
    with atomic_folder(folder) as aside:
        meta = {
            split: _write_split(aside / f"{split}.txt", hub.lines(REPOSITORY, FILES[split]), limit, report)
            for split, limit in limits.items()
        }
        write_json(aside / "meta.json", {"version": _VERSION, "repository": REPOSITORY, **meta})
    part = _read_part(folder)
    if part is None:
        raise _damaged(folder, "no data of this version")
    return part


def _damaged(folder: Path, found: str) -> TinyError:
    return TinyError(
        f"The cached data in {folder} is damaged, or cannot be read",
        got=found,
        remedy="Delete the folder, and download it again (--data tinystories)",
    )


def _write_split(path: Path, lines: Iterator[str], limit_bytes: int, report: Progress) -> dict[str, object]:
    """Write the first documents that fit into `limit_bytes`; returns the entry of `meta.json`."""
    size = reported = 0
    whole = True
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for text in _split_documents(lines):
            size += len(text.encode())
            if size > limit_bytes:
                whole = False
                break
            file.write(f"{text}\n{SEPARATOR}\n")
            if size >= reported:
                report("fetch", size, limit_bytes)
                reported = size + _REPORT_BYTES
    if path.stat().st_size == 0:
        raise TinyError(f"No story of {REPOSITORY} fits into {limit_bytes} bytes", remedy="Ask for more bytes")
    return {
        "limit": limit_bytes,
        "whole": whole,
        "file_bytes": path.stat().st_size,
        "file_hash": hash_file(path),
    }


def _split_documents(lines: Iterator[str]) -> Iterator[str]:
    collected: list[str] = []
    for line in lines:
        if line.strip() != SEPARATOR:
            collected.append(line)
            continue
        yield from _text_of(collected)
        collected = []
    yield from _text_of(collected)


def _text_of(lines: list[str]) -> Iterator[str]:
    text = clean("\n".join(lines))
    if text and "\0" not in text:
        yield text


def _read(path: Path) -> Iterator[str]:
    return read_texts(InputFile(path), Rules(documents=SEPARATOR), Tally())


def _up_to(texts: Iterable[str], limit_bytes: int) -> Iterator[str]:
    size = 0
    for text in texts:
        size += len(text.encode())
        if size > limit_bytes:
            return
        yield text


def _out_of_reach(obstacle: str) -> TinyError:
    return TinyError(
        f"TinyStories is not in the cache, and the Hugging Face hub does not answer ({obstacle})",
        remedy="Name a text file of your own (--data FILE), or train on generated stories (--data stories)",
    )
