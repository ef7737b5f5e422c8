"""How much memory a run will take at its peak, computed from shapes before the first step.

MLX frees a result after its last use, and allocates the results of the next operations while earlier ones still
compute. It orders a graph so that everything runs as late as it can. So the peak of a step is one of two moments:
where the head is computed and all layers keep what the backward pass needs, or where the optimizer updates the weights.
Each part below is the arrays that are alive then; measured peaks are in benchmarks/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlx_tiny.config import RunConfig
from mlx_tiny.linux.lanes import lanes, on_cpu
from mlx_tiny.machine.buffers import cache_limit_bytes
from mlx_tiny.model.counting import TABLES_SHARE, counting_bytes
from mlx_tiny.model.memory import (
    FLOAT_BYTES,
    PROCESS_BYTES,
    computed_in_cpp,
    head_copies,
    kept_per_token,
    started_per_token,
    windows_bytes,
)
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.optim.optimizer import muon_parameters
from mlx_tiny.training.evaluate import tokens_at_once

_TORCH_BYTES = 300 << 20
"""Of the process with PyTorch, measured in the same way. The other parts are taken as those of an uncompiled step."""
_HOLES = 2
"""Free places in the heap that the next large array does not fit into, because a smaller one took a part of its place.
In places of the largest array of a lane: 1.5 to 2.6 were measured on one and two lanes."""
_STEP_BYTES = 24 << 20
"""Code, graphs and small arrays of a step with operations in C++, measured as what the peak of small models has beside
their arrays. Where other operations take more time and room, their parts are estimated high enough to contain it."""


@dataclass(frozen=True)
class Estimate:
    """Bytes by part at the peak of a run."""

    parts: dict[str, float]

    @property
    def bytes(self) -> int:
        """All parts together."""
        return round(sum(self.parts.values()))


def estimate(config: RunConfig, counted_tokens: int = 0) -> Estimate:
    """The memory that training takes on this machine, by part.

    Args:
        counted_tokens: of the training text, where that is known.
    """
    torch = config.train.backend == "torch"
    tables = counting_bytes(counted_tokens) * TABLES_SHARE
    # Measured: what counting has freed is not where the arrays of steps fit in, and the warm-up's are still there.
    building = {"building n-grams": counting_bytes(counted_tokens) - tables}
    moment = _largest(_at_the_head(config), _at_the_update(config))
    arrays = {**moment, **building}
    state = {**_state(config), "n-grams": tables}
    held = sum(state.values()) + sum(arrays.values())
    if torch or on_cpu():
        kept = {"holes in the heap": _holes(config, moment), "code and graph of a step": _STEP_BYTES * _in_cpp(config)}
    else:
        kept = {"freed buffers that MLX keeps": min(held, cache_limit_bytes())}
    return Estimate({**state, **arrays, **kept, "process": _TORCH_BYTES if torch else PROCESS_BYTES})


def estimate_of_loading(config: RunConfig) -> Estimate:
    """The memory that it takes to load the model of a run."""
    weights = _state(config)["weights"]
    return Estimate({"weights": weights, "file of weights": weights, "process": PROCESS_BYTES})


def fitting_micro_batches(config: RunConfig, most_bytes: float) -> int | None:
    """The least number of micro-batches with which training takes at most so many bytes; None where none does."""
    size, now = config.train.batch_size, config.train.micro_batches
    most = size // 2 if config.train.small_batches else size
    for count in (count for count in range(now + 1, most + 1) if size % count == 0):
        if estimate(replace(config, train=replace(config.train, micro_batches=count))).bytes <= most_bytes:
            return count
    return None


def _state(config: RunConfig) -> dict[str, float]:
    matrices, others = _sizes(config)
    return {"weights": FLOAT_BYTES * (matrices + others), "moments": FLOAT_BYTES * (matrices + 2 * others)}


def _sizes(config: RunConfig) -> tuple[int, int]:
    """Numbers in the parameters that Muon trains, and in those that AdamW trains."""
    specs = parameter_specs(config.model)
    muon = set(muon_parameters(config.optimizer, specs))
    matrices = sum(spec.size for name, spec in specs.items() if name in muon)
    return matrices, sum(spec.size for spec in specs.values()) - matrices


def _at_the_head(config: RunConfig) -> dict[str, float]:
    model, train = config.model, config.train
    compiled = train.backend == "mlx" and train.compile
    tokens = train.batch_size // train.micro_batches * model.context
    matrices, others = _sizes(config)
    in_cpp = _in_cpp(config)
    kept = kept_per_token(model, train.dtype, train.implementation, in_cpp)
    step = {
        "activations": FLOAT_BYTES * tokens * (model.layers * kept + started_per_token(model)),
        "head": FLOAT_BYTES * tokens * (1 if in_cpp else head_copies(compiled)) * model.vocabulary_size,
        # Measured: tables of options are updated while the head's arrays are still there, unless compiled graphs have
        # gathered what is between the two into few nodes.
        "AdamW": _adamw_bytes(others) * (train.backend == "mlx" and (in_cpp or not train.compile)),
        "sums of gradients": FLOAT_BYTES * (matrices + others) * (train.micro_batches > 1),
    }
    return _largest(step, _evaluation(config))


def _in_cpp(config: RunConfig) -> bool:
    train = config.train
    return train.backend == "mlx" and computed_in_cpp(train.dtype, train.implementation)


def _adamw_bytes(others: int) -> float:
    return 4 * FLOAT_BYTES * others  # gradients, both new moments, new weights


def _holes(config: RunConfig, moment: dict[str, float]) -> float:
    """Bytes of free places in the heap, where the peak is at that moment."""
    in_cpp = _in_cpp(config)
    if in_cpp and "Muon" in moment:
        return 0  # measured: the update finds its places
    # The array of logits of a step in C++ takes its own place again; an evaluation with counting has several.
    return _HOLES * _largest_array(config, with_logits=not in_cpp or config.train.counting)


def _largest_array(config: RunConfig, *, with_logits: bool) -> float:
    """Bytes of the logits or of the hidden values of a lane, or of the largest parameter."""
    model, train = config.model, config.train
    tokens = train.batch_size // train.micro_batches / len(lanes()) * model.context
    activation = tokens * max(model.vocabulary_size * with_logits, model.hidden)
    return FLOAT_BYTES * max(activation, *(spec.size for spec in parameter_specs(model).values()))


def _evaluation(config: RunConfig) -> dict[str, float]:
    """Of whole windows on all lanes."""
    train = config.train
    windows = len(lanes()) * max(1, tokens_at_once(config) // config.model.context // len(lanes()))
    several_logits = train.counting or train.backend == "torch"
    needed = windows_bytes(config.model, windows, train.dtype, train.implementation, mixed=several_logits)
    return {"evaluation": needed}


def _largest(*moments: dict[str, float]) -> dict[str, float]:
    return max(moments, key=lambda parts: sum(parts.values()))


def _at_the_update(config: RunConfig) -> dict[str, float]:
    matrices, others = _sizes(config)
    return {
        # New weights and momenta, gradients by layer and together, the look-ahead, the banks, and of the five
        # Newton-Schulz steps those for which MLX has memory before they are needed.
        "Muon": 10 * FLOAT_BYTES * matrices,
        # Measured: in one graph with the gradients, those of tables are there twice.
        "AdamW": _adamw_bytes(others) * (1.5 if config.train.micro_batches == 1 else 1),
    }
