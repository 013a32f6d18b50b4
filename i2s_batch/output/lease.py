"""One driver an output: a lease with a heartbeat.

The lease is an object that only its holder rewrites. Whether a holder on another machine lives is seen from
its heartbeat, not from clocks, which may disagree: a lease that does not change for `EXPIRY_S` is dead.
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
from datetime import datetime, timezone
from pathlib import Path

from i2s_batch.errors import InternalError, ObjectNotFoundError, RunConflictError, StorageError
from i2s_batch.schema.settings import json_object
from i2s_batch.storage import Store

HEARTBEAT_S = 5.0
EXPIRY_S = 30.0


@dataclass(frozen=True)
class LeaseHolder:
    """Holds what a driver writes into its lease; None where a damaged lease says nothing.

    Attributes:
        machine: As `this_machine` names it.
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
    """Return when a process of this machine began (in clock ticks), None if there is none; tells re-used pids apart."""
    if pid is None:  # a damaged lease
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def is_on_this_machine(held: bytes) -> bool:
    """Whether the driver that wrote `held` into the lease is a process of this machine."""
    machine = parse_holder(held).machine
    return machine is not None and machine == this_machine()


def is_holder_alive(store: Store, key: str, held: bytes) -> bool:
    """Whether the driver that wrote `held` into the lease still works. Of a process of this machine that is
    known at once; of another, from its next heartbeat, which is waited for up to `EXPIRY_S`."""
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
    """Names this boot of this machine and this pid namespace; None where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return None
    return f"{boot} {namespace}"


class Lease:
    """Held from `acquire` to `release`; `check` raises if it was lost to another driver."""

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
        """Take the lease; waits until a holder on another machine has shown whether it lives.

        Raises RunConflictError naming the holder if it does.
        """
        self._since = datetime.now(timezone.utc).isoformat(timespec="seconds")
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
            raise InternalError("the thread that renews the lease of this output has ended by itself", "")

    def confirm(self) -> None:
        """Ask the store whether the lease is still ours; raise RunConflictError if not.

        For what another driver's work could suffer from: `check` learns of a loss with the next heartbeat only, and
        a process that was stopped for a while has none.
        """
        self.check()
        if self._own_content() is None:
            self._lost = self._reason_of_loss()
            raise RunConflictError(self._lost)

    def release(self) -> None:
        """Give the lease back, if it is still ours. If the store does not let us, it expires: what the run came to,
        or was stopped by, is what the user must hear of."""
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
                # An earlier beat may have arrived although its answer did not.
                found = fresh if renewed else self._own_content()
                if found is None:
                    self._lost = self._reason_of_loss()
                    return
            except StorageError:
                continue  # the next beat tries again; rows that cannot be written stop the run elsewhere
            self._content = found

    def _reason_of_loss(self) -> str:
        """Why the lease is no longer ours."""
        try:
            self._store.get(self._key)
        except ObjectNotFoundError:
            return (
                f"{self._store.url}: the lease of this driver is gone, because the output was deleted or another "
                "driver has been here and ended; this one stops, run the same command again"
            )
        return f"{self._store.url}: another driver took this output over; this one stops"

    def _own_content(self) -> bytes | None:
        """What the lease holds, if it is this driver's."""
        try:
            content = self._store.get(self._key)
        except ObjectNotFoundError:
            return None
        return content if parse_holder(content).id == self._id else None


def parse_holder(content: bytes) -> LeaseHolder:
    """Return who wrote this into a lease. Of one that is damaged, or is none, what can be read counts."""
    facts = json_object(content)
    id_, host, machine, process_start, since = (
        value if isinstance(value := facts.get(name), str) else None
        for name in ("id", "host", "machine", "process_start", "since")
    )
    pid, beat = (value if type(value := facts.get(name)) is int else None for name in ("pid", "beat"))
    return LeaseHolder(id_, host, machine, pid, process_start, since, beat)
