"""The content of `report.json`."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlx_tiny.config import RunConfig
from mlx_tiny.machine.description import Machine
from mlx_tiny.machine.state import State
from mlx_tiny.records import Origin, Record
from mlx_tiny.study.law import Expectation


@dataclass(frozen=True)
class TextStrength:
    """How good the model of a run is on one validation text."""

    text: str
    """Description of its source."""
    share: float | None
    """Of the training sequences; None for a text of the run that this one started from."""
    epochs: float
    """How often its training text was read in this run."""
    bits_per_byte: float
    before: float | None
    """Bits per byte of the weights that the run started from; None without such a run, and after an interruption."""
    entropy_floor_bits_per_byte: float | None
    fingerprint: str
    documents: int = 0
    """Of the validation text, where it is that of the run that this one started from."""
    learned_documents: int = 0
    """Those of them that are in the training text of this run."""
    sources: tuple[str, ...] = ()
    """What the user named: files, or a corpus."""
    with_counting_bits_per_byte: float | None = None
    """Of the mixture with counting; None for other texts, and in runs without it."""


@dataclass(frozen=True)
class Report(Record):
    """How good the model of a run is, what it cost, and how it was trained; in the order of the file."""

    kind = "run"
    version = 1

    bits_per_byte: float
    bits_per_event: float | None
    """Where the text consists of events."""
    entropy_floor_bits_per_byte: float | None
    """Exact entropy of the validation text, where it was generated."""
    excess_bits_per_byte: float | None
    """Bits per byte above the floor; None after an interruption, when only the beginning of the text was measured."""
    perplexity_per_token: float
    evaluated_tokens: int
    evaluated_whole_file: bool
    """Or only its beginning, by `measured_bytes` or after an interruption."""
    evaluation_fingerprint: str
    """Two results are comparable where this is equal; see `training/evaluate.py`."""
    weights_from: str
    """`last`, or `best` where an earlier checkpoint was better."""
    interrupted: bool
    data: str
    budget: str
    """Of the last session; a run can be resumed with another budget than it was started with."""
    steps: int
    tokens: int
    epochs: float
    flops: float
    seconds: float
    tokens_per_s: float
    training_flops_per_s: float
    peak_flops_per_s: float
    """Of matrix products, as measured in the same session."""
    utilisation: float | None
    """`training_flops_per_s` divided by `peak_flops_per_s`."""
    parameters: int
    parameters_by_group: dict[str, int]
    multiply_adds_per_token: float
    training_flops_per_token: float
    peak_memory_bytes: int
    phases_s: dict[str, float]
    backend: str
    implementations: dict[str, str]
    """What computed each operation of a training step."""
    machine: Machine
    samples: list[str]
    config: RunConfig
    origin: Origin | None = None
    """The run that this one started from."""
    texts: list[TextStrength] = field(default_factory=list)
    """Each text of a mixture; of a run that started from another one also the texts of the other run, where they are in
    the cache and the run was not interrupted."""
    evaluated_training_text: bool = False
    """Whether nothing was held out, so that the model had learned the text on which it was measured."""
    counting_bits_per_byte: float | None = None
    """Of an n-gram that counts the same training text, on the same validation text; None where nothing is held out."""
    with_counting_bits_per_byte: float | None = None
    """Of the mixture of the model with counting, on what the model alone was measured on; None in runs without it."""
    counting_share: float | None = None
    """Mean weight of counting in that mixture."""
    gate_tokens: int | None = None
    """Kept tokens on which that weight was learned; with 0, it is a half everywhere."""
    weights_checksum: str | None = None
    """Of the weights that the report describes; None in older reports."""
    weights_step: int | None = None
    """The step after which the weights were these; None in older reports."""
    restarts: int = 0
    """How often a new process continued the run after an error of the GPU."""
    continued: bool = False
    """Whether the run has gone on since, in a session that has not written its report yet, or never will."""
    interrupted_by: str | None = None
    """The name of the signal."""
    state_at_start: State | None = None
    """Of the machine when the last session began; that of its end is in `machine`, with the load while it trained."""
    expected_memory_bytes: int | None = None
    """Peak memory as it was estimated before the first step of the last session; None in older reports."""
    expected: Expectation | None = None
    """What the law says of so many tokens; None where no law is about such a run, and after an interruption."""
    interval_bits_per_byte: list[float] | None = None
    """Of `bits_per_byte`, lower and upper end: where it would be with 95 % on other texts like these; the noise of the
    seed is not in it. None after an interruption, of few documents, and in older reports."""
    interval_with_counting_bits_per_byte: list[float] | None = None
    """The same of `with_counting_bits_per_byte`."""
    interval_by: str | None = None
    """How the intervals were made."""
    evaluated_bytes: int | None = None
    """Of the validation text that was read; None in older reports."""
    date: str | None = None
    """When the last session began, in ISO 8601. This and what follows is None in older reports."""
    command: str | None = None
    """For a shell: a run of the same settings on the same text."""
    earlier: list[str] = field(default_factory=list)
    """Settings of earlier sessions that were changed since; `command` does not make such a run again."""
    training_text: str | None = None
    """Hash of the training documents."""
    wall_s: float | None = None
    """Of the last session, from the start of its process on; the sum of `phases_s` is that of all sessions, as far as
    their last checkpoints tell."""
