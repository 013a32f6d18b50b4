"""The report of any run: each kind of run adds its parts to the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache

from i2s_batch.argument_types import path_or_url
from i2s_batch.editing.report_part import edit_parts
from i2s_batch.editing.strips import Strip
from i2s_batch.embedding.report_part import embed_parts
from i2s_batch.errors import ConfigError, RunConflictError
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.models.loading import generator_weights
from i2s_batch.reporting.facts import Facts, gather
from i2s_batch.reporting.files import ReportFiles
from i2s_batch.reporting.page import write_page
from i2s_batch.reporting.parts import PageParts
from i2s_batch.run.recorded import recorded_command, recorded_generator
from i2s_batch.schema.settings import EDIT, EMBED, STUDY
from i2s_batch.storage import open_store
from i2s_batch.studies.report_part import study_parts
from i2s_batch.table.dataset import open_table
from i2s_batch.table.shards import recorded_settings
from i2s_batch.table.snapshot import open_snapshot


def report(
    out: str | os.PathLike[str], generator: str | os.PathLike[str] | None = None, images: int | None = None
) -> str:
    """Write OUT/report.html from the table of a run, whole or unfinished; return its path or URL.

    The page is complete by itself. Where it does not show every image, pages beside it under OUT/report/ do.

    Args:
        out: The output of embed(), edit() or study(); a path or an s3:// prefix.
        generator: The checkpoint that made the run; None for the one that the run recorded. Where that cannot be read,
            the page stands without reconstructions and says why.
        images: How many reconstructions of an embedding run are drawn for the pages of all images; None for as many as
            take about a minute: 32 million pixels, 240 images at most.

    Raises:
        ConfigError: `images` is no number of images.
        StorageError: There is no table.
        RunConflictError: The table was made by another generator.
    """
    where = path_or_url("out", out)
    # Before a network is fetched for no table.
    kind = recorded_settings(open_table(where, quiet=True).schema, where).run.kind
    if generator is not None and kind == STUDY:
        raise ConfigError(
            "--generator has no effect on a study, whose page shows the reconstructions that it kept; leave it out"
        )
    if images is not None and kind != EMBED:
        raise ConfigError(
            "--images has no effect but on an embedding run: the images of others are files already; leave it out"
        )
    weights, why_none = (
        recorded_generator(where) if generator is None else (generator_weights(path_or_url("generator", generator)), "")
    )
    if images is not None and (type(images) is not int or images < 0):
        raise ConfigError(f"images is {images!r}; give a whole number of 0 or more, or None")
    return write_report(where, weights, why_none, images=images)


def write_report(
    out: str,
    generator: GeneratorWeights | None = None,
    why_none: str = "",
    strips: Sequence[Strip] | None = None,
    images: int | None = None,
) -> str:
    """Write OUT/report.html from the table at `out`; its path or s3 url.

    Args:
        out: The output.
        generator: What reconstructions are rendered with.
        why_none: Why there is no generator; it stands in the place of the reconstructions.
        strips: Of an edit, if they are loaded already.
        images: How many reconstructions are drawn for the pages of all images; None for the usual number.

    Raises StorageError if there is no table, RunConflictError if it was made by another generator.
    """
    facts, page = _write(out, generator, why_none, strips, images)
    if facts.unfinished is not None and open_snapshot(out, quiet=True).unfinished is None:
        # The run has ended meanwhile, and its own page may be what was just replaced.
        _, page = _write(out, generator, why_none, strips, images)
    return page


def _write(
    out: str,
    generator: GeneratorWeights | None,
    why_none: str,
    strips: Sequence[Strip] | None,
    images: int | None,
) -> tuple[Facts, str]:
    """Write the page; return the figures that it shows, and its path or URL."""
    facts = gather(out)
    _check_generator(out, facts, generator)
    network = None if generator is None else cache(lambda: build_generator(generator))
    files = ReportFiles(open_store(out))
    parts = _parts(files, facts, network, strips, images)
    return facts, write_page(files, facts, parts, why_none, recorded_command(out))


def _check_generator(out: str, facts: Facts, generator: GeneratorWeights | None) -> None:
    """Raise RunConflictError if the table was made by another generator."""
    if generator is not None and generator.fingerprint != facts.fingerprints["generator"]:
        raise RunConflictError(
            f"{out} was made by the generator {facts.fingerprints['generator'][:12]}..., not by this one, "
            f"{generator.fingerprint[:12]}... ({generator.origin}); give the one that made it"
        )


def _parts(
    files: ReportFiles,
    facts: Facts,
    network: Callable[[], Generator] | None,
    strips: Sequence[Strip] | None,
    images: int | None,
) -> PageParts:
    """Return what the kind of the run adds; `network` is called only where something is drawn."""
    kind = facts.settings.run.kind
    if kind == STUDY:
        return study_parts(files, facts)
    return edit_parts(files, facts, network, strips) if kind == EDIT else embed_parts(files, facts, network, images)
