"""Every implementation of every operation agrees with its formula in float64; the check finds one that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numeric import ON_GPU, able_to_run, assert_close

from mlx_tiny.linux.lanes import why_not_compiled
from mlx_tiny.ops import conformance
from mlx_tiny.ops.conformance import GRADIENT, computed, entry, failure, numbers, to_float64
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.muon.layout import make_layout
from mlx_tiny.ops.operation import Case, Device, Exact, Implementation, Operation, here
from mlx_tiny.ops.registry import everything, operation_called

ALL = {operation.name: operation for operation in everything()}
# Few positions, so that each number counts.
TINY = model_of(context=3, heads=4, key_value_heads=2, head_width=4, width=5, hidden=4, vocabulary_size=256)
OPTIONS = {"layout": make_layout([(2, 6, 3), (1, 3, 5)], [(4, 2), (3,)]), "bank": (2, 3, 5)}
# One of each operation, and what else its formula tells apart.
FORMULA_CASES = {
    **{name: (name, Case(TINY, 2, options=OPTIONS)) for name in ALL},
    "swiglu": ("activation", Case(replace(TINY, activation="swiglu"), 2)),
    "attention from a cache": ("attention", Case(TINY, 2, past=4)),
    "no addend": ("symmetric_product", Case(TINY, options={**OPTIONS, "adds": False})),
    "quintic": ("newton_schulz", Case(TINY, options={**OPTIONS, "coefficients": "quintic", "steps": 6})),
}


def table() -> Iterator[tuple[str, str, str]]:
    """Operation, implementation and type of every case; the emulator's are in `validate/test_kernels.py`."""
    for name, operation in ALL.items():
        for implementation, how in operation.implementations.items():
            if implementation == "metal" and not ON_GPU:
                continue
            device = Device(how.device) if how.device == "metal" else here()
            for dtype in dict.fromkeys(case.dtype for case in conformance.cases(operation, implementation, device)):
                yield name, implementation, dtype


@pytest.mark.parametrize(("name", "implementation", "dtype"), list(table()))
def test_every_case_is_within_its_bounds(name: str, implementation: str, dtype: str) -> None:
    if implementation in ("cpu", "native") and here().kind != "cpu":
        pytest.skip("MLX computes on a GPU here")
    with able_to_run(implementation):
        cases = [case for case in conformance.cases(ALL[name], implementation) if case.dtype == dtype]
        assert cases and not list(filter(None, (failure(ALL[name], implementation, case) for case in cases)))


@pytest.mark.skipif(why_not_compiled() is not None, reason="MLX does not compile here")
@pytest.mark.skipif(here().kind != "cpu", reason="MLX computes on a GPU here")
@pytest.mark.parametrize(
    ("name", "implementation"),
    [
        (name, implementation)
        for name, operation in ALL.items()
        for implementation, how in operation.implementations.items()
        if how.device == "cpu"
    ],
)
def test_compiled_cpu_implementations_are_the_same(name: str, implementation: str) -> None:
    operation = ALL[name]
    longest = max(conformance.cases(operation, implementation), key=lambda case: case.rows)
    # Of the activations, both.
    for model in (
        replace(longest.model, activation=kind) for kind in ("relu2", "swiglu")[: 1 + (name == "activation")]
    ):
        case = replace(longest, model=model)
        inputs, cotangents = numbers(operation, case)
        eager, compiled = (
            wrap(lambda a, b, case=case: computed(operation, operation.by(implementation), case, a, b))(
                inputs, cotangents
            )
            for wrap in (lambda function: function, mx.compile)
        )
        for result, array in eager.items():
            assert_close(compiled[result], array, entry(operation, implementation, case, result), "float32", result)


def exact_numbers(operation: Operation, case: Case) -> tuple[Exact, Exact]:
    """Inputs and cotangents of a case in float64."""
    inputs, cotangents = numbers(operation, case)
    return (
        {name: to_float64(array) for name, array in inputs.items()},
        {name: to_float64(array) for name, array in cotangents.items()},
    )


def differentiable(operation: Operation, case: Case) -> list[str]:
    return [name for name, array in operation.proof.inputs(case).items() if array.differentiable]


