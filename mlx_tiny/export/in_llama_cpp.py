"""Asks llama.cpp what a model computes that it has loaded, through the server in the package xllamacpp."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from mlx_tiny.export.questions import Answers, Questions

_SAMPLED_ALWAYS = 1e4
"""Bias of a logit with which its token is sampled; the probabilities that are told are those without it."""


def answers(path: str, questions: Questions) -> Iterator[Answers]:
    """The answers, as the only value."""
    windows = questions.windows
    context, rows = windows.inputs.shape[1], questions.logit_rows
    with Server(path, max(context, len(questions.prompt) + questions.new_tokens)) as server:
        first = np.array(
            [[server.log_probabilities(row[: t + 1]) for t in range(context)] for row in windows.inputs[:rows]]
        )
        told = np.take_along_axis(first, windows.targets[:rows, :, None].astype(np.int64), axis=-1)[..., 0]
        nats = -float(told[windows.mask[:rows]].sum(dtype=np.float64))
        for row, t in np.argwhere(windows.mask):
            if row >= rows:
                nats -= server.log_probability(windows.inputs[row, : t + 1], int(windows.targets[row, t]))
        greedy: list[int] = []
        while len(greedy) < questions.new_tokens:
            greedy.append(server.likeliest([*questions.prompt, *greedy]))
        ids = [server.tokenize(text) for text in questions.texts]
        yield Answers(first, nats, greedy, ids, server.program, are_log_probabilities=True)


def _set_context(path: str, context: int) -> None:
    from gguf import GGUFReader, Keys

    field = GGUFReader(path, "r+").fields[Keys.LLM.CONTEXT_LENGTH.format(arch="qwen3")]
    field.parts[field.data[0]][0] = context


class Server:
    """llama.cpp's server with one model, in this process, on the loopback interface.

    Everything is computed in float32 as far as the weights are.
    """

    def __init__(self, path: str, context: int) -> None:
        import xllamacpp

        self.program = f"llama.cpp (xllamacpp {xllamacpp.__version__})"
        parameters = xllamacpp.CommonParams()
        # The server reads less than the context of a model, so it gets a copy with a longer one.
        self._folder = tempfile.TemporaryDirectory()
        parameters.model.path = shutil.copy(path, self._folder.name)
        _set_context(parameters.model.path, context + 1)
        parameters.n_ctx = context + 1
        parameters.n_parallel = 1
        parameters.warmup = False
        parameters.verbosity = -1
        # A single token of a small model is too little work for two threads.
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = xllamacpp.Server(parameters)
        self._connection = http.client.HTTPConnection(self._server.listening_address.removeprefix("http://"))
        self._vocabulary_size = int(self._asked("/v1/models")["data"][0]["meta"]["n_vocab"])
        self._bos = self.tokenize("")[0]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        del self._server
        self._folder.cleanup()

    def tokenize(self, text: str, *, with_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of a text; `special` looks for control tokens in it."""
        body = {"content": text, "add_special": with_bos, "parse_special": special}
        return list(self._asked("/tokenize", body)["tokens"])

    def conversation(self, messages: list[dict[str, str]]) -> str:
        """A conversation as the model reads it, without BOS, up to where it answers."""
        return str(self._asked("/apply-template", {"messages": messages})["prompt"])

    def log_probabilities(self, tokens: Any) -> np.ndarray:
        """Those of all tokens after some, float32 [V]."""
        found = np.full(self._vocabulary_size, -np.inf, np.float32)
        for entry in self._sampled(tokens, self._bos, self._vocabulary_size)["top_logprobs"]:
            found[entry["id"]] = entry["logprob"]
        return found

    def likeliest(self, tokens: Any) -> int:
        """The likeliest token after some."""
        return int(self._sampled(tokens, self._bos, 1)["top_logprobs"][0]["id"])

    def log_probability(self, tokens: Any, target: int) -> float:
        """That of one token after some."""
        sampled = self._sampled(tokens, target, 1)
        # Nothing is said about a part of a character.
        return float(sampled["logprob"] if sampled else self.log_probabilities(tokens)[target])

    def _sampled(self, tokens: Any, forced: int, probabilities: int) -> dict[str, Any]:
        """What is said about the token after some, of which `forced` is sampled; empty if nothing is."""
        body = {
            "prompt": [int(token) for token in tokens],
            "n_predict": 1,
            "n_probs": probabilities,
            "temperature": 0,
            "logit_bias": [[forced, _SAMPLED_ALWAYS]],
            "cache_prompt": True,
        }
        said = self._asked("/completion", body).get("completion_probabilities") or [{}]
        return dict(said[0])

    def _asked(self, place: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        self._connection.request("GET" if body is None else "POST", place, content, headers)
        response = self._connection.getresponse()
        raw = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"llama.cpp does not answer {place}: {raw[:500].decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(raw)
        return answer
