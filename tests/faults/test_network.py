"""Whole runs from S3 to S3 over a bad network, and what it could break, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import StorageError
from i2s_batch.output import lease
from i2s_batch.storage import open_store, s3_client
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.conftest import S3Server
from tests.faults.proxy import FAULTS, FaultProxy, running
from tests.faults.report import Tally
from tests.material import BAD, draw_pictures, upload
from tests.runs import embed
from tests.runtime.checks import check_table

STEPS = 8
CONFIG = EmbedRunConfig(
    embed=EmbedConfig(steps=STEPS),
    batch_size=4,
    shard_size=10,
    checkpoint_every_s=0.05,
    max_failed_fraction=0.2,
    precision="fp64",
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting of days, in seconds."""
    monkeypatch.setattr(s3_client, "READ_TIMEOUT_S", 1.0)
    monkeypatch.setattr(s3_client, "PAUSE_S", 0.02)
    monkeypatch.setattr(s3_client, "LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)


@contextmanager
def bad_network(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything goes through the proxy meanwhile."""
    with running(proxy) as endpoint, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        yield


@pytest.fixture
def proxy(s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    proxy = FaultProxy(s3.endpoint, hang_s=1.5)
    with bad_network(proxy, monkeypatch):
        yield proxy


@pytest.mark.parametrize("rate", [0.2, 0.01, 0.05, 0.1])
def test_a_bad_network_loses_and_doubles_nothing(
    s3: S3Server,
    s3_bucket: str,
    tmp_path: Path,
    generator: Path,
    vgg: Path,
    monkeypatch: pytest.MonkeyPatch,
    long_faults: bool,
    rate: float,
) -> None:
    if rate != 0.2 and not long_faults:
        pytest.skip("with --faults long")
    ids = draw_pictures(tmp_path / "in")
    upload(tmp_path / "in", f"s3://{s3_bucket}/in")
    calm = EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "calm"), str(generator), str(vgg), CONFIG)
    embed(calm, workers=2)
    expected = read_latents(calm.out)
    total = Tally()
    for number in range(3 if long_faults else 1):
        out = f"s3://{s3_bucket}/out-{number}"
        job = replace(calm, source=f"s3://{s3_bucket}/in", out=out)
        proxy = FaultProxy(s3.endpoint, rate, seed=number, hang_s=1.5)
        with bad_network(proxy, monkeypatch):
            summary = embed(job, workers=2).summary  # no conflict, no error
        check_table(out, ids, generator)
        np.testing.assert_array_equal(read_latents(out).latents, expected.latents)
        assert proxy.injected, "nothing was broken"
        steps, needed = summary.this_session.steps, STEPS * (len(ids) - len(BAD))
        faults = Counter({f"{fault} ({kind})": count for (fault, kind), count in proxy.injected.items()})
        rows = read_table(out)["image_id"].to_pylist()
        total += Tally(
            faults, 1, len(ids), steps, len(ids - set(rows)), len(rows) - len(ids), recomputed=steps - needed
        )
        assert steps == needed
    if long_faults:
        total.say(f"S3, {rate:.0%} of the requests")


def test_a_listing_of_which_nothing_came_is_not_an_empty_one(proxy: FaultProxy, s3_bucket: str) -> None:
    store = open_store(f"s3://{s3_bucket}/out")
    store.put("work/rows/1", b"x")
    proxy.script.extend(["cut to nothing", "cut"])
    assert [info.key for info in store.list()] == ["work/rows/1"]
    assert proxy.asked["listing"] == 3


def test_an_answer_that_trickles_is_asked_for_again(proxy: FaultProxy, s3_bucket: str) -> None:
    store = open_store(f"s3://{s3_bucket}/out")
    store.put("a", b"x" * 500)
    proxy.script.extend(["trickle"])
    assert store.get("a") == b"x" * 500 and proxy.asked["read"] == 2
    proxy.script.extend(["trickle"])
    assert [info.key for info in store.list()] == ["a"] and proxy.asked["listing"] == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_answer_is_no_conflict(proxy: FaultProxy, s3_bucket: str, fault: str) -> None:
    store = open_store(f"s3://{s3_bucket}/out")
    proxy.script.extend([fault])
    assert store.put_new("lease", b"mine")
    proxy.script.extend(["", fault])  # the first request reads
    assert store.swap("lease", b"mine", b"mine 2")
    assert not store.put_new("lease", b"another's") and not store.swap("lease", b"mine", b"another's")
    assert store.get("lease") == b"mine 2"


def test_many_bad_moments_use_up_no_allowance(proxy: FaultProxy, s3_bucket: str) -> None:
    """boto3 stops to retry after some dozens of failures of all threads together."""
    store = open_store(f"s3://{s3_bucket}/out")
    for number in range(12):
        proxy.script.extend(["reset before"] * 4)
        store.put(f"{number}", b"x")
    assert proxy.injected["reset before", "write"] == 48


def test_a_store_that_is_busy_for_good_is_an_error(proxy: FaultProxy, s3_bucket: str) -> None:
    proxy.script.extend(["busy"] * s3_client.ATTEMPTS)
    with pytest.raises(StorageError, match=r"out/a': S3 was still too busy at try 10; run the same command again"):
        open_store(f"s3://{s3_bucket}/out").put("a", b"x")
    assert not proxy.script


def test_deletions_that_meet_a_busy_store_are_made_again(
    proxy: FaultProxy, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"s3://{s3_bucket}/out")
    store.put("a", b"x")
    proxy.script.extend(["some refused"])
    store.delete(["a"])
    assert list(store.list()) == [] and proxy.asked["delete"] == 2
