"""Finds the files that a name means: a path, a folder, a glob or an archive."""

from __future__ import annotations

import codecs
import contextlib
import functools
import glob
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from mlx_tiny.data.layout import is_role, roles
from mlx_tiny.data.opening import ARCHIVE_SUFFIX, PACKED_SUFFIXES, InputFile, expand, readable
from mlx_tiny.errors import TinyError, one_line
from mlx_tiny.files import expanded

NAMED = ("auto", "stories", "tinystories")
"""Values of `--data` that are no files."""
DATA_SUFFIXES = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What is read in a folder, unless it is one of other text; a file that is named itself may have any suffix."""
_NOTICE = re.compile(
    r"(license|licence|copying|readme)([-_.][a-z].*)?"
    r"|(notice|authors|contributors|changelog|changes|citation|contributing|code_of_conduct|requirements"
    r"|dataset_infos?|dataset_dict)(\..*)?",
    re.IGNORECASE,
)
_PROBE_BYTES, _PROBED_FILES = 1 << 22, 10
_MUCH_MORE = 10
"""A folder with so many times as many files and bytes of another text, such as code, is a folder of that text."""
_SHOWN_NAMES = 5


@dataclass
class Found:
    """Files by what they are for, each once."""

    train: list[InputFile] = field(default_factory=list)
    valid: list[InputFile] = field(default_factory=list)
    """Files called valid in a folder, as mlx-lm has them; see `layout.roles`."""
    test: list[InputFile] = field(default_factory=list)
    """Files called test in a folder; never trained on."""
    left_out: list[str] = field(default_factory=list)
    """What lies beside the data and is not read, and how to take it."""
    unused: set[str] = field(default_factory=set)
    """Settings that name no file, such as "--suffix .nosuch"."""

    def add(self, other: Found) -> None:
        """Add what another name means, without the files that are here already."""
        known = set(map(identity, (*self.train, *self.valid, *self.test)))
        for mine, theirs in ((self.train, other.train), (self.valid, other.valid), (self.test, other.test)):
            for file in theirs:
                if identity(file) not in known:
                    known.add(identity(file))
                    mine.append(file)
        self.left_out += other.left_out


def identity(file: InputFile) -> tuple[Path, str | None]:
    """What is equal for two names of one file."""
    return file.path.resolve(), file.member


def find(names: tuple[str, ...], suffixes: tuple[str, ...] = (), include: tuple[str, ...] = ()) -> Found:
    """The files that some names mean together.

    A file may have any suffix. Of a folder (recursive, sorted, without hidden files), a .zip or a glob, the files with
    a suffix of `DATA_SUFFIXES` are taken, or, where there is far more text of another suffix, the files of that suffix.
    LICENSE, README and the like are left out. Files called train, valid and test are told apart.

    Args:
        names: paths or globs; in a glob, what exists literally is no pattern.
        suffixes: further suffixes to take, such as ".py".
        include: names of files to take that are left out otherwise.

    Raises:
        TinyError: a name that means nothing, or no text.
    """
    wanted = _Wanted(tuple(map(normalised_suffix, suffixes)), include)
    found = Found()
    for name in names:
        found.add(_find(name, wanted))
    files = [*found.train, *found.valid, *found.test]
    present = {*(file.suffix for file in files), *(_member_parts(file.member or file.path.name)[-1] for file in files)}
    asked = zip((*suffixes, *include), (*wanted.suffixes, *include), strict=True)
    kinds = ["--suffix"] * len(suffixes) + ["--include"] * len(include)
    found.unused = {f"{kind} {name}" for kind, (name, meant) in zip(kinds, asked, strict=True) if meant not in present}
    return found


def normalised_suffix(suffix: str) -> str:
    """ ".md" for "md", "*.md", ".MD" and ".md.gz"."""
    suffix = suffix.lstrip("*.").lower()
    for packed in PACKED_SUFFIXES:
        suffix = suffix.removesuffix(packed)
    return f".{suffix}"


def shadowed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Files and folders here that are called like data which is no file, and how to take them."""
    return tuple(f"{name} in this folder (--data ./{name} takes it)" for name in names if Path(name).exists())


