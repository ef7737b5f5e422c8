"""A tokenizer.json gives the ids of our tokenizer, in all programs that read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_texts import any_text
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_tiny.data.documents import marker_text
from mlx_tiny.data.tokenizer import Tokenizer, train_tokenizer
from mlx_tiny.data.tokenizers.byte_pair import LONGEST_WORD
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.export.tokenizer_json import BOS_NAME, tokenizer_files
from mlx_tiny.model.writing import instruction, question

pytest.importorskip("transformers")
pytest.importorskip("mlx_lm")
pytestmark = pytest.mark.export

ROLES = {"none": (), "chat": ("assistant", "system", "user"), "others": ("tool", "critic")}
TEXTS = [
    "The cat sat on the mat.\n\n  <s>\tShe said: \u00e9\u00e9\u00e9, \u4f60\u597d! 2024 aaaa aaa\n",
    "def f(a):\n        return  a  <unk> <0x41>\n\n\n",
] * 40
each = pytest.mark.parametrize(
    "name", [f"{kind}/{roles}" for kind in ("bpe", "bytes", "characters") for roles in ROLES]
)
MESSAGES = [
    {"role": "system", "content": " Be kind. "},
    {"role": "user", "content": " Who sat? "},
    {"role": "assistant", "content": " The cat.\n"},
    {"role": "user", "content": "Where?"},
]
Loaded = Callable[[str], tuple[Tokenizer, dict[str, Any]]]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A tokenizer of a kind with roles, and the same as other programs load it."""
    import tokenizers
    from mlx_lm.tokenizer_utils import load
    from transformers import AutoTokenizer

    made = {}

    def make(name: str) -> tuple[Tokenizer, dict[str, Any]]:
        if name not in made:
            ours, folder = make_tokenizer(name), tmp_path_factory.mktemp("tokenizer")
            write(folder, ours)
            theirs = {
                "tokenizers": tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")),
                "transformers": AutoTokenizer.from_pretrained(folder),
                "mlx-lm": load(folder),
            }
            made[name] = ours, theirs
        return made[name]

    return make


def make_tokenizer(name: str) -> Tokenizer:
    kind, roles = name.split("/")
    return train_tokenizer(kind, TEXTS, 400, roles=ROLES[roles])


def write(folder: Path, tokenizer: Tokenizer) -> None:
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    for name, text in tokenizer_files(tokenizer, 64).items():
        (folder / name).write_text(text, encoding="utf-8")


def conversation(tokenizer: Tokenizer) -> str:
    """`MESSAGES` as `mlx-tiny generate --chat` writes them."""
    asked = question(tokenizer, MESSAGES[1]["content"]), question(tokenizer, MESSAGES[3]["content"])
    return f"{instruction(tokenizer, MESSAGES[0]['content'])}{asked[0]}{MESSAGES[2]['content'].strip()}{asked[1]}"


def ids(encoded: Any) -> list[int]:
    return getattr(encoded, "ids", encoded)


def texts_with_markers() -> st.SearchStrategy[str]:
    markers = [marker_text(role) for roles in ROLES.values() for role in roles]
    return st.lists(st.one_of(any_text(), st.sampled_from([*markers, "<|user|", "aa", "\u4f60", "  "]))).map("".join)


@each
@given(text=texts_with_markers())
@example("")
@example("<s>")
@example("a" * (LONGEST_WORD + 1) + " b")
@example(" " * (LONGEST_WORD + 3) + "aa")
@settings(max_examples=30, deadline=None)
def test_every_text_has_the_same_ids_and_is_decoded(loaded: Loaded, name: str, text: str) -> None:
    ours, theirs = loaded(name)
    expected = ours.encode(text)
    for program, tokenizer in theirs.items():
        assert ids(tokenizer.encode(text)) == [ours.bos, *expected], program
        assert ids(tokenizer.encode(text, add_special_tokens=False)) == expected, program
        assert tokenizer.decode(expected, skip_special_tokens=False) == text, program
    shown = text if name.startswith("bytes") else text.replace("\u2581", " ")  # mlx-lm's way to write spaces
    if len(text) < LONGEST_WORD:  # it takes a time that is quadratic in the length
        assert "".join(written(theirs["mlx-lm"].detokenizer, expected)) == shown


def written(detokenizer: Any, tokens: list[int]) -> Iterator[str]:
    """The text of tokens, as mlx-lm writes it while they are generated."""
    for token in tokens:
        detokenizer.add_token(token)
        yield detokenizer.last_segment
    detokenizer.finalize()
    yield detokenizer.last_segment


@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters"])
def test_the_name_of_bos_is_text_unless_the_model_chats(loaded: Loaded, kind: str) -> None:
    for roles in ("none", "others"):
        ours, theirs = loaded(f"{kind}/{roles}")
        for tokenizer in theirs.values():
            assert ids(tokenizer.encode(f"a{BOS_NAME}")) == [ours.bos, *ours.encode(f"a{BOS_NAME}")]
    ours, theirs = loaded(f"{kind}/chat")
    for tokenizer in theirs.values():
        assert ids(tokenizer.encode(f"a{BOS_NAME}")) == [ours.bos, *ours.encode("a"), ours.bos]


@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters"])
def test_a_conversation_is_what_generate_reads(loaded: Loaded, kind: str) -> None:
    ours, theirs = loaded(f"{kind}/chat")
    for program in ("transformers", "mlx-lm"):
        got = theirs[program].apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=False)
        assert got == [ours.bos, *ours.encode(conversation(ours))], program
    with pytest.raises(Exception, match="role tool"):
        theirs["transformers"].apply_chat_template([{"role": "tool", "content": "1"}])
    assert loaded(f"{kind}/none")[1]["transformers"].chat_template is None


def test_bytes_that_are_not_utf8_are_replaced_as_we_do(loaded: Loaded) -> None:
    ours, theirs = loaded("bytes/none")
    broken = [ours.piece_bytes.index(bytes([byte])) for byte in b"a\xe2\x96b\xff\xc3\xa9\xf0\x9f"]
    assert {tokenizer.decode(broken) for tokenizer in theirs.values()} == {ours.decode(broken)}


def test_files_say_how_a_model_begins_and_ends(loaded: Loaded) -> None:
    ours, theirs = loaded("bpe/chat")
    tokenizer = theirs["transformers"]
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == ours.bos
    assert tokenizer.model_max_length == 64
    assert len(tokenizer) == ours.size


def test_events_are_refused() -> None:
    with pytest.raises(TinyError, match="column"):
        tokenizer_files(ItemsTokenizer.train(["a\nb\na"], 300), 64)


def test_equal_names_are_refused() -> None:
    with pytest.raises(TinyError, match="same name"):
        tokenizer_files(train_tokenizer("bytes", ["a"], 300, roles=["endoftext"]), 64)
