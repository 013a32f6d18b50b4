"""Chooses the step program and the batch size of a device by measuring a ladder of candidates within a time budget.

A ladder is a sequence of rungs, each of which varies one thing of the best candidate so far. This module knows no
device, file or network: how a candidate is measured, and the clock, are handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from i2s_batch.inversion.step_program import PLAIN, StepProgram

# A step that runs as a graph gains less than 3 % from more images (docs/gpu.md).
PRIOR_BATCH_SIZE = 16
PLAIN_BATCH_SIZES = (1, 8, 16, 32)
LARGEST_BATCH_SIZE = 32
# Gain in seconds a step and image for which a candidate replaces the best one: a larger batch that gains less is not
# worth the images that are lost back to their last checkpoint when the worker dies.
MINIMUM_GAIN = 0.03
# What a compiled step that differs from those before costs at least before it can be timed.
COMPILE_S = 30.0
# Part of the time of all steps to come that measuring may take: it never gains more than a factor of some.
SHARE_OF_WORK = 0.1


class TrialFailedError(RuntimeError):
    """Reports why a candidate cannot be used: too little memory, no compiler, or another result than the plain step.

    Attributes:
        lasts: Whether it is so at another time, too: memory and compilers may be there then.
    """

    def __init__(self, message: str, lasts: bool = False) -> None:
        super().__init__(message)
        self.lasts = lasts


@dataclass(frozen=True)
class Candidate:
    """Holds a step program with a batch size."""

    program: StepProgram
    batch_size: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.program.name}, batch {self.batch_size}"


@dataclass(frozen=True)
class Trial:
    """Holds what came of a candidate: seconds a step and image, or why it failed; one of the two is None."""

    candidate: Candidate
    seconds: float | None
    failure: str | None = None


@dataclass(frozen=True)
class Tuning:
    """Holds the chosen candidate, every trial in its order, and why no further one was made.

    Attributes:
        chosen: The fastest candidate that was measured; the prior if none was, or if there was no time for the prior.
        trials: What was measured, in the order of the ladder.
        ended: Why the ladder ended, in a few words.
    """

    chosen: Candidate
    trials: tuple[Trial, ...]
    ended: str

    @property
    def seconds(self) -> float | None:
        """Return the seconds a step and image of the chosen candidate; None if it was not measured."""
        return next((each.seconds for each in self.trials if each.candidate == self.chosen), None)


@dataclass(frozen=True)
class Budget:
    """Holds the time that measuring may take.

    Attributes:
        seconds: Seconds after which no trial begins.
        updates: Optimiser steps of an image that are to come, over all images: a short run is not worth much measuring.
        clock: Returns seconds that only increase.
    """

    seconds: float
    updates: float = float("inf")
    clock: Callable[[], float] = time.monotonic

    def limit(self, step_seconds: float | None) -> float:
        """Return the seconds that measuring may take when the fastest step takes so many, None if unknown."""
        if step_seconds is None:
            return self.seconds
        return min(self.seconds, SHARE_OF_WORK * self.updates * step_seconds)


# Given the fastest candidate so far, None if there is none, returns those to try, in their order. A rung ends at the
# first that fails or does not gain.
Rung = Callable[[Candidate | None], Sequence[Candidate]]


def prior_of(program: StepProgram, limit: int) -> Candidate:
    """Return the candidate that is expected to be the fastest with `program`, with at most `limit` images."""
    usual = PRIOR_BATCH_SIZE if program.compiled else PLAIN_BATCH_SIZES[1]
    return Candidate(program, min(usual, limit))


def ladder(prior: Candidate, limit: int, only_compiled: bool = False, may_capture: bool = False) -> list[Rung]:
    """Return the rungs of a GPU: plain steps, the prior, then what differs from the best in one thing.

    Args:
        prior: The candidate that is expected to be the fastest.
        limit: The largest batch that is of use.
        only_compiled: Whether the user asked for compiled steps.
        may_capture: Whether a graph is to be tried although the prior has none.
    """
    sizes = [size for size in PLAIN_BATCH_SIZES if size <= limit]

    def plain(_: Candidate | None) -> list[Candidate]:
        return [Candidate(PLAIN, size) for size in (sizes[:2] if prior.program.compiled else sizes)]

    def smaller_plain(best: Candidate | None) -> list[Candidate]:
        is_single = best == Candidate(PLAIN, 1) and not prior.program.compiled
        return [Candidate(PLAIN, size) for size in (2, 4) if is_single and size <= limit]

    def first(_: Candidate | None) -> list[Candidate]:
        return [prior]

    def other_graph(best: Candidate | None) -> list[Candidate]:
        if best is None or not (best.program.graph or (may_capture and best.program.compiled)):
            return []
        return [replace(best, program=replace(best.program, graph=not best.program.graph))]

    def fitting(part: int) -> Rung:
        def smaller(best: Candidate | None) -> list[Candidate]:  # where the prior had too little memory
            is_tried = best is not None and best.program.compiled
            size = prior.batch_size // part
            return [] if is_tried or not prior.program.compiled or not size else [replace(prior, batch_size=size)]

        return smaller

    def half(best: Candidate | None) -> list[Candidate]:
        if best is None or not best.program.compiled or best.batch_size < 2:
            return []
        return [replace(best, batch_size=best.batch_size // 2)]

    def double(best: Candidate | None) -> list[Candidate]:
        if best is None or not best.program.compiled or 2 * best.batch_size > min(limit, LARGEST_BATCH_SIZE):
            return []
        return [replace(best, batch_size=2 * best.batch_size)]

    def other_operators(best: Candidate | None) -> list[Candidate]:
        if best is None or not best.program.fused:
            return []
        return [replace(best, program=replace(best.program, fused=False))]

    compiled: list[Rung] = [first, fitting(2), fitting(4), other_graph, half, double, other_operators]
    return compiled if only_compiled else [plain, smaller_plain, *compiled]


def choose(
    rungs: Sequence[Rung],
    trial: Callable[[Candidate], float],
    budget: Budget,
    prior: Candidate,
    is_known: Callable[[Candidate], bool] = lambda _: False,
) -> Tuning:
    """Climb the ladder and return the fastest candidate.

    No trial begins when the budget's time is used up, nor when less is left than one of its kind takes: the longest so
    far, and for a compiled step other than the prior, which the run would compile anyway, `COMPILE_S` at least. A
    candidate is tried once. If there was no time for the prior, it is chosen: its gain over plain steps is known to be
    larger than that of anything else.

    Args:
        rungs: The ladder.
        trial: Returns the seconds a step and image of a candidate; raises TrialFailedError.
        budget: The time.
        prior: The candidate that is expected to be the fastest.
        is_known: Whether the trial of a candidate takes no time.
    """
    trials: dict[Candidate, Trial] = {}
    longest = {False: 0.0, True: 0.0}
    best: Trial | None = None
    began, ended = budget.clock(), "nothing else to try"
    for rung in rungs:
        for candidate in rung(None if best is None else best.candidate):
            if candidate in trials:
                continue
            start, kind = budget.clock(), candidate.program.compiled
            needed = longest[kind] if not kind or candidate == prior else max(longest[kind], COMPILE_S)
            left = budget.limit(None if best is None else best.seconds) - (start - began)
            if left <= needed and not is_known(candidate):
                ended = "the time was over"
                break
            made = trials[candidate] = _tried(candidate, trial)
            longest[kind] = max(longest[kind], budget.clock() - start)
            if not _gains(made, best):
                break
            best = made
    return _outcome(trials, best, prior, ended)


def _tried(candidate: Candidate, trial: Callable[[Candidate], float]) -> Trial:
    try:
        return Trial(candidate, trial(candidate))
    except TrialFailedError as error:
        return Trial(candidate, None, " ".join(str(error).split()) or "it failed")


def _gains(new: Trial, best: Trial | None) -> bool:
    """Return whether a trial is faster than the best so far by `MINIMUM_GAIN`."""
    if new.seconds is None:
        return False
    return best is None or best.seconds is None or new.seconds <= best.seconds * (1 - MINIMUM_GAIN)


def _outcome(trials: dict[Candidate, Trial], best: Trial | None, prior: Candidate, ended: str) -> Tuning:
    tried_prior = prior in trials
    if best is not None and (tried_prior or not prior.program.compiled):
        return Tuning(best.candidate, tuple(trials.values()), ended)
    if tried_prior:  # everything failed: what does not need a compiler says why itself
        return Tuning(Candidate(PLAIN, 1), tuple(trials.values()), ended)
    return Tuning(prior, tuple(trials.values()), ended)
