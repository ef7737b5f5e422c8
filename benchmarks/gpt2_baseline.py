"""The baseline: a GPT-2-style model, trained with AdamW in PyTorch within the same budget.

Data, tokenizer, batches, clock and evaluation protocol are those of mlx_tiny. The clock starts at the first step, after
one warm-up step whose result is dropped, and includes training only. The whole validation file is evaluated afterwards.
MLX is not needed.

    python -m benchmarks.gpt2_baseline --data 'text/*.txt' --validation valid.txt --budget 5m --json record.json
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.command_line import start
from benchmarks.gpt2_model import ACTIVATIONS, GPT2, adamw, sample_tokens
from mlx_tiny.config import DataConfig
from mlx_tiny.data.batches import BatchStream, validation_windows
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.errors import TinyError
from mlx_tiny.machine.description import Machine, describe
from mlx_tiny.machine.hardware import usable_cores
from mlx_tiny.records import Record, to_plain, write
from mlx_tiny.reference.backend import choose_device as best_device
from mlx_tiny.reference.backend import held_bytes
from mlx_tiny.tools.tables import block
from mlx_tiny.training.budget import Budget

DEVICES, DTYPES = ("auto", "cpu", "mps", "cuda"), ("float32", "bfloat16")
EVALUATION_TOKENS = 4096
"""Tokens evaluated at once, as in mlx_tiny; it changes the result by rounding only."""
SAMPLES, SAMPLE_TOKENS = 1, 200
# From glibc's malloc.h. By default, malloc gets new memory from the system for each large array, at every step.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30


def _require(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise TinyError(f"The setting {name} is out of range", expected=expected, got=repr(got))


@dataclass(frozen=True)
class BaselineConfig:
    """One run of the baseline."""

    budget: str = "5m"
    rate: float = 3e-3
    """AdamW's peak learning rate."""
    batch_size: int = 8
    """Sequences per step."""
    seed: int = 0
    layers: int = 3
    heads: int = 4
    width: int = 144
    context: int = 256
    vocabulary_size: int = 4096
    activation: str = "gelu"
    """Of the MLP: `gelu`, or `swiglu` with as many parameters."""
    tied: bool = True
    """Use the embedding as the output head too."""
    warmup: float = 0.05
    """Fraction of the budget over which the rate rises linearly from 0."""
    floor: float = 0.1
    """Multiplier at the end of the cosine."""
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    device: str = "auto"
    """`auto` takes CUDA, else MPS, else the CPU."""
    dtype: str = "float32"
    """Dtype of matrix products; `bfloat16` is autocast, with float32 weights."""
    threads: int = 0
    """CPU threads; 0 takes all cores that the process may use."""
    allocator: bool = True
    """On Linux, make malloc keep large blocks instead of returning them to the system."""
    compile: bool = False
    """Use torch.compile; its time is not on the clock."""

    def __post_init__(self) -> None:
        for name in ("rate", "batch_size", "layers", "heads", "width", "context", "clip_norm"):
            _require(getattr(self, name) > 0, name, "above 0", getattr(self, name))
        _require(self.width % self.heads == 0, "width", f"a multiple of heads ({self.heads})", self.width)
        for name in ("warmup", "beta1", "beta2"):
            _require(0 <= getattr(self, name) < 1, name, "0 to below 1", getattr(self, name))
        for name in ("floor", "weight_decay"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        _require(self.threads >= 0, "threads", "0 or more", self.threads)
        _require(self.device in DEVICES, "device", " or ".join(DEVICES), self.device)
        _require(self.activation in ACTIVATIONS, "activation", " or ".join(ACTIVATIONS), self.activation)
        _require(self.dtype in DTYPES, "dtype", " or ".join(DTYPES), self.dtype)


DEFAULTS = BaselineConfig()


@dataclass(frozen=True)
class BaselineReport(Record):
    """What `--json` writes, with the names that `mlx-tiny study` reads."""

    kind = "baseline"
    version = 2

    bits_per_byte: float
    perplexity_per_token: float
    training_loss_nats: float
    """Mean per token over the last steps."""
    steps: int
    tokens: int
    flops: float
    tokens_per_s: float
    seconds: float
    evaluation_s: float
    parameters: int
    peak_memory_bytes: int
    validation_tokens: int
    validation_bytes: int
    corpus: str
    settings: dict[str, Any]
    machine: Machine
    samples: list[str]


@dataclass(frozen=True)
class Spent:
    """Result of the training loop."""

    steps: int
    tokens: int
    flops: float
    seconds: float
    loss: float
    """Mean nats per token of the last steps, before their updates."""


class Trainer:
    """A model, its optimizer and the batches of one run."""

    def __init__(self, config: BaselineConfig, corpus: PreparedCorpus) -> None:
        self.config, self.device = config, choose_device(config.device)
        torch.manual_seed(config.seed)
        self.model = GPT2(
            vocabulary_size=corpus.tokenizer.size,
            context=config.context,
            layers=config.layers,
            heads=config.heads,
            width=config.width,
            activation=config.activation,
            tied=config.tied,
        ).to(self.device)
        self._losses = torch.compile(self.model) if config.compile else self.model
        self._stream = BatchStream(corpus.train, batch_size=config.batch_size, context=config.context, seed=config.seed)
        self._budget = Budget(config.budget)
        self._optimizer = self._fresh_optimizer()
        # On a GPU a few steps run at the same time as the host; on a CPU a step is done when it returns.
        self._in_flight = 0 if self.device.type == "cpu" else 2

    def warm_up(self) -> None:
        """Run one step at rate 0, which does not change the weights, and drop its moments and its batch."""
        position = self._stream.position
        self._step(0.0).item()
        self._stream.seek(position)
        self._optimizer = self._fresh_optimizer()

    def spend(self) -> Spent:
        """Spend the budget on steps.

        Raises:
            TinyError: the loss is not finite.
        """
        pending: deque[Tensor] = deque()
        durations: deque[float] = deque(maxlen=16)
        losses: deque[float] = deque(maxlen=50)
        steps, tokens_per_step = 0, self.config.batch_size * self.config.context
        flops_per_step = tokens_per_step * self.model.training_flops_per_token(self.config.context)
        costs = {"tokens": tokens_per_step, "flops": flops_per_step, "steps": 1.0}
        budget = self._budget
        budget.start()
        settled = 0.0
        while not budget.exhausted(costs.get(budget.quantity) or _seconds(durations, len(pending))):
            pending.append(self._step(self.config.rate * multiplier(self.config, budget.fraction)))
            budget.charge(tokens_per_step, flops_per_step)
            steps += 1
            while len(pending) > self._in_flight:
                losses.append(_finite(pending.popleft().item(), steps))
                durations.append(budget.seconds - settled)
                settled = budget.seconds
        losses.extend(_finite(loss.item(), steps) for loss in pending)
        return Spent(steps, budget.spent_tokens, budget.spent_flops, budget.seconds, sum(losses) / max(1, len(losses)))

    def _step(self, rate: float) -> Tensor:
        """One update; returns the mean loss before it."""
        batch = torch.from_numpy(self._stream.next_batch().astype(np.int64)).to(self.device)
        with _autocast(self.device, self.config.dtype):
            loss: Tensor = self._losses(batch[:, :-1], batch[:, 1:].contiguous()).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _fresh_optimizer(self) -> torch.optim.AdamW:
        betas = (self.config.beta1, self.config.beta2)
        return adamw(self.model, betas=betas, weight_decay=self.config.weight_decay)


def _seconds(durations: deque[float], in_flight: int) -> float:
    """Seconds of one more step, including the steps that still run before it."""
    return sum(durations) / max(1, len(durations)) * (1 + 2 * in_flight)


def multiplier(config: BaselineConfig, fraction: float) -> float:
    """Learning rate relative to its peak: linear during the warm-up, then a cosine down to `floor` at the end."""
    if fraction < config.warmup:
        return fraction / config.warmup
    left = min(1.0, (fraction - config.warmup) / (1 - config.warmup))
    return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * left)) / 2


