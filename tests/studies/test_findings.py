"""Tables and sentences, from rows whose figures are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.presets import preset
from i2s_batch.studies.catalogue import study_of
from i2s_batch.studies.findings import findings
from i2s_batch.studies.kinds.steps import device_hours, enough_steps
from i2s_batch.studies.registered import STUDIES
from i2s_batch.studies.result_table import table_of
from i2s_batch.studies.results import Result
from i2s_batch.studies.study import POOLED, Results
from i2s_batch.studies.wording import figure

EMBED = EmbedConfig(steps=1000)
IMAGES = ("face/a.png", "face/b.png", "face/c.png", "scene/a.png", "scene/b.png")


def result(variant: str, image: str, loss: float, **measured: float) -> Result:
    curve = tuple((step, loss * (1 + 10 * math.exp(-step / 50))) for step in (0, 1, 10, 50, 100, 300, 1000))
    label = image.partition("/")[0]
    return Result(variant, image, label, loss, 30.0, 25.0, None, 1000, curve, "w0", "cpu", (0.0, 60.0), measured)


def results(name: str, factors: dict[str, float], failed: int = 0, **measured: float) -> Results:
    """Each variant's loss is its factor times that of the picture; 1 where none is given."""
    study = study_of(name, EMBED)
    rows = [
        result(variant.name, image, (0.1 + 0.01 * number) * factors.get(variant.name, 1.0), **measured)
        for variant in study.variants
        for number, image in enumerate(IMAGES)
    ]
    return Results(study, rows, failed)


def said(found: Results) -> str:
    return "\n".join(findings(found))


def test_transforms() -> None:
    text = said(results("transforms", {"rotate-90": 2.1, "zoom-out-2x": 0.5}, failed=2))
    assert text.startswith("face: against the original, rotate 90: loss 2.1x, 95 % interval 2.1 to 2.1, n = 3; ")
    assert "scene: 1 of 6 are shown to be worse than the original: align such images" in text
    assert "of 15 pairs" in text.lower() and "2 rows are not ok" in text


def test_the_papers_order_is_counted() -> None:
    paper = study_of("transforms", EMBED).paper
    same = results("transforms", {name: loss for name, (loss, _) in paper.items()})
    other = results("transforms", {name: 1 / loss for name, (loss, _) in paper.items()})
    assert "Of 15 pairs of transformations, 15 are" in said(same) and "Of 15 pairs of transformations, 0 are" in said(
        other
    )


def test_init_by_class() -> None:
    found = results("init", {"random": 1.2})
    scenes_turned = [
        replace(r, loss=r.loss / 1.44) if (r.label, r.variant) == ("scene", "random") else r for r in found.all
    ]
    text = said(Results(found.study, scenes_turned, 0))
    assert "face: random start against mean start: loss 1.2x" in text and "n = 3: use --init mean." in text
    assert "scene: random start against mean start: loss 0.83x" in text and "n = 2: use --init random." in text


def test_space_and_loss() -> None:
    text = said(results("space", {"z": 8.0, "w": 4.0, "w+untrained": 1.5}))
    assert "W against Z: loss 0.50x" in text and "W+ against W: loss 0.25x" in text
    assert "face: W+ with random weights against W+: loss 1.5x" in text and "the training matters" in text
    text = said(results("loss", {"pixel": 3.0, "conv3_2": 1.5, "conv1_1": 4.0, "conv1_2": 5.0, "conv4_2": 6.0}))
    assert "conv4_2 alone: loss 6.0x" in text and "The best single layer is conv3_2." in text
    assert "PSNR: pixel term alone 25.0 dB" in text


def test_steps_and_what_they_save() -> None:
    found = results("steps", {})
    faces = found.of("steps-1000", "face")
    assert enough_steps(faces) == 300
    assert device_hours(faces) == pytest.approx(1 / 60)  # side by side: one minute, not three
    text = said(found)
    assert "face: --steps 300 is enough: the 700 steps after it lower the mean loss by less than 5%" in text
    assert f"saves 70% of 1000 steps, {figure(1 / 60 * 0.7 / 3 * 1000)} h of cpu for 1000 images" in text


def test_the_steps_of_all_classes_are_pooled() -> None:
    found = results("steps", {})
    curves = found.study.curves(found)
    assert [(name, len(rows)) for name, rows in curves] == [("face", 3), ("scene", 2), (POOLED, 5)]
    assert f"{POOLED}: --steps 300 is enough" in said(found) and f"{POOLED}: random start" in said(results("init", {}))
    one = Results(found.study, [replace(row, label="") for row in found.all], 0)
    assert [(name, len(rows)) for name, rows in one.study.curves(one)] == [(POOLED, 5)]
    assert table_of(one).rows[0][0] != POOLED and [row[0] for row in table_of(found).rows].count(POOLED) == 5


def test_steps_that_are_not_enough() -> None:
    found = results("steps", {})
    falling = tuple((step, 1 / (1 + step)) for step in (0, 1, 10, 100, 500, 1000))
    text = said(Results(found.study, [replace(one, curve=falling) for one in found.all], 0))
    assert (
        "face: --steps 1000 is not shown to be enough: its second half lowers the mean loss by 5" in text
        and "is enough:" not in text
    )


