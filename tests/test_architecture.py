"""A module imports only from its own floor or a lower one; CONTRIBUTING.md has the map."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from mlx_tiny.config import RunConfig
from mlx_tiny.export.custom import CODE
from mlx_tiny.training.step import TrainingStep

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mlx_tiny"
LARGEST_LINES = 400
MOST_FILES_OF_A_STEP = 12
MOST_FOLDERS, MOST_MODULES = 17, 7
"""On the package's top level."""

FLOORS = (
    {"", "config", "errors", "files", "records", "tolerances", "tools", "units"},
    {"data", "linux", "machine"},
    {"ops"},
    {"model", "optim"},
    {"training"},
    {"bench", "export", "reference", "report", "study", "validate"},
    {"__main__", "api", "cli"},
)
"""Rooms by floor, the lowest first; a room is a module or a folder, "" is mlx_tiny itself."""

LAZY = {
    "datasets",
    "gguf",
    "huggingface_hub",
    "llama_cpp",
    "matplotlib",
    "mlx_lm",
    "pandas",
    "pyarrow",
    "sentencepiece",
    "tokenizers",
    "tensorboard",
    "torch",
    "trackio",
    "transformers",
    "wandb",
    "xllamacpp",
    "yaml",
}
"""Heavy or optional packages: imported inside functions, so that a command pays for what it uses."""
LAZY_EXCEPTIONS = {"reference": {"torch"}, "validate": {"torch"}}
COPIED = tuple(f"export/custom/{name}" for name in CODE)
"""Written beside exported models; other programs import them."""
WITHOUT_TORCH = ("validate/__init__.py", "validate/kernels.py", "validate/table.py")
"""What `mlx-tiny validate --kernels` loads, which needs no PyTorch."""

OWNERS = {
    "sentencepiece": ("data/tokenizers/byte_pair.py",),
    "click": ("cli/", "__main__.py"),
    "tqdm": ("cli/",),
    "torch": ("reference/", "validate/", "bench/", "ops/", "export/"),
    "datasets": ("data/",),
    "pyarrow": ("data/",),
    "yaml": ("data/events/schema.py", "tools/yaml.py"),
    "matplotlib": ("tools/plots.py",),
    **dict.fromkeys(("tensorboard", "trackio", "wandb"), ("training/tracking.py",)),
}
"""The only files that may import a package; a name that ends in a slash is a folder."""

OLDEST_EXPLAINING_PYTHON = (3, 8)
OLD_PYTHON = (
    "mlx_tiny/__init__.py",
    "mlx_tiny/errors.py",
    "mlx_tiny/machine/__init__.py",
    "mlx_tiny/machine/support.py",
    "mlx_tiny/tools/__init__.py",
    "mlx_tiny/tools/processes.py",
    "mlx_tiny/tools/waiting.py",
    "scripts/setup.py",
)
"""What explains that a Python is too old."""


class Import:
    """An import: the importing file, the imported module, the line, and whether it happens when the file is loaded."""

    def __init__(self, importer: Path, target: str, line: int, at_load: bool) -> None:
        self.importer, self.target, self.line, self.at_load = importer, target, line, at_load

    @property
    def room(self) -> str:
        return room_of(self.importer)

    @property
    def package(self) -> str:
        return self.target.split(".")[0]

    @property
    def imported_room(self) -> str | None:
        """Folder or module of mlx_tiny that is imported; None for another package."""
        parts = self.target.split(".")
        return None if parts[0] != "mlx_tiny" else (parts[1] if len(parts) > 1 else "")

    def __repr__(self) -> str:
        return f"{self.importer.relative_to(ROOT)}:{self.line} imports {self.target}"


