"""Writes the results of a study: its table in Markdown, its figures, and its part of the report."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from i2s_batch.config import LossWeights
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_additions
from i2s_batch.plurals import counted
from i2s_batch.reporting.facts import Facts
from i2s_batch.reporting.files import ReportFiles
from i2s_batch.reporting.inlined import inlined
from i2s_batch.reporting.parts import PageParts, Picture, ResultTable, ShownFigure, ShownImage, ShownStudy
from i2s_batch.reporting.pictures import original_picture, url_of
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.settings import RunSettings
from i2s_batch.storage import Store, open_store
from i2s_batch.studies.catalogue import study_of
from i2s_batch.studies.figures import DARK, EITHER, LIGHT, Drawing, curves_figure, encoded, images_figure
from i2s_batch.studies.findings import findings
from i2s_batch.studies.result_table import table_of
from i2s_batch.studies.results import Result
from i2s_batch.studies.study import Results, Study
from i2s_batch.studies.study_output import StudyOutput
from i2s_batch.studies.study_rows import StudyRow

_ROWS_AT_ONCE = 256
_NOTE = (
    "Mean ± standard deviation over n images. Ratios are geometric means over the images that have both, with the "
    "95 % interval of Student's t on their logarithms. The loss is the whole loss, whatever a variant is optimised for."
)


@dataclass(frozen=True)
class StudyOutcome:
    """Holds what a study found: its question, sentences with their numbers, and a line for every variant."""

    question: str
    findings: list[str]
    table: ResultTable


@dataclass(frozen=True)
class StudyPage(StudyOutcome):
    """Holds the results of a study for people. `figures`: their drawings by file name and title."""

    note: str
    figures: dict[tuple[str, str], Drawing]


def study_parts(files: ReportFiles, facts: Facts) -> PageParts:
    """Write study.md and figures/ of the study whose output `files` writes to, and return its part of the report.

    They are made from its table and its images.
    """
    page = write_study(files.store.url, facts.settings.run)
    figures = [
        ShownFigure(title, *(inlined("webp", encoded(draw(theme), "webp")) for theme in (LIGHT, DARK)))
        for (_, title), draw in page.figures.items()
    ]
    name = str(facts.settings.run.study)
    study = ShownStudy(name, page.question, page.findings, page.table, page.note, figures)
    every = _every(facts, files.store.url)
    return PageParts(study=study, metrics=False, every=every)  # means over a mixture of variants mean nothing


def _every(facts: Facts, out: str) -> Iterator[ShownImage]:
    """Yield every row of a study, its input beside its reconstruction, which are files of the run or of its source."""
    for batch in facts.listed.to_batches(_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            image_id, done = row["image_id"], row["status"] == STATUS_OK
            altered = RunLayout.altered(image_id)
            given = (
                Picture("input", url_of(altered))
                if row["uri"].endswith(altered)
                else original_picture(row["uri"], out, "input")
            )
            result = Picture("reconstruction", url_of(RunLayout.picture(image_id, "png")))
            pictures = [given, result if done else Picture("reconstruction", missing=row["status"])]
            caption = f"{row['psnr']:.1f} dB" if done else row["status"]
            yield ShownImage(image_id, caption, pictures, [row["error"]] if row["error"] else [])


def study_outcome(out: str, settings: RunSettings) -> StudyOutcome:
    """Return what the study at `out` found, from its table.

    Args:
        out: The output.
        settings: Those of its run.

    Raises:
        StorageError: There is no table.
    """
    results, _ = _results(out, settings)
    return StudyOutcome(results.study.question, findings(results), table_of(results))


def write_study(out: str, settings: RunSettings) -> StudyPage:
    """Write study.md and figures/ of the study at `out` from its table and its images, and return what they show.

    figures/edits.csv lists the morphs of a study that compares edits, for `i2s-batch edit morph --edit-list`.

    Args:
        out: The output.
        settings: Those of its run.

    Raises:
        StorageError: There is no table.
    """
    results, output = _results(out, settings)
    study = results.study
    figures = {
        ("pictures", "Inputs and reconstructions"): images_figure(results, output),
        ("curves", study.curves_title): curves_figure(results),
    }
    store = open_store(out)
    pairs = [] if study.edit_pairs is None else study.edit_pairs(results)
    said = [*findings(results), *([_edits_sentence(store, len(pairs))] if pairs else [])]
    page = StudyPage(study.question, said, table_of(results), _NOTE, figures)
    check_additions(store, [RunLayout.study, RunLayout.study_edits, *(RunLayout.figure(name) for name, _ in figures)])
    if pairs:
        store.put(RunLayout.study_edits, _edit_list(pairs))
    for (name, _), draw in figures.items():
        store.put(RunLayout.figure(name), encoded(draw(EITHER), "png"))
    store.put(RunLayout.study, _markdown(study, page).encode())
    return page


def _edits_sentence(store: Store, count: int) -> str:
    command = ["i2s-batch", "edit", "morph", store.url, f"{store.url}-edits", "--edit-list"]
    command += [store.uri(RunLayout.study_edits), "--strengths", "0,0.25,0.5,0.75,1"]
    return f"Look at what edits make of each recipe's latents: {shlex.join(command)} draws {counted(count, 'morph')}."


def _edit_list(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Return an edit list as CSV; ids are quoted where they have to be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("from", "to"), *pairs])
    return text.getvalue().encode()


def _results(out: str, settings: RunSettings) -> tuple[Results, StudyOutput]:
    embed = settings.embed_config()
    study = study_of(str(settings.study), embed)
    output = StudyOutput.read(out, embed.fit, study.reads_latents)
    rows = [_result(row, output, study, embed.loss_weights) for row in output.rows]
    return Results(study, rows, output.failed), output


def _result(row: StudyRow, output: StudyOutput, study: Study, weights: LossWeights) -> Result:
    before = output.row(study.variant(row.variant).continues, row.image)
    measured = {} if study.measure is None else study.measure(row, output)
    return row.result(before, weights, measured)


def _markdown(study: Study, page: StudyPage) -> str:
    figures = [f"![{title}]({RunLayout.figure(name)})" for name, title in page.figures]
    parts = [f"# Study: {study.name}", page.question, "\n".join(f"- {finding}" for finding in page.findings)]
    return "\n\n".join([*parts, page.table.markdown(), page.note, *figures]) + "\n"
