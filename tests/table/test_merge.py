"""Merging real runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import I2SError, RunConflictError, StorageError
from i2s_batch.maintenance.merging import merge_runs
from i2s_batch.output.layout import RunLayout
from i2s_batch.run.status import read_status
from i2s_batch.schema.codec import encode_shard
from i2s_batch.storage import open_store
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.program import here, i2s_batch, refusal, status_of
from tests.runs import embed

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=3), batch_size=4, shard_size=3, max_failed_fraction=1)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> list[EmbedRunRequest]:
    """Two finished runs: a c e g and a damaged x; b c d f h and an x that is whole. Both have the same c."""
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for run, names in enumerate(("acegx", "bcdfhx")):
        source = folder / f"in{run}"
        source.mkdir()
        for name in names:
            scene(ord(name), (40, 40)).save(source / f"{name}.png")
        made.append(EmbedRunRequest(str(source), str(folder / f"out{run}"), str(generator), str(vgg), CONFIG))
    (folder / "in0" / "x.png").write_text("no picture")
    for job in made:
        embed(job)
    return made


def rows(out: str) -> dict[str, dict]:
    return {row["image_id"]: row for row in read_table(out).to_pylist()}


def test_each_image_comes_once_and_the_better_row_wins(jobs: list[EmbedRunRequest], tmp_path: Path) -> None:
    new = str(tmp_path / "new")
    said: list[str] = []
    summary = merge_runs([job.out for job in jobs], new, said.append)
    first, second, merged = rows(jobs[0].out), rows(jobs[1].out), rows(new)
    assert list(merged) == [f"{name}.png" for name in "abcdefghx"] and summary.statuses == {"ok": 9}
    assert said == ["9 images of 2 runs; 2 rows are of images that another run holds too"]
    assert merged["c.png"] == min((first["c.png"], second["c.png"]), key=lambda row: row["loss"])
    assert merged["x.png"] == second["x.png"], "the one that is ok"
    assert all(merged[f"{name}.png"] == first[f"{name}.png"] for name in "aeg")
    assert all(merged[f"{name}.png"] == second[f"{name}.png"] for name in "bdfh")
    assert sorted(path.name for path in Path(new, "latents").iterdir()) == [f"shard-0000{n}.parquet" for n in range(3)]
    status = read_status(new, print)
    assert status.finished and status.images == 9 and status.command is None
    found = verify(new)
    assert found.sound and found.as_written == 3
    before = {path: path.read_bytes() for path in Path(new, "latents").iterdir()}
    merge_runs([job.out for job in jobs], new, said.append)
    assert {path: path.read_bytes() for path in Path(new, "latents").iterdir()} == before, "as often as one likes"
    with pytest.raises(RunConflictError, match="holds another run already"):
        merge_runs([job.out for job in reversed(jobs)], new, said.append)
    with pytest.raises(RunConflictError, match="holds another run already"):
        merge_runs([job.out for job in jobs], jobs[0].out, said.append)


def test_tables_with_equal_ids_are_merged_with_prefixes(jobs: list[EmbedRunRequest], tmp_path: Path) -> None:
    outs, new = [job.out for job in jobs], str(tmp_path / "new")
    result = i2s_batch("merge", *outs, new, "--prefix", "one/", "--prefix", "")
    assert result.returncode == 0, result.stderr
    first, second, merged = rows(outs[0]), rows(outs[1]), rows(new)
    assert sorted(merged) == sorted([f"one/{name}" for name in first] + list(second)) and verify(new).sound
    kept = {"image_id", "folder"}
    for image_id, row in first.items():
        there = merged[f"one/{image_id}"]
        assert there["folder"] == "one" and all(there[name] == row[name] for name in row.keys() - kept)
    assert all(merged[image_id] == row for image_id, row in second.items())
    assert merge_runs(outs, new, print, ("one/", "")).images == 11, "as often as one likes"
    other = str(tmp_path / "other")
    assert "--prefix is given 1 time for 2 runs" in refusal(here("merge", *outs, other, "--prefix", "one/"))
    assert not Path(other).exists()


@pytest.mark.parametrize("prefix", ["../", "/", "a//", "a/../b", "./", "s3://b/"])
def test_a_prefix_that_begins_no_path_below_a_folder_is_refused(
    jobs: list[EmbedRunRequest], tmp_path: Path, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("merge", *(job.out for job in jobs), tmp_path / "new", "--prefix", prefix, "--prefix", "two-")
    assert status_of(*words) == 2 and not (tmp_path / "new").exists()
    assert f"the prefix {prefix!r} would leave the folder of the ids" in capsys.readouterr().err


def test_the_lower_loss_wins_whichever_comes_first(jobs: list[EmbedRunRequest], tmp_path: Path) -> None:
    """The same runs, where the second has a better c."""
    store, key = open_store(jobs[1].out), RunLayout.shard(0)
    table = read_table(jobs[1].out).slice(0, 3)
    whole = store.get(key)
    losses = [
        1e-9 if image_id == "c.png" else loss
        for image_id, loss in zip(*table.select(["image_id", "loss"]).to_pydict().values(), strict=True)
    ]
    place = table.schema.get_field_index("loss")
    changed = table.set_column(place, table.schema.field(place), [losses])
    metadata = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    store.put(key, encode_shard(changed, metadata))
    try:
        for order in (jobs, jobs[::-1]):
            new = str(tmp_path / f"new-{order[0].out[-1]}")
            merge_runs([job.out for job in order], new, print)
            assert rows(new)["c.png"]["loss"] == 1e-9
    finally:
        store.put(key, whole)


def test_one_id_for_two_pictures_is_refused(jobs: list[EmbedRunRequest], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    scene(999, (40, 40)).save(source / "a.png")
    other = replace(jobs[0], source=str(source), out=str(tmp_path / "other"))
    embed(other)
    with pytest.raises(RunConflictError, match=r"'a\.png' is one image in .*out0 and another in .*other") as refusal:
        merge_runs([jobs[0].out, other.out], str(tmp_path / "new"), print)
    assert "to keep both, give a prefix for the ids of each run (--prefix one/ --prefix two/)" in str(refusal.value)
    assert rows(jobs[0].out)["a.png"]["sha256"][:12] in str(refusal.value) and not (tmp_path / "new").exists()


def test_runs_that_have_grown_are_merged(jobs: list[EmbedRunRequest], tmp_path: Path) -> None:
    """The ids of a run that has grown are sorted generation by generation."""
    source = tmp_path / "in"
    source.mkdir()
    grown = replace(jobs[0], source=str(source), out=str(tmp_path / "grown"), config=replace(CONFIG, grow=True))
    for names in ("cgz", "ahi", "bx"):
        for name in names:
            scene(ord(name), (40, 40)).save(source / f"{name}.png")
        embed(grown)
    said: list[str] = []
    merge_runs([grown.out, jobs[0].out], new := str(tmp_path / "new"), said.append)
    assert said == ["9 images of 2 runs; 4 rows are of images that another run holds too"]
    assert list(rows(new)) == [f"{name}.png" for name in "abceghixz"] and verify(new).sound
    first, second = rows(grown.out), rows(jobs[0].out)
    for image_id, row in rows(new).items():
        found = [run[image_id] for run in (first, second) if image_id in run and run[image_id]["status"] == "ok"]
        assert row == min(found, key=lambda row: row["loss"])


def test_a_shard_that_is_not_as_planned_is_refused(jobs: list[EmbedRunRequest], tmp_path: Path) -> None:
    store, key = open_store(jobs[1].out), RunLayout.shard(1)
    whole = store.get(key)
    store.put(key, store.get(RunLayout.shard(0)))
    try:
        with pytest.raises(StorageError, match=r"shard-00001\.parquet' does not hold the rows that are planned"):
            merge_runs([job.out for job in jobs], str(tmp_path / "new"), print)
    finally:
        store.put(key, whole)


def test_runs_that_differ_are_refused(jobs: list[EmbedRunRequest], tmp_path: Path) -> None:
    record = json.loads((Path(jobs[1].out) / "run.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for name in ("latents", "manifest"):
        (other / name).symlink_to(Path(jobs[1].out) / name)
    for change, message in (
        (
            {"generator": record["generator"] | {"fingerprint": "f" * 64}},
            "the fingerprint of the generator is .* ffffffffffff",
        ),
        ({"settings": record["settings"] | {"steps": 4}}, "--steps is 3 there, 4 in"),
        ({"source": ["/a/table"]}, "holds edits"),
    ):
        (other / "run.json").write_text(json.dumps(record | change))
        with pytest.raises(RunConflictError, match=message) as refused:
            merge_runs([jobs[0].out, str(other)], str(tmp_path / "new"), print)
        assert "\n" not in str(refused.value)
    (other / "run.json").unlink()
    with pytest.raises(StorageError, match=r"no run\.json"):
        merge_runs([jobs[0].out, str(other)], str(tmp_path / "new"), print)


def test_an_unfinished_run_is_refused(jobs: list[EmbedRunRequest], tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "half"))
    for info in open_store(jobs[0].out).list():
        store.put(info.key, open_store(jobs[0].out).get(info.key))
    store.delete([RunLayout.shard(1)])
    with pytest.raises(I2SError, match="is not finished"):
        merge_runs([store.url, jobs[1].out], str(tmp_path / "new"), print)


def test_the_command(jobs: list[EmbedRunRequest], s3_bucket: str, tmp_path: Path) -> None:
    new = f"s3://{s3_bucket}/merged"
    result = i2s_batch("merge", *(job.out for job in jobs), new)
    assert (result.returncode, result.stdout) == (0, f"9 images: 9 ok. Table: {new}/latents/\n"), result.stderr
    assert len(rows(new)) == 9
    assert "at least two runs and NEW" in refusal(here("merge", jobs[0].out, new))
    assert "nowhere" in refusal(here("merge", jobs[0].out, tmp_path / "nowhere", tmp_path / "new"))
