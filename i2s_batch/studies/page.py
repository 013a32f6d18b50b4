"""The end of a study: its table in Markdown, its figures, and what the report says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2s_batch.config import TERMS, EmbedConfig
from i2s_batch.images.alterations import defect_mask
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_additions
from i2s_batch.report.facts import Facts
from i2s_batch.report.inlined import inlined
from i2s_batch.report.parts import PageParts, ResultTable, ShownStudy
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.settings import RunSettings
from i2s_batch.storage import open_store
from i2s_batch.studies.catalogue import Study, study_of
from i2s_batch.studies.comparisons import damage, round_drift
from i2s_batch.studies.figures import curves_figure, pictures_figure
from i2s_batch.studies.findings import answers
from i2s_batch.studies.result_table import table_of
from i2s_batch.studies.results import Made, Results
from i2s_batch.studies.study_images import StudyPictures
from i2s_batch.table.shards import read_table

_NOTE = (
    "Mean ± standard deviation over n pictures. Ratios are geometric means over the pictures that have both, with the "
    "95 % interval of Student's t on their logarithms. The loss is the whole loss, whatever a variant is optimised for."
)
_COLUMNS = ["image_id", "status", "uri", "variant", "picture", "class", "worker", "device", "embedded_at", "seconds"]
_COLUMNS += ["w_distance", "psnr", "lpips", "steps", "loss_curve", "loss_curve_steps", *(f"loss_{t}" for t in TERMS)]

Row = dict[str, Any]


@dataclass(frozen=True)
class StudyPage:
    """What a study came to. `figures`: PNG by file name and title."""

    question: str
    answers: list[str]
    table: ResultTable
    note: str
    figures: dict[tuple[str, str], bytes]


def study_parts(out: str, facts: Facts) -> PageParts:
    """Write study.md and figures/ of the study at `out`, from its table and its images, and return what the report
    shows of it. The images are in its figures: not all are of one generator."""
    page = write_study(out, facts.settings.run)
    figures = {title: inlined("png", data) for (_, title), data in page.figures.items()}
    name = str(facts.settings.run.study)
    study = ShownStudy(name, page.question, page.answers, page.table, page.note, figures)
    return PageParts(f"study {name}", study=study, metrics=False)  # a mixture of variants says nothing


def write_study(out: str, settings: RunSettings) -> StudyPage:
    """Write study.md and figures/ of the study at `out`, from its table and its images; `settings`: of its run.
    Raises StorageError if there is no table."""
    store = open_store(out)
    embed = settings.embed_config()
    study = study_of(str(settings.study), embed)
    columns = [*_COLUMNS, "latent"] if study.name == "iterate" else _COLUMNS
    rows = read_table(out, columns).to_pylist()
    done = {row["image_id"]: row for row in rows if row["status"] == STATUS_OK}
    pictures = StudyPictures(store, embed.fit)
    made = [_made(row, done, embed, study) for row in done.values()]
    measured = [_measured(one, done, embed, study, pictures) for one in made]
    results = Results(study, measured, len(rows) - len(done))
    figures = {
        ("pictures", "Inputs and reconstructions"): pictures_figure(results, done, pictures),
        ("curves", _curves_title(study)): curves_figure(results),
    }
    page = StudyPage(study.question, answers(results), table_of(results), _NOTE, figures)
    check_additions(store, [RunLayout.study, *(RunLayout.figure(name) for name, _ in figures)])
    for (name, _), data in figures.items():
        store.put(RunLayout.figure(name), data)
    store.put(RunLayout.study, _markdown(study, page).encode())
    return page


def _curves_title(study: Study) -> str:
    own = ": each variant's own, which cannot be compared by height" if study.name == "loss" else ""
    return f"Mean loss by step{own}"


def _markdown(study: Study, page: StudyPage) -> str:
    figures = [f"![{title}]({RunLayout.figure(name)})" for name, title in page.figures]
    parts = [f"# Study: {study.name}", page.question, "\n".join(f"- {answer}" for answer in page.answers)]
    return "\n\n".join([*parts, page.table.markdown(), page.note, *figures]) + "\n"


def _id(variant: str, picture: str) -> str:
    return f"{variant}/{picture}"


def _made(row: Row, done: Mapping[str, Row], embed: EmbedConfig, study: Study) -> Made:
    earlier = study.variant(row["variant"]).continues
    before = done.get(_id(earlier, row["picture"]))
    end = row["embedded_at"].timestamp()
    return Made(
        variant=row["variant"],
        picture=row["picture"],
        kind=row["class"],
        loss=sum(getattr(embed.loss_weights, term) * row[f"loss_{term}"] for term in TERMS),
        distance=row["w_distance"],
        psnr=row["psnr"],
        lpips=row["lpips"],
        steps=row["steps"],
        curve=tuple(zip(row["loss_curve_steps"], row["loss_curve"], strict=True)),
        worker=row["worker"],
        device=row["device"],
        busy=(end - row["seconds"] + (before["seconds"] if before else 0.0), end),
    )


def _measured(one: Made, done: Mapping[str, Row], embed: EmbedConfig, study: Study, pictures: StudyPictures) -> Made:
    """With what is measured on pictures and codes in this study; without it where a picture is gone."""
    row = done[_id(one.variant, one.picture)]
    more: dict[str, float] = {}
    if study.name == "defects" and one.variant != study.baseline:
        more = _damage(row, done.get(_id(study.baseline, one.picture)), embed, pictures)
    elif study.name == "iterate":
        more = _drift(row, done, study, pictures)
    one.more.update(more)
    return one


def _damage(row: Row, whole: Row | None, embed: EmbedConfig, pictures: StudyPictures) -> dict[str, float]:
    if whole is None:
        return {}
    original, damaged = pictures.given(whole), pictures.given(row)
    made, made_undamaged = pictures.made(row), pictures.made(whole)
    if original is None or damaged is None or made is None or made_undamaged is None:
        return {}
    mask = defect_mask(row["variant"], original.shape[0], row["picture"], embed.seed)
    return damage(original, damaged, made, made_undamaged, mask)


def _drift(row: Row, done: Mapping[str, Row], study: Study, pictures: StudyPictures) -> dict[str, float]:
    first = done.get(_id(study.baseline, row["picture"]))
    before = done.get(_id(study.variant(row["variant"]).redoes, row["picture"]))
    made, given = pictures.made(row), None if first is None else pictures.given(first)
    if made is None or given is None:
        return {}
    code_before = None if before is None else np.array(before["latent"])
    return round_drift(np.array(row["latent"]), code_before, made, given)
