"""A run that starts from the weights of another: what it takes over, and what it learns and forgets by it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np

from mlx_tiny.config import RunConfig
from mlx_tiny.data.mixture import Corpus, split_weight
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.implementations import beyond_training
from mlx_tiny.records import Origin
from mlx_tiny.training.ancestor import Ancestor
from mlx_tiny.training.evaluate import evaluate, fingerprint
from mlx_tiny.training.learned import count_learned, count_learned_validation
from mlx_tiny.training.own_text import in_cache
from mlx_tiny.training.step import TrainingState, fresh_state


def begin(
    source: Ancestor, parameters: Parameters, config: RunConfig, corpus: Corpus, old: Corpus | None
) -> tuple[Origin, TrainingState]:
    """Measure the weights of `source` on both texts, and make the state in which a run starts from them.

    Args:
        parameters: of `source`.
        config: of the new run.
        corpus: its text, in the tokens of `source`.
        old: the text of `source`; None leaves it out.

    Returns:
        What the new run records of `source`, and its weights with moments of zero.
    """
    keys, learned = learned_keys(source), learned_texts(source)
    texts = {part.corpus.key: part.corpus for text in (corpus, old) if text is not None for part in text.parts}
    origin = Origin(
        run=str(source.path.absolute()),
        step=source.newest_step(),
        weights=_hash(parameters),
        tokenizer=corpus.tokenizer.hash,
        data=source.corpus.description,
        data_key=source.corpus.key,
        texts=[] if old is None else [fingerprint(part.corpus.valid_text_hash) for part in old.parts],
        before={fingerprint(text.valid_text_hash): _bits_per_byte(parameters, config, text) for text in texts.values()},
        validation_documents=sum(part.corpus.valid_file.documents for part in corpus.parts),
        learned_documents=None if len(learned) < len(keys) else count_learned_validation(corpus, learned),
        earlier_keys=keys[1:],
        sources=tuple(split_weight(name)[0] for name in source.config.data.sources if source.corpus.key),
    )
    return origin, replace(fresh_state(config), parameters=parameters)


def doubts(origin: Origin) -> list[str]:
    """Lines that say why strength on the validation text may not be that on new text."""
    if origin.learned_documents is None:
        return [
            f"warning: it is not known whether {origin.run} was trained on the validation text, because not all of its "
            f"text is in the cache"
        ]
    if not origin.learned_documents:
        return []
    share = f"{origin.learned_documents:,} of the {origin.validation_documents:,} validation documents"
    return [f"warning: {share} were trained on by {origin.run}, so that the result is better than on new text"]


def learned_texts(run: Ancestor) -> list[Corpus]:
    """The prepared texts that the model of a run was trained on, as far as they are in the cache."""
    texts = (in_cache(key, "", run.corpus.tokenizer) for key in learned_keys(run))
    return [text for text in texts if text is not None]


def learned_documents(run: Ancestor, documents: Sequence[str], tokenizer: Tokenizer) -> tuple[int | None, list[str]]:
    """How many documents a model was trained on, None where none of its text is in the cache; and warnings."""
    known, lines = learned_texts(run), list[str]()
    if len(known) < len(learned_keys(run)):
        lines.append("it is not known whether the text was trained on: the data of the run is not all in the cache")
    count = count_learned(documents, tokenizer, known) if known else None
    if count:
        of = f"{count:,} of {len(documents):,}"
        lines.append(f"documents that were trained on: {of}; the result is better than on new text")
    return count, lines


def learned_keys(run: Ancestor) -> tuple[str, ...]:
    """Keys of the texts that the model of a run was trained on, the last one first."""
    origin, own = run.origin, run.corpus.key
    return tuple(dict.fromkeys([own, *([] if origin is None else [origin.data_key, *origin.earlier_keys])]))


def old_text_of(origin: Origin) -> Corpus | None:
    """The prepared text of the run that another one started from, or None where it is not in the cache any more."""
    return in_cache(origin.data_key, origin.data, origin.tokenizer)


def _bits_per_byte(parameters: Parameters, config: RunConfig, corpus: PreparedCorpus) -> float:
    return evaluate(
        parameters,
        config.model,
        corpus.valid,
        corpus.valid_bytes,
        dtype=getattr(mx, config.train.dtype),
        asked=beyond_training(config.train.implementation),
    ).bits_per_byte


def _hash(parameters: Parameters) -> str:
    digest = hashlib.sha256()
    for name in sorted(parameters):
        digest.update(name.encode() + b"\0")
        digest.update(np.asarray(parameters[name]).tobytes())
    return digest.hexdigest()
