"""`mlx-tiny bench`: measures the speed of operations, training and generation on this machine."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli.options import F, UserPath, flag_name, user_settings
from mlx_tiny.cli.output import say, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlx_tiny.bench.record import Result, Settings
    from mlx_tiny.config import RunConfig
    from mlx_tiny.machine.peaks import Peaks

_BENCHMARKS = ("kernels", "step", "inference")
# Small enough for two cores of a laptop, and large enough to be realistic.
_DEFAULT_PRESETS = ("mini",)
# Flags that change a preset, named as those of `mlx-tiny train`, and what is measured with them.
_MEASURED_WITH = {"train": ("step",), "model": ("step", "inference"), "optimizer": ("step",)}
_PRESET_SETTINGS: dict[str, dict[str, Any]] = {
    "train": {"batch_size": int},
    "model": dict.fromkeys(("context", "layers", "width", "hidden", "heads", "key_value_heads", "head_width"), int),
    "optimizer": {"matrix_optimizer": click.Choice(["muon", "adamw"])},
}

_NAMES = {
    "batch_size": "sequences per step",
    "context": "tokens per sequence",
    "layers": "number of layers",
    "width": "width of the residual stream",
    "hidden": "width of the MLP's hidden layer",
    "heads": "number of query heads",
    "key_value_heads": "number of key/value heads",
    "head_width": "width of a head",
    "matrix_optimizer": "optimizer of the layers' matrices",
}


def _preset_options(function: F) -> F:
    """The flags of `_PRESET_SETTINGS`."""
    for section, fields in reversed(_PRESET_SETTINGS.items()):
        for field, kind in reversed(fields.items()):
            what = _NAMES[field]
            text = f"For {' and '.join(_MEASURED_WITH[section])}: {what}. [default: that of the preset]"
            function = click.option(f"{section}_{field}", flag_name(section, field), type=kind, help=text)(function)
    return function


@click.command()
@click.argument("benchmark", type=click.Choice(_BENCHMARKS), required=False)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Measure all three, for all presets that are not too large for this machine.",
)
@click.option("--preset", "presets", multiple=True, help="Size of the model; may be repeated. [default: mini]")
@click.option("--operation", "names", multiple=True, help="For kernels: only this operation; may be repeated.")
@click.option("--dtype", "dtypes", multiple=True, help="Type of activations; may be repeated. [default: float32]")
@_preset_options
@click.option("--cores", help="For step: compare numbers of CPU cores, such as 2,4, with one core, instead of PyTorch.")
@click.option("--prompt-tokens", type=int, help="For inference: length of the prompt. [default: half of the context]")
@click.option("--max-tokens", type=int, help="For inference: tokens to write. [default: the rest of the context]")
@click.option(
    "--seconds",
    default=1.0,
    show_default=True,
    help="Time for each implementation of an operation; a step takes three times, generation twice as long.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--output",
    type=UserPath(),
    help="Write the JSON object to this file. [default with --all: a name with chip and date]",
)
@click.option("--plot", type=UserPath(), help="For kernels: draw a roofline to this PNG file; needs matplotlib.")
def command(
    benchmark: str | None,
    everything: bool,
    presets: tuple[str, ...],
    names: tuple[str, ...],
    dtypes: tuple[str, ...],
    cores: str | None,
    prompt_tokens: int | None,
    max_tokens: int | None,
    seconds: float,
    as_json: bool,
    output: Path | None,
    plot: Path | None,
    **flags: Any,
) -> None:
    """Measure the speed of single operations (kernels), of training steps (step), or of generation (inference).

    PyTorch is measured too if it is installed. Every result is checked before it is timed; a wrong one gets no time.
    Competitors are timed in turns, in the same run. The file of --output is complete after each measurement, so you
    can stop at any time.

    \b
      mlx-tiny bench kernels --operation attention --preset mini
      mlx-tiny bench step --preset mini --preset small
      mlx-tiny bench step --layers 6 --batch-size 16 --cores 2
      mlx-tiny bench --all --output my-mac.json
    """
    if everything == (benchmark is not None):
        raise click.UsageError(f"Name one benchmark ({', '.join(_BENCHMARKS)}), or give --all")
    chosen = _BENCHMARKS if benchmark is None else (benchmark,)
    changes = {section: user_settings(flags, section) for section in _PRESET_SETTINGS}
    _require_fitting(chosen, {"--operation": names, "--plot": plot}, "kernels")
    _require_fitting(chosen, {"--cores": cores}, "step")
    _require_fitting(chosen, {"--prompt-tokens": prompt_tokens, "--max-tokens": max_tokens}, "inference")
    for section, fields in changes.items():
        given_flags = {flag_name(section, field): value for field, value in fields.items()}
        _require_fitting(chosen, given_flags, *_MEASURED_WITH[section])
    if not 0 < seconds < float("inf"):
        raise click.UsageError("--seconds must be above 0")
    from mlx_tiny.bench.record import Settings
    from mlx_tiny.config.presets import STRONGEST, presets_of

    whole = [preset.name for preset in presets_of(STRONGEST)] if everything else _DEFAULT_PRESETS
    settings = Settings(
        benchmarks=list(chosen),
        presets=list(presets or whole),
        operations=list(names) or None,
        dtypes=list(dtypes or _default_dtypes(everything)),
        changes=changes,
        cores=_core_counts(cores),
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        seconds=seconds,
    )
    _measure(settings, as_json, _default_file() if everything and output is None else output, plot)


def _require_fitting(chosen: tuple[str, ...], flags: dict[str, Any], *benchmarks: str) -> None:
    for flag, value in flags.items():
        if value and not set(benchmarks) & set(chosen):
            raise click.UsageError(f"{flag} is only for `bench {'` and `bench '.join(benchmarks)}`")


def _core_counts(text: str | None) -> list[int]:
    """The numbers of `--cores`, and 1."""
    from mlx_tiny.errors import TinyError
    from mlx_tiny.machine.description import device
    from mlx_tiny.machine.hardware import usable_cores

    if text is None:
        return []
    parts, most = text.split(","), usable_cores()
    if not all(part.strip().isdecimal() and 1 <= int(part) <= most for part in parts):
        raise TinyError("--cores takes numbers of cores", expected=f"1 to {most}, as in 1,{most}", got=repr(text))
    if device() != "cpu":
        raise TinyError(
            "--cores is for CPUs, and MLX does not compute on the CPU here", got=device(), remedy="Leave it out"
        )
    return sorted({1, *map(int, parts)})


def _default_file() -> Path:
    """The file that --all writes by default; its name contains the chip and the time."""
    from mlx_tiny.machine.hardware import chip

    words = re.findall(r"[a-z0-9]+", chip().lower())
    return Path("-".join(["mlx-tiny-bench", *words, time.strftime("%Y%m%d-%H%M%S")]) + ".json")


def _default_dtypes(everything: bool) -> tuple[str, ...]:
    """On a GPU --all measures both dtypes of training; a CPU is slow in 16 bits."""
    from mlx_tiny.config import DTYPES
    from mlx_tiny.machine.description import device

    return tuple(DTYPES) if everything and device() != "cpu" else ("float32",)


def _measure(settings: Settings, as_json: bool, output: Path | None, plot: Path | None) -> None:
    from mlx_tiny.bench import expectation, results, roofline, table
    from mlx_tiny.cli.session import compile_operations
    from mlx_tiny.files import require_writable
    from mlx_tiny.machine import peaks
    from mlx_tiny.machine.description import describe
    from mlx_tiny.machine.state import keep_awake
    from mlx_tiny.records import to_json, write
    from mlx_tiny.tools.plots import require_matplotlib
    from mlx_tiny.tools.tables import wrapped

    def show_lines(lines: Iterable[str]) -> None:
        for line in () if as_json else lines:
            show(line)

    _check(settings)
    require_writable(output, plot)
    if plot is not None:
        require_matplotlib()
    if output is not None:
        say(f"writing: {output}")
    found: list[Result] = []
    blocks = table.Blocks()
    compile_operations()
    with keep_awake():
        # Optimizers and generation use float32, whatever the dtype of activations.
        dtypes = list(dict.fromkeys(("float32", *settings.dtypes)))
        measured = peaks.measure(dtypes)
        show_lines([*wrapped(table.machine_line(describe())), *wrapped(table.peaks_line(measured))])
        minutes = round(expectation.expected_seconds(settings, measured) / 60)
        say(f"expected: {f'about {minutes} minutes' if minutes > 1 else 'a minute or less'}")
        for group in _groups(settings, measured):
            found += group
            if output is not None:
                write(output, results.assemble(found, measured, None, settings))
            show_lines(blocks.lines(group))
        show_lines(blocks.legend())
        after = peaks.measure(dtypes)
    whole = results.assemble(found, measured, after, settings)
    if output is not None:
        write(output, whole)
        say(f"written: {output}")
    if as_json:
        show(to_json(whole))
    for warning in whole.warnings:
        say(f"warning: {warning}")
    if plot is not None:
        roofline.plot(whole, plot)
        say(f"drawn: {plot}")
    results.require_right(found)


def _check(settings: Settings) -> None:
    """Raise the error of a wrong name or setting before anything is measured."""
    from mlx_tiny.bench import inference
    from mlx_tiny.bench.timed import OPERATIONS
    from mlx_tiny.config import DTYPES
    from mlx_tiny.config.presets import preset_called
    from mlx_tiny.errors import TinyError

    asked = {"operation": (settings.operations, tuple(OPERATIONS)), "dtype": (settings.dtypes, DTYPES)}
    for kind, (names, known) in asked.items():
        for name in names or ():
            if name not in known:
                raise TinyError(f"Unknown {kind} {name!r}", expected=f"one of {', '.join(known)}")
    for preset in map(preset_called, settings.presets):
        changed = _changed(preset.config(), settings.changes)
        if "inference" in settings.benchmarks:
            inference.fitting(changed.model, settings.prompt_tokens, settings.max_tokens)


def _changed(config: RunConfig, changes: dict[str, dict[str, Any]]) -> RunConfig:
    """The configuration of a preset, changed by the user's flags."""
    from mlx_tiny.config.presets import preset_called

    train = {"dtype": config.train.dtype, **changes.get("train", {})}
    return preset_called(config.train.preset).config({**changes, "train": train})


def _groups(settings: Settings, peaks: Peaks) -> Iterator[list[Result]]:
    """Results that belong together, as soon as they are measured."""
    from mlx_tiny.bench import inference, kernels, step

    presets, seconds = settings.presets, settings.seconds

    def change(config: RunConfig) -> RunConfig:
        return _changed(config, settings.changes)

    def tell(text: str) -> None:
        say(f"measuring: {text}")

    if "kernels" in settings.benchmarks:
        names = settings.operations
        yield from kernels.run(presets, settings.dtypes, peaks, names=names, seconds=seconds, tell=tell)
    if "step" in settings.benchmarks:
        for dtype in settings.dtypes:
            yield from step.run(
                presets,
                dtype,
                peaks,
                seconds=3 * seconds,
                change=change,
                cores=settings.cores,
                tell=tell,
            )
    if "inference" in settings.benchmarks:
        lengths = settings.prompt_tokens, settings.max_tokens
        yield from inference.run(presets, peaks, lengths=lengths, seconds=2 * seconds, change=change, tell=tell)
