"""Documents of single lines are told from others."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_tiny.data import lines
from mlx_tiny.data.tokenizers.characters import CharacterTokenizer


@pytest.mark.parametrize(("texts", "single"), [(["ab", "", "a b"], True), (["ab", "a\nb"], False), ([], True)])
def test_a_line_end_is_noticed_anywhere(texts: list[str], single: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_TOKENS_AT_ONCE", 2)
    tokenizer = CharacterTokenizer((), "ab ")
    tokens = [tokenizer.bos]
    for text in texts:
        tokens += [*tokenizer.encode(text), tokenizer.bos]
    assert lines.are_single_lines(np.array(tokens, np.uint16), tokenizer) is single
