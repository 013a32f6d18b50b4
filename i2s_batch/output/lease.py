"""Gives an output to one driver at a time, by a lease with a heartbeat.

The lease is an object that only its holder rewrites. Whether a holder on another machine is alive is seen from
its heartbeat, not from clocks, which may disagree: a lease that does not change for `EXPIRY_S` has expired.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from i2s_batch.errors import InternalError, ObjectNotFoundError, RunConflictError, StorageError
from i2s_batch.schema.settings import json_object
from i2s_batch.storage import Store

HEARTBEAT_S = 5.0
EXPIRY_S = 30.0


@dataclass(frozen=True)
class LeaseHolder:
    """Holds what a driver writes into its lease; fields that a damaged lease lacks are None.

    Attributes:
        id: Random, of one acquisition.
        host: The host's name.
        machine: The machine, as `this_machine` names it.
        pid: The process.
        process_start: When the process began, in clock ticks.
        since: UTC, ISO 8601.
        beat: Counts the heartbeats.
    """

    id: str | None
    host: str | None
    machine: str | None
    pid: int | None
    process_start: str | None
    since: str | None
    beat: int | None


def _process_start(pid: int | None) -> str | None:
    """Return when a process of this machine began, in clock ticks; None if there is none. Tells re-used pids apart."""
    if pid is None:  # as in a damaged lease
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def is_on_this_machine(held: bytes) -> bool:
    """Return whether the driver that wrote `held` into the lease is a process of this machine."""
    machine = parse_holder(held).machine
    return machine is not None and machine == this_machine()


def is_holder_alive(store: Store, key: str, held: bytes) -> bool:
    """Return whether the driver that wrote `held` into the lease is still running.

    For a process of this machine that is known at once; for another, from its next heartbeat, for which this waits up
    to `EXPIRY_S`.
    """
    if is_on_this_machine(held):
        holder = parse_holder(held)
        started = _process_start(holder.pid)
        return started is not None and started == holder.process_start
    deadline = time.monotonic() + EXPIRY_S
    while time.monotonic() < deadline:
        try:
            if store.get(key) != held:
                return True
        except ObjectNotFoundError:
            return False
        time.sleep(HEARTBEAT_S / 5)
    return False


def this_machine() -> str | None:
    """Return a name of this boot of this machine and this pid namespace; None where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return None
    return f"{boot} {namespace}"


class Lease:
    """Reserves an output from `acquire` to `release`; `check` raises if another driver has taken it."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._id = uuid.uuid4().hex
        self._since = ""
        self._heartbeats = 0
        self._content = b""
        self._stop = threading.Event()
        self._lost: str | None = None
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the lease; wait until a holder on another machine has shown whether it is alive.

        Raises:
            RunConflictError: The holder is alive; the message names it.
        """
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._content = self._render()
        while not self._store.put_new(self._key, self._content):
            try:
                held = self._store.get(self._key)
            except ObjectNotFoundError:
                continue
            if is_holder_alive(self._store, self._key, held):
                raise RunConflictError(self._refusal(parse_holder(held)))
            if self._store.swap(self._key, held, self._content):
                break
        self._thread.start()

    def check(self) -> None:
        """Raise RunConflictError if another driver has taken the lease."""
        if self._lost is not None:
            raise RunConflictError(self._lost)
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stop.is_set():
            raise InternalError("the thread that renews the lease of this output has ended unexpectedly", "")

    def confirm(self) -> None:
        """Ask the store whether the lease is still ours; raise RunConflictError if not.

        Called before anything that could harm another driver's work: `check` learns of a loss with the next heartbeat
        only, and a process that was suspended for a while has none.
        """
        self.check()
        if self._own_content() is None:
            self._lost = self._reason_of_loss()
            raise RunConflictError(self._lost)

    def release(self) -> None:
        """Delete the lease, if it is still ours.

        If the store fails, the lease expires: the user must see the outcome of the run, not this error.
        """
        self._stop.set()
        self._thread.join()
        with suppress(StorageError):
            if self._own_content() is not None:
                self._store.delete([self._key])

    def _refusal(self, holder: LeaseHolder) -> str:
        who = f"process {holder.pid} on {holder.host}, since {holder.since}"
        return f"{self._store.url}: another driver is working on this output ({who}); wait for it or end it first"

    def _render(self) -> bytes:
        self._heartbeats += 1
        holder = LeaseHolder(
            id=self._id,
            host=socket.gethostname(),
            machine=this_machine(),
            pid=os.getpid(),
            process_start=_process_start(os.getpid()),
            since=self._since,
            beat=self._heartbeats,
        )
        return json.dumps(asdict(holder)).encode()

    def _keep_renewing(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            fresh = self._render()
            try:
                renewed = self._store.swap(self._key, self._content, fresh)
                # An earlier heartbeat may have been written although its response was lost.
                found = fresh if renewed else self._own_content()
                if found is None:
                    self._lost = self._reason_of_loss()
                    return
            except StorageError:
                continue  # the next heartbeat tries again; if the store stays unwritable, writing rows stops the run
            self._content = found

    def _reason_of_loss(self) -> str:
        """Return why the lease is no longer ours."""
        try:
            self._store.get(self._key)
        except ObjectNotFoundError:
            return (
                f"{self._store.url}: the lease of this driver is gone, because the output was deleted or another "
                "driver took it over and ended; this driver stops, run the same command again"
            )
        return f"{self._store.url}: another driver took this output over; this driver stops"

    def _own_content(self) -> bytes | None:
        """Return the content of the lease, if it is this driver's; else None."""
        try:
            content = self._store.get(self._key)
        except ObjectNotFoundError:
            return None
        return content if parse_holder(content).id == self._id else None


def parse_holder(content: bytes) -> LeaseHolder:
    """Return who wrote this into a lease; fields that cannot be read, of a damaged one, are None."""
    facts = json_object(content)
    id_, host, machine, process_start, since = (
        value if isinstance(value := facts.get(name), str) else None
        for name in ("id", "host", "machine", "process_start", "since")
    )
    pid, beat = (value if type(value := facts.get(name)) is int else None for name in ("pid", "beat"))
    return LeaseHolder(id_, host, machine, pid, process_start, since, beat)
