"""Many attacks on a victim, drawn from a seed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from cli.command_line import succeeded
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from .attack import Attack, Outcome, faults, run
from .drawing import edits_of
from .victims import Command, Victim


class Campaign:
    """Attacks on a victim.

    Args:
        folder: for the journal.
    """

    def __init__(self, victim: Victim, folder: Path) -> None:
        self.victim, self.journal = victim, folder / f"{victim.name}.journal"
        self._expected = dict[Command, Outcome]()

    def expected(self, command: Command) -> Outcome:
        """What a command does without an attack."""
        if command not in self._expected:
            self._expected[command] = run(self.victim, command)
            succeeded(self._expected[command].finished)
        return self._expected[command]

    def faults(self, attack: Attack) -> list[str]:
        """What is wrong with the answer to an attack."""
        return faults(self.victim, attack, self.expected(attack.command), self.journal)

    def attacks(self, pattern: str) -> st.SearchStrategy[Attack]:
        """Attacks where the file, a blank and the command match a regular expression."""
        pairs = [pair for pair in self.victim.pairs() if re.search(pattern, f"{pair[0]} {' '.join(pair[1])}")]
        edits = {file: edits_of(self.victim.folder / file, internal="/" in file) for file, _ in pairs}

        def on(pair: tuple[str, Command]) -> st.SearchStrategy[Attack]:
            file, command = pair
            forge = (
                st.sampled_from([False, False, True]) if file.endswith((".json", ".safetensors")) else st.just(False)
            )
            return st.builds(Attack, st.just(self.victim.name), st.just(file), edits[file], st.just(command), forge)

        return st.sampled_from(pairs).flatmap(on)

    def run(self, number: int, seed_of_attacks: int, pattern: str, tell: Callable[[Attack, list[str]], None]) -> None:
        """Make a number of attacks, and tell each with what is wrong with the answer to it."""

        @seed(seed_of_attacks)
        @settings(
            max_examples=number,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(self.attacks(pattern))
        def each(attack: Attack) -> None:
            tell(attack, self.faults(attack))

        each()
