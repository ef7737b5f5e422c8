"""Which files are for training, validation and test, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

ROLES = ("train", "valid", "test")
_WORDS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
_ROLE_OF = {word + ending: role for role in ROLES for word in _WORDS[role] for ending in ("", "set", "split", "data")}
_NO_DIFFERENCE = re.compile(r"v?\d*|of|set|split|data")
"""Words beside a role that say nothing, such as those of `train-00001-of-00004`."""
_CODE = frozenset(
    ".py .pyi .ipynb .c .h .cc .cpp .cxx .hpp .cu .metal .m .mm .cs .java .kt .scala .go .rs .swift .zig .js .jsx .mjs "
    ".ts .tsx .php .rb .pl .lua .jl .r .sh .bash .sql .hs .ml .ex .exs .erl .clj .lisp .el .f90 .nim .dart .css".split()
)
"""Where `test` mostly names a program that tests."""


def roles(paths: Sequence[tuple[str, ...]], suffixes: Sequence[str]) -> list[str | None]:
    """train, valid, test or None for each file.

    A name says a role if it is the word for it, but for numbers and punctuation (`valid`, `test-00001-of-00002`,
    `train (1)`). A name in which the word stands beside others (`ptb.test`, `my_test`) says it if there is a name with
    the same others and another role or none (`ptb.train`, `my`). Of a file and the folders above it, the innermost name
    that says a role counts. Files of program code have roles only if all files have one. Beside files for training and
    others, every further file whose name has the word for training is for training (`train-02-sample`).

    Args:
        paths: of each file its name and those of the folders above it, innermost first, without suffixes.
        suffixes: of each file, such as ".txt".
    """
    known: dict[tuple[str, ...], set[str]] = {}
    for name in {name for path in paths for name in path}:
        role, others = _divided(name)
        if role is not None:
            known.setdefault(others, set()).add(role)
    for path in paths:
        known.get(_distinct(_words(path[0])), set()).add("no role")

    def says(name: str) -> str | None:
        role, others = _divided(name)
        return role if role is not None and (not others or len(known[others]) > 1) else None

    found = [next((role for name in path if (role := says(name))), None) for path in paths]
    if None in found:
        found = [None if suffix in _CODE else role for role, suffix in zip(found, suffixes, strict=True)]
    if "train" in found and {"valid", "test"} & set(found):
        also = [
            _divided(path[0])[0] == "train" and suffix not in _CODE
            for path, suffix in zip(paths, suffixes, strict=True)
        ]
        found = ["train" if role is None and more else role for role, more in zip(found, also, strict=True)]
    return found


def _divided(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The only role that a name contains as a word, and its other words, but for those that say nothing."""
    words = _words(name)
    marks = [_ROLE_OF.get(word.strip("0123456789")) for word in words]
    if len(set(marks) - {None}) != 1:
        return None, ()
    others = [word for word, mark in zip(words, marks, strict=True) if mark is None]
    return next(filter(None, marks)), _distinct(others)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())


def _distinct(words: list[str]) -> tuple[str, ...]:
    return tuple(word for word in words if not _NO_DIFFERENCE.fullmatch(word))


def is_role(word: str) -> bool:
    """Whether a word says a role."""
    return word.lower() in _ROLE_OF
