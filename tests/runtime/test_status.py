"""`read_status` against real outputs: planned, running, interrupted, finished, local and on S3, and in a race."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import InternalError, StorageError
from i2s_batch.output import lease as lease_module
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.lease import Lease, LeaseHolder, parse_holder
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run import row_survey
from i2s_batch.run.assembly import Assembler
from i2s_batch.run.status import RunStatus, read_status
from i2s_batch.storage import Store, open_store
from tests.material import BAD, upload
from tests.runs import embed

IMAGES = 26
CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=12), batch_size=4, shard_size=10)


@pytest.fixture
def job(pictures: tuple[Path, set[str]], tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return EmbedRunRequest(str(pictures[0]), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)


def run(job: EmbedRunRequest, workers: int = 1) -> None:
    embed(job, workers)


def status(out: str) -> RunStatus:
    """The status, and that reading it changes nothing."""
    store = open_store(out)
    before = {info.key: store.get(info.key) for info in store.list()}
    found = read_status(out, report=pytest.fail)
    assert {info.key: store.get(info.key) for info in store.list()} == before
    assert json.loads(json.dumps(found.as_json()))["done"] == found.done
    return found


class StopError(Exception):
    """What ends a run in the middle."""


def interrupt(job: EmbedRunRequest, after: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run until about `after` rows are there; how many images are done, those of a whole shard among them."""
    original = WorkLog.write_rows

    def stop(self: WorkLog, task, rows):
        if len(rows_of(job.out)) >= after:
            raise StopError
        return original(self, task, rows)

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        patch.setattr("i2s_batch.embedding.embed_worker.WRITER_THREADS", 1)
        with pytest.raises(InternalError, match="StopError"):
            run(job)
    return len(rows_of(job.out)) + CONFIG.shard_size * len(list(Path(job.out).glob("latents/*")))


