from __future__ import annotations

from pathlib import Path

import pytest
from reading import how, read, write

from mlx_tiny.data import opening
from mlx_tiny.data.documents import Tally
from mlx_tiny.data.formats import text as text_format
from mlx_tiny.errors import TinyError

SENTENCES = (
    "The quick brown fox jumps over the lazy dog while the old cat sleeps in the warm sun and dreams of mice. " * 4
)
WRAPPED = (
    "The quick brown fox jumps over the lazy dog while the old\ncat sleeps in the sun, and dreams of mice that run\n"
)
CHINESE = "从前有一只小青蛙住在池塘边的石头下面它每天早上都要跳到水里去"
THAI = "กาลครั้งหนึ่งนานมาแล้วมีกบตัวหนึ่งอาศัยอยู่ใต้ก้อนหินข้าง"


class TestSeparators:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_lines_of_their_own(self, tmp_path: Path, suffix: str) -> None:
        content = "One.\n\nStill one.\n<|endoftext|>\n\n  Two \n <|endoftext|> \r\nThree"
        assert read(write(tmp_path / f"a.txt{suffix}", content)) == ["One.\n\nStill one.", "Two", "Three"]

    @pytest.mark.parametrize(
        ("content", "documents"),
        [
            ("One.<|endoftext|>\nTwo.\n", ["One.", "Two."]),
            ("One. <|endoftext|> \nTwo.\n", ["One.", "Two."]),
            ("One.\n<|endoftext|>Two.\n", ["One.", "Two."]),
            ("One.<|endoftext|>Two.", ["One.", "Two."]),
            ("One.<|endoftext|> Two <|endoftext|>Three<|endoftext|>", ["One.", "Two", "Three"]),
            ("<|endoftext|>One<|endoftext|><|endoftext|>\n<|endoftext|>\nTwo", ["One", "Two"]),
            ("<|endoftext|>", []),
        ],
    )
    def test_joined_to_a_line(self, tmp_path: Path, content: str, documents: list[str]) -> None:
        tally = Tally()
        assert read(write(tmp_path / "a.txt", content), tally) == documents
        assert (tally.documents, tally.markers) == (len(documents), 0)

    def test_a_mention_is_kept_and_counted(self, tmp_path: Path) -> None:
        content = "GPT-2 writes <|endoftext|> between\n<|endoftext|>\nor '<|endoftext|>', it says\n<|endoftext|>\nThree"
        tally = Tally()
        documents = ["GPT-2 writes <|endoftext|> between", "or '<|endoftext|>', it says", "Three"]
        assert read(write(tmp_path / "a.txt", content), tally) == documents
        assert tally.markers == 2

    @pytest.mark.parametrize(
        ("line", "parts"),
        [
            ("a <|endoftext|> b<|endoftext|>c", ["a <|endoftext|> b", "c"]),
            ("a <|endoftext|><|endoftext|> c", ["a ", "", " c"]),
            (" <|endoftext|> a <|endoftext|> b", [" ", " a <|endoftext|> b"]),
            ("a <|endoftext|> \n", ["a ", " \n"]),
        ],
    )
    def test_cuts_of_a_line(self, line: str, parts: list[str]) -> None:
        assert text_format._cut_at_markers(line) == parts

    def test_a_late_separator(self, tmp_path: Path) -> None:
        content = "One line of a book.\n" * 60_000 + "<|endoftext|>\nTwo"
        assert [len(text) for text in read(write(tmp_path / "a.txt", content))] == [60_000 * 20 - 1, 3]


