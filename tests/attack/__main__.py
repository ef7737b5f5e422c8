"""Attacks by hand; the faults are counted by kind, each with the line that repeats its attack.

PYTHONPATH=.:tests python -m attack VICTIM [--attacks 1000] [--seed 1] [--only "config.json train"] [--limit-s 170]
PYTHONPATH=.:tests python -m attack --repeat LINE
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import json
import os
import re
import tempfile
import time
from pathlib import Path

os.environ.update(MLX_TINY_LANES="1", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")

from mlx_tiny.cli import results
from mlx_tiny.tools import plots
from mlx_tiny.training import backend

from .attack import Attack, run
from .campaign import Campaign
from .victims import WRITERS, make_victim


class _Enough(BaseException):
    """The time is over."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m attack", description=__doc__)
    parser.add_argument("victim", choices=WRITERS, nargs="?")
    parser.add_argument("--attacks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--limit-s", type=float, default=170)
    parser.add_argument("--repeat", metavar="LINE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlx_tiny-attack-") as folder:
        if asked.repeat:
            values = json.loads(asked.repeat)
            _repeat(Attack(**{**values, "command": tuple(values["command"])}), Path(folder))
        else:
            _many(asked, Path(folder))


def _repeat(attack: Attack, folder: Path) -> None:
    campaign = Campaign(make_victim(attack.victim, folder), folder)
    print("without the attack:", campaign.expected(attack.command).finished)
    print("faults:", campaign.faults(attack))
    print("with the attack:", run(campaign.victim, attack.command, attack).finished)


def _many(asked: argparse.Namespace, folder: Path) -> None:
    campaign = Campaign(make_victim(asked.victim, folder), folder)
    kinds, attacks, began = collections.defaultdict[str, list[str]](list), 0, time.monotonic()

    def tell(attack: Attack, faults: list[str]) -> None:
        nonlocal attacks
        attacks += 1
        for fault in faults:
            kind = f"{Path(attack.file).name} | {' '.join(attack.command[:2])} | {re.sub('[0-9.]+', '#', fault)[:100]}"
            kinds[kind].append(f"{attack.line()}\n      {fault}")
        if time.monotonic() - began > asked.limit_s:
            raise _Enough

    with contextlib.suppress(_Enough):
        campaign.run(asked.attacks, asked.seed, asked.only, tell)
    for kind, lines in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        print(f"{len(lines):5} {kind}\n      {min(lines, key=len)}")
    print(f"{asked.victim}: {attacks} attacks, {sum(map(len, kinds.values()))} faults of {len(kinds)} kinds")


if __name__ == "__main__":
    backend.matmul_peak = functools.cache(backend.matmul_peak)
    results._FINAL_SAMPLE_TOKENS = 2
    plots.installed = lambda: False
    main()
