"""Mutated checkpoints: one error type or whole weights, nothing runs, and memory is bounded.

`--fuzz long` reads 20,000 of them, and says what came of them; without it some hundreds are read.
"""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2s_batch.errors import CheckpointError
from i2s_batch.models import GeneratorWeights, VGGWeights, read_generator, read_vgg

from .fuzz import Victim, mutated, nothing_runs, victims

MEGABYTE = 1 << 20
# What reading may allocate: some copies of the file (text takes up to four bytes a letter), the records that the
# instructions of its pickles make, and the noise that a file may leave out.
BOUND = 100 * MEGABYTE
COPIES = 8
INPUTS = {"short": 720, "long": 20_000}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> list[Victim]:
    return victims(tmp_path_factory.mktemp("victims"))


@pytest.fixture
def measured() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def read(path: Path, name: str) -> GeneratorWeights | VGGWeights | CheckpointError:
    """The weights, or the CheckpointError; any other exception fails the test."""
    try:
        return (read_vgg if name.startswith("VGG") else read_generator)(path)
    except CheckpointError as error:
        assert str(error).startswith(str(path)) and str(error).isprintable() and len(str(error)) <= 400
        return error


def test_the_victims_are_valid(tmp_path: Path, valid: list[Victim]) -> None:
    path = tmp_path / "file"
    for victim in valid:
        path.write_bytes(victim.data)
        with nothing_runs():
            assert not isinstance(read(path, victim.name), CheckpointError), victim.name
        assert len(victim.places) > 50


def test_mutated_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    valid: list[Victim],
    measured: None,
    pytestconfig: pytest.Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mutated"  # stays there if the interpreter crashes
    setting = pytestconfig.getoption("--fuzz")
    outcomes: Counter[tuple[str, bool]] = Counter()
    peaks: dict[str, int] = {}
    slowest = 0.0
    for number in range(INPUTS[setting]):
        victim, data = mutated(number, valid)
        path.write_bytes(data)
        tracemalloc.reset_peak()
        before, started = tracemalloc.get_traced_memory()[0], time.perf_counter()
        with nothing_runs():
            outcome = read(path, victim.name)
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak <= BOUND + COPIES * len(data), f"input {number}, {victim.name}: {peak >> 20} MB"
        assert [file.name for file in tmp_path.iterdir()] == ["mutated"]
        slowest = max(slowest, time.perf_counter() - started)
        peaks[victim.name] = max(peaks.get(victim.name, 0), peak)
        outcomes[victim.name, isinstance(outcome, CheckpointError)] += 1
    for victim in valid:
        refused, read_whole = outcomes[victim.name, True], outcomes[victim.name, False]
        assert refused > 0.3 * (refused + read_whole), f"{victim.name}: mutations that change nothing prove nothing"
    if setting == "long":
        with capsys.disabled():
            print(f"\n{sum(outcomes.values())} inputs, slowest {slowest:.2f} s")
            for victim in valid:
                refused, whole = outcomes[victim.name, True], outcomes[victim.name, False]
                size, peak = len(victim.data) >> 10, peaks[victim.name] / MEGABYTE
                print(f"{victim.name}, {size} KiB: {refused} refused, {whole} read, peak {peak:.1f} MiB")
