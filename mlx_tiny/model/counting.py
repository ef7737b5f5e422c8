"""Counting instead of training: an interpolated n-gram over the same tokens, the least that a model should reach.

An n-gram of order k is a context of k - 1 tokens and the token after it. No context reaches back beyond the BOS of its
document. Each order has a sorted table of its n-grams; the index of one there is its *identity*, by which the next
order names its context.

Source: Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (TR-10-98), modified
Kneser-Ney smoothing, interpolated (section 3). Interpolation makes a high order harmless: on six texts of 0.1M to 3.3M
tokens, order 6 was at most 0.1 % worse than the best order up to 8.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.errors import TinyError

ORDERS = 6
_MOST_DISCOUNTED = 3
"""Counts from this one on lose the same."""
_LEAST_DISCOUNT = 0.1
"""So that the lower orders always have a share, and no token the probability 0."""
_PIECE_TOKENS = 1 << 18
_UNKNOWN = -1
_BYTES_PER_TOKEN = 78
"""At the peak: 56 were measured for 3.5M tokens of generated stories, and 96 for 3.9M of TinyStories, of which most
orders have more n-grams."""
TABLES_SHARE = 2 / 7
"""Of these bytes, which are kept; the rest is needed while counting."""

Tokens = NDArray[np.uint16]
Integers = NDArray[np.int32] | NDArray[np.int64]
Floats = NDArray[np.float64]


class Contexts(NamedTuple):
    """How well counting knows the contexts of some places: the longest of each that a token followed in the text."""

    order: Floats
    """[n] Its length and 1; 1 where even the last token is new."""
    seen: Floats
    """[n] Its count as an n-gram's context, smoothed as the order asks."""
    followers: Floats
    """[n] Number of different tokens that followed it."""
    shorter_seen: Floats
    """[n] As `seen`, of the context without its first token; 0 where there is none."""
    shorter_followers: Floats
    """[n] As `followers`, of the context without its first token; 0 where there is none."""


def counting_bytes(tokens: int) -> int:
    """The memory that it takes, about, to count so many tokens, of which `TABLES_SHARE` is kept."""
    return _BYTES_PER_TOKEN * tokens


