"""Reads a model in the form of Hugging Face, so that a run can start from it: the inverse of `folder.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.config import DataConfig, ModelConfig, RunConfig
from mlx_tiny.config.data import LARGEST_VOCABULARY, SMALLEST_VOCABULARY
from mlx_tiny.config.presets import PORTABLE, ladder
from mlx_tiny.data.tokenizer import KINDS, Tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.export.folder import WEIGHTS
from mlx_tiny.export.tokenizer_reading import tokenizer_of
from mlx_tiny.export.unfolding import ROUNDING, shape_of, unfolded
from mlx_tiny.files import read_json
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.operation import dtype_name
from mlx_tiny.records import Origin, TextOfRun
from mlx_tiny.training.arrays import all_finite, read_arrays

_INDEX = f"{WEIGHTS}.index.json"
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


class ImportedModel:
    """A qwen3 in the form of our model, as the `Ancestor` of a run; nothing is known of its past.

    Args:
        path: of the folder.
        context: for which it will be trained, if not the longest that it says of itself.

    Raises:
        TinyError: it cannot be represented exactly, or its files are missing or damaged.
    """

    def __init__(self, path: Path, context: int | None = None) -> None:
        self.path = path
        self.origin: Origin | None = None
        self._described = read_json(path / "config.json", "description of the model")
        shape = shape_of(self._described)
        self._tokenizer = tokenizer_of(read_json(path / "tokenizer.json", "tokenizer"))
        if self._tokenizer.size > shape.vocabulary_size:
            raise TinyError(
                f"The model at {path} has fewer tokens than its tokenizer",
                expected=f"a vocab_size of at least {self._tokenizer.size}",
                got=shape.vocabulary_size,
            )
        self.config = _settings(shape, self._tokenizer, context)
        self.corpus = TextOfRun("", self._tokenizer.hash, "text that is not known")

    def newest_step(self) -> None:
        """Not known."""

    def load_tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def load_weights(self, tell: Callable[[str], None]) -> Parameters:
        """The weights in the form of ours.

        Args:
            tell: called with a line where they have been rounded.

        Raises:
            TinyError: files are missing or damaged, or the weights are not those of `config.json`, or not finite.
        """
        arrays = self._arrays()
        dtypes = sorted({dtype_name(array.dtype) for array in arrays.values()})
        if len(dtypes) != 1 or dtypes[0] not in ROUNDING:
            raise TinyError(
                f"The weights at {self.path} cannot be read", expected=f"one of {', '.join(ROUNDING)}", got=dtypes
            )
        if dtypes[0] != "float32":
            tell(f"The weights at {self.path} are rounded to {dtypes[0]}, and are trained in float32 from there.")
        arrays = {name: array.astype(mx.float32) for name, array in arrays.items()}
        if not all_finite(arrays.values()):
            raise TinyError(f"The weights at {self.path} have numbers that are NaN or infinite")
        theirs = {name: np.asarray(array) for name, array in arrays.items()}
        return {name: mx.array(array) for name, array in unfolded(theirs, self.config.model, dtypes[0]).items()}

    def _arrays(self) -> dict[str, mx.array]:
        names = {WEIGHTS}
        if (self.path / _INDEX).exists():
            names = _files_of(read_json(self.path / _INDEX, "index of the weights"))
        arrays: dict[str, mx.array] = {}
        for name in sorted(names):
            arrays |= read_arrays(self.path / name, "weights file")[0]
        if self._described.get("tie_word_embeddings") and _EMBEDDING in arrays:
            arrays[_HEAD] = arrays[_EMBEDDING]
        return arrays


def _files_of(index: Mapping[str, Any]) -> set[str]:
    """The files that an index names, which are beside it."""
    named = index.get("weight_map")
    names = list(named.values()) if isinstance(named, dict) else []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise TinyError("The index of the weights names a file that is not beside it", got=name)
    if not names:
        raise TinyError("The index of the weights names no file")
    return set(names)


def _settings(shape: ModelConfig, tokenizer: Tokenizer, context: int | None) -> RunConfig:
    """Settings for training a model of this shape: those of the `portable` preset whose matrices are most like its."""
    presets = (preset.config() for preset in ladder(PORTABLE))
    standard = min(presets, key=lambda config: abs(math.log(_size(config.model) / _size(shape))))
    kind = next(name for name, kind in KINDS.items() if type(tokenizer) is kind)
    values = {**shape.__dict__, "context": min(context or shape.context, shape.context)}
    return RunConfig(
        # Which can be asked for; bytes alone are fewer tokens.
        data=DataConfig(
            tokenizer=kind, vocabulary_size=min(max(tokenizer.size, SMALLEST_VOCABULARY), LARGEST_VOCABULARY)
        ),
        model=ModelConfig(**values),
        optimizer=standard.optimizer,
        train=standard.train,
    )


def _size(shape: ModelConfig) -> int:
    return shape.layers * shape.width**2
