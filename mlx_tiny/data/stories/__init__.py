"""The generated corpus: short children's stories with an exactly known probability for every text."""

from mlx_tiny.data.stories.grammar import Derivation, enumerate_texts
from mlx_tiny.data.stories.language import Language, Story, StoryGrammar

__all__ = ["Derivation", "Language", "Story", "StoryGrammar", "enumerate_texts"]
