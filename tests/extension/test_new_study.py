"""A new study is one file and one declaration, from outside the package, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2s_batch.api.reports import write_report
from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.studies.catalogue import study_of
from i2s_batch.studies.registered import STUDIES, StudyDeclaration
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.shards import read_table
from tests.material import scene

MIRRORED = StudyDeclaration("mirrored", "Does a mirrored image embed as well?", "tests.extension.extra_study:mirrored")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        scene(number, (16, 16)).save(folder / f"{number}.png")
    return folder


def carried_out(source: Path, out: Path, generator: Path, vgg: Path) -> dict[str, int]:
    config = StudyConfig(embed=EmbedConfig(steps=3), study="mirrored", batch_size=2)
    request = StudyRunRequest(str(source), str(out), str(generator), str(vgg), config, ("study", "mirrored"))
    statuses: dict[str, int] = StudyRun(request, list[str]().append).execute(InProcessCluster(1)).summary.statuses
    return statuses


def cells(markdown: str, variant: str) -> dict[str, str]:
    """The cells of a line of study.md by the titles of their columns."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    (found,) = (line for line in lines[2:] if line[0] == variant)
    return dict(zip(lines[0], found, strict=True))


def test_a_study_of_somebody_else_runs_and_reports_as_ours_do(
    source: Path, tmp_path: Path, generator: Path, vgg: Path
) -> None:
    out = tmp_path / "out"
    with STUDIES.added(MIRRORED):
        assert STUDIES.names[-1] == "mirrored"
        assert carried_out(source, out, generator, vgg) == {"ok": 4}
        write_report(str(out))
        assert verify(str(out)).sound
    rows = {row["image_id"]: row for row in read_table(str(out)).to_pylist()}
    assert {(row["study"], row["variant"]) for row in rows.values()} == {
        ("mirrored", "original"),
        ("mirrored", "mirrored"),
    }
    for name in ("0.png", "1.png"):
        given = np.asarray(Image.open(rows[f"mirrored/{name}"]["uri"]))
        np.testing.assert_array_equal(given, np.asarray(Image.open(source / name))[:, ::-1])
    text = (out / "study.md").read_text()
    assert text.startswith("# Study: mirrored\n\nDoes a mirrored image embed as well?\n\n- mirrored against original: ")
    assert "![Mean loss of both](figures/curves.png)" in text
    line, moved = cells(text, "mirrored"), []
    for name in ("0.png", "1.png"):
        latents = [np.array(rows[f"{variant}/{name}"]["latent"]) for variant in ("mirrored", "original")]
        moved.append(np.linalg.norm(latents[0] - latents[1]))
    assert float(line["latent moved"].split(" ±")[0]) == pytest.approx(np.mean(moved), rel=0.01)
    assert line["asymmetry"].endswith(" of 65025") and line["paper: loss x 1e5"] == "0.500"
    assert cells(text, "original")["latent moved"] == "–"
    assert "Does a mirrored image embed as well?" in (out / "report.html").read_text()


def test_without_its_declaration_there_is_no_such_study(
    source: Path, tmp_path: Path, generator: Path, vgg: Path
) -> None:
    with STUDIES.added(MIRRORED):
        carried_out(source, tmp_path / "out", generator, vgg)
    missing = "study is 'mirrored'; it must be one of transforms, init, space, loss, steps, iterate, recipes, defects"
    with pytest.raises(ConfigError, match=missing):
        StudyConfig(study="mirrored")
    with pytest.raises(ConfigError, match=missing):
        write_report(str(tmp_path / "out"))


def test_a_study_under_another_name_is_refused() -> None:
    with (
        STUDIES.added(StudyDeclaration("mirror", MIRRORED.summary, MIRRORED.target)),
        pytest.raises(ConfigError, match=r"study 'mirror' is declared as .* which makes the study 'mirrored'"),
    ):
        study_of("mirror", EmbedConfig())
