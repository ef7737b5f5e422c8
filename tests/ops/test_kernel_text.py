"""Kernel files are read, in a checkout and in an installed package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.ops import metal
from mlx_tiny.ops.metal import kernel_folder, kernel_names, kernel_text

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(metal, "kernel_folder", lambda: tmp_path)
    kernel_text.cache_clear()
    yield tmp_path
    kernel_text.cache_clear()


def test_the_leading_includes_become_the_header_in_their_order(folder: Path) -> None:
    (folder / "one.h").write_text("inline int one() { return 1; }\n")
    (folder / "two.h").write_text("inline int two() { return 2; }\n")
    (folder / "kernel.metal").write_text('#include "two.h"\n\n#include "one.h"\n// Body.\nout[0] = one();\n')
    text = kernel_text("kernel")
    assert text.header == "inline int two() { return 2; }\ninline int one() { return 1; }\n"
    assert text.body == "// Body.\nout[0] = one();\n"
    assert kernel_names() == ["kernel"]


def test_a_kernel_needs_no_header(folder: Path) -> None:
    (folder / "kernel.metal").write_text("out[0] = 1;\n")
    assert (kernel_text("kernel").header, kernel_text("kernel").body) == ("", "out[0] = 1;\n")


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "kernel.metal").write_text('#include "gone.h"\n')
    with pytest.raises(TinyError, match=r"no kernel file 'gone.h'.*kernel.metal.*Install mlx-tiny again"):
        kernel_text("kernel")


def test_in_a_checkout_the_kernels_lie_beside_the_package() -> None:
    assert kernel_folder() == ROOT / "kernels"
    assert len(kernel_names()) >= 7


def test_in_an_installed_package_they_lie_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "mlx_tiny"
    (package / "ops").mkdir(parents=True)
    monkeypatch.setattr(metal, "__file__", str(package / "ops" / "metal.py"))
    with pytest.raises(TinyError, match=r"missing from this installation.*Install mlx-tiny again"):
        kernel_folder()
    (tmp_path / "site" / "kernels").mkdir()
    shutil.copytree(ROOT / "kernels", package / "kernels")
    # The top-level folder of that name is another project's.
    assert kernel_folder() == package / "kernels"


@pytest.mark.parametrize("name", kernel_names())
def test_every_header_is_ascii_and_every_body_has_one(name: str) -> None:
    text = kernel_text(name)
    assert text.body.isascii() and text.header.isascii()
    assert text.body.strip()
    assert "#include" not in text.header + text.body