def evaluate(model: GPT2, tokens: np.ndarray, context: int, dtype: str = "float32") -> tuple[float, int]:
    """Negative log-likelihood of a prepared validation file: every token but the first, in windows of `context`.

    Returns:
        Total nats, summed in float64, and the number of predicted tokens.
    """
    windows = validation_windows(tokens, context)
    device = next(model.parameters()).device
    rows, total = max(1, EVALUATION_TOKENS // context), 0.0
    with torch.inference_mode(), _autocast(device, dtype):
        for start in range(0, len(windows.inputs), rows):
            part = slice(start, start + rows)
            arrays = (torch.from_numpy(a[part].astype(np.int64)).to(device) for a in (windows.inputs, windows.targets))
            losses_BT = model(*arrays).cpu().numpy().astype(np.float64)
            total += float(np.sum(losses_BT * windows.mask[part]))
    return total, int(windows.mask.sum())


def choose_device(named: str) -> torch.device:
    """The device of this name; `auto` takes CUDA, else MPS, else the CPU."""
    if named == "auto":
        return best_device()
    available = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(), "cpu": True}
    if not available[named]:
        raise TinyError(f"PyTorch finds no device {named} here", remedy="Use --device auto or cpu")
    return torch.device(named)


def keep_large_blocks() -> bool:
    """Make glibc's malloc keep large freed blocks for the next step; returns whether that worked."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    return all([libc.mallopt(option, _KEPT_BYTES) for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)])


def run(config: BaselineConfig, data: DataConfig) -> BaselineReport:
    """Train, evaluate and sample.

    Raises:
        TinyError: unreadable data, an impossible setting, or a loss that diverged.
    """
    kept = config.allocator and keep_large_blocks()
    torch.set_num_threads(config.threads or usable_cores())
    corpus = prepare(data)
    trainer = Trainer(config, corpus)
    trainer.warm_up()
    spent = trainer.spend()
    began = time.monotonic()
    nats, predicted = evaluate(trainer.model, corpus.valid, config.context, config.dtype)
    evaluation_s = time.monotonic() - began
    used = {"device": trainer.device.type, "threads": torch.get_num_threads(), "allocator": kept}
    return BaselineReport(
        bits_per_byte=nats / math.log(2) / corpus.valid_bytes,
        perplexity_per_token=math.exp(min(nats / predicted, 700.0)),
        training_loss_nats=spent.loss,
        steps=spent.steps,
        tokens=spent.tokens,
        flops=spent.flops,
        tokens_per_s=spent.tokens / spent.seconds,
        seconds=spent.seconds,
        evaluation_s=evaluation_s,
        parameters=trainer.model.parameter_count(),
        peak_memory_bytes=held_bytes(trainer.device),
        validation_tokens=predicted,
        validation_bytes=corpus.valid_bytes,
        corpus=corpus.key,
        settings={**to_plain(config), **used},
        machine=describe(mlx=False),
        samples=[_sample(trainer.model, corpus, config.context, seed) for seed in range(SAMPLES)],
    )


def _sample(model: GPT2, corpus: PreparedCorpus, context: int, seed: int) -> str:
    tokenizer = corpus.tokenizer
    drawn = sample_tokens(model, tokenizer.bos, context=context, max_tokens=SAMPLE_TOKENS, seed=seed)
    return tokenizer.decode(drawn)


def _autocast(device: torch.device, dtype: str) -> contextlib.AbstractContextManager[Any]:
    if dtype == "float32":
        return contextlib.nullcontext()
    cast: contextlib.AbstractContextManager[Any] = torch.autocast(device.type, dtype=getattr(torch, dtype))
    return cast


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise TinyError(f"The loss became {loss} by step {step}", remedy="Use a lower --rate")
    return loss


@click.command()
@click.option("--data", default=DataConfig.sources[0], show_default=True, help="File, folder, glob, or a named corpus.")
@click.option("--validation", help="Validation file; without it a share of the documents is held out.")
@click.option("--budget", default=DEFAULTS.budget, show_default=True, help="Wall-clock time, tokens, FLOPs or steps.")
@click.option("--rate", default=DEFAULTS.rate, show_default=True, help="Peak learning rate.")
@click.option("--batch-size", default=DEFAULTS.batch_size, show_default=True, help="Sequences per step.")
@click.option("--seed", default=DEFAULTS.seed, show_default=True, help="Seed of the weights and the batches.")
@click.option("--layers", default=DEFAULTS.layers, show_default=True)
@click.option("--heads", default=DEFAULTS.heads, show_default=True)
@click.option("--width", default=DEFAULTS.width, show_default=True)
@click.option("--context", default=DEFAULTS.context, show_default=True, help="Tokens per sequence.")
@click.option("--vocabulary-size", default=DEFAULTS.vocabulary_size, show_default=True)
@click.option("--activation", default=DEFAULTS.activation, show_default=True, type=click.Choice(ACTIVATIONS))
@click.option("--tied/--untied", default=DEFAULTS.tied, show_default=True, help="Use the embedding as the head too.")
@click.option("--warmup", default=DEFAULTS.warmup, show_default=True, help="Fraction of the budget.")
@click.option("--floor", default=DEFAULTS.floor, show_default=True, help="Rate at the end, relative to the peak.")
@click.option("--beta2", default=DEFAULTS.beta2, show_default=True, help="Decay of AdamW's second moment.")
@click.option("--weight-decay", default=DEFAULTS.weight_decay, show_default=True)
@click.option("--clip-norm", default=DEFAULTS.clip_norm, show_default=True, help="Largest norm of the gradients.")
@click.option("--device", default=DEFAULTS.device, show_default=True, type=click.Choice(DEVICES))
@click.option("--dtype", default=DEFAULTS.dtype, show_default=True, type=click.Choice(DTYPES))
@click.option("--threads", default=DEFAULTS.threads, show_default=True, help="CPU threads; 0 takes all cores.")
@click.option(
    "--allocator/--no-allocator", default=DEFAULTS.allocator, show_default=True, help="Make malloc keep large blocks."
)
@click.option("--compile/--no-compile", default=DEFAULTS.compile, show_default=True, help="Use torch.compile.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write the record to this file.")
def command(data: str, validation: str | None, output: Path | None, **settings: Any) -> None:
    """Train the baseline within a budget, and report how good it is."""
    config = BaselineConfig(**settings)
    report = run(config, DataConfig(sources=(data,), validation=validation, vocabulary_size=config.vocabulary_size))
    if output is not None:
        write(output, report)
    click.echo("\n\n".join(report.samples) + "\n")
    plain = to_plain(report)
    for part in ("settings", "machine"):
        plain |= {f"{part}.{name}": value for name, value in plain.pop(part).items()}
    click.echo(block({**plain, "samples": None}))


if __name__ == "__main__":
    start(command)
