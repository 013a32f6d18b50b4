"""The run on a real Ray cluster: two actors, kill -9 of an actor and of the driver, jobs, S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow.dataset
import pytest

from i2s_batch.storage import open_store
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.cluster.conftest import IMAGES, STEPS, RayHead, Undisturbed
from tests.material import BAD, draw_pictures, scene, upload
from tests.program import PROGRAM, here, i2s_batch, refusal
from tests.runtime.checks import check_table

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240


class Run:
    """An `i2s-batch embed` with two actors on the test's cluster."""

    def __init__(self, head: RayHead, source: object, out: Path, generator: Path, vgg: Path, *options: object) -> None:
        self.head, self.out = head, out
        networks = ["--generator", generator, "--vgg", vgg, "--actors", 2]
        self.arguments = ["embed", source, out, *networks, *options]

    def start(self) -> subprocess.Popen[str]:
        command = [str(PROGRAM), *map(str, self.arguments)]
        return subprocess.Popen(command, env=self.head.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self) -> dict:
        """Run (again) to the end; the summary."""
        result = i2s_batch(*self.arguments, env=self.head.env)
        assert result.returncode == 0, result.stderr
        return self.summary()

    def summary(self) -> dict:
        return json.loads((self.out / "summary.json").read_text())

    def checkpoints(self) -> set[int]:
        return {int(path.stem) for path in self.out.glob("work/checkpoints/*.npz")}

    def rows(self) -> set[int]:
        return {int(path.stem) for path in self.out.glob("work/rows/*/*.arrow")}


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.1)


@pytest.fixture
def long_run(ray_head: RayHead, undisturbed: Undisturbed, tmp_path: Path, generator: Path, vgg: Path) -> Run:
    """The same twelve pictures, with checkpoints twice a second."""
    options = ["--steps", STEPS, "--batch-size", 3, "--checkpoint-every", 0.5, "--precision", "fp64"]
    return Run(ray_head, undisturbed.source, tmp_path / "out", generator, vgg, *options)


def check_long(run: Run, generator: Path, undisturbed: Undisturbed) -> None:
    """The table is complete and right, and nothing in it tells of the disturbance."""
    check_table(str(run.out), set(IMAGES), generator, bad=set())
    # The table keeps float32: equal but for the last bit.
    np.testing.assert_allclose(read_latents(str(run.out)).latents, undisturbed.table.latents, rtol=1e-6, atol=1e-6)


