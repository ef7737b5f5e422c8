"""Reads quantities such as "5m", "20Mtok", "1e15flop", "500steps" or "5kJ", and writes numbers with units."""

from __future__ import annotations

import math
import re

from mlx_tiny.errors import TinyError

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}

# Unit as the user writes it -> (quantity, factor to its base unit, whether metric prefixes are allowed).
_UNITS: dict[str, tuple[str, float, bool]] = {
    "s": ("seconds", 1.0, False),
    "m": ("seconds", 60.0, False),
    "min": ("seconds", 60.0, False),
    "h": ("seconds", 3600.0, False),
    "tok": ("tokens", 1.0, True),
    "flop": ("flops", 1.0, True),
    "steps": ("steps", 1.0, True),
    "step": ("steps", 1.0, True),
    "J": ("joules", 1.0, True),
}
_NUMBER = re.compile(r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]*)")
_DURATIONS = {"s": 1.0, "ms": 1e-3}
_EXAMPLES = "30s, 5m, 1.5h, 20Mtok, 1e15flop or 500steps"


def parse_quantity(text: str) -> tuple[str, float]:
    """Read a number with its unit.

    Args:
        text: for example "5m" (minutes), "90s", "20Mtok", "1e15flop", "5steps", "5kJ"; "1h30m" is a sum.

    Returns:
        The quantity ("seconds", "tokens", "flops", "steps" or "joules") and the amount in that base unit.

    Raises:
        TinyError: no number, unknown unit, or an amount that is not positive and finite.
    """
    parts = [_parse_part(text, match) for match in _NUMBER.finditer(text)]
    if not parts or _NUMBER.sub("", text).strip():
        raise TinyError(f"Cannot read the amount {text!r}", expected=f"a number with a unit: {_EXAMPLES}")
    quantities = {quantity for quantity, _ in parts}
    if len(quantities) > 1:
        raise TinyError(f"The amount {text!r} mixes {' and '.join(sorted(quantities))}", remedy="Use one unit")
    amount = sum(value for _, value in parts)
    if not (amount > 0 and math.isfinite(amount)) or any(value < 0 for _, value in parts):
        raise TinyError(f"The amount {text!r} is out of range", expected="a positive number", got=f"{amount:g}")
    return quantities.pop(), amount


def _parse_part(text: str, match: re.Match[str]) -> tuple[str, float]:
    number, unit = match.groups()
    for name, (quantity, factor, prefixed) in _UNITS.items():
        prefix = unit.removesuffix(name)
        if unit.endswith(name) and prefix in (_PREFIXES if prefixed else ("",)):
            return quantity, float(number) * factor * _PREFIXES[prefix]
    failed = f"Unknown unit {unit!r} in {text!r}" if unit else f"The amount {text!r} has no unit"
    raise TinyError(failed, expected=f"for example {_EXAMPLES}")


def format_count(value: float, unit: str = "", space: str = "") -> str:
    """Three significant digits with a metric prefix: 1_234_567 -> "1.23M", with a space "1.23 M"."""
    for prefix, factor in reversed(_PREFIXES.items()):
        # From 999.5 on, three digits round up into the next prefix.
        if factor > 1 and abs(value) >= 0.9995 * factor:
            return f"{_three_digits(value / factor)}{space}{prefix}{unit}"
    return f"{_three_digits(value)}{space}{unit}"


def format_flops(value: float, per: str = "") -> str:
    """FLOPs, or their rate: 1_234_567 -> "1.23 MFLOP", with "/s" "1.23 MFLOP/s"."""
    return format_count(value, f"FLOP{per}", space=" ")


def format_seconds(seconds: float) -> str:
    """A duration as 0.42s, 7.5s, 4m58s or 1h02m."""
    if seconds < 59.95:
        return f"{seconds:.2f}s" if seconds < 1 else f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def format_duration(seconds: float) -> str:
    """A short duration with three digits: 1.23 ms, 45.6 us, 7.89 s."""
    unit, factor = next((pair for pair in _DURATIONS.items() if abs(seconds) >= pair[1]), ("us", 1e-6))
    return f"{seconds / factor:.3g} {unit}"


def format_bytes(count: float) -> str:
    """Decimal bytes: 1_500_000_000 -> "1.50 GB"."""
    return format_count(count, "B", space=" ")


def _three_digits(value: float) -> str:
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    rounded = float(f"{value:.3g}")  # 9.999 has as many decimals as 10
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"
