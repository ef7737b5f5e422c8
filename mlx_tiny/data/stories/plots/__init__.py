"""All plots of the generated stories, by name; a small scale keeps the first ones."""

from mlx_tiny.data.stories.plots import animals, friends, lost, making, wonders

PLOTS: dict[str, str] = {**lost.PLOTS, **friends.PLOTS, **animals.PLOTS, **making.PLOTS, **wonders.PLOTS}
