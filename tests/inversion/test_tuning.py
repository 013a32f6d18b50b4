"""The ladder of step programs against made-up times, failures and clocks, and the trial that measures one of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.step_program import PLAIN, StepProgram
from i2s_batch.inversion.step_trial import StepTrial
from i2s_batch.inversion.tuning import (
    Budget,
    Candidate,
    TrialFailedError,
    Tuning,
    choose,
    ladder,
    prior_of,
)
from tests.inversion.linear import LinearGenerator, features

BEST = StepProgram(True, True, "nhwc", True)
NO_GRAPH, UNFUSED = StepProgram(True, False, "nhwc", True), StepProgram(True, True, "nhwc", False)
NEITHER = StepProgram(True, False, "nhwc", False)
COMPILE_S, PLAIN_S = 60.0, 2.0


def plain(size: int) -> Candidate:
    return Candidate(PLAIN, size)


def best(size: int) -> Candidate:
    return Candidate(BEST, size)


class Machine:
    """A GPU that takes the times of a table; what is not in it has too little memory. Trials take time on its clock."""

    def __init__(self, times: dict[Candidate, float]) -> None:
        self.times, self.now, self.tried = times, 100.0, []

    def trial(self, candidate: Candidate) -> float:
        self.tried.append(candidate)
        self.now += COMPILE_S if candidate.program.compiled else PLAIN_S
        if candidate not in self.times:
            raise TrialFailedError("too little memory")
        return self.times[candidate]

    def choose(self, prior: Candidate, limit: int = 1000, seconds: float = 1e6, **more: object) -> Tuning:
        only = bool(more.pop("only_compiled", False))
        budget = Budget(seconds, clock=lambda: self.now, **more)
        return choose(ladder(prior, limit, only), self.trial, budget, prior)


# One table for each way up the ladder: the times, what is tried in which order, and what is chosen.
TABLES = {
    "the prior is the best": (
        {plain(1): 17, plain(8): 16, best(16): 2, Candidate(NO_GRAPH, 16): 2.5, best(8): 2.1, best(32): 1.99}
        | {Candidate(UNFUSED, 16): 3},
        [plain(1), plain(8), best(16), Candidate(NO_GRAPH, 16), best(8), best(32), Candidate(UNFUSED, 16)],
        best(16),
    ),
    "a graph costs, and more images gain": (
        {plain(1): 9, plain(8): 4, best(16): 3, Candidate(NO_GRAPH, 16): 2, Candidate(NO_GRAPH, 8): 2.5}
        | {Candidate(NO_GRAPH, 32): 1.5, Candidate(NEITHER, 32): 1.6},
        [plain(1), plain(8), best(16), *(Candidate(NO_GRAPH, size) for size in (16, 8, 32)), Candidate(NEITHER, 32)],
        Candidate(NO_GRAPH, 32),
    ),
    "a small card": (
        {plain(1): 20, best(8): 3, best(4): 3.5, Candidate(UNFUSED, 8): 4},
        [plain(1), plain(8), best(16), best(8), Candidate(NO_GRAPH, 8), best(4), Candidate(UNFUSED, 8)],
        best(8),
    ),
    "a smaller one, on which a quarter fits": (
        {plain(1): 20, best(4): 5},
        [plain(1), plain(8), best(16), best(8), best(4), Candidate(NO_GRAPH, 4), best(2), Candidate(UNFUSED, 4)],
        best(4),
    ),
    "nothing compiled works": (
        {plain(1): 9, plain(8): 5},
        [plain(1), plain(8), best(16), best(8), best(4)],
        plain(8),
    ),
    "the fused operators cost": (
        {plain(1): 9, plain(8): 5, best(16): 3, Candidate(UNFUSED, 16): 2},
        [plain(1), plain(8), best(16), Candidate(NO_GRAPH, 16), best(8), best(32), Candidate(UNFUSED, 16)],
        Candidate(UNFUSED, 16),
    ),
}


@pytest.mark.parametrize("table", TABLES)
def test_the_ladder_varies_one_thing_of_the_best_so_far(table: str) -> None:
    times, order, chosen = TABLES[table]
    machine = Machine(times)
    tuning = machine.choose(best(16))
    assert (machine.tried, tuning.chosen, tuning.ended) == (order, chosen, "nothing else to try")
    assert tuning.seconds == times[chosen]
    failed = [each.candidate for each in tuning.trials if each.failure == "too little memory"]
    assert failed == [candidate for candidate in order if candidate not in times]


@pytest.mark.parametrize(
    ("times", "limit", "chosen", "tried"),
    [
        ([1.0, 0.45, 0.44], 100, 8, [1, 8, 16]),  # 16 gain too little: 32 are not tried
        ([1.0, 1.1, 1.0], 100, 1, [1, 8, 2]),  # eight gain nothing, nor do two
        ([1.0, 1.1, 0.5, 0.4], 100, 4, [1, 8, 2, 4]),
        ([1.0, 0.5, 0.3, 0.2], 100, 32, [1, 8, 16, 32]),
        ([1.0, 0.5, 0.3], 7, 4, [1, 2, 4]),  # of seven images eight cannot be in a batch
        ([1.0], 1, 1, [1]),
        ([], 100, 1, [1]),  # not even one fits: its own step will say so
    ],
)
def test_without_a_compiler_only_the_batch_grows(times: list[float], limit: int, chosen: int, tried: list[int]) -> None:
    machine = Machine({plain(size): seconds for size, seconds in zip(tried, times, strict=False)})
    tuning = machine.choose(prior_of(PLAIN, limit), limit)
    assert [each.batch_size for each in machine.tried[: len(tried)]] == tried
    assert tuning.chosen == plain(chosen)


def test_a_user_who_asks_for_compiled_steps_gets_no_plain_ones() -> None:
    machine = Machine({plain(8): 0.1, best(16): 3})
    assert machine.choose(best(16), only_compiled=True).chosen == best(16)
    assert all(each.program.compiled for each in machine.tried)


def test_no_trial_begins_that_would_outlast_the_time() -> None:
    """Two plain trials and one compiled take 64 s; of 100 s too few are left for another of 60."""
    machine = Machine(TABLES["the prior is the best"][0])
    tuning = machine.choose(best(16), seconds=100)
    assert (tuning.chosen, tuning.ended) == (best(16), "the time was over")
    assert machine.tried == [plain(1), plain(8), best(16)]
    assert machine.now - 100 == 2 * PLAIN_S + COMPILE_S


def test_a_short_run_is_not_worth_measuring_and_takes_the_prior() -> None:
    """A tenth of 100 updates of 0.01 s is a tenth of a second: less than the first trial took."""
    machine = Machine({plain(1): 0.01, plain(8): 0.005, best(16): 0.001})
    tuning = machine.choose(best(16), updates=100)
    assert machine.tried == [plain(1)]
    assert tuning.chosen == best(16) and tuning.seconds is None


def test_a_graph_that_no_gpu_has_captured_yet_is_tried_and_kept_only_if_it_gains() -> None:
    prior = Candidate(NO_GRAPH, 16)
    times = {plain(1): 9, plain(8): 8, prior: 3.0, best(16): 2.0}
    machine = Machine(times)
    budget = Budget(1e6, clock=lambda: machine.now)
    assert choose(ladder(prior, 1000, may_capture=True), machine.trial, budget, prior).chosen == best(16)
    refused = Machine({**times, best(16): 2.95})
    assert choose(ladder(prior, 1000, may_capture=True), refused.trial, budget, prior).chosen == prior
    untried = Machine(times)
    assert choose(ladder(prior, 1000), untried.trial, budget, prior).chosen == prior
    assert best(16) not in untried.tried


def test_what_is_known_costs_no_time_and_is_used_however_little_is_left() -> None:
    times, _, _ = TABLES["a graph costs, and more images gain"]
    machine = Machine(times)
    known = [plain(1), plain(8), best(16), Candidate(NO_GRAPH, 16)]

    def recalled(candidate: Candidate) -> float:
        assert candidate in known, "nothing is measured without time"
        return times[candidate]

    for seconds, updates in ((0.0, float("inf")), (240.0, 1.0)):
        budget = Budget(seconds, updates, clock=lambda: machine.now)
        tuning = choose(ladder(best(16), 1000), recalled, budget, best(16), known.__contains__)
        assert (tuning.chosen, tuning.ended) == (Candidate(NO_GRAPH, 16), "the time was over")
        assert [each.candidate for each in tuning.trials] == known


def test_a_compilation_beside_the_prior_does_not_begin_in_a_few_seconds() -> None:
    machine = Machine(TABLES["the prior is the best"][0])
    budget = Budget(25.0, clock=lambda: machine.now)
    tuning = choose(ladder(best(16), 1000), machine.trial, budget, best(16), {best(16)}.__contains__)
    assert machine.tried == [plain(1), plain(8), best(16)] and tuning.ended == "the time was over"


@pytest.mark.parametrize(
    ("limit", "program", "expected"), [(3, BEST, 3), (100, BEST, 16), (100, PLAIN, 8), (2, PLAIN, 2)]
)
def test_the_prior_has_no_more_images_than_there_are(limit: int, program: StepProgram, expected: int) -> None:
    assert prior_of(program, limit) == Candidate(program, expected)


# Trials.

CAPTURED = StepProgram(compiled=True, backend="aot_eager")


@pytest.mark.parametrize("candidate", [plain(3), Candidate(CAPTURED, 2)], ids=str)
def test_a_trial_gives_the_seconds_of_a_step_and_image(candidate: Candidate) -> None:
    config = EmbedConfig(steps=1, target_loss=1e9, stop_plateau=1.0, plateau_steps=1)
    assert StepTrial(LinearGenerator(), features, config)(candidate) > 0


def test_the_images_of_a_trial_are_no_flat_ones() -> None:
    trial = StepTrial(LinearGenerator(), features, EmbedConfig())
    first, second = trial.image(0), trial.image(1)
    assert first.std() > 1 and not np.array_equal(first, second)
    conditional = LinearGenerator()
    conditional.c_dim = 2
    assert StepTrial(conditional, features, EmbedConfig()).image(3).shape == first.shape


def without_gradient(variable: torch.Tensor, target: torch.Tensor, target_features: list[torch.Tensor]) -> object:
    """What a compiler makes that loses the gradient without an error."""
    del target, target_features
    loss = torch.ones(len(variable), dtype=variable.dtype)
    return 0 * variable.sum() + loss.sum(), torch.ones(len(variable), 5, dtype=variable.dtype), loss


def test_a_program_with_a_gradient_of_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: without_gradient)
    with pytest.raises(TrialFailedError, match="could not be compiled"):
        StepTrial(LinearGenerator(), features, EmbedConfig())(Candidate(CAPTURED, 2))


def test_a_graph_that_leaves_the_latents_as_they_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its losses are those of the start, whatever the check of the compiled program found."""
    advance = Embedder.advance

    def frozen(self: Embedder, stop: object) -> object:
        results = advance(self, stop)
        if self.program.compiled:
            slots = self.slots
            slots.history[:] = slots.history[:, :1].clone()
        return results

    monkeypatch.setattr(Embedder, "advance", frozen)
    with pytest.raises(TrialFailedError, match=r"its loss after \d+ steps is .* where the plain step's is"):
        StepTrial(LinearGenerator(), features, EmbedConfig())(Candidate(CAPTURED, 2))


def test_too_little_memory_is_the_reason_of_a_failed_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Embedder, stop: object) -> object:
        if self.config.batch_size > 1:
            raise torch.OutOfMemoryError("scripted")
        return advance(self, stop)

    advance = Embedder.advance
    monkeypatch.setattr(Embedder, "advance", full)
    with pytest.raises(TrialFailedError, match="too little memory"):
        StepTrial(LinearGenerator(), features, EmbedConfig())(plain(2))
