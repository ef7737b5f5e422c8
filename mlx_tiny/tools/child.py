"""Runs a module of the package as a child that ends with its parent: `python -m mlx_tiny.tools.child PIPE MODULE ...`.

The parent holds the other end of the pipe, which the system closes however the parent ends. A byte in it says that the
parent goes on, and wants this process to end by itself.
"""

from __future__ import annotations

import atexit
import os
import runpy
import select
import signal
import sys
import threading

_STDIN = 0


def main() -> None:
    """Run the module that the command line names, and when the parent ends, end with all that was started here."""
    pipe, module = int(sys.argv[1]), sys.argv[2]
    watch = threading.Thread(target=_end_with_the_parent, args=(pipe,), daemon=True)
    watch.start()
    atexit.register(_let_it_end, watch)
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_the_parent(pipe: int) -> None:
    if os.read(pipe, 1):
        return
    if os.getpgrp() == os.getpid():  # the group of `Child`: compilers, for example
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _let_it_end(watch: threading.Thread) -> None:
    """A killed parent ends the requests too, and this process could end by that before it ends what it started."""
    requests = select.poll()
    requests.register(_STDIN, 0)  # only their end, not those that are there
    if requests.poll(0):
        watch.join(1)


if __name__ == "__main__":
    main()
