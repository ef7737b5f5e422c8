"""How Muon's packing, its orthogonalisation and its whole update are checked and timed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.ops.inputs import SPECIALS, equal
from mlx_tiny.ops.muon.gram import is_used
from mlx_tiny.ops.muon.layout import Layout, Run, make_layout, run_view
from mlx_tiny.ops.muon.product_case import DTYPES, MODEL, bank_case
from mlx_tiny.ops.operation import ArraySpec, Case, Exact, Function, Named, Proof, Rival, Settings, Special

Array = NDArray[np.float64]

_MU = 0.9

# A model with everything that packing must distinguish: grouped queries, SwiGLU, tall and wide matrices.
_PACKED = make_layout([(2, 144, 72), (2, 72, 72), (2, 200, 72), (2, 72, 100)], [(72, 36, 36), (72,), (100, 100), (72,)])
# The first one to four of these parameters: the kernel is compiled for each number.
_RAGGED = [(2, 77, 40), (2, 40, 45), (1, 9, 33), (3, 5, 2)], [(45, 16, 16), (40,), (9,), (5,)]

# Amsel et al. 2025 (arXiv 2505.16932), for singular values in [1e-3, 1] after division by 1.01 times the norm, and
# Jordan et al. 2024. A copy, so that the code is not checked against itself.
_POLAR_EXPRESS = (
    (8.15655, -22.48329, 15.87877),
    (4.04293, -2.80892, 0.50002),
    (3.89167, -2.77248, 0.50606),
    (3.28575, -2.36813, 0.46449),
    (2.34654, -1.70978, 0.42324),
)
_QUINTIC = (3.4445, -4.7750, 2.0315)


def _layout(case: Case) -> Layout:
    return case.options.get("layout", _PACKED)  # type: ignore[no-any-return]


def _pack_cases() -> Iterator[Case]:
    for special, dtype in itertools.product(("", *_PACK_SPECIALS), DTYPES):
        yield Case(MODEL, dtype=dtype, special=special)


def _first_parameters(dtype: str) -> Iterator[Case]:
    for count in range(1, len(_RAGGED[0]) + 1):
        layout = make_layout(*(part[:count] for part in _RAGGED))
        yield Case(MODEL, dtype=dtype, options={"layout": layout, "ragged": count})


def _pack_inputs(case: Case) -> dict[str, ArraySpec]:
    shapes = _layout(case).shapes
    return {
        f"{kind} {index}": ArraySpec(shape, kind="float32", differentiable=False, by_sequence=False)
        for kind in ("gradient", "momentum")
        for index, shape in enumerate(shapes)
    }


def _pack_outputs(case: Case) -> dict[str, ArraySpec]:
    layout = _layout(case)
    own: dict[str, tuple[tuple[int, ...], str]] = {
        f"average {index}": (shape, "muon_pack") for index, shape in enumerate(layout.shapes)
    }
    own |= {f"norms {index}": ((_count(layout, run),), "muon_pack norms") for index, run in enumerate(layout.runs)}
    packed = {f"bank {index}": (_count(layout, run), run.rows, run.columns) for index, run in enumerate(layout.runs)}
    return {
        **{
            name: ArraySpec(shape, kind="float32", entry=entry, by_sequence=False)
            for name, (shape, entry) in own.items()
        },
        **{name: ArraySpec(shape, by_sequence=False) for name, shape in packed.items()},
        "stand-ins": ArraySpec((1,), kind="float32", entry="muon_pack", by_sequence=False),
    }


def _count(layout: Layout, run: Run) -> int:
    return layout.shapes[run.parameter][0] * run.count


def _run_pack(function: Function, inputs: Named, settings: Settings) -> Named:
    """Averages; the look-ahead in the order of the parameters; norms from the partials, divided by the right ones."""
    layout: Layout = settings["layout"]
    gradients, momenta = (
        [inputs[f"{kind} {i}"] for i in range(len(layout.shapes))] for kind in ("gradient", "momentum")
    )
    packed = function(gradients, momenta, mx.array(_MU), **settings)
    results: Named = {f"average {index}": average for index, average in enumerate(packed.momenta)}
    for index, run in enumerate(layout.runs):
        layers, count = layout.shapes[run.parameter][0], _count(layout, run)
        bank_NRC = run_view(run, layers, packed.banks[run.bank]).reshape(count, run.rows, run.columns)
        results[f"bank {index}"] = bank_NRC
        largest, squares = (packed.partials[run.bank][run.start : run.start + count, :, i] for i in (0, 1))
        kept = mx.sqrt(mx.sum(mx.square(largest) * squares, axis=1))
        found = np.linalg.norm(np.array(bank_NRC.astype(mx.float32)).astype(np.float64), axis=(1, 2))
        # Both norms of a zero matrix are 0.
        results[f"norms {index}"] = (kept + _NOTHING) / mx.array(found + _NOTHING, dtype=mx.float32)
    stand_ins = [array.reshape(-1) for array in packed.stand_ins]
    results["stand-ins"] = mx.max(mx.abs(mx.concatenate([mx.zeros(1), *stand_ins])), keepdims=True)
    return results


_NOTHING = 1e-12


def _pack_formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    layout: Layout = settings["layout"]
    results: Exact = {}
    ahead = []
    for index in range(len(layout.shapes)):
        gradient, momentum = inputs[f"gradient {index}"], inputs[f"momentum {index}"]
        average = _MU * momentum + (1 - _MU) * gradient
        results[f"average {index}"] = average
        ahead.append(_MU * average + (1 - _MU) * gradient)
    for index, run in enumerate(layout.runs):
        rows = ahead[run.parameter][:, run.first_row : run.first_row + run.count * run.rows]
        results[f"bank {index}"] = rows.reshape(-1, run.rows, run.columns)
        results[f"norms {index}"] = np.ones(_count(layout, run))
    return {**results, "stand-ins": np.zeros(1)}


def _zero_tiles(arrays: Named) -> Named:
    """As at the first step of a run: zero momenta, a gradient that is zero, and rows of zeros in the others."""
    changed = {}
    for name, array in arrays.items():
        rows = mx.arange(array.shape[1])[:, None] % 64 < 32
        changed[name] = mx.where(rows, array, 0) if name.startswith("gradient") else mx.zeros_like(array)
    return {**changed, "gradient 1": mx.zeros_like(arrays["gradient 1"])}


def _few_large_rows(arrays: Named) -> Named:
    """In each tile of the kernel, the rows of one simdgroup are much larger than the others."""

    def scale(rows: int) -> mx.array:
        row = mx.arange(rows)[:, None]
        return mx.where(row % 4 == row // 32 % 4, 1e15, 1e-15)

    return {name: array * scale(array.shape[1]) for name, array in arrays.items()}


_PACK_SPECIALS = {
    **SPECIALS,
    "zero tiles": Special(_zero_tiles),
    # The squares overflow if a simdgroup divides by the largest entry of another one.
    "few large rows": Special(_few_large_rows),
}

MUON_PACK = Proof(
    label=lambda case: f"{len(_layout(case).shapes)} ragged" if "ragged" in case.options else "grouped queries, SwiGLU",
    inputs=_pack_inputs,
    outputs=_pack_outputs,
    settings=lambda case: {"layout": _layout(case), "dtype": getattr(mx, case.dtype)},
    formula=_pack_formula,
    cases=lambda: itertools.chain(_pack_cases(), *(_first_parameters(dtype) for dtype in DTYPES)),
    entries=("muon_pack", "muon_pack"),
    flops=lambda case, both: 10.0 * sum(np.prod(shape) for shape in _layout(case).shapes),
    specials=_PACK_SPECIALS,
    kernels={"": "muon_pack"},
    run=_run_pack,
    before_use=lambda situation: _first_parameters(situation.dtype),
    differentiable=False,
)


def _iteration_cases() -> Iterator[Case]:
    for coefficients, bank, steps in itertools.product(
        ("polar_express", "quintic"), ((2, 24, 40), (2, 40, 24), (2, 65, 65), (2, 24, 96)), (2, 5, 6)
    ):
        yield bank_case(bank, "float32", coefficients=coefficients, steps=steps)
    yield bank_case((3, 65, 96), "float32")
    yield bank_case((1, 257, 300), "float32")
    for special in _ITERATION_SPECIALS:
        yield bank_case((3, 40, 24), "float32", special)


def _banks(case: Case) -> dict[str, tuple[int, int, int]]:
    """The bank of the case, or all banks of its layout."""
    if "bank" in case.options:
        return {"bank": case.options["bank"]}
    return {f"bank {n}x{m}": (count, n, m) for count, n, m in _layout(case).banks}


def _bank_inputs(case: Case) -> dict[str, ArraySpec]:
    return {name: ArraySpec(shape, differentiable=False, by_sequence=False) for name, shape in _banks(case).items()}


def _run_iterations(function: Function, inputs: Named, settings: Settings) -> Named:
    return {f"orthogonal {name}": function(bank, **settings) for name, bank in inputs.items()}


def _iteration_settings(case: Case) -> dict[str, Any]:
    options = case.options
    return {"steps": options.get("steps", 5), "coefficients": options.get("coefficients", "polar_express")}


def _iteration_formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    """Newton-Schulz steps; zero matrices stay zero."""
    results = {}
    for name, bank in inputs.items():
        tall = bank.shape[1] > bank.shape[2]
        x = bank.swapaxes(1, 2) if tall else bank
        safety = 1.01 if settings["coefficients"] == "polar_express" else 1.0
        norm = np.sqrt((x**2).sum(axis=(1, 2), keepdims=True))
        x = x / np.where(norm > 0, safety * norm, 1.0)
        for step in range(settings["steps"]):
            last = len(_POLAR_EXPRESS) - 1
            polar = settings["coefficients"] == "polar_express"
            a, b, c = _POLAR_EXPRESS[min(step, last)] if polar else _QUINTIC
            gram = x @ x.swapaxes(1, 2)
            x = a * x + (b * gram + c * gram @ gram) @ x
        results[f"orthogonal {name}"] = x.swapaxes(1, 2) if tall else x
    return results


_ITERATION_SPECIALS = {
    "huge": Special(lambda arrays: {"bank": arrays["bank"] * 1e30}),
    "tiny": Special(lambda arrays: {"bank": arrays["bank"] * 1e-15}),
    "zeros": Special(lambda arrays: {"bank": mx.zeros_like(arrays["bank"])}),
    "one matrix of zeros": Special(
        lambda arrays: {"bank": mx.where(mx.arange(3)[:, None, None] == 1, 0, arrays["bank"])}
    ),
    # Determined along one direction only; rounding errors in the others grow at every step.
    "rank one": Special(lambda arrays: {"bank": equal(arrays["bank"])}, entry="newton_schulz of rank one"),
}


def _iteration_flops(case: Case, both: bool, symmetric: bool = True) -> float:
    """At every step X X^T and its square, of which symmetric products count one triangle, and a product with X."""
    total = 0.0
    for count, *sides in _banks(case).values():
        n, m = min(sides), max(sides)
        gram, square = n * n * m, n * n * n
        total += count * 2 * ((gram + square) / 2 + gram if symmetric else gram + square + gram)
    return float(case.options.get("steps", 5) * total)


def _multiplied_out(case: Case, both: bool) -> float:
    return _iteration_flops(case, both, symmetric=False)


def _on_gram_matrices(case: Case, both: bool) -> float:
    """Where these have fewer: X X^T, a product with X, and four products of squares per step but for the ends."""
    steps = int(case.options.get("steps", 5))
    total = 0.0
    for count, *sides in _banks(case).values():
        n, m = min(sides), max(sides)
        once, per_step = n * n * m, n * n * n
        fewer, all_of_them = 2 * once + (4 * steps - 3) * per_step, steps * (2 * once + per_step)
        total += count * 2 * (fewer if is_used(n, m, steps) else all_of_them)
    return total


def _iterations_by_torch(inputs: dict[str, Any], case: Case) -> dict[str, Any]:
    """For wide or square matrices, by fused products and sums."""
    import torch

    results = {}
    for name, x in inputs.items():
        x = x / (1.01 * torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True))
        for a, b, c in _POLAR_EXPRESS:
            gram = torch.bmm(x, x.mT)
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        results[f"orthogonal {name}"] = x
    return results


NEWTON_SCHULZ = Proof(
    label=lambda case: (
        " ".join(f"{N}x[{n},{m}]" for N, n, m in _banks(case).values())
        + (f" {case.options['coefficients']}, {case.options['steps']} steps" if "steps" in case.options else "")
    ),
    inputs=_bank_inputs,
    outputs=lambda case: {
        f"orthogonal {name}": ArraySpec(shape, by_sequence=False) for name, shape in _banks(case).items()
    },
    settings=_iteration_settings,
    formula=_iteration_formula,
    cases=_iteration_cases,
    entries=("newton_schulz", "newton_schulz"),
    flops=_iteration_flops,
    specials=_ITERATION_SPECIALS,
    executed_flops={"plain": _multiplied_out, "cpu": _on_gram_matrices, "torch": _multiplied_out},
    kernels={"": "symmetric_product"},
    rivals={
        # It has other polynomials, so the results cannot be compared.
        "mlx": Rival(None, "mlx.optimizers.Muon takes other coefficients, one matrix at a time"),
        "torch": Rival(_iterations_by_torch),
    },
    run=_run_iterations,
    differentiable=False,
)


def _update_outputs(case: Case) -> dict[str, ArraySpec]:
    layout = _layout(case)
    averages = {f"average {i}": ArraySpec(shape, by_sequence=False) for i, shape in enumerate(layout.shapes)}
    return {
        **averages,
        **{f"direction {i}": ArraySpec(shape, by_sequence=False) for i, shape in enumerate(layout.banks)},
    }


def _run_update(function: Function, inputs: Named, settings: Settings) -> Named:
    count = len(settings["layout"].shapes)
    gradients, momenta = ([inputs[f"{kind} {i}"] for i in range(count)] for kind in ("gradient", "momentum"))
    averages, directions = function(gradients, momenta, mx.array(_MU), **settings)
    return {
        **{f"average {i}": array for i, array in enumerate(averages)},
        **{f"direction {i}": array for i, array in enumerate(directions)},
    }


def _update_formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    layout: Layout = settings["layout"]
    packed = _pack_formula(inputs, cotangents, settings)
    results = {name: array for name, array in packed.items() if name.startswith("average")}
    banks: dict[int, list[Array]] = {}
    for index, run in enumerate(layout.runs):
        matrices = packed[f"bank {index}"]
        banks.setdefault(run.bank, []).append(matrices.swapaxes(1, 2) if run.tall else matrices)
    joined = {f"{index}": np.concatenate(parts) for index, parts in banks.items()}
    directions = _iteration_formula(joined, {}, settings)
    return results | {f"direction {index}": directions[f"orthogonal {index}"] for index in joined}


MUON = Proof(
    label=MUON_PACK.label,
    inputs=_pack_inputs,
    outputs=_update_outputs,
    settings=lambda case: {"layout": _layout(case), **_iteration_settings(case)},
    formula=_update_formula,
    cases=lambda: [Case(MODEL), Case(MODEL, special="zero tiles")],
    entries=("newton_schulz", "newton_schulz"),
    flops=lambda case, both: MUON_PACK.flops(case, both) + _iteration_flops(case, both),
    specials=_PACK_SPECIALS,
    run=_run_update,
    before_use=lambda situation: [Case(MODEL)],
    differentiable=False,
)
