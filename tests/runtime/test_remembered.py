"""What is remembered of the machine's speed, and what a dry run says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from i2s_batch.config import EmbedConfig
from i2s_batch.embedding import engine
from i2s_batch.embedding.engine import Engine
from i2s_batch.inversion.step_program import PLAIN
from i2s_batch.inversion.tuning import Candidate, TrialFailedError
from i2s_batch.models import random_generator, random_vgg
from i2s_batch.run.estimates import Work, estimates
from i2s_batch.run.speed_cache import (
    Measured,
    figures_file,
    load_measured,
    load_trials,
    save_measured,
    tuning_lock,
)

HOW = ("plain", "torch 2.15")
FAST = Measured("some GPU", "abc", "fp32", 8, 0.002, *HOW)
SLOW = Measured("some GPU", "abc", "fp32", 1, 0.004, *HOW)
CPU = Measured("cpu", "abc", "fp32", 2, 0.5, *HOW)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_last_figure_of_each_kind_is_kept(cache: Path) -> None:
    lines: list[str] = []
    for one in (FAST, SLOW, Measured("some GPU", "abc", "fp32", 8, 9.0, *HOW), FAST):
        save_measured(one, lines.append)
    assert sorted(load_measured(lines.append), key=lambda one: one.seconds) == [FAST, SLOW]
    assert figures_file().is_relative_to(cache)
    assert [path.name for path in figures_file().parent.iterdir()] == ["measured.json"]
    assert lines == []


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '[{"device": "x"}]', json.dumps([vars(FAST) | {"seconds": -1.0}]), "\udcff", "7"]
)
def test_a_damaged_file_is_ignored_with_a_line_and_written_anew(text: str) -> None:
    figures_file().parent.mkdir(parents=True)
    figures_file().write_text(text, errors="surrogateescape")
    lines: list[str] = []
    assert load_measured(lines.append) == []
    assert len(lines) == 1 and "is ignored" in lines[0]
    save_measured(FAST, lines.append)
    assert load_measured(lines.append) == [FAST]


def test_figures_of_an_earlier_version_are_not_taken_and_stop_nothing() -> None:
    """They did not say whether the step was compiled, nor by which PyTorch."""
    later = ("program", "software", "failure", "image_s", "start_s")
    old = {name: value for name, value in vars(SLOW).items() if name not in later}
    figures_file().parent.mkdir(parents=True)
    figures_file().write_text(json.dumps([old, vars(FAST)]))
    lines: list[str] = []
    assert load_measured(lines.append) == [FAST] and lines == []


def test_a_compiled_figure_is_another_one() -> None:
    compiled = Measured("some GPU", "abc", "fp32", 8, 0.001, "compiled", "torch 2.15")
    for one in (FAST, compiled):
        save_measured(one, print)
    assert load_measured(print) == [FAST, compiled]


def test_a_cache_that_cannot_be_written_stops_nothing(cache: Path) -> None:
    (cache / "i2s_batch").write_text("a file, where a folder should be")
    lines: list[str] = []
    save_measured(FAST, lines.append)
    assert any("not cached" in line for line in lines)


def test_an_estimate_takes_the_fastest_batch_of_each_device() -> None:
    other = Measured("cpu", "other", "fp32", 2, 0.1, *HOW)
    work = Work("abc", "fp32", images=720, steps=5000)
    cpu, gpu = estimates([FAST, SLOW, CPU, other], work, 4, 2.5)
    assert (gpu.device, gpu.batch_size) == ("some GPU", 8)
    assert gpu.hours == pytest.approx(0.5)
    assert gpu.cost == pytest.approx(2 * 2.5)
    assert cpu.hours == pytest.approx(125)
    assert estimates([FAST], Work("abc", "bf16", 1, 1), None, None) == []
    assert "cost" not in estimates([FAST], Work("abc", "fp32", 1, 1), None, None)[0].to_json()
    assert list(gpu.to_json()) == ["device", "batch_size", "seconds_per_step_and_image", "workers", "hours", "cost"]


def test_an_estimate_counts_what_is_no_step_and_takes_the_step_that_a_run_takes() -> None:
    """The slowest worker has three of five images; a CPU compiles only where that is asked for."""
    plain = Measured("cpu (x86_64, 1 threads)", "abc", "fp32", 4, 0.5, "plain", "torch 2.15", 1.0, 7.0)
    compiled = replace(plain, program="compiled", seconds=0.1)
    (one,) = estimates([plain, compiled], Work("abc", "fp32", images=5, steps=10), 2, 1.0)
    assert 3600 * one.hours == pytest.approx(7 + 3 * (10 * 0.5 + 1)) and one.cost == pytest.approx(2 * one.hours)
    (other,) = estimates([plain, compiled], Work("abc", "fp32", 5, 10, compiled=True), 2, None)
    assert other.seconds_per_step_and_image == 0.1
    (few,) = estimates([plain], Work("abc", "fp32", images=2, steps=10, batch_size=1), 8, None)
    assert (few.workers, few.batch_size) == (2, 4), "no more workers than images; the batch that there is"
    assert estimates([plain], Work("abc", "fp32", images=0, steps=10), 8, None)[0].hours == 0


FAILS = Measured("some GPU", "abc", "fp32", 32, 0.0, *HOW, failure="too little memory")


def test_a_failure_is_cached_and_is_no_figure() -> None:
    for one in (FAST, FAILS):
        save_measured(one, print)
    assert load_measured(print) == [FAST] and load_trials(print) == [FAST, FAILS]
    assert [sorted(one) for one in json.loads(figures_file().read_bytes())] == [
        ["batch_size", "device", "generator", "precision", "program", "seconds", "software"],
        ["batch_size", "device", "failure", "generator", "precision", "program", "seconds", "software"],
    ], "a figure is as earlier versions read it"


@pytest.mark.parametrize("change", [{"failure": 3}, {"failure": "x", "seconds": 1.0}, {"seconds": 0.0}])
def test_a_failure_with_a_figure_is_damage(change: dict) -> None:
    figures_file().parent.mkdir(parents=True)
    figures_file().write_text(json.dumps([vars(FAST) | change]))
    lines: list[str] = []
    assert load_trials(lines.append) == [] and "is ignored" in lines[0]


def test_one_process_measures_at_a_time() -> None:
    with tuning_lock(1.0) as first:
        assert first
        with tuning_lock(0.0) as second:
            assert not second
    with tuning_lock(0.0) as again:
        assert again


def test_without_a_file_to_lock_all_may_measure(cache: Path) -> None:
    (cache / "i2s_batch").write_text("a file, where a folder should be")
    with tuning_lock(0.0) as may:
        assert may


class ScriptedTrial:
    """Measures by a table; batches of more than eight images fail."""

    measured: ClassVar[list[Candidate]] = []
    lasts: ClassVar[bool] = True

    def __init__(self, *_: object) -> None:
        pass

    def __call__(self, candidate: Candidate) -> float:
        self.measured.append(candidate)
        if candidate.batch_size > 8:
            raise TrialFailedError("too little memory", lasts=self.lasts)
        return 1.0 / candidate.batch_size


def test_what_was_measured_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder of a worker, here on a CPU: figures and failures are cached for each precision and optimiser."""
    monkeypatch.setattr(engine, "StepTrial", ScriptedTrial)
    monkeypatch.setattr(ScriptedTrial, "measured", [])
    generator, features = random_generator("stylegan1", 8, seed=1, width=8, channel_base=32), random_vgg()
    plain = [Candidate(PLAIN, size) for size in (1, 8, 16)]
    for precision, embed in (
        ("fp32", EmbedConfig()),
        ("fp64", EmbedConfig()),
        ("fp32", EmbedConfig(optimizer="lbfgs")),
    ):
        for _ in range(2):
            tuning = Engine(generator, features, "cpu", precision).climb(embed, limit=32, seconds=100)
            assert tuning.chosen == Candidate(PLAIN, 8) and tuning.seconds == 0.125
            assert [each.candidate for each in tuning.trials] == plain
            assert tuning.trials[-1].failure == "too little memory"
    assert ScriptedTrial.measured == 3 * plain
    assert {(one.precision, one.program) for one in load_trials(print)} == {
        *(("fp32", "plain"), ("fp64", "plain"), ("fp32", "plain, lbfgs"))
    }


