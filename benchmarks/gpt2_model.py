"""A plain GPT-2-style decoder in PyTorch, with GPT-2's initialisation and AdamW's usual parameter groups.

Radford et al. 2019, in the form of nanoGPT: LayerNorm before each sublayer, biases everywhere, learned
positions, GELU (tanh), an MLP four times as wide, the head tied to the embedding, no dropout. Two later ideas can be
chosen: SwiGLU (Shazeer 2020) with as many parameters, and a head of its own.

Dimensions, as suffixes of array names: B batch, T positions, H heads, D width, K head width, V vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = ("gelu", "swiglu")
INITIAL_STD = 0.02
"""As in GPT-2; for the projections into the residual stream it is divided by sqrt(2 L)."""


class Block(nn.Module):
    """Attention and MLP, each after a LayerNorm and added to the residual stream."""

    def __init__(self, width: int, heads: int, activation: str) -> None:
        super().__init__()
        gated = activation == "swiglu"
        hidden = width * 8 // 3 if gated else 4 * width
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention_input = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_gate = nn.Linear(width, hidden) if gated else None
        self.mlp_input = nn.Linear(width, hidden)
        self.mlp_output = nn.Linear(hidden, width)

    def forward(self, stream_BTD: Tensor) -> Tensor:
        stream_BTD = stream_BTD + self._attention(self.attention_norm(stream_BTD))
        return stream_BTD + self._mlp(self.mlp_norm(stream_BTD))

    def _mlp(self, input_BTD: Tensor) -> Tensor:
        hidden_BTF = self.mlp_input(input_BTD)
        if self.mlp_gate is None:
            hidden_BTF = F.gelu(hidden_BTF, approximate="tanh")
        else:
            hidden_BTF = hidden_BTF * F.silu(self.mlp_gate(input_BTD))
        output_BTD: Tensor = self.mlp_output(hidden_BTF)
        return output_BTD

    def _attention(self, input_BTD: Tensor) -> Tensor:
        B, T, D = input_BTD.shape
        joined = self.attention_input(input_BTD).view(B, T, 3, self.heads, D // self.heads)
        query_BHTK, key_BHTK, value_BHTK = joined.permute(2, 0, 3, 1, 4).unbind(0)
        mixed_BHTK = F.scaled_dot_product_attention(query_BHTK, key_BHTK, value_BHTK, is_causal=True)
        output_BTD: Tensor = self.attention_output(mixed_BHTK.transpose(1, 2).reshape(B, T, D))
        return output_BTD


class GPT2(nn.Module):
    """The model; `forward` returns the negative log-likelihood of each target.

    Args:
        vocabulary_size: V.
        context: largest T.
        layers, heads, width: of the blocks; `heads` divides `width`.
        activation: of the MLP, `gelu` or `swiglu`; with three matrices of 8/3 D instead of two of 4 D.
        tied: whether the embedding is the head too.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        context: int,
        layers: int,
        heads: int,
        width: int,
        activation: str = "gelu",
        tied: bool = True,
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary_size, width)
        self.position_embedding = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, activation) for _ in range(layers))
        self.final_norm = nn.LayerNorm(width)
        self.head = None if tied else nn.Linear(width, vocabulary_size, bias=False)
        self._initialize()

    def _initialize(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("attention_output.weight", "mlp_output.weight"))
                scale = 1 / math.sqrt(2 * len(self.blocks)) if into_residual else 1.0
                nn.init.normal_(parameter, std=INITIAL_STD * scale)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def logits(self, input_BT: Tensor) -> Tensor:
        """Logits [B, T, V] of the token after each position."""
        positions_T = torch.arange(input_BT.shape[1], device=input_BT.device)
        stream_BTD = self.token_embedding(input_BT) + self.position_embedding(positions_T)
        for block in self.blocks:
            stream_BTD = block(stream_BTD)
        head = self.token_embedding if self.head is None else self.head
        return F.linear(self.final_norm(stream_BTD), head.weight)

    def forward(self, input_BT: Tensor, target_BT: Tensor) -> Tensor:
        """Negative log-likelihood of each target in nats, [B, T] float32."""
        logits_BTV = self.logits(input_BT).float()
        return F.cross_entropy(logits_BTV.flatten(0, 1), target_BT.flatten(), reduction="none").view_as(target_BT)

    def parameter_count(self) -> int:
        """Number of parameters; the tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def training_flops_per_token(self, context: int) -> float:
        """Model FLOPs per training token, counted as those of mlx_tiny: lookups are free, attention is causal."""
        lookups = [self.position_embedding, *([] if self.head is None else [self.token_embedding])]
        matrices = sum(parameter.numel() for parameter in self.parameters() if parameter.dim() == 2)
        matrices -= sum(table.weight.numel() for table in lookups)
        width = self.token_embedding.embedding_dim
        return 6 * (matrices + len(self.blocks) * 2 * width * (context + 1) / 2)


def adamw(model: GPT2, *, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW, with weight decay on matrices and embeddings only; the rate is set at each step."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


def sample_tokens(
    model: GPT2, first: int, *, context: int, max_tokens: int, seed: int, temperature: float = 0.8, top_p: float = 0.95
) -> list[int]:
    """Tokens drawn after `first` until it is drawn again; the whole window is read again for each."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    tokens = [first]
    with torch.inference_mode():
        while len(tokens) <= max_tokens:
            scores_V = model.logits(torch.tensor([tokens[-context:]], device=device))[0, -1].float().cpu()
            probabilities, order = torch.softmax(scores_V / temperature, dim=0).sort(descending=True)
            # The likeliest token is always kept, because none is before it.
            probabilities[probabilities.cumsum(0) - probabilities >= top_p] = 0
            token = int(order[torch.multinomial(probabilities, 1, generator=generator)])
            if token == first:
                break
            tokens.append(token)
    return tokens[1:]