class KneserNey:
    """The n-grams of a text.

    Args:
        tokens: uint16 [n], a BOS before each document and at the end.
        vocabulary_size: V; all tokens are below it.
        bos: the token that begins documents.
        orders: the highest order; it is lower where no document is that long.
        kept_tokens: at the end, beginning with BOS, for `without_kept`.

    Raises:
        TinyError: there are no tokens, or one is not below V.
    """

    def __init__(
        self, tokens: Tokens, vocabulary_size: int, bos: int, orders: int = ORDERS, kept_tokens: int = 0
    ) -> None:
        if not len(tokens) or int(tokens.max()) >= vocabulary_size:
            raise TinyError(
                "The tokens cannot be counted",
                expected=f"at least one, all below {vocabulary_size}",
                got=f"a token {tokens.max()}" if len(tokens) else "none",
            )
        self.vocabulary_size, self.bos = vocabulary_size, bos
        self._tables: list[_Table] = []
        reach = _reach(tokens, bos)
        kept = _Kept(reach[len(tokens) - kept_tokens :], vocabulary_size) if kept_tokens else None
        contexts: Integers = np.zeros(len(tokens), np.int32)
        identities: Integers = contexts
        below: _Grams | None = None
        for order in range(1, min(orders, int(reach.max()) + 1) + 1):
            whole = reach >= order - 1
            number = len(below.keys) if below else 1
            grams = _Grams.of(contexts[whole], tokens[whole], vocabulary_size, number)
            if below is not None:
                alone = identities[reach == order - 2]
                different = grams.different_before(identities[whole], alone, len(below.keys))
                del alone
                self._tables.append(below.smoothed(different, vocabulary_size))
            identities = np.full(len(tokens), _UNKNOWN, np.int32)
            identities[whole] = grams.identities
            if kept:
                kept.see(identities[-kept_tokens:], grams.counts)
                if below is not None:
                    kept.lower(self._tables[-1], different)
            contexts, below = _shifted(identities), grams
        assert below is not None
        self._tables.append(below.smoothed(below.counts, vocabulary_size))
        self._without_kept: list[_Table] = []
        if kept:
            kept.highest(self._tables[-1], below.counts)
            self._without_kept = kept.tables

    def without_kept(self) -> KneserNey:
        """The same without the counts of the kept tokens; it knows no n-grams but theirs, so it can only read them.

        It is as if the other tokens alone had been counted, but for the discounts, which are those of all.
        """
        other = copy.copy(self)
        other._tables = self._without_kept
        return other

    @property
    def orders(self) -> int:
        """The highest order."""
        return len(self._tables)

    def total_nats(self, tokens: Tokens, piece: int = _PIECE_TOKENS) -> float:
        """Negative log-likelihood of all tokens but the first together.

        Args:
            tokens: uint16 [n], beginning with BOS; may be memory-mapped.
            piece: tokens that are looked up at once; it changes the result by rounding only.
        """
        total = 0.0
        for start in range(0, len(tokens) - 1, piece):
            begin = max(0, start + 1 - self.orders)  # with all that may be context of the first token of the piece
            total += float(self.nats(np.asarray(tokens[begin : start + 1 + piece]))[start - begin :].sum())
        return total

    def nats(self, tokens: Tokens) -> Floats:
        """Negative log-likelihood of each token but the first, float64 [n - 1].

        Args:
            tokens: uint16 [n], beginning with BOS.
        """
        return self.read(tokens)[0]

    def context_features(self, tokens: Tokens) -> Contexts:
        """How well the context of each token but the first is known, [n - 1] each."""
        return self.read(tokens)[1]

    def read(self, tokens: Tokens) -> tuple[Floats, Contexts]:
        """The results of `nats` and of `context_features` together."""
        probabilities = np.full(len(tokens), 1 / self.vocabulary_size)
        known = Contexts(np.ones(len(tokens)), *np.zeros((4, len(tokens))))
        for order, (table, contexts, identities) in enumerate(self._look_up(tokens), 1):
            places = np.flatnonzero(contexts != _UNKNOWN)
            probabilities[places] *= table.rest[contexts[places]]
            found = identities != _UNKNOWN
            probabilities[found] += table.share[identities[found]]
            places = places[table.followers[contexts[places]] > 0]
            known.order[places] = order
            known.shorter_seen[places], known.shorter_followers[places] = known.seen[places], known.followers[places]
            known.seen[places] = table.seen[contexts[places]]
            known.followers[places] = table.followers[contexts[places]]
        nats: Floats = -np.log(probabilities[1:])
        return nats, Contexts(*(values[1:] for values in known))

    def distribution(self, context: Sequence[int]) -> Floats:
        """The probability of each token after a context, float64 [V]; they add up to 1 but for rounding to float32.

        Args:
            context: the tokens before, of which the last few since the last BOS play a part.
        """
        return self.after(context)[0]

    def after(self, context: Sequence[int]) -> tuple[Floats, Contexts]:
        """The results of `distribution` and, for this one context, of `context_features` together."""
        tokens = np.array([*context[max(0, len(context) + 1 - self.orders) :], self.bos], np.uint16)
        probabilities = np.full(self.vocabulary_size, 1 / self.vocabulary_size)
        known = (1.0, *[0.0] * 4)
        for order, (table, contexts, _) in enumerate(self._look_up(tokens), 1):
            place = int(contexts[-1])
            if place == _UNKNOWN or not table.followers[place]:
                break
            known = (order, table.seen[place], table.followers[place], *known[1:3])
            probabilities *= table.rest[place]
            first = place * self.vocabulary_size
            followed = slice(*np.searchsorted(table.keys, [first, first + self.vocabulary_size]))
            probabilities[table.keys[followed] - first] += table.share[followed]
        return probabilities, Contexts(*np.array(known)[:, None])

    def _look_up(self, tokens: Tokens) -> Iterator[tuple[_Table, Integers, Integers]]:
        """Of each order the table, and for each token the identities of its context and of its n-gram, [n] each."""
        reach = _reach(tokens, self.bos)
        contexts: Integers = np.zeros(len(tokens), np.int64)
        for order, table in enumerate(self._tables, 1):
            contexts = np.where(reach >= order - 1, contexts, _UNKNOWN)
            keys = contexts * self.vocabulary_size + tokens
            identities = np.where(contexts != _UNKNOWN, table.find(keys), _UNKNOWN)
            yield table, contexts, identities
            contexts = _shifted(identities)


