"""The grammar of the generated stories: exact probabilities, derivations, enumeration, and checks of the notation."""

from __future__ import annotations

from collections import Counter
from math import fsum, inf, log2
from random import Random

import pytest

from mlx_tiny.data.stories import Language, enumerate_texts, lexicon
from mlx_tiny.data.stories.grammar import Program, Table, derive, generate
from mlx_tiny.data.stories.interludes import INTERLUDE
from mlx_tiny.data.stories.language import compile_plots
from mlx_tiny.data.stories.notation import Compiler, Rule, zipf_table
from mlx_tiny.data.stories.phrases import PARAMETERS, RULES

LISTS = {
    "children": zipf_table([lexicon.person(entry) for entry in ("Ann f", "Anna f", "Tom m")], 1.0, 1, True),
    "colours": zipf_table([lexicon.phrase(entry) for entry in ("red", "orange", "blue")], 1.0, 1, True),
    "toys": zipf_table([lexicon.noun(entry) for entry in ("ball", "owl", "toy owl")], 1.0, 1, False),
}
RULES_HERE = {
    "interlude": Rule((), "[!A bell rang.|?out Wind blew.|?holding {hero} held the {held}.]"),
    "sad": Rule(("who",), "[!{who} cried.|Poor {who}!]"),
}

STORY = """
<out> {Hero=children} and {friend=children} had {a colour=colours} {toy=toys}. <take hero toy>
[{@sad friend}|3*{Friend.he} sang.]

{~}

{@sad hero} [<give hero friend toy> {hero} gave it to {friend}.|It was {colour}.[| Very {colour}.]]
"""


def compiled(text: str, *, dependency: int = 0, scale: float = 1.0) -> Program:
    return Compiler(LISTS, RULES_HERE, scale, dependency, {"toys": "colours"}).compile(text, "test")


def assert_exact(program: Program) -> int:
    """Check that every text has one derivation and that probabilities add up to 1; returns the number of texts."""
    derivations = list(enumerate_texts(program))
    texts = [derivation.text for derivation in derivations]
    assert len(set(texts)) == len(texts), Counter(texts).most_common(2)
    assert fsum(2.0**-derivation.bits for derivation in derivations) == pytest.approx(1.0, abs=1e-9)
    return len(texts)


@pytest.mark.parametrize("dependency", [0, 1, 2])
def test_enumeration_of_a_small_grammar_is_exact(dependency: int) -> None:
    assert assert_exact(compiled(STORY, dependency=dependency)) > 500


def test_enumeration_agrees_with_parser_and_generator() -> None:
    program = compiled(STORY, dependency=1)
    known = {derivation.text: derivation for derivation in enumerate_texts(program)}
    for text in list(known)[::37]:
        assert derive(program, text) == [known[text]]
    for seed in range(200):
        text, bits = generate(program, Random(seed).random)
        assert bits == known[text].bits


def test_frequencies_match_probabilities() -> None:
    program = compiled("{Hero=children} and {a toy=toys}[| sang|3* ran].")
    expected = {derivation.text: 2.0**-derivation.bits for derivation in enumerate_texts(program)}
    random, draws = Random(5).random, 40_000
    seen = Counter(generate(program, random)[0] for _ in range(draws))
    assert set(seen) <= set(expected)
    square = sum((seen[text] - draws * p) ** 2 / (draws * p) for text, p in expected.items())
    freedom = len(expected) - 1
    # The chi-square statistic has mean `freedom` and variance twice that: five deviations.
    assert abs(square - freedom) < 5 * (2 * freedom) ** 0.5


def test_a_planted_ambiguity_is_found() -> None:
    program = compiled("{Hero=children} [ran|walked|ran].")
    name = LISTS["children"]
    found = derive(program, f"{name.keys[0]} ran.")
    assert [derivation.choices for derivation in found] == [(0, 2), (0, 0)]
    assert Language(program).bits(f"{name.keys[0]} ran.") == pytest.approx(name.bits[0] + log2(3 / 2))
    with pytest.raises(AssertionError):
        assert_exact(program)


def test_words_are_drawn_without_replacement() -> None:
    table = Table("abcd", [4, 3, 2, 1], ["a", "b", "c", "c"])
    assert table.options(["x"]) == list(enumerate(table.bits))
    assert table.options(["a"]) == [(1, log2(6 / 3)), (2, log2(6 / 2)), (3, log2(6 / 1))]
    assert [index for index, _ in table.options(["c"])] == [0, 1]
    random = Random(1).random
    seen = Counter(table.pick(random, ["a"])[0] for _ in range(6000))
    assert 0 not in seen and seen[1] == pytest.approx(3000, abs=200)
    assert len(table.options(["a", "b", "c"])) == 4
    with pytest.raises(AssertionError, match="more words"):
        Table("a", [1], ["a"], strict=True).options(["a"])