class TestFoundRule:
    """Without separators."""

    @pytest.mark.parametrize(
        ("content", "count"),
        [
            pytest.param(f"{SENTENCES}\n\n" * 30, 30, id="paragraphs"),
            pytest.param(f"{SENTENCES}\n \t\n{SENTENCES}\n\n\n" * 15, 30, id="white space in blank lines"),
            pytest.param("NAME:\nA short speech, and not much more of it.\n\n" * 100, 1, id="a play"),
            pytest.param(f"{SENTENCES}\n\n" * 5, 1, id="few paragraphs"),
            pytest.param("emma\nolivia\nava\n" * 20, 60, id="names"),
            pytest.param("e2e4 e7e5 g1f3 b8c6\ne2e4\nd2d4 d7d5 c2c4 e7e6 b1c3 g8f6\n" * 20, 60, id="games"),
            pytest.param("This is one sentence for each line, as some have.\n" * 30, 30, id="a sentence per line"),
            pytest.param(WRAPPED * 20, 1, id="wrapped prose"),
            pytest.param("emma\nolivia\n", 1, id="two lines"),
            pytest.param(f"{CHINESE}\n" * 30, 1, id="wrapped Chinese"),
            pytest.param(f"{CHINESE}。\n" * 30, 30, id="a Chinese sentence per line"),
            pytest.param("春眠不觉晓\n处处闻啼鸟\n" * 15, 30, id="Chinese verses"),
            pytest.param(f"{THAI}\n" * 30, 1, id="wrapped Thai"),
            pytest.param("5d41402abc4b2a76b9719d911017c592aaf4c61d\n" * 30, 30, id="long words"),
        ],
    )
    def test_txt(self, tmp_path: Path, content: str, count: int) -> None:
        tally = Tally()
        assert len(read(write(tmp_path / "a.txt", content), tally)) == tally.documents == count

    @pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 1 << 20])
    def test_blocks_of_bytes_may_end_anywhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
    ) -> None:
        monkeypatch.setattr(opening, "BLOCK_BYTES", block_bytes)
        path = write(tmp_path / "a.txt", " \n\na\nb\r\n \t\r\n\nc\n\n  d\n\x0b\ne")
        assert read(path, documents="blank-lines") == ["a\nb", "c", "d", "e"]

    def test_the_beginning_of_a_large_file_decides(self, tmp_path: Path) -> None:
        assert len(read(write(tmp_path / "a.txt", f"{SENTENCES}\n\n" * 4000))) == 4000

    @pytest.mark.parametrize("name", ["a.py", "a.md", "a.log", "a.tex", "a.xyz"])
    def test_each_file_of_another_suffix_is_a_document(self, tmp_path: Path, name: str) -> None:
        content = "def f():\n    return 1\n\n\n" * 30 + "x = f()"
        assert read(write(tmp_path / name, content)) == [content]

    def test_tunes(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "a.abc", "X:1\nK:C\nCDE|\n\nX:2\nK:D\nDEF|\n")) == [
            "X:1\nK:C\nCDE|",
            "X:2\nK:D\nDEF|",
        ]

    def test_it_is_said(self, tmp_path: Path) -> None:
        for content, word in (("a\n" * 30, "line"), ("One\n<|endoftext|>\nTwo", "endoftext"), ("One", "whole")):
            path = write(tmp_path / "a.txt", content)
            assert word in how(path)
            assert ("--documents" in how(path)) == (word != "endoftext")
            assert "--documents" not in how(path, documents="lines")


class TestGivenRule:
    @pytest.mark.parametrize("suffix", [".txt", ".py"])
    @pytest.mark.parametrize(
        ("rule", "documents"),
        [
            ("lines", ["a", "b", "---", "c", "<|endoftext|>", "d"]),
            ("blank-lines", ["a\nb", "---\nc", "<|endoftext|>\nd"]),
            ("files", ["a\nb\n\n---\nc\n \n<|endoftext|>\nd"]),
            ("whole", ["a\nb\n\n---\nc\n \n<|endoftext|>\nd"]),
            ("---", ["a\nb", "c\n \n<|endoftext|>\nd"]),
            ("<|endoftext|>", ["a\nb\n\n---\nc", "d"]),
        ],
    )
    def test_documents(self, tmp_path: Path, suffix: str, rule: str, documents: list[str]) -> None:
        path = write(tmp_path / f"a{suffix}", "a\nb\n\n---\nc\n \n<|endoftext|>\nd\n")
        assert read(path, documents=rule) == documents

    def test_a_separator_that_is_not_there(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", "a line\nb\n")
        with pytest.raises(TinyError, match=r"No line of .*'line'.*--documents lines"):
            read(path, documents="line")


def test_nothing_else_changes(tmp_path: Path) -> None:
    text = "Tab\t, two  spaces, \u2581, \U0001f600, e\u0301, \x07, \u2028, trailing  \n  leading"
    assert read(write(tmp_path / "a.txt", text + "\n<|endoftext|>\n")) == [text]


@pytest.mark.parametrize("content", ["first\n\n" + "short\n" * 20, "first\n\n" + "x" * 65])
def test_too_large_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(text_format, "LARGEST_DOCUMENT_BYTES", 64)
    with pytest.raises(TinyError, match=r"document from line 3 of .* too large.*--documents"):
        read(write(tmp_path / "a.txt", content), documents="blank-lines")
    assert read(write(tmp_path / "a.txt", "short line\n\n" * 20), documents="blank-lines") == ["short line"] * 20
