"""`verify`: silent on what real runs write, and for every kind of damage one finding that names file and row."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.editing.kept_noise import NoiseOfEdits
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import RunConflictError, StorageError
from i2s_batch.maintenance.verification.embedded_rows import Rerendered
from i2s_batch.maintenance.verification.row_checks import Networks, row_check
from i2s_batch.maintenance.verification.shard_checks import Expected, check_shard
from i2s_batch.maintenance.verification.table_checks import Verification
from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.models.weights import VGG_LAYERS, VGG_WIDTHS
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.publication import Checksum
from i2s_batch.schema.codec import encode_shard
from i2s_batch.schema.metadata import table_settings
from i2s_batch.schema.row import Row
from i2s_batch.storage import open_store
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.program import here, i2s_batch, refusal
from tests.runs import embed, rewrite_shard

SHARDS = [RunLayout.shard(number) for number in range(3)]
CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=4), batch_size=3, shard_size=3, max_failed_fraction=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Path:
    """Seven pictures and a file that is none, four rows a shard; a list carries a column along."""
    root = tmp_path_factory.mktemp("verify")
    pictures = root / "in"
    pictures.mkdir()
    for number in range(7):
        scene(number, (50, 40)).save(pictures / f"{number}.png")
    (pictures / "8.png").write_bytes(b"<html>")
    (root / "list.csv").write_text("path,label\n" + "".join(f"in/{n}.png,x{n}\n" for n in [*range(7), 8]))
    job = EmbedRunRequest(str(root / "list.csv"), str(root / "out"), str(generator), str(vgg), CONFIG)
    embed(job)
    return root / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> str:
    """A copy, to be spoilt."""
    shutil.copytree(finished, tmp_path / "out")
    return str(tmp_path / "out")


def told(found: Verification) -> list[tuple[str, str | None, str]]:
    """The findings with the files' last names; each is one line that is short enough to be read."""
    for finding in found.findings:
        assert "\n" not in finding.what and len(finding.what) < 300
    return [(finding.file.rpartition("/")[2], finding.row, finding.what) for finding in found.findings]


def shard_table(out: str, key: str) -> pa.Table:
    return pq.read_table(io.BytesIO(open_store(out).get(key)))


def ids(out: str, shard: int) -> list[str]:
    return shard_table(out, SHARDS[shard])["image_id"].to_pylist()


