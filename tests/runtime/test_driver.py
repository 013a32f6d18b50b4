"""What the driver decides when workers die: a scripted pool, real storage. Real deaths are in test_ray.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig, ImageSettings
from i2s_batch.embedding.rows import LoadedImage, failed_row
from i2s_batch.embedding.units import EmbedUnit
from i2s_batch.errors import InternalError, RunFailedError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import RunState, read_deaths, scan
from i2s_batch.output.units import Finished, Task
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.assembly import Assembler, Publisher
from i2s_batch.run.begun import BegunUnits
from i2s_batch.run.driver import Driver
from i2s_batch.run.messages import Report
from i2s_batch.run.pools import Died, Event, Failed, Ready, Reported
from i2s_batch.run.progress import Progress
from i2s_batch.schema.metadata import shard_metadata
from i2s_batch.schema.row import Row
from i2s_batch.sources.source import list_images
from i2s_batch.storage import open_store
from i2s_batch.table.shards import read_table

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=5), shard_size=100)
SLOTS = 4

# What a scripted worker does with the tasks that it holds: its next event.
Script = Callable[["ScriptedPool", str, list[Task]], Event]


def crashed_rows(task: Task, error: Exception) -> list[Row]:
    return [failed_row(task, LoadedImage(), "crashed", error)]


class ScriptedPool:
    """Workers that finish every image at once, unless the script says otherwise."""

    def __init__(self, log: WorkLog, script: Script) -> None:
        self.log, self.script = log, script
        self.sent: list[tuple[str, list[Task]]] = []
        self.held: dict[str, list[Task]] = {}
        self.events: list[Event] = []
        self.ready_at_start = True
        self.ended: list[str] = []
        self.drained: set[str] = set()

    def start(self) -> str:
        name = f"w{len(self.held)}"
        self.held[name] = []
        self.events.append(Ready(name, SLOTS) if self.ready_at_start else Died(name, "no libcuda", False))
        return name

    def send(self, worker: str, tasks: list[Task], budget_s: float) -> None:
        self.sent.append((worker, tasks))
        self.held[worker] += tasks
        self.events.append(self.script(self, worker, self.held[worker]))

    def finish(self, worker: str, tasks: list[Task]) -> Reported:
        done = []
        for task in list(tasks):
            row = failed_row(task, LoadedImage(), "unreadable", ValueError("scripted"))
            done.append(self.log.write_rows(task, [row]))
            self.held[worker].remove(task)
        return Reported(worker, Report(finished=tuple(done)))

    def wait(self, timeout_s: float) -> list[Event]:
        events, self.events = self.events, []
        return events

    def waiting_for(self) -> str:
        return ""

    def draining(self) -> set[str]:
        return self.drained

    def end(self, worker: str) -> None:
        self.ended.append(worker)

    def checkpoint(self, workers: list[str], timeout_s: float) -> int:
        return sum(len(self.held[name]) for name in workers)

    def close(self) -> None:
        pass


class Scene:
    """A planned run over files that are never read."""

    def __init__(self, tmp_path: Path, images: int, script: Script) -> None:
        source = tmp_path / "in"
        source.mkdir(parents=True)
        for number in range(images):
            (source / f"{number:03d}.png").touch()
        self.out = str(tmp_path / "out")
        self.store = open_store(self.out)
        self.plan = Plan(list_images(str(source)), CONFIG.shard_size)
        self.log = WorkLog(self.out, latent_size=6)
        self.pool = ScriptedPool(self.log, script)
        self.after: dict[int, int] = {}
        self.alone = False  # whether the worker lives in the driver's process

    def unit(self, index: int) -> EmbedUnit:
        image_id = self.plan.image_id(index)
        settings = ImageSettings(CONFIG.embed)
        return EmbedUnit(
            index=index, image_ids=(image_id,), after=self.after.get(index), uri=image_id, settings=settings
        )

    def run(self, workers: int = 2, report: Callable[[str], None] = lambda line: None) -> RunState:
        state = scan(self.store, self.plan, self.log)
        metadata = shard_metadata(
            latent_shape=(2, 3), space="w+", generator="g", vgg="v", settings={}, code_version="test"
        )
        publisher = Publisher(Assembler(self.store, self.plan, self.log, metadata, lambda: None), self.plan, state)
        progress = Progress(state, CONFIG.embed.steps, report)
        begun = BegunUnits(self.store, state) if self.alone else None
        driver = Driver(state, self.pool, self.unit, crashed_rows, self.store, self.log, publisher, progress, begun)
        rounds = iter(range(2000))
        try:
            driver.run(workers, check_stop=lambda: next(rounds))
            publisher.finish()
        finally:
            publisher.close()
        return state


def poison(*bad: str) -> Script:
    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        if any(task.image_id in bad for task in tasks):
            return Died(worker, "killed by a picture", preempted=False)
        return pool.finish(worker, tasks)

    return script


def test_a_poison_picture_becomes_a_row_after_three_deaths_and_takes_nobody_with_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 20, poison("003.png", "011.png"))
    state = scene.run()
    rows = {row["image_id"]: row for row in read_table(scene.out).to_pylist()}
    assert len(rows) == 20
    assert {name for name, row in rows.items() if row["status"] == "crashed"} == {"003.png", "011.png"}
    assert rows["003.png"]["attempts"] == 3 and "3 workers died" in rows["003.png"]["error"]
    last_tries = [tasks for _, tasks in scene.pool.sent if any(task.attempts == 3 for task in tasks)]
    assert last_tries and all(len(tasks) == 1 for tasks in last_tries), "the third try is alone"
    assert state.remaining == 0 and read_deaths(scene.store) == state.deaths


def test_deaths_are_remembered_by_the_next_driver(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 1, poison("000.png"))
    scene.store.put(RunLayout.deaths, b'{"0": 2}')
    scene.run(workers=1)
    assert len(scene.pool.sent) == 1, "one more death is the third"
    assert read_table(scene.out)["status"].to_pylist() == ["crashed"]


def test_preemptions_are_not_counted(tmp_path: Path) -> None:
    times = iter(range(1000))

    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        return Died(worker, "spot", preempted=True) if next(times) < 30 else pool.finish(worker, tasks)

    scene = Scene(tmp_path, 5, script)
    state = scene.run()
    assert state.deaths == {} and set(read_table(scene.out)["status"].to_pylist()) == {"unreadable"}


def test_a_fleet_that_dies_at_start_stops_the_run_with_the_reason(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 5, poison())
    scene.pool.ready_at_start = False
    with pytest.raises(RunFailedError, match=r"3 workers died one after the other .*: no libcuda"):
        scene.run(workers=8)


def test_a_fleet_that_dies_on_every_picture_stops_the_run(tmp_path: Path) -> None:
    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        return Died(worker, "CUDA error", preempted=False)

    scene = Scene(tmp_path, 90, script)
    with pytest.raises(RunFailedError, match="10 workers died one after the other"):
        scene.run()


def test_deaths_of_a_machine_short_of_memory_blame_no_image_but_stop_the_run(tmp_path: Path) -> None:
    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        return Died(worker, "low on memory", preempted=False, memory=True)

    scene = Scene(tmp_path, 5, script)
    with pytest.raises(RunFailedError, match=r"10 workers died one after the other .*: low on memory"):
        scene.run()
    assert read_deaths(scene.store) == {}


def test_a_bug_stops_the_run_and_names_worker_and_images(tmp_path: Path) -> None:
    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        return Failed(worker, ZeroDivisionError("division by zero"))

    with pytest.raises(InternalError, match=r"worker w0 failed with ZeroDivisionError: .* '000\.png'") as stop:
        Scene(tmp_path, 3, script).run(workers=1)
    assert isinstance(stop.value.__cause__, ZeroDivisionError) and "ZeroDivisionError" in stop.value.details


def test_a_fault_of_the_storage_is_told_as_it_is(tmp_path: Path) -> None:
    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        return Failed(worker, StorageError("s3://gone: no such bucket"))

    with pytest.raises(StorageError, match="no such bucket"):
        Scene(tmp_path, 3, script).run()


def test_a_draining_worker_gives_its_images_to_others(tmp_path: Path) -> None:
    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        if worker == "w0":
            pool.drained = {"w0"}
            return Reported(worker, Report(in_flight={task.image_id: 3 for task in tasks}))
        return pool.finish(worker, tasks)

    scene = Scene(tmp_path, 10, script)
    state = scene.run()
    assert scene.pool.ended == ["w0"] and state.deaths == {}
    moved = [task for worker, tasks in scene.pool.sent if worker != "w0" for task in tasks if task.resume]
    assert len(moved) == len(scene.pool.held["w0"]) > 0, "they go on from their checkpoints"


@pytest.mark.parametrize("preempted", [True, False])
def test_a_row_that_was_durable_before_its_worker_could_report_is_not_made_again(
    tmp_path: Path, preempted: bool
) -> None:
    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        if worker == "w0":
            for task in tasks:
                row = failed_row(task, LoadedImage(), "ok", ValueError("scripted"))
                pool.log.write_rows(task, [row])
            return Died(worker, "right after writing", preempted)
        return pool.finish(worker, tasks)

    scene = Scene(tmp_path, 3, script)
    scene.store.put(RunLayout.deaths, b'{"0": 2, "1": 2, "2": 2}')
    state = scene.run(workers=1)
    assert read_table(scene.out)["status"].to_pylist().count("ok") == len(scene.pool.held["w0"]) > 0
    assert state.statuses["ok"] == len(scene.pool.held["w0"])


def test_few_images_are_spread_over_the_workers(tmp_path: Path) -> None:
    """No worker queues what another worker's free slot could take."""
    scene = Scene(tmp_path, 7, poison())
    scene.run(workers=2)
    first = {worker: len(tasks) for worker, tasks in scene.pool.sent[:2]}
    assert first == {"w0": 4, "w1": 3}


