"""Turns the written word lists into forms: articles, plurals, pronouns, capitals."""

from __future__ import annotations

import re

from mlx_tiny.data.stories import nature, people, places, things
from mlx_tiny.data.stories.grammar import Forms, Table
from mlx_tiny.data.stories.notation import zipf_table

_SHE = {"he": "she", "him": "her", "his": "her", "himself": "herself", "kid": "girl", "grown": "woman"}
_HE = {"he": "he", "him": "him", "his": "his", "himself": "himself", "kid": "boy", "grown": "man"}
_SHE |= {"sib": "sister", "young": "daughter"}
_HE |= {"sib": "brother", "young": "son"}

STRICT = {"children": 8, "colours": 8, "folk": 8, "critters": 6, "vegetables": 6, "treasures": 6, "trades": 6}
"""Lists whose words distinguish people or things, so that a story uses none twice -> words kept at any scale."""
_LEAST = 3
"""Words that any other list keeps at any scale."""

_AN = re.compile(r"(?!uni|use|ukul|eu|one)[aeiou]|hour|honest", re.IGNORECASE)


def article(word: str) -> str:
    """`word` with a or an before it."""
    return f"{'an' if _AN.match(word) else 'a'} {word}"


def plural(word: str) -> str:
    """The regular plural of a noun."""
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def _capitalised(forms: Forms) -> Forms:
    return forms | {"^" + name: form[0].upper() + form[1:] for name, form in forms.items()}


def noun(entry: str) -> Forms:
    """Forms of a noun written `one` or `one/many`: itself, `a`, `s` (plural); its last word is its key.

    By that key, a story with a boat has no toy boat, so that "the boat" has one meaning.
    """
    one, _, many = entry.partition("/")
    return _capitalised({"": one, "a": article(one), "s": many or plural(one)}) | {"key": one.split()[-1]}


def person(entry: str) -> Forms:
    """Forms of a person written `Name f` or `Name m`, or `mother f Mama` with how a child says it (`call`)."""
    match = re.fullmatch(r"(.+?) ([fm])(?: (\w+))?", entry)
    assert match is not None, f"a person is written 'Name f' or 'Name m', not {entry!r}"
    name, sex, call = match.groups()
    return _capitalised({"": name, "call": call or name} | (_SHE if sex == "f" else _HE))


def place(entry: str) -> Forms:
    """Forms of a place written `in the park`: `park`, `a`, `s`, `in` (in the park), `to`, `the`."""
    preposition, the, word = entry.split(" ", 2)
    assert the == "the", f"a place is written 'in the park', not {entry!r}"
    forms = {"": word, "a": article(word), "s": plural(word), "in": entry, "to": f"to the {word}", "the": f"the {word}"}
    return _capitalised(forms | {"by": preposition})


def phrase(entry: str) -> Forms:
    """Forms of a fixed phrase or adjective: itself and `a`."""
    return _capitalised({"": entry, "a": article(entry)})


def entries(text: str) -> list[str]:
    """The entries of a list written with commas."""
    return [entry.strip() for entry in " ".join(text.split()).split(",") if entry.strip()]


KINDS = {"noun": noun, "person": person, "place": place, "phrase": phrase}

SOURCES: dict[str, dict[str, str]] = {
    kind: {
        name: text for module in (people, things, nature, places) for name, text in module.LISTS.get(kind, {}).items()
    }
    for kind in KINDS
}
"""Kind of word -> name of the list -> its words as written."""


QUALIFIERS = {
    name: adjectives
    for adjectives, names in {
        "conditions": "toys treasures clothes hats tools containers instruments vehicles breakables shoes small_toys seats "
        "furniture bags carts losables coats",
        "manners": "small_animals big_animals birds pets dogs farm_animals pond_animals sea_animals songbirds bugs winged",
        "flavours": "fruits small_fruits vegetables baked cakes",
        "blooms": "flowers trees",
        "traits": "trades menders_trades fire_trades",
    }.items()
    for name in names.split()
}
"""List of nouns -> list of adjectives that any of them may have."""


def tables(scale: float) -> dict[str, Table]:
    """Every word list as a weighted table of forms, cut to the words in use at `scale`."""
    return {
        name: zipf_table(
            [KINDS[kind](entry) for entry in entries(text)], scale, STRICT.get(name, _LEAST), name in STRICT
        )
        for kind, lists in SOURCES.items()
        for name, text in lists.items()
    }
