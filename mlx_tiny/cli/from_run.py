"""`mlx-tiny train --from`: the plan of a run that starts from the weights and the tokenizer of another model."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_tiny.cli import session
from mlx_tiny.cli.options import flag_name, user_settings
from mlx_tiny.cli.output import say
from mlx_tiny.config import DataConfig, RunConfig, TrainConfig
from mlx_tiny.config.optimizer import without_dial
from mlx_tiny.errors import TinyError
from mlx_tiny.records import from_plain, to_plain
from mlx_tiny.tools import laps

if TYPE_CHECKING:
    from mlx_tiny.data.mixture import Corpus
    from mlx_tiny.training.ancestor import Ancestor

# Settings of the other run that the new one has too, unless the user names others.
_OF_TOKENIZER = ("vocabulary_size", "tokenizer")
OF_STEP = ("preset", "batch_size", "micro_batches", "dtype")


def begin(path: Path, source_path: Path, flags: dict[str, Any], targets: Sequence[str] = ()) -> None:
    """Train a model on other text, as a new run at `path`.

    Args:
        source_path: a run, or a model in the form of Hugging Face.
        targets: what will be exported.

    Raises:
        TinyError: no such model, a flag that contradicts it, or one of the errors of a new run.
    """
    from mlx_tiny.data.mixture import resolve_data
    from mlx_tiny.data.prepared import require_sequence
    from mlx_tiny.data.shortened import shortened
    from mlx_tiny.data.tokenizer import schema_of
    from mlx_tiny.linux.warmup import CompilingAhead
    from mlx_tiny.training import origin
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.extent import measured_bytes
    from mlx_tiny.training.own_text import cached_text

    RunFolder.require_free(path)
    source = opened(source_path, flags["model_context"])
    if not flags["data_sources"]:
        own = shlex.join(word for name in source.config.data.sources for word in ("--data", name))
        raise TinyError(
            f"--from {source_path} needs the text to train on",
            expected="--data with text",
            remedy=f"Name new text, or that of the run again: {own}" if source.corpus.key else None,
        )
    parameters, tokenizer = source.load_weights(say), source.load_tokenizer()
    asked = {section: user_settings(flags, section) for section in session.SECTIONS}
    _require_same_model(source, asked)
    schema = None if "schema" in asked["data"] else schema_of(tokenizer)
    if schema is not None:
        asked["data"]["schema"] = source.config.data.schema
    text = session.own_source(asked["data"], schema)
    laps.COMMAND.end("look at the text")
    session.compile_operations(asked["train"].get("backend", TrainConfig.backend))
    config, reason = _planned(source, asked)
    session.require_exportable(config.model, targets, tokenizer)
    text = text or resolve_data(config.data, schema)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, sources=text.names))
    laps.COMMAND.end("choose the size")
    say(f"data: {text.description}")
    with contextlib.closing(CompilingAhead(config)) as ahead:
        corpus, floors = session.prepared(config, text, tokenizer)
        require_sequence(corpus.parts, config.model.context)
        old = cached_text(source)
        _say_what_is_measured(source, old)
        if config.train.counting:
            _warn_of_kept_text(source, corpus)
        old = old and shortened(old, measured_bytes(config))
        start = origin.begin(source, parameters, config, corpus, old)
        laps.COMMAND.end("evaluation before")
        run = RunFolder.create(path, config, session.identity(corpus), tokenizer, start)
        session.train(run, corpus, reason, floors, ahead, resume=True)


def opened(path: Path, context: int | None) -> Ancestor:
    """The model in a folder; other programs may have written it for a longer context than that which is asked for."""
    from mlx_tiny.export.importing import ImportedModel
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.described import is_for_other_programs

    return ImportedModel(path, context) if is_for_other_programs(path) else RunFolder(path)


def _planned(source: Ancestor, asked: dict[str, dict[str, Any]]) -> tuple[RunConfig, str]:
    """The configuration of `source`, with other text and a schedule of its own, changed by the user's settings."""
    from mlx_tiny.config.presets import usual
    from mlx_tiny.data.mixture import own_files
    from mlx_tiny.study.plan import expected_tokens, text_bytes
    from mlx_tiny.study.speed import Speeds
    from mlx_tiny.training.budget import Budget

    values, standard = to_plain(source.config), usual(source.config.train.preset)
    kept = {name: getattr(source.config.data, name) for name in _OF_TOKENIZER}
    values["data"] = {**to_plain(DataConfig()), **kept}
    values["train"] = {**to_plain(standard.train), **{name: values["train"][name] for name in OF_STEP}}
    values["schedule"] = to_plain(standard.schedule)
    for section, settings in asked.items():
        own = without_dial(settings, values[section]) if section == "optimizer" else settings
        values[section].update(own)
    config = from_plain(RunConfig, values)
    session.require_possible(config)
    make_backend = session.backend_kind(config.train.backend)
    if "train_bytes" not in asked["data"] and len(own_files(config.data.sources)) < len(config.data.sources):
        tokens = expected_tokens(Budget(config.train.budget), config, Speeds(make_backend).measure)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, train_bytes=text_bytes(tokens)))
    return config, f"the model of {source.path}"


def _require_same_model(source: Ancestor, asked: dict[str, dict[str, Any]]) -> None:
    """Raise a TinyError when a flag would give a model that the weights do not fit."""
    from mlx_tiny.config.presets import whole_name

    config = source.config
    wanted = [("model", name, value) for name, value in asked["model"].items()]
    wanted += [("data", name, value) for name, value in asked["data"].items() if name in _OF_TOKENIZER]
    if asked["train"].get("preset", config.train.preset) != config.train.preset:
        asked["train"]["preset"] = whole_name(asked["train"]["preset"])
        wanted.append(("train", "preset", asked["train"]["preset"]))
    for section, name, value in wanted:
        has = getattr(getattr(config, section), name)
        if value != has:
            flag = flag_name(section, name)
            raise TinyError(
                f"{flag} contradicts the model at {source.path}, whose weights are to be trained on",
                expected=has,
                got=value,
                remedy=f"Leave {flag} out, or train a new model without --from",
            )


def _say_what_is_measured(source: Ancestor, old: Corpus | None) -> None:
    say(f"measuring the weights of {source.path} before they are trained")
    if old is None:
        gone = f"The text of {source.path} ({source.corpus.description or 'unknown'}) is not in the cache any more"
        unknown = f"Which text the model at {source.path} was trained on is not known"
        say(f"{gone if source.corpus.key else unknown}, so that what is forgotten of it is not measured.")


def _warn_of_kept_text(source: Ancestor, corpus: Corpus) -> None:
    """Warn where the model was trained on the same text in a run that kept nothing, or that may have kept nothing."""
    from mlx_tiny.training.origin import learned_keys

    last, *earlier = learned_keys(source)
    learned = "trained on the text on which this run learns how far to trust counting"
    if not last:
        say(f"warning: it is not known whether {source.path} was {learned}: if it was, the model is trusted too much")
    elif corpus.key in earlier or (corpus.key == last and not source.config.train.counting):
        say(f"warning: {source.path} was {learned}, so that the model is trusted too much")
