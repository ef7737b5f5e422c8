"""Amounts with units: reading and writing."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_tiny.errors import TinyError
from mlx_tiny.units import format_bytes, format_count, format_duration, format_seconds, parse_quantity

# fmt: off
AMOUNTS = [
    ("90s", "seconds", 90), ("5m", "seconds", 300), ("5min", "seconds", 300), ("1.5h", "seconds", 5400),
    ("1h30m", "seconds", 5400), ("1h 2m 3s", "seconds", 3723), (".5h", "seconds", 1800), (" 5 m ", "seconds", 300),
    ("7tok", "tokens", 7), ("20Mtok", "tokens", 20e6), ("1.5ktok", "tokens", 1500), ("2Gtok", "tokens", 2e9),
    ("1e15flop", "flops", 1e15), ("3Pflop", "flops", 3e15), ("2.5Tflop", "flops", 2.5e12), ("1E+3flop", "flops", 1000),
    ("5kJ", "joules", 5000), ("12J", "joules", 12), ("1ktok500tok", "tokens", 1500),
    ("500steps", "steps", 500), ("1step", "steps", 1), ("2ksteps", "steps", 2000),
]
INVALID = [
    ("", "Cannot read"), ("m", "Cannot read"), ("five minutes", "Cannot read"), ("5m!", "Cannot read"),
    ("5m,30s", "Cannot read"), ("5", "no unit"), ("5x", "Unknown unit 'x'"), ("5ms", "Unknown unit 'ms'"),
    ("5kh", "Unknown unit 'kh'"), ("5M", "Unknown unit 'M'"), ("5mtok", "Unknown unit 'mtok'"),
    ("5tokens", "Unknown unit 'tokens'"), ("5j", "Unknown unit 'j'"), ("5mtok3s", "Unknown unit"),
    ("5m20Mtok", "mixes seconds and tokens"), ("0s", "out of range"), ("-5m", "out of range"),
    ("1h-30m", "out of range"), ("1e999s", "out of range"), ("1e-999s", "out of range"), ("nans", "Cannot read"),
    ("infs", "Cannot read"), ("٥m", "Cannot read"),
]
COUNTS = [
    (0, "0"), (7, "7"), (999, "999"), (0.5, "0.500"), (9.999, "10.0"), (99.96, "100"), (999.4, "999"), (999.9, "1.00k"),
    (1000, "1k"), (1234, "1.23k"), (1_234_567, "1.23M"), (999_499, "999k"), (999_600, "1.00M"), (20e6, "20M"),
    (1.5e9, "1.50G"), (2e15, "2P"), (-1234, "-1.23k"), (0.00123, "0.00123"),
]
DURATIONS = [
    (0, "0.00s"), (0.423, "0.42s"), (7.52, "7.5s"), (59.9, "59.9s"), (59.96, "1m00s"), (298, "4m58s"), (299.6, "5m00s"),
    (3599.4, "59m59s"), (3599.6, "1h00m"), (3720, "1h02m"), (90_000, "25h00m"),
]
# fmt: on


@pytest.mark.parametrize(("text", "quantity", "amount"), AMOUNTS)
def test_amounts_are_read(text: str, quantity: str, amount: float) -> None:
    assert parse_quantity(text) == (quantity, pytest.approx(amount))


@pytest.mark.parametrize(("text", "message"), INVALID)
def test_an_invalid_amount_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(TinyError, match=re.escape(message)) as raised:
        parse_quantity(text)
    assert str(raised.value).endswith(".")


@given(st.text(max_size=12))
def test_any_text_is_an_amount_or_a_user_error(text: str) -> None:
    try:
        quantity, amount = parse_quantity(text)
    except TinyError:
        return
    assert quantity in ("seconds", "tokens", "flops", "joules") and 0 < amount < math.inf


@pytest.mark.parametrize(("value", "text"), COUNTS)
def test_counts_have_three_digits(value: float, text: str) -> None:
    assert format_count(value) == text
    assert format_count(value, "tok") == f"{text}tok"


@given(st.floats(1e-6, 1e18))
def test_a_count_is_right_to_three_digits(value: float) -> None:
    text = format_count(value)
    number, prefix = re.fullmatch(r"([0-9.]+)([kMGTP]?)", text).groups()
    factor = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}[prefix]
    assert float(number) * factor == pytest.approx(value, rel=0.0051)
    # Below a thousandth more zeros are needed, and beyond the largest prefix more digits.
    assert value < 1e-3 or value >= 1e18 or len(number.replace(".", "").lstrip("0")) <= 3 or prefix == "P"


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_bytes_are_decimal() -> None:
    assert format_bytes(1_500_000_000) == "1.50 GB"
    assert format_bytes(12) == "12 B"


@given(st.floats(1, 1e12), st.sampled_from(["tok", "flop", "J"]))
def test_what_is_written_can_be_read(value: float, unit: str) -> None:
    assert parse_quantity(format_count(value, unit))[1] == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.345, "12.3 s"), (1.0, "1 s"), (0.999, "999 ms"), (4.56e-3, "4.56 ms"), (1e-7, "0.1 us"), (-2e-3, "-2 ms")],
)
def test_short_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
