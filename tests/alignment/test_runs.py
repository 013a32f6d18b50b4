"""Runs that align: rows, landmarks of lists and JSON files, faults, boxes, edits pasted back, `i2s-batch align`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import i2s_batch as program
from i2s_batch.api.aligning import align
from i2s_batch.api.reports import write_report
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph, Render
from i2s_batch.embedding import align_run
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError, RunConflictError
from i2s_batch.images.align import detector as detector_module
from i2s_batch.images.align.frame import ffhq_transform
from i2s_batch.images.align.landmarks import Landmarks
from i2s_batch.images.align.warp import aligned
from i2s_batch.images.resize import fit_image
from i2s_batch.table.shards import read_table
from tests.alignment import faulty_detector as told
from tests.alignment.drawn import face, photograph
from tests.program import status_of
from tests.runs import embed
from tests.storage.archive_files import run

ALIGNED = EmbedRunConfig(embed=EmbedConfig(steps=2), batch_size=4, align="ffhq")
SIZE = (90, 70)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_module, "PROCESS", "tests.alignment.faulty_detector")


def telling(path: Path, what: int, number: int = 0) -> np.ndarray:
    """Write an image whose first pixel tells the faulty detector what to do."""
    pixels = np.random.default_rng(number).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    pixels[0, 0] = what
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def rows_of(out: Path) -> dict[str, dict[str, object]]:
    return {row["image_id"]: row for row in read_table(str(out)).to_pylist()}


def job(source: Path, out: Path, generator: Path, vgg: Path, config: EmbedRunConfig = ALIGNED) -> EmbedRunRequest:
    return EmbedRunRequest(str(source), str(out), str(generator), str(vgg), config)


@pytest.mark.usefixtures("faulty")
def test_each_image_is_a_row_whatever_the_detector_does(tmp_path: Path, generator: Path, vgg: Path) -> None:
    source = tmp_path / "in"
    wanted = {"face": told.FACE, "none": told.NO_FACE, "crash": told.CRASH, "fail": told.FAIL, "two": told.TWO_FACES}
    pixels = {name: telling(source / f"{name}.png", what) for name, what in wanted.items()}
    telling(source / "given.png", told.CRASH)
    (source / "given.json").write_text(json.dumps({"landmarks": told.POINTS, "caption": "not looked at"}))
    telling(source / "bad.png", told.FACE)
    (source / "bad.json").write_text('{"landmarks": [1, 2]}')
    config = replace(ALIGNED, max_failed_fraction=1.0)
    outcome = embed(job(source, tmp_path / "out", generator, vgg, config))
    rows = rows_of(tmp_path / "out")
    statuses = {name: row["status"] for name, row in rows.items() if not name.endswith("json")}
    assert statuses == {
        "face.png": "ok", "two.png": "ok", "given.png": "ok", "none.png": "no_face",
        "crash.png": "crashed", "fail.png": "crashed", "bad.png": "unreadable",
    }  # fmt: skip
    assert outcome.failed == 3  # neither no_face nor the JSON files
    assert "SIGSEGV" in str(rows["crash.png"]["error"]) and "2 numbers" in str(rows["bad.png"]["error"])
    row = rows["face.png"]
    points = Landmarks(np.array(told.POINTS))
    np.testing.assert_array_equal(row["landmarks"], points.flat)
    np.testing.assert_array_equal(row["transform"], ffhq_transform(points, SIZE, 16))
    assert row["crop_box"] is None and row["width"] == SIZE[0]
    np.testing.assert_array_equal(row["landmarks"], rows["given.png"]["landmarks"])
    assert aligned(pixels["face"], np.array(row["transform"], np.float32), 16).shape == (16, 16, 3)
    assert status_of("verify", tmp_path / "out", "--sample", "3") == 0
    page = Path(write_report(str(tmp_path / "out"))).read_text()
    assert '<div class="card apart"><b>1</b>no_face' in page and '<div class="card failed"><b>2</b>crashed' in page


def test_the_alignment_of_a_list_is_the_identity_of_its_run(tmp_path: Path, generator: Path, vgg: Path) -> None:
    drawn, points = face(1)
    photo, there = photograph(drawn, points, 1)
    Image.fromarray(photo).save(tmp_path / "a.png")
    eyes = [there.left_eye.tolist(), there.right_eye.tolist(), there.mouth.tolist()]
    columns = {"path": ["a.png"]} | {
        name: [point] for name, point in zip(("left_eye", "right_eye", "mouth"), eyes, strict=True)
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    asked = job(tmp_path / "list.parquet", tmp_path / "out", generator, vgg)
    embed(asked)
    (row,) = rows_of(tmp_path / "out").values()
    np.testing.assert_array_equal(
        row["transform"], ffhq_transform(Landmarks(np.float64(np.float32(eyes))), (900, 700), 16)
    )
    assert row["left_eye"] == eyes[0]  # a list's own columns are passed through
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["settings"]["align"] == "ffhq" and record["schema_version"] == 5
    with pytest.raises(RunConflictError, match="align"):
        embed(replace(asked, config=replace(ALIGNED, align=None)))
    embed(asked)  # resumes


def test_without_landmarks_and_detector_nothing_is_begun(
    tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling(tmp_path / "in/a.png", told.FACE)
    monkeypatch.setattr(detector_module, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"finds no landmarks: .*pip install 'i2s_batch\[align\]'"):
        embed(job(tmp_path / "in", tmp_path / "out", generator, vgg))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="finds no landmarks"):
        align(tmp_path / "in", tmp_path / "faces", progress=False)


def test_a_box_of_each_image_is_embedded(tmp_path: Path, generator: Path, vgg: Path) -> None:
    photo = telling(tmp_path / "in/a.png", 0)
    telling(tmp_path / "in/b.png", 0)
    (tmp_path / "in/list.csv").write_text("path,x0,y0,x1,y1\na.png,10,20,50.5,60\nb.png,80,20,10,60\n")
    config = replace(ALIGNED, align=None, box="x0,y0,x1,y1", embed=EmbedConfig(steps=2, fit="pad"))
    embed(job(tmp_path / "in/list.csv", tmp_path / "out", generator, vgg, config))
    rows = rows_of(tmp_path / "out")
    assert rows["a.png"]["crop_box"] == [10, 20, 51, 60] and rows["a.png"]["transform"] is None
    assert rows["b.png"]["status"] == "unreadable" and "holds no pixel" in str(rows["b.png"]["error"])
    assert status_of("verify", tmp_path / "out", "--sample", "1") == 0
    program.edit(tmp_path / "out", tmp_path / "edit", Render(), side_by_side=True, in_process=True, progress=False)
    (shown,) = (tmp_path / "edit/side-by-side").glob("*.png")
    part = fit_image(np.ascontiguousarray(photo[20:60, 10:51]), 16, "pad")
    np.testing.assert_array_equal(np.asarray(Image.open(shown))[:, :16], part)


@pytest.mark.usefixtures("faulty")
def test_edited_faces_are_pasted_into_their_photographs(tmp_path: Path, generator: Path, vgg: Path) -> None:
    photos = {name: telling(tmp_path / f"in/{name}.png", told.FACE, n) for n, name in enumerate("abc")}
    embed(job(tmp_path / "in", tmp_path / "table", generator, vgg))
    telling(tmp_path / "in/c.png", told.FACE, 9)  # another photograph now
    said: list[str] = []
    render = program.edit(
        tmp_path / "table", tmp_path / "out", Render(), unalign=True, in_process=True, progress=said.append
    )
    assert render.unaligned == f"{tmp_path / 'out'}/unaligned/"
    written = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "out/unaligned").iterdir()}
    assert written.keys() == {"a", "b"} and any("1 photograph is gone, changed or unreadable" in line for line in said)
    # The square of POINTS is 64 pixels wide, around (28, 21.2).
    for name, pixels in written.items():
        np.testing.assert_array_equal(pixels[54:], photos[name][54:])
        np.testing.assert_array_equal(pixels[:, 62:], photos[name][:, 62:])
        assert np.abs(pixels[15:35, 20:40].astype(int) - photos[name][15:35, 20:40]).mean() > 20
    morph = Morph(to="a.png")
    program.edit(tmp_path / "table", tmp_path / "morph", morph, unalign=True, in_process=True, progress=False)
    first = sorted((tmp_path / "morph/unaligned").rglob("*.png"))[0]
    np.testing.assert_array_equal(np.asarray(Image.open(first))[54:], photos["b"][54:])  # of b to a, b is edited


@pytest.mark.usefixtures("faulty")
def test_align_writes_images_and_a_list_that_embed_takes(
    tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align_run, "CHUNK", 2)
    source, out = tmp_path / "in", tmp_path / "faces"
    wanted = {"x/one": told.FACE, "x/two": told.TWO_FACES, "no": told.NO_FACE, "crash": told.CRASH, "three": told.FACE}
    photos = {name: telling(source / f"{name}.png", what) for name, what in wanted.items()}
    result = align(source, out, size=64, faces="all", workers=2, progress=False)
    assert result.statuses == {"ok": 4, "no_face": 1, "crashed": 1} and result.failed == 1
    rows = {row["path"]: row for row in pq.read_table(out / "images.parquet").to_pylist()}
    assert rows.keys() == {f"images/{name}.png" for name in ("x/one.png", "x/two.png", "x/two.png#face1", "three.png")}
    second = rows["images/x/two.png#face1.png"]
    assert second["face"] == 1 and second["aligned_from_id"] == "x/two.png" and second["landmarks"][0] == 40
    shown = aligned(photos["x/two"], np.array(second["transform"], np.float32), 64)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "images/x/two.png#face1.png")), shown)
    left_out = (out / "not-aligned.csv").read_text().splitlines()
    assert sorted(line.partition(",")[0] for line in left_out[1:]) == ["crash.png", "no.png"]
    plain = replace(ALIGNED, align=None)
    embed(job(out / "images.parquet", tmp_path / "table", generator, vgg, plain))
    with pytest.raises(ConfigError, match="leave --align out"):
        embed(job(out / "images.parquet", tmp_path / "again", generator, vgg))
    program.edit(tmp_path / "table", tmp_path / "edit", Render(), unalign=True, in_process=True, progress=False)
    pasted = sorted((tmp_path / "edit/unaligned").rglob("*.png"))
    assert len(pasted) == 4
    one = np.asarray(Image.open(next(path for path in pasted if "three" in path.name)))
    np.testing.assert_array_equal(one[54:], photos["three"][54:])
    assert one.shape == photos["three"].shape


@pytest.mark.usefixtures("faulty")
def test_align_resumes_and_writes_over_nothing_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align_run, "CHUNK", 2)
    source, out = tmp_path / "in", tmp_path / "faces"
    for number in range(5):
        telling(source / f"{number}.png", told.FACE, number)
    asked = align_run.AlignRequest(str(source), str(out), 32)
    worked_on: Counter[str] = Counter()
    original, stop_at = align_run.read_bytes, ["3.png"]

    def counted(uri: str) -> bytes:
        name = Path(uri).name
        worked_on[name] += 1
        if name in stop_at:
            raise KeyboardInterrupt
        return original(uri)

    monkeypatch.setattr(align_run, "read_bytes", counted)
    with pytest.raises(KeyboardInterrupt):
        align_run.align_faces(asked, [].append)
    assert not (out / "images.parquet").exists()
    stop_at.clear()
    assert align_run.align_faces(asked, [].append) == {"ok": 5}
    assert [worked_on[f"{n}.png"] for n in range(5)] == [1, 1, 2, 2, 1]
    before = (out / "images.parquet").read_bytes()
    assert align_run.align_faces(asked, [].append) == {"ok": 5} and sum(worked_on.values()) == 7
    assert (out / "images.parquet").read_bytes() == before
    with pytest.raises(RunConflictError, match="has size 32, and 64 is asked for"):
        align_run.align_faces(replace(asked, size=64), [].append)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(RunConflictError, match=r"mine\.txt"):
        align_run.align_faces(replace(asked, out=str(other)), [].append)
    assert [path.name for path in other.iterdir()] == ["mine.txt"]


def test_the_command_chooses_among_the_images_of_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels, points = photograph(*face(1), number=2)
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for path in paths:
        Image.fromarray(pixels).save(path)
    table = {"path": paths, "number": [1, 2], "width": [7, 8], "face": ["x", "y"]}
    for name, point in zip(("left_eye", "right_eye", "mouth"), points.points.tolist(), strict=True):
        table |= {name: [point] * 2}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    assert status_of("align", tmp_path / "list.parquet", tmp_path / "out", "--size", 64, "--where", "number = 2") == 0
    assert "1 aligned (1 ok)" in capsys.readouterr().out
    made = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert [Path(row["aligned_from"]).name for row in made] == ["b.png"]
    own = {name: made[0][name] for name in ("number", "list_width", "list_face")}
    assert own == {"number": 2, "list_width": 8, "list_face": "y"} and "left_eye" not in made[0]
    words = ("align", tmp_path / "list.parquet", tmp_path / "small", "--size", 64, "--min-size", 5000)
    assert status_of(*words) == 0 and "0 aligned (2 too_small)" in capsys.readouterr().out


@pytest.mark.usefixtures("faulty")
def test_what_an_archive_says_of_its_images_is_said_of_their_faces(
    tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align_run, "CHUNK", 2)
    wanted = {"a": told.FACE, "b": told.NO_FACE, "c": told.TWO_FACES, "d": told.FACE}
    for number, (name, what) in enumerate(wanted.items()):
        telling(tmp_path / f"in/{name}.png", what, number)
        (tmp_path / f"in/{name}.json").write_text(json.dumps({"number": number, "path": f"of {name}"}))
        (tmp_path / f"in/{name}.txt").write_text(f"text {name}")
    run("tar", "cf", tmp_path / "faces.tar", "-C", tmp_path / "in", ".")
    result = align(tmp_path / "faces.tar", tmp_path / "out", size=32, faces="all", progress=False)
    assert result.statuses == {"ok": 4, "no_face": 1}
    rows = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    said = [(row["aligned_from_id"], row["face"], row["number"], row["txt"], row["list_path"]) for row in rows]
    assert said == [
        (f"faces.tar/{name}.png", face, number, f"text {name}", f"of {name}")
        for name, face, number in (("a", 0, 0), ("c", 0, 2), ("c", 1, 2), ("d", 0, 3))
    ]
    embed(job(tmp_path / "out/images.parquet", tmp_path / "table", generator, vgg, replace(ALIGNED, align=None)))
    assert sorted(row["number"] for row in rows_of(tmp_path / "table").values()) == [0, 2, 2, 3]


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        EmbedRunConfig(align="ffhq", box="box")
    with pytest.raises(ConfigError, match="nothing is aligned"):
        EmbedRunConfig(face_model="x.onnx")
    with pytest.raises(ConfigError, match="2 columns"):
        EmbedRunConfig(box="a,b")
    with pytest.raises(ConfigError, match="one row for each image; align all faces with i2s-batch align"):
        program.embed("in", "out", generator="g", align="ffhq", faces="all")
    with pytest.raises(ConfigError, match="no effect without align"):
        program.embed("in", "out", generator="g", faces="largest")
