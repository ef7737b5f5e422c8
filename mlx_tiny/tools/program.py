"""Runs another program, which its command line names; as a `Child` it makes the program end with its parent."""

from __future__ import annotations

import subprocess
import sys


def main() -> None:
    """Run the program to its end, with all its output on stderr, and end as it does (after signal n with 128+n)."""
    code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
