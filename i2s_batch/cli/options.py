"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from i2s_batch.config import DEVICES, PRECISIONS

F = TypeVar("F", bound=Callable[..., Any])


class AutoOr(click.ParamType):
    """`auto` (None) or a positive whole number."""

    name = "auto|N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        try:
            number = int(str(value))
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither 'auto' nor a whole number from 1 up", param, ctx)
        return number


def run_options(command: F) -> F:
    """How a run is carried out, as `config.JobConfig` names it."""
    options = [
        click.option("--batch-size", type=AutoOr(), default="auto", show_default=True, help="Images side by side."),
        click.option("--actors", type=AutoOr(), default="auto", show_default=True, help="Workers; auto: one a GPU."),
        click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True),
        click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True),
        click.option("--shard-size", default=1000, show_default=True, help="Rows a Parquet file."),
        click.option("--max-failed-fraction", default=0.1, show_default=True, help="More failed images: status 1."),
        click.option("--retry-failed", is_flag=True, help="Try images again whose row is not ok."),
        click.option("--dry-run", is_flag=True, help="Print what would be done, as JSON, and stop."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