def change(out: str, shard: int, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Publish a shard anew with other rows, as a program would whose rows are wrong."""
    table = shard_table(out, SHARDS[shard])
    new = pa.Table.from_pylist(edit(table.to_pylist()), table.schema)
    rewrite_shard(open_store(out), shard, new, metadata_of(table))


def metadata_of(table: pa.Table) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in table.schema.metadata.items()}


def first(row: dict[str, Any]) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda rows: [rows[0] | row, *rows[1:]]


def test_a_sound_table(finished: Path, s3_bucket: str) -> None:
    found = verify(str(finished))
    assert told(found) == [] and found.sound and found.unchecked == []
    assert (found.planned, found.files, found.rows, found.latents, found.missing, found.rendered) == (8, 3, 8, 7, 0, 7)
    assert found.as_written == 3
    local, remote = open_store(str(finished)), open_store(f"s3://{s3_bucket}/out")
    for info in local.list():
        remote.put(info.key, local.get(info.key))
    found = verify(remote.url, sample=2)
    assert told(found) == [] and found.sound and found.rendered == 2


def test_a_run_whose_pictures_all_failed(tmp_path: Path, generator: Path, vgg: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    job = EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), EmbedRunConfig())
    embed(job)
    found = verify(str(tmp_path / "out"))
    assert told(found) == [] and (found.rows, found.latents, found.rendered) == (1, 0, 0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"status": "fine"}, "its status is none of ok, unreadable, diverged, crashed, not_an_image"),
        ({"status": "crashed", "error": "x"}, "its status is not ok, but it has a latent"),
        ({"latent": None}, "its status is ok, but it has no latent"),
        ({"psnr": 1.5}, "its psnr is 1.5; its mse gives "),
        ({"mse": -1.0}, "its mse gives nan"),
        ({"w_distance": 3.0}, "its w_distance is 3; its latent gives "),
        ({"loss": float("nan")}, "its loss is not finite"),
        ({"loss_curve": [1.0]}, "its curve is cut"),
        ({"evaluations": 1}, "its evaluations are not its steps and one more"),
        ({"loss_prior": float("inf")}, "its loss_prior is not finite"),
        ({"image_id": "zz.png"}, "it was not planned for this file"),
        ({"ssim": 0.123456}, "its ssim is 0.123456; its latent gives "),
        ({"loss_pixel": 7.5}, "; its terms give "),
        ({"lpips": 0.5}, "its lpips is 0.5; its latent gives nothing"),
    ],
)
def test_a_row_that_is_wrong(out: str, row: dict[str, Any], message: str) -> None:
    name = row.get("image_id", ids(out, 1)[0])
    change(out, 1, first(row))
    findings = told(verify(out))
    assert any(finding == ("shard-00001.parquet", name, finding[2]) and message in finding[2] for finding in findings)
    assert all(file == "shard-00001.parquet" for file, _, _ in findings)


def test_latents_that_are_wrong(out: str) -> None:
    name = ids(out, 0)[0]
    latent = shard_table(out, SHARDS[0])["latent"][0].as_py()
    change(out, 0, first({"latent": [float("inf"), *latent[1:]]}))
    assert ("shard-00000.parquet", name, "its latent has values that are not finite") in told(verify(out))
    other = (np.array(latent) + np.random.default_rng(0).normal(0, 1, len(latent))).tolist()
    change(out, 0, first({"latent": other}))
    (finding,) = told(verify(out))
    assert finding[:2] == ("shard-00000.parquet", name) and "its w_distance is" in finding[2]


@pytest.mark.parametrize("term", ["conv1_1", "conv1_2", "conv3_2", "conv4_2"])
def test_losses_that_the_latent_does_not_give(out: str, term: str) -> None:
    """The loss goes along, so that nothing but the VGG-16 tells."""
    row = shard_table(out, SHARDS[1]).to_pylist()[0]
    off = 0.01 * row[f"loss_{term}"]
    change(out, 1, first({f"loss_{term}": row[f"loss_{term}"] + off, "loss": row["loss"] + off}))
    findings = told(verify(out))
    assert {finding[:2] for finding in findings} == {("shard-00001.parquet", row["image_id"])}
    assert f"its loss_{term} is {row[f'loss_{term}'] + off:.6g}; its latent gives " in findings[0][2]


def test_a_vgg_that_cannot_be_had(out: str, vgg: Path) -> None:
    record = Path(out, "run.json")
    record.write_text(record.read_text().replace("vgg.pth", "lost.pth"))
    found = verify(out)
    assert found.sound and found.rendered == 7
    (line,) = found.unchecked
    assert line.startswith("loss, loss_conv* and lpips of rows rendered again: the VGG-16 is not available here (")
    assert line.endswith("give it with --vgg") and "lost.pth" in line
    found = verify(out, vgg=str(vgg))
    assert found.sound and found.rendered == 7 and found.unchecked == []
    with pytest.raises(RunConflictError, match=r"was made by the VGG-16 .*; give the one that made it"):
        verify(out, vgg="random")


def test_lpips_is_computed_again(tmp_path: Path, generator: Path) -> None:
    """With a VGG-16 that could be ImageNet's: all layers, at full width, from a file."""
    full, stream = {}, torch.Generator().manual_seed(0)
    for layer, (inputs, outputs) in zip(VGG_LAYERS, pairwise((3, *VGG_WIDTHS)), strict=True):
        kernel = torch.randn(outputs, inputs, 3, 3, generator=stream) * (2 / 9 / inputs) ** 0.5
        full |= {f"features.{layer}.weight": kernel, f"features.{layer}.bias": torch.zeros(outputs)}
    torch.save(full, tmp_path / "full.pth")
    (tmp_path / "in").mkdir()
    scene(0, (50, 40)).save(tmp_path / "in" / "a.png")
    job = EmbedRunRequest(
        str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(tmp_path / "full.pth"), CONFIG
    )
    embed(replace(job, config=replace(CONFIG, embed=EmbedConfig(steps=1))))
    table = shard_table(job.out, SHARDS[0])
    (row,) = table.to_pylist()
    settings = table_settings(metadata_of(table))
    check = row_check(open_store(job.out), metadata_of(table), settings, Networks(recorded=True), {}, NoiseOfEdits, [])
    assert check is not None and row["lpips"] > 0 and check.check(Row.of_cells(row)) == Rerendered("", [])
    for wrong, text in ((0.123456, "0.123456"), (None, "nothing")):
        (what,) = check.check(Row.of_cells(row | {"lpips": wrong})).differences
        assert what == f"its lpips is {text}; its latent gives {row['lpips']:.6g}"


def test_rows_that_are_missing_twice_or_out_of_order(out: str) -> None:
    one, two = ids(out, 1)[:2]
    change(out, 1, lambda rows: rows[1:])
    assert told(verify(out)) == [("shard-00001.parquet", one, "its row is missing")]
    change(out, 1, lambda rows: [rows[0], *rows])
    findings = told(verify(out))
    assert (
        "shard-00001.parquet",
        two,
        f"it comes after {two!r}; rows must be sorted by image_id, each once",
    ) in findings
    stolen = shard_table(out, SHARDS[0]).to_pylist()[0]
    change(out, 1, lambda rows: [stolen, *rows[1:]])
    findings = told(verify(out))
    assert any(row == stolen["image_id"] and what.startswith("it has a row in ") for _, row, what in findings)
    table = shard_table(out, SHARDS[2])
    backwards = table.take(list(range(len(table)))[::-1])
    pq.write_table(backwards, Path(out, SHARDS[2]), compression="zstd", write_page_index=True)
    assert any("rows must be sorted by image_id" in what for _, _, what in told(verify(out)))


def test_encodings_and_metadata(out: str) -> None:
    table = shard_table(out, SHARDS[0])
    pq.write_table(table, Path(out, SHARDS[0]), compression="snappy")
    whats = [what for _, _, what in told(verify(out))]
    assert any(
        what.endswith("column latent is encoded as PLAIN, RLE, RLE_DICTIONARY, not BYTE_STREAM_SPLIT") for what in whats
    )
    assert any("column image_id is compressed by SNAPPY, not ZSTD" in what for what in whats)
    assert any("column image_id has no page index" in what for what in whats)
    metadata = metadata_of(table)
    rewrite_shard(open_store(out), 0, table, metadata | {"i2s_batch.space": "z"})
    what = "its metadata have i2s_batch.space = z; run.json has w+"
    assert told(verify(out)) == [("shard-00000.parquet", None, what)]
    rewrite_shard(open_store(out), 0, table.drop_columns("ssim"), metadata)
    (finding, *_) = told(verify(out))
    assert finding[1] is None and "its column 37 is 'lpips' (double); it must be 'ssim' (double)" in finding[2]


def test_files_that_cannot_be_read_do_not_hide_the_others(out: str) -> None:
    """A corrupt shard, a foreign file, an older schema and a wrong row, all at once."""
    store = open_store(out)
    whole = store.get(SHARDS[0])
    flipped = bytearray(whole)
    group = pq.read_metadata(io.BytesIO(whole)).row_group(0)
    codes = next(chunk for chunk in map(group.column, range(group.num_columns)) if "latent" in chunk.path_in_schema)
    flipped[codes.data_page_offset + codes.total_compressed_size // 2] ^= 0xFF
    store.put(SHARDS[0], bytes(flipped))
    table = shard_table(out, SHARDS[1])
    rewrite_shard(store, 1, table, metadata_of(table) | {"i2s_batch.schema_version": "0"})
    change(out, 2, first({"psnr": 1.5}))
    store.put("latents/other.parquet", b"PAR1")
    foreign = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), foreign)
    store.put(RunLayout.shard(7), foreign.getvalue().to_pybytes())
    store.put(RunLayout.shard(8), b"")
    findings = {file: what for file, _, what in told(verify(out))}
    assert findings["shard-00000.parquet"].startswith("its rows 0 to 2 are damaged (could not verify page integrity")
    assert findings["shard-00001.parquet"].startswith("has schema version 0; this program reads 1 to 5")
    assert "its psnr is 1.5" in findings["shard-00002.parquet"]
    assert "is not a shard of this table" in findings["other.parquet"]
    whats = [what for file, _, what in told(verify(out)) if file == "shard-00007.parquet"]
    assert (
        any("is a Parquet file of another program" in what for what in whats) and "the plan has only 3 shards" in whats
    )
    assert any(file == "shard-00008.parquet" and "damaged" in what for file, _, what in told(verify(out)))


