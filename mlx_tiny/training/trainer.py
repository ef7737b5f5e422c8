"""The training loop: steps until the budget is spent, with evaluations, samples and checkpoints in between."""

from __future__ import annotations

import contextlib
import functools
import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple, cast

from mlx_tiny.config.schedule import BEGINNING
from mlx_tiny.data.mixture import Corpus
from mlx_tiny.errors import TinyError
from mlx_tiny.model.mixing import Mixed
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.optim.schedule import muon_momentum, rate_multiplier
from mlx_tiny.records import EvaluationRecord, FinalRecord, Progress, SampleRecord, StepRecord, from_plain
from mlx_tiny.tools.signals import Interruption
from mlx_tiny.training.backend import Backend, MlxBackend, State, evaluate_text
from mlx_tiny.training.beginning import begin, require_data_of, stream_of
from mlx_tiny.training.budget import Milestones
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.clock import Clock
from mlx_tiny.training.counting_file import save_counting
from mlx_tiny.training.counts import FORWARD_SHARE, Counting, Fitted, account
from mlx_tiny.training.device_errors import device_errors_explained
from mlx_tiny.training.documents import save_documents
from mlx_tiny.training.evaluate import Evaluation, combined, documents_of_run
from mlx_tiny.training.growth import batch_at, stages
from mlx_tiny.training.listener import Amount, Listener, Unhurried
from mlx_tiny.training.outcome import Outcome
from mlx_tiny.training.pauses import EVALUATED_FASTER, SAMPLE_TOKENS, Pauses, estimated_s
from mlx_tiny.training.phases import COMPILING, Phases
from mlx_tiny.training.watch import Diverged, LossWatch, explained_divergence

# Steps that are started before the loss of the first one is read, so that the device need not wait for the host.
_PIPELINE_DEPTH = 2


class _InFlight(NamedTuple):
    """A step that was started, and what was known at that moment."""

    step: int
    loss: Any
    fraction: float
    multiplier: float
    spent_tokens: int
    """Total, including this step."""
    spent_flops: float
    tokens: int
    """Of this step only."""


