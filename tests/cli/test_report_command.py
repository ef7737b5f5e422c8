"""`mlx-tiny report` shows reports, and writes a page of which every number and text is that of the runs."""

from __future__ import annotations

import dataclasses
import html.parser
import math
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlx_tiny.records import write_sealed
from mlx_tiny.report import answers, surprise
from mlx_tiny.report.curves import Curves
from mlx_tiny.report.report import read_report
from mlx_tiny.tools import plots
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.scoring import score_texts
from mlx_tiny.training.trained import load_model

from .command_line import call, read_metrics, succeeded

HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror='x'>&amp;\x1b[31m $x$ \\"
VOID = {"meta", "input", "br"}
CHROMIUM = shutil.which("chromium")


class Read(html.parser.HTMLParser):
    """A page as a browser takes it apart; wrong nesting fails the test."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes = list[str](), list[str](), list[tuple[str, str | None]]()
        self.words = dict[str, str]()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words[self.open[-1] if self.open else ""] = self.words.get(self.open[-1] if self.open else "", "") + data

    def named(self, name: str) -> list[str]:
        return [value or "" for key, value in self.attributes if key == name]


@pytest.fixture(scope="module", autouse=True)
def _needs_matplotlib() -> None:
    pytest.importorskip("matplotlib")


def written(*runs: Path) -> str:
    succeeded(call("report", *runs, "--html", "page.html"))
    return Path("page.html").read_text(encoding="utf-8")


@pytest.fixture
def in_cache(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, with its text in the cache."""
    monkeypatch.setenv("MLX_TINY_HOME", str(trained.parent / "home"))
    return trained


def test_a_report_is_shown_as_it_was_written(trained: Path) -> None:
    shown = succeeded(call("report", trained)).out
    assert shown.rstrip("\n") == (trained / "report.md").read_text(encoding="utf-8").rstrip("\n")


def test_the_page_is_whole_small_and_alone(in_cache: Path, tmp_path: Path) -> None:
    other = shutil.copytree(in_cache, tmp_path / "other")
    text = written(in_cache, other)
    read = Read(text)
    assert len(text.encode()) < 2_000_000
    identities = read.named("id")
    assert len(identities) == len(set(identities))
    assert not {"script", "link", "img", "iframe", "object"} & set(read.tags)
    assert not read.named("src") and {reference[0] for reference in read.named("href")} == {"#"}
    assert {reference[1:] for reference in read.named("href")} <= set(identities)
    assert set(re.findall(r"url\((.)", text)) <= {"#"} and "@import" not in text and "http" not in read.words["style"]
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(identities)
    assert read.tags.count("svg") == 7 and read.tags.count("h1") == 1
    assert f"in all {read_report(RunFolder(in_cache)).parameters:,}" in read.words["p"]
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= {"--h", *re.findall(r"(--[\w-]+):", read.words["style"])}


def reported(original: Path, name: str, **changed: Any) -> Path:
    """A copy of a run with another report."""
    folder = Path(shutil.copytree(original, Path(name)))
    write_sealed(folder / "report.json", dataclasses.replace(read_report(RunFolder(folder)), **changed))
    return folder


def test_two_runs_are_compared(trained: Path) -> None:
    report = read_report(RunFolder(trained))
    strength = report.with_counting_bits_per_byte
    config = dataclasses.replace(report.config, optimizer=dataclasses.replace(report.config.optimizer, head_rate=0.125))
    better = reported(
        trained,
        "better",
        with_counting_bits_per_byte=0.9 * strength,
        config=config,
        command="mlx-tiny train --data 'a b'",
    )
    words = Read(written(trained, better)).words
    assert "With counting: better" in words["strong"] and "The model alone: none" in words["strong"]
    assert f"(better {0.9 * strength:.4f}, run {strength:.4f} bits per byte)" in words["span"]
    assert f"{0.1 * strength:.4f} bits per byte (10.0%)" in words["strong"]
    assert "better is stronger than run" in words["span"] and "better is as strong as run" in words["span"]
    # Of each document, the copy needs the same bits, so that the text tells no difference; there is one seed.
    assert "With counting: it may be" in words["strong"] and "--seed 1" in words["dd"]
    assert "head-rate" in words["th"] and "0.125" in words["td"]
    assert words["code"] == f"{report.command}mlx-tiny train --data 'a b'"


def test_noise_is_told_in_few_words() -> None:
    apart, around = (0.1, 0.2), (-0.1, 0.2)
    assert answers._lead([apart, apart], []) == "not of the text; of the seed it is not known"
    assert answers._lead([apart, apart], [0.001, 0.002]) == "no"
    assert answers._lead([apart, around], [0.001, 0.002]) == answers._lead([apart], [0.5, 0.001]) == "of some"
    assert answers._lead([around], []) == answers._lead([apart], [0.5]) == answers._lead([apart], [None]) == "it may be"
    assert answers._lead([None], []) == "that is not known"


def test_runs_of_other_texts_are_not_compared(trained: Path) -> None:
    other = reported(trained, "other", evaluation_fingerprint="0")
    runs: Any = [SimpleNamespace(run=RunFolder(path)) for path in (trained, other)]
    ((first, why),) = answers._of_several(runs).values()
    assert first.text == "They cannot be compared." and "different texts" in why


def test_strangers_write_no_markup(trained: Path) -> None:
    text = written(reported(trained, HOSTILE.replace("/", "∕"), samples=[HOSTILE], data=HOSTILE))
    read = Read(text)
    assert "script" not in read.tags and "img" not in read.tags and "\x1b" not in text
    assert HOSTILE.replace("\x1b", "\ufffd") in read.words["blockquote"]


def test_the_curves_are_those_of_the_metrics(trained: Path) -> None:
    run = RunFolder(trained)
    report = read_report(run)
    curves, lines = Curves.of(run, report), read_metrics(trained)
    steps = [line for line in lines if line["kind"] == "step"]
    nats_per_byte = report.bits_per_byte * math.log(2) / math.log(report.perplexity_per_token)
    assert curves.training.values == pytest.approx([step["loss"] * nats_per_byte / math.log(2) for step in steps])
    assert curves.training.spent["flops"][-1] == report.flops
    checks = [line["validation_bits_per_byte"] for line in lines if line["kind"] == "evaluation"]
    assert curves.validation.values.tolist() == [*checks, report.bits_per_byte]
    assert curves.validation.spent["tokens"][-1] == curves.result["tokens"] == report.tokens
    early = dataclasses.replace(report, weights_from="best", weights_step=1)
    assert Curves.of(run, early).validation.values.tolist() == [report.bits_per_byte, *checks]
    speed = np.array([step["tokens_per_s"] for step in steps])
    assert curves.utilisation.values == pytest.approx(speed * report.training_flops_per_token / report.peak_flops_per_s)
    assert [sample.text for sample in curves.samples] == [line["text"] for line in lines if line["kind"] == "sample"]
    assert curves.training.smoothed(10).values.mean() == pytest.approx(curves.training.values.mean())


def test_the_surprise_adds_up_to_the_score(in_cache: Path) -> None:
    run = RunFolder(in_cache)
    found = surprise.surprise_of(run, read_report(run))
    text, model = "".join(found.pieces), load_model(in_cache)
    assert text.startswith("Story ") and "not trained on" in found.origin
    for asked, mixed in ((surprise.MODEL, None), (surprise.MIXED, model.mixed)):
        (score,) = score_texts(model.parameters, model.config, model.tokenizer, [text], mixed=mixed)
        bits = -score.log_probabilities[:-1].sum() / math.log(2)
        assert sum(found.bits[asked]) == pytest.approx(bits) and min(found.bits[asked]) >= 0
    assert len(found.bits[surprise.COUNTING]) == len(found.pieces)


def test_pieces_are_whole_characters() -> None:
    tokenizer = SimpleNamespace(piece_bytes=[b"a", b"\xc3", b"\xa9", b"\xff", b""])
    assert surprise._pieces(tokenizer, [0, 1, 2, 4, 3, 0, 1]) == (["a", "é", "\ufffd", "a", "\ufffd"], [0, 1, 3, 5, 6])


def test_a_page_is_written_of_what_is_left_of_a_run(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    for name in (
        "weights.safetensors",
        "metrics.jsonl",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
    ):
        (folder / name).unlink(missing_ok=True)
    read = Read(written(folder))
    assert "surprise" not in read.named("id") and "strength" in read.named("id")
    assert "The surprise per token is missing" in read.words["p"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "loop"), "contains no run"),
        (("run", "run"), "twice"),
        (("run", "empty"), "no run"),
        (("run", "unreported"), "report"),
    ],
)
def test_what_cannot_be_shown_is_refused(trained: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    for name in ("run", "unreported"):
        shutil.copytree(trained, tmp_path / name)
    (tmp_path / "unreported" / "report.json").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    finished = call("report", *arguments, "--html", "page.html")
    assert finished.code == 1 and words in finished.err and not (tmp_path / "page.html").exists()


def test_a_file_that_is_no_page_is_not_replaced(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "weights.safetensors").read_bytes()
    finished = call("report", "run", "--html", "run/weights.safetensors")
    assert finished.code == 1 and "is no page" in finished.err
    assert (run / "weights.safetensors").read_bytes() == before
    (tmp_path / "page.html").write_text("<!DOCTYPE html>\n<p>An older page.")
    assert "An older page" not in written(run)


def test_without_matplotlib_the_install_line_is_told(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "installed", lambda: False)
    finished = call("report", trained, "--html", "page.html")
    assert finished.code == 1 and "mlx-tiny[plot]" in finished.err


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_has_nothing_to_complain_about(in_cache: Path, tmp_path: Path) -> None:
    written(in_cache)
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --enable-logging=stderr".split()
    address = (tmp_path / "page.html").as_uri()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a short name, as the browser has a socket there
        done = subprocess.run(
            [str(CHROMIUM), *flags, f"--user-data-dir={folder}", "--dump-dom", address],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "TMPDIR": folder},
        )
    assert done.returncode == 0 and "CONSOLE" not in done.stderr and "</svg>" in done.stdout
