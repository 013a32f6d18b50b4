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
from i2s_batch.reporting.page import write_page
from i2s_batch.reporting.parts import PageParts
from i2s_batch.run.recorded import recorded_command, recorded_generator
from i2s_batch.schema.settings import EDIT, STUDY
from i2s_batch.studies.report_part import study_parts
from i2s_batch.table.dataset import open_table
from i2s_batch.table.shards import recorded_settings


def report(out: str | os.PathLike[str], generator: str | os.PathLike[str] | None = None) -> str:
    """Write OUT/report.html from the table of a run, whole or unfinished; return its path or URL.

    Args:
        out: The output of embed(), edit() or study(); a path or an s3:// prefix.
        generator: The checkpoint that made the run; None for the one that the run recorded. Where that cannot be read,
            the page stands without reconstructions and says why.

    Raises:
        StorageError: There is no table.
        RunConflictError: The table was made by another generator.
    """
    where = path_or_url("out", out)
    kind = recorded_settings(open_table(where).schema, where).run.kind  # before a network is fetched for no table
    if generator is not None and kind == STUDY:
        raise ConfigError(
            "--generator has no effect on a study, whose page shows the reconstructions that it kept; leave it out"
        )
    weights, why_none = (
        recorded_generator(where) if generator is None else (generator_weights(path_or_url("generator", generator)), "")
    )
    return write_report(where, weights, why_none)


def write_report(
    out: str,
    generator: GeneratorWeights | None = None,
    why_none: str = "",
    strips: Sequence[Strip] | None = None,
) -> str:
    """Write OUT/report.html from the table at `out`; its path or s3 url.

    Args:
        out: The output.
        generator: What reconstructions are rendered with.
        why_none: Why there is no generator; it stands in the place of the reconstructions.
        strips: Of an edit, if they are loaded already.

    Raises StorageError if there is no table, RunConflictError if it was made by another generator.
    """
    facts = gather(out)
    if generator is not None and generator.fingerprint != facts.fingerprints["generator"]:
        raise RunConflictError(
            f"{out} was made by the generator {facts.fingerprints['generator'][:12]}..., not by this one, "
            f"{generator.fingerprint[:12]}... ({generator.origin}); give the one that made it"
        )
    network = None if generator is None else cache(lambda: build_generator(generator))
    return write_page(out, facts, _parts(out, facts, network, strips), why_none, recorded_command(out))


def _parts(
    out: str, facts: Facts, network: Callable[[], Generator] | None, strips: Sequence[Strip] | None
) -> PageParts:
    """Return what the kind of the run adds; `network` is called only where something is drawn."""
    kind = facts.settings.run.kind
    if kind == STUDY:
        return study_parts(out, facts)
    return edit_parts(out, network, strips) if kind == EDIT else embed_parts(out, facts, network)