def test_two_actors_embed_a_folder(
    ray_head: RayHead, tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By relative paths: the current folder of the actors is another one."""
    monkeypatch.chdir(tmp_path)
    ids = draw_pictures(tmp_path / "in")
    options = ["--steps", 20, "--batch-size", 3, "--shard-size", 10, "--max-failed-fraction", 0.2]
    run = Run(ray_head, Path("in"), Path("out"), generator, vgg, *options)
    summary = run.finish()
    check_table(str(run.out), ids, generator)
    assert summary["statuses"] == {"ok": len(ids) - len(BAD), "unreadable": len(BAD)} and summary["finished"]
    assert set(read_table(str(run.out))["worker"].to_pylist()) == {"actor-0", "actor-1"}


def test_the_bench_of_what_a_run_costs_beside_the_engine(
    ray_head: RayHead, tmp_path: Path, generator: Path, vgg: Path
) -> None:
    """It runs on two actors, and both sides embed everything; nobody checks a time."""
    (tmp_path / "in").mkdir()
    for number in range(5):
        scene(number, (40, 40)).save(tmp_path / "in" / f"{number}.png")
    command = [sys.executable, "-m", "i2s_batch.bench.overhead", tmp_path / "in", tmp_path / "out"]
    command += ["--generator", generator, "--vgg", vgg, "--steps", "5", "--rounds", "1"]
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=ray_head.env, timeout=300
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["engine_s"] > 0 and figures["run_over_engine"] == pytest.approx(
        figures["run_seconds"] / figures["engine_s"], rel=1e-3
    )
    assert list((tmp_path / "out").iterdir()) == [], "its runs are gone again"


def test_the_bench_on_pictures_compares_precisions_and_the_run(
    ray_head: RayHead, tmp_path: Path, generator: Path
) -> None:
    for number in range(3):
        scene(number, (40, 40)).save(tmp_path / f"{number}.png")
    options = ["--images", tmp_path, "--steps", 4, "--batch-size", 2, "--pairs", 1]
    result = i2s_batch("bench", "--generator", generator, *options, env=ray_head.env)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert [one["precision"] for one in figures["quality"]] == ["fp32", "fp64", "bf16"]
    assert figures["quality"][0]["loss_ratio"] == 1 and 0.9 < figures["quality"][2]["loss_ratio"] < 1.1
    assert figures["run"]["run_least_steps"] == figures["run"]["run_most_steps"] == 4
    assert "3 images, 4 steps each" in result.stdout and "through Ray" in result.stdout


def test_a_job_from_s3_to_s3(ray_head: RayHead, tmp_path: Path, generator: Path, vgg: Path, s3_bucket: str) -> None:
    ids = draw_pictures(tmp_path / "in")
    upload(tmp_path / "in", f"s3://{s3_bucket}/pictures")
    upload(generator.parent, f"s3://{s3_bucket}/networks")
    out = f"s3://{s3_bucket}/latents"
    job = ["python", "jobs/embed.py", f"s3://{s3_bucket}/pictures", out, "--vgg", str(vgg), "--actors", "2"]
    job += [
        "--generator",
        f"s3://{s3_bucket}/networks/{generator.name}",
        "--steps",
        "15",
        "--max-failed-fraction",
        "0.2",
    ]
    submit = [
        str(PROGRAM.with_name("ray")),
        "job",
        "submit",
        "--address",
        ray_head.dashboard,
        "--working-dir",
        str(ROOT),
    ]
    env = ray_head.env | {"RAY_ADDRESS": ray_head.dashboard}
    result = subprocess.run([*submit, "--", *job], capture_output=True, text=True, check=False, env=env, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(ids)} images: " in result.stdout and "\r" not in result.stdout
    check_table(out, ids, generator)

    # Neither the job's words, nor what it left in the bucket, nor any log of Ray's holds the secret key.
    secret = env["AWS_SECRET_ACCESS_KEY"]
    left = open_store(f"s3://{s3_bucket}")
    words = [result.stdout.encode(), result.stderr.encode(), *(left.get(info.key) for info in left.list("latents"))]
    logs = ray_head.logs()
    assert any("job-driver" in path.name for path in logs), "what was looked through is the session's"
    assert not any(secret.encode() in text for text in [*words, *(path.read_bytes() for path in logs)])

    # As a reader would: the shards on a disk, and three programs that agree.
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "shard-00000.parquet").write_bytes(open_store(out).get("latents/shard-00000.parquet"))
    expected = read_latents(out)
    query = "select image_id, latent from '{}/*.parquet' where status = 'ok' order by image_id"
    by_duckdb = duckdb.sql(query.format(shards)).fetchall()
    by_polars = polars.read_parquet(shards / "*.parquet").filter(polars.col("status") == "ok").sort("image_id")
    by_arrow = pyarrow.dataset.dataset(shards).to_table(filter=pyarrow.dataset.field("status") == "ok")
    flat = expected.latents.reshape(len(expected.ids), -1)
    for found_ids, found in (
        ([row[0] for row in by_duckdb], np.array([row[1] for row in by_duckdb], np.float32)),
        (by_polars["image_id"].to_list(), by_polars["latent"].to_numpy()),
        (by_arrow["image_id"].to_pylist(), np.array(by_arrow["latent"].to_pylist(), np.float32)),
    ):
        assert found_ids == expected.ids
        np.testing.assert_array_equal(found, flat)


def test_kill_9_of_an_actor_loses_nothing(long_run: Run, generator: Path, undisturbed: Undisturbed) -> None:
    driver = long_run.start()
    wait_until(lambda: len(long_run.checkpoints()) >= 4 or driver.poll() is not None, "checkpoints")
    time.sleep(1)
    os.kill(long_run.head.actors()[0], signal.SIGKILL)
    output, errors = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, errors
    (told,) = (line for line in errors.splitlines() if "died" in line)
    assert "died (Worker" in told and "actor_id" not in told and "raylet" not in output, "one line, with the cause"
    check_long(long_run, generator, undisturbed)
    rows = read_table(str(long_run.out))
    assert 2 in rows["attempts"].to_pylist(), "the pictures of the dead actor were started again"
    # Three pictures begun anew would have cost up to 3 x 600 steps more than 12 x 600.
    assert long_run.summary()["this_session"]["steps"] < 12 * STEPS + 3 * STEPS / 2


def test_kill_9_of_the_driver_and_the_same_command_again(
    long_run: Run, generator: Path, undisturbed: Undisturbed
) -> None:
    driver = long_run.start()
    wait_until((long_run.out / "work/lease.json").exists, "the lease")
    # In this process: a new one may take longer than the run.
    assert "another driver is working on this output" in refusal(here(*long_run.arguments, env=long_run.head.env))
    wait_until(
        lambda: (long_run.rows() and long_run.checkpoints() - long_run.rows()) or driver.poll() is not None,
        "the first rows, and checkpoints of the next pictures",
    )
    driver.kill()
    driver.communicate()
    wait_until(lambda: not long_run.head.actors(), "the end of the orphaned actors")
    rows = {index: (long_run.out / f"work/rows/00000/{index:08d}.arrow").read_bytes() for index in long_run.rows()}
    in_flight = long_run.checkpoints() - rows.keys()
    assert rows and in_flight and len(rows) < 12

    session = long_run.finish()["this_session"]
    check_long(long_run, generator, undisturbed)
    assert session["images"] == 12 - len(rows), "no finished picture is computed again"
    assert session["steps"] < STEPS * session["images"], "pictures in flight go on from their checkpoints"
    embedded_at = read_table(str(long_run.out))["embedded_at"].to_pylist()
    assert max(embedded_at[i] for i in rows) < min(embedded_at[i] for i in range(12) if i not in rows)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_what_is_in_flight(
    long_run: Run, generator: Path, undisturbed: Undisturbed, number: int, status: int
) -> None:
    long_run.arguments += ["--checkpoint-every", 3600]  # what is saved is saved by the signal
    driver = long_run.start()
    wait_until(lambda: long_run.rows() or driver.poll() is not None, "the first rows")
    time.sleep(1)
    driver.send_signal(number)
    _, errors = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == status, errors
    assert "run the same command again to resume:\n  i2s-batch embed " in errors and "Traceback" not in errors
    assert long_run.checkpoints() and not (long_run.out / "work/lease.json").exists()
    session = long_run.finish()["this_session"]
    assert session["steps"] < STEPS * session["images"]
    check_long(long_run, generator, undisturbed)


@pytest.mark.parametrize("first", ["on Ray", "in process"])
def test_a_run_begins_on_ray_and_ends_in_process_and_the_other_way_round(
    long_run: Run, generator: Path, undisturbed: Undisturbed, first: str
) -> None:
    # Threads that wait for each other cost a tiny network more than they bring.
    long_run.head = replace(long_run.head, env=long_run.head.env | {"OMP_NUM_THREADS": "1"})
    on_ray = list(long_run.arguments)
    place = on_ray.index("--actors")
    in_process = [*on_ray[:place], *on_ray[place + 2 :], "--in-process"]
    before, after = (on_ray, in_process) if first == "on Ray" else (in_process, on_ray)
    long_run.arguments = before
    driver = long_run.start()
    wait_until(
        lambda: driver.poll() is not None or (long_run.rows() and long_run.checkpoints()), "rows and checkpoints"
    )
    driver.kill()
    driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == -signal.SIGKILL and len(long_run.rows()) < 12
    long_run.arguments = after
    long_run.finish()
    check_long(long_run, generator, undisturbed)
    workers = {name.partition("-")[0] for name in read_table(str(long_run.out))["worker"].to_pylist()}
    assert workers == {"actor", "local"}


def test_no_cluster_at_the_given_address(tmp_path: Path, generator: Path, vgg: Path, ray_head: RayHead) -> None:
    scene(0, (40, 40)).save(tmp_path / "one.png")
    env = ray_head.env | {"RAY_ADDRESS": "127.0.0.1:9"}
    arguments = ["embed", tmp_path / "one.png", tmp_path / "out", "--generator", generator, "--vgg", vgg]
    assert "RAY_ADDRESS" in refusal(i2s_batch(*arguments, env=env))
