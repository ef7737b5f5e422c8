"""A probabilistic grammar with a memory: its operations, and how texts are drawn, derived and enumerated.

A program is a tuple of operations. Strings, `Slot` and `Draw` emit text. Every random decision is made by `Choice` or
`Draw`, and takes one entry of a weighted `Table`. `State` is what a story remembers. The probability of a derivation is
the product of the probabilities of its choices, and `derive` finds every derivation of a text.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log2
from typing import Any

Forms = dict[str, str]
"""Forms of one word: `""` the word, `"a"` with its article, `"he"` its pronoun, `"^..."` the same with a capital."""


class State:
    """What a story remembers: bound words, words and phrases already used, and the world's flags."""

    __slots__ = ("bound", "flags", "used")

    def __init__(self, bound: dict[str, Any] | None = None, used: list[str] | None = None, flags: int = 0) -> None:
        self.bound: dict[str, Any] = {} if bound is None else bound
        self.used: list[str] = [] if used is None else used
        self.flags = flags

    def copy(self) -> State:
        return State(dict(self.bound), list(self.used), self.flags)


class Table:
    """A weighted list: an entry of weight w is chosen with probability w / (sum of the weights not yet used).

    When all entries have been used, all may be chosen again. In a strict table that is an error, because its words
    distinguish people or things of a story.

    Args:
        items: what may be chosen.
        weights: one positive integer per item; integers, so that sums are exact.
        keys: one name per item, by which a story remembers what it has used; items with the same key count as one.
        strict: whether it is an error to need more words than there are.
    """

    __slots__ = ("bits", "cumulative", "items", "keys", "strict", "total", "weight_of", "weights")

    def __init__(self, items: Sequence[Any], weights: Sequence[int], keys: Sequence[str], strict: bool = False) -> None:
        self.strict = strict
        self.items, self.weights, self.keys = tuple(items), tuple(weights), tuple(keys)
        self.total = sum(self.weights)
        self.cumulative = [partial / self.total for partial in accumulate(self.weights)]
        self.bits = tuple(log2(self.total / weight) for weight in self.weights)
        self.weight_of: dict[str, int] = {}
        for key, weight in zip(self.keys, self.weights, strict=True):
            self.weight_of[key] = self.weight_of.get(key, 0) + weight

    def free(self, used: list[str]) -> int:
        """The total weight of what may be chosen.

        Raises:
            AssertionError: the table is strict, and everything in it has been used.
        """
        weight_of = self.weight_of
        free = self.total - sum([weight_of[key] for key in used if key in weight_of])
        assert free or not self.strict, f"a story needs more words than {self.keys}"
        return free or self.total

    def pick(self, random: Callable[[], float], used: list[str]) -> tuple[int, float]:
        """Choose an entry that is not in `used`; returns its number and its bits."""
        free = self.free(used)
        if free == self.total:
            index = bisect(self.cumulative, random())
            return index, self.bits[index]
        while True:
            index = bisect(self.cumulative, random())
            if self.keys[index] not in used:
                return index, log2(free / self.weights[index])

    def options(self, used: list[str]) -> list[tuple[int, float]]:
        """Every entry that `pick` can return, with its bits."""
        free = self.free(used)
        if free == self.total:
            return list(enumerate(self.bits))
        return [
            (index, log2(free / weight)) for index, weight in enumerate(self.weights) if self.keys[index] not in used
        ]


@dataclass(frozen=True)
class Slot:
    """Emit a form of the word bound to `name`."""

    name: str
    form: str


@dataclass(frozen=True)
class Act:
    """Change the state of the story; emits nothing."""

    verb: Callable[..., None]
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """Remember the place in the text: a set-up or its payoff; emits nothing."""

    kind: str
    name: str


class Draw:
    """Choose a word that the story has not used, bind it to `name`, and emit its `form`."""

    __slots__ = ("form", "forms", "name", "table")

    def __init__(self, name: str, form: str, table: Table) -> None:
        self.name, self.form, self.table = name, form, table
        self.forms: tuple[Forms, ...] = table.items


class Alternative:
    """One alternative of a choice: its operations, in reverse too for the stack of `generate`, and its first text."""

    __slots__ = ("head", "needs", "operations", "refuses", "reverse")

    def __init__(self, operations: Program, needs: int = 0, refuses: int = 0) -> None:
        self.operations, self.needs, self.refuses = operations, needs, refuses
        self.reverse = operations[::-1]
        first = operations[0] if operations else ""
        self.head = first if isinstance(first, str) else ""


class Choice:
    """Choose one of the alternatives that the flags of the story allow.

    Args:
        alternatives: what may be chosen, if the flags include all that it needs and none that it refuses.
        weights: one positive integer per alternative.
        name: name of the choice, unique among all choices.
        once: whether an alternative already taken in this story is left out, until all have been taken.
    """

    __slots__ = ("alternatives", "keys", "name", "once", "plain", "relevant", "tables", "weights")

    def __init__(
        self, alternatives: Sequence[Alternative], weights: Sequence[int], name: str = "", once: bool = False
    ) -> None:
        self.alternatives, self.weights, self.name, self.once = tuple(alternatives), tuple(weights), name, once
        self.keys = tuple(f"{name}/{number}" for number in range(len(self.alternatives)))
        self.relevant = 0
        for alternative in self.alternatives:
            self.relevant |= alternative.needs | alternative.refuses
        self.tables: dict[int, Table] = {}
        self.plain = None if self.relevant or once else self.table(0)

    def table(self, flags: int) -> Table:
        """The alternatives that `flags` allow."""
        seen = flags & self.relevant
        table = self.tables.get(seen)
        if table is None:
            open_ones = [
                number
                for number, alternative in enumerate(self.alternatives)
                if not alternative.needs & ~seen and not alternative.refuses & seen
            ]
            table = Table(
                [self.alternatives[number] for number in open_ones],
                [self.weights[number] for number in open_ones],
                [self.keys[number] for number in open_ones],
            )
            self.tables[seen] = table
        return table


