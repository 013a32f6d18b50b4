"""What may be written: nothing of the user's is deleted or overwritten, locally and on S3."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch.api.reports import write_report
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Render
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import I2SError, RunConflictError, SourceError, StorageError
from i2s_batch.maintenance.merging import merge_runs
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_file, claim
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import Store, open_store
from i2s_batch.storage.files import temporary_beside
from i2s_batch.storage.local import LocalStore
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import embed

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=4, shard_size=2)

# What people keep under names that a run uses as well, or nearly.
THEIRS = {
    "work/thesis/chapter.tex": b"\\chapter{One}",
    "work/rows/00000/00000001.csv": b"1,2\n",
    "work/deaths.json.bak": b"{}",
    "report.html": b"<h1>Mine</h1>",
    "summary.json": b"[]",
    "contact-sheet.png": b"mine",
    "pictures/holiday.png": b"mine",
    "latents/notes.txt": b"mine",
    ".i2s-tmp-mine": b"mine",
}


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty place for outputs."""
    if request.param == "local":
        return open_store(str(tmp_path / "outs"))
    return open_store(f"s3://{request.getfixturevalue('s3_bucket')}")


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    (tmp_path / "in").mkdir()
    for number in range(3):
        scene(number, (20, 20)).save(tmp_path / "in" / f"{number}.png")
    return EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)


def contents(store: Store) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.everything()}


def edit(table: str, out: str, generator: str) -> None:
    request = EditRunRequest((table,), out, generator, Render(), EditConfig())
    EditRun(request, generator_weights(generator), lambda line: None).execute(InProcessCluster())


@pytest.mark.parametrize("key", THEIRS)
def test_one_file_of_somebody_else_is_enough_to_refuse(place: Store, job: EmbedRunRequest, key: str) -> None:
    place.put(key, THEIRS[key])
    out, generator = place.url, str(job.generator)
    table = replace(job, out=f"{job.source}-table")
    embed(table)
    study = StudyRunRequest(
        job.source, out, job.generator, job.vgg, StudyConfig(study="init", embed=EmbedConfig(steps=1))
    )
    for command in (
        lambda: embed(replace(job, out=out)),
        lambda: EmbedRun(replace(job, out=out), print).describe(),
        lambda: edit(table.out, out, generator),
        lambda: StudyRun(study, print).plan(),
        lambda: merge_runs([table.out, table.out], out, print),
    ):
        with pytest.raises(RunConflictError, match=r"holds 1 file \(") as refused:
            command()
        assert repr(key) in str(refused.value) and "new or empty" in str(refused.value)
        assert contents(place) == {key: THEIRS[key]}


def test_many_files_are_counted_and_the_first_named(place: Store, job: EmbedRunRequest) -> None:
    for number in range(4):
        place.put(f"some/{number}.txt", b"mine")
    with pytest.raises(
        RunConflictError, match=r"holds 4 files \('some/0\.txt', 'some/1\.txt', 'some/2\.txt', \.\.\.\)"
    ):
        embed(replace(job, out=place.url))
    place.put_all({f"more/{number}.txt": b"mine" for number in range(100)})
    with pytest.raises(RunConflictError, match="holds more than 100 files"):
        embed(replace(job, out=place.url))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"name": "marathon", "km": 42}', b"\xff", b'"run"'])
def test_a_run_json_of_somebody_else(place: Store, job: EmbedRunRequest, content: bytes) -> None:
    place.put("run.json", content)
    for command in (
        lambda: embed(replace(job, out=place.url)),
        lambda: merge_runs([job.out, job.out], place.url, print),
    ):
        with pytest.raises(I2SError):
            command()
    with pytest.raises(StorageError, match="not a run record"):
        claim(place)
    assert contents(place) == {"run.json": content}


def test_what_systems_leave_in_folders_is_no_reason_to_refuse_and_stays(place: Store, job: EmbedRunRequest) -> None:
    left = {".DS_Store": b"\0", "Thumbs.db": b"\0", "._x": b"\0", ".Trashes/501/a.txt": b"a", "sub/desktop.ini": b"\0"}
    place.put_all(left)
    if place.url.startswith("s3://"):
        place.put("folder/", b"")
    else:
        (Path(place.url) / "empty" / "folders").mkdir(parents=True)
    embed(replace(job, out=place.url))
    assert len(read_table(place.url)) == 3
    assert {key: place.get(key) for key in left} == left


