"""The Hugging Face hub: finds out within seconds whether it answers, and reads the lines of a text file on it."""

from __future__ import annotations

import os
import queue
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

from mlx_tiny.errors import TinyError

PROBE_SECONDS = 2.0
"""The library `datasets` gives up only after 23 s of retries."""
_BATCH_LINES = 4096
_TRUE = ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    """Address of the hub: `$HF_ENDPOINT` or the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def obstacle(repository: str) -> str | None:
    """Why the data set `repository` cannot be fetched now, or None if the hub answers for it.

    The proxies named in the environment are used. The answer comes within `PROBE_SECONDS`, even where the look-up of
    the name hangs, or a server accepts the connection and sends nothing.
    """
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if os.environ.get(name, "").upper() in _TRUE:
            return f"{name} is set"
    url = f"{endpoint()}/api/datasets/{repository}"
    answers: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=lambda: answers.put(_ask(url)), daemon=True).start()
    try:
        return answers.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        return f"{endpoint()} did not answer within {PROBE_SECONDS:g} s"


def _ask(url: str) -> str | None:
    # Only whether an answer comes matters, so it need not be trusted; some installations of Python lack certificates.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS, context=context):
            return None
    except urllib.error.HTTPError as error:
        return f"{endpoint()} answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return f"{endpoint()}: {error.reason}"
    except (OSError, ValueError) as error:
        return f"{endpoint()}: {error}"


def lines(repository: str, file: str) -> Iterator[str]:
    """Lines of a text file of a data set, without line ends, fetched as they are read.

    Raises:
        TinyError: the download failed.
    """
    return stream(f"hf://datasets/{repository}/{file}")


def stream(address: str) -> Iterator[str]:
    """Lines of the text file at `address`, a path or an address that `datasets` understands."""
    try:
        import datasets

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity_error()
        loaded = datasets.load_dataset(
            "text", data_files={"train": address}, split="train", streaming=True, encoding_errors="replace"
        )
        for batch in loaded.iter(batch_size=_BATCH_LINES):
            yield from batch["text"]
    except TinyError:
        raise
    except Exception as error:  # `datasets` raises many kinds of exceptions
        raise TinyError(
            f"Fetching {address} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            remedy="Try again, name a text file of your own (--data FILE), or take --data stories",
        ) from error