@pytest.mark.parametrize(
    ("name", "case"), [pair for pair in FORMULA_CASES.values() if ALL[pair[0]].proof.differentiable]
)
def test_formulas_have_the_gradients_of_their_own_outputs(name: str, case: Case) -> None:
    """Central differences along a random direction in each input."""
    operation, generator = ALL[name], np.random.default_rng(0)
    (inputs, cotangents), settings = exact_numbers(operation, case), operation.proof.settings(case)
    results = operation.proof.formula(inputs, cotangents, settings)
    for key in differentiable(operation, case):
        direction, change = generator.standard_normal(inputs[key].shape), []
        for step in (1e-6, -1e-6):
            moved = operation.proof.formula({**inputs, key: inputs[key] + step * direction}, cotangents, settings)
            change.append(sum((moved[output] * cotangent).sum() for output, cotangent in cotangents.items()))
        slope = (results[GRADIENT + key] * direction).sum()
        assert_close(slope, (change[0] - change[1]) / 2e-6, "slope", "float64", key)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "case"), FORMULA_CASES.values(), ids=FORMULA_CASES)
def test_formulas_equal_the_reference(name: str, case: Case) -> None:
    """Outputs and gradients against plain PyTorch with autograd."""
    import torch
    from formulas import FORMULAS

    operation = ALL[name]
    (inputs, cotangents), settings = exact_numbers(operation, case), operation.proof.settings(case)
    got = operation.proof.formula(inputs, cotangents, settings)
    leaves, inner = {key: torch.from_numpy(array) for key, array in inputs.items()}, differentiable(operation, case)
    for key in inner:
        leaves[key].requires_grad_()
    outputs = FORMULAS[name](leaves, case, settings)
    expected = dict(outputs)
    if cotangents:
        given = [torch.from_numpy(cotangents[key]) for key in outputs]
        slopes = torch.autograd.grad(list(outputs.values()), [leaves[key] for key in inner], given)
        expected |= {GRADIENT + key: slope for key, slope in zip(inner, slopes, strict=True)}
    assert set(got) == set(expected)
    for key, array in expected.items():
        assert_close(got[key], array, "formula", "float64", key)


def first_changed(change: Callable[[mx.array], mx.array]) -> Callable[..., object]:
    """Changes the first array of an implementation's result."""

    def changed(results: Any) -> Any:
        if isinstance(results, mx.array):
            return change(results)
        if isinstance(results, (list, tuple)):
            return type(results)([changed(results[0]), *results[1:]])
        return replace(results, momenta=changed(results.momenta))

    return changed


def with_other_slope(x: mx.array) -> mx.array:
    """The same numbers, with a gradient that is 1 % larger."""
    return mx.stop_gradient(x - 1.01 * x) + 1.01 * x


WRONG = {
    "output": lambda x: mx.where(mx.arange(x.size).reshape(x.shape) == x.size - 1, x + 0.5, x),
    "gradient": with_other_slope,
    "NaN": lambda x: mx.where(mx.arange(x.size).reshape(x.shape) == 0, mx.array(float("nan"), x.dtype), x),
    "shape": lambda x: mx.concatenate([x, x]),
    "type": lambda x: x.astype(mx.float16),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in ALL for kind in WRONG if kind != "gradient" or ALL[name].proof.differentiable],
)
def test_a_wrong_implementation_is_found(name: str, kind: str) -> None:
    genuine, wrong = ALL[name].implementations["plain"].function, first_changed(WRONG[kind])
    planted = Implementation(lambda *arrays, **settings: wrong(genuine(*arrays, **settings)))
    operation = replace(ALL[name], implementations={"plain": planted})
    case = next(conformance.cases(operation, "plain"))
    assert failure(ALL[name], "plain", case) is None
    try:
        found = failure(operation, "plain", case) or ""
    except ValueError as error:  # the shape of a cotangent
        found = str(error)
    assert {"gradient": GRADIENT, "type": "of type float16 instead of float32"}.get(kind, "") in found and found


def test_operations_are_known_by_name() -> None:
    assert operation_called("muon_pack") is ALL["muon_pack"]
    with pytest.raises(Exception, match=r"Unknown operation 'softmax'.*norm, rotary"):
        operation_called("softmax")
