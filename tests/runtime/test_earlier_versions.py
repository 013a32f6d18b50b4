"""Rows, checkpoints and plans that version 2 of the schema wrote before they had checksums: they are still read.

`tests/data/earlier`: of runs that were stopped half-way, at 2afae9e; a StyleGAN1 of 16 x 16 (6 layers, w_dim 16), 30
steps.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.errors import DamagedError, StorageError
from i2s_batch.inversion import SlotState
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import EDIT_INTERNAL, STUDY_INTERNAL, Plan
from i2s_batch.schema.codec import decode_rows, encode_cells, table_schema
from i2s_batch.storage import open_store
from tests.material import DATA
from tests.runs import state_in

EARLIER = DATA / "earlier"
FLIPS = 800


def flipped(content: bytes, seed: int) -> bytes:
    changed = bytearray(content)
    bit = random.Random(seed).randrange(8 * len(content))
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def latent_size() -> int:
    return len(np.load(EARLIER / "checkpoint.npz")["variable"].ravel())


def test_a_row_without_a_checksum_is_read() -> None:
    schema = table_schema(latent_size())
    (row,) = decode_rows([(EARLIER / "row.arrow").read_bytes()], schema).to_pylist()
    assert (row["image_id"], row["status"], row["steps"]) == ("1.png", "ok", 30)
    again = decode_rows([encode_cells([row], schema)], schema)
    assert again.to_pylist() == [row], "and mixes with those that have one"


def test_a_checkpoint_without_a_checksum_or_content_hash_is_read() -> None:
    state = state_in((EARLIER / "checkpoint.npz").read_bytes())
    assert (state.image_id, state.sha256) == ("3.png", "") and state.step > 0
    again = SlotState.from_bytes(state.to_bytes())
    assert (again.image_id, again.step, again.sha256) == ("3.png", state.step, "")
    np.testing.assert_array_equal(again.variable, state.variable)


def test_damage_that_shows_in_them_is_told_as_such() -> None:
    """Not all of it shows, which is why there are checksums now; but nothing escapes as another error."""
    schema, seen = table_schema(latent_size()), 0
    row, checkpoint = ((EARLIER / name).read_bytes() for name in ("row.arrow", "checkpoint.npz"))
    for seed in range(FLIPS):
        for read, content in ((lambda data: decode_rows([data], schema), row), (state_in, checkpoint)):
            try:
                read(flipped(content, seed))
            except DamagedError as error:
                assert "damaged" in str(error) or "other columns" in str(error)
                assert "\n" not in str(error)
                seen += 1
    assert seen > FLIPS / 4


def plan_of(tmp_path: Path, name: str) -> Plan:
    store = open_store(str(tmp_path))
    store.put(RunLayout.plan, (EARLIER / f"{name}.parquet").read_bytes())
    return Plan.load(store, 1000)


def test_the_plan_of_a_study_keeps_its_links(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "study")
    assert plan.internal == STUDY_INTERNAL and plan.unused == ()
    after = plan.rows(range(len(plan)))["_after"].to_pylist()
    assert len([unit for unit in after if unit is not None]) == 4
    assert all(plan.unit_rows(unit)["_then_id"][0].as_py() for unit in after if unit is not None)
    assert plan.shard_images(0).column_names == ["image_id", "uri", "study", "variant", "round", "picture", "class"]


def test_the_plan_of_an_edit_keeps_its_places(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "edit")
    assert plan.internal == EDIT_INTERNAL and plan.units == 3
    assert [len(each) for each in plan.unit_rows(0)["_places"].to_pylist()] == [2] * 32
    assert not any(name.startswith("_") for name in plan.table_columns)


def test_the_plan_of_a_list_leaves_out_what_its_first_shards_left_out(tmp_path: Path) -> None:
    """It has the columns _label and _after; the latter made a run wait for ever."""
    plan = plan_of(tmp_path, "list")
    assert plan.unused == ("_label", "_after") and plan.table_columns == ["image_id", "uri", "label"]
    assert plan.internal == () and plan.units == 6
    store = open_store(str(tmp_path / "again"))
    plan.save(store)
    assert Plan.load(store, 1000).table_columns == plan.table_columns


@pytest.mark.parametrize("written", ["now", "earlier"])
def test_a_damaged_plan_is_one_line_that_names_it(tmp_path: Path, written: str) -> None:
    plan = plan_of(tmp_path, "list")
    store = open_store(str(tmp_path))
    whole, seen = plan.rows(range(len(plan))), 0
    if written == "now":
        plan.save(store)
    content = store.get(RunLayout.plan)
    for seed in range(FLIPS):
        store.put(RunLayout.plan, flipped(content, seed))
        try:
            found = Plan.load(store, 1000)
            rows = found.rows(range(len(found)))
            units = [found.unit_rows(unit) for unit in range(found.units)]
        except StorageError as error:
            assert "images.parquet" in str(error) and "\n" not in str(error)
            seen += 1
        else:
            if written == "now" and found.generations is not None:
                assert rows.equals(whole) and len(units) == 6 and found.table_columns == plan.table_columns
    assert seen > FLIPS / 3
