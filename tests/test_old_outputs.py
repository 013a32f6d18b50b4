"""Outputs of earlier versions: read, checked, edited, merged and resumed by this one.

Each test works on a copy in a folder of its own, which is the current folder meanwhile (tests/data/outputs/jobs.py).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i2s_batch import LatentDataset, iter_latents, read_latents
from i2s_batch.api.reports import write_report
from i2s_batch.api.verification import verify
from i2s_batch.editing import Morph
from i2s_batch.embedding.single_image import embed_image
from i2s_batch.errors import RunConflictError, StorageError, UnfinishedRunWarning
from i2s_batch.maintenance.merging import merge_runs
from i2s_batch.models.loading import generator_weights
from i2s_batch.output import lease
from i2s_batch.output.layout import RunLayout
from i2s_batch.run.status import read_status
from i2s_batch.schema.metadata import META_SCHEMA_VERSION
from i2s_batch.storage import open_store
from i2s_batch.storage.files import TEMPORARY_PREFIX
from i2s_batch.studies.study_run import StudyRunRequest
from i2s_batch.table.dataset import open_table
from i2s_batch.table.export import export_latents
from i2s_batch.table.neighbours import find_neighbours
from i2s_batch.table.shards import read_rows, read_shard, read_table
from i2s_batch.table.sql import run_query
from tests.conftest import S3Server
from tests.data.outputs import jobs
from tests.data.outputs.jobs import IMAGES, LIST
from tests.faults.outputs import Witness
from tests.material import DATA, scene, upload, write_small_vgg
from tests.runs import rewrite_shard, rows_written, state_in

VERSIONS = sorted(path.name for path in (DATA / "outputs").glob("schema-*"))
LISTED = [f"in/{name}" for name in IMAGES]  # ids are paths from where the list is
FINISHED = {"finished": (6, 5), "morph": (9, 9), "render": (5, 5)}  # images, and those of them that are ok
UNFINISHED = ("killed", "killed-edit", "stopped-lbfgs", "stopped-steps", "stopped-iterate", "stopped-transforms")

pytestmark = pytest.mark.skipif(not Path(jobs.HERE).exists(), reason="the outputs are recorded under /proc/self/cwd")


@pytest.fixture(params=VERSIONS)
def outputs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the outputs of a version into the folder of this test, and make that the current folder."""
    folder = tmp_path / request.param
    shutil.copytree(DATA / "outputs" / request.param, folder)
    write_small_vgg(folder / "vgg.pth")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(lease, "EXPIRY_S", 0.1)  # of the killed driver, whose machine is not this one
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file under a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def query(out: Path | str, sql: str) -> list[dict]:
    """Answer an SQL query, a dict a row."""
    with run_query(open_table(str(out)), sql) as found:
        return [row for batch in found.batches for row in batch.to_pylist()]


def latents_of(out: str) -> dict[str, np.ndarray]:
    """Read the latents of a table by image id."""
    table = read_latents(out)
    return dict(zip(table.ids, table.latents, strict=True))


def saved_steps(out: Path) -> list[int]:
    """List how many steps each checkpoint of an unfinished run holds."""
    return [state_in(path.read_bytes()).step for path in (out / "work" / "checkpoints").glob("*.npz")]


def check_same_latents(out: str, other: str) -> None:
    """Check that two runs have latents of the same images, equal within the rounding of float32."""
    one, two = latents_of(out), latents_of(other)
    assert one.keys() == two.keys() and one
    for image_id, latent in one.items():
        np.testing.assert_allclose(latent, two[image_id], rtol=0, atol=1e-5, err_msg=image_id)


def test_there_is_an_output_of_each_version() -> None:
    assert "schema-2" in VERSIONS
    for version in VERSIONS:
        record = json.loads((DATA / "outputs" / version / "finished" / "run.json").read_text())
        assert version.removesuffix("-later") == f"schema-{record['schema_version']}"