@functools.cache
def modules() -> tuple[Path, ...]:
    return tuple(sorted(PACKAGE.rglob("*.py")))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def floor_of(room: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert len(found) == 1, f"mlx_tiny/{room} has no floor: give it one in FLOORS"
    return found[0]


def imports_of(path: Path) -> Iterator[Import]:
    yield from find_imports(path, ast.parse(path.read_text(encoding="utf-8")), at_load=True)


def find_imports(path: Path, node: ast.AST, at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(path, name.name, child.lineno, at_load)
        elif isinstance(child, ast.ImportFrom):
            for target in from_targets(path, child):
                yield Import(path, target, child.lineno, at_load)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or is_type_checking(child):
            yield from find_imports(path, child, at_load=False)
        else:
            yield from find_imports(path, child, at_load)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def from_targets(path: Path, node: ast.ImportFrom) -> list[str]:
    """Full names; `from mlx_tiny import x` may name a module or a value of the package."""
    module = node.module or ""
    if node.level:
        folder = path.parent.relative_to(ROOT).parts
        base = ".".join(folder[: len(folder) - node.level + 1])
        module = f"{base}.{module}" if module else base
    if module == "mlx_tiny":
        rooms = {room_of(other) for other in modules()}
        return [f"mlx_tiny.{name.name}" if name.name in rooms else "mlx_tiny" for name in node.names]
    return [module]


@functools.cache
def all_imports() -> tuple[Import, ...]:
    copied = {PACKAGE / name for name in COPIED}
    return tuple(found for path in modules() if path not in copied for found in imports_of(path))


def test_every_module_has_a_floor() -> None:
    for path in modules():
        floor_of(room_of(path))


def test_no_module_imports_from_a_higher_floor() -> None:
    climbing = [
        f"{found} (floor {floor_of(found.room)} to {floor_of(found.imported_room)})"
        for found in all_imports()
        if found.imported_room is not None
        and floor_of(found.imported_room) > floor_of(found.room)
        and (found.room or found.at_load)  # the package offers the names of `api`, which it loads at their first use
    ]
    assert not climbing, "\n".join(climbing)


def test_rooms_of_a_floor_do_not_import_in_circles() -> None:
    below: dict[str, set[str]] = {}
    for found in all_imports():
        if found.at_load and found.imported_room not in (None, found.room):
            below.setdefault(found.room, set()).add(str(found.imported_room))
    while below:
        free = [room for room, needed in below.items() if not needed & below.keys()]
        assert free, f"these import each other in a circle: {sorted(below)}"
        for room in free:
            del below[room]


def test_the_lowest_floor_loads_with_the_standard_library_and_numpy() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "mlx_tiny"}
    heavy = [f for f in all_imports() if f.at_load and floor_of(f.room) == 0 and f.package not in allowed]
    assert not heavy


def test_the_reference_shares_no_code_with_what_it_checks() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "torch"}
    for found in all_imports():
        if found.room != "reference":
            continue
        if found.imported_room is None:
            assert found.package in allowed, found
        else:
            assert found.imported_room in ("reference", "machine") or floor_of(found.imported_room) == 0, found


def test_heavy_packages_are_imported_inside_functions() -> None:
    early = [
        found
        for found in all_imports()
        if found.at_load and found.package in LAZY - LAZY_EXCEPTIONS.get(found.room, set())
    ]
    assert not early


def test_the_kernels_are_validated_without_torch() -> None:
    for name in WITHOUT_TORCH:
        found = [f for f in imports_of(PACKAGE / name) if f.at_load]
        assert not [f for f in found if f.target.startswith(("torch", "mlx_tiny.reference"))], name
        for f in found:
            module = f.target.removeprefix("mlx_tiny.validate.")
            assert module == f.target or f"validate/{module}.py" in WITHOUT_TORCH, f


def test_a_package_has_one_owner() -> None:
    owned = [(found.importer.relative_to(PACKAGE).as_posix(), found) for found in all_imports()]
    assert not [found for path, found in owned if not path.startswith(OWNERS.get(found.package, ("",)))]


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert not {str(path): count for path, count in lengths.items() if count > LARGEST_LINES}


def test_the_top_level_is_small_enough_to_be_read() -> None:
    names = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    folders = {path.name for path in names if path.is_dir()}
    files = {path.name for path in names} - folders
    assert len(folders) <= MOST_FOLDERS and len(files - {"py.typed"}) <= MOST_MODULES


def test_a_training_step_crosses_few_files() -> None:
    """What a reader must open to follow one step of the default model, from the batch to the new weights."""
    config = RunConfig()
    step = TrainingStep(config, compiled=False)
    state, crossed = step.initial_state(), set[str]()
    batch = np.zeros((config.train.batch_size, config.model.context + 1), dtype=np.int32)
    step(state, batch, 1.0, 0.9)  # what happens once in a process is no part of a step

    def trace(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            crossed.add(Path(frame.f_code.co_filename).relative_to(PACKAGE).with_suffix("").as_posix())

    sys.setprofile(trace)
    try:
        step(state, batch, 1.0, 0.9)
    finally:
        sys.setprofile(None)
    assert "training/step" in crossed and len(crossed) <= MOST_FILES_OF_A_STEP, sorted(crossed)


def test_nothing_is_imported_from_the_checkout_alone() -> None:
    """The tests, scripts and benchmarks are not installed, so the package must not need them."""
    assert not [found for found in all_imports() if found.package in ("tests", "scripts", "benchmarks", "kernels")]


@pytest.mark.parametrize("name", OLD_PYTHON)
def test_an_old_python_can_read_what_explains_that_it_is_too_old(name: str) -> None:
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=OLDEST_EXPLAINING_PYTHON)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import mlx_tiny.cli.train_command", [("cli", True)]),
        ("from mlx_tiny import __version__, errors", [("", True), ("errors", True)]),
        ("from ..train import Trainer", [("train", True)]),
        ("from . import x", [("data", True)]),
        ("def f():\n    from mlx_tiny.study.plan import choose", [("study", False)]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mlx_tiny.sweep", [("sweep", False)]),
        ("try:\n    import mlx_tiny.bench\nexcept ImportError:\n    pass", [("bench", True)]),
        ("class C:\n    import mlx_tiny.export", [("export", True)]),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, expected: list[tuple[str, bool]]) -> None:
    found = find_imports(PACKAGE / "data" / "made_up.py", ast.parse(source), at_load=True)
    assert [(f.imported_room, f.at_load) for f in found if f.imported_room is not None] == expected
