"""Where the documents come from: the user's own files, generated stories, or TinyStories."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Document, Progress, Rules, Tally, document_hash
from mlx_tiny.data.events.schema import Schema
from mlx_tiny.data.find import NAMED, Found, file_bytes, find, identity, normalised_suffix, one_of_several, some_names
from mlx_tiny.data.findings import FileGroup, Findings, HashSet, Seen
from mlx_tiny.data.names import is_kept_stream
from mlx_tiny.data.opening import InputFile, content_hash
from mlx_tiny.data.readers import look, read_texts
from mlx_tiny.data.splitting import Split, choose_split
from mlx_tiny.data.together import common_rules
from mlx_tiny.errors import TinyError, one_line
from mlx_tiny.files import hash_text
from mlx_tiny.units import format_bytes

_LOOKED_AT = 20
"""Files whose beginning is looked at before anything else is done."""
_LARGEST_GROUPS = 10


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

    @property
    def schema(self) -> Schema | None:
        """How rows became the histories that are the documents; None where documents are texts."""

    def make_ready(self, report: Progress) -> None:
        """Download what is not on this machine yet; to be called before `fingerprint` and `documents`."""

    def fingerprint(self) -> str:
        """Hash of everything that decides the documents."""

    def documents(self, seen: Seen | None = None) -> Iterator[Document]:
        """All documents, in the order of the corpus; `seen` collects what is met on the way."""

    def findings(self, seen: Seen) -> Findings:
        """What a whole pass has found."""


def resolve(config: DataConfig, schema: Schema | None = None) -> Source:
    """Find the source that the settings name.

    Args:
        schema: of the tables, known from a model, so that its file is not read.

    Raises:
        TinyError: it does not exist, or has no file that can be read, or a setting finds no file.
    """
    source = find_source(config, schema)
    require_used([source])
    return source


def require_used(sources: Iterable[object]) -> None:
    """Raise a TinyError when `--suffix` or `--include` names what there is in none of some sources."""
    unused = [source.unused for source in sources if hasattr(source, "unused")]
    nowhere = set.intersection(*unused) if unused else set[str]()
    if nowhere:
        raise TinyError(f"No file is taken by {' or '.join(sorted(nowhere))}", remedy="Correct it, or leave it out")


def find_source(config: DataConfig, schema: Schema | None = None) -> Source:
    """`resolve` for one of several sources, of which some may lack what `--suffix` and `--include` name."""
    named = next((name for name in config.sources if name in NAMED), None)
    if config.schema is not None:
        return _events(config, named, schema)
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


def _events(config: DataConfig, named: str | None, schema: Schema | None) -> Source:
    from mlx_tiny.data.events.source import EventSource

    if named is not None:
        raise TinyError(
            f"A schema can only be used with your own tables, and the data is {named!r}",
            remedy="Name your table with --data, or leave the schema out",
        )
    return EventSource(config, schema)


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
    """The user's own files, with validation files or with a part of the documents held out.

    Args:
        config: which files, how they become documents, and how much of them is held out.

    Raises:
        TinyError: a file is missing or cannot be read as text, as far as the beginnings show it.
    """

    shuffled = False
    schema = None

    def __init__(self, config: DataConfig) -> None:
        self.names = config.sources
        self._config = config
        found = find(config.sources, config.suffix, config.include)
        self._test, self._left_out = found.test, found.left_out
        self._valid = validation_files(config, found)
        self.unused = found.unused
        self._train = training_files(config, found, self._valid)
        several = len(self._train) + len(self._valid) > 1 or bool(self._left_out)
        self._one_of_several = functools.partial(one_of_several, several)
        self._rules = common_rules(rules(config), self._train, several=several)
        self._hows: dict[InputFile, str] = {}
        self.size_bytes = _text_bytes([*self._train, *self._valid])
        self.description = self._describe()

    def make_ready(self, report: Progress) -> None:
        """Nothing to do: the files are there."""

    def fingerprint(self) -> str:
        """Hash of the files' contents in their order, and of the settings that decide how they are read."""
        hashes = {path: content_hash(path) for path in {file.path for file, _ in self._files()}}
        parts = [
            (file.suffix, file.packed, file.member, hashes[file.path], held_out) for file, held_out in self._files()
        ]
        share = None if self._valid else self._config.held_out
        return hash_text("files", self._rules, share, *parts)

    def documents(self, seen: Seen | None = None) -> Iterator[Document]:
        """Documents of the training files in their order, and those of the validation files.

        A training document that is a validation document too is left out.
        """
        tally = Tally() if seen is None else seen.tally
        texts: Iterator[tuple[str, int]]
        texts = ((text, document_hash(text)) for text in read_all(self._train, self._rules, tally))
        if seen is not None:
            texts = _counted(texts, seen)
        if self._split is not None:
            yield from self._split.documents(texts)
            return
        for text, text_hash in texts:
            if text_hash in self._valid_hashes:
                if seen is not None:
                    seen.in_both += 1
            else:
                yield Document(text, False)
        for text in read_all(self._valid, self._rules, tally):
            yield Document(text, True)

    def findings(self, seen: Seen) -> Findings:
        """What a whole pass has found, and how each file was read."""
        return Findings(
            split=self._split_description,
            groups=tuple(self._groups()),
            left_out=tuple(self._left_out),
            skipped=dict(seen.tally.skipped),
            duplicates=seen.duplicates.number,
            duplicates_estimated=seen.duplicates.estimated,
            in_both=seen.in_both,
            markers=seen.tally.markers,
            roles=tuple(sorted(seen.tally.roles)),
            trained_on_validation=self._split is not None and self._split.kind == "none",
        )

    @functools.cached_property
    def _split(self) -> Split | None:
        """How validation text is chosen; None where there are validation files."""
        if self._valid:
            return None
        return choose_split(read_all(self._train, self._rules, Tally()), self._config.held_out)

    @functools.cached_property
    def _valid_hashes(self) -> HashSet:
        return HashSet(map(document_hash, read_all(self._valid, self._rules, Tally())))

    @property
    def _split_description(self) -> str:
        if self._split is not None:
            return self._split.description
        named = one_line(self._config.validation or ", ".join(file.name for file in self._valid[:3]))
        return f"validation on {named}{' and others' * (self._config.validation is None and len(self._valid) > 3)}"

    def _files(self) -> Iterator[tuple[InputFile, bool]]:
        yield from ((file, False) for file in self._train)
        yield from ((file, True) for file in self._valid)

    def _describe(self) -> str:
        looked_at = list(self._groups(_LOOKED_AT))
        count, size = len(self._train), format_bytes(sum(map(file_bytes, self._train)))
        hows = "; ".join(dict.fromkeys(group.how for group in looked_at if group.split == "train"))
        return one_line(
            f"own text: {', '.join(self.names)} ({count:,} file{'s' * (count > 1)}, {size}; {hows}; "
            f"{self._split_description})"
        )

    def _groups(self, limit: int | None = None) -> Iterator[FileGroup]:
        """Files that are read in the same way, of the first `limit` files of each kind."""
        for split, files in (("train", self._train), ("valid", self._valid), ("test", self._test)):
            groups: dict[str, FileGroup] = {}
            for file in files[:limit]:
                how = "not read" if split == "test" else self._how(file)
                if how not in groups and len(groups) >= _LARGEST_GROUPS:
                    how = "in other ways"
                known = groups.get(how, FileGroup(split, how, 0, 0, file.name))
                groups[how] = replace(known, files=known.files + 1, bytes=known.bytes + file_bytes(file))
            yield from groups.values()

    def _how(self, file: InputFile) -> str:
        if file not in self._hows:
            with self._one_of_several():
                self._hows[file] = look(file, self._rules).how + self._taken_for(file)
        return self._hows[file]

    def _taken_for(self, file: InputFile) -> str:
        """What standard input was taken for, unless the user said it; nothing of other files."""
        if not is_kept_stream(file.path) or file.suffix in map(normalised_suffix, self._config.suffix):
            return ""
        return f", standard input was taken for {file.suffix} (--suffix says what it is)"


