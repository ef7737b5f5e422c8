from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import create_run, tiny_config

from mlx_tiny.config import DataConfig
from mlx_tiny.data import hub, tinystories
from mlx_tiny.data.generated import StoriesSource
from mlx_tiny.data.sources import resolve
from mlx_tiny.data.tinystories import TinyStoriesSource
from mlx_tiny.errors import TinyError
from mlx_tiny.training.own_text import own_text


class Hub:
    """A stand-in for the hub: stories of 10 bytes, and a count of the lines that were asked for."""

    def __init__(self) -> None:
        self.sizes = {"TinyStoriesV2-GPT4-train.txt": 1000, "TinyStoriesV2-GPT4-valid.txt": 50}
        self.reachable = True
        self.asked = 0
        self.probes = 0
        self.fails_after = 10**9

    def obstacle(self, repository: str) -> str | None:
        assert repository == "roneneldan/TinyStories"
        self.probes += 1
        return None if self.reachable else "no network"

    def lines(self, repository: str, file: str) -> Iterator[str]:
        letter = file[len("TinyStoriesV2-GPT4-")]
        for number in range(self.sizes[file]):
            for line in (f"{letter}{number:05}", "end", "<|endoftext|>", ""):
                self.asked += 1
                if self.asked > self.fails_after:
                    raise TinyError("The line is dead")
                yield line


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub()
    monkeypatch.setattr(hub, "obstacle", fake.obstacle)
    monkeypatch.setattr(hub, "lines", fake.lines)
    return fake


def config(train: int, valid: int = 100, source: str = "tinystories") -> DataConfig:
    return DataConfig(sources=(source,), train_bytes=train, validation_bytes=valid)


def texts(given: DataConfig) -> tuple[list[str], list[str]]:
    source = resolve(given)
    source.make_ready(lambda phase, done, total: None)
    documents = list(source.documents())
    sides = [[document.text for document in documents if document.held_out is side] for side in (False, True)]
    assert source.fingerprint() == resolve(given).fingerprint()
    return sides[0], sides[1]


def parts(home: Path) -> set[str]:
    return {path.name for path in (home / "sources" / "tinystories-v2").glob("*")}


def test_only_what_is_needed_is_fetched_and_once(fake: Hub, home: Path) -> None:
    assert "to be downloaded" in resolve(config(205)).description
    train, valid = texts(config(205))
    assert train == [f"t{number:05}\nend" for number in range(20)]
    assert valid == [f"v{number:05}\nend" for number in range(10)]
    assert fake.asked < 4 * 33
    asked, probes = fake.asked, fake.probes
    assert texts(config(105, 50)) == (train[:10], valid[:5])
    assert resolve(config(105, 50)).description == "TinyStories V2 (the first 105 B, from the cache)"
    assert (fake.asked, fake.probes) == (asked, probes)


def test_more_is_fetched_when_more_is_asked(fake: Hub, home: Path) -> None:
    small = texts(config(100))
    large = texts(config(300))
    assert large[0][:10] == small[0]
    assert len(large[0]) == 30
    assert parts(home) == {"100-100", "300-100"}


def test_a_whole_split_suffices_for_any_bound(fake: Hub, home: Path) -> None:
    assert [len(side) for side in texts(config(10**6, 10**6))] == [1000, 50]
    asked = fake.asked
    assert [len(side) for side in texts(config(10**7, 10**7))] == [1000, 50]
    assert fake.asked == asked


def test_auto_takes_what_the_cache_holds_and_never_asks(fake: Hub) -> None:
    assert isinstance(resolve(config(100, source="auto")), StoriesSource)
    texts(config(100))
    fake.reachable = False
    probes = fake.probes
    for train in (50, 100, 500):
        assert isinstance(resolve(config(train, source="auto")), TinyStoriesSource)
    assert fake.probes == probes
    described = resolve(config(500, source="auto")).description
    assert described == "TinyStories V2 (the first 100 B, which is all that the cache has; 500 B were asked for)"


def test_out_of_reach(fake: Hub) -> None:
    fake.reachable = False
    with pytest.raises(TinyError, match=r"does not answer \(no network\)\. Name a text file .*--data stories"):
        resolve(config(100))
    fake.reachable = True
    texts(config(100))
    fake.reachable = False
    assert "500 B were asked for; the hub does not answer (no network)" in resolve(config(500)).description
    assert len(texts(config(500))[0]) == 10


def test_an_unreachable_server_is_reported_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    start = time.monotonic()
    with pytest.raises(TinyError, match="does not answer"):
        resolve(config(100))
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("fails_after", [0, 30, 60, 90])
def test_a_broken_download_leaves_nothing(fake: Hub, home: Path, fails_after: int) -> None:
    fake.fails_after = fails_after
    with pytest.raises(TinyError, match="The line is dead"):
        texts(config(200))
    assert parts(home) == set()
    assert isinstance(resolve(config(100, source="auto")), StoriesSource)
    fake.fails_after = 10**9
    assert len(texts(config(200))[0]) == 20


@pytest.mark.parametrize("name", ["train.txt", "valid.txt", "meta.json"])
@pytest.mark.parametrize("content", ["x", json.dumps({"version": 1}), None])
def test_a_damaged_cache_is_an_error_or_fetched_again(fake: Hub, home: Path, name: str, content: str | None) -> None:
    texts(config(50, 50))
    texts(config(100))
    path = home / "sources" / "tinystories-v2" / "100-100" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert isinstance(resolve(config(50, 50, source="auto")), TinyStoriesSource)
    with pytest.raises(TinyError, match=r"100-100 is damaged.*--data tinystories"):
        resolve(config(100, source="auto"))
    fake.reachable = False
    with pytest.raises(TinyError, match="100-100 is damaged"):
        resolve(config(100))
    fake.reachable = True
    assert len(texts(config(100))[0]) == 10
    assert len(texts(config(100, source="auto"))[0]) == 10


def test_a_part_of_another_version_is_none(fake: Hub, home: Path) -> None:
    texts(config(100))
    path = home / "sources" / "tinystories-v2" / "100-100" / "meta.json"
    path.write_text(json.dumps({"version": 2}))
    assert tinystories.cached(config(100)) is None


def test_changed_letters_in_the_cache_are_noticed(fake: Hub, home: Path) -> None:
    texts(config(100))
    path = home / "sources" / "tinystories-v2" / "100-100" / "train.txt"
    path.write_bytes(path.read_bytes().swapcase())
    with pytest.raises(TinyError, match=r"damaged.*Delete the folder"):
        resolve(config(100)).fingerprint()


def test_nothing_takes_the_place_of_the_stories_of_a_run(fake: Hub, home: Path, tmp_path: Path) -> None:
    texts(config(1000))
    data = DataConfig(sources=("auto",), train_bytes=1000, validation_bytes=100, tokenizer="bytes")
    run = create_run(tmp_path / "run", replace(tiny_config(tmp_path), data=data))
    shutil.rmtree(home)
    with pytest.raises(TinyError, match="TinyStories, on which the run"):
        own_text(run)


def test_no_story_fits(fake: Hub) -> None:
    with pytest.raises(TinyError, match="No story of roneneldan/TinyStories fits into 5 bytes"):
        texts(config(5))


def test_stories_with_nul_are_left_out(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "lines", lambda *given: iter(["a\0b", "<|endoftext|>", " ", "<|endoftext|>", "fine"]))
    assert texts(config(100)) == (["fine"], ["fine"])
