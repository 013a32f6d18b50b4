"""Checks the table against the plan: each planned image has its one row, in its shard; no image has two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import ObjectNotFoundError
from i2s_batch.maintenance.verification.shard_checks import Expected, Finding, ShardReport, check_shard
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.storage import Store


@dataclass(frozen=True)
class CheckedShard:
    """Holds what is kept of a shard that was checked.

    Attributes:
        key: Its key.
        hashes: The hashes of its rows' ids, int64.
        good: Rows with a latent.
        sound: Whether nothing is wrong with the shard by itself.
        plan_findings: Where it differs from the plan.
    """

    key: str
    hashes: np.ndarray
    good: int
    sound: bool
    plan_findings: list[Finding]


def duplicate_ids(store: Store, shards: list[CheckedShard], expected: Expected) -> Iterator[Finding]:
    """Yield images with rows in several shards. Equal hashes are suspects; their files are read once more."""
    hashes = np.sort(np.concatenate([np.unique(shard.hashes) for shard in shards] or [np.empty(0, np.int64)]))
    suspects = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    where: dict[str, str] = {}
    for shard in shards if len(suspects) else ():
        if not np.isin(shard.hashes, suspects).any():
            continue
        report = check_shard(store, shard.key, expected)
        for image_id in dict.fromkeys(report.ids):
            if hash(image_id) in suspects:
                if image_id in where:
                    yield Finding(report.file, image_id, f"it has a row in {where[image_id]} too")
                where.setdefault(image_id, report.file)


def check_presence(store: Store, shards: list[CheckedShard], plan: Plan) -> tuple[list[Finding], int]:
    """Return where table and plan differ, and how many planned images belong to shards that are not written yet.

    The latter only as long as the run has not ended.
    """
    plan_findings, ended, missing = {shard.key: shard.plan_findings for shard in shards}, _has_ended(store), 0
    findings: list[Finding] = []
    for shard in range(plan.shards):
        key = RunLayout.shard(shard)
        if key in plan_findings:
            findings += plan_findings.pop(key)
        elif ended:
            ids = plan.shard_images(shard)["image_id"]
            what = f"it is missing, with {len(ids)} rows from {ids[0].as_py()!r} to {ids[-1].as_py()!r}"
            findings.append(Finding(store.uri(key), None, f"{what}; run the embed command again"))
        else:
            missing += len(plan.shard_range(shard))
    for beyond in plan_findings.values():
        findings += beyond
    return findings, missing


def against_plan(report: ShardReport, shard: int, plan: Plan) -> list[Finding]:
    """Return what a shard holds beside its planned images, and which of them it lacks."""
    if shard >= plan.shards:
        return [Finding(report.file, None, f"the plan has only {plan.shards} shards")]
    planned = plan.shard_images(shard)["image_id"].to_pylist()
    present = set(report.ids)
    lost = [image_id for image_id in planned if image_id not in present]
    findings = [
        Finding(report.file, extra, "it was not planned for this file") for extra in sorted(present - set(planned))
    ]
    # Rows of row groups, or of a file, that could not be read have a finding already.
    unread = report.unread_rows or (not report.ids and report.findings)
    return (
        findings if unread else findings + [Finding(report.file, image_id, "its row is missing") for image_id in lost]
    )


def _has_ended(store: Store) -> bool:
    try:
        return bool(json.loads(store.get(RunLayout.summary))["finished"])
    except (ObjectNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return False
