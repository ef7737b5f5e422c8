from __future__ import annotations

import builtins
import gzip
import itertools
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from reading import read, write

from mlx_tiny.data import opening
from mlx_tiny.data.documents import LARGEST_DOCUMENT_BYTES
from mlx_tiny.data.formats import parquet
from mlx_tiny.data.opening import InputFile, expand, read_chunks, read_lines
from mlx_tiny.errors import TinyError

PACKINGS = ["", ".gz", ".zst", ".zip"]
PARTS = [b"One", b"\r", b"\n", b"\r\n", "é".encode()]


class TestLines:
    @pytest.mark.parametrize("packing", PACKINGS)
    def test_packings_byte_order_mark_and_line_ends(self, tmp_path: Path, packing: str) -> None:
        (file,) = expand(write(tmp_path / f"a.txt{packing}", b"\xef\xbb\xbfOne\r\nmore\rx\n\ny"))
        assert list(read_lines(file)) == ["One\n", "more\n", "x\n", "\n", "y"]

    def test_blocks_may_end_anywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "BLOCK_BYTES", 3)
        for parts in itertools.product(PARTS, repeat=3):
            raw = b"".join(parts)
            expected = raw.decode().replace("\r\n", "\n").replace("\r", "\n")
            file = InputFile(write(tmp_path / "a.txt", raw))
            assert "".join(read_chunks(file)) == expected, raw
            assert list(read_lines(file)) == expected.splitlines(keepends=True), raw

    def test_only_line_ends_end_lines(self, tmp_path: Path) -> None:
        text = "a\u2028b\x0bc\x0cd\x1ce\x85f\n"
        assert list(read_lines(InputFile(write(tmp_path / "a.txt", text)))) == [text]

    @pytest.mark.parametrize("block_bytes", [4, 1 << 20])
    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"\xef\xbb\xbfOne\r\rTw\xff\n", r"not valid UTF-8\. Got byte 0xFF in line 3"),
            (b"One\nTw\xc3", "byte 0xC3 in line 2"),
            (b"One\r\nTw\xc3\r\nThree", "byte 0xC3 in line 2"),
            ("Müller\n".encode("latin-1"), "not valid UTF-8"),
            (b"Fine.\nB\0ad", "is a binary file.* NUL byte in line 2"),
            ("Text".encode("utf-16"), "binary file.*got UTF-16"),
            ("\ufeffText".encode("utf-16-be"), "binary file.*got UTF-16"),
            ("Text".encode("utf-32"), "binary file.*got UTF-32"),
            ("Text".encode("utf-16-le"), "binary file.*NUL"),
        ],
    )
    def test_bad_bytes_are_named_with_their_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, raw: bytes, message: str
    ) -> None:
        monkeypatch.setattr(opening, "BLOCK_BYTES", block_bytes)
        with pytest.raises(TinyError, match=message):
            list(read_lines(InputFile(write(tmp_path / "a.txt", raw))))

    def test_too_long_a_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "LARGEST_DOCUMENT_BYTES", 64)
        monkeypatch.setattr(opening, "BLOCK_BYTES", 16)
        with pytest.raises(TinyError, match=r"line 2 of .* too large"):
            list(read_lines(InputFile(write(tmp_path / "a.txt", "One\n" + "x" * 100))))
        assert LARGEST_DOCUMENT_BYTES > 64