def test_words_of_a_phrase_are_local() -> None:
    rules = {"noise": Rule((), "{A _toy=toys} fell.")}
    program = Compiler(LISTS, rules, 1.0, 0, {}).compile("{A _toy=colours} one. {@noise} It was {_toy}.", "test")
    for derivation in enumerate_texts(program):
        assert derivation.text.split()[1] == derivation.text.rstrip(".").split()[-1]


def test_flags_open_and_close_alternatives() -> None:
    texts = {derivation.text for derivation in enumerate_texts(compiled("<in> [A|?out B|?!in C|?in D]"))}
    assert texts == {"A", "D"}


def test_once_repeats_nothing_until_all_have_been_used() -> None:
    program = compiled("{hero=children}{@sad hero}{@sad hero}{@sad hero}")
    for derivation in enumerate_texts(program):
        name = derivation.text.split(" ")[0].removeprefix("Poor")
        assert derivation.text.count("cried") in (1, 2), name
    assert_exact(program)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{toy}", "no toy. here"),
        ("{hero=children} {hero=children}", "second time"),
        ("[{hero=children}|Nobody] {hero}", "no hero. here"),
        ("{hero=nothings}", "no list"),
        ("{hero=children.kid}", "may leave open"),
        ("{hero=children.size}", "no hero.size"),
        ("{@sad}", "no phrase sad about 0"),
        ("<jump>", "unknown stage direction"),
        ("<take hero>", "takes 2 words"),
        ("[?out a|b]", "first alternative"),
        ("[a|b", "never closed"),
        ("a]", "unmatched"),
    ],
)
def test_faults_of_the_notation_are_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        compiled(text)


@pytest.mark.parametrize(
    "directions",
    [
        "<give hero friend toy>",
        "<take hero toy> <take friend toy>",
        "<take hero toy> <drop friend toy>",
        "<take hero toy> <go hero Here> <go friend There> <give hero friend toy>",
        "<take hero toy> <seek toy>",
        "<find toy>",
        "<go hero Here> <meet hero friend>",
    ],
)
def test_a_world_that_contradicts_itself_is_an_error(directions: str) -> None:
    program = compiled("{hero=children} {friend=children} {toy=toys} " + directions)
    with pytest.raises(AssertionError):
        generate(program, Random(0).random)


WHO = "<child out> {hero=elders}, {friend=elders}: "


def reduced(words: int) -> dict[str, Table]:
    """The real word lists, cut to their first few words."""
    return {
        name: Table(table.items[:words], table.weights[:words], table.keys[:words])
        for name, table in lexicon.tables(1.0).items()
    }


@pytest.mark.parametrize("rule", sorted(RULES))
def test_shared_phrases_are_exact_by_enumeration(rule: str) -> None:
    rules = {name: Rule(PARAMETERS.get(name, ()), text) for name, text in RULES.items()}
    compiler = Compiler(reduced(3), rules, 0.7, 0, lexicon.QUALIFIERS)
    call = "{@" + rule + (" friend" if PARAMETERS.get(rule) else "") + "}"
    program = compiler.compile(call if "hero=" in RULES[rule] else WHO + call, rule)
    assert assert_exact(program) > 1


@pytest.mark.parametrize("flags", ["critter in", "child out town", "child night water"])
def test_interludes_are_exact_by_enumeration(flags: str) -> None:
    compiler = Compiler(reduced(3), {"interlude": Rule((), INTERLUDE)}, 0.8, 0, {})
    program = compiler.compile(f"<{flags}> {{hero=elders}}: {{@interlude}}", "interlude")
    assert assert_exact(program) > 500


@pytest.mark.parametrize("plot", ["lost_in_market", "swap_chain", "pen_friend"])
def test_a_whole_plot_with_few_words_is_exact_by_enumeration(plot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few = reduced(1)
    monkeypatch.setattr(lexicon, "tables", lambda scale: few)
    assert assert_exact(compile_plots((plot,), 0.34, 0)[plot]) > 100


def test_a_text_that_is_not_in_the_language_has_no_derivation() -> None:
    language = Language(compiled(STORY))
    story = language.story(1, 1)
    for text in ("", story.text + " ", story.text[:-1], story.text.lower(), "Once upon a time."):
        assert language.derivations(text) == []
        assert language.bits(text) == inf
