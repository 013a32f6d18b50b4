"""The arithmetic of plans against a model that counts image by image."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2s_batch.output import plan as plan_module
from i2s_batch.output.plan import Plan
from i2s_batch.parquet import sorted_rows
from i2s_batch.storage import open_store
from tests.runtime.test_plan import images, listed, numbered


@dataclass(frozen=True)
class Model:
    """Where every image lies, by counting: its generation, its shard and its unit."""

    generation: list[int]
    shard: list[int]
    unit: list[int]

    @classmethod
    def of(cls, generations: list[int], shard_size: int, unit_size: int) -> Model:
        places = cls([], [], [])
        shard = unit = -1
        for generation, count in enumerate(generations):
            for image in range(count):
                in_shard = image % shard_size
                shard += in_shard == 0
                unit += in_shard % unit_size == 0
                places.generation.append(generation)
                places.shard.append(shard)
                places.unit.append(unit)
        return places


def found(value: int, places: list[int]) -> list[int]:
    return [image for image, place in enumerate(places) if place == value]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 12), st.integers(1, 12))
def test_shards_units_and_generations_are_what_counting_gives(
    generations: list[int], shard_size: int, unit_size: int
) -> None:
    count = sum(generations)
    model = Model.of(generations, shard_size, unit_size)
    plan = Plan(numbered(count), shard_size, unit_size, tuple(generations))
    assert (len(plan), plan.shards, plan.units) == (count, model.shard[-1] + 1, model.unit[-1] + 1)
    for shard in range(plan.shards):
        inside = found(shard, model.shard)
        assert list(plan.shard_range(shard)) == inside
        assert list(plan.units_of(shard)) == sorted({model.unit[image] for image in inside})
    for unit in range(plan.units):
        inside = found(unit, model.unit)
        assert list(plan.unit_range(unit)) == inside and plan.shard_of(unit) == model.shard[inside[0]]
    assert [plan.unit_of(image) for image in range(count)] == model.unit
    shards_of = [sorted({model.shard[image] for image in found(g, model.generation)}) for g in range(len(generations))]
    assert [list(shards) for shards in plan.generation_shards()] == shards_of


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 12), st.integers(1, 12), st.data())
def test_masks_of_units_count_and_spread_over_their_images(
    generations: list[int], shard_size: int, unit_size: int, data: st.DataObject
) -> None:
    model = Model.of(generations, shard_size, unit_size)
    plan = Plan(numbered(sum(generations)), shard_size, unit_size, tuple(generations))
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=plan.units, max_size=plan.units)))
    assert plan.count_images(chosen) == sum(chosen[unit] for unit in model.unit)
    for shard in range(plan.shards):
        assert plan.by_image(chosen, shard).tolist() == [chosen[model.unit[i]] for i in found(shard, model.shard)]


IDS = st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), min_size=1, max_size=12)


@given(st.lists(IDS, min_size=1, max_size=5), st.integers(1, 5), st.integers(1, 5), st.integers(1, 7))
def test_a_plan_that_grows_holds_what_came_in_the_order_in_which_it_came(
    sources: list[set[str]], shard_size: int, unit_size: int, at_once: int
) -> None:
    """Each source is one look at a folder that changes: what is gone stays planned, what is new comes last, sorted."""
    first, *later = [sorted(ids, key=str.encode) for ids in sources]
    held, counts = list(first), [len(first)]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(plan_module, "GROUP_ROWS", at_once)
        patch.setattr(sorted_rows, "GROUP_ROWS", at_once)
        plan = Plan(images(*first), shard_size, unit_size)
        for ids in later:
            new = [image_id for image_id in ids if image_id not in held]
            grown = plan.with_new_images(listed(*ids))
            assert (grown is plan) == (not new)
            before = [plan.shard_images(shard) for shard in range(plan.shards)]
            assert [grown.shard_images(shard) for shard in range(plan.shards)] == before, "growing leaves every shard"
            held, counts, plan = held + new, counts + [len(new)] * bool(new), grown
        store = open_store(folder)
        plan.save(store)
        loaded = Plan.load(store, shard_size)
        for one in (plan, loaded):
            assert one.rows(range(len(one)))["image_id"].to_pylist() == held
            assert list(one.generations or [len(one)]) == counts and one.unit_size == unit_size
        assert [loaded.image_id(image) for image in range(len(held))] == held
        units = [loaded.unit_rows(unit)["image_id"].to_pylist() for unit in range(loaded.units)]
        assert [image_id for ids in units for image_id in ids] == held
