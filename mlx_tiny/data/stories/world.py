"""What a story keeps track of: where people are, who holds what, and the flags that alternatives depend on."""

from __future__ import annotations

from collections.abc import Callable

from mlx_tiny.data.stories.grammar import State

FLAGS = "in out day night snow rain child critter company holding seeking water wood town walking".split()
"""Names of the flags: indoors or outdoors, light and weather, who the hero is, who and what is with the hero."""

BIT = {name: 1 << number for number, name in enumerate(FLAGS)}
_OPPOSITES = {"in": ("out", "snow", "rain", "water", "wood", "walking"), "out": ("in",), "day": ("night",)}
_OPPOSITES |= {"night": ("day",), "child": ("critter",), "critter": ("child",)}

GUARDED = {"holding": "held", "company": "mate", "seeking": "sought"}
"""Flag -> the word that is bound whenever the flag is set."""


def flag(state: State, *names: str) -> None:
    """Set flags; a name that begins with `-` clears one, and opposites clear each other."""
    for name in names:
        if name.startswith("-"):
            state.flags &= ~BIT[name[1:]]
            continue
        state.flags |= BIT[name]
        for other in _OPPOSITES.get(name, ()):
            state.flags &= ~BIT[other]


def take(state: State, who: str, thing: str) -> None:
    """`who` now holds `thing`, which nobody else held."""
    holder = state.bound.get("@" + thing)
    assert holder is None, f"{who} takes {thing}, which {holder} holds"
    state.bound["@" + thing] = who
    if who == "hero":
        state.bound["held"] = state.bound[thing]
        state.flags |= BIT["holding"]


def drop(state: State, who: str, thing: str) -> None:
    """`who` held `thing` and now does not: it is lost, put down, eaten, or used up."""
    holder = state.bound.pop("@" + thing, None)
    assert holder == who, f"{who} drops {thing}, which {holder} holds"
    if state.flags & BIT["holding"] and state.bound["held"] is state.bound[thing]:
        state.flags &= ~BIT["holding"]


def give(state: State, giver: str, receiver: str, thing: str) -> None:
    """`giver` hands `thing` to `receiver`; they must be in the same place, if the story says where they are."""
    here, there = state.bound.get(">" + giver), state.bound.get(">" + receiver)
    assert here is None or there is None or here == there, f"{giver} at {here} gives to {receiver} at {there}"
    drop(state, giver, thing)
    take(state, receiver, thing)


def go(state: State, who: str, place: str) -> None:
    """`who` is at `place` from now on."""
    state.bound[">" + who] = place


def meet(state: State, who: str, other: str) -> None:
    """`other` must be found where `who` is."""
    here, there = state.bound.get(">" + who), state.bound.get(">" + other)
    assert here == there, f"{who} at {here} meets {other} at {there}"


def join(state: State, mate: str) -> None:
    """`mate` keeps the hero company from now on."""
    state.bound["mate"] = state.bound[mate]
    state.flags |= BIT["company"]


def part(state: State) -> None:
    """The hero is alone again."""
    state.flags &= ~BIT["company"]


def seek(state: State, thing: str) -> None:
    """The hero looks for `thing` from now on."""
    assert state.bound.get("@" + thing) != "hero", f"the hero seeks {thing} and holds it"
    state.bound["sought"] = state.bound[thing]
    state.flags |= BIT["seeking"]


def find(state: State, thing: str) -> None:
    """The hero, who was looking for `thing`, need not look any more."""
    assert state.flags & BIT["seeking"] and state.bound["sought"] is state.bound[thing], f"{thing} was not sought"
    state.flags &= ~BIT["seeking"]


VERBS: dict[str, tuple[Callable[..., None], int]] = {
    "take": (take, 2),
    "drop": (drop, 2),
    "give": (give, 3),
    "go": (go, 2),
    "meet": (meet, 2),
    "join": (join, 1),
    "part": (part, 0),
    "seek": (seek, 1),
    "find": (find, 1),
}
"""Stage direction -> its function and number of words."""
