"""Files are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_run import subprocess_environment

from mlx_tiny.errors import TinyError
from mlx_tiny.files import (
    MOST_JSON_BYTES,
    atomic_folder,
    atomic_write,
    cache_home,
    discard_folder,
    explained,
    hash_file,
    hash_text,
    make_folder,
    read_json,
    remove_leftovers,
    require_writable,
    write_json,
)


class Interrupted(Exception):
    pass


def python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True, timeout=60)


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old", b"new\r\n\0"):
        with atomic_write(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    with atomic_write(path, "w") as file:
        file.write("größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert os.listdir(tmp_path) == ["file"]


def test_the_old_content_stays_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write(b"new" * 100_000)
        file.flush()
        assert path.read_text() == "old"
    assert path.stat().st_size == 300_000


@pytest.mark.parametrize("kind", [Interrupted, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("old", ["old", None])
def test_an_exception_leaves_what_was_there(tmp_path: Path, kind: type[BaseException], old: str | None) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    with pytest.raises(kind), atomic_write(path) as file:
        file.write(b"half")
        raise kind
    assert os.listdir(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_text() == old


@pytest.mark.parametrize("failing", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_at_any_moment_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, number: int
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"mlx_tiny.files.os.{failing}", refuse)
    with pytest.raises(TinyError, match=r"disk is full.*Free some space"), atomic_write(path) as file:
        file.write(b"new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_write(Path(sys.argv[1])) as file:
        for _ in range(1000):
            file.write(b"x" * 100)
except TinyError as error:
    print(error)
"""


def test_a_file_larger_than_files_may_be_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    done = python(LIMITED, path)
    assert "ulimit -f" in done.stdout and "full" not in done.stdout, done.stderr
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_crash_loses_neither_old_nor_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the content reaches the disk, then the name."""
    calls = []
    for name in ("fsync", "replace"):
        sound = getattr(os, name)

        def spy(*arguments, name=name, sound=sound):
            kind = name
            if name == "fsync":
                kind = "sync folder" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else "sync file"
            calls.append(kind)
            return sound(*arguments)

        monkeypatch.setattr(f"mlx_tiny.files.os.{name}", spy)
    with atomic_write(tmp_path / "file") as file:
        file.write(b"x")
    assert calls == ["sync file", "replace", "sync folder"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "file") as file:
            file.write(b"x")
        with atomic_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_folder, atomic_write, explained, make_folder
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
folder = Path(sys.argv[1])

def write():
    with atomic_write(folder / "file") as file:
        file.write(b"new")

def fill():
    with atomic_folder(folder / "other") as aside:
        (aside / "file").write_bytes(b"new")

def read():
    with explained(folder / "secret"):
        (folder / "secret").read_bytes()

for action in (write, fill, lambda: make_folder(folder / "deep" / "deeper"), read):
    try:
        action()
    except TinyError as error:
        assert "No permission" in str(error) and "may write" in str(error), error
        print("refused")
"""


def test_without_permission_nothing_is_lost(open_folder: Path) -> None:
    for name, mode in (("file", 0o644), ("secret", 0o000)):
        (open_folder / name).write_text("old")
        (open_folder / name).chmod(mode)
    open_folder.chmod(0o555)
    try:
        done = python(UNPRIVILEGED, open_folder)
    finally:
        open_folder.chmod(0o755)
    assert done.stdout.split() == ["refused"] * 4, done.stderr
    assert (open_folder / "file").read_text() == "old"
    assert sorted(os.listdir(open_folder)) == ["file", "secret"]


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(TinyError, match="does not exist"), atomic_write(tmp_path / "no" / "file"):
        pass


def test_a_folder_comes_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with atomic_folder(path) as aside:
        (aside / "a").write_text("1")
        (aside / "b").write_text("2")
        assert not path.exists()
    assert sorted(os.listdir(path)) == ["a", "b"]
    assert os.listdir(path.parent) == ["folder"]


@pytest.mark.parametrize("kind", [Interrupted, KeyboardInterrupt])
def test_a_folder_that_failed_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    with pytest.raises(kind), atomic_folder(tmp_path / "folder") as aside:
        (aside / "a").write_text("1")
        raise kind
    assert os.listdir(tmp_path) == []


