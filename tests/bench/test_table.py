"""The printed table of `mlx-tiny bench`."""

from __future__ import annotations

from mlx_tiny.bench import table
from mlx_tiny.bench.record import LEFT_OUT
from mlx_tiny.tools.tables import WIDTH

from .micro import absent, spread, timed


def test_a_block_for_each_measurement_and_a_line_for_each_implementation() -> None:
    blocks = table.Blocks()
    loaded = {"share_of_bound": 1.34, "time_s": spread(2e-3, 0.8, overloaded=True)}
    lines = list(
        blocks.lines(
            [
                timed(speed_up={"torch": spread(2.0, 0.5)}),
                absent(LEFT_OUT, "no GPU", implementation="metal"),
                timed(direction="forward and backward", speed_up={"mlx": spread(3.0, 0.5, True)}, **loaded),
            ]
        )
    )
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "attention, forward, micro (B4 T40), float32: 1 MFLOP, 100 kB, 10.0 FLOP/byte; at",
        "attention, forward and backward, micro (B4 T40), float32: 1 MFLOP, 100 kB, 10.0",
    ]
    calm, metal, overloaded = (line.split() for line in lines if line.startswith(("  plain", "  metal")))
    assert calm[:5] == ["plain", "2", "ms", "±8%", "2.00±0.50"] and "5%" in calm
    assert metal == ["metal", "no", "GPU"]
    assert overloaded[:5] == ["plain", "2", "ms!", "±40%", "3.00±0.75!"] and "134%?" in overloaded
    headings = [line for line in lines if "time" in line]
    assert [("x mlx" in line, "x torch" in line) for line in headings] == [(False, True), (True, False)]
    legend = " ".join(map(str.strip, blocks.legend()))
    assert "x torch: times faster than torch" in legend and "!: the machine was too loaded" in legend
    assert max(map(len, lines)) <= WIDTH


def test_steps_and_generation_have_their_columns() -> None:
    others = {"operation": None, "direction": None, "tokens": 64, "tokens_per_s": 12345.6, "share_of_bound": 0.417}
    text = "\n".join(table.Blocks().lines([timed(benchmark="step", launches=270, **others)]))
    assert text.startswith("\ntraining step, micro (") and "12,346" in text and "42%" in text and "270" in text
    text = "\n".join(table.Blocks().lines([timed(benchmark="inference", part="decode", **others)]))
    assert text.startswith("\ngeneration, decode, micro (") and "12,346" in text and "  64  " in text
