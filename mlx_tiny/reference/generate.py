"""Generates text; the whole window is read again for every token."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.reference.model import Parameters, logits


def generate_tokens(
    parameters: Parameters,
    config: ModelConfig,
    prompt: list[int],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: int | None = None,
    mixture: Callable[[list[int], np.ndarray], np.ndarray] | None = None,
) -> Iterator[int]:
    """Draw tokens after `prompt`, one by one, until `stop` is drawn or `max_tokens` tokens are drawn.

    A window that is longer than the context is cut to the last half of the context.

    Args:
        prompt: at least one and at most `config.context` ids.
        temperature: the logits are divided by it; 0 always takes the likeliest token.
        top_p: draw from the smallest set of tokens whose probabilities add up to this.
        seed: of PyTorch's random numbers, which differ from those of MLX.
        stop: id that ends the text and is not returned; None never stops early.
        mixture: takes the window and the logits [V] after it, and gives the probabilities to draw from instead.

    Raises:
        TinyError: a prompt that is empty or longer than the context.
    """
    if not 1 <= len(prompt) <= config.context:
        raise TinyError(
            "The prompt does not fit the model's context", expected=f"1 to {config.context} tokens", got=len(prompt)
        )
    generator = torch.Generator().manual_seed(seed)
    window = list(prompt)
    for _ in range(max_tokens):
        if len(window) > config.context:
            window = window[-max(1, config.context // 2) :]
        with torch.inference_mode():
            token_1T = torch.tensor([window], device=parameters["embedding"].device)
            scores_V = logits(parameters, config, token_1T)[0, -1].cpu()
        if mixture:
            scores_V = torch.from_numpy(mixture(window, scores_V.double().numpy())).log()
        token = draw(scores_V, temperature, top_p, generator)
        if token == stop:
            return
        yield token
        window.append(token)


def draw(scores_V: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Draw one token."""
    if temperature == 0:
        return int(scores_V.argmax())
    scores_V = scores_V.double()
    probability_V = torch.softmax((scores_V - scores_V.max()) / temperature, dim=0)
    ordered, order = probability_V.sort(descending=True)
    # A token is kept if the likelier ones together are below top_p, so the likeliest is always kept.
    kept = ordered * (ordered.cumsum(0) - ordered < top_p)
    return int(order[torch.multinomial(kept, 1, generator=generator)])
