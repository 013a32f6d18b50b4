"""A table is read while its run is in progress: what is finished, each image once, and nothing is disturbed."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from i2s_batch import LatentStream, iter_latents, open_table, read_latents
from i2s_batch.api import reports
from i2s_batch.api.reports import write_report
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.errors import DamagedRowsWarning, StorageError, UnfinishedRunWarning, UnknownImageError
from i2s_batch.output import lease as lease_module
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.lease import Lease
from i2s_batch.output.work_log import RowsGoneError
from i2s_batch.storage import Store, open_store
from i2s_batch.table import dataset, logged_shards
from i2s_batch.table.export import export_latents
from i2s_batch.table.latent_reader import LatentIndex, LatentReader
from i2s_batch.table.neighbours import find_neighbours
from i2s_batch.table.shards import read_table
from i2s_batch.table.sql import run_query
from tests.material import upload
from tests.program import PROGRAM, i2s_batch, status_of
from tests.runs import embed, job_over
from tests.unfinished import publish, unpublish

NAMES = [f"{number:02d}.png" for number in range(10)]
BAD = "04.png"
GOOD = [name for name in NAMES if name != BAD]
LOST = ("01.png", "06.png")  # not finished yet, of the shards 0 and 1
FOUND = [name for name in GOOD if name not in LOST]
CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=2), shard_size=4, max_failed_fraction=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Store:
    """A run of ten images, one of them damaged, in three shards."""
    folder = tmp_path_factory.mktemp("finished")
    job = job_over(folder, NAMES, generator, vgg, CONFIG)
    whole = Path(job.source, BAD).read_bytes()
    Path(job.source, BAD).write_bytes(whole[: len(whole) // 2])
    embed(job)
    return open_store(job.out)


@pytest.fixture(params=["local", "s3"])
def out(request: pytest.FixtureRequest, tmp_path: Path, finished: Store) -> Store:
    """A copy of it, on this machine and on S3."""
    if request.param == "s3":
        store = open_store(f"s3://{request.getfixturevalue('s3_bucket')}/out")
        upload(Path(finished.url), store.url)
        return store
    return copied(finished, tmp_path)


@pytest.fixture
def local(tmp_path: Path, finished: Store) -> Store:
    """A copy of it on this machine."""
    return copied(finished, tmp_path)


def copied(finished: Store, folder: Path) -> Store:
    shutil.copytree(finished.url, folder / "out")
    return open_store(str(folder / "out"))


def content(store: Store) -> dict[str, bytes]:
    """Every object of an output."""
    return {info.key: store.get(info.key) for info in store.list()}


@pytest.fixture
def undisturbed() -> Iterator[Callable[[Store], None]]:
    """Remember an output; at the end of the test it must hold what it held."""
    held: list[tuple[Store, dict[str, bytes]]] = []
    yield lambda store: held.append((store, content(store)))
    assert held and all(content(store) == before for store, before in held), "a reader has written to OUT"


def queried(url: str, sql: str) -> list[dict]:
    with run_query(dataset.open_table(url), sql) as found:
        return [row for batch in found.batches for row in batch.to_pylist()]


# Each reads the ids of the rows with a latent, and latents, its own way.
def _by_read_latents(url: str, folder: Path) -> dict[str, np.ndarray]:
    table = read_latents(url)
    return dict(zip(table.ids, table.latents.reshape(len(table.ids), -1), strict=True))


def _by_batches(url: str, folder: Path) -> dict[str, np.ndarray]:
    parts = list(iter_latents(url, batch_size=3))
    return {name: latent.reshape(-1) for part in parts for name, latent in zip(part.ids, part.latents, strict=True)}


def _by_open_table(url: str, folder: Path) -> dict[str, np.ndarray]:
    table = open_table(url)
    assert len(table) == len(table.ids) == table.to_arrow().num_rows
    good = [row.image_id for row in table.rows(table.ids) if row.status == "ok"]
    return dict(zip(good, table.latents(good).reshape(len(good), -1), strict=True))


def _by_query(url: str, folder: Path) -> dict[str, np.ndarray]:
    rows = queried(url, "SELECT image_id, latent FROM latents WHERE status = 'ok'")
    return {row["image_id"]: np.array(row["latent"], np.float32) for row in rows}


def _by_export(url: str, folder: Path) -> dict[str, np.ndarray]:
    export_latents(url, str(folder / "latents.npz"))
    with np.load(folder / "latents.npz") as file:
        return dict(zip(file["image_id"].tolist(), file["w"].reshape(len(file["w"]), -1), strict=True))


def _by_edits(url: str, folder: Path) -> dict[str, np.ndarray]:
    index, reader = LatentIndex([url]), LatentReader([url])
    return {name: reader.read(name, index.location(name)) for name in index.in_tables(1)[0]}


READERS = [_by_read_latents, _by_batches, _by_open_table, _by_query, _by_export, _by_edits]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("logged", [(0, 1, 2), (1,)], ids=["before the first shard", "between two shards"])
def test_every_reader_finds_what_is_finished(
    out: Store, finished: Store, tmp_path: Path, undisturbed: Callable, reader: Callable, logged: tuple[int, ...]
) -> None:
    expected = _by_read_latents(finished.url, tmp_path)
    lost = LOST if 0 in logged else LOST[1:]
    unpublish(out, logged, without=lost)
    undisturbed(out)
    present = f"{len(NAMES) - len(lost)} of {len(NAMES)} images are there"
    if reader is _by_edits:  # the edit says it itself, in a line of its own
        found = reader(out.url, tmp_path)
        assert [present in str(each) for each in LatentIndex([out.url]).unfinished] == [True]
    else:
        with pytest.warns(UnfinishedRunWarning, match=f"{out.url}: the run is not finished .* {present}"):
            found = reader(out.url, tmp_path)
    assert sorted(found) == [name for name in GOOD if name not in lost]
    for name, latent in found.items():
        np.testing.assert_array_equal(latent, expected[name], err_msg=name)


def test_rows_are_those_of_the_shards_to_come(local: Store, finished: Store) -> None:
    """All columns, also those that only the plan has; a table that lacks no image is not said to be unfinished."""
    unpublish(local, [0, 2])
    assert read_table(local.url).equals(read_table(finished.url))
    assert dataset.open_table(local.url).schema.equals(dataset.open_table(finished.url).schema, check_metadata=True)
    assert dataset.open_table(local.url).unfinished is None


def test_a_run_whose_driver_is_alive_is_in_progress(local: Store) -> None:
    unpublish(local, [0, 1, 2], without=LOST)
    lease = Lease(local, RunLayout.lease)
    lease.acquire()
    try:
        before = content(local)
        with pytest.warns(UnfinishedRunWarning, match=r"the run is in progress, 8 of 10 images are there"):
            table = open_table(local.url)
        assert table.unfinished is not None and (table.unfinished.present, table.unfinished.images) == (8, 10)
        lease.confirm()
        assert content(local).keys() == before.keys()
    finally:
        lease.release()


def test_an_image_in_a_shard_and_in_the_log_comes_once_from_the_shard(local: Store, finished: Store) -> None:
    unpublish(local, [0, 1, 2], keep=True)
    for unit in range(4):
        local.put(RunLayout.row(unit), local.get(RunLayout.row(9)))  # rows that would be found out
    assert read_table(local.url).equals(read_table(finished.url))


def test_a_damaged_file_of_the_log_is_named_and_left_out(out: Store, undisturbed: Callable) -> None:
    unpublish(out, [0, 1, 2])
    for unit in (2, 7):
        whole = bytearray(out.get(RunLayout.row(unit)))
        whole[-9] ^= 1
        out.put(RunLayout.row(unit), bytes(whole))
    out.put(RunLayout.row(8), out.get(RunLayout.row(9)))
    undisturbed(out)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_table(out.url)
    assert table["image_id"].to_pylist() == [name for name in NAMES if name not in ("02.png", "07.png", "08.png")]
    lines = [str(each.message) for each in caught if each.category is DamagedRowsWarning]
    assert len(lines) == 3 and ["'02.png'" in lines[0], "'07.png'" in lines[1], "'08.png'" in lines[2]] == [True] * 3
    assert all(out.uri(RunLayout.row(unit)) in line for unit, line in zip((2, 7, 8), lines, strict=True))
    (line,) = [str(each.message) for each in caught if each.category is UnfinishedRunWarning]
    assert "7 of 10 images are there" in line


def test_status_names_a_damaged_file_and_does_not_count_it(local: Store, capsys: pytest.CaptureFixture[str]) -> None:
    unpublish(local, [0, 1, 2])
    whole = local.get(RunLayout.row(2))
    local.put(RunLayout.row(2), whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert status_of("status", local.url) == 0
    said = capsys.readouterr()
    assert "9/10 done" in said.out and f"{local.uri(RunLayout.row(2))}: a row of the work log is damaged" in said.err


def test_a_log_that_is_mended_is_read_again(local: Store) -> None:
    """The rows of a log that has not changed are cached; a damaged file may become whole in the same size."""
    unpublish(local, [0, 1, 2])
    whole = local.get(RunLayout.row(2))
    local.put(RunLayout.row(2), whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.warns(DamagedRowsWarning), pytest.warns(UnfinishedRunWarning):
        assert read_table(local.url).num_rows == 9
    local.put(RunLayout.row(2), whole)
    assert read_table(local.url).num_rows == 10


def test_an_unchanged_log_is_read_once(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    unpublish(local, [0, 1, 2], without=LOST)
    calls: list[list[int]] = []
    original = logged_shards.planned_rows

    def counted(log, plan, units):
        calls.append(list(units))
        return original(log, plan, units)

    monkeypatch.setattr(logged_shards, "planned_rows", counted)
    with pytest.warns(UnfinishedRunWarning):
        assert read_table(local.url).num_rows == read_table(local.url).num_rows == 8
    assert calls == [[0, 2, 3], [4, 5, 7], [8, 9]]
    local.delete([RunLayout.row(9)])
    with pytest.warns(UnfinishedRunWarning, match="7 of 10"):
        assert read_table(local.url).num_rows == 7


def test_a_shard_that_is_published_while_the_log_is_read(
    out: Store, finished: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpublish(out, [0, 1, 2])
    original = logged_shards.planned_rows

    def late(log, plan, units):
        if 4 in units and not list(out.list(RunLayout.shard(1))):
            publish(out, finished, 1)
        return original(log, plan, units)

    monkeypatch.setattr(logged_shards, "planned_rows", late)
    assert read_table(out.url).equals(read_table(finished.url))


def test_a_log_that_never_rests_is_given_up(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    unpublish(local, [0, 1, 2])

    def gone(log, plan, units):
        raise RowsGoneError("a row is gone")

    monkeypatch.setattr(logged_shards, "planned_rows", gone)
    with pytest.raises(StorageError, match="changed 5 times while it was read"):
        read_table(local.url)


def test_an_open_table_stays_as_it_was(local: Store, finished: Store) -> None:
    unpublish(local, [0, 1, 2], without=LOST)
    with pytest.warns(UnfinishedRunWarning):
        table = open_table(local.url)
    for shard in range(3):
        publish(local, finished, shard)
    assert table.ids == sorted([*FOUND, BAD]) and len(table) == 8
    assert table.query("SELECT count(*) AS n FROM latents").to_pylist() == [{"n": 8}]
    assert sorted(name for part in table.batches(2) for name in part.ids) == FOUND
    assert len(table.latents()) == len(FOUND)
    with pytest.raises(UnknownImageError):
        table[LOST[0]]
    assert open_table(local.url)[LOST[0]].status == "ok"


def test_a_latent_is_found_when_its_shard_has_gained_rows(local: Store, finished: Store, tmp_path: Path) -> None:
    """An edit that was planned from a table in progress, whose workers read later."""
    expected = _by_read_latents(finished.url, tmp_path)
    unpublish(local, [0, 1, 2], without=LOST)
    index = LatentIndex([local.url])
    early = LatentReader([local.url])
    early.read("02.png", index.location("02.png"))
    unpublish_again = copied(finished, tmp_path / "again")
    unpublish(unpublish_again, [0, 1, 2])
    for unit in range(10):
        local.put(RunLayout.row(unit), unpublish_again.get(RunLayout.row(unit)))
    between = LatentReader([local.url])
    for shard in range(3):
        if shard:
            publish(local, finished, shard)
    late = LatentReader([local.url])
    for reader in (early, between, late):
        for name in index.in_tables(1)[0]:
            np.testing.assert_array_equal(reader.read(name, index.location(name)), expected[name], err_msg=name)


def test_torch_datasets_read_the_shards_there_were(local: Store, finished: Store) -> None:
    unpublish(local, [0, 2])
    stream = LatentStream(local.url)
    publish(local, finished, 0)
    assert [item["image_id"] for item in stream] == [name for name in NAMES[4:8] if name != BAD]


def test_no_image_is_done_yet(local: Store) -> None:
    unpublish(local, [0, 1, 2], without=NAMES)
    with pytest.raises(StorageError, match=r"holds a run of which no image is done yet; i2s-batch status .*out"):
        read_latents(local.url)
    local.put(RunLayout.row(3), b"nothing")
    with pytest.raises(StorageError, match=r"no image is done yet; .*00000003.arrow: a row of the work log is damaged"):
        read_latents(local.url)


def test_a_damaged_plan_or_record_spoils_no_shard(local: Store) -> None:
    unpublish(local, [1])
    local.put(RunLayout.plan, b"nothing")
    with pytest.warns(DamagedRowsWarning, match=r"images.parquet is damaged .*; what the work log holds is left out"):
        assert read_table(local.url)["image_id"].to_pylist() == [*NAMES[:4], *NAMES[8:]]
    local.delete([RunLayout.run_json])
    assert read_table(local.url).num_rows == 6, "as after a copy of latents/ alone"
    local.delete([RunLayout.shard(0), RunLayout.shard(2)])
    with pytest.raises(StorageError, match="unfinished run without a shard yet"):
        read_table(local.url)


def test_a_work_folder_that_may_not_be_listed_spoils_no_shard(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    unpublish(local, [1])
    original = type(local).list

    def denied(store: Store, prefix: str = ""):
        if prefix.startswith("work"):
            raise StorageError("access denied")
        return original(store, prefix)

    monkeypatch.setattr(type(local), "list", denied)
    with pytest.warns(UnfinishedRunWarning, match="6 of 10"):
        assert read_table(local.url).num_rows == 6


def test_neighbours_among_those_that_are_there(local: Store, finished: Store) -> None:
    unpublish(local, [0, 1, 2], without=LOST)
    with pytest.warns(UnfinishedRunWarning):
        found = find_neighbours(local.url, "00.png", k=20)
    whole = find_neighbours(finished.url, "00.png", k=20)
    assert found.neighbours == [each for each in whole.neighbours if each.image_id not in LOST]


def test_commands_say_once_how_many_images_there_are(
    local: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unpublish(local, [0, 1, 2], without=LOST)
    line = f"i2s-batch: {local.url}: the run is not finished and no driver is at work, 8 of 10 images are there"
    for words in (
        ["query", local.url, "SELECT image_id FROM latents", "--format", "csv"],
        ["neighbours", local.url, "00.png"],
        ["neighbours", local.url, "00.png", "--sheet", tmp_path / "sheet.png"],
        ["export", local.url, tmp_path / "latents.pt"],
        ["report", local.url],
    ):
        assert status_of(*words) == 0
        said = capsys.readouterr()
        assert said.err.count("the run is not finished") == 1 and line in said.err, words
        if words[0] == "query":
            assert [row["image_id"] for row in csv.DictReader(io.StringIO(said.out))] == sorted([*FOUND, BAD])
    page = Path(local.url, "report.html").read_text()
    assert "The run was not finished when this page was written:</b> 8 of 10 images are shown" in page
    assert status_of("status", local.url) == 0 and "8/10 done" in capsys.readouterr().out


def test_an_edit_takes_the_rows_there_are_and_says_so(
    local: Store, finished: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unpublish(local, [0, 1, 2], without=LOST)
    assert status_of("render", local.url, tmp_path / "images", "--in-process") == 0
    line = f"{local.url}: the run is not finished and no driver is at work, 8 of 10 images are there; resume it to "
    said = capsys.readouterr().err
    assert f"{line}complete the table; the edit takes those, and none that come later" in said
    assert said.count("8 of 10") == 1
    assert read_table(str(tmp_path / "images")).num_rows == len(FOUND)
    for shard in range(3):
        publish(local, finished, shard)
    assert status_of("render", local.url, tmp_path / "images", "--in-process") == 0
    assert read_table(str(tmp_path / "images")).num_rows == len(FOUND), "its plan is frozen"
    assert status_of("render", local.url, tmp_path / "by-condition", "--in-process", "--where", "steps = 2") == 0
    assert read_table(str(tmp_path / "by-condition")).num_rows == len(GOOD)


def test_a_condition_chooses_among_the_rows_that_were_indexed(
    local: Store, finished: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that a run gains between the two are left to the next edit."""
    from i2s_batch.editing import selected_images

    unpublish(local, [0, 1, 2], without=LOST)
    original = selected_images.chosen_ids

    def later(out, where):
        for shard in range(3):
            publish(local, finished, shard)
        return original(out, where)

    monkeypatch.setattr(selected_images, "chosen_ids", later)
    assert status_of("render", local.url, tmp_path / "images", "--in-process", "--where", "steps = 2") == 0
    table = read_table(str(tmp_path / "images"))
    assert table.num_rows == len(FOUND) and set(table["status"].to_pylist()) == {"ok"}


