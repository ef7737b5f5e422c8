"""The state in which a session of a run begins: a fresh one, or that of its last checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from mlx_tiny.config import RunConfig
from mlx_tiny.data.batches import BatchStream, MixedStream
from mlx_tiny.data.mixture import Corpus
from mlx_tiny.errors import TinyError
from mlx_tiny.files import make_folder, require_ordinary, require_writable
from mlx_tiny.records import Progress, from_plain
from mlx_tiny.training.backend import Backend, State
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counts import split
from mlx_tiny.training.watch import LossWatch

_REPORTS = ("report.json", "report.md", "loss.png", "documents.safetensors")


def require_data_of(run: RunFolder, corpus: Corpus) -> None:
    """Raise a TinyError when the prepared data is not the data that the run was started with."""
    if run.corpus.key != corpus.key or run.corpus.tokenizer != corpus.tokenizer.hash:
        raise changed_data(run, corpus.key)
    if corpus.tokenizer.size > run.config.model.vocabulary_size:
        raise TinyError(
            f"The model of the run at {run.path} has fewer tokens than its data",
            expected=f"a vocabulary of at least {corpus.tokenizer.size}",
            got=run.config.model.vocabulary_size,
            remedy="Restore config.json from a copy, or start a new run",
        )


def changed_data(run: RunFolder, key: str) -> TinyError:
    """The error for a text that is not that of the run, but has this key."""
    return TinyError(
        f"The data of the run at {run.path} has changed since it was started, or another version prepared it",
        expected=f"prepared data {run.corpus.key}",
        got=key,
        remedy="Restore the files that the run was started with, or use the version that started it; "
        f"`--from {shlex.quote(str(run.path))}` starts a new run from its weights",
    )


def begin(run: RunFolder, backend: Backend, tell: Callable[[str], None], *, resume: bool) -> tuple[State, Progress]:
    """Make the folder of a run ready for a session, and say where this begins.

    Args:
        resume: see `Trainer`.

    Raises:
        TinyError: a checkpoint that is damaged, or missing although the run has begun; or what the session will write
            cannot be replaced.
    """
    run.remove_leftovers()
    make_folder(run.checkpoint("last").parent)
    for path in (run.weights, *(run.path / name for name in _REPORTS)):
        if path.exists():
            require_ordinary(path, "file")
    require_writable(run.checkpoint("last"), run.weights)
    if resume and run.has_checkpoint():
        state, progress = backend.load_checkpoint(run, run.resumes_from)
        if run.resumes_from == "best":
            kept = [f"; kept is {path}" for path in run.return_to_best()]
            tell(f"the run goes back to its best checkpoint{''.join(kept)}")
        losses = run.metrics.rewind(progress.step, tell)
        watch = from_plain(LossWatch, progress.losses, "account of the run")
        if len(losses) != progress.step or not watch.has_seen(losses):
            tell(f"warning: {run.metrics.path} lacks steps of this run, or has those of another")
        run.save_config(progress.step)
        begun = f"resumed at step {progress.step}, after {progress.tokens:,} tokens"
        origin = run.origin
        if origin is not None and progress.step == 0:
            begun = f"starts from the weights of {origin.weights_of}"
        tell(begun)
        if progress.computed_by not in (None, backend.description):
            tell(
                f"warning: until here {progress.computed_by} computed the run, and now {backend.description}: "
                f"the result is not, bit for bit, that of a run without a break"
            )
        return state, progress
    if resume:
        _require_not_begun(run)
        tell("the run has no checkpoint yet: it starts again at step 0")
    run.metrics.rewind(-1)
    if resume:
        run.save_config()
    return backend.initial_state(), Progress()


def _require_not_begun(run: RunFolder) -> None:
    """Raise a TinyError when a run without a checkpoint has weights already, which a new beginning would replace."""
    if run.weights.exists() or run.origin is not None:
        begun = "started from another run" if run.origin else "has ended"
        weights = f", whose weights --from {shlex.quote(str(run.path))} takes" if run.weights.exists() else ""
        raise TinyError(
            f"The run at {run.path} {begun}, and its last checkpoint is missing, so it cannot go on",
            expected=f"the file {run.checkpoint('last')}",
            remedy=f"Restore it from a copy, or start a new run{weights}",
        )


def stream_of(corpus: Corpus, config: RunConfig) -> BatchStream | MixedStream:
    """The batches of a run, from its beginning on."""
    texts = [split(part, config).learned for part in corpus.parts]
    shares = [part.share for part in corpus.parts]
    asked: dict[str, Any] = {
        "batch_size": config.train.batch_size,
        "context": config.model.context,
        "seed": config.train.seed,
        "bos": corpus.tokenizer.bos if config.train.order == "documents" else None,
    }
    return BatchStream(texts[0], **asked) if len(texts) == 1 else MixedStream(texts, shares, **asked)
