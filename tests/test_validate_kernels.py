"""`scripts/validate_kernels`: the table of `mlx-tiny validate --kernels`, through the emulator."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from emulator import emulated_metal
from tiny_run import subprocess_environment

from mlx_tiny.ops.kernel_text import KernelText, kernel_names, kernel_text
from mlx_tiny.validate.kernels import cases

ROOT = Path(__file__).parents[1]
DTYPES = {"float32", "float16", "bfloat16"}


def test_every_kernel_is_within_its_bounds() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "validate_kernels.py"), "--json"],
        env=subprocess_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["failed"] == 0
    checks = result["checks"]
    assert {check["kernel"] for check in checks} == set(kernel_names())
    assert all(check["passed"] and check["error"] <= check["allowed"] for check in checks)
    attention = Counter(
        (check["shape"].split()[-1], check["dtype"])
        for check in checks
        if check["kernel"] == "attention_backward_query" and "near" not in check["shape"]
    )
    assert {width for width, _ in attention} == {"K32", "K48", "K64", "K80", "K96", "K128"}
    assert len(attention) == 6 * len(DTYPES)


@pytest.mark.parametrize(
    ("kernel", "right", "wrong"),
    [
        ("attention_forward", "1.0f / sum", "1.001f / sum"),
        ("attention_backward_query", "- row_delta", "+ row_delta"),
        ("heads_forward", "* inverse", "* -inverse"),
        ("muon_pack", "kept * momentum[place]", "momentum[place]"),
        ("symmetric_product", "factors[0] * tiles", "factors[1] * tiles"),
    ],
)
def test_a_wrong_kernel_is_found_and_named(
    kernel: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(name: str) -> KernelText:
        text = kernel_text(name)
        if name != kernel:
            return text
        assert right in text.body
        return KernelText(name, text.header, text.body.replace(right, wrong))

    case = next(
        case for case in cases() if kernel in case.kernels and case.dtype == "float32" and "T1 " not in case.shape
    )
    monkeypatch.setattr("mlx_tiny.ops.metal.kernel_text", planted)
    with emulated_metal():
        checks = {check.kernel: check for check in case.checks()}
    assert not checks[kernel].passed
    others = {name for name, check in checks.items() if not check.passed} - {kernel}
    # The backward pass of a wrong forward pass is wrong too; nothing else is.
    assert not others or kernel.endswith("_forward") or kernel == "attention_backward_query"


def test_a_device_that_fails_fails_every_kernel_of_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> KernelText:
        raise RuntimeError("[metal::Device] Unable to build metal library\nprogram_source:1:1: error")

    monkeypatch.setattr("mlx_tiny.ops.metal.kernel_text", refused)
    with emulated_metal():
        checks = next(cases()).checks()
    assert len(checks) == 3
    for check in checks:
        assert not check.passed and math.isinf(check.error)
        assert check.note == "[metal::Device] Unable to build metal library"
