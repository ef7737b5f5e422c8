"""A model of mlx_tiny for transformers: qwen3, and what the options of mlx_tiny add to it.

Dimensions: B batch, T new tokens, D width, V vocabulary.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Qwen3ForCausalLM, Qwen3Model
from transformers.cache_utils import Cache, DynamicLayer
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3DecoderLayer, apply_rotary_pos_emb
from transformers.utils import can_return_tuple

from .configuration_mlx_tiny import MlxTinyConfig


class Attention(Qwen3Attention):
    """Attention, with an embedding of each token added to its value where the layer has a table."""

    def __init__(self, config: MlxTinyConfig, index: int) -> None:
        super().__init__(config, index)
        self.value_embedding = None
        if index >= config.num_hidden_layers - (config.option("value_embeddings") or 0):
            self.value_embedding = nn.Embedding(config.vocab_size, config.num_key_value_heads * self.head_dim)

    def forward(
        self, x_BTD: Tensor, token_BT: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None
    ) -> Tensor:
        shape = (*x_BTD.shape[:2], -1, self.head_dim)
        value = self.v_proj(x_BTD)
        if self.value_embedding is not None:
            value = value + self.value_embedding(token_BT)
        query = self.q_norm(self.q_proj(x_BTD).view(shape)).transpose(1, 2)
        key, value = self.k_norm(self.k_proj(x_BTD).view(shape)).transpose(1, 2), value.view(shape).transpose(1, 2)
        query, key = apply_rotary_pos_emb(query, key, *rotation)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        mixed = nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=mask is None and query.shape[2] > 1,
            scale=self.scaling,
            enable_gqa=True,
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class SquaredReLU(nn.Module):
    """An MLP of two matrices."""

    def __init__(self, config: MlxTinyConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(torch.relu(self.up_proj(x_BTD)) ** 2)


class Layer(Qwen3DecoderLayer):
    """A layer, with factors for the stream that it adds to."""

    def __init__(self, config: MlxTinyConfig, index: int) -> None:
        super().__init__(config, index)
        self.self_attn = Attention(config, index)
        if config.hidden_act == "relu2":
            self.mlp = SquaredReLU(config)
        self.residual_scale = nn.Parameter(torch.ones(2))
        self.input_skip_share = None
        if config.option("input_skip"):
            self.input_skip_share = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(
        self,
        x_BTD: Tensor,
        attention_mask: Tensor | None,
        position_embeddings: tuple[Tensor, Tensor],
        token_BT: Tensor,
        embedded_BTD: Tensor,
        **others: Any,
    ) -> Tensor:
        mixed_BTD = self.self_attn(
            self.input_layernorm(x_BTD), token_BT, position_embeddings, attention_mask, cache_in(others)
        )
        x_BTD = self.residual_scale[0] * x_BTD + mixed_BTD
        x_BTD = self.residual_scale[1] * x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return x_BTD if self.input_skip_share is None else x_BTD + self.input_skip_share * embedded_BTD


class Abilities:
    """What transformers asks of the classes of a model."""

    config_class = MlxTinyConfig
    _no_split_modules: ClassVar = ["Layer"]
    _supports_flash_attn = _supports_flex_attn = False
    _can_compile_fullgraph = False
    _can_record_outputs: ClassVar = {"hidden_states": Layer}


class MlxTinyModel(Abilities, Qwen3Model):
    """The model without its head."""

    def __init__(self, config: MlxTinyConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_hidden_layers))
        self.bigram_embedding = self.smear_share = None
        if config.option("bigram_embedding"):
            self.bigram_embedding = nn.Embedding(int(config.option("bigram_embedding")), config.hidden_size)
        if config.option("smear"):
            self.smear_share = nn.Parameter(torch.zeros(config.hidden_size))
        self.post_init()

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **others: Any) -> Any:
        """See Qwen3Model; `input_ids` [B, T] must be given, and a mask has two dimensions, [B, all tokens so far]."""
        if input_ids is None or others.pop("inputs_embeds", None) is not None:
            raise ValueError("This model reads tokens: give `input_ids` instead of `inputs_embeds`.")
        if attention_mask is not None and (not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2):
            raise ValueError(
                "This model takes a mask of padding [batch, tokens], and no static cache, which has others."
            )
        nothing, cache = self.config.vocab_size, cache_in(others)
        known_BT = input_ids
        if attention_mask is not None:
            known_BT = torch.where(attention_mask[:, -input_ids.shape[1] :].bool(), input_ids, nothing)
        before_B1 = self.last_token(cache)
        if before_B1 is None:
            before_B1 = torch.full_like(known_BT[:, :1], nothing)
        embedded_BTD = self.embed(input_ids, torch.cat([before_B1, known_BT[:, :-1]], dim=1))
        outputs = super().forward(
            attention_mask=attention_mask,
            inputs_embeds=embedded_BTD,
            token_BT=input_ids,
            embedded_BTD=embedded_BTD,
            **others,
        )
        self.keep(known_BT, cache_in(outputs) if cache is None else cache)
        return outputs

    def embed(self, token_BT: Tensor, previous_BT: Tensor) -> Tensor:
        """The input of the first layer, [B, T, D]; a previous token of V is none."""
        x_BTD = self.embed_tokens(token_BT)
        if self.bigram_embedding is not None:
            pair_BT = (27191 * previous_BT) ^ (36313 * token_BT)
            x_BTD = x_BTD + self.bigram_embedding(pair_BT % self.bigram_embedding.num_embeddings)
        if self.smear_share is not None:
            known_BT1 = (previous_BT < self.config.vocab_size)[..., None]
            row_BTD = self.embed_tokens(previous_BT.clamp(max=self.config.vocab_size - 1))
            x_BTD = x_BTD + self.smear_share * row_BTD * known_BT1
        return x_BTD

    def last_token(self, cache: Cache | None) -> Tensor | None:
        """The last token that the cache has, [B, 1]; None if it is empty."""
        if cache is None or not cache.get_seq_length():
            return None
        kept = cache.layers[len(self.layers)] if len(cache.layers) > len(self.layers) else None
        if kept is None or kept.get_seq_length() != cache.get_seq_length():
            raise ValueError("The cache does not have the tokens that it was made of: fill it by this model.")
        return kept.keys[:, 0, -1]

    def keep(self, known_BT: Tensor, cache: Cache | None) -> None:
        """Keep the tokens as one more layer of the cache, so that whatever is done to the others is done to it."""
        if cache is not None and len(cache.layers) >= len(self.layers):
            if len(cache.layers) == len(self.layers):
                cache.layers.append(DynamicLayer())
            column_B1T1 = known_BT[:, None, :, None]
            cache.layers[len(self.layers)].update(column_B1T1, column_B1T1)


class MlxTinyForCausalLM(Abilities, Qwen3ForCausalLM):
    """The model with its head."""

    def __init__(self, config: MlxTinyConfig) -> None:
        super().__init__(config)
        self.model = MlxTinyModel(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **others: Any,
    ) -> Any:
        """See Qwen3ForCausalLM; logits may have a soft cap."""
        outputs = super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **others,
        )
        if cap := self.config.option("logit_soft_cap"):
            outputs.logits = cap * torch.tanh(outputs.logits / cap)
        if labels is not None:
            outputs.loss = self.loss_function(
                logits=outputs.logits, labels=labels, vocab_size=self.config.vocab_size, **others
            )
        return outputs

    def resize_token_embeddings(self, *_: Any, **__: Any) -> Any:
        """Refused: the size of the vocabulary is a number in the hash of pairs of tokens."""
        raise NotImplementedError("The vocabulary of this model cannot be changed.")


def cache_in(values: Any) -> Cache | None:
    """The cache among arguments or results, of which older versions of transformers call it the second."""
    return values.get("cache") if values.get("cache") is not None else values.get("past_key_values")
