"""`mlx-tiny generate`: writes text with a trained model."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import IO, Any

import click

from mlx_tiny.cli.options import UserPath, config_options, plain_option, user_settings
from mlx_tiny.cli.output import say, show
from mlx_tiny.config import Sampling


@click.command()
@click.argument("run", type=UserPath())
@click.option("--prompt", help="Beginning of the text; - reads it from standard input.")
@click.option("--prompt-file", type=click.File("rb"), help="File whose content is the beginning of the text.")
@click.option("--chat", "message", help="Message to a model that was trained on chats; it writes the answer.")
@click.option("--system", default="", metavar="TEXT", help="Message of the role system before the chat.")
@click.option("--interactive", is_flag=True, help="Ask for one prompt or message after another; /help helps there.")
@config_options("sampling")
@click.option("--stop", "stop_texts", multiple=True, metavar="TEXT", help="End before this text; may be repeated.")
@click.option(
    "--num-samples",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Texts to write, with one seed each.",
)
@click.option(
    "--documents",
    default=1,
    show_default=True,
    help="Documents to write in each text; each goes on from the one before, unlike those of --num-samples.",
)
@click.option("--ignore-end", is_flag=True, help="Write one document after another, up to --max-tokens.")
@plain_option
def command(
    run: Path,
    prompt: str | None,
    prompt_file: IO[bytes] | None,
    message: str | None,
    system: str,
    interactive: bool,
    stop_texts: tuple[str, ...],
    num_samples: int,
    documents: int,
    ignore_end: bool,
    plain: bool,
    **flags: Any,
) -> None:
    """Write text with the model in folder RUN.

    The text goes on from the prompt as if it had not been cut, also after a space or within a word. Between several
    texts is a line <|endoftext|>, unless the documents that the model was trained on are single lines, such as names.

    \b
      mlx-tiny generate runs/notes --prompt "Once upon a time"
      mlx-tiny generate runs/notes --prompt-file notes.txt --temp 0.6 --num-samples 3
      mlx-tiny generate runs/notes --interactive
    """
    from mlx_tiny.cli.interactive import converse
    from mlx_tiny.cli.writer import Writer
    from mlx_tiny.data.documents import SEPARATOR
    from mlx_tiny.model.writing import instruction
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.trained import load_model

    if sum([prompt is not None, prompt_file is not None, message is not None, interactive]) > 1:
        raise click.UsageError("Only one of --prompt, --prompt-file, --chat and --interactive can be given.")
    if system and message is None and not interactive:
        raise click.UsageError("--system needs --chat or --interactive.")
    if interactive and num_samples > 1:
        raise click.UsageError("--num-samples has no effect beside --interactive, which writes a text for each prompt.")
    if ignore_end and documents > 1:
        raise click.UsageError("Only one of --documents and --ignore-end can be given.")
    sampling = Sampling(**user_settings(flags, "sampling"))
    seeded = [dataclasses.replace(sampling, seed=sampling.seed + index) for index in range(num_samples)]
    writer = Writer(load_model(run, say, plain=plain), stop_texts, None if ignore_end else documents)
    if interactive:
        converse(writer, sampling, system)
        return
    instructed = instruction(writer.model.tokenizer, system, say)
    beginning = _beginning(prompt, prompt_file)
    single = RunFolder(run).corpus.single_lines and not _has_line_end(beginning)
    one_line_each = single and documents == 1 and not ignore_end
    for index, settings in enumerate(seeded):
        if index and not one_line_each:
            show(SEPARATOR)
        if message is None:
            writer.write(beginning, settings)
        else:
            writer.answer(instructed, message, settings)
    say(writer.speed())


def _beginning(prompt: str | None, prompt_file: IO[bytes] | None) -> str | bytes:
    """The prompt, from wherever the user has it."""
    if prompt_file is not None:
        return prompt_file.read()
    if prompt == "-":
        return sys.stdin.buffer.read()
    return prompt or ""


def _has_line_end(prompt: str | bytes) -> bool:
    return b"\n" in prompt if isinstance(prompt, bytes) else "\n" in prompt
