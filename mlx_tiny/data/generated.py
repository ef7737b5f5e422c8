"""The generated stories as a source: as many as the settings ask for, each with its exact information content."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Document, Progress
from mlx_tiny.data.find import shadowed
from mlx_tiny.data.findings import Findings, Seen
from mlx_tiny.data.stories import Story, StoryGrammar
from mlx_tiny.errors import TinyError
from mlx_tiny.files import hash_text
from mlx_tiny.units import format_bytes

_FIRST_COUNT = 256


class StoriesSource:
    """Stories of the grammar: first validation stories, then training stories that differ from all of them."""

    names = ("stories",)
    shuffled = True
    schema = None

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        self._grammar = StoryGrammar(scale=config.stories_scale, dependency=config.stories_dependency)
        self.size_bytes = config.train_bytes + config.validation_bytes
        self.description = (
            f"stories: generated, {format_bytes(config.train_bytes)} for training and "
            f"{format_bytes(config.validation_bytes)} for validation (scale {config.stories_scale:g}, "
            f"dependency {config.stories_dependency}, seed {config.seed})"
        )

    def make_ready(self, report: Progress) -> None:
        """Nothing to do: stories are made as they are read."""

    def fingerprint(self) -> str:
        """Hash of the grammar, the seed and the amounts of text."""
        bounds = (self._config.train_bytes, self._config.validation_bytes)
        return hash_text("stories", self._grammar.fingerprint(), self._config.seed, *bounds)

    def findings(self, seen: Seen) -> Findings:
        """Nothing to find: the stories are made, and none of the validation stories is among the others."""
        return Findings(split="validation stories of their own", left_out=shadowed(self._config.sources))

    def documents(self, seen: Seen | None = None) -> Iterator[Document]:
        """Validation stories, then training stories, as many bytes of each as the settings allow."""
        for story in self._validation:
            yield Document(story.text, True, story.bits)
        training = self._grammar.training(self._config.seed, self._validation)
        for story in _up_to(training, self._config.train_bytes, "train_bytes"):
            yield Document(story.text, False, story.bits)

    @cached_property
    def _validation(self) -> list[Story]:
        """The first stories of the validation stream, as many as fit into `validation_bytes`."""
        count = _FIRST_COUNT
        while True:
            stories = self._grammar.validation(self._config.seed, count)
            if sum(len(story.text.encode()) for story in stories) >= self._config.validation_bytes:
                return list(_up_to(iter(stories), self._config.validation_bytes, "validation_bytes"))
            count *= 2


def _up_to(stories: Iterator[Story], limit_bytes: int, setting: str) -> Iterator[Story]:
    """The first stories that fit into `limit_bytes` together.

    Raises:
        TinyError: not even the first one fits.
    """
    size = 0
    for story in stories:
        size += len(story.text.encode())
        if size > limit_bytes:
            break
        yield story
    if size > limit_bytes and size == len(story.text.encode()):
        raise TinyError(
            f"The setting {setting} is too small for a single story",
            expected=f"at least {size} bytes",
            got=limit_bytes,
        )
