"""The table that a person reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlx_tiny.bench import table
from mlx_tiny.machine.state import State

from .micro import MACHINE, PEAKS, timed_record


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.345, "12.3 s"), (1.0, "1 s"), (0.999, "999 ms"), (4.56e-3, "4.56 ms"), (1e-7, "0.1 us"), (-2e-3, "-2 ms")],
)
def test_durations(seconds: float, text: str) -> None:
    assert table.duration(seconds) == text


def test_columns_are_aligned_and_a_reason_takes_the_rest_of_its_line() -> None:
    rows = [["", "a", "long"], ["plain", "1", "2"], ["cpu", "no room for this in a column"]]
    assert list(table.aligned(rows)) == [
        "         a  long",
        "  plain  1     2",
        "  cpu    no room for this in a column",
    ]


def test_a_block_for_each_measurement_and_a_line_for_each_implementation() -> None:
    records = [
        timed_record(speed_up={"torch": {"median": 2.0, "p10": 1.5, "p90": 2.5, "overloaded": False}}),
        {**timed_record(implementation="metal"), "reason": "no GPU"},
        timed_record(
            direction="forward and backward",
            overloaded=True,
            share_of_bound=1.34,
            speed_up={"mlx": {"median": 3.0, "p10": 2.0, "p90": 4.0, "overloaded": True}},
        ),
    ]
    lines = list(table.lines(records))
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "attention, forward, micro (B4 T40), float32: 1MFLOP, 100kB, 10.0 FLOP/byte; at least 100 us (compute)",
        "attention, forward and backward, micro (B4 T40), float32: 1MFLOP, 100kB, 10.0 FLOP/byte; at least 100 us "
        "(compute)",
    ]
    plain, metal, loaded = (line for line in lines if line.startswith(("  plain", "  metal")))
    assert "2 ms (1.9 to 2.2) " in plain and " 5% " in plain and plain.endswith("2.00 (1.50 to 2.50)")
    assert metal.endswith("metal  no GPU")
    assert "2 ms (1.9 to 2.2)! " in loaded and " 134%? " in loaded and loaded.endswith("3.00 (2.00 to 4.00)!")
    headings = [line for line in lines if "median" in line]
    assert [("x mlx" in line, "x torch" in line) for line in headings] == [(False, True), (True, False)]


def test_a_spread_of_more_than_three_digits_is_spelled_out() -> None:
    record = timed_record(median_s=0.25, p10_s=0.2, p90_s=2.4567)
    assert any("250 ms (200 to 2,457) " in line for line in table.lines([record]))


def test_steps_and_generation_have_their_columns() -> None:
    step = timed_record(benchmark="step", tokens_per_s=12345.6, utilisation=0.417, launches=270)
    step["implementation"] = "mlx_tiny"
    text = "\n".join(table.lines([{k: v for k, v in step.items() if k not in ("operation", "direction")}]))
    assert "12,346" in text and "42%" in text and "270" in text and "tokens/s" in text
    decode = timed_record(benchmark="inference", part="decode", tokens_per_s=512.0, tokens=64, utilisation=0.01)
    assert "512" in "\n".join(table.lines([decode]))


def test_the_machine_and_its_peaks_in_a_line_each() -> None:
    line = table.machine_line(replace(MACHINE, commit="abc", state=State("mains", "nominal", 0.1)))
    assert line == (
        "machine: a chip, 2 cores, cpu; Linux 6; BLAS a BLAS; power mains; thermal state nominal; load 0.1; "
        "commit abc; mlx_tiny 2; mlx 1"
    )
    assert "power" not in table.machine_line(MACHINE)
    assert table.peaks_line(PEAKS) == (
        "peaks: 100GFLOP/s float32, 100GFLOP/s bfloat16; memory 10GB/s; launch 1 us, evaluation 10 us"
    )
    cached = replace(PEAKS, cached_bytes_per_s={"1000000": 4e10, "16000000": 2e10})
    assert table.peaks_line(cached).split("; ")[1] == ("memory 10GB/s, 40GB/s within 1MB, 20GB/s within 16MB")
