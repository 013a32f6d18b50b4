"""Whole runs with a noise stage: the maps beside the table, interrupted runs, retries, damage, merges, drawn images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from i2s_batch.api import editing_runs, embedding_runs
from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.editing import morph
from i2s_batch.editing.edits.morph import Morph
from i2s_batch.editing.edits.render import Render
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError, InternalError, RunConflictError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.images.resize import fit_image
from i2s_batch.inversion.metrics import mse, psnr, to_uint8
from i2s_batch.inversion.synthesis import synthesised
from i2s_batch.maintenance.merging import merge_runs
from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.models.loading import load_generator
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.status import read_status
from i2s_batch.schema.noise_codec import maps_in
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.storage import open_store
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.material import scene, upload
from tests.runs import embed, job_over, rows_written

NAMES = [f"{number:02d}.png" for number in range(5)]
EMBED = EmbedConfig(steps=8, noise_steps=12)
CONFIG = EmbedRunConfig(embed=EMBED, batch_size=2, shard_size=2, precision="fp64", max_failed_fraction=0.5)


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, NAMES, generator, vgg, CONFIG)


def maps_of(out: str) -> dict[str, np.ndarray]:
    """The maps of every image of an output, each once."""
    store, found = open_store(out), {}
    for info in store.list(RunLayout.noise_prefix):
        with store.open(info.key) as file:
            table = pq.read_table(file)
        for image_id, maps in zip(table["image_id"].to_pylist(), maps_in(table), strict=True):
            assert image_id not in found, "each image once"
            found[image_id] = maps
    return found


def drawn(row: dict, generator: Path, maps: np.ndarray | None) -> float:
    """The PSNR of the image of a row with some noise maps."""
    network = load_generator(generator)
    image = to_uint8(synthesised(np.array(row["latent"]), network, maps)[0])
    return psnr(mse(image, fit_image(decode_image(read_bytes(row["uri"])), network.resolution, "crop")))


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_run_writes_the_maps_of_every_image(
    job: EmbedRunRequest, generator: Path, place: str, request: pytest.FixtureRequest
) -> None:
    if place == "s3":
        bucket = request.getfixturevalue("s3_bucket")
        upload(Path(job.source), f"s3://{bucket}/in")
        job = replace(job, source=f"s3://{bucket}/in", out=f"s3://{bucket}/out")
    embed(job, workers=2)
    store = open_store(job.out)
    assert [info.key for info in store.list("noise/")] == [f"noise/shard-{number:05d}.parquet" for number in range(3)]
    assert [info.key for info in store.list("work/")] == []
    rows, maps = read_table(job.out).to_pylist(), maps_of(job.out)
    assert list(maps) == [row["image_id"] for row in rows] == NAMES
    for row in rows:
        assert row["noise_steps"] == 12 and row["noise_psnr"] > row["psnr"] + 0.5 and row["noise_loss"] < row["loss"]
        assert drawn(row, generator, maps[row["image_id"]]) == pytest.approx(row["noise_psnr"], rel=1e-3)
        assert drawn(row, generator, None) == pytest.approx(row["psnr"], rel=1e-3)
    assert read_status(job.out, lambda line: None).steps == 8 + 12
    found = verify(job.out)
    assert found.sound and found.noise == 5 and found.rendered == 5


def test_the_table_is_that_of_a_run_without_the_stage(job: EmbedRunRequest, tmp_path: Path) -> None:
    embed(job)
    plain = replace(job, out=str(tmp_path / "plain"), config=replace(CONFIG, embed=EmbedConfig(steps=8)))
    embed(plain)
    run_json = json.loads((tmp_path / "plain/run.json").read_text())
    assert not any(name.startswith("noise") for name in run_json["settings"])
    assert not (tmp_path / "plain/noise").exists()
    own = {"seconds", "embedded_at", "run_id", "worker"}
    for row, other in zip(read_table(job.out).to_pylist(), read_table(plain.out).to_pylist(), strict=True):
        kept = [name for name in row if not name.startswith("noise_") and name not in own]
        assert {name: row[name] for name in kept} == {name: other[name] for name in kept}
        assert all(other[name] is None for name in other if name.startswith("noise_"))


def test_a_stopped_run_resumes_with_the_same_maps(
    job: EmbedRunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = replace(job, out=str(tmp_path / "undisturbed"))
    embed(undisturbed)
    config = replace(CONFIG, checkpoint_every_s=0.01)
    job = replace(job, config=config)

    class StopError(Exception):
        pass

    original = WorkLog.write_rows

    written: list[str] = []

    def stop(self: WorkLog, task, rows):
        if len(written) == 3:
            raise StopError
        written.append(task.image_id)
        return original(self, task, rows)

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        with pytest.raises(InternalError, match="StopError"):
            embed(job)
    names = rows_written(monkeypatch)
    steps = embed(job).summary.this_session.steps
    assert sorted(names + written) == NAMES and steps < (8 + 12) * len(names), (
        "images in flight resumed from their checkpoints"
    )
    assert verify(job.out).sound
    found, expected = maps_of(job.out), maps_of(undisturbed.out)
    assert found.keys() == expected.keys()
    for image_id in expected:
        np.testing.assert_array_equal(found[image_id], expected[image_id])
    np.testing.assert_array_equal(read_latents(job.out).latents, read_latents(undisturbed.out).latents)


def test_an_image_that_is_tried_again_gets_its_maps_and_the_others_keep_theirs(job: EmbedRunRequest) -> None:
    bad = Path(job.source, NAMES[1])
    content = bad.read_bytes()
    bad.write_bytes(content[:100])
    embed(job)
    before = maps_of(job.out)
    assert list(before) == [NAMES[0], *NAMES[2:]] and verify(job.out).sound
    bad.write_bytes(content)
    embed(replace(job, config=replace(CONFIG, retry_failed=True)))
    after = maps_of(job.out)
    assert list(after) == NAMES and verify(job.out).sound
    for image_id, maps in before.items():
        np.testing.assert_array_equal(after[image_id], maps)


def test_lost_or_damaged_maps_of_the_work_log_are_made_again(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = WorkLog.write_rows

    def spoil(self: WorkLog, task, rows):
        key = RunLayout.noise_row(task.index)
        if task.index == 1 and task.attempts == 1 and not said_of(key):
            open_store(job.out).delete([key])
        if task.index == 3 and not said_of(key):
            open_store(job.out).put(key, b"spoilt")
        return original(self, task, rows)

    said: list[str] = []

    def said_of(key: str) -> bool:
        return any(key in line for line in said)

    monkeypatch.setattr(WorkLog, "write_rows", spoil)
    embed(job, said=said)
    assert any("the noise maps are missing; '01.png' is embedded again" in line for line in said)
    assert any("noise maps of the work log are damaged" in line and "'03.png'" in line for line in said)
    assert list(maps_of(job.out)) == NAMES and verify(job.out).sound


def test_verify_names_damage_of_the_maps(job: EmbedRunRequest) -> None:
    embed(job)
    files = sorted(Path(job.out, "noise").iterdir())
    content = files[1].read_bytes()
    files[1].write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    found = verify(job.out)
    assert not found.sound and any("its sha256 is" in each.what and "noise" in each.file for each in found.findings)
    files[1].write_bytes(content)
    files[2].rename(files[2].with_name("shard-00009.parquet"))
    texts = [each.what for each in verify(job.out).findings]
    assert any("it is missing, with the noise maps of 1 image;" in text for text in texts)
    said: list[str] = []
    embed(job, said=said)
    assert any("the noise maps in" in line and "are gone; delete the shard of the table" in line for line in said)
    # What the message advises: without the file and its shard, the images are embedded again.
    files[0].unlink()
    Path(job.out, "latents/shard-00000.parquet").unlink()
    files[2].with_name("shard-00009.parquet").rename(files[2])
    embed(job)
    assert verify(job.out).sound and list(maps_of(job.out)) == NAMES


def test_a_merged_run_has_the_maps_of_the_rows_that_it_keeps(job: EmbedRunRequest, tmp_path: Path) -> None:
    embed(job)
    other = tmp_path / "other"
    other.mkdir()
    scene(9, (40, 40)).save(other / "09.png")
    second = replace(job, source=str(other), out=str(tmp_path / "second"))
    embed(second)
    merge_runs([job.out, second.out, second.out], str(tmp_path / "merged"), lambda line: None)
    found = maps_of(str(tmp_path / "merged"))
    assert list(found) == [*NAMES, "09.png"] and verify(str(tmp_path / "merged")).sound
    for image_id, maps in (maps_of(job.out) | maps_of(second.out)).items():
        np.testing.assert_array_equal(found[image_id], maps)


def test_render_draws_with_the_maps_and_edits_blend_them(job: EmbedRunRequest, tmp_path: Path, generator: Path) -> None:
    embed(job)
    rows = {row["image_id"]: row for row in read_table(job.out).to_pylist()}
    maps = maps_of(job.out)
    for noise, column in (("drop", "psnr"), ("keep", "noise_psnr")):
        out = str(tmp_path / noise)
        editing_runs.edit(job.out, out, Render(), in_process=True, precision="fp64", noise=noise, progress=False)
        for row in read_table(out).to_pylist():
            parent = rows[row["parents"][0]]
            target = fit_image(decode_image(read_bytes(parent["uri"])), 16, "crop")
            assert psnr(mse(decode_image(read_bytes(row["uri"])), target)) == pytest.approx(parent[column], rel=1e-6)
        assert verify(out).sound and verify(out).rendered == 5
    out = str(tmp_path / "morph")
    request = Morph(strengths=(0.25,), to=NAMES[1])
    editing_runs.edit(job.out, out, request, in_process=True, ids=NAMES[:2], noise="keep", progress=False)
    (row,) = read_table(out).to_pylist()
    first, second = (np.array(rows[name]["latent"]).reshape(6, 16) for name in NAMES[:2])
    blended = 0.75 * maps[NAMES[0]].astype(np.float32) + 0.25 * maps[NAMES[1]].astype(np.float32)
    expected = synthesised(morph(second, first, 0.25), load_generator(generator), blended)
    assert mse(decode_image(read_bytes(row["uri"])), to_uint8(expected[0])) < 0.1
    assert verify(out).sound
    with pytest.raises(ConfigError, match="morph has no noise maps; embed with --noise-steps to have some"):
        editing_runs.edit(out, str(tmp_path / "again"), Render(), noise="keep", progress=False)


def test_what_a_noise_stage_costs_and_who_has_none(job: EmbedRunRequest, tmp_path: Path) -> None:
    networks = {"generator": job.generator, "vgg": job.vgg, "progress": False}
    preview, _, _ = embedding_runs.preview_embed(job.source, job.out, noise_steps=10, **networks)
    assert preview.to_json()["noise_bytes"] == 5 * 2 * (2 * 4**2 + 2 * 8**2 + 2 * 16**2)
    plain, _, _ = embedding_runs.preview_embed(job.source, job.out, **networks)
    assert "noise_bytes" not in plain.to_json()
    with pytest.raises(ConfigError, match="noise_penalty has no effect without noise_steps; leave it out"):
        embedding_runs.preview_embed(job.source, job.out, noise_penalty=1.0, **networks)
    without = tmp_path / "without.safetensors"
    write_safetensors(random_generator("stylegan3", 16, width=8, channel_base=64), without)
    with pytest.raises(ConfigError, match="noise steps are 10, and a stylegan3 generator has no noise maps"):
        embedding_runs.preview_embed(job.source, job.out, noise_steps=10, **networks | {"generator": str(without)})


def test_another_run_in_its_place_takes_only_the_maps_that_this_one_has_published(job: EmbedRunRequest) -> None:
    embed(job)
    store = open_store(job.out)
    store.put("noise/shard-00001.parquet.mine", b"somebody's")
    store.put("noise/shard-00077.parquet", b"somebody's")
    plain = replace(CONFIG, embed=EmbedConfig(steps=1), overwrite=True)
    embed(replace(job, config=plain))
    assert [info.key for info in store.list("noise/")] == [
        "noise/shard-00001.parquet.mine",
        "noise/shard-00077.parquet",
    ]
    store.put("noise/shard-00001.parquet", b"somebody's")
    with pytest.raises(RunConflictError, match=r"noise/shard-00001\.parquet' would be written over"):
        embed(replace(job, config=replace(CONFIG, overwrite=True)))
    assert store.get("noise/shard-00001.parquet") == b"somebody's"
    assert read_table(job.out)["noise_steps"].null_count == len(NAMES), "the run that was there is there still"