def test_a_report_never_replaces_a_later_one(local: Store, finished: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While this one is drawn the driver ends and writes its own."""
    unpublish(local, [0, 1, 2], without=LOST)
    original, gathered = reports.gather, []

    def overtaken(out: str):
        facts = original(out)
        gathered.append(facts.rows)
        if len(gathered) == 1:
            for shard in range(3):
                publish(local, finished, shard)
            write_report(local.url, None, "the driver's own")
        return facts

    monkeypatch.setattr(reports, "gather", overtaken)
    with pytest.warns(UnfinishedRunWarning):
        write_report(local.url, None, "this one")
    assert gathered == [8, 10, 10], "the early page is written, found to be too early, and written again"
    page = Path(local.url, "report.html").read_text()
    assert "10 images" in page and "not finished" not in page


def test_commands_on_a_run_that_really_runs(tmp_path: Path, generator: Path, vgg: Path) -> None:
    job = job_over(tmp_path, NAMES, generator, vgg, CONFIG)
    words = ["embed", job.source, job.out, "--generator", generator, "--vgg", vgg, "--steps", 300, "--in-process"]
    words += ["--shard-size", 8, "--batch-size", 1]
    env = {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([str(PROGRAM), *map(str, words)], stderr=subprocess.PIPE, text=True) as driver:
        deadline = time.monotonic() + 240
        while not list(Path(job.out).glob("work/rows/*/*.arrow")):
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        counts = []
        while driver.poll() is None:
            sql = "SELECT count(*) AS n, count(DISTINCT image_id) AS ids FROM latents"
            asked = i2s_batch("query", job.out, sql, "--format", "json", env=env)
            assert asked.returncode == 0, asked.stderr
            (found,) = json.loads(asked.stdout)
            assert found["n"] == found["ids"], "an image came twice"
            counts.append(found["n"])
            if "in progress" in asked.stderr:
                page = i2s_batch("report", job.out, env=env)
                assert page.returncode == 0, page.stderr
        assert driver.stderr is not None and driver.wait() == 0, driver.stderr.read()
    assert counts == sorted(counts) and counts[0] < len(NAMES)
    assert read_table(job.out).num_rows == len(NAMES)
    page = Path(job.out, "report.html").read_text()
    assert "in progress" not in page and "not finished" not in page
    assert status_of("verify", job.out) == 0


def test_a_driver_of_another_machine_is_believed_without_a_wait(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is alive would show in its next heartbeat only."""
    unpublish(local, [1], without=LOST)
    lease = {"id": "a", "host": "elsewhere", "machine": "another", "pid": 1, "since": "2026-01-01", "beat": 3}
    local.put(RunLayout.lease, json.dumps(lease).encode())

    def waited(seconds: float) -> None:
        raise AssertionError(f"waited {seconds} s for a heartbeat")

    monkeypatch.setattr(lease_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waited))
    with pytest.warns(UnfinishedRunWarning, match="the run is in progress, 9 of 10"):
        read_table(local.url)


def test_new_images_of_an_update_are_read_from_the_log(
    tmp_path: Path, generator: Path, vgg: Path, finished: Store
) -> None:
    """A plan with generations: a shard of later images begins after the last of the earlier ones."""
    job = job_over(tmp_path, NAMES[:5], generator, vgg, CONFIG)
    embed(job)
    for number in range(20, 23):
        shutil.copy(Path(job.source, NAMES[number - 20]), Path(job.source, f"{number:02d}.png"))
    embed(replace(job, config=replace(CONFIG, grow=True)))
    expected = read_table(job.out)
    unpublish(open_store(job.out), [1, 2])
    assert read_table(job.out).equals(expected) and isinstance(expected, pa.Table) and expected.num_rows == 8
