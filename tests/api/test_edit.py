"""edit() from Python: requests, tables, options, an edit that somebody else has registered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from i2s_batch import ConfigError, EditResult, EmbedResult, Expression, ListedEdit, Morph, Reenact, Render, Style
from i2s_batch import edit as edit_tables
from i2s_batch.editing import EDITS, morph
from i2s_batch.registry import Declaration
from tests.api.conftest import Material
from tests.extension.blend import Blend
from tests.material import scene
from tests.program import status_of


def edit(table: object, out: Path, request: object, **options: object) -> EditResult:
    return edit_tables(table, out, request, **({"in_process": True, "progress": False} | options))


def test_a_morph_of_an_open_table(embedded: EmbedResult, tmp_path: Path) -> None:
    result = edit(embedded.table, tmp_path / "out", Morph((0, 0.5, 1), pairing="all-pairs"), animation="gif")
    assert (result.images, result.statuses) == (9, {"ok": 9})
    assert len(list(Path(result.animations).glob("*.gif"))) == 3 and Path(result.contact_sheet).is_file()
    halves = result.table.query(
        "SELECT parents, latent FROM latents WHERE strength = 0.5 ORDER BY image_id"
    ).to_pylist()
    for row in halves:
        first, second = embedded.table.latents(row["parents"])
        expected = morph(second.astype(np.float64), first.astype(np.float64), 0.5)
        np.testing.assert_allclose(np.reshape(row["latent"], first.shape), expected, rtol=1e-6, atol=1e-6)
    assert '<img src="data:image/png;base64,' in result._repr_html_()
    Path(result.contact_sheet).unlink()
    assert "<img" not in result._repr_html_() and "<table>" in result._repr_html_()


def test_it_is_the_edit_of_the_command_line(embedded: EmbedResult, tmp_path: Path) -> None:
    options = ["--to", "b.png", "--frames", 3, "--where", "image_id = 'a.png'", "--in-process"]
    assert status_of("edit", "morph", embedded.out, tmp_path / "command", *options) == 0
    result = edit(embedded.out, tmp_path / "python", Morph([0, 0.5, 1], to="b.png"), where="image_id = 'a.png'")
    ids = [(tmp_path / name / "latents" / "shard-00000.parquet").exists() for name in ("command", "python")]
    assert ids == [True, True] and result.animations is None
    settings = [json.loads((tmp_path / name / "run.json").read_text())["settings"] for name in ("command", "python")]
    assert settings[0] == settings[1] and settings[0]["pairing"] == "to"
    made = [sorted(p.name for p in (tmp_path / name / "pictures").rglob("*.png")) for name in ("command", "python")]
    assert made[0] == made[1] and len(made[0]) == 3
    # Of the command the record holds the words that resume it; of Python there are none.
    command, python = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("command", "python"))
    assert command["command"][:2] == ["edit", "morph"] and python["command"] is None


def test_two_tables(material: Material, embedded: EmbedResult, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    scene(7, (24, 24)).save(other / "d.png")
    second = Material(other, material.generator, material.vgg).embed(tmp_path / "second")
    request = Style(to="d.png", keep=2)
    result = edit([embedded.out, second.table], tmp_path / "out", request, ids=["c.png", "a.png"])
    found = result.table.query("SELECT parents FROM latents").to_pylist()
    assert sorted(row["parents"] for row in found) == [["a.png", "d.png"], ["c.png", "d.png"]]


def test_every_request_of_the_package_is_carried_out(embedded: EmbedResult, tmp_path: Path) -> None:
    requests = {
        "listed": (Morph((0.5,), listed=(ListedEdit(("a.png", "c.png")),)), 1),
        "expression": (Expression((1.0,), "a.png", "b.png"), 3),
        "reenact": (Reenact("a.png"), 3),
        "render": (Render(), 3),
    }
    for name, (request, count) in requests.items():
        result = edit(embedded.table, tmp_path / name, request, format="webp")
        assert result.statuses == {"ok": count}, name
        assert len(list((tmp_path / name / "pictures").rglob("*.webp"))) == count
    assert result.animations is None  # of single images
    assert len(list((tmp_path / "reenact" / "animations").glob("*.webp"))) == 1, "an edit's own default"


def test_an_edit_from_outside_the_package(embedded: EmbedResult, tmp_path: Path) -> None:
    declaration = Declaration("blend", "Move latents towards another, in some layers.", "tests.extension.blend:BLEND")
    request = Blend("b.png", (0.5, 1.0), (0,))
    with pytest.raises(ConfigError, match="edit is 'blend'; it must be one of morph"):
        edit(embedded.table, tmp_path / "out", request)
    with EDITS.added(declaration):
        result = edit(embedded.table, tmp_path / "out", request, where="image_id <> 'b.png'", fps=4)
    assert result.statuses == {"ok": 4}
    assert len(list(Path(result.animations).glob("*.gif"))) == 2, "an edit's own default"


@pytest.mark.parametrize(
    ("request_", "options", "message"),
    [
        (Morph, {}, r"the request is <class .*Morph'>; give one of an edit \(Morph, Style"),
        ("morph", {}, "the request is 'morph'; give one of an edit"),
        (Render(), {"animation": "gif"}, "animation is 'gif', but render makes single images; leave it out"),
        (Morph(to="a.png"), {"fps": 5}, "fps has no effect without an animation"),
        (Morph(to="a.png"), {"animation": "avi"}, "animation is 'avi'; it must be one of webp, gif, mp4"),
        (Morph(to="a.png"), {"where": "true", "ids": ["b.png"]}, "are ways to choose the images; give one"),
        (Morph(to="a.png"), {"ids": "b.png"}, r"ids is 'b.png' \(str\); it must be a sequence of texts or None"),
        (
            Morph(to="a.png"),
            {"picture_format": "png"},
            r"edit\(\) has no option 'picture_format'; did you mean 'format'",
        ),
        (Morph(to="a.png"), {"steps": 3}, r"edit\(\) has no option 'steps'"),
        (Morph(to="a.png"), {"table": []}, "no table is given"),
    ],
)
def test_bad_requests_and_options_are_one_clear_line(
    embedded: EmbedResult, tmp_path: Path, request_: object, options: dict[str, object], message: str
) -> None:
    table = options.pop("table", embedded.out)
    with pytest.raises(ConfigError, match=message) as raised:
        edit(table, tmp_path / "out", request_, **options)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("strengths", [0.5, "0.5", ("a",), (None,)])
def test_strengths_that_are_no_numbers_are_refused(strengths: object) -> None:
    with pytest.raises(ConfigError, match=r"strengths is .*; give numbers, such as"):
        Morph(strengths, pairing="chain")


def test_a_morph_and_a_style_towards_an_image_need_only_its_id() -> None:
    assert Morph(to="a") == Morph(tuple(i / 8 for i in range(9)), "to", "a")
    assert Style(to="a") == Style("to", "a")
