"""What a run says of itself, by a clock that the test turns."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.errors import StorageError
from i2s_batch.output import summary_file as summary_module
from i2s_batch.output.run_state import RunState
from i2s_batch.output.run_summary import Flight, RunSummary
from i2s_batch.output.summary_file import SummaryFile
from i2s_batch.run import progress as progress_module
from i2s_batch.run.progress import Progress
from i2s_batch.schema.settings import GeneratorRecord
from i2s_batch.storage import open_store
from i2s_batch.storage.local import LocalStore


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds."""
    time = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: time[0])
    return time


def new_state(images: int = 10) -> RunState:
    return RunState(
        done=np.zeros(images, bool),
        count_images=lambda done: int(np.count_nonzero(done)),
        logged={},
        published=set(),
        checkpointed=set(),
        deaths={},
    )


def test_rate_and_time_left_count_the_images_in_flight_and_not_the_start(now: list[float]) -> None:
    state, lines = new_state(), []
    progress = Progress(state, steps=100, report=lines.append)
    progress.started("a")
    now[0] = 19.0  # the worker loads its networks
    progress.ready("a")
    now[0] = 20.0
    progress.reported("a", 10, {"x": 5, "y": 5})
    now[0] = 29.0
    progress.reported("a", 90, {"x": 50, "y": 50})
    progress.tick()
    assert lines == [], "a line every 30 s"
    now[0] = 30.0
    progress.tick()
    # 90 updates in 10 s; 1000 - 100 are left, at 9 a second.
    assert lines == ["0/10 images done (0 failed), 2 in flight, 2 min left, 9.0 steps/s, 324 images/h"]
    state.done[:2] = True
    state.statuses.update(ok=1, unreadable=1)
    progress.lost("a")
    assert progress.line().startswith("2/10 images done (1 failed), 0 in flight")
    summary = progress.summary(finished=False)
    assert (summary.done, summary.this_session.steps) == (2, 100) and not summary.finished
    assert (summary.steps_per_second, summary.images_per_hour) == (9.0, 324.0)
    assert summary.eta_seconds == pytest.approx(800 / 9, abs=0.1)


def test_before_there_is_a_rate_the_line_says_what_is_waited_for(now: list[float]) -> None:
    progress = Progress(new_state(), steps=100, report=lambda line: None)
    progress.phase("joining or starting the cluster")
    assert progress.line().endswith("0 in flight, joining or starting the cluster")
    progress.phase("")
    for worker in ("a", "b"):
        progress.started(worker)
    now[0] = 12.0
    progress.tick("waiting for a node with a GPU free for a")
    assert progress.line().endswith("0 in flight, waiting for a node with a GPU free for a (12 s)")
    progress.tick()
    assert progress.line().endswith("0 in flight, loading the networks (12 s)")
    progress.ready("a")
    assert progress.line().endswith("first steps (1 of 2 workers ready)")
    progress.reported("a", 5, {"x": 5})
    assert progress.line().endswith("1 in flight, first steps (1 of 2 workers ready)"), "one report is no rate"
    now[0] = 14.0
    progress.reported("a", 5, {"x": 10})
    assert "2.5 steps/s" in progress.line()
    for worker in ("a", "b"):
        progress.lost(worker)
        progress.started(worker + "2")
    assert progress.line().endswith("0 in flight, loading the networks (0 s)")


def test_a_stall_is_told_and_then_forgotten(now: list[float]) -> None:
    progress = Progress(new_state(1000), steps=100, report=lambda line: None)
    progress.started("a")
    progress.ready("a")

    def work(seconds: int) -> None:
        for _ in range(seconds):
            now[0] += 1
            progress.reported("a", 10, {"x": 1})

    work(600)
    assert progress.summary(finished=False).steps_per_second == 10.0
    now[0] += 90
    assert progress.line().endswith("in flight, no step for 90 s".replace("90 s", "2 min"))
    assert progress.summary(finished=False).steps_per_second == 5.0, "half of the last three minutes"
    now[0] += 600
    assert progress.line().endswith("no step for 12 min")
    stalled = progress.summary(finished=False)
    assert (stalled.steps_per_second, stalled.eta_seconds) == (0.0, None)
    work(180)
    assert progress.summary(finished=False).steps_per_second == 10.0


