"""`i2s-batch status`: the progress of a run, from its output alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.help_groups import OUTPUT, GroupedCommand, option
from i2s_batch.cli.run_command import line_logger, shown_at_once
from i2s_batch.plurals import counted
from i2s_batch.run.terminal import duration, printable

if TYPE_CHECKING:
    from i2s_batch.run.status import RunStatus

_NAMED = 5  # of the longest in flight


@click.command(cls=GroupedCommand)
@click.argument("out")
@option("--json", "as_json", group=OUTPUT, is_flag=True, help="Print JSON, for programs.")
def status(out: str, as_json: bool) -> int:
    """Show the progress of a run, and what failed.

    OUT is the folder or s3:// prefix of the run, which may be running anywhere: the output is only read.
    """
    with shown_at_once("reading the rows"):
        from i2s_batch.run.status import read_status

        found = read_status(out, line_logger())
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(_lines(found)))
    return 0


def _lines(found: RunStatus) -> list[str]:
    lines = [f"{found.out}: {found.state}", *_counts(found)]
    if found.live and found.steps > 1:
        flights = found.live.longest_in_flight[:_NAMED]
        texts = [f"step {f.steps} of {found.steps}, {duration(f.seconds)} on {f.worker}" for f in flights]
        lines += _listed("Longest in flight", [f.image_id for f in flights], texts)
    if found.steps > 1:  # an edit takes milliseconds an image: no image is slow
        slowest = found.slowest
        lines += _listed("Slowest", [s.image_id for s in slowest], [duration(s.seconds) for s in slowest])
    failures = found.last_failures
    lines += _listed("Last errors", [f.image_id for f in failures], [f"{f.status}, {f.error}" for f in failures])
    deaths = [counted(n, "worker") for n in found.deaths.values()]
    lines += _listed("Workers died with", list(found.deaths), deaths)
    return [printable(line) for line in lines + _next(found)]


def _counts(found: RunStatus) -> list[str]:
    """Return lines on who works, and how much is done."""
    lines = []
    if found.holder is not None:
        who = f"process {found.holder.pid} on {found.holder.host}, since {found.holder.since}"
        lines.append(f"driver      {who}" + ("" if found.running else "; it ended without releasing its lease"))
    flying = f", {found.live.in_flight} in flight" if found.live else ""
    counts = f"{found.done}/{found.images} done ({found.failed} failed){flying}, {found.images - found.done} to go"
    lines.append(f"images      {counts}")
    if found.statuses:
        lines.append("statuses    " + ", ".join(f"{n} {name}" for name, n in found.statuses.items()))
    lines.append(f"table       {found.shards_published} of {counted(found.shards, 'shard')}")
    if found.live and found.live.retried:
        lines.append(
            f"retried     {counted(found.live.retried, 'failed image is', 'failed images are')} being tried again"
        )
    if found.running:
        lines.append(f"speed       {_speed(found)}")
    return ["  " + line for line in lines]


def _speed(found: RunStatus) -> str:
    live = found.live
    if live is None:
        age = "does not exist" if found.summary_age_s is None else f"is {duration(found.summary_age_s)} old"
        return f"not known: summary.json {age}"
    ago = f"; {duration(live.age_s)} ago"
    if live.waiting_for or not live.steps_per_second or live.images_per_hour is None or live.eta_seconds is None:
        return f"{live.waiting_for or 'no step lately'}{ago}"
    rates = f"{live.steps_per_second:.1f} steps/s, {live.images_per_hour:.0f} images/h"
    return f"{rates}, {duration(live.eta_seconds)} left{ago}"


def _listed(title: str, names: list[str], texts: list[str]) -> list[str]:
    width = max(map(len, names), default=0)
    lines = [f"  {name:{width}}  {text}" for name, text in zip(names, texts, strict=True)]
    return [f"{title}:", *lines] if lines else []


def _next(found: RunStatus) -> list[str]:
    """Return lines on what to do next."""
    command = found.command
    if found.finished:
        if not found.failed:
            return []
        return ["To try the failed images again, run:", f"  {command or '(the command of the run)'} --retry-failed"]
    if found.running:
        return []
    saved = f" ({counted(found.saved, 'image')} from a checkpoint)" if found.saved else ""
    return [f"No driver is running. To resume{saved}, run:", f"  {command or '(the command that started it)'}"]
