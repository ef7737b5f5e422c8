"""The operations of a training step at the shapes of a preset: attention, heads, head and loss, and MLP."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator

import mlx.core as mx
import numpy as np

from mlx_tiny.bench import counts, references
from mlx_tiny.bench.operation import BOTH, FORWARD, TORCH, Named, Operation, available, drawn
from mlx_tiny.bench.updates import of_adamw, of_newton_schulz
from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.linux import attention as attention_cpu
from mlx_tiny.linux.lanes import on_cpu
from mlx_tiny.ops import activation, attention, cross_entropy
from mlx_tiny.ops import qk_norm_rope as heads
from mlx_tiny.ops.rotary import rotary_tables
from mlx_tiny.study.plan import Preset

# Query rows of a tile of the Metal kernels.
_METAL_TILE = 32
_NO_BUILT_IN = "MLX has no such operation of its own"


def of_preset(preset: Preset, dtype: str, names: Iterable[str] | None = None) -> Iterator[Operation]:
    """The operations of a preset's training step.

    Args:
        dtype: of activations; the optimizers' is always float32.
        names: only these, out of `NAMES`; all by default.

    Raises:
        TinyError: an unknown name.
    """
    chosen = list(NAMES if names is None else names)
    for name in chosen:
        if name not in NAMES:
            raise TinyError(f"Unknown operation {name!r}", expected=f"one of {', '.join(NAMES)}")
    for name in chosen:
        yield from _BUILDERS[name](preset, dtype)


def _attention(preset: Preset, dtype: str) -> Iterator[Operation]:
    c, B = preset.model_config(), preset.batch_size
    T, H, G, K = c.context, c.heads, c.key_value_heads, c.head_width
    shapes = {"query": (B, T, H, K), "key": (B, T, G, K), "value": (B, T, G, K), "mixed": (B, T, H, K)}
    arrays = drawn(shapes, dtype)
    cotangents = {"mixed": arrays.pop("mixed")}

    def attend(implementation: str, inputs: Named) -> Named:
        query, key, value = inputs["query"], inputs["key"], inputs["value"]
        return {"mixed": attention.causal_attention(query, key, value, scale=K**-0.5, implementation=implementation)}

    for direction, both in ((FORWARD, False), (BOTH, True)):
        dense = counts.dense_attention_flops(B, T, H, K, both)
        executed = {
            "plain": dense,
            "cpu": counts.blocked_attention_flops(B, T, H, K, both, attention_cpu.BLOCK),
            "metal": counts.tiled_attention_flops(B, T, H, K, both, _METAL_TILE),
            # Away from the CPU MLX's own kernels do not tell what they leave out.
            **({"mlx": dense} if on_cpu() else {}),
        }
        yield Operation(
            name="attention",
            direction=direction,
            preset=preset.name,
            shape=f"B{B} T{T} H{H} G{G} K{K}",
            dtype=dtype,
            inputs=arrays,
            cotangents=cotangents,
            reference=references.attention,
            implementations=available(attention.IMPLEMENTATIONS, attend, arrays, dtype),
            flops=counts.attention_flops(B, T, H, K) * (counts.BOTH_WAYS if both else 1),
            least_bytes=counts.attention_bytes(B, T, H, G, K, both, dtype),
            executed_flops=executed,
            tolerances=("attention", "attention gradient"),
            batched=("query", "key", "value", "mixed"),
            differentiable=("query", "key", "value"),
        )


def _heads(preset: Preset, dtype: str) -> Iterator[Operation]:
    c, B = preset.model_config(), preset.batch_size
    T, H, G, K = c.context, c.heads, c.key_value_heads, c.head_width
    shapes = {"projected": (B, T, H + 2 * G, K), "query norm weight": (K,), "key norm weight": (K,)}
    cotangents = drawn({"query": (B, T, H, K), "key": (B, T, G, K), "value": (B, T, G, K)}, dtype)
    cosine, sine = (np.array(table) for table in rotary_tables(T, K, c.rope_base))
    arrays = {**drawn(shapes, dtype), "cosine": cosine, "sine": sine}

    def split(implementation: str, inputs: Named) -> Named:
        query, key, value = heads.qk_norm_rope(
            inputs["projected"],
            inputs["query norm weight"],
            inputs["key norm weight"],
            (inputs["cosine"], inputs["sine"]),
            key_value_heads=G,
            epsilon=c.norm_epsilon,
            implementation=implementation,
        )
        return {"query": query, "key": key, "value": value}

    def built_in(inputs: Named) -> Named:
        query, key, value = mx.split(inputs["projected"], [H, H + G], axis=2)
        return {
            "query": _built_in_rotation(query, inputs["query norm weight"], c),
            "key": _built_in_rotation(key, inputs["key norm weight"], c),
            "value": value,
        }

    implementations = {**available(heads.IMPLEMENTATIONS, split, arrays, dtype), "mlx": built_in}
    for direction, both in ((FORWARD, False), (BOTH, True)):
        yield Operation(
            name="heads",
            direction=direction,
            preset=preset.name,
            shape=f"B{B} T{T} H{H} G{G} K{K}",
            dtype=dtype,
            inputs=arrays,
            cotangents=cotangents,
            reference=functools.partial(references.heads, key_value_heads=G, epsilon=c.norm_epsilon),
            implementations=implementations,
            flops=counts.heads_flops(B, T, H, G, K, both),
            least_bytes=counts.heads_bytes(B, T, H, G, K, both, dtype),
            tolerances=("heads", "heads"),
            batched=("projected", "query", "key", "value"),
            differentiable=("projected", "query norm weight", "key norm weight"),
            fixed_dtypes=("cosine", "sine"),
        )


def _built_in_rotation(x_BTHK: mx.array, weight_K: mx.array, c: ModelConfig) -> mx.array:
    normed = mx.fast.rms_norm(x_BTHK, weight_K, c.norm_epsilon).swapaxes(1, 2)
    turned = mx.fast.rope(normed, c.head_width, traditional=False, base=c.rope_base, scale=1.0, offset=0)
    return turned.swapaxes(1, 2)


def _cross_entropy(preset: Preset, dtype: str) -> Iterator[Operation]:
    c, B = preset.model_config(), preset.batch_size
    T, D, V, N = c.context, c.width, c.vocabulary_size, B * c.context
    arrays = drawn({"hidden": (B, T, D), "head": (V, D)}, dtype, {"head": D**-0.5})
    arrays["target"] = np.random.default_rng(1).integers(0, V, (B, T), dtype=np.int32)
    cotangents = drawn({"losses": (B, T)}, "float32")

    def lose(implementation: str, inputs: Named) -> Named:
        target = inputs["target"]
        losses = cross_entropy.head_cross_entropy(
            inputs["hidden"].reshape(-1, D), inputs["head"], target.reshape(-1), implementation=implementation
        )
        return {"losses": losses.reshape(target.shape)}

    def built_in(inputs: Named) -> Named:
        return {"losses": mx.fast.cross_entropy(inputs["hidden"] @ inputs["head"].T, inputs["target"])}

    implementations = {**available(cross_entropy.IMPLEMENTATIONS, lose, arrays, dtype), "mlx": built_in}
    for direction, both in ((FORWARD, False), (BOTH, True)):
        flops = counts.cross_entropy_flops(N, D, V, both)
        yield Operation(
            name="cross-entropy",
            direction=direction,
            preset=preset.name,
            shape=f"N{N} D{D} V{V}",
            dtype=dtype,
            inputs=arrays,
            cotangents=cotangents,
            reference=references.cross_entropy,
            implementations=implementations,
            flops=flops,
            least_bytes=counts.cross_entropy_bytes(N, D, V, both, dtype),
            executed_flops=dict.fromkeys(("plain", "cpu", "mlx", TORCH), flops),
            tolerances=("cross-entropy", "cross-entropy gradient"),
            batched=("hidden", "target", "losses"),
            differentiable=("hidden", "head"),
            fixed_dtypes=("losses",),
        )


def _mlp(preset: Preset, dtype: str) -> Iterator[Operation]:
    c, B = preset.model_config(), preset.batch_size
    T, D, F, N = c.context, c.width, c.hidden, B * c.context
    matrices = 2 if c.activation == "swiglu" else 1
    shapes = {"x": (B, T, D), "first": (matrices * F, D), "second": (D, F)}
    arrays = drawn(shapes, dtype, {"first": D**-0.5, "second": F**-0.5})
    cotangents = drawn({"output": (B, T, D)}, dtype)

    def transform(implementation: str, inputs: Named) -> Named:
        hidden = activation.activate(inputs["x"] @ inputs["first"].T, c.activation, implementation=implementation)
        return {"output": hidden @ inputs["second"].T}

    implementations = {**available(activation.IMPLEMENTATIONS, transform, arrays, dtype), "mlx": _NO_BUILT_IN}
    for direction, both in ((FORWARD, False), (BOTH, True)):
        flops = counts.mlp_flops(N, D, F, matrices, both)
        yield Operation(
            name="mlp",
            direction=direction,
            preset=preset.name,
            shape=f"N{N} D{D} F{F}{' SwiGLU' if matrices == 2 else ''}",
            dtype=dtype,
            inputs=arrays,
            cotangents=cotangents,
            reference=functools.partial(references.mlp, activation=c.activation),
            implementations=implementations,
            flops=flops,
            least_bytes=counts.mlp_bytes(N, D, F, matrices, both, dtype),
            executed_flops=dict.fromkeys(("plain", "cpu", TORCH), flops),
            tolerances=("MLP", "MLP"),
            batched=("x", "output"),
            differentiable=("x", "first", "second"),
        )


_BUILDERS: dict[str, Callable[[Preset, str], Iterator[Operation]]] = {
    "attention": _attention,
    "heads": _heads,
    "cross-entropy": _cross_entropy,
    "mlp": _mlp,
    "newton-schulz": of_newton_schulz,
    "adamw": of_adamw,
}
NAMES = tuple(_BUILDERS)
"""What `bench kernels` can time."""


def least_launches(operation: Operation) -> int:
    """Launches that no implementation can save: one, and one more for gradients."""
    return 2 if operation.backward else 1


def intensity(operation: Operation) -> float:
    """Arithmetic intensity: model FLOPs a byte that must be moved."""
    return operation.flops / operation.least_bytes if operation.least_bytes else math.inf