class Trainer:
    """One session of a run, fresh or resumed.

    Args:
        run: its folder, with the configuration.
        corpus: the prepared data that the configuration names.
        listener: shows every step, evaluation and sample.
        interruption: tells after every step whether to stop; until the first one, and at a second request, all ends.
        resume: continue from the run's last checkpoint, where there is one; settings that differ from those in the
            folder are written to it first, so that they are part of the run after a crash too.
        backend: the framework; MLX by default.
        before: seconds of this session until now by phase, to be reported.
        restarts: of the run, after errors of the device; more than its checkpoint says where none was written since.
    """

    def __init__(
        self,
        run: RunFolder,
        corpus: Corpus,
        listener: Listener,
        interruption: Interruption,
        *,
        resume: bool = False,
        backend: Backend | None = None,
        before: Mapping[str, float] | None = None,
        restarts: int = 0,
    ) -> None:
        require_data_of(run, corpus)
        self.run, self.corpus, self.interruption = run, corpus, interruption
        self.config = run.config
        self.backend: Backend = backend or MlxBackend(self.config, listener.message)
        self.step = self.backend.step
        self.stream = stream_of(corpus, self.config)
        self.state, progress = begin(run, self.backend, listener.message, resume=resume)
        self.stream.seek(progress.sequences)
        self.clock = Clock()
        self.phases = Phases(self.clock, progress.phases, self._tell_gap)
        self.budget = account(self.config.train, progress, self.clock)
        self.pauses = Pauses(self.budget, progress)
        self.counting: Counting | None = None
        self._ended = self.budget.equals(progress.spent_budget)
        self.step_number, self.best = progress.step, progress.best_bits_per_byte
        self.restarts = max(progress.restarts, restarts)
        self.watch = from_plain(LossWatch, progress.losses, "account of the run")
        for name, seconds in (before or {}).items():
            self.phases.add(name, seconds)
        self._pending: deque[_InFlight] = deque()
        self._step_s = 0.0
        """What a step takes at present."""
        self.listener = cast(Listener, Unhurried(listener, self._reader_may_wait))
        self._recent: deque[tuple[int, float]] = deque(maxlen=16)
        """Tokens and seconds of the last steps."""
        self._last_settled = 0.0
        self._cost = self._cost_of(self.config.train.batch_size, self.config.model.context)
        """Tokens and FLOPs of the last step, or of the first one before there is any."""

    def train(self) -> Outcome:
        """Spend the budget, then evaluate on the whole validation file and write the weights.

        Raises:
            TinyError: the loss diverged (the last good checkpoint is kept), memory ran out, or the disk is full.
            Interrupted: by a second signal, or by one before the first step.
        """
        train = self.config.train
        explained = device_errors_explained(self.run.path, train.batch_size, train.micro_batches)
        with self.interruption.answering(), self.clock.watched(), explained:
            with self.phases.phase(COMPILING):
                self._warm_up()
            if not self._ended:
                self.budget.start()
            if self.config.train.counting:
                self.listener.wait("counting")
                with self.phases.phase("counting"):
                    self.counting = Counting(self.corpus, self.config, self.clock)
            try:
                self.interruption.hold("the run is saved and reported")
                self._spend()
                return self._finish()
            except Diverged as error:
                self.backend.synchronize()  # work that failed leaves any numbers behind
                raise explained_divergence(error, self.config, self.run.checkpoint("last").exists()) from None

    def _warm_up(self) -> None:
        """Run one step of each shape and drop its result, so that compilation does not count as training."""
        self.listener.wait("the first step")
        for fraction in stages(self.config):
            self._dropped_step(fraction)
        if self.config.train.counting:  # the predictions that the gate is fitted on have other shapes
            next(iter(self.backend.predictions(self.state, self.corpus.parts[0].corpus.valid, None)))
        if self.config.train.samples:
            self.backend.sample(self.state, self.corpus.tokenizer, max_tokens=2, seed=0)
        if self.budget.quantity == "seconds":  # the rate of the first step depends on how long it will take
            began = self.clock()
            self._dropped_step(self.budget.fraction)
            self._step_s = self.clock() - began

    def _dropped_step(self, fraction: float) -> None:
        position = self.stream.position
        self.backend.wait(*self.step(self.state, batch_at(self.stream, self.config, fraction), 0.0, 0.0))
        self.stream.seek(position)

    def _spend(self) -> None:
        self._last_settled = self.budget.seconds
        train = self.config.train
        fraction = self.budget.fraction
        evaluations = Milestones(train.evaluations, fraction)
        checkpoints = Milestones(train.checkpoints + 1, fraction)
        samples = Milestones(train.samples + 1, fraction)
        while not (self._is_spent() or self.interruption.requested):
            self._one_step()
            fraction = self.budget.fraction
            if evaluations.due(fraction) and self._may_pause("evaluation"):
                with self.pauses.taking("evaluation"):
                    self._evaluate_beginning(fraction)
            if checkpoints.due(fraction):
                self._checkpoint("last")
            if samples.due(fraction) and self._may_pause("samples"):
                with self.pauses.taking("samples"):
                    self._sample(fraction)
        self._drain()
        if left_out := self.pauses.described():
            self.listener.message(left_out)

    def _may_pause(self, name: str) -> bool:
        """Whether there is time for an evaluation or a sample; all steps that were started are done then."""
        s_per_token = self._step_s / self._cost[0]
        if allowed := self.pauses.allow(name, estimated_s(self.config.train, s_per_token)[name]):
            self._drain()
        return allowed

    def _one_step(self) -> None:
        with self.phases.phase("data"):
            batch = batch_at(self.stream, self.config, self.budget.fraction)
        self._cost = tokens, flops = self._cost_of(batch.shape[0], batch.shape[1] - 1)
        at_beginning = self.config.schedule.rate_at == BEGINNING
        fraction = self.budget.middle_of_step(0.0 if at_beginning else self._cost_of_stopping_later())
        multiplier = rate_multiplier(self.config.schedule, fraction)
        with self.phases.phase("training"):
            self.state, loss = self.step(self.state, batch, multiplier, muon_momentum(self.config.optimizer, fraction))
            self.backend.start(self.state, loss)
            self.step_number += 1
            self.budget.charge(tokens, flops)
            spent = self.budget.spent_tokens, self.budget.spent_flops
            self._pending.append(_InFlight(self.step_number, loss, fraction, multiplier, *spent, tokens))
            if len(self._pending) > _PIPELINE_DEPTH:
                self._settle()

    def _cost_of(self, sequences: int, context: int) -> tuple[int, float]:
        """Tokens and model FLOPs of a step on so many sequences of so many tokens."""
        tokens = sequences * context
        return tokens, tokens * training_flops_per_token(replace(self.config.model, context=context))

    def _settle(self) -> None:
        """Wait for the oldest step that was started, and record its loss."""
        oldest = self._pending.popleft()
        value = float(oldest.loss)
        self.watch.see(oldest.step, value)
        now = self.budget.seconds
        self._recent.append((oldest.tokens, now - self._last_settled))
        self._last_settled = now
        self._step_s = sum(seconds for _, seconds in self._recent) / len(self._recent)
        record = StepRecord(
            step=oldest.step,
            loss=value,
            tokens=oldest.spent_tokens,
            flops=oldest.spent_flops,
            seconds=now,
            fraction=oldest.fraction,
            multiplier=oldest.multiplier,
            tokens_per_s=self._tokens_per_s,
        )
        self.run.metrics.append(record)
        self.listener.step(record)

    @property
    def _tokens_per_s(self) -> float:
        """Over the last few steps."""
        return sum(tokens for tokens, _ in self._recent) / max(sum(seconds for _, seconds in self._recent), 1e-9)

    def _drain(self) -> None:
        with self.phases.phase("training"):
            while self._pending:
                self._settle()

    def _is_spent(self) -> bool:
        """Whether stopping now is closer to the budget than another step; a run takes at least one."""
        return self._ended or (self.step_number > 0 and self.budget.exhausted(self._cost_of_stopping_later()))

    def _cost_of_stopping_later(self) -> float:
        """Cost of one more step in the unit of the budget; seconds include the steps that still run before it."""
        tokens, flops = self._cost
        seconds = self._step_s * (1 + 2 * len(self._pending))
        return {"seconds": seconds, "tokens": float(tokens), "flops": flops, "steps": 1.0}[self.budget.quantity]

    def _evaluate_beginning(self, fraction: float) -> None:
        whole, parts = self._evaluate(self.state, self.config.train.evaluation_tokens)
        bits_per_byte, by_text = whole.bits_per_byte, [part.bits_per_byte for part in parts]
        account = self.step_number, self.budget.spent_tokens, self.budget.seconds
        record = EvaluationRecord(*account, fraction, bits_per_byte, by_text if len(by_text) > 1 else [])
        self.run.metrics.append(record)
        self.listener.evaluation(record)
        if self.best is None or bits_per_byte < self.best:
            self.best = bits_per_byte
            self._checkpoint("best")

    def _evaluate(
        self, state: State, limit_tokens: int | None, mixed: Mixed | None = None
    ) -> tuple[Evaluation, tuple[Evaluation, ...]]:
        """Strength on the whole data, and on each of its texts, which have their shares of a limit."""
        parts, context = self.corpus.parts, self.config.model.context
        done = Amount(sum(len(part.corpus.valid) - 1 for part in parts))
        if limit_tokens is None:
            self.listener.wait("the final evaluation", done)
        with self._pause("evaluation" if limit_tokens else "final evaluation"):
            limits = [limit_tokens and max(context, round(part.share * limit_tokens)) for part in parts]
            found = self.interruption.surely(
                lambda: tuple(
                    evaluate_text(self.backend, state, part.corpus, limit, mixed, done.add)
                    for part, limit in zip(parts, limits, strict=True)
                )
            )
        return combined([part.share for part in parts], found), found

    def _checkpoint(self, name: str) -> Progress:
        """Write a checkpoint; returns the account in it."""
        with self._pause("checkpoints"):
            self.backend.synchronize()
            if not self.backend.all_finite(self.state):
                raise Diverged(f"A weight or a moment became NaN or infinite by step {self.step_number}")
            progress = self.progress()
            self.backend.save_checkpoint(self.run, name, self.state, progress)
        return progress

    def progress(self) -> Progress:
        """The state of the account for a checkpoint; valid only when all started steps are recorded."""
        return Progress(
            step=self.step_number,
            computed_by=self.backend.description,
            sequences=self.stream.position,
            tokens=self.budget.spent_tokens,
            flops=self.budget.spent_flops,
            seconds=self.budget.seconds,
            best_bits_per_byte=self.best,
            spent_budget=self.budget.text if self._ended else None,
            losses=asdict(self.watch),
            phases=dict(self.phases.seconds),
            restarts=self.restarts,
        )

    def _sample(self, fraction: float) -> None:
        with self._pause("samples"):
            text = self.interruption.surely(
                lambda: self.backend.sample(self.state, self.corpus.tokenizer, max_tokens=SAMPLE_TOKENS, seed=0)
            )
        spent = self.budget.spent_tokens, self.budget.seconds
        self.run.metrics.append(SampleRecord(self.step_number, *spent, fraction, text))
        self.listener.sample(fraction, text)

    def _finish(self) -> Outcome:
        fitted = self._fit_in_time()
        self.listener.wait("the last checkpoint")
        self._ended = not self.interruption.requested
        progress = self._checkpoint("last")
        state, source, step = self.state, "last", progress.step
        if self.best is not None and self._ended:
            limited = self._evaluate(state, self.config.train.evaluation_tokens)[0].bits_per_byte
            if limited > self.best:
                state, source, step = self._best_or(state)
        if fitted is None or source != "last":
            fitted = self._fit(state)
        evaluation, parts, whole = self._final_evaluation(state, fitted and fitted.mixed)
        account = progress.step, progress.tokens, progress.seconds
        strength = evaluation.bits_per_byte, evaluation.with_counting_bits_per_byte
        self.run.metrics.append(FinalRecord(*account, *strength))
        self.backend.save_weights(self.run, state, progress.step)
        if fitted is not None:
            save_counting(self.run, fitted.counted, fitted.mixed.gate)
        if whole:
            save_documents(self.run, documents_of_run(self.corpus.parts, parts))
        interrupted, phases = self.interruption.name, dict(self.phases.seconds)
        return Outcome(state, progress, evaluation, parts, whole, interrupted, phases, source, step, fitted)

    def _fit_in_time(self) -> Fitted | None:
        """Counting with a gate for the last weights, fitted in the time set aside; None where that is not to be."""
        with self.interruption.cut():
            if self.counting and self.budget.aside_s and not (self._ended or self.interruption.requested):
                return self._fit(self.state, FORWARD_SHARE * self.budget.aside_s)
        return None

    def _fit(self, state: State, seconds: float | None = None) -> Fitted | None:
        """Counting with a gate for these weights; None where the run does not count.

        Args:
            seconds: that the predictions may take; by default they are those of all kept tokens, or of few after an
                interruption.
        """
        if (counting := self.counting) is None:
            return None
        limit = self.config.train.evaluation_tokens if self.interruption.requested else math.inf
        with self._pause("gate"):
            until = math.inf if seconds is None else self.clock() + seconds
            if seconds is not None:
                limit = round(EVALUATED_FASTER * self._tokens_per_s * seconds)
            predict = functools.partial(self.backend.predictions, state, limit_tokens=None)
            return self.interruption.surely(lambda: counting.fit(predict, limit, lambda: self.clock() >= until))

    def _final_evaluation(self, state: State, mixed: Mixed | None) -> tuple[Evaluation, tuple[Evaluation, ...], bool]:
        """Strength on the whole data, or on its beginning where a signal has come or comes meanwhile; and which."""
        if not self.interruption.requested:
            with self.interruption.cut():
                return *self._evaluate(state, None, mixed), True
        return *self._evaluate(state, self.config.train.evaluation_tokens, mixed), False

    def _best_or(self, last: State) -> tuple[State, str, int]:
        """The best checkpoint and its step, or the last weights if the best checkpoint is missing or damaged."""
        try:
            state, progress = self.backend.load_checkpoint(self.run, "best")
            return state, "best", progress.step
        except TinyError as error:
            self.listener.message(f"the last weights are kept, although earlier ones were better: {error.failed}")
            return last, "last", self.step_number

    @contextlib.contextmanager
    def _pause(self, name: str) -> Iterator[None]:
        """A phase between steps; it begins when all started steps are done, so that its time is its own."""
        self._drain()
        with self.phases.phase(name):
            yield
        self._last_settled = self.budget.seconds

    def _tell_gap(self, text: str) -> None:
        charged = self.budget.quantity == "seconds" and self.budget.started
        self.listener.message(f"{text}{', which the budget is not charged with' * charged}")

    def _reader_may_wait(self) -> contextlib.ContextDecorator:
        return self.clock.waiting(self._step_s * len(self._pending))
