"""The files of code compute what the model computes: with every option, in batches, and with a cache."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest
from numpy_model import SMALL, random_parameters, to_mlx

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.export import custom
from mlx_tiny.export.model import Export
from mlx_tiny.model.forward import logits
from mlx_tiny.model.options import all_options
from mlx_tiny.ops.implementations import decide

pytest.importorskip("transformers")
pytest.importorskip("mlx_lm")
pytestmark = pytest.mark.export

LARGEST_DIFFERENCE = 2e-5
OPTIONS = "bigram_embedding=40,input_skip=1,logit_soft_cap=4,smear=1,value_embeddings=2"
CONFIGS = {
    "all options": replace(SMALL, layers=3, key_value_heads=2, activation="swiglu", options=OPTIONS),
    "none": replace(SMALL, key_value_heads=2, tied=True),
}
TEXTS = [[7, 3, 200, 3, 3, 9, 41, 41, 100], [5], [90, 7, 3, 8, 3], [41, 200]]
"""Of different lengths, and longer together with NEW than the context, which ends nothing elsewhere."""
NEW = 8
CUTS = ((0, 3), (3, 4), (4, 5), (5, 9))


def ours(config: ModelConfig, tokens: list[int]) -> np.ndarray:
    """Logits [T, V]."""
    window = decide(replace(config, context=len(tokens)), asked="plain")
    return np.array(logits(to_mlx(random_parameters(config)), config, mx.array([tokens]), window)[0][0])


def ours_greedy(config: ModelConfig, tokens: list[int]) -> list[int]:
    written = list(tokens)
    for _ in range(NEW):
        written.append(int(ours(config, written)[-1].argmax()))
    return written[len(tokens) :]


def contents(config: ModelConfig) -> Any:
    model = SimpleNamespace(parameters=to_mlx(random_parameters(config)), config=config)
    return custom.contents(Export(cast(Any, model), "made up", custom_code=True))


@pytest.fixture(scope="module", params=CONFIGS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelConfig, Path]:
    """A model, and the folder of its export."""
    config, folder = CONFIGS[request.param], tmp_path_factory.mktemp("export")
    made = contents(config)
    for name, text in made.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({**made.config, "dtype": "float32"}), encoding="utf-8")
    arrays = {name: mx.array(array) for name, array in made.weights.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, {"format": "pt"})
    return config, folder


@pytest.fixture(scope="module")
def in_transformers(case: tuple[ModelConfig, Path]) -> Any:
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(case[1], trust_remote_code=True, output_loading_info=True)
    model, loading = loaded
    assert not any(loading.values())
    return model.eval()


@pytest.fixture(scope="module")
def in_mlx_lm(case: tuple[ModelConfig, Path]) -> Any:
    from mlx_lm.utils import load_model

    return load_model(case[1], trust_remote_code=True)[0]


def test_every_option_is_among_those_that_are_compared() -> None:
    assert set(CONFIGS["all options"].chosen_options()) == set(all_options())


def test_an_option_that_the_code_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(custom._WEIGHTS, "smear")
    with pytest.raises(TinyError, match="smear"):
        contents(CONFIGS["all options"])


def test_readers_have_to_trust_the_code(case: tuple[ModelConfig, Path]) -> None:
    from mlx_lm.utils import load_model
    from transformers import AutoConfig

    with pytest.raises(ValueError, match="trust_remote_code"):
        load_model(case[1])
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoConfig.from_pretrained(case[1], trust_remote_code=False)


def test_transformers_computes_the_same_with_a_cache_and_without(
    case: tuple[ModelConfig, Path], in_transformers: Any
) -> None:
    import torch

    expected, tokens = ours(case[0], TEXTS[0]), torch.tensor(TEXTS[:1])
    with torch.no_grad():
        whole = in_transformers(tokens, labels=tokens)
        cache, parts = None, []
        for start, end in CUTS:
            output = in_transformers(tokens[:, start:end], cache=cache, use_cache=True)
            cache = output.cache
            parts.append(output.logits[0])
        cache.crop(-4)
        again = in_transformers(tokens[:, -4:], cache=cache).logits[0]
    np.testing.assert_allclose(whole.logits[0], expected, atol=LARGEST_DIFFERENCE)
    np.testing.assert_allclose(torch.cat(parts), expected, atol=LARGEST_DIFFERENCE)
    np.testing.assert_allclose(again, expected[-4:], atol=LARGEST_DIFFERENCE)
    nats = np.log(np.exp(expected).sum(-1))[:-1] - expected[np.arange(8), TEXTS[0][1:]]
    assert float(whole.loss) == pytest.approx(nats.mean(), abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"use_cache": False}, {"prompt_lookup_num_tokens": 2}])
def test_transformers_writes_the_same(
    case: tuple[ModelConfig, Path], in_transformers: Any, settings: dict[str, Any]
) -> None:
    """Also in a batch, whose shorter texts are padded on the left."""
    import torch

    size = 1 if "prompt_lookup_num_tokens" in settings else len(TEXTS)
    longest = max(map(len, TEXTS[:size]))
    padded = torch.tensor([[0] * (longest - len(text)) + text for text in TEXTS[:size]])
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in TEXTS[:size]])
    usual = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    written = in_transformers.generate(padded, attention_mask=mask, **usual, **settings)
    assert written[:, longest:].tolist() == [ours_greedy(case[0], text) for text in TEXTS[:size]]


def test_beams_are_the_same_with_a_cache_and_without(in_transformers: Any) -> None:
    import torch

    usual = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, "num_beams": 4}
    with_cache, without = (
        in_transformers.generate(torch.tensor(TEXTS[:1]), use_cache=use_cache, **usual) for use_cache in (True, False)
    )
    assert torch.equal(with_cache, without)


def test_transformers_refuses_what_would_lack_the_tokens_before(in_transformers: Any) -> None:
    import torch
    from transformers import DynamicCache

    tokens = torch.tensor(TEXTS[:1])
    foreign = DynamicCache(config=in_transformers.config)
    for layer in range(in_transformers.config.num_hidden_layers):
        foreign.update(torch.zeros(1, 2, 5, 6), torch.zeros(1, 2, 5, 6), layer)
    with pytest.raises(ValueError, match="cache"):
        in_transformers(tokens, cache=foreign)
    with pytest.raises(ValueError, match="input_ids"):
        in_transformers(inputs_embeds=in_transformers.model.embed_tokens(tokens))
    with pytest.raises(ValueError, match="static"):
        in_transformers.generate(tokens, cache_implementation="static", max_new_tokens=2)
    with pytest.raises(NotImplementedError, match="vocabulary"):
        in_transformers.resize_token_embeddings(300)


def test_mlx_lm_computes_the_same_with_a_cache_and_without(
    case: tuple[ModelConfig, Path], in_mlx_lm: Any, tmp_path: Path
) -> None:
    from mlx_lm.models.cache import load_prompt_cache, make_prompt_cache, save_prompt_cache, trim_prompt_cache

    expected, tokens = ours(case[0], TEXTS[0]), mx.array(TEXTS[:1])
    np.testing.assert_allclose(in_mlx_lm(tokens)[0], expected, atol=LARGEST_DIFFERENCE)
    cache = make_prompt_cache(in_mlx_lm)
    for start, end in CUTS:
        part = in_mlx_lm(tokens[:, start:end], cache=cache)[0]
        np.testing.assert_allclose(part, expected[start:end], atol=LARGEST_DIFFERENCE)
    assert trim_prompt_cache(cache, 4) == 4
    save_prompt_cache(str(tmp_path / "cache.safetensors"), cache)
    for kept in (load_prompt_cache(str(tmp_path / "cache.safetensors")), cache):
        again = in_mlx_lm(tokens[:, -4:], cache=kept)[0]
        np.testing.assert_allclose(again, expected[-4:], atol=LARGEST_DIFFERENCE)


def test_mlx_lm_writes_the_same_in_a_batch_of_texts_that_come_and_go(
    case: tuple[ModelConfig, Path], in_mlx_lm: Any
) -> None:
    from mlx_lm.generate import BatchGenerator

    generator = BatchGenerator(
        in_mlx_lm, max_tokens=NEW, prefill_step_size=4, prefill_batch_size=3, completion_batch_size=3
    )
    written: dict[int, list[int]] = {number: [] for number in generator.insert(TEXTS)}
    while any(len(tokens) < NEW for tokens in written.values()):
        for response in generator.next()[1]:
            written[response.uid].append(response.token)
    generator.close()
    assert list(written.values()) == [ours_greedy(case[0], text) for text in TEXTS]


def test_mlx_lm_goes_on_with_texts_of_different_lengths_together(
    case: tuple[ModelConfig, Path], in_mlx_lm: Any
) -> None:
    from mlx_lm.models.cache import make_prompt_cache

    caches = [make_prompt_cache(in_mlx_lm) for _ in TEXTS]
    for text, cache in zip(TEXTS, caches, strict=True):
        if len(text) > 1:
            in_mlx_lm(mx.array([text[:-1]]), cache=cache)
    together = [type(layer[0]).merge(list(layer)) for layer in zip(*caches, strict=True)]
    last = in_mlx_lm(mx.array([text[-1:] for text in TEXTS]), cache=together)[:, 0]
    expected = [ours(case[0], text)[-1] for text in TEXTS]
    np.testing.assert_allclose(last, np.stack(expected), atol=LARGEST_DIFFERENCE)


def test_settings_need_no_torch(case: tuple[ModelConfig, Path]) -> None:
    """mlx-lm loads a tokenizer by transformers, which then reads them."""
    from transformers.dynamic_module_utils import get_imports

    module = json.loads((case[1] / "config.json").read_text())["auto_map"]["AutoConfig"].partition(".")[0]
    assert "torch" not in get_imports(case[1] / f"{module}.py")
