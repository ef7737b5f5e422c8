"""Items are ranked where the model predicts them, by every predictor alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy_model import random_parameters, to_mlx
from tiny_run import MODEL

from mlx_tiny.data.events.schema import Column, Schema
from mlx_tiny.data.tokenizers.characters import ByteTokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.training.next_items import compare, next_items, next_pieces
from mlx_tiny.training.prediction import log_probabilities

SCHEMA = Schema((Column("article", "item"), Column("count", "number", (2.0,))))
TRAINING = ["A\\n\t<2\nB\t>=2\nA\\n\t<2", "B\t>=2\nA\\n\t<2\nD\t<2", "C\t<2\nC\t<2"]
HELD_OUT = ["B\t<2\nA\\n\t<2\nE\t<2", "C\t>=2"]
TOKENIZER = ItemsTokenizer.train(TRAINING, 2048, schema=SCHEMA)
CONFIG = replace(MODEL, vocabulary_size=TOKENIZER.size)
PARAMETERS = to_mlx(random_parameters(CONFIG, seed=2))


def test_the_next_items_are_those_after_another_event() -> None:
    (_, found) = next_items(PARAMETERS, CONFIG, TOKENIZER, [TRAINING[0], HELD_OUT[0]], 2)
    ids = [TOKENIZER.bos, *TOKENIZER.encode(f"{HELD_OUT[0]}\n")]
    (scores,) = log_probabilities(PARAMETERS, CONFIG, [(ids, [len(ids)])], TOKENIZER.items)
    best = int(np.argmax(scores[0]))
    assert found[0].text == ["A\n", "B", "C"][best]
    assert found[0].probability == pytest.approx(float(np.exp(scores[0][best])))
    assert len(found) == 2 and found[0].probability >= found[1].probability


def test_the_next_pieces_of_a_text_include_its_end() -> None:
    tokenizer = ByteTokenizer()
    config = replace(MODEL, vocabulary_size=tokenizer.size)
    (found,) = next_pieces(to_mlx(random_parameters(config, seed=1)), config, tokenizer, ["Ann"], 400)
    assert len(found) == tokenizer.size and "" in {expected.text for expected in found}
    assert sum(expected.probability for expected in found) == pytest.approx(1)


def test_all_predictors_are_asked_for_the_same_events() -> None:
    found = compare(PARAMETERS, CONFIG, TOKENIZER, TRAINING, HELD_OUT, 1)
    assert (found.histories, found.events, found.candidates, found.unknown) == (2, 4, 3, 1 / 4)
    assert {accuracy.events for accuracy in found.accuracies.values()} == {4}
    assert next(iter(found.accuracies)) == "model" and len(found.accuracies) == 4
    # A is the most frequent of A, A, A, B, B, C, C; and of the histories, one each begins with A, B and C.
    assert found.accuracies["popularity"].hits == 1
    assert found.accuracies["first-order Markov"].hits == 1
    everything = compare(PARAMETERS, CONFIG, TOKENIZER, TRAINING, HELD_OUT, 3)
    assert {accuracy.hits for accuracy in everything.accuracies.values()} == {3}


def test_a_model_that_knows_the_answer_hits() -> None:
    """The column of the model is the model's: its hits are those of its own probabilities."""
    found = compare(PARAMETERS, CONFIG, TOKENIZER, TRAINING, HELD_OUT, 1)
    hits = 0
    for text in HELD_OUT:
        ids, places = [TOKENIZER.bos, *TOKENIZER.encode(text)], TOKENIZER.item_places(text)
        (scores,) = log_probabilities(PARAMETERS, CONFIG, [(ids, places)], TOKENIZER.items)
        likeliest = scores.argmax(axis=1) + TOKENIZER.items.start
        hits += sum(ids[place] == token for place, token in zip(places, likeliest, strict=True))
    assert found.accuracies["model"].hits == hits


@pytest.mark.parametrize(("held_out", "training"), [([], TRAINING), (HELD_OUT, ["A\t<2"])])
def test_nothing_to_measure_is_an_error(held_out: list[str], training: list[str]) -> None:
    tokenizer = ItemsTokenizer.train(training, 2048, schema=SCHEMA)
    with pytest.raises(TinyError, match="cannot be measured"):
        compare(PARAMETERS, CONFIG, tokenizer, training, held_out, 1)
