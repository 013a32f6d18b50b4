"""Columns of a list: whatever their names, they are the user's and arrive in the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.table.dataset import open_table
from i2s_batch.table.export import export_latents
from i2s_batch.table.shards import read_table
from i2s_batch.table.sql import run_query
from tests.material import scene
from tests.runs import embed

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=3), batch_size=4, shard_size=4)


LISTED = "path,_label,_after,_then,_source,_places,label\n"


def test_columns_of_a_list_share_no_namespace_with_the_program(tmp_path: Path, generator: Path, vgg: Path) -> None:
    for number in range(7):
        scene(number, (40, 40)).save(tmp_path / f"{number}.png")
    listing = tmp_path / "list.csv"
    rows = [f"{n}.png,{n},{n},{5 - n},s{n},p{n},{n * n}\n" for n in range(6)]
    listing.write_text(LISTED + "".join(rows))
    job = EmbedRunRequest(str(listing), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
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


def test_columns_that_are_called_as_we_call_things_take_the_place_of_nothing(
    tmp_path: Path, generator: Path, vgg: Path
) -> None:
    """`id` was a parameter of a macro of ours, and `w` the name of the codes in an exported file."""
    for number in range(2):
        scene(number, (40, 40)).save(tmp_path / f"{number}.png")
    (tmp_path / "list.csv").write_text("path,id,w,list_w,i2s_id,k,a\n0.png,7,1,3,5,0,0\n1.png,8,2,4,6,0,0\n")
    job = EmbedRunRequest(str(tmp_path / "list.csv"), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    embed(job)
    table = read_table(job.out)
    codes = np.array(table["latent"].to_pylist(), np.float32)
    nearest = "SELECT id, w FROM latents ORDER BY euclidean(latent, latent_of('1.png')), layer(latent, 0) LIMIT 1"
    with run_query(open_table(job.out), nearest) as found:
        assert [row for batch in found.batches for row in batch.to_pylist()] == [{"id": 8, "w": 2}]
    for name in ("e.npz", "e.pt"):
        assert export_latents(job.out, str(tmp_path / name), "id < 9") == 2
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["w"].reshape(2, -1), codes)
        assert (arrays["list_list_w"].tolist(), arrays["list_w"].tolist()) == ([1, 2], [3, 4])
    loaded = torch.load(tmp_path / "e.pt", weights_only=True)
    np.testing.assert_array_equal(loaded["w"].reshape(2, -1), codes)
    assert (loaded["list_list_w"].tolist(), loaded["list_w"].tolist()) == ([1, 2], [3, 4])
