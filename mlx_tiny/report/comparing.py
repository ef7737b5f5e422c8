"""Compares runs that exist: the settings in which they differ, their results, and whether that is more than noise.

Runs that differ in nothing but their seed are one side. The sides are compared as the arms of a study are, which tells
the noise of the seed; `paired.py` tells that of the text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_tiny.config import RunConfig
from mlx_tiny.config.differences import Difference, differences, is_real
from mlx_tiny.config.train import UNTRACKED
from mlx_tiny.errors import TinyError
from mlx_tiny.records import Record, to_plain
from mlx_tiny.report.paired import NoiseOfText, noise_of_text
from mlx_tiny.report.record import Report
from mlx_tiny.report.report import has_report, read_report
from mlx_tiny.study import comparison
from mlx_tiny.study.arms import Arm
from mlx_tiny.study.comparison import Comparison
from mlx_tiny.study.runs import Run, figures_of
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.origin import doubts as doubts_of


@dataclass(frozen=True)
class Reported:
    """A run that has ended, and its report."""

    run: RunFolder
    report: Report

    @staticmethod
    def read(path: Path) -> Reported:
        """Read the report in the folder of a run.

        Raises:
            TinyError: there is no run, it is damaged, or it has not spent its budget.
        """
        run = RunFolder(path)
        if not has_report(path):
            raise TinyError(f"The run at {path} has no report", remedy="Resume it until its budget is spent")
        report = read_report(run)
        if report.interrupted:
            raise TinyError(
                f"The run at {path} was interrupted, and measured on the beginning of its text",
                remedy="Resume it until its budget is spent",
            )
        return Reported(run, report)

    @property
    def seed(self) -> int:
        return self.report.config.train.seed

    @property
    def settings(self) -> tuple[Any, ...]:
        """Equal for runs that differ in their seed only, or in nothing."""
        config, origin = self.report.config, self.report.origin
        facts = [value for _, value in _facts(self.report)]
        return _alike(config), self.run.corpus.key, origin and origin.weights, *facts


@dataclass(frozen=True)
class Side:
    """Runs of the same settings, each with another seed."""

    name: str
    runs: list[str]
    """Their folders."""
    seeds: list[int]


@dataclass(frozen=True)
class ComparedRuns(Record):
    """Runs side by side."""

    kind = "comparison"
    version = 1

    sides: list[Side]
    """The others are compared with the first."""
    beside: list[str]
    """Runs that nobody named: they lie beside one that was named, and differ from it in the seed only."""
    differences: list[Difference]
    """Between the sides, with a value for each; with their seeds where nothing else differs."""
    comparisons: list[Comparison]
    noise_of_text: list[NoiseOfText]
    """Of each difference to the first side, for the model alone and, where both have it, with counting."""
    noise_of_seeds: str
    """Why that is not known, in sentences; empty where each side has pairs of equal seeds, which tell it."""
    doubts: list[str]
    """What makes the results less certain than they look, in sentences."""


def compare(paths: Sequence[Path], *, beside: bool = True) -> ComparedRuns:
    """Compare runs with the first one, or with the runs of its settings.

    Args:
        paths: folders of at least two runs.
        beside: take also runs that lie beside these and differ from one of them in the seed only.

    Raises:
        TinyError: a run is missing, damaged or was interrupted, or they were not measured on the same text.
    """
    folders = list({os.path.realpath(path): path for path in paths}.values())
    if len(folders) < 2:
        raise TinyError("There is only one run to compare", expected="at least two")
    named = [Reported.read(path) for path in folders]
    _require_same_text(named)
    groups, left_out = _sides(named)
    found = list(_runs_beside(groups, {os.path.realpath(each.run.path) for each in named})) if beside else []
    for number, each in found:
        groups[number].append(each)
    names = short_names([group[0].run.path for group in groups])
    sides = [
        Side(name, [str(each.run.path) for each in group], [each.seed for each in group])
        for name, group in zip(names, groups, strict=True)
    ]
    arms = [Arm(name, group[0].report.budget) for name, group in zip(names, groups, strict=True)]
    runs = [_as_of_a_study(name, each) for name, group in zip(names, groups, strict=True) for each in group]
    return ComparedRuns(
        sides,
        [str(each.run.path) for _, each in found],
        differing([group[0].report for group in groups]),
        comparison.compare(arms, runs),
        noise_of_text(names, [[each.run for each in group] for group in groups]),
        _noise_of_seeds(groups),
        [*left_out, *_doubts([each for group in groups for each in group])],
    )


def differing(reports: Sequence[Report]) -> list[Difference]:
    """The settings that differ, and the machines, programs and first weights; seeds only where nothing else does."""
    configs = [report.config for report in reports]
    facts = zip(*map(_facts, reports), strict=True)
    origins = [report.origin and report.origin.weights_of for report in reports]
    found = [
        *differences([_alike(config) for config in configs]),
        Difference("run", "started from", tuple(origins)),
        *(Difference("run", fact[0][0], tuple(value for _, value in fact)) for fact in facts),
    ]
    texts = tuple(report.training_text for report in reports)
    if None not in texts:  # as in older reports
        found.append(Difference("run", "training text", texts))
    return list(filter(is_real, found)) or differences(configs)


def _alike(config: RunConfig) -> RunConfig:
    """The settings without those that decide no result, and without the seed."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, seed=0, track=UNTRACKED))


