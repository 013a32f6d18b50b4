"""The report of any run: each kind of run adds its parts to the page."""

from __future__ import annotations

from collections.abc import Callable

from i2s_batch.editing.page import edit_parts
from i2s_batch.embedding.page import embed_parts
from i2s_batch.errors import RunConflictError
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.report.facts import Facts, gather
from i2s_batch.report.page import write_page
from i2s_batch.report.parts import PageParts
from i2s_batch.run.recorded import recorded_command
from i2s_batch.schema.settings import EDIT, EMBED, STUDY
from i2s_batch.studies.page import study_parts

# What each kind of run adds to its page, of the output and its facts; without a generator nothing is drawn.
_PARTS: dict[str, Callable[[str, Facts, Generator | None], PageParts]] = {
    EMBED: embed_parts,
    EDIT: edit_parts,
    STUDY: study_parts,
}


def write_report(out: str, generator: GeneratorWeights | None = None, why_none: str = "") -> str:
    """Write OUT/report.html from the table at `out`; its path or s3 url.

    Reconstructions are rendered from the latents with `generator`; without one, `why_none` stands in their
    place. Raises StorageError if there is no table, RunConflictError if it was made by another generator.
    """
    facts = gather(out)
    if generator is not None and generator.fingerprint != facts.fingerprints["generator"]:
        raise RunConflictError(
            f"{out} was made by the generator {facts.fingerprints['generator'][:12]}..., not by this one, "
            f"{generator.fingerprint[:12]}... ({generator.origin}); give the one that made it"
        )
    network = None if generator is None else build_generator(generator)
    parts = _PARTS[facts.settings.run.kind](out, facts, network)
    return write_page(out, facts, parts, why_none, recorded_command(out))