def test_a_failure_that_may_be_mended_is_tried_again_by_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program may have held the memory, and a compiler may be installed since."""
    monkeypatch.setattr(engine, "StepTrial", ScriptedTrial)
    monkeypatch.setattr(ScriptedTrial, "measured", [])
    monkeypatch.setattr(ScriptedTrial, "lasts", False)
    generator, features = random_generator("stylegan1", 8, seed=1, width=8, channel_base=32), random_vgg()
    for _ in range(2):
        tuning = Engine(generator, features, "cpu", "fp32").climb(EmbedConfig(), limit=32, seconds=100)
        assert tuning.chosen == Candidate(PLAIN, 8) and tuning.trials[-1].failure == "too little memory"
    assert [each.batch_size for each in ScriptedTrial.measured] == [1, 8, 16, 16]
    assert not any(one.failure for one in load_trials(print))


def test_a_cpu_is_not_measured_and_a_busy_lock_gives_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "StepTrial", None)
    generator, features = random_generator("stylegan1", 8, seed=1, width=8, channel_base=32), random_vgg()
    worker = Engine(generator, features, "cpu", "fp32")
    assert worker.tune(EmbedConfig(), limit=1, seconds=100).chosen == Candidate(PLAIN, 1)
    assert worker.tune(EmbedConfig(), limit=100, seconds=100).chosen == Candidate(PLAIN, 4)
    monkeypatch.setattr(engine, "LOCK_MARGIN_S", 0.0)
    with tuning_lock(0.0):
        tuning = worker.climb(EmbedConfig(), limit=100, seconds=0.01)
    assert (tuning.chosen, tuning.trials) == (Candidate(PLAIN, 8), ())
    assert tuning.ended == "another worker of this machine still measures"
