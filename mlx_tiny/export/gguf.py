"""Writes a model as one GGUF file, for llama.cpp."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.export import gguf_tokenizer
from mlx_tiny.export.model import Export
from mlx_tiny.export.qwen3 import folded
from mlx_tiny.export.tokenizer_json import chat_template
from mlx_tiny.model.writing import USER, is_chat

_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
"""How GGUF calls each dtype."""
_BLOCK = 32
"""Numbers of a row that have one scale in q8_0."""


def write(export: Export, path: Path) -> None:
    """Write the file `path`, whose folder exists.

    Raises:
        TinyError: the tokenizer cannot be represented, or a weight is too large.
    """
    import gguf

    writer = gguf.GGUFWriter(path, "qwen3")
    _add_tokenizer(writer, export.model.tokenizer)
    _add_shape(writer, export)
    writer.add_file_type(gguf.LlamaFileType[_file_type(export.dtype)])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, export.model.config.layers)
    for name, array in folded(export.model.parameters, export.model.config).items():
        kind = gguf.GGMLQuantizationType[_TYPES[_dtype(array, export.dtype)]]
        writer.add_tensor(str(names.get_name(name, (".weight",))), _in_type(gguf, array, kind), raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except OSError as error:
        if error.errno is None:  # numpy's, where less is written than there is
            raise OSError(errno.ENOSPC, str(error)) from error
        raise
    finally:
        writer.close()


def remarks(export: Export) -> Iterator[str]:
    """Sentences about what is not as it was asked for, or not as it is in the run."""
    yield from gguf_tokenizer.remarks(export.model.tokenizer)
    arrays = folded(export.model.parameters, export.model.config)
    other = [array for array in arrays.values() if array.ndim > 1 and _dtype(array, export.dtype) != export.dtype]
    if other:
        yield (
            f"{len(other)} of the {sum(array.ndim > 1 for array in arrays.values())} matrices have rows that are no "
            f"multiple of {_BLOCK} numbers, so they are float16."
        )


def _file_type(dtype: str) -> str:
    return "ALL_F32" if dtype == "float32" else f"MOSTLY_{_TYPES[dtype]}"


def _dtype(array: np.ndarray, dtype: str) -> str:
    """In which dtype a weight is written: llama.cpp wants vectors in float32, and q8_0 divides rows into blocks."""
    if array.ndim == 1:
        return "float32"
    return "float16" if dtype == "q8_0" and array.shape[-1] % _BLOCK else dtype


def _in_type(gguf: ModuleType, array: np.ndarray, kind: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        written: np.ndarray = gguf.quants.quantize(array, kind)
    if not np.isfinite(gguf.quants.dequantize(written, kind)).all():
        raise TinyError(f"A weight is too large for {kind.name}", remedy="Export with --dtype bfloat16 or float32")
    return written


def _add_shape(writer: Any, export: Export) -> None:
    c = export.model.config
    writer.add_name("mlx_tiny")
    writer.add_context_length(c.context)
    writer.add_vocab_size(c.vocabulary_size)
    writer.add_embedding_length(c.width)
    writer.add_block_count(c.layers)
    writer.add_feed_forward_length(c.hidden)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.key_value_heads)
    writer.add_key_length(c.head_width)
    writer.add_value_length(c.head_width)
    writer.add_layer_norm_rms_eps(c.norm_epsilon)
    writer.add_rope_freq_base(c.rope_base)


def _add_tokenizer(writer: Any, tokenizer: Tokenizer) -> None:
    described = gguf_tokenizer.gguf_tokenizer(tokenizer)
    writer.add_tokenizer_model(described.model)
    writer.add_tokenizer_pre("gpt-2" if described.merges else "default")
    writer.add_token_list(described.tokens)
    writer.add_token_types(described.types)
    if described.merges:
        writer.add_token_merges(described.merges)
    else:
        writer.add_token_scores(described.scores)
    writer.add_bos_token_id(tokenizer.bos)
    writer.add_eos_token_id(tokenizer.bos)
    writer.add_pad_token_id(tokenizer.bos)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if is_chat(tokenizer):
        writer.add_eot_token_id(tokenizer.markers[USER])
        writer.add_chat_template(chat_template(tokenizer))
