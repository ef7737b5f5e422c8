"""From a table to predictions: describe, train with a schema, predict, score, eval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_readme import check_arguments

import mlx_tiny
from mlx_tiny.cli.describe import next_commands
from mlx_tiny.data.events.describe import Proposal
from mlx_tiny.data.events.schema import Column, Schema, parse_schema

from .command_line import FEW_PAUSES, call, read_report, succeeded, workplace, write_purchases

SMALL = ("--budget", "3000tok", "--held-out", "0.2", "--width", "32", "--batch-size", "4", *FEW_PAUSES)
CUSTOMERS, EVENTS = 40, 12


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, its schema, and a run."""
    with workplace(tmp_path_factory.mktemp("shop")) as folder:
        write_purchases(folder / "shop.csv", CUSTOMERS, EVENTS)
        described = succeeded(call("data", "describe", "shop.csv", "--out", "schema.yaml"))
        assert "--schema schema.yaml" in described.err
        done = succeeded(call("train", "--data", "shop.csv", "--schema", "schema.yaml", *SMALL, "--run", "run"))
        assert "1 empty customer" in done.err and "bytes per event" in done.out + done.err
    return folder


@pytest.fixture
def run(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shop)
    monkeypatch.setenv("MLX_TINY_HOME", str(shop / "home"))
    return shop / "run"


def test_the_schema_is_printed_or_written(place: Path) -> None:
    write_purchases(place / "shop.csv")
    printed = succeeded(call("data", "describe", "shop.csv"))
    assert parse_schema(printed.out, "it").item.name == "article"
    assert call("data", "describe", "shop.csv", "--out", "absent/schema.yaml").code == 1
    assert call("data", "describe", "notes.txt").code == 1


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("out", [None, "my schema.yaml"])
def test_the_proposed_commands_go_on_from_what_is_there(out: str | None, header: bool, place: Path) -> None:
    proposal = Proposal(Schema((Column("a", "item"),)), {}, {}, events=900, histories=40, tokens=1234)
    path = None if out is None else Path(out)
    *before, train = next_commands("my shop.csv", path, proposal, header=header)
    assert [words[-2:] for words in before] == [["--out", "schema.yaml"]] * (out is None)
    assert train[train.index("--schema") + 1] == (out or "schema.yaml")
    assert all(("--no-header" in words) != header for words in [*before, train])
    assert train[-4:] == ["--budget", "20ktok", "--run", "runs/my-shop"]
    for words in [*before, train]:
        check_arguments(words)
    (place / "runs" / "my-shop").mkdir(parents=True)
    *_, again = next_commands("my shop.csv", path, proposal, header=header)
    assert "--run" not in again


def test_the_report_has_bits_per_event(run: Path) -> None:
    report = read_report(run)
    assert report["bits_per_event"] > report["bits_per_byte"] > 0
    assert report["config"]["train"]["preset"] == "events"


@pytest.mark.filterwarnings("ignore:documents that were trained on")
def test_eval_reads_the_table_by_the_schema_of_the_run(run: Path) -> None:
    (run.parent / "schema.yaml").rename(run.parent / "elsewhere.yaml")
    try:
        measured = json.loads(succeeded(call("eval", run, "shop.csv", "--json")).out)
    finally:
        (run.parent / "elsewhere.yaml").rename(run.parent / "schema.yaml")
    assert measured["documents"] == CUSTOMERS
    with pytest.warns(UserWarning, match="empty customer"):
        again = mlx_tiny.evaluate(mlx_tiny.load(run), "shop.csv")
    assert again.bits_per_byte == pytest.approx(measured["bits_per_byte"])
    events = CUSTOMERS * EVENTS + 1
    assert measured["bits_per_event"] * events == pytest.approx(measured["bits_per_byte"] * measured["bytes"])


def test_predict_names_the_next_items_of_each_history(run: Path) -> None:
    done = succeeded(call("predict", run, "shop.csv", "--top", "3", "--json"))
    assert "1 empty customer" in done.err
    rows = json.loads(done.out)["predictions"]
    assert [row["name"] for row in rows] == [f"C{number}" for number in range(CUSTOMERS)]
    for row in rows:
        probabilities = [likely["probability"] for likely in row["next"]]
        assert len(probabilities) == 3 and probabilities == sorted(probabilities, reverse=True)
        assert {likely["text"] for likely in row["next"]} <= {f"A{number}" for number in range(9)}
    heading, *lines = succeeded(call("predict", run, "shop.csv", "--top", "1")).out.splitlines()
    assert "customer" in heading and "article" in heading
    assert [line.split()[:2] for line in lines] == [[f"{row['name']}:", row["next"][0]["text"]] for row in rows]


