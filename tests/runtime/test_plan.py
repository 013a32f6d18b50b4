"""Shards, units and generations of a plan."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.parquet.sorted_rows import SpilledRows, spilled
from i2s_batch.sources.items import sorted_images
from i2s_batch.sources.source import list_images
from i2s_batch.storage import open_store


def images(*ids: str) -> pa.Table:
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string())])
    return pa.table([list(ids), [f"/in/{image_id}" for image_id in ids]], schema=schema)


def listed(*ids: str) -> SpilledRows:
    return spilled([images(*ids)], images().schema)


def numbered(count: int) -> pa.Table:
    return images(*(f"{number:04d}" for number in range(count)))


@pytest.mark.parametrize("count", [1, 7, 8, 20, 21, 100])
@pytest.mark.parametrize(("shard_size", "unit_size"), [(1, 1), (8, 1), (8, 3), (8, 8), (5, 32)])
def test_every_image_has_one_shard_and_one_unit(count: int, shard_size: int, unit_size: int) -> None:
    plan = Plan(numbered(count), shard_size, unit_size)
    assert [i for shard in range(plan.shards) for i in plan.shard_range(shard)] == list(range(count))
    assert [i for unit in range(plan.units) for i in plan.unit_range(unit)] == list(range(count))
    assert max(len(plan.shard_range(shard)) for shard in range(plan.shards)) <= shard_size
    sizes = [len(plan.unit_range(unit)) for unit in range(plan.units)]
    assert min(sizes) >= 1 and max(sizes) <= unit_size
    chosen = np.random.default_rng(count).random(plan.units) < 0.5
    for mask in (chosen, ~chosen, np.ones_like(chosen)):
        assert plan.count_images(mask) == sum(np.array(sizes)[mask])
    for shard in range(plan.shards):
        units = plan.units_of(shard)
        assert [i for unit in units for i in plan.unit_range(unit)] == list(plan.shard_range(shard))
        assert {plan.shard_of(unit) for unit in units} == {shard}
        assert plan.by_image(chosen, shard).tolist() == [chosen[plan.unit_of(i)] for i in plan.shard_range(shard)]
    assert all(image in plan.unit_range(plan.unit_of(image)) for image in range(count))
    last = plan.unit_rows(plan.units - 1)["image_id"].to_pylist()
    assert last == plan.images["image_id"].to_pylist()[-len(last) :]


def test_growing_leaves_every_shard_as_it_was(tmp_path: Path) -> None:
    plan = Plan(images("b", "d", "f"), 2, 1)
    grown = plan.with_new_images(listed("a", "b", "c", "d", "e"))
    assert grown.rows(range(6))["image_id"].to_pylist() == ["b", "d", "f", "a", "c", "e"]
    assert grown.generations == (3, 3)
    ids = [grown.shard_images(shard)["image_id"].to_pylist() for shard in range(grown.shards)]
    assert ids == [["b", "d"], ["f"], ["a", "c"], ["e"]]
    assert [grown.shard_of(unit) for unit in range(grown.units)] == [0, 0, 1, 2, 2, 3]
    assert grown.with_new_images(listed("a", "f")) is grown
    again = grown.with_new_images(listed("g"))
    store = open_store(str(tmp_path))
    again.save(store)
    loaded = Plan.load(store, 2)
    assert (
        loaded.rows(range(len(loaded))).equals(again.rows(range(7)))
        and loaded.generations == (3, 3, 1)
        and loaded.unit_size == 1
    )


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_growing_in_parts_is_growing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2s_batch.output.plan.GROUP_ROWS", size)
    monkeypatch.setattr("i2s_batch.parquet.sorted_rows.GROUP_ROWS", size)
    stream = np.random.default_rng(size)
    plan, held = Plan(numbered(0), 4), []
    for generation in range(5):
        ids = sorted({f"{number:03d}" for number in stream.integers(0, 200, 60)})
        new = [image_id for image_id in ids if image_id not in held]
        plan = plan.with_new_images(listed(*ids)) if generation else Plan(images(*ids), 4)
        held += new
        assert plan.rows(range(len(plan)))["image_id"].to_pylist() == held
        assert (plan.generations or (len(plan),))[-1] == len(new)
    firsts = np.cumsum((0, *(plan.generations or ())))[:-1].tolist()
    assert [plan.shard_range(shards.start).start for shards in plan.generation_shards()] == firsts
    assert [shard for shards in plan.generation_shards() for shard in shards] == list(range(plan.shards))


def test_a_plan_of_many_parts_is_the_file_that_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte what earlier programs wrote, who had all of it in memory."""
    for name, value in (("RUN_BYTES", 40_000), ("PART_ROWS", 37), ("GROUP_ROWS", 91)):
        monkeypatch.setattr(f"i2s_batch.parquet.sorted_rows.{name}", value)
    monkeypatch.setattr("i2s_batch.output.plan.GROUP_ROWS", 1000)
    stream = np.random.default_rng(3)
    names = [f"{number:x}é/{place}.png" for place, number in enumerate(stream.integers(0, 1 << 40, 4321))]
    rows = "".join(f"{name},q{n % 9},{n}\n" for n, name in enumerate(names))
    (tmp_path / "list.csv").write_text(f"path,label,n\n{rows}")
    folder = tmp_path / "in"
    for number in range(300):
        (folder / f"{number % 7}").mkdir(parents=True, exist_ok=True)
        (folder / f"{number % 7}" / f"{number}.png").touch()
    made = {
        "items": sorted_images((name, f"s3://b/{name}") for name in names),
        "list": list_images(str(tmp_path / "list.csv")),
        "folder": list_images(str(folder)),
    }
    for kind, listing in made.items():
        store, whole = open_store(str(tmp_path / kind)), listing.read().combine_chunks()
        Plan(listing, 100).save(store)
        assert whole["image_id"].to_pylist() == sorted(whole["image_id"].to_pylist(), key=str.encode)
        facts = {"unit_size": 1, "generations": [len(whole)], "internal": [], "unused": []}
        sink = pa.BufferOutputStream()
        columns = [(field.name, str(field.type)) for field in whole.schema]
        digest = hashlib.sha256(json.dumps([facts, columns], sort_keys=True).encode()).hexdigest()
        facts = json.dumps(facts | {"sha256": digest})
        whole = whole.replace_schema_metadata({b"i2s_batch.plan": facts})
        pq.write_table(whole, sink, compression="zstd", row_group_size=1000, write_page_checksum=True)
        assert store.get(RunLayout.plan) == sink.getvalue().to_pybytes()


