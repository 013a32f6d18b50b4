"""Edits of a real table with workers in this process."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2s_batch import load_generator, read_latents
from i2s_batch.api.verification import verify
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Expression, ListedEdit, Morph, Reenact, Render, Request, Style, crossover, morph
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.editing.far_latents import farthest_own_distance
from i2s_batch.editing.formulas import add_direction, expression_direction
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError, QueryError, RunConflictError, SourceError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.execution import Outcome
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.run.status import read_status
from i2s_batch.schema.columns import COLUMNS
from i2s_batch.storage import open_store
from i2s_batch.table.latent_reader import LatentReader
from i2s_batch.table.shards import read_table
from tests.material import DATA, scene, upload
from tests.runs import embed

IDS = [f"{number}.png" for number in range(1, 11)]  # 10.png stands before 2.png in the table


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> str:
    """A table of ten codes in three shards, and one picture that has none."""
    folder = tmp_path_factory.mktemp("latents")
    (folder / "in").mkdir()
    for number, image_id in enumerate(IDS):
        scene(number, (40, 40)).save(folder / "in" / image_id)
    (folder / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    config = EmbedRunConfig(embed=EmbedConfig(steps=5), batch_size=4, shard_size=4)
    job = EmbedRunRequest(str(folder / "in"), str(folder / "out"), str(generator), str(vgg), config)
    embed(job)
    return str(folder / "out")


@pytest.fixture
def job(latents: str, generator: Path, tmp_path: Path) -> EditRunRequest:
    return EditRunRequest((latents,), str(tmp_path / "out"), str(generator), Render(), EditConfig(shard_size=40))


def run(job: EditRunRequest, workers: int = 1, said: list[str] | None = None) -> Outcome:
    say = (lambda line: None) if said is None else said.append
    return EditRun(job, generator_weights(job.generator), say).execute(InProcessCluster(workers))


def rows_of(out: str) -> dict[str, dict]:
    return {row["image_id"]: row for row in read_table(out).to_pylist()}


def check_pictures(out: str, generator: Path) -> None:
    """Every row's picture is there, is what the row says, and is what the generator makes of the row's code."""
    network = load_generator(generator)
    rows = rows_of(out)
    for row in rows.values():
        if row["status"] != "ok":
            assert row["latent"] is None and row["error"]
            continue
        data = Path(row["uri"]).read_bytes()
        assert row["uri"] == f"{out}/{row['image_file']}" and hashlib.sha256(data).hexdigest() == row["sha256"]
        code = torch.tensor(row["latent"]).reshape(1, network.num_layers, network.w_dim)
        with torch.no_grad():
            made = to_uint8(network.synthesize(code)[0])
        found = decode_image(data)
        assert found.shape == (row["height"], row["width"], 3)
        assert np.abs(found.astype(int) - made).max() <= 1, "another batch may round to a neighbouring level"
        assert row["w_distance"] == pytest.approx((code[0] - network.w_avg).norm().item(), rel=1e-5)
    files = {path.relative_to(out).as_posix() for path in Path(out, "pictures").rglob("*.*")}
    assert files == {row["image_file"] for row in rows.values() if row["status"] == "ok"}
    assert [info.key for info in open_store(out).list("work/")] == []


def test_every_operation_makes_its_codes_and_pictures(job: EditRunRequest, latents: str, generator: Path) -> None:
    table = read_latents(latents)
    code = dict(zip(table.ids, table.latents.astype(np.float64), strict=True))
    a, b, c = (code[image_id] for image_id in IDS[:3])
    names = tuple(IDS[:3])
    direction = expression_direction(b, c, 0.0, normalise=False)
    cases: list[tuple[Request, np.ndarray]] = [
        (Render(), a),
        (Morph((0.25,), listed=(ListedEdit(names[:2]),)), morph(b, a, 0.25)),
        (Style(listed=(ListedEdit(names[:2]),)), crossover(a, b)),
        (Expression((0.5,), listed=(ListedEdit(names),), threshold=0.0), add_direction(a, direction, 0.5)),
        (Reenact(names[0], names[1], threshold=0.0), add_direction(a, expression_direction(b, a, 0.0, False), 1.0)),
    ]
    for request, expected in cases:
        here = replace(job, out=f"{job.out}/{request.operation}", request=request, ids=names[:1])
        outcome = run(replace(here, ids=None) if request.listed else here)
        (row,) = rows_of(here.out).values()
        assert outcome.summary.statuses == {"ok": 1} and row["operation"] == request.operation
        np.testing.assert_array_equal(np.float32(row["latent"]).reshape(a.shape), expected.astype(np.float32))
        check_pictures(here.out, generator)


def test_the_table_is_that_of_embed_with_the_recipes(job: EditRunRequest, latents: str, generator: Path) -> None:
    out = run(replace(job, request=Morph((0.0, 0.5, 1.0), "all-pairs")))
    rows = rows_of(job.out)
    assert out.summary.images == len(rows) == 45 * 3
    table = read_table(job.out)
    assert table.column_names[: len(COLUMNS)] == [column.name for column in COLUMNS]
    assert not any(name.startswith("_") for name in table.column_names)
    half = next(row for row in rows.values() if row["parents"] == ["1.png", "2.png"] and row["strength"] == 0.5)
    assert (half["operation"], half["frame"], half["space"]) == ("morph", 1, "w+")
    assert half["image_id"] == f"{half['sequence']}/00001" and half["loss"] is None and half["psnr"] is None
    check_pictures(job.out, generator)
    assert read_latents(job.out).latents.shape[0] == 135
    status = read_status(job.out, print)
    assert status.finished and status.done == 135
    # edits can be edited
    again = replace(job, latents=(job.out,), out=f"{job.out}-again", request=Render(), where="strength = 0.5")
    run(again)
    assert len(rows_of(again.out)) == 45
    both = replace(job, latents=(latents, job.out), out=f"{job.out}-both", ids=("1.png", half["image_id"]))
    run(both)
    assert {tuple(row["parents"]) for row in rows_of(both.out).values()} == {("1.png",), (half["image_id"],)}


def test_running_again_makes_nothing_and_another_edit_is_refused(
    job: EditRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, request=Morph((0.5,), "chain"))
    run(job)
    before, summary = read_table(job.out), read_status(job.out, print)
    written: list[int] = []
    monkeypatch.setattr(WorkLog, "write_rows", lambda self, task, rows: written.append(task.index))
    run(job)
    assert written == [] and read_table(job.out) == before and summary.finished
    for change in (
        {"request": Morph((0.25,), "chain")},
        {"request": Render()},
        {"where": "psnr > 0"},
        {"config": EditConfig(shard_size=40, picture_format="webp")},
    ):
        with pytest.raises(RunConflictError, match="holds a run with other settings"):
            run(replace(job, **change))


@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupted_run_goes_on_and_makes_every_picture_once(
    job: EditRunRequest, generator: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    job = replace(job, request=Morph(tuple(np.linspace(0, 1, 7)), "all-pairs"))  # 315 pictures, 8 shards, 16 units
    written: list[int] = []
    original = WorkLog.write_rows

    def note(self: WorkLog, task, rows):
        if len(written) == 6:
            raise KeyboardInterrupt
        written.append(task.index)
        return original(self, task, rows)

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", note)
        patch.setattr("i2s_batch.editing.edit_worker.WRITER_THREADS", 1)
        with pytest.raises(KeyboardInterrupt):
            run(job, workers)
    assert not read_status(job.out, print).finished and len(written) == 6
    first = set(written)
    written.clear()
    monkeypatch.setattr(
        WorkLog, "write_rows", lambda self, task, rows: written.append(task.index) or original(self, task, rows)
    )
    run(job, workers)
    assert len(written) == len(set(written)) and first.isdisjoint(written), "what was written is not made again"
    assert len(rows_of(job.out)) == 315
    check_pictures(job.out, generator)


def test_what_has_no_code_is_a_row_with_a_reason(job: EditRunRequest, generator: Path) -> None:
    listed = (ListedEdit(("1.png", "broken.png")), ListedEdit(("nobody.png", "2.png")), ListedEdit(("1.png", "2.png")))
    outcome = run(replace(job, request=Morph((0.0, 1.0), listed=listed)))
    assert outcome.summary.statuses == {"missing": 2, "ok": 2, "unreadable": 2} and not outcome.acceptable
    reasons = {tuple(row["parents"]): row["error"] for row in rows_of(job.out).values()}
    assert reasons["1.png", "2.png"] is None
    assert "'broken.png' has no latent, its status is 'unreadable'" in reasons["1.png", "broken.png"]
    assert reasons["nobody.png", "2.png"] == "no table holds an image 'nobody.png'"
    check_pictures(job.out, generator)


def test_the_same_edit_twice_is_made_once(job: EditRunRequest) -> None:
    said: list[str] = []
    run(replace(job, request=Morph((0.5,), listed=(ListedEdit(("1.png", "2.png")),) * 3)), said=said)
    assert len(rows_of(job.out)) == 1 and any("requested more than once" in line for line in said)


def test_images_are_chosen_by_sql_or_all_in_the_order_in_which_people_count(job: EditRunRequest) -> None:
    run(replace(job, request=Morph((0.0, 1.0), "chain")))
    frames = sorted(rows_of(job.out).values(), key=lambda row: row["frame"])
    assert [row["parents"][1] for row in frames] == [IDS[1], *IDS[1:]]
    chosen = replace(job, out=f"{job.out}-chosen", where="image_id IN ('3.png', '10.png', 'broken.png')")
    run(chosen)
    assert sorted(row["parents"][0] for row in rows_of(chosen.out).values()) == ["10.png", "3.png"]


@pytest.mark.parametrize(
    "where",
    [
        "nonsense = 1",
        "psnr >",
        "1 = 1); DROP TABLE x; --",
        "image_id IN (SELECT content FROM read_text('/etc/passwd'))",
        "(SELECT count(*) FROM 'somewhere.parquet') > 0",
    ],
)
def test_a_bad_condition_is_refused(job: EditRunRequest, where: str) -> None:
    with pytest.raises(QueryError) as refusal:
        run(replace(job, where=where))
    assert "\n" not in str(refusal.value) and not Path(job.out).exists()


def test_codes_of_another_generator_are_refused_with_both_names(
    job: EditRunRequest, tmp_path: Path, latents: str
) -> None:
    other = tmp_path / "other.safetensors"
    write_safetensors(random_generator("stylegan1", 16, seed=4, width=16, channel_base=256), other)
    mine, its = (generator_weights(path) for path in (job.generator, other))
    with pytest.raises(RunConflictError) as refusal:
        run(replace(job, generator=str(other)))
    for weights in (mine, its):
        assert weights.fingerprint[:12] in str(refusal.value) and weights.origin in str(refusal.value)


def test_an_id_of_two_tables_is_refused(job: EditRunRequest, latents: str) -> None:
    with pytest.raises(SourceError, match=r"'1\.png' is an image of .* and of"):
        run(replace(job, latents=(latents, latents)))


def test_codes_far_from_the_mean_are_told_of(job: EditRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    run(job, said=said)
    assert not any("warning" in line for line in said)
    monkeypatch.setattr("i2s_batch.editing.edit_run.farthest_own_distance", lambda network: 0.001)
    run(replace(job, out=f"{job.out}-far"), said=said)
    (warning,) = [line for line in said if "warning" in line]
    assert "10 of 10 latents are out of distribution" in warning
    assert 1 < farthest_own_distance(load_generator(job.generator)) < 1000


@pytest.mark.parametrize("animation", ["webp", "gif"])
def test_films(job: EditRunRequest, animation: str) -> None:
    config = EditConfig(animation=animation, frames_per_second=20)
    job = replace(job, request=Morph(tuple(np.linspace(0, 1, 5)), "to", "1.png"), config=config, ids=("2.png", "3.png"))
    run(job)
    animations = sorted(Path(job.out, "animations").iterdir())
    assert [each.stem for each in animations] == ["2--1", "3--1"]
    for film in animations:
        with Image.open(io.BytesIO(film.read_bytes())) as image:
            assert image.n_frames == 5 and image.size == (16, 16)
            image.seek(4)
            last = np.asarray(image.convert("RGB")).astype(int)
            assert image.info["duration"] == 50
        wanted = decode_image(Path(job.out, "pictures", film.stem, "00004.png").read_bytes())
        assert np.abs(last - wanted).mean() < 12, "the last frame is the last"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg")
def test_an_mp4_by_a_real_ffmpeg(job: EditRunRequest) -> None:
    config = EditConfig(animation="mp4", frames_per_second=24)
    run(replace(job, request=Morph((0.0, 0.5, 1.0), "chain"), config=config))
    (film,) = Path(job.out, "animations").iterdir()
    frames = subprocess.run(
        ["ffmpeg", "-i", film, "-f", "null", "-"], capture_output=True, text=True, check=True
    ).stderr
    assert re.search(r"Video: h264 .* yuv420p.* 16x16.* 24 fps", frames) and "frame=   19" in frames


def test_an_mp4_without_ffmpeg_is_refused_at_once(job: EditRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigError, match="ffmpeg, which is not installed"):
        run(replace(job, config=EditConfig(animation="mp4")))
    assert not Path(job.out).exists()


def test_from_s3_to_s3(job: EditRunRequest, latents: str, s3_bucket: str) -> None:
    upload(Path(latents), f"s3://{s3_bucket}/latents")
    out = f"s3://{s3_bucket}/edits"
    config = EditConfig(animation="webp", picture_format="webp")
    run(
        replace(job, latents=(f"s3://{s3_bucket}/latents",), out=out, request=Morph((0.0, 1.0), "chain"), config=config)
    )
    table = read_table(out)
    keys = {info.key for info in open_store(out).list()}
    assert {uri.removeprefix(f"{out}/") for uri in table["uri"].to_pylist()} <= keys
    assert any(key.startswith("animations/") for key in keys) and not any(key.startswith("work/") for key in keys)


def test_what_would_be_made(job: EditRunRequest) -> None:
    planned = EditRun(replace(job, request=Style("all-pairs")), generator_weights(job.generator), print)
    what = planned.describe().to_json()
    assert (what["pictures"], what["picture"], what["pictures_bytes"]) == (90, "16 x 16", 90 * 16 * 16 * 3)
    assert json.dumps(what) and not Path(job.out).exists()
    with pytest.raises(ConfigError, match="nothing to make of 1 chosen image;"):
        run(replace(job, request=Morph((0.5,), "chain"), ids=("1.png",)))


def test_no_run_plans_more_than_memory_holds(job: EditRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2s_batch.editing.edit_run.MOST_IMAGES", 89)
    monkeypatch.setattr("i2s_batch.editing.edit_run.PLANNED_AT_ONCE", 40)
    with pytest.raises(ConfigError, match="more than 89 images"):
        run(replace(job, request=Style("all-pairs")))


@pytest.mark.parametrize(
    "checkpoint", ["sg1_r64.pkl", "sg2ada_r64.pkl", "sg2tf_r64.pkl", "ros2_r64.pt", "sg3t_r64.pkl"]
)
def test_every_family_can_be_edited(checkpoint: str, tmp_path: Path, vgg: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        scene(ord(name), (64, 64)).save(tmp_path / "in" / f"{name}.png")
    generator = DATA / checkpoint
    latents = str(tmp_path / "latents")
    config = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=2)
    embed(EmbedRunRequest(str(tmp_path / "in"), latents, str(generator), str(vgg), config))
    job = EditRunRequest((latents,), str(tmp_path / "out"), str(generator), Style("all-pairs"), EditConfig())
    run(job)
    network = load_generator(generator)
    for row in rows_of(job.out).values():
        assert row["layers"] == list(range(network.num_layers // 2, network.num_layers))
    check_pictures(job.out, generator)


def test_a_latent_that_is_not_finite_is_a_row_that_says_so(job: EditRunRequest, generator: Path) -> None:
    """1e308 is a finite number, and what it makes of a latent is not."""
    listed = (ListedEdit(("1.png", "2.png"), (1e308, 0.5)), ListedEdit(("2.png", "3.png"), (-1e300,)))
    outcome = run(replace(job, request=Morph((0.0,), listed=listed)))
    assert outcome.summary.statuses == {"diverged": 2, "ok": 1}
    errors = {row["strength"]: row["error"] for row in rows_of(job.out).values()}
    assert errors[0.5] is None
    assert errors[1e308] == "the latent of morph of '1.png', '2.png' at strength 1e+308 is not finite in float32"
    assert {row["error_type"] for row in rows_of(job.out).values()} == {None, "FloatingPointError"}
    check_pictures(job.out, generator)
    assert verify(job.out).sound


@pytest.mark.parametrize("where", ["latent", "image"])
def test_what_an_earlier_version_called_ok_is_never_ok_again(
    job: EditRunRequest, generator: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Tables of earlier versions hold latents that are not finite; and a finite one may still draw no picture."""
    original = LatentReader.read

    def read(self: LatentReader, image_id: str, place: dict | None) -> np.ndarray:
        latent = original(self, image_id, place)
        return np.full_like(latent, np.nan if where == "latent" else 3e38) if image_id == "1.png" else latent

    monkeypatch.setattr(LatentReader, "read", read)
    outcome = run(replace(job, ids=("1.png", "2.png")))
    assert outcome.summary.statuses == {"diverged": 1, "ok": 1}
    (bad,) = [row for row in rows_of(job.out).values() if row["status"] == "diverged"]
    assert f"the {where} of render of '1.png'" in bad["error"] and "not finite" in bad["error"]
    check_pictures(job.out, generator)


@pytest.mark.parametrize("picture_format", ["png", "jpeg"])
def test_a_deleted_image_is_made_again(job: EditRunRequest, generator: Path, picture_format: str) -> None:
    """Its row and the other files stay as they are."""
    job = replace(job, config=replace(job.config, shard_size=4, picture_format=picture_format))
    run(job)
    files = {
        path: path.read_bytes()
        for path in Path(job.out).rglob("*")
        if path.suffix in (f".{picture_format}", ".parquet")
    }
    lost = [path for path in files if path.parent.name == "pictures"][:2]
    for path in lost:
        path.unlink()
    assert not verify(job.out).sound
    said: list[str] = []
    outcome = run(job, said=said)
    assert "2 images are no longer in" in " ".join(said) and outcome.acceptable
    assert {path: path.read_bytes() for path in files} == files and verify(job.out).sound
    said.clear()
    run(job, said=said)
    assert "no longer in" not in " ".join(said)