def test_the_first_of_two_equal_folders_wins(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as aside:
        (aside / "mine").touch()
        with atomic_folder(path) as other:
            (other / "theirs").touch()
    assert os.listdir(path) == ["theirs"]
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_in_the_place_of_a_folder_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.write_text("a file")
    with pytest.raises(TinyError, match="a file of that name exists"), atomic_folder(path):
        pass
    assert path.read_text() == "a file"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    discard_folder(path)
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").touch()
    discard_folder(path)
    assert os.listdir(tmp_path) == []


KILLED = """
import os, sys
from pathlib import Path
from mlx_tiny.files import atomic_folder, atomic_write
parent = Path(sys.argv[1])
with atomic_write(parent / "file") as file, atomic_folder(parent / "folder") as aside:
    file.write(b"half")
    file.flush()
    (aside / "half").touch()
    os.kill(os.getpid(), 9)
"""


def test_leftovers_of_the_killed_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    assert python(KILLED, tmp_path).returncode == -9
    left = set(os.listdir(tmp_path))
    assert len(left) == 2 and all(name.startswith(".") for name in left)
    (tmp_path / ".hidden").touch()
    (tmp_path / "visible").touch()
    with atomic_write(tmp_path / "file") as file, atomic_folder(tmp_path / "folder") as aside:
        file.write(b"mine")
        (aside / "mine").touch()
        remove_leftovers(tmp_path)
        assert not left & set(os.listdir(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [".hidden", "file", "folder", "visible"]
    assert (tmp_path / "file").read_bytes() == b"mine"
    remove_leftovers(tmp_path / "nowhere")


def test_who_writes_a_file_again_removes_what_a_killed_one_left_of_it(tmp_path: Path) -> None:
    assert python(KILLED, tmp_path).returncode == -9
    with atomic_write(tmp_path / "other"):
        pass
    assert len(os.listdir(tmp_path)) == 3
    with atomic_write(tmp_path / "file"):
        pass
    assert [name for name in os.listdir(tmp_path) if name.startswith(".file")] == []


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "ü": "é\n"}
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json", "thing") == value
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No thing at"),
        (b"", "cannot be read"),
        (b'{"a": ', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1, 2]", "malformed. Expected a JSON object, got list"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": 1e999}', "1e999 is not a finite number"),
        (b'{"a": %s}' % (b"9" * 5000), "cannot be read"),
        (b'{"a": 1, "a": 2}', "the key 'a' twice"),
        (b'{%s"z": 0, "z": 1}' % b"".join(b'"%d":0,' % n for n in range(300_000)), "the key 'z' twice"),
        (b'{"a": %s}' % (b"[" * 40 + b"]" * 40), "more than 32 levels"),
        (b'{"a":' * 200_000, "more than 32 levels"),
        (b'{"a": "%s"}' % (b"x" * MOST_JSON_BYTES), "too large"),
    ],
)
def test_invalid_json_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TinyError, match=message):
        read_json(path, "thing")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "file")
    with pytest.raises(TinyError, match="not an ordinary file"):
        read_json(tmp_path / "file", "thing")


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", {"a": object()})
    assert read_json(tmp_path / "file.json", "thing") == {"a": 1}


def test_hashes_of_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert hash_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    path.write_bytes(b"a" * 1_000_000 + b"b" * 500_000)
    whole = hash_file(path)
    path.write_bytes(b"a" * 1_000_000 + b"b" * 499_999 + b"c")
    assert hash_file(path) != whole
    with pytest.raises(FileNotFoundError):
        hash_file(tmp_path / "no")


def test_hashes_of_texts_depend_on_where_parts_end() -> None:
    variants = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ("a", "b", "c"), ("ab", "C")]
    assert len({hash_text(*parts) for parts in variants}) == len(variants)
    assert hash_text("a", 1, None) == hash_text("a", 1, None)


def test_the_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_TINY_HOME", "/somewhere")
    assert cache_home() == Path("/somewhere")
    monkeypatch.setenv("MLX_TINY_HOME", "~/x")
    assert cache_home() == Path.home() / "x"
    for unset in (lambda: monkeypatch.setenv("MLX_TINY_HOME", ""), lambda: monkeypatch.delenv("MLX_TINY_HOME")):
        unset()
        assert cache_home() == Path.home() / ".cache" / "mlx_tiny"


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert make_folder(path) == path and make_folder(path).is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(TinyError):
        make_folder(tmp_path / "file" / "b")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "No permission"),
        (errno.EPERM, "No permission"),
        (errno.ENOENT, "does not exist"),
        (errno.EIO, "/some/path failed: Input/output error"),
        (None, "/some/path failed: out of luck"),
    ],
)
def test_refusals_are_explained(number: int | None, message: str) -> None:
    error = OSError("out of luck") if number is None else OSError(number, os.strerror(number))
    with pytest.raises(TinyError, match=message) as raised, explained(Path("/some/path")):
        raise error
    assert raised.value.__cause__ is error


def test_other_exceptions_pass_unchanged() -> None:
    with pytest.raises(Interrupted), explained(Path("/some/path")):
        raise Interrupted


def test_a_file_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    require_writable(None, tmp_path / "new.json", tmp_path / "old.json")
    assert os.listdir(tmp_path) == ["old.json"] and (tmp_path / "old.json").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".", r"is a folder\. Expected the name of a file\. Name a file in it"),
        ("pipe", "is not an ordinary file"),
        ("where/a.json", "where does not exist"),
        ("refused/a.json", r"cannot be written\. Got Read-only file system\. Name a file in another folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    def refuse(dir: Path) -> object:  # permissions do not hold for root
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "refused").mkdir()
    with pytest.raises(TinyError, match=words):
        require_writable(tmp_path / name)
