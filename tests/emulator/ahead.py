"""Kernels of a test module, compiled together before its first test: several to a translation unit, on all cores."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import Any

import pytest

from . import cache
from .executor import compile_ahead


@pytest.fixture(autouse=True, scope="module")
def compiled_ahead(request: pytest.FixtureRequest) -> None:
    """For modules marked `compile_ahead`: call the tests once, with every launch put down instead of run.

    Tests that ask for fixtures are left out; their kernels are compiled as they come, like those behind the first
    failure of a test that got no numbers. The mark of a test that waits for faults is `compile_ahead(faults=True)`.
    """
    module = request.node
    if not module.get_closest_marker("compile_ahead"):
        return
    functions = (item for item in request.session.items if isinstance(item, pytest.Function))
    items = [item for item in functions if item.getparent(pytest.Module) is module]
    done = cache.digest("ahead", *(item.nodeid for item in items), cache.sources()) + ".txt"
    if not cache.find(done):
        for faults in (False, True):
            runs = [item for item in items if _needs_no_fixture(item) and _expects_faults(item) == faults]
            compile_ahead((functools.partial(_call, item) for item in runs), expecting_faults=faults)
        cache.keep(done, b"")


def _call(item: pytest.Function) -> None:
    with contextlib.suppress(pytest.fail.Exception, pytest.skip.Exception):
        item.obj(**_parameters(item))


def _parameters(item: pytest.Function) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _expects_faults(item: pytest.Function) -> bool:
    mark = item.get_closest_marker("compile_ahead")
    return bool(mark and mark.kwargs.get("faults"))


def _needs_no_fixture(item: pytest.Function) -> bool:
    return set(inspect.signature(item.obj).parameters) <= set(_parameters(item))
