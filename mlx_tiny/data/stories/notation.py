"""The notation in which plots and phrases are written, and its compilation into a program.

    {hero=children}        draw a word from the list `children`, call it hero, and write it
    {hero} {hero.him}      a word drawn before, and its other forms; {he} {him} {his} {himself} are the hero's
    {a toy} {A toy}        with its article; a capital makes the written form begin with one; a noun that is drawn
                           with its article or in the plural may get an adjective (see `QUALIFIERS`)
    [one|two|3*three]      alternatives, the last with three times the weight; with [!...] none comes twice in a story
    [a walk|?out+day a run]  an alternative that needs these flags of the story (`!night`: not at night)
    {@sad friend}          a shared phrase, and the words that it is about
    <take hero toy>        a stage direction (see `world.py`), or flags to set; it and the space after it write nothing
    <set key> <pay key>    marks a set-up and its payoff
    {~}                    as a paragraph of its own: a place for interludes between set-up and payoff

An empty line begins a new paragraph, and so does // inside an alternative.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from mlx_tiny.data.stories.grammar import (
    Act,
    Alternative,
    Choice,
    Draw,
    Forms,
    Mark,
    Operation,
    Program,
    Slot,
    Table,
)
from mlx_tiny.data.stories.world import BIT, GUARDED, VERBS, flag

_TOKEN = re.compile(r"(\[!?|\||\]|\{[^{}]*\}|<[^<>]*>)")
_SLOT = re.compile(r"(?:(a|A) )?(\w+)(?:=(\w+))?(?:\.(\w+))?")
_PREFIX = re.compile(r"(?:(\d+)\*)?(?:\?([a-z+!]+) )?")
_PRONOUNS = ("he", "him", "his", "himself")


def share(scale: float, count: int, least: int = 1) -> int:
    """Number of the first entries, of `count`, that are in use at `scale`."""
    return min(count, max(least, ceil(scale * count - 1e-9)))


@dataclass(frozen=True)
class Rule:
    """A shared phrase: the names of the words it is about, and its text in the notation."""

    parameters: tuple[str, ...]
    text: str


class Compiler:
    """Turns notation into programs over given lists and rules.

    Args:
        lists: name of each word list -> its table, whose items are the words' forms.
        rules: name of each shared phrase -> the phrase.
        scale: share of the alternatives in use, above 0 to 1.
        dependency: number of interludes between set-up and payoff.
        qualifiers: name of a list of nouns -> name of the adjectives that any of them may have.
    """

    def __init__(
        self,
        lists: Mapping[str, Table],
        rules: Mapping[str, Rule],
        scale: float,
        dependency: int,
        qualifiers: Mapping[str, str],
    ) -> None:
        self.lists, self.rules, self.scale, self.dependency = lists, rules, scale, dependency
        self.qualifiers = qualifiers
        self._rules: dict[tuple[str, ...], Program] = {}

    def compile(self, text: str, name: str) -> Program:
        """The program of a text.

        Args:
            text: notation.
            name: what the text is called in errors.

        Raises:
            ValueError: the notation is wrong, or a word is used before it is drawn; the message says where.
        """
        program = self._program(self._spread(text), name, {})
        hidden = self._verify(program, {}, frozenset(), name)
        if hidden:
            raise ValueError(f"{name}: the text may leave open which word {sorted(hidden)} is")
        return program

    def _spread(self, text: str) -> str:
        """Distribute the interludes over the places {~}, and join the paragraphs."""
        text = re.sub(r"\s*\n\s*([|\]])", r"\1", text)
        text = re.sub(r"([|\[])[ \t]*\n\s*", r"\1", text)
        paragraphs = [re.sub(r"\s+", " ", p).strip() for p in re.split(r"\n\s*\n", text.strip())]
        rooms = [number for number, paragraph in enumerate(paragraphs) if paragraph == "{~}"]
        for turn, room in enumerate(rooms):
            count = len(range(turn, self.dependency, len(rooms)))
            paragraphs[room] = "\n".join(["{@interlude}"] * count)
        joined = "\n".join(paragraph for paragraph in paragraphs if paragraph)
        joined = re.sub(r" ?// ?", "\n", re.sub(r"(<[^<>]*>) ", r"\1", joined))
        return re.sub(r" ((?:<[^<>]*>)+)(?=$|[\n|\]])", r"\1", joined)

    def _program(self, text: str, name: str, names: dict[str, str]) -> Program:
        tokens = [token for token in _TOKEN.split(text) if token]
        operations, rest = self._sequence(tokens, 0, name, names, [0])
        if rest != len(tokens):
            raise ValueError(f"{name}: unmatched {tokens[rest]!r} after {''.join(tokens[:rest])[-60:]!r}")
        return operations

    def _sequence(
        self, tokens: list[str], place: int, name: str, names: dict[str, str], counter: list[int]
    ) -> tuple[Program, int]:
        operations: list[Operation] = []
        while place < len(tokens):
            token = tokens[place]
            if token in ("|", "]"):
                break
            place += 1
            if not token:
                continue
            if token[0] == "[":
                choice, place = self._choice(tokens, place, token == "[!", name, names, counter)
                operations += choice
            elif token[0] == "{":
                alone = not (len(operations) > 1 and operations[-1] == " ")
                operations += self._slot(token[1:-1], name, names, alone)
            elif token[0] == "<":
                operations.append(self._direction(token[1:-1].split(), name, names))
            else:
                operations.append(token)
        return _merged(operations), place

    def _choice(
        self, tokens: list[str], place: int, once: bool, name: str, names: dict[str, str], counter: list[int]
    ) -> tuple[Program, int]:
        counter[0] += 1
        label = f"{name}#{counter[0]}"
        alternatives: list[Alternative] = []
        weights: list[int] = []
        while True:
            needs, refuses, weight = 0, 0, 1
            if place < len(tokens) and (match := _PREFIX.match(tokens[place])) and match.end():
                weight = int(match[1] or 1)
                for condition in (match[2] or "").split("+"):
                    if condition.startswith("!"):
                        refuses |= BIT[condition[1:]]
                    elif condition:
                        needs |= BIT[condition]
                tokens = [*tokens[:place], tokens[place][match.end() :], *tokens[place + 1 :]]
            operations, place = self._sequence(tokens, place, name, names, counter)
            alternatives.append(Alternative(operations, needs, refuses))
            weights.append(weight)
            if place >= len(tokens):
                raise ValueError(f"{name}: a [ is never closed")
            place += 1
            if tokens[place - 1] == "]":
                break
        if alternatives[0].needs or alternatives[0].refuses:
            raise ValueError(f"{name}: the first alternative must not have conditions")
        kept = share(self.scale, len(alternatives), 4 if name == "interlude" and once else 1)
        if kept == 1:
            return alternatives[0].operations, place
        return (Choice(alternatives[:kept], weights[:kept], label, once),), place

    def _slot(self, body: str, name: str, names: dict[str, str], alone: bool) -> Program:
        if body.startswith("@"):
            rule, *arguments = body[1:].split()
            return self._rule(rule, tuple(names.get(argument, argument) for argument in arguments), name)
        match = _SLOT.fullmatch(body)
        if match is None:
            raise ValueError(f"{name}: cannot read the slot {{{body}}}")
        article, word, drawn, form = match[1] or "", match[2], match[3], match[4] or ""
        capital = article == "A" or (not article and word.lstrip("_")[0].isupper())
        word = word.lower()
        if word in _PRONOUNS:
            word, form = "hero", word
        form = ("^" if capital else "") + (article.lower() or form)
        word = f"{word}@{name}" if word[0] == "_" else names.get(word, word)
        if not drawn:
            return (Slot(word, form),)
        if drawn not in self.lists:
            raise ValueError(f"{name}: there is no list {drawn}")
        draw = Draw(word, form, self.lists[drawn])
        if not alone or drawn not in self.qualifiers or form.lstrip("^") not in ("a", "s") or share(self.scale, 2) == 1:
            return (draw,)
        first, rest = ("^" if capital else "") + ("a" if article else ""), "" if article else "s"
        adjective = Draw(f"_adjective@{name}", first, self.lists[self.qualifiers[drawn]])
        qualified = (adjective, " ", Draw(word, rest, self.lists[drawn]))
        return (Choice([Alternative((draw,)), Alternative(qualified)], [3, 2], f"{name}:{word}"),)

    def _rule(self, rule: str, arguments: tuple[str, ...], name: str) -> Program:
        if rule not in self.rules or len(self.rules[rule].parameters) != len(arguments):
            raise ValueError(f"{name}: there is no phrase {rule} about {len(arguments)} words")
        key = (rule, *arguments)
        if key not in self._rules:
            names = dict(zip(self.rules[rule].parameters, arguments, strict=True))
            self._rules[key] = self._program(self._spread(self.rules[rule].text), rule, names)
        return self._rules[key]

    def _direction(self, words: list[str], name: str, names: dict[str, str]) -> Operation:
        verb, *arguments = words
        if verb in ("set", "pay"):
            return Mark(verb, arguments[0] if arguments else "key")
        if verb in VERBS:
            function, count = VERBS[verb]
            if len(arguments) != count:
                raise ValueError(f"{name}: <{' '.join(words)}> takes {count} words")
            return Act(function, tuple(names.get(argument, argument) for argument in arguments))
        unknown = [word for word in words if word.removeprefix("-") not in BIT]
        if unknown:
            raise ValueError(f"{name}: unknown stage direction {unknown[0]}")
        return Act(flag, tuple(words))

    def _verify(
        self, program: Program, known: dict[str, frozenset[str]], hidden: frozenset[str], name: str
    ) -> frozenset[str]:
        """Check on every path that a word is drawn before it is written, and only once; updates `known`.

        Returns:
            The words that the text so far does not determine, such as a girl whose name has not been written.
        """
        for operation in program:
            if isinstance(operation, Draw):
                if (operation.name in known and not operation.name.startswith("_")) or operation.name in hidden:
                    raise ValueError(f"{name}: {operation.name} is drawn a second time")
                known[operation.name] = frozenset.intersection(*(frozenset(f) for f in operation.forms))
                written = [forms.get(operation.form) for forms in operation.forms]
                if len(set(written)) < len(written):
                    hidden |= {operation.name}
            if isinstance(operation, (Draw, Slot)):
                if operation.form not in known.get(operation.name, ()):
                    raise ValueError(f"{name}: no {operation.name}.{operation.form} here; known are {sorted(known)}")
                if operation.form in ("", "^", "a", "^a", "s", "^s"):
                    hidden -= {operation.name}
            elif isinstance(operation, Act) and operation.verb is not flag:
                for argument in operation.arguments:
                    if argument not in known and not argument.istitle():
                        raise ValueError(f"{name}: {argument} in a stage direction, but nothing is called that")
            elif isinstance(operation, Choice):
                outcomes, still_hidden = [], []
                for alternative in operation.alternatives:
                    inside = dict(known)
                    for flag_name, word in GUARDED.items():
                        if alternative.needs & BIT[flag_name]:
                            inside.setdefault(word, frozenset(NOUN_FORMS if word != "mate" else PERSON_FORMS))
                    still_hidden.append(self._verify(alternative.operations, inside, hidden, name))
                    outcomes.append(inside)
                for word in frozenset.intersection(*(frozenset(inside) for inside in outcomes)):
                    known[word] = frozenset.intersection(*(inside[word] for inside in outcomes))
                hidden = frozenset.union(*still_hidden)
        return hidden


NOUN_FORMS = ("", "^", "a", "^a", "s", "^s")
PERSON_FORMS = ("", "^", "he", "^he", "him", "^him", "his", "^his", "himself", "^himself")


def _merged(operations: list[Operation]) -> Program:
    merged: list[Operation] = []
    for operation in operations:
        if isinstance(operation, str) and merged and isinstance(merged[-1], str):
            merged[-1] += operation
        else:
            merged.append(operation)
    return tuple(merged)


def zipf_table(words: list[Forms], scale: float, least: int, strict: bool) -> Table:
    """The first words of the list, as many as are in use at `scale`; weights fall slowly with the rank."""
    kept = words[: share(scale, len(words), least)]
    weights = [max(1, round(1200 / (rank + 12))) for rank in range(len(kept))]
    return Table(kept, weights, [forms.get("key", forms[""]) for forms in kept], strict)