def test_the_rate_of_many_workers_does_not_hang_on_when_they_report(now: list[float]) -> None:
    progress = Progress(new_state(1000), steps=100, report=lambda line: None)
    for report in range(4000):
        now[0] = report / 100
        progress.reported(f"w{report % 100}", 3, {})
    assert progress.summary(finished=False).steps_per_second == pytest.approx(300, rel=0.01)


def test_the_summary_names_the_images_that_are_in_flight_longest(now: list[float]) -> None:
    progress = Progress(new_state(100), steps=100, report=lambda line: None)
    progress.reported("a", 4, {"old": 1, "gone": 1})
    now[0] = 10.0
    progress.reported("a", 9, {"old": 9})
    progress.reported("b", 9, {f"{number:02d}": 2 for number in range(40)})
    now[0] = 15.0
    summary = progress.summary(finished=False)
    assert summary.in_flight == 41 and len(summary.longest_in_flight) == 20
    assert summary.longest_in_flight[0] == Flight("old", steps=9, worker="a", seconds=15.0)
    assert {named.seconds for named in summary.longest_in_flight[1:]} == {5.0}


def summary_of(images: int) -> RunSummary:
    return Progress(new_state(images), steps=1, report=print).summary(finished=False)


def images_on_disk(folder: Path) -> int:
    return json.loads((folder / "summary.json").read_text())["images"]


def test_a_store_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "SUMMARY_EVERY_S", 0.0)
    hanging, go_on = threading.Event(), threading.Event()
    original = LocalStore.put

    def hang(self: LocalStore, key: str, data: bytes) -> None:
        hanging.set()
        assert go_on.wait(60)
        original(self, key, data)

    monkeypatch.setattr(LocalStore, "put", hang)
    made: list[int] = []
    file = SummaryFile(open_store(str(tmp_path)), report=pytest.fail)

    def make() -> RunSummary:
        made.append(len(made))
        return summary_of(made[-1])

    file.refresh(make)
    assert hanging.wait(60)
    file.refresh(make)
    file.refresh(make)
    assert made == [0], "nothing piles up while one is being written"
    go_on.set()
    file.finished(summary_of(9))
    file.close()
    assert images_on_disk(tmp_path) == 9


def test_a_summary_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_module, "SUMMARY_EVERY_S", 0.0)
    notes: list[str] = []
    file = SummaryFile(open_store(str(tmp_path)), notes.append)

    def refuse(self: LocalStore, key: str, data: bytes) -> None:
        raise StorageError(f"{key}: the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", refuse)
        for _ in range(3):
            file.stopped(summary_of(1))
        with pytest.raises(StorageError, match="the disk is full"):
            file.finished(summary_of(2))
    assert len(notes) == 1 and "the disk is full" in notes[0] and "the run continues" in notes[0]
    file.stopped(summary_of(3))
    file.close()
    assert images_on_disk(tmp_path) == 3


def test_the_keys_of_the_summary_stay_as_other_programs_read_them(now: list[float]) -> None:
    progress = Progress(new_state(3), steps=2, report=print)
    progress.reported("a", 1, {"x": 1})
    summary = progress.summary(finished=False)
    text = json.dumps(
        {
            "finished": False,
            "updated_at": summary.updated_at,
            "images": 3,
            "done": 0,
            "statuses": {},
            "retried": 0,
            "workers_ready": 0,
            "in_flight": 1,
            "longest_in_flight": [{"image_id": "x", "steps": 1, "worker": "a", "seconds": 0.0}],
            "waiting_for": "first steps (0 of 0 workers ready)",
            "steps_per_second": None,
            "images_per_hour": None,
            "eta_seconds": None,
            "this_session": {"images": 0, "steps": 1, "seconds": 0.0},
        },
        indent=2,
    )
    assert summary.encode().decode() == text
    networks = {"fingerprint": "f", "family": "stylegan1", "origin": "o", "latent_shape": [4, 8]}
    ended = replace(progress.summary(finished=True), generator=GeneratorRecord("f", "stylegan1", "o", (4, 8)))
    assert list(json.loads(ended.encode()).items())[-2:] == [("generator", networks), ("vgg", None)]
