"""Plant every bug and print which gate finds it: PYTHONPATH=tests python -m emulator.planted_bugs"""

from __future__ import annotations

import sys

from emulator.planted_bugs import BUGS
from emulator.planted_bugs.gates import why_missed


def main() -> int:
    missed = 0
    for bug in BUGS:
        found = why_missed(bug) is None
        missed += not found
        print(f"{bug.name:28s}  {bug.kernel:28s}  {bug.gate:22s}  {'found' if found else 'MISSED'}  {bug.what}")
    print(f"{len(BUGS) - missed} of {len(BUGS)} planted bugs are found")
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
