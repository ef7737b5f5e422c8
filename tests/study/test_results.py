"""The order of runs, continuation, failures and the search by halves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.records import read
from mlx_tiny.study import results as module
from mlx_tiny.study.arms import Arm
from mlx_tiny.study.results import Results, StudyFile, carry_out, halve
from mlx_tiny.study.runs import Run, perform
from mlx_tiny.tools.signals import Interrupted

from .fake_runs import BASE, OTHER, fake_run

Performed = list[tuple[str, int, float]]


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Performed]:
    """Replaces the runs by a function of arm, seed and share, and tells which were done."""

    def replace(run: Callable[[Arm, int, float], Run]) -> Performed:
        done: Performed = []

        def perform(arm: Arm, seed: int, share: float, _: Path) -> Run:
            done.append((arm.name, seed, share))
            return run(arm, seed, share)

        monkeypatch.setattr(module, "perform", perform)
        return done

    return replace


def test_a_study_is_done_once_and_goes_on_where_it_was_stopped(
    tmp_path: Path, performed: Callable[..., Performed]
) -> None:
    path, told = tmp_path / "new" / "study.json", list[str]()

    def stopped(arm: Arm, seed: int, share: float) -> Run:
        if (arm, seed) == (BASE, 1):
            raise Interrupted(2)  # type: ignore[arg-type]
        return fake_run(arm, seed, 0.8)

    done = performed(stopped)
    with pytest.raises(Interrupted):
        carry_out(Results(path, [BASE, OTHER]), [BASE, OTHER], [0, 1, 2], 1, told.append)
    assert [entry[:2] for entry in done] == [("base", 0), ("other", 0), ("other", 1), ("base", 1)]
    assert len(read(path, StudyFile, "study").runs) == 3 and "run 3 of 6: other, seed 1: 0.8000" in told[-1]

    done = performed(lambda arm, seed, share: fake_run(arm, seed, 0.8 + 0.01 * seed))
    added = Arm("added", "1Mtok", "--width 96")
    carry_out(Results(path, [BASE, OTHER, added]), [BASE, added], [0, 1], 1, told.append)
    assert [entry[:2] for entry in done] == [("added", 0), ("added", 1), ("base", 1)]
    kept = read(path, StudyFile, "study")
    assert [arm.name for arm in kept.arms] == ["base", "other", "added"] and len(kept.runs) == 6
    assert [row.seeds for row in kept.comparisons] == [2, 2, 2]


def test_results_of_another_study_are_kept(tmp_path: Path) -> None:
    results = Results(tmp_path / "study.json", [BASE, OTHER])
    results.add(fake_run(BASE, 0, 0.8))
    for arms in ([OTHER, BASE], [BASE, Arm("other", "1Mtok", "--matrix-rate 0.03")], [Arm("base", "2Mtok")]):
        with pytest.raises(TinyError, match="another study"):
            Results(tmp_path / "study.json", arms)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(TinyError, match="results of the study"):
        Results(tmp_path / "study.json", [BASE])


def test_a_search_halves_the_arms_and_doubles_the_budget(tmp_path: Path, performed: Callable[..., Performed]) -> None:
    arms = [BASE, *(Arm(f"arm {number}", "1Mtok") for number in range(1, 6))]
    strengths = {arm.name: 1.0 - 0.01 * number for number, arm in enumerate(arms)}

    def run(arm: Arm, seed: int, share: float) -> Run:
        # The strongest arm of the first round fails for one seed, which puts it out.
        failure = "it crashed" if (arm.name, seed) == ("arm 5", 1) else None
        return fake_run(arm, seed, strengths[arm.name] + seed, share=share, failure=failure)

    done, told = performed(run), list[str]()
    results = Results(tmp_path / "study.json", arms)
    halve(results, arms, [0, 1], told.append)
    assert [arm for arm, seed, share in done if (seed, share) == (0, 0.25)] == [arm.name for arm in arms]
    assert {arm for arm, _, share in done if share == 0.5} == {"base", "arm 2", "arm 3", "arm 4"}
    assert {arm for arm, _, share in done if share == 1} == {"base", "arm 3", "arm 4"}
    assert sum("round" in line for line in told) == 3
    done = performed(run)
    halve(Results(tmp_path / "study.json", arms), arms, [0, 1], told.append)
    assert not done, "a search that is over is not done again"


PROGRAM = """
import beside, json, pathlib, sys
seed, budget, output = sys.argv[1:]
if seed == "1":
    raise SystemExit("it went wrong")
strength = {"2": float("nan"), "3": 0, "4": -1, "5": 1e308, "6": True}.get(seed, 0.9)
figures = {"bits_per_byte": strength, "tokens": 5, "other": 7, "samples": ["Once"]}
if seed == "7":
    figures.update(tokens=10**400, flops=0, samples=None)
pathlib.Path(output).write_text(json.dumps(figures))
"""


def test_another_program_is_an_arm_and_a_crash_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "beside.py").touch()
    arm = Arm("other", "1Mtok", "", f"{{python}} {tmp_path / 'program.py'} {{seed}} {{budget}} {{output}}")
    sound, crashed, weak = (perform(arm, seed, 1, tmp_path / "study.json") for seed in range(3))
    assert sound.figures == {"bits_per_byte": 0.9, "tokens": 5} and sound.failure is None and sound.samples == ["Once"]
    assert crashed.figures == {} and "it went wrong" in (crashed.failure or "")
    assert weak.figures == {} and "NaN" in (weak.failure or "")
    for seed in range(3, 7):
        assert "no strength" in (perform(arm, seed, 1, tmp_path / "study.json").failure or "")
    odd = perform(arm, 7, 1, tmp_path / "study.json")
    assert odd.figures == {"bits_per_byte": 0.9} and odd.samples == [] and odd.failure is None
    missing = perform(
        Arm("none", "1Mtok", "", "no-such-program {seed} {budget} {output}"), 0, 1, tmp_path / "study.json"
    )
    assert "no-such-program" in (missing.failure or "")
    assert {path.name for path in tmp_path.iterdir()} <= {"beside.py", "program.py", "__pycache__"}