def test_no_flipped_bit_goes_unseen_if_it_changes_a_value(out: str) -> None:
    """Nor does one end the process, or raise anything, even where no checksum of the file is recorded. Some bits of a
    footer mean nothing to a reader."""
    store = open_store(out)
    whole, values = store.get(SHARDS[0]), shard_table(out, SHARDS[0])
    store.delete([RunLayout.checksum(0)])
    for place in np.random.default_rng(0).choice(len(whole), 100, replace=False):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        store.put(SHARDS[0], bytes(flipped))
        if not check_shard(store, SHARDS[0], Expected(None, None, None)).findings:
            assert shard_table(out, SHARDS[0]).equals(values), f"byte {place}"


def test_bytes_that_are_not_those_that_were_written(out: str, finished: Path, generator: Path, vgg: Path) -> None:
    """Each is a whole file of ours, so that nothing but its checksum tells."""
    store = open_store(out)
    table, written = shard_table(out, SHARDS[0]), Checksum.of(store.get(SHARDS[0]))
    place = table.schema.get_field_index("seconds")
    other = encode_shard(table.set_column(place, "seconds", pa.array([1.0] * len(table))), metadata_of(table))
    store.put(SHARDS[0], other)
    store.put(SHARDS[1], store.get(SHARDS[1])[:-1])
    findings = told(verify(out))
    again = f"its sha256 is {Checksum.of(other)}; it was written as {written}; "
    again += "delete it and run the embed command again"
    assert findings[0] == ("shard-00000.parquet", None, again) and f"of {len(other)} bytes" in again
    assert [file for file, _, _ in findings[1:]] == ["shard-00001.parquet"] * 2
    assert "its sha256 is" in findings[1][2] and "it is damaged" in findings[2][2], "a cut file is told of by both"
    store.delete(SHARDS[:2])
    job = EmbedRunRequest(str(finished.parent / "list.csv"), out, str(generator), str(vgg), CONFIG)
    embed(job)
    assert verify(out).sound, "the advice helps"


