"""All plots of the generated stories, by name; the first ones are those that remain at a small scale."""

from mlx_tiny.data.stories.plots import animals, friends, lost, making, wonders

PLOTS: dict[str, str] = {**lost.PLOTS, **friends.PLOTS, **animals.PLOTS, **making.PLOTS, **wonders.PLOTS}
