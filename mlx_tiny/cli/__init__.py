"""The command line: `mlx-tiny COMMAND`. Each command's module is imported only when it is called."""

from __future__ import annotations

import errno
import importlib
import io
import sys

import click

from mlx_tiny import __version__
from mlx_tiny.cli.output import say
from mlx_tiny.cli.streams import drop, standard_streams, writable
from mlx_tiny.errors import TinyError, one_line, shortened
from mlx_tiny.machine.memory import require_libraries
from mlx_tiny.machine.support import unsupported_reason
from mlx_tiny.tools import laps
from mlx_tiny.tools.signals import Interruption
from mlx_tiny.training.device_errors import DeviceError, device_error

# The lines of `mlx-tiny --help` are here so that it need not import the commands.
_GROUPS = {
    "Train": {
        "train": "Train a small language model, and report how good it is.",
        "plan": "Show which size is the strongest within a budget, before training.",
        "data": "Show how your own text becomes documents and tokens.",
    },
    "Use a model": {
        "generate": "Write text with a trained model.",
        "predict": "Show the likeliest next items of histories, or the next pieces of texts.",
        "score": "Show how likely each document or history is to a trained model.",
        "export": "Write a trained model for transformers, mlx-lm or llama.cpp.",
        "serve": "Serve a trained model to programs on this machine, with a page to talk to it.",
    },
    "Look at runs": {
        "runs": "List runs: how strong each is, its cost and its state.",
        "compare": "Compare runs, and tell whether their difference is more than noise.",
        "report": "Show the report of a run, or write a page that compares several.",
        "eval": "Measure a trained model on any text, in bits per byte.",
    },
    "Check and measure": {
        "validate": "Check this machine's results against a PyTorch reference.",
        "study": "Compare ways to train by several runs each, with p-values.",
        "bench": "Measure the speed of training and generation, also of PyTorch.",
        "profile": "Show where the time of a training step goes.",
        "info": "Show this machine, versions, presets and the cache.",
    },
}
COMMANDS = {name: line for commands in _GROUPS.values() for name, line in commands.items()}


class _LazyGroup(click.Group):
    """A group that imports `mlx_tiny.cli.NAME_command` when the command NAME is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        require_libraries()
        module = importlib.import_module(f"mlx_tiny.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for heading, commands in _GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), line) for name, line in commands.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mlx-tiny")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error; goes before COMMAND.")
def cli() -> None:
    """Train a small language model on this machine, within a budget of five minutes by default."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with 0 (ok), 1 (user error), 2 (usage), 3 (a check failed) or 128+n (after signal n)."""
    if arguments is not None:
        laps.COMMAND.restart()  # another command of this process
    with standard_streams(), Interruption().answering(whole_process=True) as interruption:
        _run(sys.argv[1:] if arguments is None else arguments, interruption)


def _run(arguments: list[str], interruption: Interruption) -> None:
    if (reason := unsupported_reason()) is not None:
        _fail(reason, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Models may write any character; a terminal that cannot show one shows a question mark.
        sys.stdout.reconfigure(errors="replace")
    try:
        cli.main(args=arguments, prog_name="mlx-tiny", standalone_mode=False, obj=interruption)
        interruption.end_if_requested()
    except TinyError as error:
        if isinstance(error, DeviceError) and not interruption.requested:
            from mlx_tiny.cli import restart

            restart.go_on(error, interruption, debug="--debug" in arguments)
        if "--debug" in arguments:
            raise
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        message = shortened(one_line(error.format_message()))
        error.format_message = lambda: message  # type: ignore[method-assign]
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("Interrupted.", 130)
    except (RuntimeError, MemoryError) as error:  # click.Abort is a RuntimeError too
        explained = device_error(error)
        if explained is None or "--debug" in arguments:
            raise
        _fail(str(explained), explained.exit_code)
    except OSError as error:
        # A closed pipe, as in `| head`, does not come here: click handles it and exits with 1.
        if "--debug" in arguments:
            raise
        if error.filename is None and not writable(sys.stdout):
            drop(sys.stdout)  # what is left in its buffer would be an error once more when Python ends
            why = "is closed" if error.errno == errno.EBADF else f"cannot be written: {error.strerror}"
            _fail(str(TinyError(f"Standard output {why}", remedy="Write to another place, such as /dev/null")), 1)
        refused = f"The system reports an error with {error.filename or 'a file'}: {error.strerror or error}"
        _fail(str(TinyError(refused, remedy="Check the path, its permissions and the disk")), 1)


def _fail(paragraph: str, code: int) -> None:
    say(f"mlx-tiny: {paragraph}")
    sys.exit(code)