def test_the_latents_are_read_by_every_reader(outputs: Path) -> None:
    out = str(outputs / "finished")
    table = read_latents(out, ["label", "age"])
    assert sorted(table.ids) == LISTED[:5] and table.latents.shape == (5, 6, 16) and table.latents.dtype == np.float32
    assert np.isfinite(table.latents).all() and len({latent.tobytes() for latent in table.latents}) == 5
    assert dict(zip(table.ids, table.metrics["age"].tolist(), strict=True)) == {n: k for k, n in enumerate(LISTED[:5])}
    parts = list(iter_latents(out, batch_size=2))
    np.testing.assert_array_equal(np.concatenate([part.latents for part in parts]), table.latents)
    items = [LatentDataset(out, ["label"])[place] for place in range(5)]
    assert {item["image_id"]: item["label"] for item in items} == {n: f"label {k}" for k, n in enumerate(LISTED[:5])}
    np.testing.assert_array_equal(torch.stack([item["latent"] for item in items]).numpy(), table.latents)


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_output_is_sound_and_says_so(outputs: Path, name: str) -> None:
    images, ok = FINISHED[name]
    found = verify(str(outputs / name), sample=images)
    assert found.sound and not found.unchecked, (found.findings, found.unchecked)
    assert (found.planned, found.rows, found.rendered) == (images, images, ok) and found.files == found.as_written
    status = read_status(str(outputs / name), print)
    assert status.finished and (status.images, status.done, status.failed) == (images, images, images - ok)
    page = Path(write_report(str(outputs / name), generator_weights(outputs / "generator.safetensors")))
    assert page == outputs / name / "report.html" and "data:image" in page.read_text()


def test_tables_answer_queries(outputs: Path) -> None:
    (row,) = query(outputs / "finished", "SELECT * FROM latents WHERE image_id = 'in/dogs/3.png'")
    assert (row["label"], row["age"], row["status"], row["steps"], row["width"]) == ("label 3", 3, "ok", 8, 24)
    assert row["loss_curve"][0] > row["loss"] > 0 and len(row["latent"]) == 6 * 16
    (failure,) = query(outputs / "finished", "FROM failures")
    assert failure["image_id"] == LISTED[5] and failure["status"] == "unreadable" and failure["error"]
    far = "max(euclidean(latent, latent_of('in/cats/0.png')))"
    (found,) = query(outputs / "finished", f"SELECT count(*) AS n, {far} AS far FROM latents WHERE status = 'ok'")
    assert found["n"] == 5 and found["far"] > 0
    frames = query(outputs / "morph", "SELECT frame, operation, parents, strength FROM latents ORDER BY frame")
    assert [frame["frame"] for frame in frames] == list(range(9)) and {f["operation"] for f in frames} == {"morph"}
    assert frames[1]["parents"] == LISTED[:2] and frames[1]["strength"] == 0.5
    with pytest.warns(UnfinishedRunWarning, match=r"no driver is at work, 5 of 6 images are there"):
        (some,) = query(outputs / "killed", "SELECT count(*) AS n FROM latents")
    assert some["n"] == 5, "of a run that was killed, what is published and what its work log holds"


@pytest.mark.parametrize("name", UNFINISHED)
def test_an_unfinished_output_is_read_and_shown_with_its_work_log(outputs: Path, name: str) -> None:
    out = str(outputs / name)
    status = read_status(out, print)
    assert 0 < status.done < status.images
    with pytest.warns(UnfinishedRunWarning, match=rf"{status.done} of {status.images} images are there"):
        (row,) = query(out, "SELECT count(*) AS n, count(DISTINCT image_id) AS ids FROM latents")
    assert row["n"] == row["ids"] == status.done
    with pytest.warns(UnfinishedRunWarning):
        page = Path(write_report(out, generator_weights(outputs / "generator.safetensors"))).read_text()
    assert f"not finished when this page was written:</b> {status.done} of {status.images} images" in page


