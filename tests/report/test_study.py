"""What a finished study shows: study.md, the figures, the page."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2s_batch.api.reports import write_report
from i2s_batch.config import EmbedConfig
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.ownership import find_record
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import open_store
from i2s_batch.studies.catalogue import study_of
from i2s_batch.studies.figures import SIDE
from i2s_batch.studies.kinds import iterate
from i2s_batch.studies.report_part import study_outcome
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.program import status_of

NAMES = ("<b>a.png", "b|c.png", "d.png")


def carried_out(root: Path, study: str, generator: Path, vgg: Path) -> Path:
    """A study of three pictures whose names want to be markup, and one file that is none."""
    pictures = root / "pictures"
    pictures.mkdir(exist_ok=True)
    for number, name in enumerate(NAMES):
        scene(number, (24, 24)).save(pictures / name)
    (pictures / "page.png").write_bytes(b"<html>")
    config = StudyConfig(embed=EmbedConfig(steps=12), study=study, batch_size=4, max_failed_fraction=1)
    job = StudyRunRequest(str(pictures), str(root / study), str(generator), str(vgg), config, command=("study", study))
    StudyRun(job, [].append).execute(InProcessCluster(1))
    return root / study


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Path:
    out = carried_out(tmp_path_factory.mktemp("study"), "defects", generator, vgg)
    write_report(str(out), generator_weights(generator))
    return out


def test_the_markdown_has_findings_table_and_figures(defects: Path) -> None:
    text = (defects / "study.md").read_text()
    assert text.startswith("# Study: defects\n\nHow do defects in an image")
    assert "- Outside the damage, against the undamaged image, hole, side 1/8: error" in text
    assert "7 rows are not ok" in text and "| undamaged | 3 |" in text and "n = 3" in text
    for name in ("pictures", "curves"):
        assert f"](figures/{name}.png)" in text
        Image.open(defects / "figures" / f"{name}.png").verify()


def test_the_figure_shows_inputs_above_reconstructions(defects: Path) -> None:
    figure = np.asarray(Image.open(defects / "figures" / "pictures.png").convert("RGB"))
    rows = {row["image_id"]: row for row in read_table(str(defects)).to_pylist()}
    shown = sorted({row["picture"] for row in rows.values() if row["status"] == "ok"})
    given = Image.open(rows[f"hole-half/{shown[0]}"]["uri"]).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    made = Image.open(defects / "pictures" / "hole-half" / f"{shown[0]}.png")
    made = made.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    x = 8 + 3 * (SIDE + 4)  # after undamaged and two smaller holes
    np.testing.assert_array_equal(figure[40 : 40 + SIDE, x : x + SIDE], np.asarray(given))
    np.testing.assert_array_equal(figure[44 + SIDE : 44 + 2 * SIDE, x : x + SIDE], np.asarray(made))


def test_figures_are_transparent_and_the_page_has_them_for_dark_and_for_light(defects: Path, browser: Any) -> None:
    for name in ("pictures", "curves"):
        figure = np.asarray(Image.open(defects / "figures" / f"{name}.png"))
        assert figure.shape[2] == 4 and (figure[..., 3] == 0).mean() > 0.1 and figure[0, -1, 3] == 0
    shown = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
        page.goto((defects / "report.html").as_uri())
        sources = page.evaluate("[...document.querySelectorAll('picture img')].map(i => i.currentSrc)")
        page.close()
        for index, source in enumerate(sources):
            figure = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGBA"))
            assert figure[0, -1, 3] == 0
            shown[index, scheme] = figure[figure[..., 3] == 255][:, :3]
    for index in (0, 1):  # what comes first from the top is text
        assert shown[index, "light"][0].max() < 128 < shown[index, "dark"][0].min()
    assert shown[1, "light"].min(axis=1).max() < 240, "nothing of a white ground is left"


def test_the_curves_of_classes_stand_beside_that_of_all(generator: Path, vgg: Path, tmp_path: Path) -> None:
    for label in ("cats", "dogs"):
        for number in range(2):
            (tmp_path / "in" / label).mkdir(parents=True, exist_ok=True)
            scene(number, (24, 24)).save(tmp_path / "in" / label / f"{number}.png")
    config = StudyConfig(embed=EmbedConfig(steps=12), study="steps", batch_size=4)
    job = StudyRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), config)
    StudyRun(job, [].append).execute(InProcessCluster(1))
    outcome = study_outcome(str(tmp_path / "out"), find_record(open_store(str(tmp_path / "out"))).settings)
    assert [row[:3] for row in outcome.table.rows[-3:]] == [
        ["all", title, "4"] for title in ("1 step", "10 steps", "12 steps")
    ]
    assert sum("all: --steps" in sentence for sentence in outcome.findings) == 1


def test_the_measured_damage_is_that_of_the_pictures(defects: Path) -> None:
    """By another way: from the files alone."""
    rows = read_table(str(defects)).to_pylist()
    errors = []
    for row in (row for row in rows if row["variant"] == "hole-half" and row["status"] == "ok"):
        given = np.asarray(Image.open(row["uri"])).astype(float)
        made = np.asarray(Image.open(defects / "pictures" / f"{row['image_id']}.png")).astype(float)
        hole = (given == 0).all(axis=2)
        errors.append(np.square(made - given)[~hole].mean())
    cells = next(
        line for line in (defects / "study.md").read_text().splitlines() if line.startswith("| hole, side 1/2")
    )
    header = next(line for line in (defects / "study.md").read_text().splitlines() if line.startswith("| variant"))
    place = [cell.strip() for cell in header.split("|")].index("MSE outside")
    shown = float(cells.split("|")[place].split("±")[0])
    assert shown == pytest.approx(np.mean(errors), rel=0.01)


def test_the_page_shows_the_study_and_escapes_names(defects: Path, browser: Any) -> None:
    html = (defects / "report.html").read_text()
    assert "How do defects in an image" in html and "of the study defects" in html and "<b>a.png" not in html
    page = browser.new_page(viewport={"width": 800, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((defects / "report.html").as_uri())
    assert complaints == [] and page.evaluate("document.documentElement.scrollWidth") <= 800
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.locator("img").count() == 2 and page.locator("td:has-text('scribble')").count() == 1
    page.close()


def test_a_generator_that_the_page_would_not_use_is_refused(
    defects: Path, generator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (defects / "report.html").read_bytes()
    assert status_of("report", defects, "--generator", generator) == 2
    assert "--generator has no effect on a study" in capsys.readouterr().err
    assert (defects / "report.html").read_bytes() == page and status_of("report", defects) == 0


def test_pictures_that_are_gone_leave_the_table(defects: Path, tmp_path: Path, generator: Path) -> None:
    shutil.copytree(defects, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "pictures")
    write_report(str(tmp_path / "out"), generator_weights(generator))
    text = (tmp_path / "out" / "study.md").read_text()
    assert "| undamaged | 3 |" in text and "MSE outside" not in text


@pytest.mark.parametrize("study", ["steps", "iterate"])
def test_one_input_stands_left_of_what_became_of_it(
    study: str, tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iterate, "ROUNDS", 2)
    out = carried_out(tmp_path, study, generator, vgg)
    write_report(str(out), generator_weights(generator))
    text = (out / "study.md").read_text()
    figure = Image.open(io.BytesIO((out / "figures" / "pictures.png").read_bytes()))
    columns = 1 + len(study_of(study, EmbedConfig(steps=12)).variants)
    assert figure.width == columns * (SIDE + 4) + 12
    assert ("drift of w*" in text) == (study == "iterate") and ("- --steps " in text) == (study == "steps")
