"""Asks mlx-lm what a model computes that it has loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from mlx_tiny.export.questions import Answers, Questions, likelihoods
from mlx_tiny.linux.blas import use_fast_blas


def answers(path: str, questions: Questions) -> Iterator[Answers]:
    """The answers, as the only value."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    use_fast_blas()
    import mlx_lm
    from mlx_lm.generate import generate_step

    model, tokenizer, *_ = mlx_lm.load(path, trust_remote_code=questions.custom_code)

    def logits(input_BT: np.ndarray) -> np.ndarray:
        return np.asarray(model(mx.array(input_BT)).astype(mx.float32))

    steps = generate_step(mx.array(questions.prompt), model, max_tokens=questions.new_tokens)
    yield Answers(
        *likelihoods(questions, logits),
        greedy=[int(token) for token, _ in steps],
        ids=[list(tokenizer.encode(text)) for text in questions.texts],
        program=f"mlx-lm {mlx_lm.__version__}",
    )
