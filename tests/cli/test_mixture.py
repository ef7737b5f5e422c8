"""`mlx-tiny train --data A:0.3 --data B:0.7`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .command_line import FEW_PAUSES, TINY, call, crash, files_below, read_metrics, read_report, succeeded

SIZES = ("--train-bytes", "100000", "--validation-bytes", "20000")
TRAIN = ("train", "--data", "stories:1", "--data", "sums.txt:3", *TINY, *SIZES, *FEW_PAUSES, "--budget", "1500tok")


@pytest.fixture(autouse=True)
def sums(place: Path) -> None:
    (place / "sums.txt").write_text("\n<|endoftext|>\n".join(f"{n} + {n} = {2 * n}." for n in range(500)))


def test_a_mixture_is_measured_text_by_text_and_resumes_bit_for_bit(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = succeeded(call(*TRAIN, "--run", "whole")).err
    report = read_report(place / "whole")
    stories, sums = report["texts"]
    assert (stories["share"], sums["share"]) == (0.25, 0.75) and "75 % of the sequences" in said.splitlines()[0]
    expected = 0.25 * stories["bits_per_byte"] + 0.75 * sums["bits_per_byte"]
    assert report["bits_per_byte"] == pytest.approx(expected)
    assert 0 < stories["entropy_floor_bits_per_byte"] < stories["bits_per_byte"]
    assert report["entropy_floor_bits_per_byte"] is sums["entropy_floor_bits_per_byte"] is None
    assert report["evaluation_fingerprint"] not in (stories["fingerprint"], sums["fingerprint"])
    checks = [record["by_text"] for record in read_metrics(place / "whole") if record["kind"] == "evaluation"]
    assert [len(check) for check in checks] == [2]
    text = (place / "whole/report.md").read_text()
    assert all(f"{part['bits_per_byte']:.4f} (" in text for part in report["texts"])
    measured = succeeded(call("eval", "whole", "sums.txt")).results()
    assert float(measured["bits_per_byte"]) < 2 * sums["bits_per_byte"]

    with crash(5):
        call(*TRAIN, "--run", "broken")
    succeeded(call("train", "--resume", "broken"))
    again = read_report(place / "broken")
    assert again["texts"] == report["texts"]
    assert (place / "broken/weights.safetensors").read_bytes() == (place / "whole/weights.safetensors").read_bytes()
    # From one text to a mixture with it: what would be forgotten is a part of the new text.
    succeeded(call("train", "--from", "whole", *TRAIN[1:5], *SIZES, *FEW_PAUSES, "--budget", "500tok", "--run", "on"))
    on = read_report(place / "on")
    assert [part["before"] for part in on["texts"]] == [
        pytest.approx(part["bits_per_byte"]) for part in report["texts"]
    ]


def test_it_is_shown_text_by_text(place: Path) -> None:
    command = ("data", "show", "stories:1", "sums.txt:3", *SIZES, "--vocabulary-size", "512")
    shown = succeeded(call(*command)).out
    assert "share: 25 %" in shown and "share: 75 %" in shown and shown.count("document 3:") == 2
    texts = json.loads(succeeded(call(*command, "--json")).out)["texts"]
    assert [text["share"] for text in texts] == [0.25, 0.75] and "".join(texts[1]["examples"][0]) == "0 + 0 = 0."


@pytest.mark.parametrize("names", [("stories:1", "sums.txt"), ("stories:1", "sums.txt:0"), ("stories:1", "nowhere:1")])
def test_a_wrong_mixture_leaves_nothing(place: Path, names: tuple[str, str]) -> None:
    before = files_below(place)
    finished = call("train", "--data", names[0], "--data", names[1], "--run", "r")
    assert finished.code == 1 and files_below(place) == before
