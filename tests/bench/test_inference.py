"""`bench inference`: lengths that fit, numbers that follow from the times, and no time for wrong logits."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlx_tiny.bench import inference
from mlx_tiny.bench.record import WRONG
from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import parameter_count

from .micro import MICRO, PEAKS


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ((None, None), (20, 20)),
        ((39, None), (39, 1)),
        ((39, 2), (39, 2)),
        ((40, None), (40, 1)),
        ((1, 40), (1, 40)),
        ((10, None), (10, 30)),
    ],
)
def test_lengths_that_fit(asked: tuple[int | None, int | None], meant: tuple[int, int]) -> None:
    assert inference.fitting(MICRO.config().model, *asked) == meant


@pytest.mark.parametrize("asked", [(0, None), (41, None), (40, 2), (20, 0), (1, 41), (-3, 5)])
def test_lengths_that_do_not_fit(asked: tuple[int | None, int | None]) -> None:
    with pytest.raises(TinyError, match="do not fit the model's context"):
        inference.fitting(MICRO.config().model, *asked)


def test_prompt_and_decode_are_measured_separately() -> None:
    told: list[str] = []
    ((prompt, decode),) = inference.run(["micro"], PEAKS, lengths=(30, 5), seconds=0, tell=told.append)
    assert told == ["generation, micro (30 tokens read, 5 written)"]
    assert (prompt.part, decode.part, prompt.tokens, decode.tokens) == ("prompt", "decode", 30, 4)
    for record in (prompt, decode):
        assert record.tokens_per_s == pytest.approx(record.tokens / record.time_s.median)
        assert 0 < record.time_s.p10 <= record.time_s.median <= record.time_s.p90 < 10
        assert 0 < record.share_of_bound < 10 and record.error <= 1 and record.reason is None
    # The fifth token meets 34 keys, the second 31; a token of the prompt meets 15.5 on average.
    c = MICRO.config().model
    matrices = (prompt.flops / 60) - c.layers * 2 * c.heads * c.head_width * 15.5
    assert decode.flops / 8 == pytest.approx(matrices + c.layers * 2 * c.heads * c.head_width * 32.5)


def test_memory_is_that_of_the_generation_alone() -> None:
    mx.eval(mx.ones((200_000_000 // 4,)))  # a peak of others, given back
    held = mx.ones((100_000_000 // 4,))
    mx.eval(held)
    ((prompt, _),) = inference.run(["micro"], PEAKS, seconds=0)
    weights = 4 * parameter_count(MICRO.config().model)
    assert weights < prompt.peak_memory_bytes < 50_000_000


def test_a_prompt_may_fill_the_context() -> None:
    ((prompt,),) = inference.run(["micro"], PEAKS, lengths=(40, None), seconds=0)
    assert (prompt.part, prompt.tokens) == ("prompt", 40)


def test_wrong_scores_have_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(inference.Reader):
        def read_next(self, token: int) -> mx.array:
            self._cache = [(1.01 * key, value) for key, value in self._cache]
            return super().read_next(token)

    monkeypatch.setattr(inference, "Reader", Forgetful)
    ((prompt, decode),) = inference.run(["micro"], PEAKS, seconds=0)
    assert prompt.outcome == WRONG and "scores by the cache" in decode.reason and decode.time_s is None


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(TinyError, match="Unknown preset 'huge'"):
        list(inference.run(["huge"], PEAKS))