@dataclass(frozen=True)
class _Table:
    """The n-grams of one order, smoothed."""

    keys: Integers
    """[n-grams] Context times V plus token, ascending."""
    share: NDArray[np.float32]
    """[n-grams] Probability that the token has after the context, beside what the lower orders give."""
    rest: NDArray[np.float32]
    """[contexts] Weight of the lower orders; 1 after a context that no token follows."""
    seen: NDArray[np.float32]
    """[contexts] What the counts of all tokens after the context add up to."""
    followers: Integers
    """[contexts] How many different tokens follow the context."""

    def find(self, keys: Integers) -> Integers:
        """Identities of n-grams, `_UNKNOWN` where they are not in the table."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, _UNKNOWN)


class _Kept:
    """The n-grams of the kept tokens, by order; identities are numbers among them in the tables that are made.

    Args:
        reach: of these tokens.
    """

    def __init__(self, reach: Integers, vocabulary_size: int) -> None:
        self.tables: list[_Table] = []
        self._reach, self._vocabulary_size = reach, vocabulary_size
        self._seen: list[_KeptGrams] = []

    def see(self, identities: Integers, counts: Integers) -> None:
        """Note the n-grams of the next order.

        Args:
            identities: [kept] those that end at each of the tokens.
            counts: of all n-grams of the text.
        """
        # What ends at the first BOS belongs to the text before, but for its use as a context.
        ends = np.flatnonzero(identities != _UNKNOWN)
        ends = ends if not self._seen else ends[ends > 0]
        found, places = np.unique(identities[ends].astype(np.int64), return_inverse=True)
        places_of_ends = np.full(len(identities), _UNKNOWN)
        places_of_ends[ends] = places
        left: Integers = np.asarray(counts[found] - np.bincount(places[ends > 0], minlength=len(found)), np.int64)
        self._seen.append(_KeptGrams(found, places_of_ends, left))

    def lower(self, table: _Table, counts: Integers) -> None:
        """Make the table of the order below the last one that was seen.

        Args:
            table: with the kept tokens.
            counts: how many different tokens stand before each n-gram of the text.
        """
        here, above = self._seen[-2:]
        gone, first = np.unique(above.places[above.places != _UNKNOWN], return_index=True)
        ends = np.flatnonzero(above.places != _UNKNOWN)[first]
        lost = here.places[ends[above.left[gone] == 0]]
        alone = here.places[1:][self._reach[1:] == len(self._seen) - 2]
        left = counts[here.found] - np.bincount(np.concatenate([lost, alone]), minlength=len(here.found))
        self._add(len(self._seen) - 2, table, counts, left)

    def highest(self, table: _Table, counts: Integers) -> None:
        """Make the table of the last order that was seen; see `lower`."""
        self._add(len(self._seen) - 1, table, counts, self._seen[-1].left)

    def _add(self, index: int, table: _Table, counts: Integers, left: Integers) -> None:
        here = self._seen[index]
        if not len(here.found):  # no kept document is that long
            return
        known: Integers = np.zeros(1, np.int64)
        context = np.zeros(len(here.found), np.int64)
        if index:
            known, ends = self._seen[index - 1].found, np.flatnonzero(here.places != _UNKNOWN)
            context[here.places[ends]] = self._seen[index - 1].places[ends - 1]
        discounts, before = _discounts(counts), counts[here.found]
        share = left - discounts[np.minimum(left, _MOST_DISCOUNTED)]
        less = before - discounts[np.minimum(before, _MOST_DISCOUNTED)] - share

        def without(values: Floats, lost: Floats | Integers) -> Floats:
            found: Floats = values[known] - np.bincount(context, lost, len(known))
            return found

        total = without(table.seen.astype(np.float64), before - left)
        shares = without(table.seen * (1.0 - table.rest.astype(np.float64)), less)
        rest = np.ones(len(known))
        np.divide(total - shares, total, out=rest, where=total > 0)
        followers = without(table.followers.astype(np.float64), left == 0).astype(np.int32)
        share = np.where(left > 0, share / np.maximum(total[context], 1), 0.0)
        keys = context * self._vocabulary_size + table.keys[here.found] % self._vocabulary_size
        single = np.float32
        self.tables.append(_Table(keys, share.astype(single), rest.astype(single), total.astype(single), followers))


class _KeptGrams(NamedTuple):
    """The n-grams of one order that kept tokens have."""

    found: Integers
    """Their identities among all of the text, ascending."""
    places: Integers
    """[kept] The place in `found` of the one that ends at each token, or `_UNKNOWN`."""
    left: Integers
    """How often each is in the text without the kept tokens."""


@dataclass(frozen=True)
class _Grams:
    """The n-grams of one order, counted."""

    keys: Integers
    identities: Integers
    """Of each place in the text that has an n-gram of this order."""
    counts: Integers
    contexts: int
    """Number of contexts."""

    @staticmethod
    def of(contexts: Integers, tokens: Tokens, vocabulary_size: int, number: int) -> _Grams:
        """The n-grams of these contexts, numbered below `number`, and of the tokens after them."""
        # In parts of 16 bits, which numpy sorts by radix: three times as fast as whole keys.
        halves = (contexts & 0xFFFF).astype(np.uint16), (contexts >> 16).astype(np.uint16)
        order = np.lexsort((tokens, *halves)).astype(np.int32)
        del halves
        keys = contexts[order].astype(np.int64)
        keys *= vocabulary_size
        keys += tokens[order]
        begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        counts = np.diff(begins, append=len(keys)).astype(np.int32)
        identities = np.empty(len(keys), np.int32)
        identities[order] = np.repeat(np.arange(len(begins), dtype=np.int32), counts)
        return _Grams(keys[begins], identities, counts, number)

    def different_before(self, suffixes: Integers, alone: Integers, number: int) -> Integers:
        """How many different tokens stand before each of the n-grams of the order below.

        Args:
            suffixes: for each of `identities`, that of the n-gram without its first token.
            alone: those that begin with BOS, which no token stands before: they are counted.
            number: of n-grams of the order below.
        """
        suffix = np.zeros(len(self.keys), np.int32)
        suffix[self.identities] = suffixes
        return (np.bincount(suffix, minlength=number) + np.bincount(alone, minlength=number)).astype(np.int32)

    def smoothed(self, counts: Integers, vocabulary_size: int) -> _Table:
        """The table with discounted `counts`."""
        context = self.keys // vocabulary_size
        kept = counts - _discounts(counts)[np.minimum(counts, _MOST_DISCOUNTED)]
        total = np.bincount(context, counts, self.contexts)
        rest = np.ones(self.contexts)
        np.divide(total - np.bincount(context, kept, self.contexts), total, out=rest, where=total > 0)
        followers = np.bincount(context, minlength=self.contexts).astype(np.int32)
        kept /= total[context]
        return _Table(self.keys, kept.astype(np.float32), rest.astype(np.float32), total.astype(np.float32), followers)


def _discounts(counts: Integers) -> Floats:
    """What counts of 0, 1, 2, and 3 or more lose, from how many n-grams were counted once to four times.

    A third of the count where one of these numbers is 0, as in a tiny text.
    """
    once, twice, thrice, often = (np.count_nonzero(counts == count) for count in (1, 2, 3, 4))
    limits = np.arange(_MOST_DISCOUNTED + 1)
    if not (once and twice and thrice and often):
        return limits / 3
    base = once / (once + 2 * twice)
    found = [0, 1 - 2 * base * twice / once, 2 - 3 * base * thrice / twice, 3 - 4 * base * often / thrice]
    clipped: Floats = np.clip(found, np.minimum(limits, _LEAST_DISCOUNT), limits)
    return clipped


def _reach(tokens: Tokens, bos: int) -> Integers:
    """How many tokens before each belong to its context: those back to the last BOS; [n], 0 for the first token."""
    places = np.arange(len(tokens), dtype=np.int32)
    begins = np.maximum.accumulate(np.where(tokens == bos, places, 0))
    places[1:] -= begins[:-1]
    return places


def _shifted(identities: Integers) -> Integers:
    """The identities of the n-grams that end one token earlier, which are the contexts of the next order."""
    return np.concatenate([np.array([_UNKNOWN], identities.dtype), identities[:-1]])