def test_predict_is_measured_beside_simple_predictors(run: Path) -> None:
    found = json.loads(succeeded(call("predict", run, "--evaluate", "--top", "9", "--json")).out)
    assert found["events"] == pytest.approx(found["histories"] * EVENTS, abs=1) and found["candidates"] == 9
    assert len(found["predictors"]) == 4
    assert {method["hit_rate"] for method in found["predictors"].values()} == {1 - found["unknown_share"]}
    shown = succeeded(call("predict", run, "--evaluate")).out
    assert "popularity" in shown and f"events: {found['events']}" in shown and "--top 1 tells more" in shown
    everything = succeeded(call("predict", run, "shop.csv", "--evaluate", "--json"))
    assert "trained on" in everything.err
    assert json.loads(everything.out)["unknown_share"] == pytest.approx(1 / (CUSTOMERS * EVENTS + 1))


def test_the_run_knows_its_schema_and_its_prepared_histories(run: Path) -> None:
    found = succeeded(call("predict", run, "--evaluate", "--json")).out
    longer = (run.parent / "shop.csv").read_text() + "".join(f"C{n},A1,1,2011-01-01\n" for n in range(CUSTOMERS))
    hidden = [run.parent / name for name in ("schema.yaml", "shop.csv")]
    for path in hidden:
        path.rename(path.with_suffix(".hidden"))
    try:
        assert succeeded(call("predict", run, "--evaluate", "--json")).out == found
        (run.parent / "shop.csv").write_text(longer)
        assert succeeded(call("predict", run, "--evaluate", "--json")).out == found
        new = succeeded(call("predict", run, "shop.csv", "--evaluate", "--json"))
        assert f"of the {CUSTOMERS} histories were trained on" in new.err
    finally:
        for path in hidden:
            path.with_suffix(".hidden").rename(path)


def test_a_run_goes_on_without_the_file_of_its_schema(run: Path) -> None:
    (run.parent / "schema.yaml").rename(run.parent / "schema.hidden")
    try:
        again = ("--budget", "200tok", "--batch-size", "4", *FEW_PAUSES)
        succeeded(call("train", "--from", run, "--data", "shop.csv", *again, "--run", "second"))
        succeeded(call("train", "--resume", "second", "--budget", "400tok"))
        other = call("train", "--from", run, "--data", "shop.csv", "--schema", "schema.yaml", "--run", "third")
        assert other.code == 1 and "schema.yaml" in other.err
    finally:
        (run.parent / "schema.hidden").rename(run.parent / "schema.yaml")


def test_score_begins_with_the_unlikeliest(run: Path) -> None:
    rows = json.loads(succeeded(call("score", run, "shop.csv", "--plain", "--json", "--per-token")).out)["documents"]
    bits = [row["bits_per_event"] for row in rows]
    assert len(rows) == CUSTOMERS and bits == sorted(bits, reverse=True)
    assert rows[0]["name"] == "C0"  # the only one with an item that must be spelled
    for row in rows[:3]:
        assert sum(value for _, value in row["per_token"]) == pytest.approx(row["log_probability"])
        assert "".join(piece for piece, _ in row["per_token"]).startswith(row["beginning"])
    lines = succeeded(call("score", run, "shop.csv", "--plain")).out.splitlines()
    assert [line.split("\t")[2] for line in lines[1:]] == [row["name"] for row in rows]


def test_another_table_does_not_fit(run: Path) -> None:
    (run.parent / "other.csv").write_text("customer,count\n1,2\n")
    for command in ("predict", "score", "eval"):
        done = call(command, run, "other.csv")
        assert done.code == 1 and "other.csv has no column" in done.err


def test_generated_lines_are_events(run: Path) -> None:
    done = succeeded(call("generate", run, "--max-tokens", "40", "--temperature", "0.5"))
    assert "\t" in done.out


class TestTexts:
    def test_predict_shows_the_next_pieces_after_the_end(self, trained: Path, place: Path) -> None:
        rows = json.loads(succeeded(call("predict", trained, "notes.txt", "--top", "4", "--json")).out)["predictions"]
        assert [row["name"] for row in rows[:2]] == ["1", "2"]
        assert all(len(row["next"]) == 4 for row in rows)
        texts = (place / "notes.txt").read_text().split("\n<|endoftext|>\n")
        assert len(rows[0]["end"]) > 9 and all(
            text.endswith(row["end"]) for text, row in zip(texts[:2], rows, strict=False)
        )
        assert rows[1]["end"] in succeeded(call("predict", trained, "notes.txt", "--top", "1")).out.splitlines()[2]

    def test_score_names_documents_by_their_number(self, trained: Path, place: Path) -> None:
        (place / "other.txt").write_text("Ann found the ball.\n<|endoftext|>\nZzyzx \u4e2d\u6587 qqq!\n")
        rows = json.loads(succeeded(call("score", trained, "other.txt", "--json")).out)["documents"]
        assert [row["name"] for row in rows] == ["2", "1"]
        assert rows[0]["bits_per_byte"] > rows[1]["bits_per_byte"] and "bits_per_event" not in rows[0]

    def test_what_cannot_be_measured_is_refused(self, trained: Path, place: Path) -> None:
        assert call("predict", trained, "notes.txt", "--evaluate").code == 1
        assert call("predict", trained).code == 2
        (place / "empty.txt").write_text("")
        for command in ("predict", "score"):
            assert call(command, trained, "empty.txt").code == 1
