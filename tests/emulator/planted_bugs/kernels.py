"""The small kernels: their text, a launch of each at ragged sizes, and what they must compute (NumPy, float64)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np

from emulator.capture import Captured, capture
from mlx_tiny.ops.metal import KernelText, kernel_folder

_HERE = Path(__file__).parent
_INCLUDE = re.compile(r'#include "([\w.]+)"\n')
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class SmallKernel:
    """One file of this folder, and how it is launched."""

    name: str
    inputs: Arrays
    outputs: dict[str, tuple[int, ...]]
    threadgroups: tuple[int, int, int]
    reference: Callable[[Arrays], Arrays]
    threads: int = 128
    dtype: mx.Dtype = mx.float32
    template: dict[str, Any] = field(default_factory=dict)

    def text(self) -> KernelText:
        """Header and body: a line `#include` names a file of this folder, or else of the project's kernels."""
        body = (_HERE / f"{self.name}.metal").read_text(encoding="ascii")
        headers = []
        while match := _INCLUDE.match(body):
            body = body[match.end() :]
            near = _HERE / match[1]
            headers.append((near if near.exists() else kernel_folder() / match[1]).read_text(encoding="ascii"))
        return KernelText(self.name, "".join(headers), body)

    def source(self, text: KernelText) -> str:
        """What MLX generates from `text` in this kernel's place; nothing is run."""
        return self.launch(text).source

    def launch(self, text: KernelText) -> Captured:
        """The same with the sizes of the launch."""
        return capture(self._kernel(text), self.name, self._arrays(), self._arguments())

    def error(self, text: KernelText) -> float:
        """Run `text` in this kernel's place: the largest error over an output's largest value; NaN is infinite."""
        wanted = self.reference({name: array.astype(np.float64) for name, array in self.inputs.items()})
        results = self._kernel(text)(inputs=self._arrays(), **self._arguments())
        worst = 0.0
        for name, result in zip(self.outputs, results, strict=True):
            difference = np.abs(np.array(result.astype(mx.float32), dtype=np.float64) - wanted[name]).max()
            worst = max(worst, float(np.nan_to_num(difference / np.abs(wanted[name]).max(), nan=np.inf)))
        return worst

    def _kernel(self, text: KernelText) -> Callable[..., list[mx.array]]:
        kernel = mx.fast.metal_kernel(
            name=self.name,
            input_names=list(self.inputs),
            output_names=list(self.outputs),
            source=text.body,
            header=text.header,
        )
        return cast("Callable[..., list[mx.array]]", kernel)

    def _arrays(self) -> list[mx.array]:
        return [mx.array(array.astype(np.float32)).astype(self.dtype) for array in self.inputs.values()]

    def _arguments(self) -> dict[str, Any]:
        x, y, z = self.threadgroups
        return {
            "template": list((self.template or {"T": self.dtype}).items()),
            "grid": (x * self.threads, y, z),
            "threadgroup": (self.threads, 1, 1),
            "output_shapes": list(self.outputs.values()),
            "output_dtypes": [self.dtype] * len(self.outputs),
        }


def _numbers(*shape: int) -> np.ndarray:
    # Quarters are exact in every dtype here.
    return np.random.default_rng(sum(shape)).integers(-8, 9, shape).astype(np.float32) / 4


def _causal_softmax(arrays: Arrays) -> Arrays:
    scores = arrays["scale"] * arrays["x"]
    rows, columns = np.indices(scores.shape)
    scores = np.where(columns <= rows, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return {"y": weights / weights.sum(axis=1, keepdims=True)}


SMALL_KERNELS = {
    kernel.name: kernel
    for kernel in (
        SmallKernel(
            "column_sum", {"x": _numbers(9, 45)}, {"y": (45,)}, (2, 1, 1), lambda arrays: {"y": arrays["x"].sum(axis=0)}
        ),
        SmallKernel(
            "transposition",
            {"x": _numbers(37, 45)},
            {"y": (45, 37)},
            (2, 2, 1),
            lambda arrays: {"y": arrays["x"].T},
            dtype=mx.bfloat16,
        ),
        SmallKernel(
            "product",
            {"x": _numbers(35, 21), "y": _numbers(21, 19), "alpha": np.array([-0.5])},
            {"z": (35, 19)},
            (2, 2, 1),
            lambda arrays: {"z": arrays["alpha"] * (arrays["x"] @ arrays["y"])},
            dtype=mx.bfloat16,
        ),
        SmallKernel(
            "causal_softmax",
            {"x": 480 + 4 * _numbers(10, 45), "scale": np.array([0.25])},
            {"y": (10, 45)},
            (3, 1, 1),
            _causal_softmax,
            dtype=mx.float16,
            template={"T": mx.float16, "PARTS": 2},
        ),
        SmallKernel(
            "scaled_vectors",
            {"x": _numbers(260), "factor": np.array([3.0]), "shift": _numbers(4)},
            {"y": (260,)},
            (1, 1, 1),
            lambda arrays: {"y": arrays["factor"] * arrays["x"] + np.tile(arrays["shift"], 65)},
        ),
        SmallKernel(
            "block_means",
            {"x": _numbers(3, 128)},
            {"squares": (3, 128), "means": (3,)},
            (3, 1, 1),
            lambda arrays: {"squares": arrays["x"] ** 2, "means": (arrays["x"] ** 2).mean(axis=1)},
        ),
    )
}