@contextlib.contextmanager
def one_of_several(several: bool = True) -> Iterator[None]:
    """Add to the error about a file that is one of several how to do without it."""
    try:
        yield
    except TinyError as error:
        if not several:
            raise
        remedy = f"{error.remedy}. Or move it out, or name the other files, as in --data 'FOLDER/**/*.py'"
        raise TinyError(
            error.failed, expected=error.expected, got=error.got, remedy=remedy.removeprefix("None. Or ")
        ) from error


class _Wanted(NamedTuple):
    """What is taken although it would be left out."""

    suffixes: tuple[str, ...]
    include: tuple[str, ...]
    ending: str | None = None
    """With which the pattern of a glob ends, such as ".md"."""


class _Candidate(NamedTuple):
    """A file in a folder or archive, or one that a glob matches."""

    file: InputFile
    parts: tuple[str, ...]
    """Of its path below what the user named; the last one is the file's name."""
    hidden: bool = False
    """Whether it is only to be listed; it may be a folder then."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that may say whether it is for training, validation or test: innermost first, without suffixes."""
        stem, suffix = self.parts[-1].lower().removesuffix(self.file.packed or ""), self.file.suffix
        if not is_role(suffix.removeprefix(".")):
            stem = stem.removesuffix(suffix)
        return (stem, *(part.lower().removesuffix(ARCHIVE_SUFFIX) for part in reversed(self.parts[:-1])))


def _find(name: str, wanted: _Wanted) -> Found:
    path = expanded(name)
    if path.is_dir():
        return _choose(list(_walk(path)), wanted, f"The folder {name}")
    if path.exists():
        if path.suffix.lower() != ARCHIVE_SUFFIX:
            return Found([InputFile(path)])
        return _choose(list(_expanded(path, ())), wanted, f"The archive {name}")
    if glob.has_magic(name):
        return _find_pattern(path, wanted)
    raise TinyError(
        f"{name} does not exist",
        expected="a file, a folder or a glob",
        remedy="Check the path; only training text may also be stories or tinystories",
    )


def _find_pattern(path: Path, wanted: _Wanted) -> Found:
    root, pattern = _without_literal_part(path)
    matches = [root / match for match in sorted(glob.glob(pattern, root_dir=root, recursive=True))]
    if not matches:
        raise TinyError(f"No file matches {path}", remedy="Check the pattern")
    last = PurePath(pattern).name
    ending = re.split(r"[*?\]]", last)[-1].lower()
    if "." in ending:
        wanted = wanted._replace(ending=ending)
    if not glob.has_magic(last):
        wanted = wanted._replace(include=(*wanted.include, last))
    candidates = list[_Candidate]()
    for match in matches:
        candidates += _walk(match, root) if match.is_dir() else _expanded(match, match.relative_to(root).parts)
    return _choose(candidates, wanted, str(path))


def _without_literal_part(path: Path) -> tuple[Path, str]:
    """The longest beginning of a glob that exists as it stands, and the pattern that is left."""
    for parent in path.parents:
        if parent.is_dir():
            return parent, str(path.relative_to(parent))
    return Path(), str(path)


def _walk(folder: Path, root: Path | None = None) -> Iterator[_Candidate]:
    def refuse(error: OSError) -> None:
        raise error

    visited = {os.path.realpath(folder)}

    def is_new(path: str) -> bool:
        before = len(visited)
        visited.add(os.path.realpath(path))
        return len(visited) > before

    with readable(folder):
        for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
            folders_before, visible = list(folders), sorted(name for name in folders if not name.startswith("."))
            folders[:] = [name for name in visible if is_new(os.path.join(parent, name))]
            yield from (_hidden(Path(parent, name)) for name in (*folders_before, *names) if name.startswith("."))
            for name in sorted(names):
                path = Path(parent, name)
                if not name.startswith("."):
                    yield from _expanded(path, path.relative_to(root or folder).parts)


def _hidden(path: Path, member: str | None = None) -> _Candidate:
    return _Candidate(InputFile(path, member), (member or path.name,), hidden=True)


