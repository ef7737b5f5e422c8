"""Texts that tokenizers may trip over."""

from __future__ import annotations

from hypothesis import strategies as st

TRAPS = [
    "",
    " ",
    "  two  spaces  ",
    "\u2581",
    "a\u2581b \u2581\u2581 c\u2581",
    "\u2585 and \u2047",
    "\0",
    "a\0b",
    "<s>",
    "</s> <s>Ann<s>",
    "<unk>",
    "<0x41>",
    "<pad>",
    "\n",
    "\n\n a\n",
    "\r\n\r",
    "\ta\t",
    "\n        if a:\n\t\t    b\n\n\n  ",
    "\ufeff\ufffd\ufffe",
    "e\u0301 \u00e9 \u00a0 \u3000 \u2028",
    "\U0001f600\U0010ffff",
    "\x01\x1f\x7f\x80\x9f",
    "fi\ufb01 \u212b",
]


def any_text() -> st.SearchStrategy[str]:
    plain = st.text(st.characters(exclude_categories=["Cs"]))
    parts = st.one_of(plain, st.text(" \n\ta:", max_size=12), st.sampled_from([*TRAPS, " ", "Ann found the ball."]))
    return st.lists(parts).map("".join)