_NOTHING: list[str] = []

Operation = str | Slot | Draw | Choice | Act | Mark
Program = tuple[Operation, ...]


@dataclass(frozen=True)
class Derivation:
    """One way in which the grammar produces a text."""

    text: str
    bits: float
    """-log2 of its probability."""
    choices: tuple[int, ...]
    """Number of the entry taken at each choice, in order."""
    marks: tuple[tuple[str, str, int], ...]
    """(kind, name, offset in characters) of each mark: kind `set` at a set-up, `pay` at its payoff."""


def generate(program: Program, random: Callable[[], float]) -> tuple[str, float]:
    """Draw a text with the numbers in [0, 1) that `random` gives; returns it with its bits.

    Raises:
        AssertionError: the grammar contradicts itself; for example, somebody gives away a thing that nobody holds.
    """
    state = State()
    bound, used = state.bound, state.used
    stack: list[Operation] = list(program[::-1])
    out: list[str] = []
    pop, push, emit = stack.pop, stack.extend, out.append
    bits = 0.0
    while stack:
        operation = pop()
        kind = operation.__class__
        if kind is str:
            emit(operation)  # type: ignore[arg-type]
        elif kind is Slot:
            emit(bound[operation.name][operation.form])  # type: ignore[union-attr]
        elif kind is Choice:
            table = operation.plain  # type: ignore[union-attr]
            if table is not None:
                index = bisect(table.cumulative, random())
                bits += table.bits[index]
            else:
                assert isinstance(operation, Choice)
                table = operation.table(state.flags)
                index, cost = table.pick(random, used if operation.once else _NOTHING)
                bits += cost
                if operation.once and table.keys[index] not in used:
                    used.append(table.keys[index])
            push(table.items[index].reverse)
        elif kind is Draw:
            assert isinstance(operation, Draw)
            table = operation.table
            index, cost = table.pick(random, used)
            bits += cost
            if table.keys[index] not in used:
                used.append(table.keys[index])
            forms = bound[operation.name] = operation.forms[index]
            emit(forms[operation.form])
        elif kind is Act:
            operation.verb(state, *operation.arguments)  # type: ignore[union-attr]
    return "".join(out), bits


_Rest = tuple[Program, int, Any] | None


def walk(program: Program, text: str | None = None) -> Iterator[Derivation]:
    """Every derivation of the program, or only those that produce exactly `text`, depth first."""
    tasks: list[tuple[Program, int, _Rest, str, State, float, tuple[int, ...], tuple[Any, ...]]]
    tasks = [(program, 0, None, "", State(), 0.0, (), ())]
    while tasks:
        operations, place, rest, written, state, bits, choices, marks = tasks.pop()
        while True:
            if place == len(operations):
                if rest is None:
                    if text is None or len(written) == len(text):
                        yield Derivation(written, bits, choices, marks)
                    break
                operations, place, rest = rest
                continue
            operation = operations[place]
            place += 1
            piece = ""
            if isinstance(operation, str):
                piece = operation
            elif isinstance(operation, Slot):
                piece = state.bound[operation.name][operation.form]
            elif isinstance(operation, Act):
                operation.verb(state, *operation.arguments)
            elif isinstance(operation, Mark):
                marks += ((operation.kind, operation.name, len(written)),)
            elif isinstance(operation, Draw):
                table = operation.table
                for index, cost in table.options(state.used):
                    piece = operation.forms[index][operation.form]
                    if text is None or text.startswith(piece, len(written)):
                        branch = state.copy()
                        if table.keys[index] not in branch.used:
                            branch.used.append(table.keys[index])
                        branch.bound[operation.name] = operation.forms[index]
                        task = (operations, place, rest, written + piece, branch, bits + cost, (*choices, index))
                        tasks.append((*task, marks))
                break
            else:
                table = operation.table(state.flags)
                following = (operations, place, rest)
                for index, cost in table.options(state.used if operation.once else _NOTHING):
                    alternative: Alternative = table.items[index]
                    if text is None or text.startswith(alternative.head, len(written)):
                        branch = state.copy()
                        if operation.once and table.keys[index] not in branch.used:
                            branch.used.append(table.keys[index])
                        step = (alternative.operations, 0, following, written, branch, bits + cost, (*choices, index))
                        tasks.append((*step, marks))
                break
            if piece:
                if text is not None and not text.startswith(piece, len(written)):
                    break
                written += piece


def derive(program: Program, text: str) -> list[Derivation]:
    """All derivations of `text`; none if the program cannot produce it."""
    return list(walk(program, text))


def enumerate_texts(program: Program) -> Iterator[Derivation]:
    """Every derivation of the program; meant for grammars small enough to be listed."""
    return walk(program)
