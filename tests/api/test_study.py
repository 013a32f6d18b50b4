"""study() from Python: what it found, as values; it is the study of the command line."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest

from i2s_batch import ConfigError, study
from i2s_batch.api.study_runs import preview_study
from i2s_batch.table.shards import read_table
from tests.api.conftest import STEPS, Material
from tests.program import here


@pytest.fixture(scope="module")
def options(material: Material) -> dict[str, object]:
    networks = {"generator": material.generator, "vgg": material.vgg}
    return networks | {"steps": STEPS, "in_process": True, "progress": False}


def test_a_study_returns_what_it_found(material: Material, options: dict[str, object], tmp_path: Path) -> None:
    result = study(material.source, tmp_path / "out", "init", sample=2, **options)
    assert result.statuses == {"ok": 4} and result.study == "init" and Path(result.report).is_file()
    written = (tmp_path / "out" / "study.md").read_text()
    assert result.question in written and result.comparison.markdown() in written
    assert result.findings and all(finding in written for finding in result.findings)
    page = result._repr_html_()
    assert "<li>random start against mean start" in page and page.count("<tr>") == 3
    assert len(result.table) == 4 and repr(result).startswith("StudyResult(study='init', out=")


def test_the_recipes_study_lists_morphs_that_compare_edits(
    material: Material, options: dict[str, object], tmp_path: Path
) -> None:
    out = tmp_path / "out of recipes"
    study(material.source, out, "recipes", sample=3, **options | {"steps": 10})
    edits = list(csv.DictReader((out / "figures/edits.csv").read_text().splitlines()))
    recipes = ["paper", "adam-fifth", "lbfgs-fifth"]
    assert [row["from"].partition("/")[0] for row in edits] == recipes * 2
    assert all(row["to"].partition("/")[0] == row["from"].partition("/")[0] for row in edits)
    (command,) = re.findall(r"i2s-batch (edit morph .*) draws 6 morphs\.", (out / "study.md").read_text())
    assert command.replace("'", "") in (out / "report.html").read_text().replace("&#39;", "")
    assert here(*shlex.split(command), "--in-process").returncode == 0
    sequences = (
        read_table(f"{out}-edits", ["sequence", "image_id"]).group_by("sequence").aggregate([("image_id", "count")])
    )
    assert sequences["image_id_count"].to_pylist() == [5] * 6


def test_what_a_study_varies_is_refused(material: Material, options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="init has no effect in the study init, which tries every value of it"):
        study(material.source, tmp_path / "out", "init", init="random", **options)
    with pytest.raises(ConfigError, match="study is 'starts'; it must be one of transforms, init"):
        study(material.source, tmp_path / "out", "starts", **options)
    with pytest.raises(ConfigError, match=r"study\(\) has no option 'classes'; did you mean 'class_column'"):
        study(material.source, tmp_path / "out", "init", classes="kind", **options)
    with pytest.raises(ConfigError, match=r"study\(\) has no option 'update'"):
        study(material.source, tmp_path / "out", "init", update=True, **options)
    assert not (tmp_path / "out").exists()


def test_recipes_with_a_learned_file_are_those_of_the_preset(
    material: Material, options: dict[str, object], tmp_path: Path, learned_file: Path
) -> None:
    asked = {**options, "learned": learned_file, "sample": 2}
    del asked["steps"]
    alone, with_preset = (
        preview_study(material.source, tmp_path / "out", "recipes", **asked, **more)
        for more in ({}, {"preset": "fast"})
    )
    assert alone.record.settings == with_preset.record.settings and alone.record.preset == "fast"
    assert alone.images == with_preset.images == 2 * 6, "the paper's, two with fewer steps, and three presets"


@pytest.mark.parametrize("name", ["loss", "space"])
def test_a_study_that_takes_no_learned_file_says_why(
    material: Material, options: dict[str, object], tmp_path: Path, learned_file: Path, name: str
) -> None:
    reason = (
        f"study {name} takes no learned file: its variants have other loss weights, spaces or networks, and a learned"
    )
    with pytest.raises(ConfigError, match=f"{reason} file belongs to one of each; leave out --learned$"):
        study(material.source, tmp_path / "out", name, **options, learned=learned_file)
    with pytest.raises(ConfigError, match=reason):
        study(material.source, tmp_path / "out", name, **options, init="learned")
