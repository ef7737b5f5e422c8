"""A law for tests, which does not change when the one in the package is fitted again."""

from __future__ import annotations

from mlx_tiny.config.presets import PRESETS, STRONGEST
from mlx_tiny.study.law import Law, MeasuredRun, Surface
from mlx_tiny.study.plan import of_recipe

SURFACE = Surface(0.5, 12.0, 0.3, 60.0, 0.3)
_RUNS = [MeasuredRun("", parameters, tokens, 10**9, 0, 1.0) for parameters, tokens in ((1, 1), (10**8, 10**9))]
LAW = Law("tinystories", STRONGEST, of_recipe(PRESETS["strongest-mini"].config()), SURFACE, [], 0.01, _RUNS)
