from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.data import hub
from mlx_tiny.errors import TinyError

LIMIT_SECONDS = 2.0


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HF_HUB_OFFLINE",
        "HF_DATASETS_OFFLINE",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Answering(http.server.BaseHTTPRequestHandler):
    status = 200
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[tuple[int, type[Answering]]]:
    handler = type("Handler", (Answering,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], handler
        server.shutdown()


def timed_obstacle() -> str | None:
    start = time.monotonic()
    found = hub.obstacle("some/set")
    assert time.monotonic() - start < LIMIT_SECONDS
    return found


def test_a_hub_that_answers(answering: tuple[int, type[Answering]], monkeypatch: pytest.MonkeyPatch) -> None:
    port, handler = answering
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}/")
    assert timed_obstacle() is None
    assert handler.seen == ["/api/datasets/some/set"]


def test_a_hub_that_refuses(answering: tuple[int, type[Answering]], monkeypatch: pytest.MonkeyPatch) -> None:
    port, handler = answering
    handler.status = 503
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert timed_obstacle() == f"http://127.0.0.1:{port} answers 503 Service Unavailable"


def test_proxies_are_asked(answering: tuple[int, type[Answering]], monkeypatch: pytest.MonkeyPatch) -> None:
    port, handler = answering
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    assert timed_obstacle() is None
    assert handler.seen == ["http://hub.invalid/api/datasets/some/set"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silence(silent_port: int, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{scheme}://127.0.0.1:{silent_port}")
    found = timed_obstacle()
    assert found is not None
    assert "did not answer" in found or "timed out" in found


def test_refused_and_unknown(refused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{refused_port}")
    assert "refused" in (timed_obstacle() or "")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    assert (timed_obstacle() or "").startswith("https://hub.invalid")
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert timed_obstacle()


def test_name_lookup_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://slow.invalid")

    def hang(*given: object, **settings: Any) -> None:
        time.sleep(10)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert timed_obstacle() == "http://slow.invalid did not answer within 0.3 s"


def test_offline_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
        assert timed_obstacle() == f"{name} is set"
        monkeypatch.delenv(name)


def test_streaming_with_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    load = datasets.load_dataset

    def streaming_only(*given: object, **settings: Any) -> object:
        assert settings["streaming"] is True
        return load(*given, **settings)

    monkeypatch.setattr(datasets, "load_dataset", streaming_only)
    path = tmp_path / "some.txt"
    path.write_bytes("One \u2581\n\n  <|endoftext|>\nTwo\r\nend".encode())
    assert list(hub.stream(str(path))) == ["One \u2581", "", "  <|endoftext|>", "Two", "end"]
    path.write_bytes(b"line\n" * 100_000)
    stream = hub.stream(str(path))
    assert [next(stream) for _ in range(3)] == ["line"] * 3
    with pytest.raises(TinyError, match=r"Fetching .*absent.txt failed: .*--data stories"):
        list(hub.stream(str(tmp_path / "absent.txt")))
