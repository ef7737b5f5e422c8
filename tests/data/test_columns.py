from __future__ import annotations

from pathlib import Path

import pytest
from reading import how, read, write, write_lines

from mlx_tiny.data.columns import are_prose
from mlx_tiny.errors import TinyError

DATES = [f"2020-01-{day:02}" for day in range(1, 29)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (DATES, False),
        (["10:00", "10:05:30"], False),
        (["2020-01-01T10:00:00Z", "2020-01-01T10:00Z"], False),
        (["Jan 5, 2020", "March 12th, 2021"], False),
        (["5.1.2020 10:00 pm", ""], False),
        (["A1", "B-22", "C"], False),
        (["setosa", "virginica"] * 20, False),
        (["setosa", "virginica"] * 5, True),
        (["I saw 3 cats", "5 dogs"], True),
        (["emma", "olivia"], True),
        (["我有3只猫", "5只狗"], True),
        (["May I?", "5 March"], True),
        ([], True),
    ],
)
def test_dates_codes_and_categories_are_no_documents(texts: list[str], expected: bool) -> None:
    assert are_prose(texts) is expected


@pytest.mark.parametrize("texts", [DATES, ["10:00", "10:05"], ["A1", "B2"], ["setosa"] * 12 + ["virginica"] * 12])
def test_they_do_not_replace_their_rows(tmp_path: Path, texts: list[str]) -> None:
    table = pytest.importorskip("pyarrow").table({"key": texts, "close": [1.5] * len(texts)})
    rows = [f"{text};1.5" for text in texts]
    csv = write(tmp_path / "a.csv", "\n".join(["key;close", *rows]))
    assert read(csv) == rows and "each row" in how(csv)
    assert read(csv, column="key") == texts
    lines = write_lines(tmp_path / "a.jsonl", *({"key": text, "close": 1.5} for text in texts))
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    for path in (lines, tmp_path / "a.parquet"):
        with pytest.raises(TinyError, match=r"does not say.*key, close.*--text-column"):
            read(path)
        assert read(path, column="key") == texts


def test_alone_or_below_a_usual_name_they_are_documents(tmp_path: Path) -> None:
    assert read(write_lines(tmp_path / "a.jsonl", *({"key": date} for date in DATES))) == DATES
    assert read(write_lines(tmp_path / "b.jsonl", *({"text": date, "n": 1} for date in DATES))) == DATES
    assert read(write(tmp_path / "c.csv", "\n".join(["text,n", *(f"{date},1" for date in DATES)]))) == DATES
