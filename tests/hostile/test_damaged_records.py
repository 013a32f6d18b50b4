"""run.json, the other records under OUT and the metadata of shards with damaged values: no command has a fault.

By default some commands of each output, the same each time; with `--fuzz long` many more.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from i2s_batch.output import lease
from i2s_batch.output.lease import this_machine
from i2s_batch.output.run_record import RunRecord
from i2s_batch.run.speed_cache import figures_file, load_measured
from tests.data.outputs import jobs
from tests.hostile.damaged import (
    ADDED,
    MISSING,
    VALUES,
    Files,
    carry_out,
    check_no_fault,
    nested,
    paths,
    reading,
    resuming,
    with_value,
)
from tests.material import DATA, write_small_vgg

OUTPUTS = ("finished", "morph", "render", "s3", *jobs.STOPPED)
# Other records, and an output that has one.
RECORDS = {
    "work/lease.json": "killed",
    "summary.json": "killed",
    "manifest/checksums/shard-00000.json": "finished",
    "work/publishing/shard-00000.json": "finished",
    "work/deaths.json": "killed",
}
_CHECKSUM = {"sha256": "0" * 64, "size": 1}

pytestmark = pytest.mark.skipif(not Path(jobs.HERE).exists(), reason="the outputs are recorded under /proc/self/cwd")


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the saved outputs into the folder of this test, and make that the current folder."""
    folder = tmp_path / "outputs"
    shutil.copytree(DATA / "outputs" / "schema-2", folder)
    write_small_vgg(folder / "vgg.pth")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(lease, "EXPIRY_S", 0.01)  # of the killed driver, whose machine is not this one
    return folder


@pytest.fixture
def tries(request: pytest.FixtureRequest) -> int:
    """Return how many commands are tried of each record."""
    return 400 if request.config.getoption("--fuzz") == "long" else 12


def encoded(record: Any) -> bytes:
    return json.dumps(record).encode()


def short(value: Any) -> str:
    return "nothing" if value is MISSING else str(value)[:40]


@pytest.mark.parametrize("out", OUTPUTS)
def test_a_damaged_run_record_is_no_fault(outputs: Path, out: str, tries: int) -> None:
    file, files, stream = outputs / out / "run.json", Files(outputs / out), random.Random(out)
    record = json.loads(file.read_bytes())
    places = [*paths(record), *ADDED]
    for _ in range(tries):
        path, value = stream.choice(places), stream.choice(VALUES)
        words = stream.choice([resuming(out), *reading(out)])
        file.write_bytes(encoded(with_value(record, path, value)))
        check_no_fault(words, f"{path} = {short(value)}")
        files.restore()
        shutil.rmtree("new", ignore_errors=True)


@pytest.mark.parametrize("out", OUTPUTS)
def test_a_sound_run_record_is_written_again_byte_for_byte(out: str) -> None:
    content = (DATA / "outputs" / "schema-2" / out / "run.json").read_bytes()
    record = RunRecord.decode(content, out)
    assert record.encode() == content
    merged = json.loads(replace(record, in_process=True).merged_with("here", ("a", "b")).encode())
    assert list(merged)[-3:] == ["in_process", "command", "merged"]


def test_a_study_says_that_it_is_in_process_by_its_command_alone(outputs: Path) -> None:
    words = ["study", "init", "in", "new", "--sample", "1", *resuming("finished")[3:7], "--steps", "1", "--in-process"]
    assert carry_out(words).status == 0
    record = json.loads((outputs / "new" / "run.json").read_bytes())
    assert "in_process" not in record and record["command"][-1] == "--in-process"


@pytest.mark.parametrize("value", [2**31, 2**63, 10**30])
@pytest.mark.parametrize("path", [("settings", "shard_size"), ("generator", "latent_shape", 1)])
def test_a_number_beyond_every_run_is_named(outputs: Path, path: tuple[str | int, ...], value: int) -> None:
    file = outputs / "finished" / "run.json"
    file.write_bytes(encoded(with_value(json.loads(file.read_bytes()), path, value)))
    for words in (["status", "finished"], ["merge", "finished", "finished", "new"], resuming("finished")):
        answer = check_no_fault(words, f"{path} = {value}")
        named = str(file) in answer.line and str(path[1]) in answer.line and str(value) in answer.line
        assert answer.status == 2 and named, answer