def _expanded(path: Path, parts: tuple[str, ...]) -> Iterator[_Candidate]:
    with one_of_several(parts != ()):
        files = expand(path) if path.is_file() else [InputFile(path)]
    if files[0].member is not None:
        visible = {file.member for file in files}
        names = (name for name in _member_bytes(path, path.stat().st_mtime_ns) if not name.endswith("/"))
        yield from (_hidden(path, name) for name in names if name not in visible)
    for file in files:
        yield _Candidate(file, parts if file.member is None else (*parts, *_member_parts(file.member)))


def _member_parts(member: str) -> list[str]:
    """The parts of a name in an archive, which may have been made by Windows."""
    return re.split(r"[/\\]", member)


def _choose(candidates: list[_Candidate], wanted: _Wanted, where: str) -> Found:
    """Sort the files of a folder, an archive or a glob by what they are for."""
    candidates, hidden = _split(candidates, lambda candidate: not candidate.hidden)
    kept, left_out = _without_notices(candidates, wanted)
    kept, irregular = _split(kept, lambda candidate: candidate.file.path.is_file())
    kept, others = _with_data_suffixes(kept, wanted)
    kept, empty = _split(kept, lambda candidate: file_bytes(candidate.file) > 0)
    kept, binary = _split(kept, lambda candidate: candidate.file.suffix in DATA_SUFFIXES or _is_text(candidate.file))
    kept, empty = _with_empty_training(kept, empty)
    left_out += others
    for unread, why in (
        (irregular, "no file, or a broken link"),
        (empty, "empty"),
        (binary, "no text in UTF-8"),
        (hidden, "hidden"),
    ):
        if unread:
            left_out.append(f"{some_names([candidate.parts[-1] for candidate in unread])} ({why})")
    if not kept:
        raise TinyError(
            f"{where} contains no text",
            expected=f"files that end in {', '.join(DATA_SUFFIXES)}, or in another suffix (--suffix)",
            got=f"only what is left out: {'; '.join(left_out)}" if left_out else None,
        )
    found = _by_layout(kept, wanted)
    found.left_out = [*left_out, *found.left_out]
    return found


def _without_notices(candidates: list[_Candidate], wanted: _Wanted) -> tuple[list[_Candidate], list[str]]:
    def is_text(candidate: _Candidate) -> bool:
        name = candidate.parts[-1]
        return name in wanted.include or not _NOTICE.fullmatch(name)

    kept, notices = _split(candidates, is_text)
    names = some_names([candidate.parts[-1] for candidate in notices])
    return kept, [f"{names} (--include NAME takes it)"] if notices else []


def _with_data_suffixes(candidates: list[_Candidate], wanted: _Wanted) -> tuple[list[_Candidate], list[str]]:
    suffixes = {*DATA_SUFFIXES, *wanted.suffixes}

    def is_data(candidate: _Candidate) -> bool:
        name = candidate.parts[-1]
        asked = wanted.ending is not None and name.lower().endswith(wanted.ending)
        return asked or candidate.file.suffix in suffixes or name in wanted.include

    kept, others = _split(candidates, is_data)
    if not kept or wanted == _Wanted((), ()):
        suffix = _dominant_suffix(others, kept)
        if suffix is not None:
            kept, others = _split(candidates, lambda candidate: candidate.file.suffix == suffix)
    counts = Counter(candidate.file.suffix for candidate in others)
    first = {candidate.file.suffix: candidate.file for candidate in reversed(others)}
    texts = {suffix for suffix, file in first.items() if _is_readable_text(file)}
    left_out = []
    option = f"--suffix {min(texts)}".rstrip() if len(texts) == 1 else "--suffix"
    for wanted_texts, note in ((True, f"{option} takes them"), (False, "no text in UTF-8")):
        found = [(suffix, count) for suffix, count in counts.most_common() if (suffix in texts) is wanted_texts]
        if found:
            listed = some_names([f"{count} {suffix or 'without a suffix'}" for suffix, count in found])
            left_out.append(f"{listed} ({note})")
    return kept, left_out