def rules(config: DataConfig) -> Rules:
    """How the files of these settings become documents."""
    return Rules(column=config.text_column, documents=config.documents, header=config.header)


def read_all(files: Collection[InputFile], rules: Rules, tally: Tally) -> Iterator[str]:
    """The documents of files, one file after the other."""
    for file in files:
        with one_of_several(len(files) > 1):
            yield from read_texts(file, rules, tally)


class FilesToMeasure(NamedTuple):
    """Files to which a finished model is applied."""

    files: list[InputFile]
    learned: list[InputFile]
    """Training files beside them, by which it is found how they are read; themselves where there are none."""


def files_to_measure(config: DataConfig, tally: Tally) -> FilesToMeasure:
    """The user's files to which a finished model is applied; `tally` lists what is left out.

    Of a folder with files called train, valid and test, these are the ones called test, or else valid.

    Raises:
        TinyError: a file is missing.
    """
    found = find(config.sources, config.suffix, config.include)
    require_used([found])
    tally.left_out += found.left_out
    files = found.test or found.valid or found.train
    if files is not found.train and found.train:
        kind = "test" if found.test else "valid"
        tally.left_out.append(f"{', '.join(file.name for file in found.train[:3])} (files called {kind} are beside it)")
    return FilesToMeasure(files, found.train or files)


