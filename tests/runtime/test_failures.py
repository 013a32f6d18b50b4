"""Counting statuses: shards of one status and of several, with later tries in the log, in units of one and of more."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import RunState, read_deaths, scan
from i2s_batch.output.units import Task, Unit
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.assembly import Assembler, Publisher
from i2s_batch.run.failures import count_statuses, reset_failures
from i2s_batch.schema.codec import encode_shard, table_schema
from i2s_batch.schema.metadata import shard_metadata
from i2s_batch.schema.row import Row
from i2s_batch.storage import open_store
from i2s_batch.table.shards import read_statuses, read_table

METADATA = shard_metadata(latent_shape=(2, 3), space="w+", generator="g", vgg="v", settings={}, code_version="test")
SHARD, IMAGES = 300, 1000


class Scene:
    """A run of a thousand images whose shards have the given statuses; shard 3 is not published."""

    def __init__(self, out: Path, unit_size: int, statuses: np.ndarray) -> None:
        self.store = open_store(str(out))
        ids = [f"{number:04d}.png" for number in range(IMAGES)]
        self.plan = Plan(pa.table({"image_id": ids, "uri": ids}), SHARD, unit_size)
        self.log = WorkLog(str(out), latent_size=6)
        self.assembler = Assembler(self.store, self.plan, self.log, METADATA, lambda: None)
        self.statuses = statuses
        for shard in range(3):
            self.publish(shard)

    def publish(self, shard: int) -> None:
        self.store.put(RunLayout.shard(shard), encode_shard(self.rows(self.plan.shard_range(shard)), METADATA))

    def rows(self, images: range) -> pa.Table:
        schema = table_schema(6)
        columns = {field.name: pa.nulls(len(images), field.type) for field in schema}
        columns |= {"image_id": self.plan.rows(images)["image_id"], "status": pa.array(self.statuses[images])}
        return pa.table(columns, schema)

    def log_unit(self, unit: int, status: str) -> None:
        names = self.plan.rows(self.plan.unit_range(unit))["image_id"].to_pylist()
        now = datetime.now(UTC)
        rows = [Row(image_id=n, uri=n, status=status, attempts=1, space="w+", embedded_at=now) for n in names]
        self.log.write_rows(Task(Unit(index=unit, image_ids=tuple(names))), rows)

    def state(self) -> RunState:
        return scan(self.store, self.plan, self.log)


@pytest.fixture(params=[1, 7])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    statuses = np.full(IMAGES, "ok", object)
    statuses[[0, 299, 450, 451]] = "unreadable"  # shard 2 has one status throughout
    statuses[452] = "diverged"
    return Scene(tmp_path, request.param, statuses)


def test_rows_are_counted_once_and_a_later_try_counts(scene: Scene) -> None:
    state = scene.state()
    count_statuses(state, scene.assembler, scene.log, scene.plan)
    assert state.statuses == Counter(ok=895, unreadable=4, diverged=1)
    assert (state.images, state.remaining_images) == (1000, 100)
    unit, last = scene.plan.unit_of(452), scene.plan.units - 1
    scene.log_unit(unit, "crashed")
    scene.log_unit(last, "crashed")
    again = scene.state()
    count_statuses(again, scene.assembler, scene.log, scene.plan)
    images = scene.plan.unit_range(unit)
    replaced = Counter(scene.statuses[[i for i in images if scene.statuses[i] != "ok"]].tolist())
    new = Counter(crashed=sum(replaced.values()) + len(scene.plan.unit_range(last)))
    assert again.statuses == Counter(ok=895, unreadable=4, diverged=1) - replaced + new


def test_failures_are_forgotten_by_the_unit(scene: Scene) -> None:
    state = scene.state()
    given_up, dying = scene.plan.unit_of(451), scene.plan.units_of(3)[1]
    state.deaths = {given_up: 3, dying: 1, scene.plan.units: 2}
    assert reset_failures(state, scene.assembler, scene.log, scene.plan, scene.store) == 5
    assert state.deaths == {dying: 1}, "a unit that was given up is tried as often again, and the others count on"
    assert read_deaths(scene.store) == {dying: 1}
    units = {scene.plan.unit_of(image) for image in (0, 299, 450, 451, 452)}
    assert set(np.flatnonzero(~state.done)) == units | set(scene.plan.units_of(3))
    count_statuses(state, scene.assembler, scene.log, scene.plan)
    assert sum(state.statuses.values()) == 1000 - state.remaining_images


def test_a_published_shard_leaves_nothing_behind(scene: Scene) -> None:
    """What is known of logged rows must not grow with the run."""
    state = scene.state()
    publisher = Publisher(scene.assembler, scene.plan, state)
    try:
        for unit in scene.plan.units_of(3):
            scene.log_unit(unit, "ok")
            state.done[unit] = True
            publisher.logged(unit)
        publisher.finish()
    finally:
        publisher.close()
    assert state.logged == {} and read_table(scene.store.url).num_rows == 1000
    assert list(scene.log.logged_rows()) == []


def test_a_shard_with_rows_too_few_is_named(scene: Scene) -> None:
    short = scene.rows(scene.plan.shard_range(1)).slice(0, 299)
    scene.store.put(RunLayout.shard(1), encode_shard(short, METADATA))
    with pytest.raises(StorageError, match=r"shard-00001.parquet' has 299 rows for 300 planned images"):
        count_statuses(scene.state(), scene.assembler, scene.log, scene.plan)


def test_row_groups_of_one_status_are_not_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def noted(self: pq.ParquetFile, number: int, *args, **options) -> pa.Table:
        read.append(number)
        return original(self, number, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    for shard, groups in enumerate([[0, 2], [1], []]):
        found = read_statuses(scene.store, RunLayout.shard(shard))
        assert found.tolist() == scene.statuses[scene.plan.shard_range(shard)].tolist()
        assert read == groups
        read.clear()
