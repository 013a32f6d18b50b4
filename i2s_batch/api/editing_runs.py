"""`edit()` makes new images from the latents of one or several tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Unpack

from i2s_batch.api.options import EditRunOptions, checked, edit_config, output
from i2s_batch.api.results import EditResult
from i2s_batch.api.sessions import PYTHON, Caller, Progress, check_device, execute, session, try_report
from i2s_batch.argument_types import path_or_url
from i2s_batch.config import EditConfig
from i2s_batch.editing.edit_run import EditRun, EditRunRequest, look_first
from i2s_batch.editing.registered import EDITS
from i2s_batch.editing.requests import Request
from i2s_batch.editing.strips import Strip, load_strips, write_edit_sheet
from i2s_batch.errors import ConfigError, I2SError
from i2s_batch.models import GeneratorWeights
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.run.preview import RunPreview
from i2s_batch.run.recorded import recorded_generator, recorded_generator_path
from i2s_batch.run.terminal import show_stage


def edit(
    table: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    request: Request,
    *,
    generator: str | os.PathLike[str] | None = None,
    progress: Progress = None,
    caller: Caller = PYTHON,
    **options: Unpack[EditRunOptions],
) -> EditResult:
    """Make the images that `request` asks for from the latents of `table`, as `i2s-batch edit` does.

    `out` gets the images and a table of their latents, which can be edited again. A call with the same arguments
    resumes an edit that was stopped.

    Args:
        table: An output of embed() or edit(), or several; a path, a URL, or a table that is open.
        out: A folder or an s3:// prefix.
        request: What is asked for: `Morph(...)`, `Style(...)`, `Expression(...)`, `Reenact(...)`, `Render()`, or the
            request of an edit that another program has registered.
        generator: A checkpoint; None for the one that the run of the first table recorded.
        progress: How the run reports, as of embed().
        caller: For programs that carry out an edit as a command of their own.
        **options: Those of the command line, with underscores: `EditRunOptions`.

    Raises:
        ConfigError: The request or an option is unknown, of another type, or outside its limits.
        RunStoppedError: It was stopped by Ctrl-C or SIGTERM; nothing is lost.
        I2SError: What else a user can mend.
    """
    with session(progress) as report:
        check_device(_config(request, options))
        run, config = _run(table, out, request, generator, caller, report, options)
        outcome = execute(run, config.in_process, caller, report)
        where = path_or_url("out", out)
        strips, sheet = _try_sheet(where, run, report)
        page = try_report(where, run.generator, report, strips)
        animations = f"{where.rstrip('/')}/{RunLayout.animations_prefix}" if config.animation else None
        compared = f"{where.rstrip('/')}/{RunLayout.comparisons_prefix}" if config.side_by_side else None
        unaligned = f"{where.rstrip('/')}/{RunLayout.unaligned_prefix}" if config.unalign else None
        folders = {"animations": animations, "side_by_side": compared, "unaligned": unaligned}
        return EditResult.of(where, outcome, page, contact_sheet=sheet, **folders)


def preview_edit(
    table: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    request: Request,
    *,
    generator: str | os.PathLike[str] | None = None,
    progress: Progress = None,
    caller: Caller = PYTHON,
    **options: Unpack[EditRunOptions],
) -> RunPreview:
    """Return what edit() would do. Writes nothing."""
    with session(progress) as report:
        return _run(table, out, request, generator, caller, report, options)[0].describe()


def _run(
    table: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    request: Request,
    generator: str | os.PathLike[str] | None,
    caller: Caller,
    report: Callable[[str], None],
    options: EditRunOptions,
) -> tuple[EditRun, EditConfig]:
    config, out = _config(request, options), output("out", out)
    where, ids = options.get("where"), options.get("ids")
    if sum((where is not None, ids is not None, request.listed is not None)) > 1:
        raise ConfigError("where, ids and the rows of an edit list are ways to choose the images; give one")
    if isinstance(table, (str, os.PathLike)):
        table = [table]
    if not isinstance(table, Sequence):
        raise ConfigError(f"table is {table!r} ({type(table).__name__}); give a path or a URL, or several")
    given = list(table)
    if not given:
        raise ConfigError("no table is given; give at least one output of embed() or edit()")
    tables = tuple(path_or_url("table", each) for each in given)
    given_generator = None if generator is None else path_or_url("generator", generator)
    chosen = None if ids is None else tuple(ids)
    asked = EditRunRequest(tables, out, "", request, config, chosen, where, caller.command)
    show_stage(report, "looking at the tables and OUT")
    selection = look_first(asked, report)
    show_stage(report, "reading the generator")
    checkpoint, weights = _generator(given_generator, tables[0])
    return EditRun(replace(asked, generator=checkpoint), weights, report, selection), config


def _config(request: Request, options: EditRunOptions) -> EditConfig:
    """Return the settings of the run; ConfigError if the request is none, or the options do not suit it."""
    operation = None if isinstance(request, type) else getattr(request, "operation", None)
    if not isinstance(operation, str):
        names = ", ".join(name.title() for name in EDITS.names)
        raise ConfigError(f"the request is {request!r}; give one of an edit ({names}), such as Morph(to='a.png')")
    kind = EDITS.get(operation).resolve().options
    options = checked(options, EditRunOptions, "edit")
    if options.get("side_by_side") and not kind.reproduces:
        raise ConfigError(f"side_by_side is for renders; no photograph shows what {operation} makes; leave it out")
    return edit_config(options, kind.animation, operation)


def _generator(given: str | None, table: str) -> tuple[str, GeneratorWeights]:
    """Return the generator and where it is: as given, or as the run of `table` recorded it."""
    if given is not None:
        return given, generator_weights(given)
    weights, why_none = recorded_generator(table)
    if weights is None:
        raise ConfigError(f"{table}: {why_none}")
    return recorded_generator_path(table) or "", weights


def _try_sheet(out: str, run: EditRun, report: Callable[[str], None]) -> tuple[list[Strip] | None, str | None]:
    """Draw the contact sheet; return its strips and its path or URL, None where that fails.

    The run was for the images: it does not fail with its sheet.
    """
    strips = None
    try:
        strips = load_strips(out, lambda: run.network)
        return strips, write_edit_sheet(out, strips)
    except I2SError as error:
        report(f"i2s-batch: no contact sheet was drawn ({error}); run the same command again")
        return strips, None
