"""The command line: `mlx-tiny COMMAND`. Each command's module is imported only when it is called."""

from __future__ import annotations

import importlib
import io
import sys

import click

from mlx_tiny import __version__
from mlx_tiny.errors import TinyError
from mlx_tiny.machine.support import unsupported_reason

# Command -> its line in `mlx-tiny --help`, kept here so that help imports no command.
COMMANDS = {
    "train": "Spend a budget on training a model, and report how strong it is.",
    "generate": "Let a trained model write.",
    "eval": "Bits per byte of a trained model on any text.",
    "bench": "Time operations, training steps and generation against rivals.",
    "profile": "Where the time of a training step goes.",
    "validate": "Hold what this machine computes against references.",
    "info": "Show this machine, versions, devices and cache.",
}


class _LazyGroup(click.Group):
    """A group that imports `mlx_tiny.cli.NAME` when command NAME is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mlx_tiny.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mlx-tiny")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error; goes before COMMAND.")
def cli() -> None:
    """The strongest language model that a laptop can train in five minutes."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 ok, 1 user error, 2 usage, 3 a check failed, 130 interrupted twice."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if (reason := unsupported_reason()) is not None:
        _fail(reason, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Models write any character; a terminal of a narrow encoding shows the others as a question mark.
        sys.stdout.reconfigure(errors="replace")
    try:
        cli.main(args=arguments, prog_name="mlx-tiny", standalone_mode=False)
    except TinyError as error:
        if "--debug" in arguments:
            raise
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("Interrupted.", 130)
    except OSError as error:
        # Not that of a reader who went away, as under `| head`: there click exits, with 1 and without a word.
        if "--debug" in arguments:
            raise
        refused = f"The system refused {error.filename}" if error.filename else "The system refused a file"
        _fail(f"{refused}: {error.strerror or error}. Check the path, its permissions and the disk.", 1)


def _fail(paragraph: str, code: int) -> None:
    click.echo(f"mlx-tiny: {paragraph}", err=True)
    sys.exit(code)
