"""A program beside a process that compiles: at its end, this ends the compilers that it left, and removes its folder.

It is started by `kernels.py` with the folder, whose path is in the command line of each of these compilers.
"""

import contextlib
import os
import signal
import sys
import time

# A killed compiler may have started another program a moment before.
_LOOKS = 100


def main(folder: str) -> None:
    """Wait for the end of the other process, whose end of this pipe is closed then."""
    os.read(0, 1)
    import shutil  # here, because most of the time this program only waits

    for _ in range(_LOOKS):
        processes = _processes_with(os.fsencode(folder))
        if not processes:
            break
        for process in processes:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)

    shutil.rmtree(folder, ignore_errors=True)


def _processes_with(word: bytes) -> list[int]:
    """Processes that run and have a word in their command line, without this one."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdecimal() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                if word in file.read():
                    found.append(int(name))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
