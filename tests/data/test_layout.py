"""Names of files that say what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_tiny.data.find import find


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("data.jsonl", "", "test.jsonl"),
        ("data.jsonl", "valid.jsonl", ""),
        ("", "valid.jsonl", "test.jsonl"),
        ("", "", "test.jsonl testing.csv"),
        ("train.md", "valid.md", "test.md"),
        ("train.abc", "", "test.abc"),
        ("train", "valid", "test"),
        ("train/x.md", "", "test/x.md"),
        ("dev/train.txt", "", "dev/test.txt"),
        ("test/train.jsonl", "test/valid.jsonl", "test/test.jsonl"),
        ("train/a.jsonl", "valid/c.jsonl", "train/test/b.jsonl"),
        ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
        ("V2-GPT4-train.txt", "V2-GPT4-valid.txt", ""),
        ("my_train.jsonl", "", "my_test.jsonl"),
        ("train_en.txt train_de.txt", "dev_de.txt", "test_en.txt"),
        ("wiki.train.tokens", "", "wiki.test.tokens"),
        ("train1.txt", "", "test1.txt"),
        ("train~(1).txt", "", "test~(1).txt"),
        ("train-00-v1-head.txt", "valid-v1-head.txt", ""),
        ("train-00-v1-head.txt train-02-v2-sample-a.txt train-05-all.txt", "valid-v1-head.txt", ""),
        ("train-00000-of-00002.txt train-00001-of-00002.txt", "valid/a.txt", "test/b.txt"),
        ("train.jsonl", "", "testing.jsonl"),
        ("training.csv", "", "testing.csv"),
        ("train.jsonl", "eval.jsonl", ""),
        ("train_data.txt", "Dev-Set.txt", "testset.v2.txt"),
        ("train.txt.gz", "", "test.txt.gz"),
        ("my.txt", "", "my_test.txt"),
        ("shop_data.csv", "shop_val.csv", ""),
        ("ptb.train", "", ""),
        ("train.py", "", "test.py"),
        (" ".join(["training.md", *(f"{letter}.md" for letter in "abcdefghij")]), "", "test.md"),
        # No layout.
        ("a.txt train.txt", "", ""),
        ("model.py test.py train.py", "", ""),
        ("a.py b.py test/c.py", "", ""),
        ("test_of_time.txt train_of_thought.txt", "", ""),
        ("attest.txt latest.txt my_test.txt validate.txt", "", ""),
        ("train_test_split.txt test_train.txt", "", ""),
    ],
)
def test_roles(tmp_path: Path, train: str, valid: str, test: str) -> None:
    names = {"train": parts(train), "valid": parts(valid), "test": parts(test)}
    for name in (name for group in names.values() for name in group):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text\nOne day.\n" if ".csv" in name else f'{{"text": "In {name}"}}\n')
    found = find((str(tmp_path),))
    for role, files in (("train", found.train), ("valid", found.valid), ("test", found.test)):
        assert sorted(str(file.path.relative_to(tmp_path)) for file in files) == sorted(names[role]), role


def parts(names: str) -> list[str]:
    """The names in a cell of the table, in which ~ is a space."""
    return [name.replace("~", " ") for name in names.split()]