def test_neighbours_of_old_latents(outputs: Path) -> None:
    out = str(outputs / "finished")
    found = find_neighbours(out, LISTED[0], k=9)
    codes = latents_of(out)
    far = {name: np.linalg.norm(code.astype(float) - codes[LISTED[0]]) for name, code in codes.items()}
    assert [n.image_id for n in found.neighbours] == sorted(far, key=far.__getitem__)[1:]
    assert found.neighbours[0].distance == pytest.approx(sorted(far.values())[1], rel=1e-6)
    new = embed_image(out, str(outputs / "in/dogs/4.png"))
    np.testing.assert_allclose(new.latent, codes[LISTED[4]].ravel(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt"])
def test_old_latents_are_exported(outputs: Path, suffix: str) -> None:
    assert export_latents(str(outputs / "finished"), f"latents.{suffix}") == 5
    table = read_latents(str(outputs / "finished"))
    if suffix == "pt":
        found = torch.load("latents.pt", weights_only=True)
        assert found["image_id"] == table.ids
        np.testing.assert_array_equal(found["w"].numpy(), table.latents)
    else:
        loaded = np.load(f"latents.{suffix}")
        np.testing.assert_array_equal(loaded if suffix == "npy" else loaded["w"], table.latents)


def test_old_latents_are_edited(outputs: Path) -> None:
    job = replace(jobs.MORPH, out=f"{jobs.HERE}/new", request=Morph((0.25,), "all-pairs"))
    assert jobs.carry_out(job).summary.statuses == {"ok": 10}
    codes = {name: code.astype(np.float64) for name, code in latents_of("finished").items()}
    for row in read_table("new").to_pylist():
        one, two = (codes[parent] for parent in row["parents"])
        made = np.float32(row["latent"]).reshape(6, 16)
        shares = [np.abs(made - (a * one + (1 - a) * two)).max() for a in (0.25, 0.75)]
        assert min(shares) < 1e-5 < max(shares)
    again = replace(job, latents=(f"{jobs.HERE}/morph",), out=f"{jobs.HERE}/newer", request=jobs.RENDER.request)
    assert jobs.carry_out(again).summary.statuses == {"ok": 9}, "old edits are edited"


@pytest.mark.parametrize("job", [jobs.FINISHED, jobs.MORPH, jobs.RENDER], ids=FINISHED)
def test_running_a_finished_run_again_changes_nothing(outputs: Path, job: jobs.AnyJob) -> None:
    folder = outputs / Path(job.out).name
    before = files_of(folder)
    jobs.carry_out(job)
    after = files_of(folder)
    assert before.keys() == after.keys() and len(before) > 4
    assert {name for name in before if before[name] != after[name]} <= {"summary.json"}


def test_a_finished_run_takes_in_new_images(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = files_of(outputs / "finished" / "latents")
    scene(7, (24, 24)).save("in/cats/new.png")
    Path("list.csv").write_text(f"{LIST}in/cats/new.png,label 7,7\n")
    names = rows_written(monkeypatch)
    outcome = jobs.carry_out(replace(jobs.FINISHED, config=replace(jobs.FINISHED.config, grow=True)))
    assert names == ["in/cats/new.png"] and outcome.summary.statuses == {"ok": 6, "unreadable": 1}
    after = files_of(outputs / "finished" / "latents")
    assert len(after) == 4 and {name: after[name] for name in shards} == shards and verify("finished").sound


CLASHING = [version for version in VERSIONS if (DATA / "outputs" / version / "clashing").exists()]


@pytest.mark.parametrize("outputs", CLASHING, indirect=True)
def test_columns_of_a_list_keep_their_names_in_a_run_and_not_in_a_merged_one(outputs: Path) -> None:
    Path("folders.csv").write_text(jobs.FOLDERS)
    old = json.loads(Path("clashing", "run.json").read_text())["schema_version"] == 2
    columns = {"folder", "mode"} if old else {"list_folder", "list_mode"}
    jobs.carry_out(replace(jobs.CLASHING, config=replace(jobs.CLASHING.config, grow=True)))
    table = read_table("clashing")
    assert set(table.column_names[-2:]) == columns and ("crop_box" in table.column_names) != old
    kinds = [f"kind {number % 2}" for number in range(5)]
    assert table[min(columns)].to_pylist() == kinds and verify("clashing").sound
    (row,) = read_rows("clashing", [LISTED[0]])
    assert row.extra == dict.fromkeys(columns) | {min(columns): "kind 0", max(columns): 0}
    assert (row.folder, row.mode) == ((None, None) if old else ("in", "RGB"))
    merge_runs(["clashing", "clashing"], "merged", print)
    merged = read_table("merged")
    assert merged["list_folder"].to_pylist() == kinds and merged["folder"].to_pylist() == ["in"] * 5
    assert merged["crop_box"].to_pylist() == [[0.0, 0.0, 24.0, 24.0]] * 5 and verify("merged").sound


@pytest.mark.parametrize("outputs", ["schema-2"], indirect=True)
def test_the_first_version_is_read_updated_and_merged_too(outputs: Path) -> None:
    """Its table is that of the second without the column that came then."""
    record = json.loads(Path("finished", "run.json").read_text()) | {"schema_version": 1}
    Path("finished", "run.json").write_text(json.dumps(record))
    for shard in range(3):
        rows = read_shard(open_store("finished"), RunLayout.shard(shard))
        texts = {name.decode(): value.decode() for name, value in rows.schema.metadata.items()}
        first = texts | {META_SCHEMA_VERSION: "1"}
        rewrite_shard(open_store("finished"), shard, rows.drop_columns("vanished_at"), first)
    assert verify("finished").sound and read_latents("finished").ids == sorted(LISTED[:5])
    scene(7, (24, 24)).save("in/cats/new.png")
    Path("list.csv").write_text(f"{LIST}in/cats/new.png,label 7,7\n")
    jobs.carry_out(replace(jobs.FINISHED, config=replace(jobs.FINISHED.config, grow=True)))
    table = read_table("finished")
    assert table.num_rows == 7 and "vanished_at" not in table.column_names and verify("finished").sound
    merge_runs(["finished", "finished"], "merged", print)
    assert read_table("merged")["vanished_at"].null_count == 7 and verify("merged").sound


def test_merging_with_itself_keeps_every_image_once(outputs: Path) -> None:
    said: list[str] = []
    summary = merge_runs(["finished", "finished"], "merged", said.append)
    assert said == ["6 images of 2 runs; 6 rows are of images that another run holds too"]
    assert summary.statuses == {"ok": 5, "unreadable": 1} and verify("merged").sound
    one, merged = ({row["image_id"]: row for row in read_table(out).to_pylist()} for out in ("finished", "merged"))
    assert one.keys() == merged.keys()
    new = {"folder", "bytes", "format", "mode", "crop_box", "generator_fingerprint", "run_id", "landmarks", "transform"}
    record = json.loads(Path("finished", "run.json").read_text())
    for image_id, row in merged.items():
        assert {name: value for name, value in row.items() if name not in new} == {
            name: value for name, value in one[image_id].items() if name not in new
        }
        assert row["folder"] == "in" and row["generator_fingerprint"] == record["generator"]["fingerprint"]
        assert row["run_id"] == record.get("run_id")


def test_what_cannot_be_merged_is_refused(outputs: Path) -> None:
    with pytest.raises(StorageError, match="is not finished"):
        merge_runs(["killed", "killed"], "merged", print)
    with pytest.raises(RunConflictError, match="holds edits"):
        merge_runs(["finished", "morph"], "merged", print)
    assert not Path("merged").exists()


@pytest.mark.parametrize("name", jobs.STOPPED)
def test_a_stopped_run_resumes_to_the_end_of_an_undisturbed_one(outputs: Path, name: str) -> None:
    job = jobs.STOPPED[name]
    witness = Witness(str(outputs / name), 6 * 16, job.config.shard_size)
    witness.look()
    before, saved = read_status(name, print), saved_steps(outputs / name)
    done = set(witness.finished)
    assert before.state == "stopped" and 0 < len(done) == before.done < before.images
    assert len(saved) == before.saved and any(saved) == (name != "killed-edit")
    summary = jobs.carry_out(job).summary
    witness.look()
    assert summary.this_session.images == before.images - len(done) and len(witness.finished) == before.images
    found = verify(name, sample=before.images)
    assert found.sound and not files_of(outputs / name / "work"), found.findings
    assert not [path for path in files_of(outputs / name) if TEMPORARY_PREFIX in path], (
        "what a kill left behind is gone"
    )
    if saved:
        rest = [row for row in read_table(name).to_pylist() if row["image_id"] not in done]
        needed = sum(row["steps"] for row in rest if row["status"] == "ok")
        made = summary.this_session.steps
        assert 0 <= made - (needed - sum(saved)) < 10, "every checkpoint was continued, but for an early stop"
    whole = jobs.carry_out(replace(job, out=f"{jobs.HERE}/undisturbed")).summary
    assert whole.statuses == summary.statuses
    check_same_latents(name, "undisturbed")
    assert write_report(name, generator_weights("generator.safetensors")) == str(Path(name, "report.html").absolute())
    assert (outputs / name / "study.md").exists() == isinstance(job, StudyRunRequest)


def test_a_stopped_run_on_s3_resumes_to_the_end_of_an_undisturbed_one(
    outputs: Path, s3: S3Server, s3_env: dict[str, str]
) -> None:
    job = jobs.ON_S3
    s3.client().create_bucket(Bucket=jobs.BUCKET)
    store = open_store(f"s3://{jobs.BUCKET}")
    store.delete([info.key for info in store.list()])
    upload(outputs / "in", job.source)
    upload(outputs / "s3", job.out)
    before = read_status(job.out, print)
    assert (before.state, before.images, before.done, before.saved) == ("stopped", 6, 5, 1)
    with pytest.warns(UnfinishedRunWarning, match=r"5 of 6 images are there"):
        uris = [row["uri"] for row in query(job.out, "SELECT uri FROM latents ORDER BY ALL")]
    assert len(uris) == 5 and set(uris) < {f"{job.source}/{name}" for name in IMAGES}
    session = jobs.carry_out(job).summary.this_session
    (saved,) = saved_steps(outputs / "s3")
    assert session.images == 1 and session.steps == 40 - saved < 40
    assert verify(job.out, sample=6).sound and not list(open_store(job.out).list("work/"))
    jobs.carry_out(replace(job, out=f"s3://{jobs.BUCKET}/undisturbed"))
    check_same_latents(job.out, f"s3://{jobs.BUCKET}/undisturbed")
