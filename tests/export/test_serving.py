"""The server of mlx-lm with a model, and the page to talk to it."""

from __future__ import annotations

import dataclasses
import http.client
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from cli.command_line import MODULE, call, environment

from mlx_tiny.export import serving
from mlx_tiny.export.check import Program
from mlx_tiny.export.questions import log_probabilities
from mlx_tiny.model.forward import logits
from mlx_tiny.ops.implementations import decide
from mlx_tiny.training.trained import TrainedModel, load_model

pytestmark = pytest.mark.export


def free_port() -> int:
    """One that is free, as is the next."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind((serving.HOST, 0))
            port: int = first.getsockname()[1]
            try:
                second.bind((serving.HOST, port + 1))
            except OSError:
                continue
            return port


def ask(port: int, path: str, request: dict[str, Any] | None = None, **headers: str) -> tuple[Any, bytes]:
    """The answer and its content; a request is posted as JSON."""
    connection = http.client.HTTPConnection(serving.HOST, port, timeout=60)
    method, body = ("GET", None) if request is None else ("POST", json.dumps(request))
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read()


@pytest.fixture
def server(portable_run: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`mlx-tiny serve`, and its port."""
    pytest.importorskip("mlx_lm")
    port = free_port()
    command = [*MODULE, "serve", str(portable_run), "--port", str(port)]
    process = subprocess.Popen(
        command, env=environment(MLX_TINY_HOME=str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert lines == [f"page: http://127.0.0.1:{port + 1}/\n", f"endpoint: http://127.0.0.1:{port}/v1\n"]
        yield process, port
    finally:
        process.kill()
        process.communicate()


def test_it_answers_with_the_surprise_of_the_model_until_it_is_interrupted(
    server: tuple[subprocess.Popen[str], int], portable_run: Path, tmp_path: Path
) -> None:
    (process, port), model, prompt = server, load_model(portable_run, plain=True), "Story 3. Ann"
    described = json.loads(ask(port + 1, "/model.json")[1])
    page, content = ask(port + 1, "/")
    assert f"http://127.0.0.1:{port}" in page.headers["Content-Security-Policy"] and b"model.json" in content
    assert [piece.encode("latin-1") for piece in described["pieces"]] == model.tokenizer.piece_bytes
    assert (described["name"], described["context"], described["chat"]) == (portable_run.name, 32, False)

    (offered,) = json.loads(ask(port, "/v1/models")[1])["data"]
    assert Path(offered["id"]).name == portable_run.name

    request = {"prompt": prompt, "max_tokens": 12, "temperature": 0.0, "logprobs": True}
    origin = f"http://127.0.0.1:{port + 1}"
    answer, content = ask(port, "/v1/completions", request, Origin=origin)
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    tokens = json.loads(content)["choices"][0]["logprobs"]["content"]
    ids = [model.tokenizer.bos, *model.tokenizer.encode(prompt), *(token["id"] for token in tokens)]
    own = own_log_probabilities(model, ids[:-1])[-len(tokens) :]
    assert [int(row.argmax()) for row in own] == [token["id"] for token in tokens]
    assert np.allclose(own.max(axis=1), [token["logprob"] for token in tokens], atol=1e-4)

    answer, _ = ask(port, "/v1/completions", {**request, "model": "mlx-community/none"}, Origin="http://elsewhere")
    assert answer.status == 404 and answer.headers["Access-Control-Allow-Origin"] is None
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 128 + signal.SIGINT
    for number in (port, port + 1):
        with pytest.raises(ConnectionRefusedError):
            ask(number, "/health")
    assert not list(tmp_path.glob(".serve*"))


def own_log_probabilities(model: TrainedModel, ids: list[int]) -> np.ndarray:
    implementations = decide(dataclasses.replace(model.config, context=len(ids)), asked=model.implementation)
    scores_BTV, _ = logits(model.parameters, model.config, mx.array([ids]), implementations)
    return log_probabilities(np.array(scores_BTV))[0]


def test_a_port_that_is_taken_is_refused(portable_run: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind((serving.HOST, port + 1))
        taken.listen()
        finished = call("serve", portable_run, "--port", str(port))
    assert finished.code == 1 and f"Port {port + 1}" in finished.err and "--port" in finished.err


def test_without_mlx_lm_the_remedy_installs_it(portable_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(serving.PROGRAMS, "mlx-lm", Program("in_mlx_lm", ("no_such_package",)))
    finished = call("serve", portable_run)
    assert finished.code == 1 and "pip install 'mlx-tiny[export" in finished.err


class _Elements(HTMLParser):
    """What a page loads from elsewhere, and the names of its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.names.add(values.get("id") or "")
        self.loaded += [value for name in ("src", "href") if (value := values.get(name)) and value != "data:,"]


def test_the_page_loads_nothing_and_has_what_its_script_names() -> None:
    text = serving.PAGE.read_text(encoding="utf-8")
    page = _Elements(text)
    assert not page.loaded and "innerHTML" not in text
    named = {part.split('"')[0] for part in text.split('byId("')[1:]}
    assert named and named <= page.names