def validation_files(config: DataConfig, found: Found) -> list[InputFile]:
    """The validation files: those that the user named, else those called valid in `found`.

    Args:
        found: the files of the training text; what is left out beside the validation files is added to it.
    """
    if config.validation is None:
        return found.valid
    named = find((config.validation,), config.suffix, config.include)
    found.left_out += named.left_out
    found.unused &= named.unused
    files = named.valid or named.train or named.test
    known = set(map(identity, files))
    unused = [file.name for file in found.valid if identity(file) not in known]
    if unused:
        found.left_out.append(f"{', '.join(unused[:3])} (--validation names other text)")
    return files


def _counted(texts: Iterator[tuple[str, int]], seen: Seen) -> Iterator[tuple[str, int]]:
    for text, text_hash in texts:
        seen.duplicates.add(text_hash)
        yield text, text_hash


def training_files(config: DataConfig, found: Found, validation: list[InputFile]) -> list[InputFile]:
    """The training files without the validation files, which may lie in the same folder.

    Args:
        found: the files of the training text; its test files are added to what is left out.
        validation: the validation files.

    Raises:
        TinyError: there are none, or they are empty.
    """
    named, known = ", ".join(config.sources), set(map(identity, validation))
    rest = [file for file in found.train if identity(file) not in known]
    if not found.train:
        raise TinyError(
            f"{named} contains no training text, by the names of the files",
            expected="a file called train, or one whose name says neither validation nor test",
            got=some_names([file.name for file in (*found.valid, *found.test)]),
            remedy="Name the file itself (--data), or take it for training (--include NAME)",
        )
    if not rest:
        raise TinyError(
            f"Every file of {named} is a validation file ({config.validation})",
            remedy="Name other text for training, or leave the validation file out",
        )
    if (found.valid or found.test) and not any(map(file_bytes, rest)):
        raise TinyError(f"The training text of {named} is empty", got=some_names([file.name for file in rest]))
    tests = [file.name for file in found.test if identity(file) not in known]
    if tests:
        found.left_out.append(f"{some_names(tests)} (test files are never trained on)")
    return rest


def _text_bytes(files: list[InputFile]) -> int:
    """Bytes of text in the files, about; 0 where only reading them would tell."""
    packed = any(file.packed or file.suffix == ".parquet" for file in files)
    return 0 if packed else sum(map(file_bytes, files))