def _dominant_suffix(candidates: list[_Candidate], others: list[_Candidate]) -> str | None:
    """The suffix of much more text than in `others`, by number and by size; the largest if there are several."""
    groups: dict[str, list[InputFile]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.file.suffix, []).append(candidate.file)
    sizes = {suffix: sum(map(file_bytes, files)) for suffix, files in groups.items()}
    other_bytes = sum(file_bytes(candidate.file) for candidate in others)
    for suffix in sorted(groups, key=lambda suffix: -sizes[suffix]):
        more = len(groups[suffix]) >= _MUCH_MORE * len(others) and sizes[suffix] >= _MUCH_MORE * other_bytes
        if more and any(map(_is_text, groups[suffix][:_PROBED_FILES])):
            return suffix
    return None


def _is_text(file: InputFile) -> bool:
    """Whether the file, or its beginning if it is large, is UTF-8 text."""
    with one_of_several(), file.open() as stream:
        start = stream.read(_PROBE_BYTES)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start, final=len(start) < _PROBE_BYTES)
    except UnicodeDecodeError:
        return False
    return b"\0" not in start


def _is_readable_text(file: InputFile) -> bool:
    try:
        return _is_text(file)
    except TinyError:
        return False


def _with_empty_training(kept: list[_Candidate], empty: list[_Candidate]) -> tuple[list[_Candidate], list[_Candidate]]:
    """Take the empty training files of a layout that has no others: that is an error, if it is to be trained on."""
    known = _roles([*kept, *empty])
    if "train" in known[: len(kept)] or not {"valid", "test"} & set(known[: len(kept)]):
        return kept, empty
    training = [candidate for candidate, role in zip(empty, known[len(kept) :], strict=True) if role == "train"]
    return [*kept, *training], [candidate for candidate in empty if candidate not in training]


def _roles(candidates: list[_Candidate]) -> list[str | None]:
    return roles([candidate.names for candidate in candidates], [candidate.file.suffix for candidate in candidates])


def _by_layout(candidates: list[_Candidate], wanted: _Wanted) -> Found:
    """Training, validation and test files where their names say so; otherwise all are for training."""
    known = _roles(candidates)
    if not {"valid", "test"} & set(known):
        return Found([candidate.file for candidate in candidates])
    # Of many notes, `training.md` is one more; beside data, other files may be what train and test are made from.
    notes = not any(candidate.file.suffix in DATA_SUFFIXES for candidate in candidates)
    selected = "train" in known and not (notes and known.count(None) >= _MUCH_MORE * known.count("train"))
    found, beside = Found(), list[str]()
    files = {"train": found.train, "valid": found.valid, "test": found.test}
    for candidate, role in zip(candidates, known, strict=True):
        asked = candidate.parts[-1] in wanted.include
        if role is None and selected and not asked:
            beside.append(candidate.parts[-1])
        else:
            files["train" if asked or role is None else role].append(candidate.file)
    if beside:
        found.left_out.append(f"{some_names(beside)} (beside files called train; --include NAME takes it)")
    return found


def _split(
    candidates: list[_Candidate], condition: Callable[[_Candidate], bool]
) -> tuple[list[_Candidate], list[_Candidate]]:
    """Those that meet the condition, and the others."""
    kept, others = list[_Candidate](), list[_Candidate]()
    for candidate in candidates:
        (kept if condition(candidate) else others).append(candidate)
    return kept, others


def some_names(names: list[str]) -> str:
    """Names for a message, the same ones together, and only the first of many."""
    counts = Counter(names)
    listed = [name if count == 1 else f"{count} {name}" for name, count in list(counts.items())[:_SHOWN_NAMES]]
    more = len(names) - sum(list(counts.values())[:_SHOWN_NAMES])
    return one_line(", ".join(listed)) + f" and {more} others" * (more > 0)


def file_bytes(file: InputFile) -> int:
    """Bytes of a file on the disk, or of a member of an archive, unpacked."""
    with readable(file.path):
        status = file.path.stat()
    if file.member is None:
        return status.st_size
    return _member_bytes(file.path, status.st_mtime_ns)[file.member]


@functools.lru_cache(maxsize=16)
def _member_bytes(path: Path, changed_ns: int) -> dict[str, int]:
    with zipfile.ZipFile(path) as archive:
        return {member.filename: member.file_size for member in archive.infolist()}
