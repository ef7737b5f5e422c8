"""Asks Hugging Face's transformers what a model computes that it has loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from mlx_tiny.export.questions import Answers, Questions, likelihoods


def answers(path: str, questions: Questions) -> Iterator[Answers]:
    """The answers, as the only value."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads take six times the time of a small model
    import torch
    import transformers

    trust = {"trust_remote_code": questions.custom_code}
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype="auto", **trust).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, **trust)
    model.generation_config.eos_token_id = None  # it would end there

    @torch.no_grad()
    def logits(input_BT: np.ndarray) -> np.ndarray:
        found: np.ndarray = model(torch.tensor(input_BT, dtype=torch.long)).logits.float().numpy()
        return found

    prompt = torch.tensor([questions.prompt])
    written = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=questions.new_tokens
    )
    yield Answers(
        *likelihoods(questions, logits),
        greedy=written[0, len(questions.prompt) :].tolist(),
        ids=[list(tokenizer(text)["input_ids"]) for text in questions.texts],
        program=f"transformers {transformers.__version__}",
    )