def test_what_only_workers_need_is_not_carried() -> None:
    rows = images("a").append_column("label", [["x"]]).append_column("_places", [[1]])
    plan = Plan(rows, 10, internal=("_places",))
    assert plan.shard_images(0).column_names == ["image_id", "uri", "label"]
    assert plan.unit_rows(0).to_pylist() == [{"image_id": "a", "uri": "/in/a", "label": "x", "_places": 1}]


def test_a_damaged_plan_is_refused_by_name(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    Plan(numbered(3), 2).save(store)
    data = store.get(RunLayout.plan)
    Plan(numbered(3), 2, generations=(4,)).save(store)
    contradictory = store.get(RunLayout.plan)
    for damaged in (data[:-1], b"", contradictory):
        store.put(RunLayout.plan, damaged)
        with pytest.raises(StorageError, match=r"images\.parquet is damaged"):
            Plan.load(store, 2)


def test_a_loaded_plan_reads_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2s_batch.output.plan.GROUP_ROWS", 8)
    store, made = open_store(str(tmp_path)), Plan(numbered(100), 6)
    made.save(store)
    opened: list[str] = []
    original = type(store).open
    monkeypatch.setattr(type(store), "open", lambda self, key: opened.append(key) or original(self, key))
    plan = Plan.load(store, 6)
    assert len(plan) == 100 and len(opened) == 1
    for images in (range(100), range(7, 9), range(95, 100), range(16, 24), range(0), range(100, 100)):
        assert plan.rows(images).equals(made.rows(images))
    assert plan.image_id(37) == "0037"
    opened.clear()
    assert all(plan.unit_rows(unit).equals(made.unit_rows(unit)) for unit in range(100))
    assert len(opened) <= 13, "each row group once"


def test_a_plan_is_read_in_one_version(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    Plan(numbered(3), 2).save(store)
    plan = Plan.load(store, 2)
    Plan(numbered(4), 2).save(store)
    with pytest.raises(StorageError, match=r"images\.parquet was replaced while it was read"):
        plan.image_id(0)


def test_a_flipped_bit_in_a_plan_is_found_when_it_is_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    Plan(numbered(1000), 100).save(store)
    data = bytearray(store.get(RunLayout.plan))
    data[len(data) // 4] ^= 1
    store.put(RunLayout.plan, bytes(data))
    plan = Plan.load(store, 100)
    with pytest.raises(StorageError, match=r"images\.parquet is damaged"):
        plan.shard_images(0)


def test_columns_that_parquet_calls_by_another_name_are_no_damage(tmp_path: Path) -> None:
    kinds = {
        "list": pa.list_(pa.field("anything", pa.int32())),
        "large": pa.large_list(pa.float32()),
        "seconds": pa.timestamp("s"),
        "date": pa.date64(),
        "small": pa.uint8(),
        "half": pa.float16(),
        "struct": pa.struct([("x", pa.list_(pa.string()))]),
        "map": pa.map_(pa.string(), pa.int8()),
    }
    rows = images("a", "b")
    for name, kind in kinds.items():
        rows = rows.append_column(name, pa.nulls(2, kind))
    store = open_store(str(tmp_path))
    for plan in (Plan(rows, 10, internal=("list",)), Plan(rows, 10, unused=("map",))):
        plan.save(store)
        loaded = Plan.load(store, 10)
        assert loaded.table_columns == plan.table_columns
        loaded.save(open_store(str(tmp_path / "again")))
        assert Plan.load(open_store(str(tmp_path / "again")), 10).table_columns == plan.table_columns
