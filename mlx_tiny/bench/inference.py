"""`bench inference`: measures how fast the model of a preset reads a prompt and writes text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import mlx.core as mx
import numpy as np

from mlx_tiny.bench.record import WRONG, Result
from mlx_tiny.bench.timing import LEAST_ROUNDS, MOST_ROUNDS
from mlx_tiny.bench.weights import nonzero_parameters
from mlx_tiny.config import ModelConfig, RunConfig, Sampling
from mlx_tiny.config.presets import preset_called
from mlx_tiny.errors import TinyError
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.model.forward import logits
from mlx_tiny.model.generate import Reader, generate_tokens
from mlx_tiny.model.parameters import Parameters, multiply_adds_per_token
from mlx_tiny.ops.implementations import decide
from mlx_tiny.tolerances import bounds
from mlx_tiny.tools.statistics import Spread

_CHECKED_TOKENS = 8


def run(
    preset_names: Iterable[str],
    peaks: Peaks,
    *,
    lengths: tuple[int | None, int | None] = (None, None),
    seconds: float = 2.0,
    change: Callable[[RunConfig], RunConfig] = lambda config: config,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[list[Result]]:
    """Yield the results of each preset, `prompt` and `decode`, which are checked before they are timed.

    Args:
        peaks: measured in the same run.
        lengths: tokens of the prompt, by default half of the context; and to write, by default the rest of it.
        seconds: about how long to measure each preset.
        change: changes the configuration of a preset.

    Raises:
        TinyError: an unknown preset, or lengths that do not fit its context.
    """
    for name in list(preset_names):
        preset = preset_called(name)
        config = change(preset.config()).model
        prompt, written = fitting(config, *lengths)
        tell(f"generation, {name} ({prompt} tokens read, {written} written)")
        yield measure(preset.name, config, prompt, written, peaks, seconds)


def fitting(config: ModelConfig, prompt_tokens: int | None, max_tokens: int | None) -> tuple[int, int]:
    """The lengths with their defaults.

    Raises:
        TinyError: they do not fit the context.
    """
    prompt = config.context // 2 if prompt_tokens is None else prompt_tokens
    written = max(1, config.context - prompt) if max_tokens is None else max_tokens
    # The first new token comes from the scores of the prompt, so the last new token is not read.
    if prompt < 1 or written < 1 or prompt + written - 1 > config.context:
        raise TinyError(
            "The prompt and the text after it do not fit the model's context",
            expected=f"a prompt of at least 1 token, at least 1 to write, and at most {config.context + 1} in all",
            got=f"{prompt} and {written}",
        )
    return prompt, written


def measure(name: str, config: ModelConfig, prompt: int, written: int, peaks: Peaks, seconds: float) -> list[Result]:
    """The results of a model with random weights; `decode` only if more than one token is written."""
    generator = np.random.default_rng(0)
    held = mx.get_active_memory()
    parameters = nonzero_parameters(config)
    tokens = generator.integers(0, config.vocabulary_size, prompt).tolist()
    excess = _cache_excess(parameters, config, tokens)
    # Number of tokens, and a context in which a token has as many keys on average: the i-th written token after the
    # first has prompt + i keys, and a token in a context of T has (T + 1) / 2.
    parts = {"prompt": (prompt, prompt), "decode": (written - 1, 2 * prompt + written - 1)}
    results = []
    for part, (count, window) in parts.items():
        if count:
            flops = 2 * count * multiply_adds_per_token(config, window)
            result = Result(
                "inference",
                name,
                f"L{config.layers} D{config.width} V{config.vocabulary_size}, {prompt} read, {written} written",
                "float32",
                "mlx_tiny",
                part=part,
                error=excess,
                flops=flops,
                tokens=count,
                bound_s=flops / peaks.matmul_flops_per_s["float32"],
                bound_by="compute",
            )
            results.append(result)
    if not excess <= 1:
        why = f"wrong: scores by the cache are {excess:.1f} times as far from those of whole windows as is allowed"
        return [result.without_time(WRONG, why) for result in results]
    mx.clear_cache()
    mx.reset_peak_memory()
    durations = _durations(parameters, config, tokens, written, seconds)
    memory = max(0, mx.get_peak_memory() - held)
    return [result.timed(Spread.of(durations[str(result.part)]), {}, memory) for result in results]


def _durations(
    parameters: Parameters, config: ModelConfig, tokens: list[int], written: int, seconds: float
) -> dict[str, list[float]]:
    """Durations up to the first token, and of all tokens after it, per text."""
    durations: dict[str, list[float]] = {"prompt": [], "decode": []}

    def write(seed: int) -> None:
        began = time.perf_counter()
        drawn = generate_tokens(parameters, config, tokens, Sampling(max_tokens=written, seed=seed))
        next(drawn)
        first = time.perf_counter()
        for _ in drawn:
            pass
        durations["prompt"].append(first - began)
        durations["decode"].append(time.perf_counter() - first)

    write(0)
    for part in durations.values():
        part.clear()
    started = time.perf_counter()
    for seed in range(MOST_ROUNDS):
        if seed >= LEAST_ROUNDS and time.perf_counter() - started >= seconds:
            break
        write(seed)
    return durations


def _cache_excess(parameters: Parameters, config: ModelConfig, tokens: list[int]) -> float:
    """The error of scores with a cache, compared with the whole window, as a multiple of what is allowed."""
    window = mx.array([(tokens * _CHECKED_TOKENS)[: max(2, min(len(tokens), config.context))]])
    T = window.shape[1]
    kept = max(1, T - _CHECKED_TOKENS)
    whole, _ = logits(parameters, config, window, decide(replace(config, context=T)))
    reader = Reader(parameters, config)
    tokens = np.array(window)[0].tolist()
    scores = [reader.read(tokens[:kept]), *(reader.read_next(token) for token in tokens[kept:])]
    return bounds("cache", "float32").excess(np.array(mx.stack(scores)), np.array(whole[0, kept - 1 :]))
