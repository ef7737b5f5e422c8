"""`mlx-tiny plan`: shows what a budget buys of each size, and which size `mlx-tiny train` would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli import session
from mlx_tiny.cli.dials import CommandWithDials, dial_options
from mlx_tiny.cli.groups import help_all_option
from mlx_tiny.cli.options import config_options, user_settings
from mlx_tiny.cli.output import say, show
from mlx_tiny.cli.session import SECTIONS
from mlx_tiny.config import DataConfig, TrainConfig
from mlx_tiny.tools.waiting import Waiting

if TYPE_CHECKING:
    from mlx_tiny.study.plan import Candidate, Plan


class _PlanCommand(CommandWithDials):
    first = frozenset({"data_sources", "train_budget", "train_preset", "train_backend", "as_json"})


@click.command(cls=_PlanCommand)
@help_all_option
@dial_options
@config_options(*SECTIONS)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool, **flags: Any) -> None:
    """Show which size is the strongest within a budget on this machine, without training.

    The speed of the sizes that are quick enough is measured for a second each, and kept for `mlx-tiny train`. Bits per
    byte are those of a law that is fitted to recorded runs, each with its 95 % interval. With the same options,
    `mlx-tiny train` takes the size that is marked.

    \b
      mlx-tiny plan --budget 5m
      mlx-tiny plan --budget 1e15flop --preset portable --data stories
    """
    from mlx_tiny.config.presets import PRESETS
    from mlx_tiny.data.mixture import resolve_data
    from mlx_tiny.records import to_json
    from mlx_tiny.study.plan import Plan, Text, preset_for
    from mlx_tiny.study.speed import Speeds
    from mlx_tiny.training.budget import Budget

    asked = {section: user_settings(flags, section) for section in SECTIONS}
    source = session.own_source(asked["data"]) or resolve_data(DataConfig(**asked["data"]))
    name = preset_for(asked["train"].get("preset", TrainConfig.preset), asked["data"])
    budget = Budget(asked["train"].get("budget", TrainConfig.budget))
    session.compile_operations(asked["train"].get("backend", TrainConfig.backend))
    speeds = Speeds(session.backend_kind(asked["train"].get("backend", TrainConfig.backend)), anew=True)
    plan = Plan.of(name, budget, asked, Text.of(source, asked["data"].get("train_bytes")), speeds)
    with Waiting("measuring the machine, for which steps are compiled"):
        # Before the other sizes are measured for the table, as `mlx-tiny train` chooses without having measured them.
        chosen = None if name in PRESETS else plan.choose()
        taken = name if chosen is None else chosen.size.preset.name
        reason = "as asked" if chosen is None else plan.reason(chosen)
        plan.measure()
    candidates = [plan.candidate(size) for size in plan.sizes]
    if as_json:
        sizes = [_as_plain(plan, candidate) for candidate in candidates]
        show(to_json({"budget": budget.text, "preset": taken, "reason": reason, "sizes": sizes}))
        return
    for line in _table(plan, candidates, taken):
        show(line)
    say(f"preset: {taken} ({reason})")


def _as_plain(plan: Plan, candidate: Candidate) -> dict[str, Any]:
    """What is known of a candidate, under the names of JSON."""
    from mlx_tiny.model.parameters import parameter_count
    from mlx_tiny.training.memory import estimate

    size, known = candidate.size, plan.is_known(candidate)
    return {
        "preset": size.preset.name,
        "parameters": parameter_count(size.config.model),
        "tokens_per_s": plan.speeds.tokens_per_s(size.config),
        "measured": plan.speeds.is_measured(size.config),
        "tokens": candidate.tokens,
        "seconds": plan.seconds(candidate),
        "expectation": candidate.expectation if known else None,
        "memory_bytes": estimate(size.config).bytes,
        "fits": size.fits,
    }


def _table(plan: Plan, candidates: list[Candidate], taken: str) -> list[str]:
    from mlx_tiny.tools.tables import ABSENT, Column, Table
    from mlx_tiny.units import format_bytes, format_count, format_seconds

    rows = [_as_plain(plan, candidate) for candidate in candidates]

    def expected(row: dict[str, Any], form: str) -> str:
        return ABSENT if row["expectation"] is None else form.format(row["expectation"])

    table = Table[dict[str, Any]](
        lambda row: row["preset"].rpartition("-")[2],
        [
            Column("parameters", lambda row: format_count(row["parameters"])),
            Column("tokens/s", lambda row: "~" * (not row["measured"]) + f"{row['tokens_per_s']:,.0f}"),
            Column("tokens", lambda row: format_count(round(row["tokens"]))),
            Column("bits/byte", lambda row: expected(row, "{0.bits_per_byte:.3f}") + "*" * (row["preset"] == taken)),
            Column("from", lambda row: expected(row, "{0.low:.3f}"), "to: the 95 % interval of a run"),
            Column("to", lambda row: expected(row, "{0.high:.3f}")),
            Column("memory", lambda row: format_bytes(row["memory_bytes"]) + "!" * (not row["fits"])),
            Column("time", lambda row: format_seconds(row["seconds"])),
        ],
        marks=[
            ("*", "what `mlx-tiny train` takes"),
            ("~", "estimated from the speed of other sizes"),
            ("!", "too much for this machine"),
        ],
    )
    return [*table.lines(rows, "size"), *table.legend()]
