"""The Python interface: what the commands do, as five functions. `import mlx_tiny` loads them at their first use.

Messages name options as the command line does: `--text-column` is the keyword `text_column`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from mlx_tiny.cli.from_python import call_command, checked_settings
from mlx_tiny.cli.options import READING
from mlx_tiny.cli.train_command import new_folder
from mlx_tiny.config import DataConfig, Sampling
from mlx_tiny.data.documents import Tally
from mlx_tiny.data.measured import config_to_measure, named_texts
from mlx_tiny.data.summary import reading_warnings
from mlx_tiny.errors import TinyError
from mlx_tiny.linux.kernels import private_folder
from mlx_tiny.model.writing import as_text, instruction, question, write_text
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.evaluate import Evaluation, evaluate_texts
from mlx_tiny.training.origin import learned_documents
from mlx_tiny.training.scoring import Score, score_texts
from mlx_tiny.training.trained import TrainedModel, load_model


def load(run: str | Path, *, plain: bool = False) -> TrainedModel:
    """Load the model of the run in folder `run`, which is mixed with counting where the run has that.

    Args:
        plain: load the model alone.

    Raises:
        TinyError: there is no run, or it is damaged.
    """
    if not isinstance(run, (str, Path)):
        raise TinyError("The run is not named", expected="the path of its folder", got=repr(run))
    return load_model(Path(run), warnings.warn, plain=plain)


def generate(
    model: TrainedModel,
    prompt: str | bytes = "",
    *,
    stop: Sequence[str] = (),
    documents: int | None = 1,
    chat: bool = False,
    system: str = "",
    **sampling: Any,
) -> str:
    """Write on after a prompt, as if it had not been cut.

    Args:
        stop: the text ends before the first of these.
        documents: number of documents to write; None for no end before `max_tokens`.
        chat: whether the prompt is a message, which a model of chats answers.
        system: message of the role system before it, where the model was trained on such.
        sampling: settings of `mlx_tiny.config.Sampling`, such as `temperature`, `seed` and `max_tokens`.

    Returns:
        The text after the prompt, without the prompt.

    Raises:
        TinyError: there is no such setting, it is out of range or of another type, or the prompt is no text.
    """
    settings = Sampling(**checked_settings(Sampling, sampling))
    if chat:
        asked = question(model.tokenizer, as_text(prompt), warnings.warn)
        prompt = instruction(model.tokenizer, as_text(system), warnings.warn) + asked
    elif system:
        raise TinyError("A system message needs chat=True")
    written = write_text(
        model.parameters,
        model.config,
        model.tokenizer,
        prompt,
        settings,
        stop_texts=[stop] if isinstance(stop, str) else stop,
        documents=documents,
        turn=chat,
        asked=model.implementation,
        mixed=model.mixed,
        notice=warnings.warn,
    )
    with private_folder():
        return "".join(written)


@overload
def score(model: TrainedModel, text: str) -> Score: ...  # type: ignore[overload-overlap]  # a str is one text
@overload
def score(model: TrainedModel, text: Iterable[str]) -> Iterator[Score]: ...
def score(model: TrainedModel, text: str | Iterable[str]) -> Score | Iterator[Score]:
    """Log-probability of a document and of each of its tokens; of several documents, one after the other.

    Each document is scored alone, so that documents can be compared with each other.

    Args:
        text: the document itself, not the name of its file as for `evaluate`; or documents.

    Raises:
        TinyError: a path is given instead of a text, or a document is not a text.
    """
    if isinstance(text, Path):
        raise TinyError(f"A path is not a text: {text}", remedy=f'Score its content: Path("{text}").read_text()')
    if isinstance(text, str) and _is_file(text):
        warnings.warn(f"These characters are scored, not the file of this name: {text}", stacklevel=2)
    texts = [text] if isinstance(text, str) else _documents(text)
    found = score_texts(
        model.parameters, model.config, model.tokenizer, texts, asked=model.implementation, mixed=model.mixed
    )
    scores = _each(found)
    return next(scores) if isinstance(text, str) else scores


def _each(scores: Iterator[Score]) -> Iterator[Score]:
    """The scores; between two of them nothing of the process is changed."""
    while True:
        with private_folder():
            score = next(scores, None)
        if score is None:
            return
        yield score


def train(data: str | Path | Sequence[str | Path], run: str | Path | None = None, **settings: Any) -> TrainedModel:
    """Train a model, as `mlx-tiny train` does, and load it.

    Args:
        data: text, as for `--data`: files, folders or globs, `stories` or `tinystories`.
        run: folder for the results, which must not exist; by default one in `runs`, named after the time.
        settings: the other options of `mlx-tiny train`, with underscores: `budget="30s"`, `layers=2`, `compile=False`,
            and `from_="runs/other"` to start from the weights of another run. Several values of one option are a list.

    Raises:
        TinyError: an option that there is not, a value out of range, or a text that cannot be read.
        KeyboardInterrupt: by Ctrl-C, when the run is saved; only in the main thread, as others answer no signal.
    """
    if data is None:
        raise TinyError("There is no text to train on", expected="a name, or a list of names", got="None")
    folder = new_folder() if run is None else run
    with private_folder():
        call_command("train", data=data, run=folder, **settings)
    return load(folder)


def evaluate(model: TrainedModel, data: str | Path | Iterable[str], **reading: Any) -> Evaluation:
    """Strength of a model on any text, in bits per byte, by the protocol of `mlx-tiny eval`.

    A warning says how many of the documents the model was trained on, or that this is not known.

    Args:
        data: name of a file, a folder or a glob, which is read as `mlx-tiny eval` reads it; or documents, as a list.
        reading: settings of `mlx_tiny.config.DataConfig` that say how files are read, such as `text_column`;
            without them, `text_column`, `documents` and `header` are those of the run.

    Raises:
        TinyError: there is no text, it cannot be read, or there is no such setting, or it has no effect.
    """
    texts, tally = data, Tally()
    if texts == "":
        raise TinyError("There is no text of an empty name", remedy="Name a file, or give documents as a list")
    asked = checked_settings(DataConfig, reading, READING)
    if isinstance(texts, (str, Path)):
        named = named_texts(
            config_to_measure(str(texts), model.data, asked, single_lines=model.single_lines), model.tokenizer, tally
        )
        texts = (text for _, text in named)
    elif asked:
        raise TinyError(
            f"Settings of how files are read have no effect on documents: {', '.join(asked)}",
            remedy="Leave them out, or give the name of a file",
        )
    else:
        texts = _documents(texts)
    measured = list[str]()
    with private_folder():
        evaluation, _ = evaluate_texts(
            model.parameters,
            model.config,
            model.tokenizer,
            _kept(texts, measured),
            asked=model.implementation,
            mixed=model.mixed,
        )
    doubts = list[str]()
    with contextlib.suppress(TinyError):  # the run was moved or deleted
        _, doubts = learned_documents(RunFolder(model.run), measured, model.tokenizer) if model.run else (None, [])
    for line in doubts:
        warnings.warn(line, stacklevel=2)
    for line in reading_warnings(tally.skipped, tally.markers, tally.left_out):
        warnings.warn(line, stacklevel=2)
    return evaluation


def _kept(texts: Iterable[str], kept: list[str]) -> Iterator[str]:
    """The texts, each of which is kept when it is taken."""
    for text in texts:
        kept.append(text)
        yield text


def _documents(texts: Any) -> Iterator[str]:
    """The texts, each of which is checked when it is taken.

    Raises:
        TinyError: they are not a collection of texts.
    """
    if isinstance(texts, (bytes, bytearray, Mapping)) or not isinstance(texts, Iterable):
        raise TinyError("There are no documents", expected="a list of texts", got=type(texts).__name__)
    return (_text(text) for text in texts)


def _text(document: Any) -> str:
    if not isinstance(document, str):
        raise TinyError("A document is not a text", expected="str", got=type(document).__name__)
    return document


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or with a character that no name has
        return False