def test_a_row_that_is_reported_twice_counts_once(tmp_path: Path) -> None:
    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        report = pool.finish(worker, tasks).report
        again = Finished(0, ("unreadable",))
        return Reported(worker, Report(finished=(*report.finished, again)))

    scene = Scene(tmp_path, 9, script)
    state = scene.run()
    assert sum(state.statuses.values()) == 9 == len(read_table(scene.out))


def linked(scene: Scene, after: dict[int, int]) -> None:
    """Let units of the plan wait for others."""
    scene.after = after


def handed_out(scene: Scene) -> list[int]:
    return [task.index for _, tasks in scene.pool.sent for task in tasks]


def test_a_unit_waits_for_the_one_that_it_needs(tmp_path: Path) -> None:
    """Unit 0 needs the last; the others need the one before them."""
    held_back: list[bool] = []

    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        held_back.append(len(tasks) == 1)
        return pool.finish(worker, tasks)

    scene = Scene(tmp_path, 6, script)
    linked(scene, {0: 5, 1: 0, 2: 1, 3: 2, 4: 3})
    assert scene.run(workers=3).remaining == 0
    assert handed_out(scene) == [5, 0, 1, 2, 3, 4] and all(held_back)
    assert [task.resume for _, tasks in scene.pool.sent for task in tasks] == [False, *[True] * 5]