def test_checksums_that_are_missing_or_damaged(out: str) -> None:
    store = open_store(out)
    store.delete([RunLayout.checksum(0)])
    store.put(RunLayout.checksum(1), b"?")
    change(out, 1, lambda rows: rows)
    store.put(RunLayout.checksum(1), b"?")
    missing, damaged = told(verify(out))
    assert missing[::2] == ("shard-00000.parquet", f"its checksum {store.uri(RunLayout.checksum(0))!r} is missing")
    assert damaged[0] == "shard-00001.parquet" and "shard-00001.json' is not the record of a checksum" in damaged[2]


def test_an_output_of_an_older_program_has_no_checksums(out: str) -> None:
    store = open_store(out)
    record = json.loads(store.get(RunLayout.run_json))
    del record["checksums"]
    store.put(RunLayout.run_json, json.dumps(record).encode())
    store.delete([RunLayout.checksum(shard) for shard in (0, 1)])
    assert len(read_table(out)) == 8 and len(read_latents(out).ids) == 7
    found = verify(out)
    assert found.sound and found.as_written == 1 and found.rendered == 7
    assert found.unchecked == ["the bytes of 2 of 3 files: no checksum of them is recorded"]
    store.put(SHARDS[2], store.get(SHARDS[2]) + b" ")
    assert told(verify(out))[0][2].startswith("its sha256 is "), "a shard that has one is compared all the same"