def recipe_results(factors: dict[str, float], distance: float = 30.0) -> Results:
    """Return what `results` does, with the steps of each variant; latents of L-BFGS are `distance` from the mean."""
    found = results("recipes", factors)
    rows = [
        replace(
            one,
            steps=found.study.variant(one.variant).embed.steps,
            distance=(distance if one.variant == "lbfgs-fifth" else 30.0) + number % len(IMAGES),
        )
        for number, one in enumerate(found.all)
    ]
    return Results(found.study, rows, 0)


def test_the_recipe_that_reaches_the_papers_loss_is_named_with_its_cost() -> None:
    study = study_of("recipes", EmbedConfig(steps=1000, optimizer="lbfgs"))
    assert [(v.embed.optimizer, v.embed.steps) for v in study.variants] == [
        ("adam", 1000),
        ("adam", 200),
        ("lbfgs", 200),
    ]
    text = said(recipe_results({"adam-fifth": 1.6, "lbfgs-fifth": 1.04}, distance=90.0))
    assert "face: L-BFGS, 200 steps: loss 1.0x, 95 % interval 1.0 to 1.0, n = 3: it reaches the paper's loss" in text
    assert "within 5% with 201 evaluations instead of 1001, 12.0 s instead of 12.0 s of cpu for an image." in text
    assert "all: Adam, 200 steps: loss 1.6x" in text and "n = 5, with 201 evaluations." in text
    assert "The latents of L-BFGS, 200 steps: distance to w_avg 2.9x" in text and "far latents edit worse" in text


def test_presets_are_compared_where_there_is_a_learned_file() -> None:
    embed = replace(preset("fast"), learned="ab" * 32, seed=5, space="w+", fit="pad")
    study = study_of("recipes", embed)
    assert [v.name for v in study.variants] == ["paper", "adam-fifth", "lbfgs-fifth", "fast", "edit", "best"]
    assert study.variant("paper").embed == EmbedConfig(seed=5, fit="pad")
    for name in ("fast", "edit", "best"):
        expected = replace(preset(name), learned="ab" * 32, seed=5, fit="pad", noise_steps=0)
        assert study.variant(name).embed == expected


def test_where_no_recipe_reaches_the_papers_loss_the_nearest_is_named() -> None:
    text = said(recipe_results({"adam-fifth": 1.6, "lbfgs-fifth": 1.06}))
    assert "scene: no recipe with fewer evaluations reaches the paper's loss within 5%: keep the paper's." in text
    assert "The nearest is L-BFGS, 200 steps: loss 1.1x" in text and "far latents" not in text
    with pytest.raises(ConfigError, match="steps is 9; the recipes study needs at least 10"):
        study_of("recipes", EmbedConfig(steps=9))


def test_iterate() -> None:
    text = said(results("iterate", {"round-7": 0.1}, drift=2.5, psnr_to_first=20.0))
    assert "Round 7 against round 1: loss 0.10x" in text
    assert "from 20.0 dB after one round to 20.0 after 7" in text and "2.50 in round 2" in text


def test_iterate_without_pictures_says_what_it_can() -> None:
    assert said(results("iterate", {"round-7": 0.1})).startswith("Round 7 against round 1")


def test_defects() -> None:
    measured = {"inside": 1.0, "inside_original": 4.0, "outside": 3.0, "outside_undamaged": 2.0, "changed": 1.0}
    text = said(results("defects", {}, **measured))
    assert "hole, side 1/8: error 1.5x, 95 % interval 1.5 to 1.5, n = 5" in text
    assert "nearer to the damage than to the original for hole, side 1/8" in text
    table = table_of(results("defects", {}, **measured))
    assert "MSE outside, undamaged" in table.headers


@pytest.mark.parametrize("name", STUDIES.names)
def test_nothing_made_is_said_so(name: str) -> None:
    found = Results(study_of(name, EMBED), [], 7)
    assert any("not ok" in sentence for sentence in findings(found))
    assert table_of(found).rows == []


def test_the_table_by_class_in_the_papers_shape() -> None:
    table = table_of(results("init", {"random": 1.5}))
    assert table.headers[:4] == ["class", "variant", "n", "loss"] and "paper: loss x 1e5" in table.headers
    face = next(row for row in table.rows if row[:2] == ["face", "random start"])
    assert face[2] == "3" and face[3].startswith("0.165 ± 0.015") and face[4] == "1.5x (1.5 to 1.5)"
    assert face[-2:] == ["0.351", "35.60"] and next(r for r in table.rows if r[0] == "scene")[-2:] == ["–", "–"]


def test_markdown_holds_no_name_as_markup() -> None:
    odd = [replace(one, label="a|b") for one in results("init", {}).all[:1]]
    rows = [*odd, *(replace(one, label="c") for one in results("init", {}).all[1:2])]
    lines = table_of(Results(study_of("init", EMBED), rows, 0)).markdown().splitlines()
    assert "a\\|b" in lines[2] and lines[1].startswith("| --- | --- | ---: |")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "0.0123"), (12.345, "12.3"), (1234.5, "1234"), (0.0, "0"), (1e-6, "1e-06"), (math.inf, "∞")],
)
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text