def test_a_unit_that_waited_goes_on_after_the_deaths_of_the_one_that_it_needs(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 4, poison("003.png"))
    linked(scene, {0: 3, 1: 0})
    scene.run(workers=2)
    assert [index for index in handed_out(scene) if index != 2] == [3, 3, 3, 0, 1]


def test_a_suspect_waits_too(tmp_path: Path) -> None:
    """Two workers died with each of them in an earlier run."""
    scene = Scene(tmp_path, 3, lambda pool, worker, tasks: pool.finish(worker, tasks))
    linked(scene, {0: 2, 1: 0})
    scene.store.put(RunLayout.deaths, b'{"0": 2, "1": 2, "2": 2}')
    scene.run(workers=2)
    assert handed_out(scene) == [2, 0, 1]


class Nodes(ScriptedPool):
    """Workers that start on one node after the other, and in place of one that failed; their start is scripted."""

    def __init__(self, log: WorkLog, starts: dict[str, list[Event | None]]) -> None:
        super().__init__(log, lambda pool, worker, tasks: pool.finish(worker, tasks))
        self.starts, self.aside = starts, []
        self.turn = itertools.cycle(starts)
        self.failed: list[str] = []  # nodes of the events to come
        self.free: list[str] = []

    def start(self) -> str:
        name = f"w{len(self.held)}"
        self.held[name] = []
        free = self.free.pop(0) if self.free else None
        node = next(node for node in itertools.chain([free], self.turn) if node and node not in self.aside)
        event = self.starts[node].pop(0) if self.starts[node] else None
        if event is None:
            self.events.append(Ready(name, SLOTS))
        else:
            self.failed.append(node)
            self.events.append(replace(event, worker=name, node=node if len(self.starts) > 1 else ""))
        return name

    def wait(self, timeout_s: float) -> list[Event]:
        self.free, self.failed = self.failed, []
        return super().wait(timeout_s)

    def set_aside(self, node: str) -> bool:
        if set(self.starts) == {node, *self.aside}:
            return False
        self.aside.append(node)
        return True