@pytest.mark.parametrize("key", RECORDS)
def test_another_damaged_record_is_no_fault(outputs: Path, key: str, tries: int) -> None:
    out, stream = RECORDS[key], random.Random(key)
    file = outputs / out / key
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.write_bytes(encoded({"5": 1} if key == "work/deaths.json" else _CHECKSUM))
    record, files = json.loads(file.read_bytes()), Files(outputs / out)
    for _ in range(tries):
        path, value = stream.choice(list(paths(record))), stream.choice(VALUES)
        words = stream.choice([resuming(out), *reading(out)])
        file.write_bytes(encoded(with_value(record, path, value)))
        check_no_fault(words, f"{key} {path} = {short(value)}")
        files.restore()
        shutil.rmtree("new", ignore_errors=True)


def test_the_status_of_a_living_run_bears_any_summary(outputs: Path, tries: int) -> None:
    started = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    holder = {"id": "0", "host": "here", "machine": this_machine(), "pid": os.getpid(), "process_start": started}
    (outputs / "killed" / "work" / "lease.json").write_bytes(encoded(holder))
    file = outputs / "killed" / "summary.json"
    flight = {"image_id": "cats/0.png", "steps": 3, "worker": "local-0", "seconds": 2.5}
    record = json.loads(file.read_bytes()) | {
        "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "in_flight": 1,
        "longest_in_flight": [flight],
        "waiting_for": None,
        "steps_per_second": 4.5,
        "images_per_hour": 12.0,
        "eta_seconds": 60.0,
    }
    file.write_bytes(encoded(record))
    sound = carry_out(["status", "killed"])
    assert "4.5 steps/s" in sound.output and "1 in flight" in sound.output and "step 3 of 40" in sound.output
    stream = random.Random(0)
    for path in paths(record):
        for value in stream.sample(VALUES, min(len(VALUES), tries // 3)):
            file.write_bytes(encoded(with_value(record, path, value)))
            answer = check_no_fault(["status", "killed"], f"{path} = {short(value)}")
            assert answer.status == 0 and ": running" in answer.output
    file.write_bytes(b"[" * 100_000)
    assert check_no_fault(["status", "killed"], "a nested summary").status == 0


def with_metadata(folder: Path, metadata: Mapping[bytes, bytes]) -> None:
    """Give every shard of a table other metadata, as if it had been written so: no checksum speaks of it."""
    shutil.rmtree(folder / "manifest" / "checksums", ignore_errors=True)
    for shard in folder.glob("latents/*.parquet"):
        pq.write_table(pq.read_table(shard).replace_schema_metadata(metadata), shard, write_page_checksum=True)


@pytest.mark.parametrize("out", ["finished", "morph", "killed"])
def test_damaged_metadata_of_shards_are_no_fault(outputs: Path, out: str, tries: int) -> None:
    folder, stream = outputs / out, random.Random(out)
    files = Files(folder)
    metadata = pq.read_schema(folder / "latents" / "shard-00000.parquet").metadata
    key = b"i2s_batch.settings"
    settings = json.loads(metadata[key])
    for number in range(tries):
        path, value = stream.choice([*paths(settings), ("study",), ("operation",)]), stream.choice(VALUES)
        with_metadata(folder, metadata | {key: encoded(with_value(settings, path, value))})
        if number % 2:
            (folder / "run.json").unlink()
        check_no_fault(stream.choice(reading(out)), f"metadata {path} = {short(value)}, run {number % 2}")
        files.restore()
        shutil.rmtree("new", ignore_errors=True)


def test_metadata_that_are_missing_are_no_fault(outputs: Path) -> None:
    folder = outputs / "finished"
    metadata = pq.read_schema(folder / "latents" / "shard-00000.parquet").metadata
    files, readers = Files(folder), ["report", "verify", "query", "neighbours", "export"]
    for missing in [name for name in metadata if name.startswith(b"i2s_batch.")]:
        with_metadata(folder, {name: value for name, value in metadata.items() if name != missing})
        for words in reading("finished"):
            if words[0] in readers:
                check_no_fault(words, f"no {missing.decode()}")
        files.restore()


def test_a_nested_file_of_measured_figures_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    figures_file().parent.mkdir(parents=True)
    figures_file().write_bytes(b"[" * 100_000)
    said: list[str] = []
    assert load_measured(said.append) == [] and "is ignored" in said[0]
    figures_file().write_bytes(encoded(nested("list", 900)))
    assert load_measured(said.append) == []
