"""Runs the demo: the real way from images to table to edits, offline, with the bundled generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from i2s_batch.api.reports import write_report
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.demo.pictures import NEUTRAL, NO_FACE, SMILING, demo_pictures, write_demo_pictures
from i2s_batch.editing import Expression, Morph, Request, Style
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.editing.strips import load_strips, write_edit_sheet
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.samples import load_samples
from i2s_batch.images.draw.contact_sheet import contact_sheet
from i2s_batch.models import GeneratorWeights, build_generator
from i2s_batch.models.loading import VGG_RANDOM
from i2s_batch.output.ownership import check_free, claim
from i2s_batch.run.execution import Outcome
from i2s_batch.run.pools import Cluster
from i2s_batch.storage import open_store
from i2s_batch.storage.files import is_temporary
from i2s_batch.table.shards import read_table, rows_of

# Enough for a small generator; the paper's 5000 are for 1024 x 1024.
STEPS = 150
WORKERS = 2
# The edits of the faces, by folder.
EDITS: dict[str, Request] = {
    "morphs": Morph(tuple(i / 8 for i in range(9)), "chain"),
    "styles": Style("all-pairs"),
    "smiles": Expression((0.5, 1.0), NEUTRAL, SMILING),
}


_PICTURES, _EMBEDDED, _SHEET = "pictures", "embedded", "contact-sheet.png"  # in the demo's folder


@dataclass(frozen=True)
class DemoResult:
    """Holds the paths of the demo's files."""

    outcome: Outcome
    pictures: Path
    table: Path
    contact_sheet: Path
    report: Path
    edits: list[Path]


def run_demo(folder: Path, cluster: Cluster, report: Callable[[str], None]) -> DemoResult:
    """Draw eight images under `folder`, embed and edit them, and draw the contact sheet; may be run again.

    Raises:
        RunConflictError: `folder` holds something that is not the demo's; nothing is written.
    """
    pictures, out, sheet = folder / _PICTURES, folder / _EMBEDDED, folder / _SHEET
    _check_free(folder)
    write_demo_pictures(pictures)
    # One of the eight is damaged, on purpose.
    config = EmbedRunConfig(embed=EmbedConfig(steps=STEPS), actors=WORKERS, device="cpu", max_failed_fraction=0.2)
    with as_file(files("i2s_batch.demo") / "generator.safetensors") as checkpoint:
        request = EmbedRunRequest(str(pictures), str(out), str(checkpoint), VGG_RANDOM, config)
        run = EmbedRun(request, report)
        outcome = run.execute(cluster)
        edits = [
            _edit(folder / name, request, str(checkpoint), run.generator, out, cluster, report)
            for name, request in EDITS.items()
        ]
    title = f"original | reconstruction after {STEPS} steps in W+ (small demo generator, random VGG)"
    samples = load_samples(rows_of(read_table(str(out))), build_generator(run.generator), config.embed.fit)
    open_store(str(folder)).put(_SHEET, contact_sheet([sample.cell for sample in samples], title))
    write_report(str(out), run.generator)
    return DemoResult(outcome, pictures, out / "latents", sheet, out / "report.html", edits)


def _check_free(folder: Path) -> None:
    """Raise RunConflictError unless `folder` is free or holds a demo, finished or interrupted."""
    store, pictures = open_store(str(folder)), demo_pictures()
    record = claim(open_store(str(folder / _EMBEDDED)))
    begun = record is not None and record.source == str((folder / _PICTURES).absolute())
    for name in EDITS:
        claim(open_store(str(folder / name)))

    def is_ours(key: str) -> bool:
        top, _, name = key.partition("/")
        if top == _PICTURES:
            # A file of the user's with the name of one of ours is not overwritten.
            return store.get(key) == pictures[name] if name in pictures else begun or is_temporary(name)
        return top == _EMBEDDED or begun

    check_free(store, is_ours)


def _edit(
    folder: Path,
    request: Request,
    checkpoint: str,
    weights: GeneratorWeights,
    table: Path,
    cluster: Cluster,
    report: Callable[[str], None],
) -> Path:
    """Make one edit of the faces of `table` into `folder`, and return `folder`."""
    animation = "webp" if isinstance(request, Morph) else None
    config = EditConfig(actors=1, device="cpu", animation=animation)
    faces = f"image_id <> '{NO_FACE}'"
    run = EditRun(EditRunRequest((str(table),), str(folder), checkpoint, request, config, where=faces), weights, report)
    run.execute(cluster)
    strips = load_strips(str(folder), lambda: run.network)
    write_edit_sheet(str(folder), strips)
    write_report(str(folder), weights, strips=strips)
    return folder