class TestPacking:
    def test_names_and_suffixes(self) -> None:
        for file, name, suffix, packed in (
            (InputFile(Path("b/A.TXT")), "b/A.TXT", ".txt", None),
            (InputFile(Path("a.b.jsonl.GZ")), "a.b.jsonl.GZ", ".jsonl", ".gz"),
            (InputFile(Path("a.gz")), "a.gz", "", ".gz"),
            (InputFile(Path("a.zip"), "b/c.csv.zst"), "a.zip:b/c.csv.zst", ".csv", ".zst"),
            (InputFile(Path("Makefile")), "Makefile", "", None),
            (InputFile(Path("a\nb\x1b.txt")), "a b\ufffd.txt", ".txt", None),
        ):
            assert (file.name, file.suffix, file.packed) == (name, suffix, packed)

    def test_members_of_an_archive(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in ("b.txt", "__MACOSX/b.txt", ".DS_Store", "deep/", "deep/a.csv.gz"):
                archive.writestr(name, gzip.compress(b"text\nOne\n") if name.endswith(".gz") else b"Two")
        assert expand(tmp_path / "a.zip") == [
            InputFile(tmp_path / "a.zip", name) for name in ("b.txt", "deep/a.csv.gz")
        ]
        assert read(tmp_path / "a.zip") == ["Two", "One"]

    def test_a_long_name_is_cut(self) -> None:
        name = InputFile(Path("x" * 5000 + "/a.txt")).name
        assert len(name) < 300 and name.endswith("x/a.txt")

    def test_two_members_of_one_name(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.txt", "One")
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("a.txt", "Two")
        with pytest.raises(TinyError, match=r"a\.zip contains two files .*'a\.txt'"):
            expand(tmp_path / "a.zip")

    def test_an_archive_of_a_later_version(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt.zip", "One")
        raw = bytearray(path.read_bytes())
        raw[raw.index(b"PK\1\2") + 6] = 96
        path.write_bytes(raw)
        with pytest.raises(TinyError, match=r"a\.txt\.zip .*9\.6.*Unpack"):
            expand(path)

    def test_a_damaged_member_is_no_gzip(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", "One " * 1000)
        raw = bytearray((tmp_path / "a.zip").read_bytes())
        raw[40:44] = bytes([255] * 4)
        (tmp_path / "a.zip").write_bytes(raw)
        with pytest.raises(TinyError, match=r"a\.zip:a\.txt is damaged.* as zip"):
            read(tmp_path / "a.zip")

    @pytest.mark.parametrize("packing", [".gz", ".zst"])
    def test_packed_parts_one_after_the_other(self, tmp_path: Path, packing: str) -> None:
        parts = [write(tmp_path / f"{name}.txt{packing}", name).read_bytes() for name in ("One", "Two")]
        (tmp_path / f"a.txt{packing}").write_bytes(b"".join(parts))
        assert read(tmp_path / f"a.txt{packing}") == ["OneTwo"]

    def test_an_archive_without_files(self, tmp_path: Path) -> None:
        zipfile.ZipFile(tmp_path / "a.zip", "w").close()
        with pytest.raises(TinyError, match="contains no files"):
            expand(tmp_path / "a.zip")

    def test_an_encrypted_member(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt.zip", "One")
        raw = bytearray(path.read_bytes())
        raw[6] |= 1
        raw[raw.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(raw)
        with pytest.raises(TinyError, match="encrypted"):
            read(path)

    @pytest.mark.parametrize("packing", PACKINGS[1:])
    def test_damage(self, tmp_path: Path, packing: str) -> None:
        whole = write(tmp_path / f"whole.txt{packing}", "".join(f"Text {n * n}. " for n in range(5000))).read_bytes()
        middle = len(whole) // 2
        for raw in (b"not packed", whole[:middle], whole[:middle] + b"\xff\xff\xff\xff" + whole[middle + 4 :]):
            path = tmp_path / f"a.txt{packing}"
            path.write_bytes(raw)
            with pytest.raises(TinyError, match=rf"{packing}.* is damaged: it cannot be decompressed"):
                read(path)

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "a.txt", "text")

        def refuse(*arguments: Any, **options: Any) -> Any:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(builtins, "open", refuse)
        with pytest.raises(TinyError, match=r"No permission to read .*a\.txt\. .*chmod"):
            read(path)

    @pytest.mark.parametrize("name", ["a.txt.zst", "a.parquet"])
    def test_a_missing_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        path = write(tmp_path / name, "text")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        # In this process, as another one would find the library.
        monkeypatch.setattr(parquet, "isolated", lambda _, name, *arguments: getattr(parquet, name)(*arguments))
        with pytest.raises(TinyError, match=r"need pyarrow.*pip install"):
            read(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match="does not exist"):
            read(tmp_path / "absent.txt")
