"""A model of mlx_tiny for mlx-lm: qwen3, and what the options of mlx_tiny add to it.

Dimensions: B batch, T new tokens, S all tokens, D width, V vocabulary.
"""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import qwen3
from mlx_lm.models.base import create_attention_mask, scaled_dot_product_attention
from mlx_lm.models.cache import CacheList, KVCache


@dataclass
class ModelArgs(qwen3.ModelArgs):
    """The file config.json."""

    hidden_act: str = "silu"
    """`silu` for SwiGLU, or `relu2` for a squared ReLU without a gate."""
    options: dict[str, float] = field(default_factory=dict)
    """Values of the options that the model has, by their names in mlx_tiny."""


class Attention(qwen3.Attention):
    """Attention, with an embedding of each token added to its value where the layer has a table."""

    def __init__(self, args: ModelArgs, has_table: bool) -> None:
        super().__init__(args)
        if has_table:
            self.value_embedding = nn.Embedding(args.vocab_size, self.n_kv_heads * args.head_dim)

    def __call__(self, x_BTD: mx.array, token_BT: mx.array, mask: Any, cache: Any) -> mx.array:
        B, T, _ = x_BTD.shape
        queries, keys, values = self.q_proj(x_BTD), self.k_proj(x_BTD), self.v_proj(x_BTD)
        if "value_embedding" in self:
            values = values + self.value_embedding(token_BT)
        queries = self.q_norm(queries.reshape(B, T, self.n_heads, -1)).transpose(0, 2, 1, 3)
        keys = self.k_norm(keys.reshape(B, T, self.n_kv_heads, -1)).transpose(0, 2, 1, 3)
        values = values.reshape(B, T, self.n_kv_heads, -1).transpose(0, 2, 1, 3)
        offset = cache.offset if cache is not None else 0
        queries, keys = self.rope(queries, offset=offset), self.rope(keys, offset=offset)
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)
        mixed = scaled_dot_product_attention(queries, keys, values, cache=cache, scale=self.scale, mask=mask)
        return self.o_proj(mixed.transpose(0, 2, 1, 3).reshape(B, T, -1))


class SquaredReLU(nn.Module):
    """An MLP of two matrices."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def __call__(self, x_BTD: mx.array) -> mx.array:
        return self.down_proj(nn.relu2(self.up_proj(x_BTD)))


class Layer(qwen3.TransformerBlock):
    """A layer, with factors for the stream that it adds to."""

    def __init__(self, args: ModelArgs, index: int) -> None:
        super().__init__(args)
        tables = args.options.get("value_embeddings", 0)
        self.self_attn = Attention(args, has_table=index >= args.num_hidden_layers - tables)
        if args.hidden_act == "relu2":
            self.mlp = SquaredReLU(args.hidden_size, args.intermediate_size)
        self.residual_scale = mx.ones(2)
        if "input_skip" in args.options:
            self.input_skip_share = mx.zeros(args.hidden_size)

    def __call__(self, x_BTD: mx.array, embedded_BTD: mx.array, token_BT: mx.array, mask: Any, cache: Any) -> mx.array:
        mixed_BTD = self.self_attn(self.input_layernorm(x_BTD), token_BT, mask, cache)
        x_BTD = self.residual_scale[0] * x_BTD + mixed_BTD
        x_BTD = self.residual_scale[1] * x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return x_BTD + self.input_skip_share * embedded_BTD if "input_skip_share" in self else x_BTD


class Trunk(qwen3.Qwen3Model):
    """The model without its head."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__(args)
        self.layers = [Layer(args, index) for index in range(args.num_hidden_layers)]
        if rows := args.options.get("bigram_embedding"):
            self.bigram_embedding = nn.Embedding(int(rows), args.hidden_size)
        if "smear" in args.options:
            self.smear_share = mx.zeros(args.hidden_size)

    def __call__(self, token_BT: mx.array, cache: list[Any] | None = None, _: None = None) -> mx.array:
        tokens, caches = None, [None] * len(self.layers)
        if cache is not None:
            tokens, caches = cache[0][1], [cache[0][0], *cache[1:]]
        mask = create_attention_mask(token_BT, caches[0])
        x_BTD = embedded_BTD = self.embed(token_BT, previous_tokens(token_BT, tokens, self.vocab_size))
        for layer, own in zip(self.layers, caches, strict=True):
            x_BTD = layer(x_BTD, embedded_BTD, token_BT, mask, own)
        return self.norm(x_BTD)

    def embed(self, token_BT: mx.array, previous_BT: mx.array) -> mx.array:
        """The input of the first layer, [B, T, D]; a previous token of V is none."""
        x_BTD = self.embed_tokens(token_BT)
        if "bigram_embedding" in self:
            pair_BT = (previous_BT.astype(mx.uint32) * 27191) ^ (token_BT.astype(mx.uint32) * 36313)
            x_BTD = x_BTD + self.bigram_embedding(pair_BT % int(self.args.options["bigram_embedding"]))
        if "smear_share" in self:
            known_BT1 = (previous_BT < self.vocab_size)[..., None]
            row_BTD = self.embed_tokens(mx.minimum(previous_BT, self.vocab_size - 1))
            x_BTD = x_BTD + mx.where(known_BT1, self.smear_share * row_BTD, 0)
        return x_BTD


class Model(qwen3.Model):
    """The model with its head."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__(args)
        self.model = Trunk(args)

    def __call__(self, inputs: mx.array, cache: list[Any] | None = None) -> mx.array:
        """Logits [B, T, V] of the next token at each of `inputs` [B, T]."""
        logits_BTV = super().__call__(inputs, cache)
        cap = self.args.options.get("logit_soft_cap")
        return cap * mx.tanh(logits_BTV / cap) if cap else logits_BTV

    def make_cache(self) -> list[Any]:
        """A cache per layer; the first also keeps the tokens, so that whatever mlx-lm does to it is done to them."""
        return [CacheList(KVCache(), KVCache()), *(KVCache() for _ in self.layers[1:])]


def previous_tokens(token_BT: mx.array, cache: Any, nothing: int) -> mx.array:
    """The token before each, [B, T], or `nothing` where there is none; the tokens are added to the cache."""
    B, T = token_BT.shape
    nothing_B1 = mx.full((B, 1), nothing, mx.int32)
    token_BT = token_BT.astype(mx.int32)
    if cache is None:
        return mx.concatenate([nothing_B1, token_BT[:, :-1]], axis=1)
    column_B1T1 = token_BT[:, None, :, None]
    kept_BS = cache.update_and_fetch(column_B1T1, column_B1T1)[0][:, 0, :, 0]
    start = kept_BS.shape[1] - T
    earlier_BT = mx.concatenate([nothing_B1, kept_BS[:, :-1]], axis=1)[:, start:]
    # In a batch, shorter texts have nothing before their first token, to the left.
    if (padding_B := getattr(cache, "left_padding", None)) is None:
        return earlier_BT
    return mx.where(mx.arange(start, start + T) > padding_B[:, None], earlier_BT, nothing)
