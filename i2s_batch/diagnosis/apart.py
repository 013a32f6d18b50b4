"""Calls functions in processes of their own: what crashes there, or hangs, is a finding and not the end of this one."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from i2s_batch.errors import I2SError, described

Result = TypeVar("Result")
# What a check raises that could not be carried out, and what libraries raise that do not suit each other.
_RAISED = (
    *(I2SError, OSError, RuntimeError, ValueError, ImportError, MemoryError, AssertionError),
    *(AttributeError, TypeError, LookupError),
)


class ApartError(I2SError):
    """Reports that a process of its own ended without a result."""


def call_apart(function: Callable[..., Result], *arguments: Any, limit_s: float) -> Result:
    """Return `function(*arguments)`, computed by a new process.

    Raises:
        ApartError: The function failed, the process died, or it took longer than `limit_s` and was ended.
    """
    return call_all_apart(function, [arguments], limit_s)[0]


def call_all_apart(function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], limit_s: float) -> list[Result]:
    """Return the results of several calls, each computed by a new process at the same time as the others.

    What PyTorch's compiler writes there goes into a folder that is removed.
    """
    with tempfile.TemporaryDirectory(prefix="i2s-batch-") as folder:
        return _called(function, calls, limit_s, folder)


def _called(
    function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], limit_s: float, folder: str
) -> list[Result]:
    context = multiprocessing.get_context("spawn")
    running = []
    try:
        for arguments in calls:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_send_result, args=(sender, folder, function, arguments), daemon=True)
            process.start()
            sender.close()
            running.append((process, receiver))
        deadline = time.monotonic() + limit_s
        return [_received(process, receiver, deadline, limit_s) for process, receiver in running]
    finally:
        for process, receiver in running:
            if process.is_alive():
                process.kill()
            process.join()
            receiver.close()


def _send_result(sender: Connection, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": f"{folder}/triton"}
    try:
        outcome = (True, function(*arguments))
    except _RAISED as error:
        outcome = (False, " ".join((str(error) if isinstance(error, I2SError) else described(error)).split()))
    sender.send(outcome)
    sender.close()


def _received(process: Any, receiver: Connection, deadline: float, limit_s: float) -> Any:
    if not receiver.poll(max(0.0, deadline - time.monotonic())):
        raise ApartError(f"no result within {limit_s:.0f} s")
    try:
        succeeded, result = receiver.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        raise ApartError(
            f"its process died (signal {-code})" if code < 0 else f"its process ended with {code}"
        ) from None
    if not succeeded:
        raise ApartError(result)
    return result