DEAD = Died("", "no libcuda", preempted=False)
LACKING = "w{} on node b could not start (no usable AWS credentials; it is the worker that lacks them); "


def lacks() -> Failed:
    return Failed("", StorageError("no usable AWS credentials"), where=" on node b")


def run_on(tmp_path: Path, starts: dict[str, list[Event | None]], workers: int) -> tuple[Nodes, list[str]]:
    scene = Scene(tmp_path, 10, lambda *_: pytest.fail("unused"))
    scene.pool = pool = Nodes(scene.log, starts)
    lines: list[str] = []
    scene.run(workers, lines.append)
    assert len(read_table(scene.out)) == 10
    return pool, lines


def test_a_node_on_which_workers_fail_is_set_aside_and_the_run_goes_on(tmp_path: Path) -> None:
    pool, lines = run_on(tmp_path, {"bad": [lacks()], "good": []}, workers=2)
    assert pool.aside == ["bad"] and pool.ended == ["w0"]
    assert [line for line in lines if "could not start" in line] == [
        LACKING.format(0) + "its node is set aside, and the run goes on with the others"
    ]


def test_a_node_on_which_workers_die_is_tried_again_before_it_is_set_aside(tmp_path: Path) -> None:
    pool, lines = run_on(tmp_path, {"good": [], "bad": [DEAD] * 9}, workers=2)
    assert pool.aside == ["bad"]
    told = [line for line in lines if "could not start (no libcuda)" in line]
    assert [line.endswith("another is started") for line in told] == [True, True, False]
    pool, lines = run_on(tmp_path / "flaky", {"good": [], "bad": [DEAD] * 2}, workers=2)
    assert pool.aside == [] and len(pool.held) == 4, "the third start succeeded"


def test_the_run_ends_with_the_error_of_the_last_node(tmp_path: Path) -> None:
    told = r"^w\d on node b: no usable AWS credentials; it is the worker that lacks them$"
    with pytest.raises(StorageError, match=told):
        run_on(tmp_path, {"one": [lacks()], "two": [lacks()], "three": [lacks()]}, workers=3)
    with pytest.raises(RunFailedError, match=r"3 workers died one after the other.*no libcuda"):
        run_on(tmp_path / "dead", {"one": [DEAD] * 9, "two": [DEAD] * 9}, workers=2)