def test_manifest_and_record(out: str) -> None:
    store = open_store(out)
    manifest, record = store.get(RunLayout.plan), store.get(RunLayout.run_json)
    store.delete([RunLayout.plan])
    found = verify(out)
    assert told(found) == [("images.parquet", None, "it is missing: which images were planned is not known")]
    assert found.planned is None and found.rows == 8 and found.rendered == 7
    store.put(RunLayout.plan, b"PAR1 no more")
    assert told(verify(out))[0][2].startswith("is damaged (")
    store.put(RunLayout.plan, manifest)
    store.delete([RunLayout.run_json])
    found = verify(out)
    assert told(found) == [("run.json", None, "it is missing: what the table was made with is not known")]
    assert found.rows == 8 and found.rendered == 0 and "give it with --generator" in found.unchecked[0]
    for damaged in (b"{", b"[]", b'{"source": 1, "settings": [], "generator": 2, "vgg": 3}'):
        store.put(RunLayout.run_json, damaged)
        assert [file for file, _, _ in told(verify(out, sample=0))] == ["run.json"]
    content = json.loads(record)
    content["settings"]["shard_size"] = 0
    store.put(RunLayout.run_json, json.dumps(content).encode())
    assert any(file == "run.json" and "shard_size is 0" in what for file, _, what in told(verify(out, sample=0)))


def test_shards_that_are_not_there(out: str) -> None:
    store = open_store(out)
    expected = ids(out, 1)
    store.delete([SHARDS[1]])
    what = f"it is missing, with 3 rows from {expected[0]!r} to {expected[-1]!r}; run the embed command again"
    assert told(verify(out)) == [("shard-00001.parquet", None, what)]
    store.delete([RunLayout.summary])
    found = verify(out)
    assert told(found) == [] and found.missing == 3 and not found.sound, "a run that was stopped is not damaged"
    store.delete(SHARDS)
    found = verify(out)
    assert told(found) == [] and found.missing == 8 and found.files == 0
    store.delete([info.key for info in store.list()])
    with pytest.raises(StorageError, match=r"holds no output of i2s-batch"):
        verify(out)


def test_sources_and_generators_that_are_gone_or_others(out: str, finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    write_safetensors(random_generator("stylegan1", 16, seed=4, width=16, channel_base=256), other)
    with pytest.raises(RunConflictError, match=r"give the one that made it"):
        verify(out, generator=str(other))
    record = Path(out, "run.json")
    record.write_text(record.read_text().replace(".safetensors", ".lost"))
    found = verify(out)
    assert found.sound and found.rendered == 0 and "the generator is not available here" in found.unchecked[0]
    change(out, 0, lambda rows: [row | {"uri": "/nowhere/a.png"} for row in rows])
    change(out, 1, lambda rows: [row | {"sha256": "ab"} for row in rows])
    shutil.copy(finished / "run.json", record)
    found = verify(out)
    assert found.sound and found.rendered == 1 and found.unchecked[0].startswith("6 of 7 rows to be rendered again")
    assert "its source cannot be read" in found.unchecked[0]


@pytest.mark.slow
def test_the_command(out: str, tmp_path: Path) -> None:
    result = i2s_batch("verify", out, "--sample", "2")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == out and lines[1] == "  images      8 planned, 8 rows in 3 files, 7 with a latent"
    assert lines[2:] == [
        "  checksums   3 of 3 files are as they were written",
        "  rendered    2 rows again, within 0.2 %",
        "everything is as it should be",
    ]
    change(out, 1, first({"psnr": 1.5}))
    open_store(out).delete([RunLayout.summary, SHARDS[2]])
    result = here("verify", out, "--sample", "0")
    assert result.returncode == 1 and result.stderr == ""
    wrong, unfinished = result.stdout.splitlines()[-2:]
    assert wrong.startswith(f"wrong: {out}/{SHARDS[1]}, row {ids(out, 1)[0]}: its psnr is 1.5")
    assert unfinished == "unfinished: 2 images have no row in the table yet; see i2s-batch status"
    assert "holds no output" in refusal(here("verify", tmp_path / "nowhere"))
    assert "nowhere.pkl" in refusal(here("verify", out, "--generator", tmp_path / "nowhere.pkl"))
