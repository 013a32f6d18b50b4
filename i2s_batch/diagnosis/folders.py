"""Checks the folders that a run needs beside OUT: for temporary files, the home, the cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import Finding, fail, ok, warn
from i2s_batch.diagnosis.machine import size
from i2s_batch.diagnosis.probing import nearest, remove_new_folders, why_not_writable
from i2s_batch.storage.cache_folder import NAME, cache_folders, home, user_id
from i2s_batch.storage.urls import is_url
from i2s_batch.weights.published import IMAGENET

LEAST_BYTES = 256 << 20  # of which a Ray of our own asks 128 MiB


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield what is wrong with each folder."""
    yield _temporary()
    fetched = is_url(asked.generator) or asked.vgg == IMAGENET or is_url(asked.vgg)
    yield _home(bool(asked.generator) and fetched)
    yield _cache(is_url(asked.generator) or is_url(asked.vgg))


def _temporary() -> Finding:
    name, told = "TMPDIR", os.environ.get("TMPDIR", "")
    refusal = why_not_writable(Path(told)) if told and Path(told).is_dir() else ""
    if told and not Path(told).is_dir():
        refusal = "it is no folder"
    try:
        used = tempfile.gettempdir()
        unusable = why_not_writable(Path(used))
    except FileNotFoundError:
        used, unusable = "none", "no folder can be written to"
    if unusable and (not told or used != told):
        return fail(name, f"no temporary file can be written ({used}: {unusable})", "set TMPDIR to a folder with room")
    if refusal:
        instead = next((each for each in ("/tmp", "/var/tmp") if not why_not_writable(Path(each))), None)
        if instead is None:
            return fail(name, f"{told}: {refusal}", "make room there, or set TMPDIR to a folder with room")
        advice = f"make room there, or set TMPDIR to another folder; until then {instead} is used"
        return warn(name, f"{told}: {refusal}", advice)
    free = shutil.disk_usage(used).free
    found = f"{used}, {size(free)} free"
    return warn(name, found, "make room: Ray and sorting use it") if free < LEAST_BYTES else ok(name, found)


def _home(is_needed: bool) -> Finding:
    """Return whether there is a home, where weights that are fetched are kept; without any it is not missed."""
    folder = home()
    refusal = "this user has none"
    if folder is not None:
        refusal = why_not_writable(folder) if folder.is_dir() else "it does not exist"
    if not refusal:
        return ok("HOME", str(folder))
    found = refusal if folder is None else f"{folder}: {refusal}"
    advice = "set HOME or I2S_CACHE; until then weights are cached beside the temporary files"
    return warn("HOME", found, advice) if is_needed else ok("HOME", found, advice)


def _cache(is_needed: bool) -> Finding:
    temporary = Path(tempfile.gettempdir()) / f"{NAME}-{user_id()}"
    was_there = temporary.exists()
    refusals: list[str] = []
    try:
        for folder in cache_folders():
            refusal = why_not_writable(folder)
            if not refusal:
                free = shutil.disk_usage(nearest(folder)).free
                return ok("cache", f"{folder}, {size(free)} free")
            refusals.append(f"{folder}: {refusal}")
    finally:
        if not was_there:
            remove_new_folders(temporary, temporary.parent)
    found = f"there is no folder for caches ({'; '.join(refusals)})"
    advice = "set I2S_CACHE to a folder that can be written to"
    return fail("cache", found, advice) if is_needed else warn("cache", found, advice)
