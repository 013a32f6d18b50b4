"""Columns of a list: whatever their names, they are the user's and arrive in the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from i2s_batch.config import EmbedConfig, RunConfig
from i2s_batch.runtime.embed import EmbedJob
from i2s_batch.storage.tables.read import read_table
from i2s_batch.table.verify import verify
from tests.material import scene
from tests.runs import embed

CONFIG = RunConfig(embed=EmbedConfig(steps=3), batch_size=4, shard_size=4)


LISTED = "path,_label,_after,_then,_source,_places,label\n"


def test_columns_of_a_list_share_no_namespace_with_the_program(tmp_path: Path, generator: Path, vgg: Path) -> None:
    for number in range(7):
        scene(number, (40, 40)).save(tmp_path / f"{number}.png")
    listing = tmp_path / "list.csv"
    rows = [f"{n}.png,{n},{n},{5 - n},s{n},p{n},{n * n}\n" for n in range(6)]
    listing.write_text(LISTED + "".join(rows))
    job = EmbedJob(str(listing), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    embed(job)
    table = read_table(job.out)
    assert table.column_names[-6:] == ["_label", "_after", "_then", "_source", "_places", "label"]
    for number, row in enumerate(table.sort_by("_label").to_pylist()):
        found = [row[name] for name in table.column_names[-6:]]
        assert found == [number, number, 5 - number, f"s{number}", f"p{number}", number**2]
    assert verify(job.out).sound
    grown = listing.read_text() + "6.png,6,0,,,,\n"
    listing.write_text(grown)
    embed(replace(job, config=replace(CONFIG, grow=True)))
    again = read_table(job.out)
    assert len(again) == 7 and again.schema == table.schema and verify(job.out).sound