def test_a_bad_gpu_of_the_last_node_costs_its_worker_alone(tmp_path: Path) -> None:
    pool, lines = run_on(tmp_path, {"only": [None, lacks()]}, workers=2)
    assert [line for line in lines if "could not start" in line] == [
        LACKING.format(1) + "the run goes on with 1 workers"
    ]
    assert len(pool.held) == 2, "it was not replaced"


def test_a_device_that_kills_each_worker_at_its_start_is_done_without(tmp_path: Path) -> None:
    """As where a GPU of eight is broken: Ray gives it to the worker that replaces the last one."""
    pool, lines = run_on(tmp_path, {"only": [None, DEAD, DEAD, DEAD, DEAD]}, workers=2)
    assert "w3 could not start (no libcuda); the run goes on with 1 workers" in lines
    assert len(pool.held) == 4, "it was replaced twice"


def test_a_device_that_breaks_again_and_again_is_done_without(tmp_path: Path) -> None:
    """Eight workers, one of whose devices fails whatever it is given: its images are done by the other seven."""
    on_the_bad_one = ["w3"]

    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        if worker != on_the_bad_one[-1]:
            return pool.finish(worker, tasks[:1])
        on_the_bad_one.append(f"w{len(pool.held)}")  # the next that is started
        return Died(worker, "CUDA error", preempted=False, device=True)

    scene, lines = Scene(tmp_path, 400, script), list[str]()
    state = scene.run(8, lines.append)
    assert set(read_table(scene.out)["status"].to_pylist()) == {"unreadable"} and state.remaining == 0
    assert "its device failed 3 times; the run goes on with 7 workers" in lines
    assert [line.partition(" ")[0] for line in lines if "died (CUDA error)" in line] == ["w3", "w8", "w9"]
    lost = [sum(worker == bad for worker, _ in scene.pool.sent) for bad in on_the_bad_one]
    assert lost == [1, 1, 1, 0], "no more than the images in flight were lost"


def test_what_was_begun_by_a_driver_that_died_counts_as_a_death_of_its_worker(tmp_path: Path) -> None:
    """Drivers with the worker in their own process, one after the other: an image ends each until it is given up."""

    class KilledError(BaseException):
        """What no handler of the driver sees: the process is gone."""

    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        if any(task.image_id == "003.png" for task in tasks):
            raise KilledError
        return pool.finish(worker, tasks)

    scene = Scene(tmp_path, 20, script)
    scene.alone = True
    for deaths in (1, 2, 3):
        with pytest.raises(KilledError):
            scene.run(workers=1)
        assert read_deaths(scene.store)[3] == deaths
        scene.pool = ScriptedPool(scene.log, script)
    scene.run(workers=1)
    rows = {row["image_id"]: row["status"] for row in read_table(scene.out).to_pylist()}
    assert [name for name, status in rows.items() if status == "crashed"] == ["003.png"] and len(rows) == 20


def test_units_are_harmless_once_the_worker_has_made_a_step_with_them(tmp_path: Path) -> None:
    seen: list[dict[int, int]] = []
    reports = [Report(waiting=1), Report(in_flight={"000.png": 1, "001.png": 1})]

    def script(pool: ScriptedPool, worker: str, tasks: list[Task]) -> Event:
        seen.append(read_deaths(scene.store))
        return Reported(worker, reports.pop(0)) if reports else pool.finish(worker, tasks)

    scene = Scene(tmp_path, 2, script)
    scene.alone = True
    scene.run(workers=1)
    assert seen == [{0: 1, 1: 1}, {0: 1, 1: 1}, {}] and not Path(scene.out, RunLayout.deaths).exists()
