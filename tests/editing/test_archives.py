"""Rendered images in archives: the same images as in files, each once, in the plan's order, whatever interrupts."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2s_batch.api.exports import export_folder
from i2s_batch.api.verification import verify
from i2s_batch.config import PICTURE_OUTPUTS, EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph, Render, edit_worker
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.editing.strips import load_strips
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError, DamagedError, RunConflictError, StorageError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.archives.image_log import ImageLog, Pack
from i2s_batch.output.archives.names import file_name, member_name
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.output.archives.registered import ARCHIVES
from i2s_batch.output.archives.writing import ArchiveWriter
from i2s_batch.run.execution import Outcome
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import Store, open_store
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import embed

NAMES = ["a.v2.png", "people/ö b.png", "__x__.png", "c%2E.png"]
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SHARD = 10
KINDS = ["webdataset", "parquet"]


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> str:
    """A table of four latents, whose ids have what tar and WebDatasets treat specially."""
    folder = tmp_path_factory.mktemp("latents")
    (folder / "in/people").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        scene(number, (40, 40)).save(folder / "in" / name)
    config = EmbedRunConfig(embed=EmbedConfig(steps=2))
    embed(EmbedRunRequest(str(folder / "in"), str(folder / "out"), str(generator), str(vgg), config))
    return str(folder / "out")


def job_of(latents: str, generator: Path, out: Path, kind: str) -> EditRunRequest:
    config = EditConfig(shard_size=SHARD, output=kind)
    return EditRunRequest((latents,), str(out), str(generator), Morph(STRENGTHS, "all-pairs"), config)


def run(job: EditRunRequest, said: list[str] | None = None) -> Outcome:
    say = (lambda line: None) if said is None else said.append
    return EditRun(job, generator_weights(job.generator), say).execute(InProcessCluster())


@pytest.fixture(scope="module")
def made(latents: str, generator: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """36 morphs in each kind of output: three shards of ten rows and one of six."""
    folder = tmp_path_factory.mktemp("made")
    for kind in PICTURE_OUTPUTS:
        run(job_of(latents, generator, folder / kind, kind))
    return {kind: folder / kind for kind in PICTURE_OUTPUTS}


def stored(out: Path) -> list[tuple[str, bytes, dict]]:
    """Name, bytes and facts of every image in the archives of an output, as programs of others read them."""
    found = []
    for path in sorted((out / "pictures").iterdir()):
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                files = [(info.name, archive.extractfile(info).read()) for info in archive]
            for (name, data), (beside, text) in zip(files[::2], files[1::2], strict=True):
                assert beside == name.removesuffix(".png") + ".json"
                found.append((name, data, json.loads(text)))
        else:
            for row in pq.read_table(path).to_pylist():
                image = row.pop("image")
                found.append((image["path"], image["bytes"], row))
    return found


def archives(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "pictures").iterdir()}


def check(out: Path, reference: Path) -> None:
    """The images of `reference`, in files, each once and in the order of the table; nothing else is left."""
    rows, files = read_table(str(out)).to_pylist(), read_table(str(reference)).to_pylist()
    found = stored(out)
    assert [facts["image_id"] for _, _, facts in found] == [row["image_id"] for row in rows]
    for row, file, (name, data, facts) in zip(rows, files, found, strict=True):
        assert data == (reference / file["image_file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"] == facts["sha256"] and len(data) == row["bytes"]
        assert f"pictures/{file_name(name)}" == file["image_file"]
        assert row["uri"] == f"{out}/{row['image_file']}" and row["image_file"].endswith(f"/{name}")
        for column in ("operation", "parents", "strength", "sequence", "frame"):
            assert facts[column] == row[column]
    assert verify(str(out)).sound
    assert not (out / "work").exists() and not list(out.rglob(".i2s-tmp-*"))


@pytest.mark.parametrize("kind", KINDS)
def test_archives_hold_the_images_of_files(made: dict[str, Path], kind: str) -> None:
    check(made[kind], made["files"])
    suffix = ARCHIVES[kind].suffix
    assert sorted(archives(made[kind])) == [f"shard-{number:05d}.{suffix}" for number in range(4)]
    recorded = {name: json.loads((out / "run.json").read_text())["settings"] for name, out in made.items()}
    assert recorded[kind]["output"] == kind and "output" not in recorded["files"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_follow_from_the_run(
    made: dict[str, Path], kind: str, latents: str, generator: Path, tmp_path: Path
) -> None:
    run(job_of(latents, generator, tmp_path / "out", kind))
    assert archives(tmp_path / "out") == archives(made[kind])


def test_the_settings_name_every_format() -> None:
    assert ("files", *ARCHIVES) == PICTURE_OUTPUTS


PARTS = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=8)
FILES = st.lists(st.one_of(PARTS, st.sampled_from(["__x__", "a.b", "%2E", "..", "_"])), min_size=1, max_size=3)


@given(st.lists(FILES.map("/".join), min_size=2, max_size=2, unique=True))
def test_names_are_reversible_and_what_webdatasets_take(stems: list[str]) -> None:
    members = [member_name(f"{stem}.png") for stem in stems]
    assert [file_name(member) for member in members] == [f"{stem}.png" for stem in stems]
    assert len(set(members)) == 2
    for member in members:
        assert member.count(".") == 1 and member.endswith(".png")  # the key is what precedes the first dot
        assert not re.match(r"__[^/]*__($|/)", member)  # which readers take for their own


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_was_deleted_is_made_again(made: dict[str, Path], kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = _copied(made, kind, out)
    name = f"shard-00002.{ARCHIVES[kind].suffix}"
    (out / "pictures" / name).unlink()
    found = verify(str(out), sample=0)
    assert [finding.what for finding in found.findings] == [
        "it is missing; run the same command again, which makes its images again"
    ]
    said: list[str] = []
    assert run(job, said).summary.statuses == {"ok": 36}
    assert "the archive of shard 2 is missing; its images are made again" in said
    assert archives(out) == archives(made[kind]) and verify(str(out)).sound


def _copied(made: dict[str, Path], kind: str, out: Path) -> EditRunRequest:
    """A copy of an output, and the request that resumes it."""
    shutil.copytree(made[kind], out)
    record = json.loads((out / "run.json").read_text())
    config = EditConfig(shard_size=SHARD, output=kind)
    return EditRunRequest(
        tuple(record["source"]), str(out), record["given"]["generator"], Morph(STRENGTHS, "all-pairs"), config
    )


def _spoilt(kind: str) -> list[tuple[Callable[[Path], None], str]]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[data.index(b"IDAT") + 10] ^= 1
        path.write_bytes(data)

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def other(path: Path) -> None:
        shutil.copyfile(path.with_name(path.name.replace("00001", "00000")), path)

    flipped = r"its sha256 is .*; that of '.*' is" if kind == "webdataset" else "damaged"
    return [(flip, flipped), (cut, "damaged|missing|sha256"), (other, "is in its place")]


@pytest.mark.parametrize("kind", KINDS)
def test_verify_reads_every_member(made: dict[str, Path], kind: str, tmp_path: Path) -> None:
    for number, (spoil, what) in enumerate(_spoilt(kind)):
        out = tmp_path / str(number)
        shutil.copytree(made[kind], out)
        spoil(out / "pictures" / f"shard-00001.{ARCHIVES[kind].suffix}")
        found = verify(str(out), sample=0)
        assert found.findings and all("shard-00001." in finding.file for finding in found.findings)
        assert re.search(what, found.findings[0].what), found.findings[0].what


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_image_comes_with_the_retry(
    made: dict[str, Path], kind: str, latents: str, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive leaves out what failed, and is written again when it has come; all other bytes are those before."""
    job = job_of(latents, generator, tmp_path / "out", kind)
    real = edit_worker.images_of
    with monkeypatch.context() as patch:
        patch.setattr(edit_worker, "images_of", lambda *batch: [None, *real(*batch)[1:]])
        run(replace(job, config=replace(job.config, max_failed_fraction=1.0)))
    rows = read_table(job.out).to_pylist()
    failed = [row["image_id"] for row in rows if row["status"] == "diverged"]
    assert failed and len(stored(Path(job.out))) == 36 - len(failed)
    assert verify(job.out).findings == []
    run(replace(job, config=replace(job.config, retry_failed=True)))
    check(Path(job.out), made["files"])
    assert archives(Path(job.out)) == archives(made[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_the_log_that_are_damaged_are_made_again(
    made: dict[str, Path], kind: str, latents: str, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that cannot write its archives keeps the images in its log: one object a unit, no file an image."""
    job = job_of(latents, generator, tmp_path / "out", kind)

    def full(*about: object) -> None:
        raise StorageError("'shard': the disk is full; free some space and run the same command again")

    with monkeypatch.context() as patch:
        patch.setattr(ArchiveWriter, "write", full)
        with pytest.raises(StorageError, match="the disk is full"):
            run(job)
    packs = sorted(Path(job.out, "work/pictures").rglob("*.images"))
    assert 1 <= len(packs) <= 4 and not Path(job.out, "pictures").exists()
    packs[0].write_bytes(packs[0].read_bytes()[:-1])
    said: list[str] = []
    run(job, said)
    assert any("is damaged" in line and "computed again" in line for line in said)
    check(Path(job.out), made["files"])


def test_rows_find_the_images_of_their_own_worker(tmp_path: Path) -> None:
    """Two workers with one unit, which round differently: neither takes away what the other's rows name."""
    log = ImageLog(open_store(str(tmp_path)))
    first, second = [b"one", b"two"], [b"one", b"TWO"]
    log.write(7, first)
    log.write(7, second)
    for images in (first, second):
        hashes = tuple(hashlib.sha256(image).hexdigest() for image in images)
        pack = Pack(7, hashes, (3, 3))
        assert log.read(pack) == dict(zip(hashes, images, strict=True))
    log.delete([pack])
    with pytest.raises(DamagedError, match="is missing"):
        log.read(pack)


def test_a_log_is_read_one_unit_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing holds what one unit has, however large the shard: 40 units of 1 MB are never together."""
    held, most = [0], [0]
    real = ImageLog.read

    class Counted(bytes):
        def __del__(self) -> None:
            held[0] -= 1

    def read(self: ImageLog, pack: Pack) -> dict[str, bytes]:
        held[0] += 1
        most[0] = max(most[0], held[0])
        return {sha256: Counted(data) for sha256, data in real(self, pack).items()}

    monkeypatch.setattr(ImageLog, "read", read)
    store, log = open_store(str(tmp_path)), ImageLog(open_store(str(tmp_path)))
    rows, packs = [], {}
    for unit in range(40):
        data = np.random.default_rng(unit).bytes(1 << 20)
        digest = hashlib.sha256(data).hexdigest()
        log.write(unit, [data])
        packs[unit] = Pack(unit, (digest,), (len(data),))
        key = f"pictures/shard-00000.tar/{unit:02d}.png"
        rows.append({"image_id": str(unit), "status": "ok", "sha256": digest, "width": 1, "height": 1})
        rows[-1] |= {"bytes": len(data), "image_file": key}

    class FortyUnits:
        shard_range = staticmethod(lambda shard: range(40))
        unit_of = staticmethod(lambda image: image)

    ArchiveWriter(store, "webdataset").write(FortyUnits(), 0, pa.Table.from_pylist(rows), packs, None, lambda: None)
    assert most[0] <= 3 and len(stored(tmp_path)) == 40


def test_overwriting_knows_archives(made: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = _copied(made, "webdataset", out)
    (out / "pictures/mine.txt").write_text("of somebody else")
    said: list[str] = []
    run(replace(job, config=EditConfig(shard_size=SHARD, overwrite=True)), said)
    assert any("is overwritten" in line for line in said)
    assert not list((out / "pictures").glob("*.tar")) and (out / "pictures/mine.txt").exists()
    with pytest.raises(RunConflictError, match=r"--output is .* there, .*parquet.* was asked"):
        run(replace(job, config=replace(job.config, output="parquet")))
    run(replace(job, config=replace(job.config, output="parquet", overwrite=True)))
    assert sorted(path.name for path in (out / "pictures").iterdir()) == [
        "mine.txt",
        *(f"shard-{number:05d}.parquet" for number in range(4)),
    ]
    (out / "pictures/shard-00001.tar").write_bytes(b"of somebody else")
    with pytest.raises(RunConflictError, match=r"shard-00001\.tar.* would be written over"):
        run(replace(job, config=replace(job.config, overwrite=True)))


def test_comparisons_are_refused_before_anything_is_made() -> None:
    with pytest.raises(ConfigError, match=r"output is parquet, but comparisons .* are files.*leave one of them out"):
        EditConfig(output="parquet", side_by_side=True)
    with pytest.raises(ConfigError, match="output is 'zip'; it must be one of files, webdataset, parquet"):
        EditConfig(output="zip")


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_of_what_is_in_archives(
    made: dict[str, Path], kind: str, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Animations, strips, photographs and exports find the images; nothing has to be rendered for them."""
    job = EditRunRequest((str(made[kind]),), str(tmp_path / "out"), str(generator), Render(), EditConfig(output=kind))
    job = replace(job, where="strength = 0.2")
    run(job)
    before = {row["image_id"]: row["sha256"] for row in read_table(str(made[kind])).to_pylist()}
    for row in read_table(job.out).to_pylist():
        assert row["sha256"] == before[row["parents"][0]]

    def nothing() -> None:
        raise AssertionError("an image was rendered again")

    strips = load_strips(job.out, nothing)
    assert len(strips) == 6 and all(strip.role == "photograph" for strip in strips)
    for strip in strips:  # the photograph of a rendered morph is the morph, in its archive
        np.testing.assert_array_equal(strip.before[0], strip.after[0])
    assert export_folder(job.out, str(tmp_path / "hf"), images=True) == 6
    (path,) = (tmp_path / "hf/data").iterdir()
    images = [row["image"]["bytes"] for row in pq.read_table(path).to_pylist()]
    assert images == [data for _, data, _ in stored(tmp_path / "out")]


def test_animations_have_the_names_that_files_give_them(latents: str, generator: Path, tmp_path: Path) -> None:
    for kind in ("files", "webdataset"):
        job = job_of(latents, generator, tmp_path / kind, kind)
        run(replace(job, config=replace(job.config, animation="gif")))
    found = [
        {path.relative_to(out).as_posix(): path.read_bytes() for path in (out / "animations").rglob("*.gif")}
        for out in (tmp_path / "files", tmp_path / "webdataset")
    ]
    assert len(found[0]) == 6 and found[0] == found[1]


def test_a_member_is_found_where_the_rows_do_not_say(made: dict[str, Path], tmp_path: Path) -> None:
    """A driver that was killed between archive and table leaves an archive with other places than the rows give."""
    out = tmp_path / "out"
    shutil.copytree(made["webdataset"], out)
    path = out / "pictures/shard-00000.tar"
    more = io.BytesIO()
    with tarfile.open(fileobj=more, mode="w") as archive, tarfile.open(path) as old:
        archive.addfile(tarfile.TarInfo("new.png"))
        for info in old:
            archive.addfile(info, old.extractfile(info))
    path.write_bytes(more.getvalue())
    images = RunImages.of(open_store(str(out)))
    for row in read_table(str(out)).to_pylist()[:SHARD]:
        assert hashlib.sha256(images.get(row["image_file"])).hexdigest() == row["sha256"]


def test_on_s3_in_parts(
    made: dict[str, Path], latents: str, generator: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on S3 whose first archive breaks off, and the same command again; then it is read from there."""
    url = f"s3://{s3_bucket}/out"
    job = replace(job_of(latents, generator, Path("out"), "webdataset"), out=url)
    store = open_store(url)

    def broken(self: object, key: str, chunks: Iterator[bytes]) -> None:
        next(chunks)
        raise StorageError(f"{key!r}: S3 was still too busy at try 10; run the same command again, with fewer actors")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put_new_chunks", broken)
        with pytest.raises(StorageError, match="too busy"):
            run(job)
    assert list(store.list("pictures/")) == [] and list(store.list("work/pictures/"))
    run(job)
    assert list(store.list("work/")) == [] and verify(url).sound
    names = [f"shard-{number:05d}.tar" for number in range(4)]
    assert {name: len(store.get(f"pictures/{name}")) for name in names} == {
        name: len(data) for name, data in archives(made["webdataset"]).items()
    }
    images = RunImages.of(store)
    row = read_table(url).to_pylist()[-1]
    assert decode_image(images.get(row["image_file"])).shape == (16, 16, 3)


def test_an_archive_that_appears_while_it_is_written_is_not_written_over(
    made: dict[str, Path], latents: str, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run's stays, and this run stops; the very same one, of an earlier driver, is taken."""
    job = job_of(latents, generator, tmp_path / "out", "webdataset")
    store, key = open_store(str(tmp_path / "out")), "pictures/shard-00000.tar"
    original, appearing = type(store).put_new_chunks, [b"another run's"]

    def late(self: Store, name: str, chunks: Iterable[bytes]) -> bool:
        if name == key:
            store.put(key, appearing[0])
        return original(self, name, chunks)

    monkeypatch.setattr(type(store), "put_new_chunks", late)
    with pytest.raises(StorageError, match=r"shard-00000\.tar' was written by somebody else meanwhile"):
        run(job)
    assert store.get(key) == b"another run's" and list(store.list("work/pictures/"))
    store.delete([key])
    appearing[0] = (made["webdataset"] / key).read_bytes()
    run(job)
    assert store.get(key) == appearing[0] and verify(store.url).sound
