"""Writes report.html: one file that shows a run, without scripts and with nothing to fetch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from i2s_batch.config import Json
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_additions
from i2s_batch.output.same_run import flattened
from i2s_batch.reporting import charts
from i2s_batch.reporting.facts import Facts, titles
from i2s_batch.reporting.parts import PageParts
from i2s_batch.schema.columns import NOT_FAILED
from i2s_batch.storage import open_store

AMPLIFIED = 4  # factor of the error in the image of differences


def write_page(out: str, facts: Facts, parts: PageParts, why_none: str = "", command: str | None = None) -> str:
    """Write OUT/report.html and return its path or URL.

    Args:
        out: The output.
        facts: The figures of its table.
        parts: What its kind of run adds.
        why_none: The reason why there are no reconstructions.
        command: The command that resumes the run, where it is known.
    """
    store = open_store(out)
    check_additions(store, [RunLayout.report])
    settings = {name: value for name, value in facts.settings.run.values.items() if name not in ("generator", "vgg")}
    html = _template().render(
        facts=facts,
        parts=parts,
        out=store.url,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        why_none=why_none,
        summaries=list(_summaries(facts)) if parts.metrics else [],
        settings=sorted((name, _shown(value)) for name, value in flattened(settings)),
        commands=_commands(store.url, facts, parts, command),
        amplified=AMPLIFIED,
        charts=charts,
        number=charts.number,
    )
    store.put(RunLayout.report, html.encode())
    return store.uri(RunLayout.report)


def _shown(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _template() -> Template:
    # autoescape: file names and error texts are not trusted
    loader = PackageLoader("i2s_batch.reporting", package_path="")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja")


@dataclass(frozen=True)
class _Summary:
    """Holds a metric that some image has: its title, what it means, its quantiles and its values."""

    name: str
    meaning: str
    values: np.ndarray
    quantiles: list[float]


def _summaries(facts: Facts) -> Iterator[_Summary]:
    """Yield every metric that any image has."""
    for name, (title, meaning) in titles().items():
        values = facts.metrics[name]
        if len(values):
            # of the ordered values themselves: an interpolation would turn an infinite PSNR into no number
            quantiles = np.quantile(values, (0.05, 0.5, 0.95), method="nearest").tolist()
            yield _Summary(title, meaning, values, quantiles)


def _commands(url: str, facts: Facts, parts: PageParts, command: str | None) -> list[tuple[str, str]]:
    """Return the titles and commands of what to do next, ready to paste."""
    quoted = shlex.quote(url)
    load = f"from i2s_batch import read_latents; print(read_latents({json.dumps(url)}).latents.shape)"
    commands = [("The latents as one array", f"python -c {shlex.quote(load)}")]
    if not url.startswith("s3://"):
        rows = f"duckdb.read_parquet({json.dumps(url + '/latents/*.parquet')})"
        columns = '"image_id", "parents", "strength"' if facts.is_edit else '"image_id", "psnr", "loss"'
        query = f"import duckdb; {rows}.select({columns}).order({columns.split(',')[0 if facts.is_edit else 1]}).show()"
        what = "The table in DuckDB" if facts.is_edit else "The table in DuckDB, the worst first"
        commands.append((what, f"python -c {shlex.quote(query)}"))
    if sum(facts.statuses.values()) > sum(facts.statuses.get(status, 0) for status in NOT_FAILED):
        source = shlex.quote(_shown(facts.settings.run.values.get("source")))
        command = command or f"i2s-batch {parts.command} {source} {quoted} --generator G"
        commands.append(("Try the failed images again", f"{command} --retry-failed"))
    return [*commands, ("Write this page again", f"i2s-batch report {quoted}")]
