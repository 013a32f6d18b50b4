"""One driver an output: on local disk and on a real S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from i2s_batch.errors import InternalError, RunConflictError
from i2s_batch.output import lease as lease_module
from i2s_batch.output.lease import Lease
from i2s_batch.storage import Store, open_store

KEY = "work/lease.json"
PATIENCE_S = 120


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return open_store(str(tmp_path / "out"))
    return open_store(f"s3://{request.getfixturevalue('s3_bucket')}/out")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(lease_module, "EXPIRY_S", 1.0)


def elsewhere(store: Store, **facts: object) -> dict:
    """Make the lease look as if its holder were on another machine."""
    held = json.loads(store.get(KEY)) | {"machine": "another", "host": "node-7", **facts}
    store.put(KEY, json.dumps(held).encode())
    return held


def test_the_second_is_refused_while_the_first_lives(store: Store) -> None:
    first = Lease(store, KEY)
    first.acquire()
    with pytest.raises(RunConflictError, match=f"process {os.getpid()} on .*, since .*; wait for it"):
        Lease(store, KEY).acquire()
    first.release()
    second = Lease(store, KEY)
    second.acquire()
    second.release()
    assert list(store.list("work/")) == []


def test_the_lease_of_a_dead_process_of_this_machine_is_taken_at_once(store: Store) -> None:
    code = f"""
import os
from i2s_batch.output.lease import Lease
from i2s_batch.storage import open_store
Lease(open_store({store.url!r}), {KEY!r}).acquire()
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert json.loads(store.get(KEY))["pid"] != os.getpid()
    lease = Lease(store, KEY)
    lease.acquire()
    assert json.loads(store.get(KEY))["pid"] == os.getpid()
    lease.release()


def test_a_silent_holder_on_another_machine_is_waited_for_and_then_taken_over(store: Store) -> None:
    store.put(KEY, json.dumps({"id": "x", "machine": "another", "host": "node-7", "pid": 1}).encode())
    started = time.monotonic()
    lease = Lease(store, KEY)
    lease.acquire()
    assert time.monotonic() - started >= lease_module.EXPIRY_S
    lease.release()


def test_a_holder_on_another_machine_shows_that_it_lives(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Lease(store, KEY)
    first.acquire()
    monkeypatch.setattr(
        lease_module, "EXPIRY_S", PATIENCE_S
    )  # its next heartbeat ends the wait, however busy the machine
    # Seen from another machine its process cannot be looked up.
    monkeypatch.setattr(lease_module, "this_machine", lambda: "another")
    with pytest.raises(RunConflictError, match="another driver is working on this output"):
        Lease(store, KEY).acquire()
    first.check()
    first.release()


def test_a_driver_that_lost_its_lease_stops_and_leaves_it_alone(store: Store) -> None:
    paused = Lease(store, KEY)
    paused.acquire()
    held = elsewhere(store, id="the new holder")
    deadline = time.monotonic() + PATIENCE_S
    with pytest.raises(RunConflictError, match="another driver took this output over"):
        while time.monotonic() < deadline:
            paused.check()
            time.sleep(0.05)
    paused.release()
    assert json.loads(store.get(KEY)) == held


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lease_that_nothing_renews_any_more_stops_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(store, KEY)
    lease.acquire()
    lease.check()

    def broken() -> str:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(lease_module, "this_machine", broken)
    deadline = time.monotonic() + PATIENCE_S
    with pytest.raises(InternalError, match="the thread that renews the lease"):
        while time.monotonic() < deadline:
            lease.check()
            time.sleep(0.05)
    lease.release()
    assert [info.key for info in store.list()] == []
