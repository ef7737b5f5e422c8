"""Every operation in plain PyTorch, by the functions of the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from mlx_tiny.config import OptimizerConfig
from mlx_tiny.ops.operation import Case, Settings
from mlx_tiny.reference import model, optim

Named = dict[str, Tensor]


def norm(inputs: Named, case: Case, settings: Settings) -> Named:
    return {"output": model.normalize(inputs["x"], settings["epsilon"])}


def rotary(inputs: Named, case: Case, settings: Settings) -> Named:
    return {"output": model.rotate(inputs["x"], model.rotation_tables(case.model, case.model.context))}


def qk_norm_rope(inputs: Named, case: Case, settings: Settings) -> Named:
    m, tables = case.model, (inputs["cosine"], inputs["sine"])
    query, key, value = inputs["projected"].split([m.heads, m.key_value_heads, m.key_value_heads], dim=2)
    turned = {
        name: model.rotate(model.normalize(x, m.norm_epsilon) * inputs[f"{name} norm weight"], tables)
        for name, x in (("query", query), ("key", key))
    }
    return {**turned, "value": value}


def attention(inputs: Named, case: Case, settings: Settings) -> Named:
    # Queries of the past, whose results are dropped, make the sequence whole.
    query = torch.nn.functional.pad(inputs["query"], (0, 0, 0, 0, case.past, 0))
    share = case.model.heads // case.model.key_value_heads
    key, value = (inputs[name].repeat_interleave(share, dim=2) for name in ("key", "value"))
    return {"output": model.plain_attention(query, key, value)[:, case.past :]}


def activation(inputs: Named, case: Case, settings: Settings) -> Named:
    return {"output": model.activate(inputs["hidden"], settings["activation"])}


def cross_entropy(inputs: Named, case: Case, settings: Settings) -> Named:
    return {"losses": model.cross_entropy(inputs["hidden"] @ inputs["head"].T, inputs["target"].long())}


def muon_pack(inputs: Named, case: Case, settings: Settings) -> Named:
    layout, results = settings["layout"], dict[str, Tensor]()
    for index in range(len(layout.shapes)):
        results[f"average {index}"] = 0.9 * inputs[f"momentum {index}"] + 0.1 * inputs[f"gradient {index}"]
    for index, run in enumerate(layout.runs):
        ahead = 0.9 * results[f"average {run.parameter}"] + 0.1 * inputs[f"gradient {run.parameter}"]
        matrices = [
            ahead[layer, run.first_row + block * run.rows :][: run.rows]
            for layer in range(len(ahead))
            for block in range(run.count)
        ]
        results[f"bank {index}"] = torch.stack(matrices)
        results[f"norms {index}"] = torch.ones(len(matrices))
    return {**results, "stand-ins": torch.zeros(1)}


def symmetric_product(inputs: Named, case: Case, settings: Settings) -> Named:
    x = inputs["bank"]
    product = settings["alpha"] * torch.einsum("nrk,nsk->nrs", x, x)
    return {"product": product + settings["beta"] * inputs.get("addend", torch.zeros(()))}


def orthogonal(bank: Tensor, settings: Settings) -> Tensor:
    kind = {"steps": settings["steps"], "coefficients": settings["coefficients"]}
    return torch.stack([optim.orthogonalize(matrix, **kind) for matrix in bank])


def newton_schulz(inputs: Named, case: Case, settings: Settings) -> Named:
    return {f"orthogonal {name}": orthogonal(bank, settings) for name, bank in inputs.items()}


def muon(inputs: Named, case: Case, settings: Settings) -> Named:
    """The directions, from the reference's update of zero weights, matrix by matrix, arranged in banks."""
    layout, results = settings["layout"], muon_pack(inputs, case, settings)
    banks: dict[int, list[Tensor]] = {}
    config = OptimizerConfig(matrix_rate=1.0, matrix_decay=0.0, coefficients=settings["coefficients"])
    for index, run in enumerate(layout.runs):
        start = torch.zeros((1, len(results[f"bank {index}"]) * run.rows, run.columns), dtype=torch.float64)
        gradient = results[f"bank {index}"].reshape(start.shape)
        rows = (run.rows,) * len(results[f"bank {index}"])
        moved, _ = optim.muon(start, gradient, gradient, rows, config, 1.0, 0.0)
        directions = -moved.reshape(-1, run.rows, run.columns) / max(1.0, run.rows / run.columns) ** 0.5
        banks.setdefault(run.bank, []).append(directions.mT if run.tall else directions)
    averages = {name: array for name, array in results.items() if name.startswith("average")}
    return {**averages, **{f"direction {index}": torch.cat(parts) for index, parts in banks.items()}}


FORMULAS = {
    function.__name__: function
    for function in (
        norm,
        rotary,
        qk_norm_rope,
        attention,
        activation,
        cross_entropy,
        muon_pack,
        symmetric_product,
        newton_schulz,
        muon,
    )
}
