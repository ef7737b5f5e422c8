"""The numbers of a report are those of the run and agree: in JSON, Markdown, terminal and picture."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import pytest
from tiny_run import STEP_TOKENS, tiny_config, tiny_corpus, train_whole

from mlx_tiny.config import ModelConfig
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.machine.state import State
from mlx_tiny.model.parameters import parameter_count, parameters_by_group, training_flops_per_token
from mlx_tiny.records import read_sealed
from mlx_tiny.report import report, texts
from mlx_tiny.report.picture import NAME as PICTURE
from mlx_tiny.report.record import Report
from mlx_tiny.study.law import Expectation
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counted import Counted, counting_alone
from mlx_tiny.training.counts import split
from mlx_tiny.training.outcome import Outcome
from mlx_tiny.units import format_seconds

STEPS = 12
SECTIONS = ["Strength", "Origin", "Cost", "Size", "Time in each phase", "Machine", "Samples"]
SESSION = report.Session(
    date="2026-12-01T15:00:00+00:00",
    command="mlx-tiny train --data 'my | notes.txt'",
    backend="A | B",
    implementations={"attention": "plain"},
    peak_flops_per_s=1e11,
    peak_memory_bytes=123_456_789,
    samples=["Ann ran.\n\nThe end.", "", "| x |"],
    state_at_start=State("battery at 9 %", None, None),
    other_cores=None,
    expected_memory_bytes=111_000_000,
    floors=[],
)


@dataclasses.dataclass(frozen=True)
class Ended:
    """A finished run and its data."""

    run: RunFolder
    corpus: PreparedCorpus
    outcome: Outcome

    def report(self, session: report.Session = SESSION, **changed: Any) -> Report:
        corpus = dataclasses.replace(self.corpus, **changed.pop("corpus", {}))
        return report.build(self.run, corpus, dataclasses.replace(self.outcome, **changed), session)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("report")
    config = tiny_config(folder, budget=f"{STEPS * STEP_TOKENS}tok")
    run, outcome, _ = train_whole(folder / "run", config)
    return Ended(run, tiny_corpus(config), outcome)


def test_the_numbers_are_the_runs_and_fit_together(ended: Ended) -> None:
    built, model = ended.report(), ended.run.config.model
    evaluation = ended.outcome.evaluation
    assert (built.steps, built.tokens) == (STEPS, STEPS * STEP_TOKENS)
    assert built.bits_per_byte == evaluation.nats / math.log(2) / evaluation.bytes
    assert built.perplexity_per_token == pytest.approx(math.exp(evaluation.nats / evaluation.tokens))
    assert built.evaluated_tokens == len(ended.corpus.valid) - 1
    assert built.epochs == pytest.approx(
        STEPS * STEP_TOKENS / len(split(ended.corpus.parts[0], ended.run.config).learned)
    )
    assert built.flops == pytest.approx(STEPS * STEP_TOKENS * training_flops_per_token(model))
    assert built.tokens_per_s == pytest.approx(built.tokens / built.seconds)
    assert built.phases_s == ended.outcome.phases
    assert built.training_flops_per_s == pytest.approx(built.flops / built.phases_s["training"])
    assert built.utilisation == pytest.approx(built.training_flops_per_s / 1e11)
    assert (built.budget, built.samples, built.backend) == ("1536tok", SESSION.samples, SESSION.backend)
    assert built.config == ended.run.config and built.data == ended.corpus.description


def test_the_interval_of_the_text_is_told_and_not_claimed_of_its_beginning(ended: Ended) -> None:
    built = ended.report()
    low, high = built.interval_bits_per_byte or []
    assert low < built.bits_per_byte < high
    low_mixed, high_mixed = built.interval_with_counting_bits_per_byte or []
    assert low_mixed < (built.with_counting_bits_per_byte or 0) < high_mixed
    text = report.as_text(built)
    assert f"{low:.4f} to {high:.4f}" in text and f"over {ended.corpus.record.valid.documents} documents" in text
    assert ended.report(interrupted="SIGINT", evaluated_whole=False).interval_bits_per_byte is None


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("activation", ["relu2", "swiglu"])
def test_parameters_by_group_add_up(tied: bool, activation: str) -> None:
    model = ModelConfig(tied=tied, activation=activation, layers=3, width=64, heads=4, key_value_heads=2, head_width=16)
    counts = parameters_by_group(model)
    assert sum(counts.values()) == parameter_count(model)
    assert counts["embedding"] == 2048 * 64 and counts.get("head", 0) == (0 if tied else 2048 * 64)
    matrices = 3 * (64 * 16 * (4 + 2 + 2 + 4) + (3 if activation == "swiglu" else 2) * 64 * 512)
    assert counts["hidden matrices"] == matrices


def test_a_known_entropy_gives_floor_and_excess(ended: Ended) -> None:
    bits = 0.25 * ended.corpus.valid_bytes
    built = ended.report(corpus={"valid_entropy_bits": bits})
    assert built.entropy_floor_bits_per_byte == pytest.approx(0.25)
    assert built.excess_bits_per_byte == pytest.approx(built.bits_per_byte - 0.25)
    shown = report.summary(built, ended.run.path)
    assert shown["entropy_floor"] == "0.2500" and float(shown["excess"]) == pytest.approx(
        built.bits_per_byte - 0.25, abs=1e-4
    )
    text = report.as_text(built)
    assert "| entropy floor of the text | 0.2500 |" in text and "| excess over the floor |" in text


def test_counting_alone_is_told_beside_the_model(ended: Ended) -> None:
    built = ended.report()
    alone = counting_alone(ended.corpus)
    assert alone is not None and built.counting_bits_per_byte == pytest.approx(alone.bits_per_byte)
    plain = dataclasses.replace(ended.outcome.evaluation, with_counting_nats=None, counting_nats=None)
    session = dataclasses.replace(SESSION, floors=[Counted(0.5, 6, 1000, "")])
    assert ended.report(session, evaluation=plain).counting_bits_per_byte == 0.5
    assert ended.report(evaluation=plain).counting_bits_per_byte is None
    assert report.summary(built, ended.run.path)["counting_alone"] == f"{built.counting_bits_per_byte:.4f}"
    for strength, weaker in ((9.0, True), (0.1, False)):
        other = dataclasses.replace(built, bits_per_byte=strength)
        assert report.beaten(other) is weaker
        assert ("stronger than the model" in report.as_text(other)) is weaker


def test_an_interrupted_run_says_so_and_claims_no_excess(ended: Ended) -> None:
    built = ended.report(interrupted="SIGHUP", evaluated_whole=False, corpus={"valid_entropy_bits": 100.0})
    assert built.interrupted is True and built.evaluated_whole_file is False
    # The floor is the whole file's, and what was measured is its beginning.
    assert built.excess_bits_per_byte is None and built.entropy_floor_bits_per_byte > 0
    assert "| interrupted | by SIGHUP |" in report.as_text(built) and "the file's beginning" in report.as_text(built)
    assert report.summary(built, ended.run.path)["interrupted"] == "by SIGHUP"
    assert "interrupted" not in report.as_text(ended.report())
    assert ended.report().interrupted is False


def test_a_measurement_on_training_text_says_so(ended: Ended) -> None:
    found = dataclasses.replace(ended.corpus.record.found, trained_on_validation=True)
    record = dataclasses.replace(ended.corpus.record, found=found)
    assert "nothing was held out" in report.as_text(ended.report(corpus={"record": record}))
    assert "nothing was held out" not in report.as_text(ended.report())


def test_weights_from_before_the_end_are_said(ended: Ended) -> None:
    earlier = ended.report(weights_from="best", weights_step=3)
    assert report.summary(earlier, ended.run.path)["weights"].startswith("from 25% of the run")
    assert "| weights | from 25% of the run" in report.as_text(earlier)
    assert "weights" not in report.summary(ended.report(), ended.run.path)
    assert "| weights |" not in report.as_text(ended.report())


def test_a_run_without_time_divides_by_nothing(ended: Ended) -> None:
    progress = dataclasses.replace(ended.outcome.progress, seconds=0.0, phases={})
    session = dataclasses.replace(SESSION, peak_flops_per_s=0.0)
    built = ended.report(session, progress=progress, phases={})
    assert (built.tokens_per_s, built.training_flops_per_s, built.utilisation) == (0.0, 0.0, None)
    assert "utilisation" not in report.summary(built, ended.run.path)
    report.as_text(built)


def test_the_summary_is_lines_of_a_key_and_a_word(ended: Ended) -> None:
    built = ended.report()
    shown = report.summary(built, ended.run.path)
    assert shown["bits_per_byte"] == f"{built.bits_per_byte:.4f}" and shown["tokens"] == "1.54k"
    assert (
        shown["epochs"] == f"{built.epochs:.2f}"
        and shown["peak_memory"] == "123 MB"
        and shown["expected_memory"] == "111 MB"
        and shown["run"] == str(ended.run.path)
    )
    assert "entropy_floor" not in shown and "excess" not in shown
    assert all(value and "\n" not in value for value in shown.values())


def test_several_texts_are_a_table_with_what_is_forgotten(ended: Ended) -> None:
    own = report.TextStrength("own text", 1.0, 2.5, 1.25, 2.0, None, "f", sources=("/a/new.txt",))
    old = dataclasses.replace(own, sources=("/b/old.txt",), share=None, bits_per_byte=2.5)
    built = dataclasses.replace(ended.report(), texts=[own, old])
    heading, new, forgotten, *_ = texts.table_of_texts(built)
    assert heading.split() == ["bits", "per", "byte", "before", "change", "share", "epochs"]
    assert new.split() == ["new.txt", "1.2500", "2.0000", "-0.7500", "1", "2.50"]
    assert forgotten.split() == ["old.txt", "2.5000", "2.0000", "+0.5000"]
    text = report.as_text(built)
    assert text.startswith("# A language model from new.txt\n") and "| bits per byte on old.txt | 2.5000" in text
    assert list(texts.table_of_texts(ended.report())) == []


def test_theas_text_has_every_section_and_whole_tables(ended: Ended) -> None:
    text = report.as_text(ended.report())
    assert text.startswith("# A language model from stories.txt\n")
    assert text.count(ended.corpus.description.replace("|", "\\|")) == 1
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    for words in (
        f"| bits per byte | {ended.outcome.evaluation.bits_per_byte:.4f} |",
        "| budget | 1536tok |",
        f"| tokens | 1,536 ({1536 / len(ended.corpus.train):.2f} epochs) in 12 steps |",
        "| peak memory | 123 MB |",
        f"| all parameters | {parameter_count(ended.run.config.model):,} |",
        "| date | 2026-12-01T15:00:00+00:00 |",
        "| command to repeat it | mlx-tiny train --data 'my \\| notes.txt' |",
        f"| hash of the training text | {ended.report().training_text} |",
        f"| in all | {format_seconds(sum(ended.outcome.phases.values()))} |",
        f"| cores | {ended.report().machine.cores} |",
        "| backend | A \\| B |",
        "> Ann ran.\n> \n> The end.\n",
    ):
        assert words in text, words
    assert "None" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 3 for line in tables), "a value breaks its table"


def test_report_json_is_written_when_all_else_is(ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run takes it for a sign that nothing is missing."""
    run = RunFolder(ended.run.path)
    run.path = tmp_path
    report.write_report(run, built := ended.report())
    assert read_sealed(tmp_path / "report.json", Report, "report") == built
    assert (tmp_path / "report.md").read_text() == report.as_text(built)
    seen: list[list[str]] = []
    monkeypatch.setattr(report, "write_sealed", lambda path, _: seen.append(sorted(os.listdir(path.parent))))
    (tmp_path / "report.json").unlink()
    (tmp_path / PICTURE).touch()
    report.write_report(run, built)
    assert seen == [[PICTURE, "report.md"]]
    assert f"({PICTURE})" in (tmp_path / "report.md").read_text() and PICTURE not in report.as_text(built)


def test_phases_of_earlier_sessions_are_told_apart(ended: Ended) -> None:
    built = dataclasses.replace(ended.report(), phases_s={"training": 30.0, "the report": 10.0}, wall_s=25.0)
    text = report.as_text(built)
    assert "| training | 30.0s (75%) |" in text and "| in all | 40.0s |\n| in the last session | 25.0s |" in text
    assert "last session" not in report.as_text(dataclasses.replace(built, wall_s=40.0))


def test_what_was_expected_is_told_beside_what_was_reached(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended.report().expected is None, "no law is about this text"
    monkeypatch.setattr(report, "expectation_of", lambda *_: Expectation(1.5, 1.4, 1.6, ""))
    built = ended.report()
    lines = list(report.summary(built, ended.run.path).items())
    assert lines[:2] == [("bits_per_byte", f"{built.bits_per_byte:.4f}"), ("expected", "1.500 (1.400 to 1.600)")]
    report.write_report(ended.run, built)
    assert report.read_report(ended.run).expected == built.expected
    assert "| expected by the law | 1.500 (1.400 to 1.600) |" in (ended.run.path / "report.md").read_text()
    assert ended.report(interrupted="SIGINT").expected is None
