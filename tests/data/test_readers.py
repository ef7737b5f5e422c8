from __future__ import annotations

import builtins
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.data import documents, readers
from mlx_tiny.data.documents import Rules, Tally
from mlx_tiny.data.opening import InputFile
from mlx_tiny.data.readers import read_texts, supported
from mlx_tiny.errors import TinyError


def write(path: Path, content: str | bytes) -> Path:
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def read(path: Path, column: str | None = None) -> list[str]:
    return list(read_texts(InputFile(path), Rules(column), Tally()))


@pytest.mark.parametrize("suffix", ["", ".gz"])
class TestText:
    def test_separator_lines(self, tmp_path: Path, suffix: str) -> None:
        content = "One.\n\nStill one.\n<|endoftext|>\n\n  Two <|endoftext|> two \n <|endoftext|> \nThree"
        path = write(tmp_path / f"a.txt{suffix}", content)
        assert read(path) == ["One.\n\nStill one.", "Two <|endoftext|> two", "Three"]

    def test_blank_lines(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a.txt{suffix}", "\n\nOne\nmore\n\n \t\n\nTwo  \n  three\n")
        assert read(path) == ["One\nmore", "Two  \n  three"]

    def test_line_ends_and_mark(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a.txt{suffix}", b"\xef\xbb\xbfOne\r\nmore\rx\r\n<|endoftext|>\r\nTwo\r\n")
        assert read(path) == ["One\nmore\rx", "Two"]

    def test_nothing_else_changes(self, tmp_path: Path, suffix: str) -> None:
        text = "Tab\t, two  spaces, \u2581, \U0001f600, e\u0301, \x07, trailing  \n  leading"
        assert read(write(tmp_path / f"a.txt{suffix}", text + "\n<|endoftext|>\n")) == [text]

    def test_invalid_utf8_names_the_byte(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a.txt{suffix}", b"\xef\xbb\xbfOne\n\nTw\xff\n")
        with pytest.raises(TinyError, match=rf"a\.txt{suffix} is not valid UTF-8\. Got byte 0xFF at byte 10\."):
            read(path)
        for content, place in (
            (b"One\n<|endoftext|>\nTw\xc3", 20),
            (b"One\n<|endoftext|>\nTw\xc3\n<|endoftext|>\nThree", 20),
            (b"\xef\xbb\xbfOne\xc3\nTwo", 6),
        ):
            with pytest.raises(TinyError, match=f"byte 0xC3 at byte {place}"):
                read(write(tmp_path / f"b.txt{suffix}", content))

    def test_binary(self, tmp_path: Path, suffix: str) -> None:
        with pytest.raises(TinyError, match=r"is a binary file.* NUL byte at byte 7\."):
            read(write(tmp_path / f"a.txt{suffix}", b"Fine.\nB\0ad"))
        with pytest.raises(TinyError, match=r"binary file.*got UTF-16"):
            read(write(tmp_path / f"b.txt{suffix}", "Text".encode("utf-16")))

    def test_too_large_a_document(self, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "LARGEST_DOCUMENT_BYTES", 64)
        monkeypatch.setattr(documents, "LARGEST_DOCUMENT_BYTES", 64)
        assert read(write(tmp_path / f"a.txt{suffix}", "short line\n\n" * 20)) == ["short line"] * 20
        for content in ("first\n\n" + "x" * 65, "first\n\n" + "short\n" * 20):
            with pytest.raises(TinyError, match=r"document at byte 7 of .* is too large"):
                read(write(tmp_path / f"b.txt{suffix}", content))


class TestJsonLines:
    def test_key_by_itself(self, tmp_path: Path) -> None:
        lines = [{"id": 1, "body": "One"}, {"id": 2, "body": " Two\r\nlines "}, {"id": 3, "body": " "}]
        path = write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, lines)))
        assert read(path) == ["One", "Two\nlines"]

    def test_usual_name_wins_and_a_named_key_more(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl.gz", json.dumps({"title": "T", "Text": "One", "url": "u"}))
        assert read(path) == ["One"]
        assert read(path, "title") == ["T"]

    def test_ambiguous(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", json.dumps({"left": "a", "right": "b", "n": 1}))
        with pytest.raises(TinyError, match=r"which key contains the text.*Got the keys left, right, n|got the keys"):
            read(path)
        with pytest.raises(TinyError, match="which key"):
            read(write(tmp_path / "b.jsonl", json.dumps({"text": "a", "story": "b"})))

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{broken", "Line 3 of .*a.jsonl is not valid JSON"),
            ("[" * 100_000, "Line 3 of .*a.jsonl is not valid JSON"),
            ("[1]", "Line 3 of .* malformed. Expected a JSON object, got list"),
            ('{"other": "x"}', "Line 3 of .* no text under the key 'text'. Got the keys other"),
            ('{"text": null}', "Line 3 of .* no text under the key 'text'. Got NoneType"),
            ("{}", "Line 3 of .* no text under the key 'text'. Got an empty object"),
            (r'{"text": "half \ud83d"}', "Line 3 of .* half of a surrogate pair"),
            (r'{"text": "a\u0000b"}', r"binary file.*U\+0000"),
        ],
    )
    def test_faulty_lines_are_named(self, tmp_path: Path, line: str, message: str) -> None:
        path = write(tmp_path / "a.jsonl", f'{{"text": "One"}}\n\n{line}\n{{"text": "Two"}}\n')
        with pytest.raises(TinyError, match=message):
            read(path)


class TestRefusals:
    def test_missing_and_empty(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match="does not exist"):
            read(tmp_path / "absent.txt")
        for name in ("a.txt", "a.jsonl", "a.csv", "a.parquet"):
            (tmp_path / name).touch()
            with pytest.raises(TinyError, match="is empty"):
                read(tmp_path / name)

    def test_damaged_gzip(self, tmp_path: Path) -> None:
        whole = gzip.compress(b"Some text. " * 5000)
        flipped = whole[:10] + b"\xff\xff" + whole[12:]
        wrong_sum = whole[:-8] + b"\0\0\0\0" + whole[-4:]
        for number, raw in enumerate((b"no gzip", whole[: len(whole) // 2], flipped, wrong_sum)):
            path = tmp_path / f"{number}.txt.gz"
            path.write_bytes(raw)
            with pytest.raises(TinyError, match=r"\.txt\.gz is damaged: it cannot be decompressed"):
                read(path)

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "a.txt", "text")

        def refuse(*arguments: Any, **options: Any) -> Any:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(builtins, "open", refuse)
        with pytest.raises(TinyError, match=r"No permission to read .*a\.txt\. .*chmod"):
            read(path)

    def test_suffixes(self) -> None:
        for name in ("a.txt", "a.TXT", "b.c.jsonl.gz", "a.csv", "a.tsv.gz", "a.parquet"):
            assert supported(Path(name))
        for name in ("a", "a.gz", "a.parquet.gz", "a.json", "txt", "a.txt.zip"):
            assert not supported(Path(name))
