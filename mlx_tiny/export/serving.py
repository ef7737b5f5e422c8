"""Starts mlx-lm's server with the model of a run, and hands out a page to talk to it; both for this machine alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mlx_tiny.config import Sampling
from mlx_tiny.errors import TinyError
from mlx_tiny.export.check import PROGRAMS
from mlx_tiny.export.model import Export, load_export
from mlx_tiny.export.target import INSTALL, export
from mlx_tiny.files import cache_home, folder_aside, make_folder, remove_leftovers
from mlx_tiny.model.parameters import parameter_count
from mlx_tiny.model.portable import obstacles
from mlx_tiny.model.writing import is_chat
from mlx_tiny.tools.processes import Child, last_words
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.units import format_count

HOST = "127.0.0.1"
_PATIENCE_S = 120.0
"""For the start of the server, which imports transformers and compiles kernels."""
_LOOK_S = 0.1
PAGE = Path(__file__).with_name("serve_page.html")


@dataclass(frozen=True)
class Server:
    """A server that has answered."""

    endpoint: str
    page: str
    child: Child
    log: Path

    def wait(self) -> None:
        """Return never.

        Raises:
            TinyError: the server has ended.
        """
        while self.child.process.poll() is None:
            time.sleep(_LOOK_S)
        raise _ended(self.child, self.log)


@contextlib.contextmanager
def served(run: Path, port: int, tell: Callable[[str], None] = lambda _: None) -> Iterator[Server]:
    """Serve the newest weights of a run inside the block.

    Args:
        port: of the server; that of the page is the next one.
        tell: see `load_export`.

    Raises:
        TinyError: mlx-lm is missing or cannot load the model, a port is taken, or one of the errors of an export.
    """
    if PROGRAMS["mlx-lm"].missing():
        raise TinyError("The server is that of mlx-lm, which is not installed", remedy=INSTALL)
    _require_free(port)
    shape = RunFolder(run).config.model
    model = load_export(run, custom_code=bool(obstacles(shape)), tell=tell)
    endpoint, page = (f"http://{HOST}:{number}" for number in (port, port + 1))
    with _folder() as folder, _page(_contents(model, endpoint), port + 1, endpoint):
        path, log = make_folder(folder / "model") / model.name, folder / "log"
        export(model, "mlx", path)
        usual = Sampling()
        child = Child(
            "mlx_lm",
            *("server", "--model", str(path), "--host", HOST, "--port", str(port), "--allowed-origins", page),
            *("--temp", str(usual.temperature), "--top-p", str(usual.top_p), "--log-level", "WARNING"),
            *(["--trust-remote-code"] if model.custom_code else []),
            log=log,
            answers=False,
            # A request may name another model: without this, one from the network, with code of its own.
            # Models in the user's cache are not offered either; a cache that is missing has no list of models at all.
            changes={"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(make_folder(folder / "hub"))},
        )
        try:
            _wait_for_an_answer(child, log, port)
            yield Server(f"{endpoint}/v1", f"{page}/", child, log)
        finally:
            child.close()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder in the cache that is there inside the block; those of processes that were killed are deleted."""
    name = make_folder(cache_home()) / "serve"
    remove_leftovers(name.parent, name.name)
    folder = folder_aside(name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_free(port: int) -> None:
    for number in (port, port + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, number))
            except OSError as error:
                raise TinyError(
                    f"Port {number} cannot be taken: {error.strerror}",
                    remedy="Name another by --port; the next one must be free too",
                ) from error


def _wait_for_an_answer(child: Child, log: Path, port: int) -> None:
    """Ask for a token until there is one, so that a model that cannot be loaded is known at once."""
    request = json.dumps({"prompt": "", "max_tokens": 1})
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if child.process.poll() is not None:
            raise _ended(child, log)
        connection = http.client.HTTPConnection(HOST, port, timeout=_PATIENCE_S)
        with contextlib.closing(connection), contextlib.suppress(ConnectionError):
            connection.request("POST", "/v1/completions", request, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status == http.HTTPStatus.OK:
                return
            raise TinyError("mlx-lm cannot use the model", got=_words(log) or answer.read().decode(errors="replace"))
        time.sleep(_LOOK_S)
    raise TinyError(f"The server of mlx-lm has not answered in {_PATIENCE_S:.0f} s")


def _ended(child: Child, log: Path) -> TinyError:
    return TinyError(f"The server of mlx-lm has ended with exit code {child.process.wait()}", got=_words(log))


def _words(log: Path) -> str | None:
    """What the server has said last, but for its lines about requests, which begin with the address of who asked."""
    said = [line for line in last_words(log, 20) if not line.startswith(HOST)]
    return said[-1] if said else None


def _contents(model: Export, endpoint: str) -> dict[str, tuple[str, bytes]]:
    """Type and content of each file that the page consists of, by its path."""
    usual, own = Sampling(), model.model
    counting = " Counting, which the run mixes with the model, is left out." if model.counting else ""
    described = {
        "name": model.name,
        "about": f"{format_count(parameter_count(own.config))} parameters, context {own.config.context}.{counting}",
        "endpoint": endpoint,
        "context": own.config.context,
        "chat": is_chat(own.tokenizer),
        "temperature": usual.temperature,
        "tokens": min(usual.max_tokens, max(1, own.config.context // 2)),
        # A character per byte: tokens may be parts of characters.
        "pieces": [piece.decode("latin-1") for piece in own.tokenizer.piece_bytes],
    }
    return {
        "/": ("text/html; charset=utf-8", PAGE.read_bytes()),
        "/model.json": ("application/json", json.dumps(described).encode()),
    }


@contextlib.contextmanager
def _page(contents: dict[str, tuple[str, bytes]], port: int, endpoint: str) -> Iterator[None]:
    """Hand out these files inside the block; browsers let the page ask nobody but `endpoint`."""
    own = "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    policy = f"default-src 'none'; {own}; connect-src 'self' {endpoint}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, content = contents.get(self.path.partition("?")[0], ("", b""))
            if not kind:
                self.send_error(http.HTTPStatus.NOT_FOUND)
                return
            self.send_response(http.HTTPStatus.OK)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(content)),
                "Content-Security-Policy": policy,
                "Cache-Control": "no-store",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *values: object) -> None:
            """Say nothing of requests."""

    with ThreadingHTTPServer((HOST, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