def test_files_beside_a_run_of_ours_are_kept(place: Store, job: EmbedRunRequest) -> None:
    job = replace(job, out=place.url)
    embed(job)
    theirs = {"notes.txt": b"mine", "work/thesis.txt": b"mine", "work/rows/00000/3.arrow": b"mine"}
    theirs |= {"work/rows/00000/x.arrow": b"mine", "work/rows/00001/00000000.arrow": b"in another folder than its rows"}
    theirs |= {"work/checkpoints/٠٠٠٠٠٠٠٠.npz": b"mine", "manifest/.i2s-tmp-x": b"mine", "work/probe-mine": b"mine"}
    place.put_all(theirs)
    place.put(RunLayout.row(7), b"what a driver that is gone left behind")
    scene(7, (20, 20)).save(Path(job.source) / "7.png")
    for config in (CONFIG, replace(CONFIG, grow=True), replace(CONFIG, retry_failed=True)):
        embed(replace(job, config=config))
        assert {key: place.get(key) for key in theirs} == theirs
    assert len(read_table(place.url)) == 4
    assert RunLayout.row(7) not in contents(place)


class KilledError(Exception):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("phase", ["work/probe-", RunLayout.lease, RunLayout.plan, RunLayout.run_json])
def test_what_a_run_left_that_was_killed_before_its_run_json_is_taken_over(
    place: Store, job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Killed when the key that begins with `phase` had been written; of run.json, when it was about to be."""
    job, kind = replace(job, out=place.url), type(place)

    def until(original):
        def write(self, key, data):
            if key == phase == RunLayout.run_json:
                raise KilledError
            written = original(self, key, data)
            if key.startswith(phase):
                raise KilledError
            return written

        return write

    with monkeypatch.context() as patch:
        for name in ("put", "put_new", "put_file"):
            patch.setattr(kind, name, until(getattr(kind, name)))
        patch.setattr(kind, "delete", lambda self, keys: None)  # the lease is not given back either
        with pytest.raises(KilledError):
            embed(job)
    assert phase == RunLayout.run_json or any(key.startswith(phase) for key in place.everything())
    if isinstance(place, LocalStore):
        for folder in ("", "work", "manifest", "pictures/a"):
            half = temporary_beside(Path(place.url, folder, "x"))
            half.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(b"half")
    _release_for_a_dead_process(place)
    embed(job)
    assert len(read_table(place.url)) == 3 and list(place.list(RunLayout.work_prefix)) == []
    assert not any(".i2s-tmp-" in key for key in place.everything())


def _release_for_a_dead_process(place: Store) -> None:
    """The holder of the lease is this very process, which lives: let it be one that does not."""
    if RunLayout.lease in place.everything():
        held = json.loads(place.get(RunLayout.lease))
        place.put(RunLayout.lease, json.dumps(held | {"process_start": "0"}).encode())


@pytest.mark.parametrize(
    ("key", "content"),
    [
        (RunLayout.lease, b'{"tenant": "me", "until": 2030}'),
        (RunLayout.lease, b"not JSON"),
        (RunLayout.plan, b"PAR1, or so it begins"),
        (f"work/probe-{'0' * 32}", b"of a space ship"),
        ("work/rows/00099/00000000.arrow", b"in another folder than the rows of a run"),
        (RunLayout.row(7), b"rows of another program"),
        (RunLayout.checkpoint(1000), b"PK\x03\x04 of a training, say"),
        (RunLayout.publishing(0), b'{"title": "a shard of a press"}'),
        (RunLayout.deaths, b"{}"),
        (RunLayout.deaths, b'{"1912": "many"}'),
        (RunLayout.summary, b'{"finished": true}'),
    ],
)
def test_a_name_of_ours_is_no_proof(place: Store, job: EmbedRunRequest, key: str, content: bytes) -> None:
    place.put(key, content)
    with pytest.raises(RunConflictError, match="holds 1 file"):
        embed(replace(job, out=place.url))
    assert contents(place) == {key: content}


def test_links_and_pipes_are_something(tmp_path: Path, job: EmbedRunRequest) -> None:
    """A link named work, to a folder elsewhere, is not written through to that folder."""
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    for target in ("elsewhere", "nowhere"):
        (out / "work").symlink_to(tmp_path / target)
        with pytest.raises(RunConflictError, match=r"holds 1 file \('work'\)"):
            embed(job)
        (out / "work").unlink()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_output_may_be_a_link_to_an_empty_folder(tmp_path: Path, job: EmbedRunRequest) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    embed(job)
    embed(job)
    assert (tmp_path / "out").is_symlink() and (tmp_path / "disk" / "run.json").is_file()


def test_source_and_out_in_each_other(tmp_path: Path, job: EmbedRunRequest) -> None:
    source = Path(job.source)
    (source / "work").mkdir()
    scene(5, (20, 20)).save(source / "work" / "5.png")
    (tmp_path / "link").symlink_to(source)
    before = contents(open_store(job.source))
    for one, out in (
        (source / "work", source),
        (f"{source}/work/", f"{source}/"),
        (source / "work", tmp_path / "link"),
        (tmp_path / "link" / "work", source),
        (source, f"{source}/work/.."),
        (source, source),
        (source / "0.png", source),
        (f"{source}/*/*.png", source),
        (f"{source}/**", source),
        (source / "work", tmp_path),
    ):
        with pytest.raises(RunConflictError, match=r"no run\.json"):
            embed(replace(job, source=str(one), out=str(out)))
        assert contents(open_store(job.source)) == before


def test_results_below_the_source_are_no_images_however_often_it_grows(tmp_path: Path, job: EmbedRunRequest) -> None:
    """`embed photos photos/latents`, with links into the results, and a study, whose results are images."""
    source = Path(job.source)
    out = source / "latents"
    config = replace(CONFIG, grow=True)
    embed(replace(job, out=f"{source}/../in/latents/", config=config))
    (out / "pictures").mkdir()
    scene(9, (20, 20)).save(out / "pictures" / "result.png")
    (source / "a link").symlink_to("latents/pictures")
    (source / "b.png").symlink_to(out / "pictures" / "result.png")
    (source / "c").symlink_to(out)
    scene(8, (20, 20)).save(source / "new.png")
    embed(replace(job, out=f"{source}/../in/latents/", config=config))
    assert read_table(str(out))["image_id"].to_pylist() == ["0.png", "1.png", "2.png", "new.png"]


def test_out_is_not_where_another_run_keeps_its_files(place: Store, job: EmbedRunRequest) -> None:
    first = replace(job, out=f"{place.url}/first")
    embed(first)
    before = contents(open_store(first.out))
    for inside in ("latents/more", "work", "pictures/a/b", "manifest"):
        with pytest.raises(RunConflictError, match=r"lies where the run at .*first' keeps its own files"):
            embed(replace(job, out=f"{first.out}/{inside}"))
    assert contents(open_store(first.out)) == before
    embed(replace(job, out=f"{first.out}/morphs"))  # beside them it may


def test_single_files_are_not_written_over_a_run(tmp_path: Path, job: EmbedRunRequest) -> None:
    embed(job)
    (tmp_path / "link.json").symlink_to("out/run.json")
    for path in ("out/run.json", "out/summary.json", "out/latents/x.npy", "out/../out/report.html", "link.json"):
        with pytest.raises(RunConflictError, match="keeps its own files"):
            check_file(str(tmp_path / path))
    check_file(str(tmp_path / "out" / "mine.csv"))
    check_file(str(tmp_path / "run.json"))


def test_a_report_beside_a_table_of_which_no_run_json_tells(tmp_path: Path, job: EmbedRunRequest) -> None:
    embed(job)
    out = Path(job.out)
    (out / "run.json").rename(tmp_path / "run.json")
    write_report(job.out, None, "no generator")
    (out / "report.html").write_text("mine")
    with pytest.raises(RunConflictError, match=r"report\.html' exists without a run\.json"):
        write_report(job.out, None, "no generator")
    assert (out / "report.html").read_text() == "mine"
    (tmp_path / "run.json").rename(out / "run.json")
    write_report(job.out, None, "no generator")
    assert (out / "report.html").read_text() != "mine"


def test_prefixes_of_s3_in_each_other(s3_bucket: str, job: EmbedRunRequest) -> None:
    bucket = open_store(f"s3://{s3_bucket}")
    images = {f"data/{number}.png": Path(job.source, f"{number}.png").read_bytes() for number in range(3)}
    bucket.put_all(images | {"data/work/thesis.tex": b"mine", "work/other": b"mine"})
    theirs = contents(bucket)
    for source, out in (("/data", "/data"), ("/data", ""), ("", ""), ("/data/", "/data/"), ("/data/work", "/data")):
        with pytest.raises((RunConflictError, SourceError)):
            embed(replace(job, source=bucket.url + source, out=bucket.url + out))
        assert contents(bucket) == theirs
    config = replace(CONFIG, grow=True, max_failed_fraction=1)
    for _ in range(2):
        embed(replace(job, source=f"{bucket.url}/data", out=f"{bucket.url}/data/out", config=config))
    assert read_table(f"{bucket.url}/data/out")["image_id"].to_pylist() == [
        "0.png",
        "1.png",
        "2.png",
        "work/thesis.tex",
    ]
    bucket.put("data/out-2.png", images["data/0.png"])
    embed(replace(job, source=f"{bucket.url}/data", out=f"{bucket.url}/data-2", config=config))
    ids = read_table(f"{bucket.url}/data-2")["image_id"].to_pylist()
    assert "out-2.png" in ids and len(ids) == 5, "a name that only begins as that of an output is another's"
    assert {key: bucket.get(key) for key in theirs} == theirs
