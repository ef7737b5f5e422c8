"""Which files a name means."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import threading
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from tiny_run import subprocess_environment

from mlx_tiny.data.find import Found, find
from mlx_tiny.data.names import absolute, keep_stream, kept
from mlx_tiny.errors import TinyError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes small files below a folder; returns the folder."""

    def write_files(*names: str, below: str = "data") -> Path:
        for name in names:
            path = tmp_path / below / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {".jsonl": json.dumps({"text": f"In {name}"}), ".csv": f"text\nIn {name}\n"}
            raw = content.get(Path(name.removesuffix(".gz")).suffix, f"In {name}").encode()
            path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else b"\x89PNG\0" if ".png" in name else raw)
        return tmp_path / below

    return write_files


def names(files: list) -> list[str]:
    return [file.member or file.path.name for file in files]


def found(*named: object, **options: tuple[str, ...]) -> Found:
    return find(tuple(map(str, named)), **options)


class TestFolder:
    def test_data_is_read_and_the_rest_is_listed(self, write: Write) -> None:
        folder = write(
            *("b.txt", "a.jsonl", "deep/er/c.csv.gz", ".hidden/d.txt", "deep/.e.txt"),
            *("notes.md", "more.md", "x.png", "LICENSE", "README.md", "readme_en.txt", "LICENSE-MIT.txt", "Makefile"),
        )
        files = found(folder)
        assert [str(file.path.relative_to(folder)) for file in files.train] == ["a.jsonl", "b.txt", "deep/er/c.csv.gz"]
        assert files.valid == files.test == []
        assert files.left_out == [
            "LICENSE, LICENSE-MIT.txt, README.md, readme_en.txt (--include NAME takes it)",
            "2 .md, 1 without a suffix (--suffix takes them)",
            "1 .png (no text in UTF-8)",
            ".hidden, .e.txt (hidden)",
        ]

    def test_names_of_ordinary_documents_are_no_notices(self, write: Write) -> None:
        ordinary = ["license_0001.txt", "readmes.txt", "notice-7.txt", "changes-in-life.txt", "authors_a.txt"]
        assert names(found(write(*ordinary)).train) == sorted(ordinary)

    def test_what_is_asked_for_is_taken_too(self, write: Write) -> None:
        folder = write("a.txt", "b.md", "c.py", "README.md", "LICENSE", "x/LICENSE")
        for suffix in (".md", "md", ".MD", "*.md", ".md.gz"):
            assert names(found(folder, suffixes=(suffix,)).train) == ["a.txt", "b.md"]
        assert names(found(folder, include=("LICENSE",)).train) == ["LICENSE", "a.txt", "LICENSE"]
        assert names(found(folder, suffixes=("md", "py"), include=("README.md",)).train) == [
            *("README.md", "a.txt", "b.md", "c.py")
        ]

    @pytest.mark.parametrize("option", ["--suffix .nosuch", "--include nosuch", "--include x"])
    def test_a_setting_that_takes_nothing_is_known(self, write: Write, option: str) -> None:
        kind, name = option.split()
        folder = write("a.txt", "b.md", "x/c.txt")
        asked = {"--suffix": (name, ".md"), "--include": (name, "b.md")}
        files = found(folder, **{"suffixes" if kind == "--suffix" else "include": asked[kind]})
        assert files.unused == {option} and "b.md" in names(files.train)

    def test_a_folder_of_code_needs_no_option(self, write: Write) -> None:
        files = found(write("a.py", "x/b.py", "c.sh", "README.md", "1.png", "2.png", "3.png", "x/__init__.py"))
        assert names(files.train) == ["a.py", "__init__.py", "b.py"]
        assert files.left_out == [
            "README.md (--include NAME takes it)",
            "1 .sh (--suffix .sh takes them)",
            "3 .png (no text in UTF-8)",
        ]

    def test_a_folder_of_code_may_contain_some_data(self, write: Write) -> None:
        code = [f"{number}.py" for number in range(10)]
        folder = write(*code, "grammar.txt", *(f"{number}.png" for number in range(30)))
        (folder / "grammar.txt").write_text("Longer than a tenth of the code.")
        assert names(found(folder).train) == ["grammar.txt"]
        (folder / "0.py").write_text("x = 1\n" * 100)
        files = found(folder)
        assert names(files.train) == code
        assert files.left_out == ["1 .txt (--suffix .txt takes them)", "30 .png (no text in UTF-8)"]
        for option in ({"suffixes": (".py",)}, {"include": ("0.py",)}):
            assert "grammar.txt" in names(found(folder, **option).train)  # type: ignore[arg-type]
        (folder / "9.py").unlink()
        assert names(found(folder).train) == ["grammar.txt"]

    def test_code_in_another_encoding_is_listed(self, write: Write) -> None:
        folder = write("a.py", "b.py", "x/c.py", "y/c.py", "d.txt")
        for name in ("x/c.py", "y/c.py"):
            (folder / name).write_bytes(b"# " + b"long " * 2000 + b"\xe9\n")
        assert found(folder, suffixes=("py",)).left_out == ["2 c.py (no text in UTF-8)"]

    def test_empty_files_beside_others_are_listed(self, write: Write) -> None:
        folder = write("a.py", "b.py")
        (folder / "__init__.py").touch()
        files = found(folder)
        assert (names(files.train), files.left_out) == (["a.py", "b.py"], ["__init__.py (empty)"])

    def test_links_are_followed_once_and_what_is_no_file_is_not_opened(self, write: Write, tmp_path: Path) -> None:
        folder = write("a.txt", "b.txt")
        elsewhere = write("c.txt", "sub/d.txt", below="elsewhere")
        for name, target in {
            "up": "..",
            "out": str(elsewhere),
            "again": str(elsewhere),
            "e.txt": "a.txt",
            "gone.txt": "x",
        }.items():
            (folder / name).symlink_to(target)
        os.mkfifo(folder / "pipe.txt")
        files = found(folder)
        assert names(files.train) == ["a.txt", "b.txt", "c.txt", "d.txt"]
        assert files.left_out == ["gone.txt, pipe.txt (no file, or a broken link)"]

    def test_a_folder_without_text(self, write: Write) -> None:
        with pytest.raises(TinyError, match=r"data contains no text.*--suffix.*left out: LICENSE .*; 1 \.png"):
            found(write("x.png", "LICENSE"))

    def test_a_folder_that_cannot_be_read(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        folder = write("a.txt")
        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(TinyError, match="No permission to read"):
            found(folder)


class TestLayout:
    @pytest.mark.parametrize("valid", ["valid", "validation", "val", "dev", "Valid"])
    @pytest.mark.parametrize("suffix", [".jsonl", ".txt.gz", ".csv"])
    def test_names_of_files(self, write: Write, valid: str, suffix: str) -> None:
        files = found(write(*(f"{name}{suffix}" for name in ("train", valid, "test"))))
        assert names(files.train) == [f"train{suffix}"]
        assert names(files.valid) == [f"{valid}{suffix}"]
        assert names(files.test) == [f"test{suffix}"]

    def test_other_files_beside_a_layout_are_listed(self, write: Write) -> None:
        folder = write("train.txt", "valid.txt", "extra.txt", "notes.txt")
        files = found(folder)
        assert names(files.train) == ["train.txt"]
        assert files.left_out == ["extra.txt, notes.txt (beside files called train; --include NAME takes it)"]
        assert names(found(folder, include=("notes.txt",)).train) == ["notes.txt", "train.txt"]
        assert names(found(folder, include=("valid.txt",)).train) == ["train.txt", "valid.txt"]

    def test_a_glob_never_trains_on_test(self, write: Write) -> None:
        files = found(write("train.jsonl", "valid.jsonl", "test.jsonl") / "*.jsonl")
        assert [names(part) for part in (files.train, files.valid, files.test)] == [
            [f"{name}.jsonl"] for name in ("train", "valid", "test")
        ]


class TestPattern:
    def test_a_glob_takes_what_it_names(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write("a.jsonl", "b.txt", "deep/c.csv.gz", "notes.md", "README.md")
        monkeypatch.setenv("HOME", str(folder))
        assert names(found(folder / "*").train) == ["a.jsonl", "b.txt", "c.csv.gz"]
        assert names(found("~/**/*.gz").train) == ["c.csv.gz"]
        assert names(found("~/b.txt").train) == ["b.txt"]
        assert names(found(folder / "*.md").train) == ["notes.md"]
        assert names(found(folder / "**/README.md").train) == ["README.md"]
        assert found(folder / "*.md").left_out == ["README.md (--include NAME takes it)"]

    @pytest.mark.parametrize("folder", ["notes [1]", "[ab]", "what?", "a*"])
    def test_only_what_does_not_exist_is_a_pattern(
        self, write: Write, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("one.txt", "two.txt", "x[1].txt", below=folder)
        write("no.txt", "one.txt", below="a")
        write("no.txt", "one.txt", below="notes 1")
        for pattern in (f"{folder}/*.txt", f"{folder}/[ot]*.txt"):
            monkeypatch.chdir(tmp_path)
            found_here = [file.path.resolve() for file in found(pattern).train]
            assert {path.parent.name for path in found_here} == {folder}
            monkeypatch.chdir(tmp_path / folder)
            later = absolute(pattern.partition("/")[2])
            monkeypatch.chdir("/")
            assert [file.path for file in found(later).train] == found_here
        assert names(found(tmp_path / folder).train) == ["one.txt", "two.txt", "x[1].txt"]
        assert names(found(tmp_path / folder / "x[1].txt").train) == ["x[1].txt"]

    def test_refusals(self, write: Write) -> None:
        folder = write("x.png")
        for named, message in (
            (folder / "absent", "absent does not exist. Expected a file, a folder or a glob"),
            (folder / "*.pdf", r"No file matches .*\*\.pdf"),
            (folder / "*", "contains no text"),
        ):
            with pytest.raises(TinyError, match=message):
                found(named)


class TestOthers:
    def test_a_file_that_is_named_may_have_any_suffix(self, write: Write) -> None:
        folder = write("a.md", "README.md", "b.tex", "Makefile")
        for name in ("a.md", "README.md", "b.tex", "Makefile"):
            assert names(found(folder / name).train) == [name]

    def test_several_names_give_each_file_once(self, write: Write) -> None:
        folder = write("a.jsonl", "b.txt", "c.txt")
        assert names(found(folder / "b.txt", folder / "a.jsonl", folder / "*.txt").train) == [
            *("b.txt", "a.jsonl", "c.txt")
        ]

    def test_an_archive_is_like_a_folder(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in ("x/train.txt", "x/valid.txt", "x/LICENSE", "x\\test.txt", "../evil.txt", ".e/f.txt"):
                archive.writestr(name, "Some text")
        files = found(tmp_path / "a.zip")
        assert [names(part) for part in (files.train, files.valid, files.test)] == [
            ["x/train.txt"],
            ["x/valid.txt"],
            ["x\\test.txt"],
        ]
        assert files.left_out == ["LICENSE (--include NAME takes it)", "../evil.txt, .e/f.txt (hidden)"]

    def test_archives_may_be_a_layout(self, tmp_path: Path) -> None:
        for name in ("train", "test"):
            with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
                archive.writestr("x/part.txt", f"Some text of {name}")
        files = found(tmp_path)
        assert [file.path.name for file in files.train] == ["train.zip"]
        assert [file.path.name for file in files.test] == ["test.zip"]

    @pytest.mark.parametrize(
        ("content", "suffix"),
        [
            (b"Once.\n", ".txt"),
            (b'\n {"text": "Once."}\n', ".jsonl"),
            (b'[\n {"text": "Once."}]', ".json"),
            (b"{not JSON}\n", ".txt"),
            (b"[Verse]\n", ".txt"),
            (b"[[Link]]\n", ".txt"),
            (b'{"text":"One day."}\r{"text":"Two days."}\r', ".jsonl"),
            (b'\xef\xbb\xbf\n{"text": "Once."}', ".jsonl"),
            (b'\xef\xbb\xbf[{"text": "Once."}]', ".json"),
            (b'[null, {"text": "Once."}]', ".json"),
            (b'{\n  "text": "Once."\n}\n', ".json"),
            (b'null\nnull\r\n{"text":"One day"}\n', ".jsonl"),
            (b'{"text":"One day"\n{"text":"Two"}\n', ".json"),
            (b'{"text":"' + b"a" * 2_000_000 + b'"}', ".json"),
        ],
    )
    def test_standard_input_is_kept_by_its_content(self, home: Path, content: bytes, suffix: str) -> None:
        path = keep_stream(io.BytesIO(content))
        assert path.suffix == suffix and path.read_bytes() == content and home in path.parents
        assert keep_stream(io.BytesIO(content)) == path and len(list(path.parent.iterdir())) == 1
        assert keep_stream(io.BytesIO(content + b"!")) != path

    @pytest.mark.parametrize(
        ("name", "suffixes", "kept_as"),
        [
            ("pipe", (), ".txt"),
            ("pipe", ("*.csv",), ".csv"),
            ("pipe", (".csv", ".md"), ".txt"),
            ("pipe.csv", (".md",), ".csv"),
            ("pipe.fifo", (), ".txt"),
        ],
    )
    def test_a_pipe_is_kept_like_standard_input(
        self, tmp_path: Path, name: str, suffixes: tuple[str, ...], kept_as: str
    ) -> None:
        path = tmp_path / name
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_text, args=("Once.\n",))
        writer.start()
        kept_file = Path(kept(str(path), suffixes))
        writer.join()
        assert kept_file.suffix == kept_as
        assert kept_file.is_file() and kept_file.read_text() == "Once.\n" and kept(str(kept_file)) == str(kept_file)

    def test_what_a_killed_process_has_left_is_removed(self) -> None:
        stream = "type('Stream', (), {'read': lambda *_: os.kill(os.getpid(), 9)})()"
        code = f"import os; from mlx_tiny.data.names import keep_stream; keep_stream({stream})"
        assert subprocess.run([sys.executable, "-c", code], env=subprocess_environment()).returncode == -9
        kept_file = keep_stream(io.BytesIO(b"Once.\n"))
        assert [path.name for path in kept_file.parent.iterdir() if path.name.startswith(".")] == []

    def test_a_stream_without_an_end_does_not_fill_the_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mlx_tiny.data.names._MOST_BYTES", 3 << 20)
        endless = types.SimpleNamespace(read=lambda size: b"a b\n" * (size // 4))
        with pytest.raises(TinyError, match=r"at most 3.15 MB.*Save it to a file"):
            keep_stream(cast(BinaryIO, endless))
        folder = keep_stream(io.BytesIO(b"Once.\n")).parent
        assert [path.stat().st_size for path in folder.iterdir()] == [6]

    def test_empty_standard_input(self) -> None:
        with pytest.raises(TinyError, match="Standard input is empty"):
            keep_stream(io.BytesIO(b"\n "))
