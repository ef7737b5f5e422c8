from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_tiny.data.batches import BatchStream, MixedStream, document_starts, validation_windows
from mlx_tiny.errors import TinyError


def counting(length: int) -> np.ndarray:
    return np.arange(length, dtype=np.uint16)


shapes = st.tuples(st.integers(1, 9), st.integers(0, 300), st.integers(1, 7), st.integers(-5, 2**70)).map(
    lambda given: (given[0], given[0] + 1 + given[1], given[2], given[3])
)


@given(shape=shapes, epoch=st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_an_epoch_contains_every_sequence_once(shape: tuple[int, int, int, int], epoch: int) -> None:
    context, length, _, seed = shape
    stream = BatchStream(counting(length), batch_size=1, context=context, seed=seed)
    stream.seek(epoch * stream.sequences_per_epoch)
    sequences = [stream.next_batch()[0] for _ in range(stream.sequences_per_epoch)]
    starts = sorted(int(window[0]) for window in sequences)
    assert all(np.array_equal(window, np.arange(window[0], window[0] + context + 1)) for window in sequences)
    assert set(np.diff(starts)) <= {context}
    assert 0 <= starts[0] < context
    assert starts[-1] + context < length
    assert stream.sequences_per_epoch == max(1, (length - context) // context)


@given(shape=shapes, steps=st.integers(0, 60), bos=st.none() | st.just(0))
@settings(max_examples=200, deadline=None)
def test_resuming_anywhere_equals_going_on(shape: tuple[int, int, int, int], steps: int, bos: int | None) -> None:
    context, length, batch_size, seed = shape
    tokens = counting(length)
    tokens[-1] = 0
    first = BatchStream(tokens, batch_size=batch_size, context=context, seed=seed, bos=bos)
    for _ in range(steps):
        first.next_batch()
    assert first.position == steps * batch_size
    second = BatchStream(tokens, batch_size=batch_size, context=context, seed=seed, bos=bos)
    second.seek(first.position)
    for _ in range(3):
        assert np.array_equal(first.next_batch(), second.next_batch())


def test_batches_divide_one_order_of_sequences(tmp_path: Path) -> None:
    sequences = BatchStream(counting(103), batch_size=1, context=10, seed=3)
    flat = np.concatenate([sequences.next_batch() for _ in range(84)])
    for batch_size in (4, 7, 12, 28):
        stream = BatchStream(counting(103), batch_size=batch_size, context=10, seed=3)
        batches = np.concatenate([stream.next_batch() for _ in range(84 // batch_size)])
        assert np.array_equal(batches, flat)


def test_epochs_and_seeds_differ() -> None:
    stream = BatchStream(counting(1000), batch_size=99, context=10, seed=0)
    first, second = stream.next_batch(), stream.next_batch()
    other = BatchStream(counting(1000), batch_size=99, context=10, seed=1).next_batch()
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert first.dtype == np.int32
    assert first.shape == (99, 11)


def test_offsets_vary_so_that_every_token_is_seen() -> None:
    stream = BatchStream(counting(1000), batch_size=99, context=10, seed=0)
    offsets = {int(stream.next_batch().min()) for _ in range(60)}
    assert offsets == set(range(10))


@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=9), context=st.integers(1, 5), epoch=st.integers(0, 2))
def test_sequences_that_begin_at_documents(lengths: list[int], context: int, epoch: int) -> None:
    BOS = 0
    tokens = np.concatenate([[BOS, *range(1, n + 1)] for n in lengths] + [[BOS]] * (context + 1)).astype(np.uint16)
    starts = document_starts(tokens, BOS, context)
    # The token n of a document is n, and its BOS is 0.
    assert all(tokens[start] % context == 0 for start in starts[:-1])
    predicted = {int(start) + k for start in starts for k in range(1, context + 1)}
    assert predicted == set(range(1, len(tokens)))
    stream = BatchStream(tokens, batch_size=len(starts), context=context, seed=3, bos=BOS)
    assert stream.sequences_per_epoch == len(starts)
    stream.seek(epoch * len(starts))
    expected = sorted(tokens[start : start + context + 1].tolist() for start in starts)
    assert sorted(stream.next_batch().tolist()) == expected


def test_a_text_that_is_one_document_is_cut_from_its_beginning() -> None:
    assert document_starts(counting(12), 99, 4).tolist() == [0, 4, 7]


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[list[np.ndarray], list[float], dict[str, int]]:
    """Up to four texts whose tokens tell them apart, their shares, and the other arguments of a stream."""
    context, seed = draw(st.integers(1, 9)), draw(st.integers(0, 9))
    lengths = draw(st.lists(st.integers(context + 1, 60), min_size=1, max_size=4))
    weights = [draw(st.floats(0.001, 1000)) for _ in lengths]
    texts = [np.arange(length, dtype=np.uint16) + 1000 * index for index, length in enumerate(lengths)]
    shares = [weight / sum(weights) for weight in weights]
    return texts, shares, {"batch_size": draw(st.integers(1, 7)), "context": context, "seed": seed}


@given(mixture=mixtures(), batches=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_a_mixture_has_its_shares_and_each_text_its_own_order(mixture: tuple, batches: int) -> None:
    texts, shares, settings = mixture
    stream = MixedStream(texts, shares, **settings)
    sequences = np.concatenate([stream.next_batch() for _ in range(batches)])
    for index, (text, share) in enumerate(zip(texts, shares, strict=True)):
        mine = sequences[sequences[:, 0] // 1000 == index]
        assert abs(len(mine) - share * len(sequences)) <= 2
        alone = BatchStream(text, **settings)
        assert np.array_equal(mine, alone.take(len(mine)))


@given(mixture=mixtures(), batches=st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_a_mixture_goes_on_at_any_position(mixture: tuple, batches: int) -> None:
    texts, shares, settings = mixture
    flat = MixedStream(texts, shares, **{**settings, "batch_size": 1})
    flat.seek(batches * settings["batch_size"])
    stream = MixedStream(texts, shares, **settings)
    stream.seek(flat.position)
    expected = [flat.next_batch() for _ in range(2 * settings["batch_size"])]
    assert np.array_equal(np.concatenate([stream.next_batch(), stream.next_batch()]), np.concatenate(expected))


def test_the_order_is_the_same_in_every_process_and_version() -> None:
    code = (
        "import numpy as np; from mlx_tiny.data.batches import BatchStream;"
        "s = BatchStream(np.arange(500, dtype=np.uint16), batch_size=5, context=8, seed=7); s.seek(70);"
        "print(s.next_batch()[:, 0].tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    stream = BatchStream(counting(500), batch_size=5, context=8, seed=7)
    stream.seek(70)
    assert printed.strip() == str(stream.next_batch()[:, 0].tolist()) == "[253, 5, 189, 397, 21]"


def test_memory_map_is_read_where_windows_lie(tmp_path: Path) -> None:
    path = tmp_path / "tokens.bin"
    with open(path, "wb") as file:
        file.truncate(2 * 50_000_000)
    tokens = np.memmap(path, dtype="<u2", mode="r")
    stream = BatchStream(tokens, batch_size=16, context=256, seed=0)
    assert type(stream.next_batch()) is np.ndarray
    assert path.stat().st_blocks == 0


def test_too_few_tokens() -> None:
    assert BatchStream(counting(11), batch_size=2, context=10, seed=0).next_batch().shape == (2, 11)
    with pytest.raises(TinyError, match=r"at least 11 tokens for a context of 10, got 10 tokens"):
        BatchStream(counting(10), batch_size=2, context=10, seed=0)
    with pytest.raises(TinyError, match="position"):
        BatchStream(counting(11), batch_size=2, context=10, seed=0).seek(-1)


@given(length=st.integers(2, 200), context=st.integers(1, 40), limit=st.none() | st.integers(1, 250))
@settings(max_examples=300, deadline=None)
def test_validation_predicts_each_token_once(length: int, context: int, limit: int | None) -> None:
    tokens = counting(length) + np.uint16(1)
    inputs, targets, mask = validation_windows(tokens, context, limit)
    count = min(length - 1, limit or length)
    assert inputs.shape == targets.shape == mask.shape == (-(-count // context), context)
    assert targets[mask].tolist() == tokens[1 : count + 1].tolist()
    assert inputs[mask].tolist() == tokens[:count].tolist()
    assert mask.ravel().tolist() == [True] * count + [False] * (mask.size - count)
    assert not inputs[~mask].any()
    assert not targets[~mask].any()


def test_validation_needs_two_tokens() -> None:
    with pytest.raises(TinyError, match="too short"):
        validation_windows(counting(1), 8)
