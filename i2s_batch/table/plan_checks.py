"""The table against the plan: each planned image has its one row, in its shard; no image has two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from i2s_batch.errors import ObjectNotFoundError
from i2s_batch.runtime.plan import Plan
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store
from i2s_batch.table.shard_checks import Finding, ShardReport


def doubled_ids(reports: Mapping[str, ShardReport]) -> Iterator[Finding]:
    """Images with rows in several shards."""
    where: dict[str, str] = {}
    for report in reports.values():
        for image_id in set(report.ids):
            if image_id in where:
                yield Finding(report.file, image_id, f"it has a row in {where[image_id]} too")
            where.setdefault(image_id, report.file)


def check_plan(store: Store, reports: Mapping[str, ShardReport], plan: Plan) -> tuple[list[Finding], int]:
    """What of the plan is not in the table, or the other way round; and how many planned images belong to shards that
    are not written yet, as long as the run has not ended. `reports` by key."""
    ended, missing = _has_ended(store), 0
    findings: list[Finding] = []
    for shard in range(plan.shards):
        key, planned = RunLayout.shard(shard), plan.shard_images(shard)["image_id"].to_pylist()
        if key in reports:
            findings += _against_plan(reports[key], planned)
        elif ended:
            what = f"it is missing, with {len(planned)} rows from {planned[0]!r} to {planned[-1]!r}"
            findings.append(Finding(store.uri(key), None, f"{what}; run the embed command again"))
        else:
            missing += len(planned)
    for key, report in reports.items():
        if (RunLayout.shard_index(key) or 0) >= plan.shards:
            findings.append(Finding(report.file, None, f"the plan has only {plan.shards} shards"))
    return findings, missing


def _against_plan(report: ShardReport, planned: list[str]) -> list[Finding]:
    present = set(report.ids)
    lost = [image_id for image_id in planned if image_id not in present]
    findings = [
        Finding(report.file, extra, "it was not planned for this file") for extra in sorted(present - set(planned))
    ]
    # Rows of row groups that could not be read, or of a file that could not, were told of already.
    unread = report.unread_rows or (not report.ids and report.findings)
    return (
        findings if unread else findings + [Finding(report.file, image_id, "its row is missing") for image_id in lost]
    )


def _has_ended(store: Store) -> bool:
    try:
        return bool(json.loads(store.get(RunLayout.summary))["finished"])
    except (ObjectNotFoundError, ValueError, KeyError, TypeError):
        return False