def leave_rows_in_the_log(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run to the end, but for the assembly of the shards."""
    with monkeypatch.context() as patch:
        patch.setattr(Assembler, "publish", lambda *_: None)
        patch.setattr(EmbedRun, "clear_work", lambda _: None)
        run(job)


def rows_of(out: str) -> list[int]:
    keys = (info.key for info in open_store(out).list("work/rows/"))
    return [index for index in map(RunLayout.row_index, keys) if index is not None]


def test_an_output_that_does_not_exist_or_is_something_else(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"holds no run of i2s-batch \(no run.json\)"):
        read_status(str(tmp_path / "nowhere"), report=pytest.fail)
    generator = {"fingerprint": "f", "family": "stylegan1", "origin": "o", "latent_shape": [2, 3]}
    identity = {"source": "s", "settings": {"shard_size": 10}, "vgg": None, "generator": generator}
    for content, reason in [
        ("{", "not a run record"),
        ("[]", "not a run record"),
        (json.dumps(identity | {"settings": {}}), "lack shard_size"),
        (json.dumps(identity | {"settings": []}), "got `array`"),
        (json.dumps(identity | {"settings": {"shard_size": 0}}), "shard_size is 0; it is between 1 and"),
        (json.dumps(identity | {"generator": generator | {"latent_shape": [2, "3"]}}), "got `str` - at"),
        (json.dumps(identity | {"created_at": 7}), r"created_at"),
        (json.dumps(identity), "images.parquet"),
    ]:
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(StorageError, match=reason):
            read_status(str(tmp_path), report=pytest.fail)


def test_a_run_that_is_planned_and_not_begun(job: EmbedRunRequest) -> None:
    EmbedRun(job, report=lambda line: None).begin()
    found = status(job.out)
    assert (found.state, found.images, found.done, found.shards, found.shards_published) == ("stopped", 26, 0, 3, 0)
    assert (found.holder, found.live, found.summary_age_s, found.slowest, found.last_failures) == (
        None,
        None,
        None,
        [],
        [],
    )


def test_a_finished_run(job: EmbedRunRequest, pictures: tuple[Path, set[str]]) -> None:
    run(job)
    found = status(job.out)
    assert (found.state, found.done, found.failed) == ("finished", IMAGES, len(BAD)) and found.finished
    assert found.statuses == {"ok": IMAGES - len(BAD), "unreadable": len(BAD)}
    assert {failure.image_id for failure in found.last_failures} == BAD
    assert any("HTML" in failure.error and failure.status == "unreadable" for failure in found.last_failures)
    assert len(found.slowest) == 5 and {slow.image_id for slow in found.slowest} <= pictures[1] - BAD
    assert [slow.seconds for slow in found.slowest] == sorted((s.seconds for s in found.slowest), reverse=True)


def test_an_interrupted_run_and_the_command_that_goes_on_with_it(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = interrupt(
        replace(job, config=replace(CONFIG, embed=EmbedConfig(steps=40), checkpoint_every_s=1e-3)), 12, monkeypatch
    )
    found = status(job.out)
    assert (found.state, found.done, found.holder, found.live) == ("stopped", rows, None, None)
    assert found.saved > 0 and found.summary_age_s is not None
    networks = f"--generator {job.generator} --vgg {job.vgg}"
    assert found.command == f"i2s-batch embed {job.source} {job.out} {networks} --steps 40 --shard-size 10"

    # What a command line cannot say, or must not show, is not made up.
    record = json.loads((Path(job.out) / "run.json").read_text())
    for change in (
        {"settings": record["settings"] | {"annealing": 0.5}},
        {"given": {"generator": None, "vgg": "random"}},
        {"given": None},
    ):
        (Path(job.out) / "run.json").write_text(json.dumps(record | change))
        assert status(job.out).command is None


def test_a_secret_in_an_address_is_not_kept(job: EmbedRunRequest) -> None:
    from i2s_batch.output.run_record import given

    assert given("https://host/g.pkl?signature=abc") is None and given("https://me:pw@host/g.pkl") is None
    assert given("https://host/g.pkl") == "https://host/g.pkl" and given("imagenet") == "imagenet"


def running(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch, look: Callable[[], None]) -> None:
    """Run to the end with 0 s between two summaries, and `look` once in the middle, when 6 rows are there."""
    monkeypatch.setattr("i2s_batch.output.summary_file.SUMMARY_EVERY_S", 0.0)
    original = WorkLog.write_rows
    looked = []

    def write(self: WorkLog, task, rows):
        written = original(self, task, rows)
        if len(rows_of(job.out)) >= 6 and not looked:
            looked.append(task)
            look()
        return written

    monkeypatch.setattr("i2s_batch.embedding.embed_worker.WRITER_THREADS", 1)
    monkeypatch.setattr(WorkLog, "write_rows", write)
    run(replace(job, config=replace(CONFIG, embed=EmbedConfig(steps=20))))
    assert looked


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_run_under_way(
    job: EmbedRunRequest, place: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if place == "s3":
        bucket = request.getfixturevalue("s3_bucket")
        upload(Path(job.source), f"s3://{bucket}/in")
        job = replace(job, source=f"s3://{bucket}/in", out=f"s3://{bucket}/out")
    seen: list[RunStatus] = []
    running(job, monkeypatch, lambda: seen.append(read_status(job.out, report=pytest.fail)))
    (found,) = seen
    assert found.state == "running" and found.running and found.steps == 20
    assert 6 <= found.done < IMAGES and found.holder is not None and found.holder.pid == str(os.getpid())
    assert found.live is not None and found.live.retried == 0 and found.summary_age_s is not None
    ended = status(job.out)
    assert (ended.state, ended.done, ended.live, ended.holder) == ("finished", IMAGES, None, None)


def say_in_summary(store: Store, age_s: float, **facts: object) -> None:
    """Write the summary that a driver would have written `age_s` ago."""
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    summary = {"finished": False, "updated_at": at.isoformat(), "in_flight": 8, "retried": 3, "waiting_for": None}
    summary |= {"longest_in_flight": [{"image_id": "a", "steps": 7, "worker": "w", "seconds": 9.0}]}
    summary |= {"steps_per_second": 20.0, "images_per_hour": 6.0, "eta_seconds": 60.0}
    store.put("summary.json", json.dumps(summary | facts).encode())


def test_the_driver_s_word_counts_while_it_lives_and_the_word_is_fresh(job: EmbedRunRequest) -> None:
    EmbedRun(job, report=lambda line: None).begin()
    store = open_store(job.out)
    lease = Lease(store, RunLayout.lease)
    lease.acquire()
    try:
        say_in_summary(store, age_s=20)
        found = read_status(job.out, report=pytest.fail)
        assert found.live is not None and found.live.steps_per_second == 20.0 and found.live.retried == 3
        assert found.live.longest_in_flight[0].steps == 7 and 20 <= found.live.age_s < 80
        say_in_summary(store, age_s=-50)
        ahead = read_status(job.out, report=pytest.fail)
        assert ahead.live is not None and ahead.live.age_s == 0, "the clock of another machine"
        say_in_summary(store, age_s=3600)
        old = read_status(job.out, report=pytest.fail)
        assert old.running and old.live is None and old.summary_age_s is not None and old.summary_age_s >= 3600
        say_in_summary(store, age_s=0, finished=True)
        assert read_status(job.out, report=pytest.fail).live is None, "that was the session before"
        say_in_summary(store, age_s=0, in_flight="many")
        assert read_status(job.out, report=pytest.fail).live is None, "a field has another type"
        for damaged in (b"{", b"[]", b'{"updated_at": 3}', b'{"updated_at": "2026-01-01T00:00:00"}', b"[" * 9999):
            store.put("summary.json", damaged)
            unknown = read_status(job.out, report=pytest.fail)
            assert (unknown.state, unknown.live, unknown.summary_age_s) == ("running", None, None)
    finally:
        lease.release()
    say_in_summary(store, age_s=0)
    assert status(job.out).live is None, "whoever said it holds the lease no more"


@pytest.mark.parametrize("lives", [True, False])
def test_a_driver_on_another_machine_is_known_by_its_heartbeat(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch, lives: bool
) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(lease_module, "EXPIRY_S", 20.0 if lives else 0.5)
    EmbedRun(job, report=lambda line: None).begin()
    store = open_store(job.out)
    said: list[str] = []
    lease = Lease(store, RunLayout.lease)
    lease.acquire()
    if not lives:  # killed: the lease stays, and nobody renews it
        held = store.get(RunLayout.lease)
        lease.release()
        store.put(RunLayout.lease, held)
    monkeypatch.setattr(lease_module, "this_machine", lambda: "another")
    found = read_status(job.out, said.append)
    assert found.state == ("running" if lives else "stopped") and found.holder is not None
    assert len(said) == 1 and f"heartbeat from {found.holder.host}" in said[0]
    if lives:
        lease.release()


def test_a_driver_of_this_machine_that_was_killed(job: EmbedRunRequest) -> None:
    EmbedRun(job, report=lambda line: None).begin()
    code = f"""
import os
from i2s_batch.output.lease import Lease
from i2s_batch.storage import open_store
Lease(open_store({job.out!r}), "work/lease.json").acquire()
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    found = status(job.out)
    assert found.state == "stopped" and found.holder is not None and found.holder.pid != str(os.getpid())


def test_a_run_that_ends_while_it_is_looked_at(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last rows came, and the lease went, after the rows were counted."""
    run(job)
    store = open_store(job.out)
    shard = store.get(RunLayout.shard(2))
    store.delete([RunLayout.shard(2)])
    held = json.dumps({"host": "h", "machine": "another", "pid": 1}).encode()
    store.put(RunLayout.lease, held)

    def end(say: str) -> None:
        store.put(RunLayout.shard(2), shard)
        store.delete([RunLayout.lease])

    found = read_status(job.out, end)
    assert (found.state, found.done, found.holder) == ("finished", IMAGES, None)


def test_rows_that_go_into_their_shard_while_they_are_counted(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch, pictures: tuple[Path, set[str]]
) -> None:
    """The log is listed, its first rows are asked for, and only then their shard appears and the rows are gone."""
    job = replace(job, config=replace(CONFIG, shard_size=IMAGES))
    leave_rows_in_the_log(job, monkeypatch)
    store, rows = open_store(job.out), rows_of(job.out)
    assert len(rows) == IMAGES
    assert status(job.out).shards_published == 0
    record = RunRecord.decode(store.get(RunLayout.run_json), "run.json")
    plan, log = Plan.load(store, IMAGES), WorkLog(job.out, record.generator.latent_size)
    assembler = Assembler(store, plan, log, record.table_metadata(), lambda: None)

    original = WorkLog.read_rows
    asked: list[int] = []

    def read(self: WorkLog, indices: Iterable[int]):
        units = list(indices)
        if len(units) == 1:  # not the assembler, which reads all
            asked.append(units[0])
            if len(asked) == 4:
                assembler.publish(0, rows, exists=False)
        return original(self, units)

    monkeypatch.setattr("i2s_batch.run.row_survey.ROW_READERS", 1)
    monkeypatch.setattr(WorkLog, "read_rows", read)
    found = read_status(job.out, report=pytest.fail)
    assert len(asked) == IMAGES and rows_of(job.out) == []
    assert (found.done, found.failed, found.shards_published) == (IMAGES, len(BAD), 1)
    assert {failure.image_id for failure in found.last_failures} == BAD, "and each of them once"


def test_a_retry_under_way_counts_each_image_once(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job)
    shutil.copy(pictures[0] / "a/0.png", pictures[0] / "bad/empty.png")
    leave_rows_in_the_log(replace(job, config=replace(CONFIG, retry_failed=True)), monkeypatch)
    assert len(rows_of(job.out)) == len(BAD)
    found = status(job.out)
    assert (found.state, found.done, found.failed) == ("stopped", IMAGES, len(BAD) - 1), (
        "the log knows better than the shard"
    )
    assert {failure.image_id for failure in found.last_failures} == BAD - {"bad/empty.png"}


def test_of_many_failures_only_the_latest_are_held(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job)
    every = status(job.out).last_failures
    monkeypatch.setattr(row_survey, "FAILURES_HELD", 0)
    monkeypatch.setattr(row_survey, "NAMED", 2)
    store = open_store(job.out)
    plan, log = Plan.load(store, CONFIG.shard_size), WorkLog(job.out, 1)
    assert len(row_survey.survey(store, plan, log).failures) == 2 < len(every)
    assert status(job.out).last_failures == every[:2]
    for failure in every[:2]:
        shutil.copy(pictures[0] / "a/0.png", pictures[0] / failure.image_id)
    leave_rows_in_the_log(replace(job, config=replace(CONFIG, retry_failed=True)), monkeypatch)
    found = status(job.out)
    assert found.failed == len(BAD) - 2
    assert {failure.image_id for failure in found.last_failures} == BAD - {failure.image_id for failure in every[:2]}


def test_pictures_that_workers_died_with_are_named(job: EmbedRunRequest) -> None:
    EmbedRun(job, report=lambda line: None).begin()
    open_store(job.out).put(RunLayout.deaths, b'{"0": 2, "99": 1}')
    assert status(job.out).deaths == {"a/0.png": 2}


def test_a_look_loads_neither_torch_nor_ray(job: EmbedRunRequest) -> None:
    EmbedRun(job, report=lambda line: None).begin()
    code = f"import sys; from i2s_batch.run.status import read_status; read_status({job.out!r}, print)"
    code += "; print(sorted({'torch', 'ray', 'boto3'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("content", [b"not JSON", b"[]", b'{"pid": "9", "host": 3, "beat": true}', b"[" * 100_000])
def test_a_damaged_lease_names_nobody(content: bytes) -> None:
    assert set(vars(parse_holder(content)).values()) == {None}


def test_of_a_lease_by_a_later_version_what_is_known_counts() -> None:
    held = b'{"id": "a", "host": "h", "pid": 9, "since": "s", "more": {}}'
    assert parse_holder(held) == LeaseHolder("a", "h", None, 9, None, "s", None)
