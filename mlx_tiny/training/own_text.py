"""The text of a run, whatever has become of its files: its prepared data in the cache, or else made again from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Progress
from mlx_tiny.data.mixture import Corpus, find_data, possible_keys, prepare_data, resolve_data, split_weight
from mlx_tiny.data.prepare import silent
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.data.tokenizer import schema_of
from mlx_tiny.errors import TinyError
from mlx_tiny.training.ancestor import Ancestor
from mlx_tiny.training.beginning import changed_data, require_data_of
from mlx_tiny.training.checkpoint import RunFolder


def own_text(run: RunFolder, progress: Progress | None = None, tell: Callable[[str], None] = lambda _: None) -> Corpus:
    """The text of a run: found in the cache by its key, else prepared from what the run was started with.

    Args:
        progress, tell: as for `prepare`.

    Raises:
        TinyError: it is not in the cache, and the files are missing or have changed.
    """
    found = cached_text(run)
    if found is not None:
        return found
    config, tokenizer = run.config.data, run.inherited_tokenizer()
    # The schema of the run's histories is in its tokenizer, whatever has become of the file.
    schema = None if config.schema is None else schema_of(run.load_tokenizer())
    try:
        source = resolve_data(config, schema)
    except TinyError as error:
        raise TinyError(
            f"{error.failed}, and the prepared data of the run at {run.path} is not in the cache any more",
            expected=error.expected,
            got=error.got,
            remedy="Put the text back where it was, or restore the cache (MLX_TINY_HOME)",
        ) from error
    # In a run, `auto` means TinyStories, and not the generated stories that it means where these are missing.
    if source.names != config.sources:
        raise TinyError(
            f"TinyStories, on which the run at {run.path} is trained, is not in the cache any more",
            remedy="Restore the cache (MLX_TINY_HOME)",
        )
    keys = possible_keys(source, config, tokenizer, progress or silent)
    if run.corpus.key not in keys:  # before another text is prepared in vain
        raise changed_data(run, keys[0])
    corpus = replace(
        prepare_data(config, progress=progress, source=source, tokenizer=tokenizer, tell=tell), key=run.corpus.key
    )
    require_data_of(run, corpus)
    return corpus


def cached_text(run: Ancestor) -> Corpus | None:
    """The prepared text that a run was trained on, or None where it is not in the cache any more, or damaged."""
    found = in_cache(run.corpus.key, run.corpus.description, run.corpus.tokenizer)
    if found is None:
        return None
    # Equal texts of other names may have been prepared first.
    config = run.config.data
    if isinstance(found, PreparedCorpus):
        return _with_settings(found, config)
    configs = [replace(config, sources=(split_weight(name)[0],)) for name in config.sources]
    pairs = zip(found.parts, configs, strict=True)
    return replace(found, parts=tuple(part._replace(corpus=_with_settings(part.corpus, own)) for part, own in pairs))


def in_cache(key: str, description: str, tokenizer: str | None) -> Corpus | None:
    """The prepared text with this key in the tokens of this tokenizer, or None where it is not in the cache."""
    corpus = find_data(key, description) if key else None
    return corpus if corpus is not None and corpus.tokenizer.hash == tokenizer else None


def _with_settings(corpus: PreparedCorpus, config: DataConfig) -> PreparedCorpus:
    return replace(corpus, record=replace(corpus.record, source=corpus.description, settings=config))