def _facts(report: Report) -> list[tuple[str, Any]]:
    """On what a run was made."""
    machine, versions = report.machine, report.machine.versions
    return [
        ("earlier settings", ", ".join(report.earlier) or None),
        ("chip", machine.chip),
        ("cores", machine.cores),
        ("commit", machine.commit),
        ("mlx_tiny", versions.get("mlx_tiny")),
        ("mlx", versions.get("mlx")),
        ("torch", versions.get("torch") if report.config.train.backend == "torch" else None),
    ]


def _require_same_text(named: Sequence[Reported]) -> None:
    first = named[0].report
    for each in named:
        if not each.report.bits_per_byte > 0:
            raise TinyError(
                f"All of its validation text was certain to the model of {each.run.path}, so that no other is stronger",
                remedy="Measure the runs with mlx-tiny eval on a text that is harder to tell",
            )
    for each in named[1:]:
        if each.report.evaluation_fingerprint != first.evaluation_fingerprint:
            raise TinyError(
                f"{named[0].run.path} and {each.run.path} were measured on different texts, so that their "
                f"results say nothing of each other",
                expected=f"the text {first.evaluation_fingerprint} of {first.data}",
                got=f"{each.report.evaluation_fingerprint} of {each.report.data}",
                remedy="Measure both on one text with mlx-tiny eval",
            )


def _sides(named: Sequence[Reported]) -> tuple[list[list[Reported]], list[str]]:
    """The runs by their settings, one of each seed, and what was left out; each its own side where all are equal."""
    by_settings: dict[tuple[Any, ...], list[Reported]] = {}
    for each in named:
        by_settings.setdefault(each.settings, []).append(each)
    if len(by_settings) == 1:
        return [[each] for each in named], []
    left_out = list[str]()
    for group in by_settings.values():
        kept = dict[int, Reported]()
        for each in group:
            if kept.setdefault(each.seed, each) is not each:
                same = kept[each.seed].run.path
                left_out.append(f"{each.run.path} is left out: it has the settings and the seed of {same}")
        group[:] = kept.values()
    return list(by_settings.values()), left_out


def _runs_beside(groups: Sequence[list[Reported]], named: set[str]) -> Iterator[tuple[int, Reported]]:
    """More seeds of these settings, with the number of their side."""
    if len({group[0].settings for group in groups}) == 1:
        return
    known = {(group[0].settings, each.seed) for group in groups for each in group}
    numbers = {group[0].settings: number for number, group in enumerate(groups)}
    text = groups[0][0].report.evaluation_fingerprint
    inside = list[Path]()
    for folder in sorted({_folder_of(each.run.path) for group in groups for each in group}):
        with contextlib.suppress(OSError):
            inside = sorted(folder.iterdir())
        for path in inside:
            if os.path.realpath(path) in named or not has_report(path):
                continue
            with contextlib.suppress(TinyError):  # nobody asked for this run
                each = Reported.read(path)
                comparable = each.report.evaluation_fingerprint == text and not each.report.continued
                if comparable and each.settings in numbers and (each.settings, each.seed) not in known:
                    known.add((each.settings, each.seed))
                    yield numbers[each.settings], each


def _folder_of(path: Path) -> Path:
    return path.resolve().parent if path.name in ("", "..") else path.parent


def short_names(paths: Sequence[Path]) -> list[str]:
    """A name for each run: that of its folder, or its whole path where several folders are called alike."""
    names = [path.resolve().name if path.name in ("", "..") else path.name for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


def _noise_of_seeds(groups: Sequence[Sequence[Reported]]) -> str:
    """Why the noise of the seed is not known; empty where it is."""
    seeds = [{each.seed for each in group} for group in groups]
    if all(len(own & seeds[0]) > 1 for own in seeds):
        return ""
    if len({group[0].settings for group in groups}) == 1:
        alike = "settings and seed, so that their difference is that of repeating a run"
        differ = "settings and differ in their seed, so that their difference is an example of the noise of the seed"
        return f"The runs have the same {alike if len(set.union(*seeds)) == 1 else differ}."
    return (
        "How much the seed changes cannot be known from fewer than two pairs of equal seeds: train more seeds of each "
        "(--seed 1, --seed 2, ...), or take mlx-tiny study."
    )


def _as_of_a_study(name: str, each: Reported) -> Run:
    report = each.report
    return Run(
        arm=name,
        seed=each.seed,
        share=1.0,
        started=report.date or "",
        wall_s=report.wall_s or sum(report.phases_s.values()),
        other_cores=report.machine.state.other_cores,
        figures=figures_of(to_plain(report)),
        failure=None,
        samples=report.samples,
        machine=report.machine,
        text=report.evaluation_fingerprint,
    )


def _doubts(all_runs: Sequence[Reported]) -> Iterator[str]:
    for each in all_runs:
        path, report = each.run.path, each.report
        if report.continued:
            yield f"{path} has gone on since step {report.steps:,}, of which its report and this comparison are"
        if report.evaluated_training_text:
            yield f"nothing was held out in {path}: it was measured on text that it had learned"
        if report.origin is not None:
            yield from (f"{path}: {line.removeprefix('warning: ')}" for line in doubts_of(report.origin))
