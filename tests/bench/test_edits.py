"""The edit bench: its truth, its scores on latents whose quality is known, its reference data, its rows."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.bench import edit_report
from i2s_batch.bench.edit_report import EditBenchRequest, measure
from i2s_batch.bench.edit_scores import EditScores, EditTruth, changed_regions, drawn, psnr, region_errors
from i2s_batch.bench.edits import BUILT_IN, REFERENCE, BenchRecipe, EditBench, bench_networks, recipe_of, solve
from i2s_batch.bench.solved_images import SolvedImages, bundled_solved, load_solved, save_solved
from i2s_batch.config import EmbedConfig
from i2s_batch.demo.faces import NAMES
from i2s_batch.demo.held_out import MOUTH, drawn_images, neutral_coordinates, read_photographs, smiling_coordinates
from i2s_batch.editing.formulas import add_direction, expression_direction, morph
from i2s_batch.errors import ConfigError, DamagedError
from i2s_batch.inversion.learned_loading import load_learned
from i2s_batch.inversion.synthesis import images_of
from i2s_batch.models import VGG16, Generator, build_generator, build_vgg, random_vgg, read_generator, read_vgg
from tests.material import scene

FACES = [image.name for image in drawn_images() if image.label == "face"]


@pytest.fixture(scope="module")
def networks() -> tuple[Generator, VGG16]:
    return bench_networks()


@pytest.fixture(scope="module")
def truth(networks: tuple[Generator, VGG16]) -> EditTruth:
    return EditTruth(networks[0])


@pytest.fixture(scope="module")
def own(truth: EditTruth) -> EditScores:
    return truth.score(truth.own)


@pytest.fixture(scope="module")
def saved(networks: tuple[Generator, VGG16]) -> dict[str, SolvedImages]:
    return bundled_solved([networks[0].fingerprint, networks[1].fingerprint])


def test_a_face_is_drawn_twice_and_only_its_mouth_differs(truth: EditTruth) -> None:
    differing = neutral_coordinates() != smiling_coordinates()
    assert [NAMES[i] for i in MOUTH] == ["smile", "mouth_opening"]
    assert (np.flatnonzero(differing.any(0)) == MOUTH).all() and differing[:, MOUTH].all()
    assert len(FACES) == 16 and len({image.pixels.tobytes() for image in drawn_images()}) == 20
    assert 0.04 < truth.smile_regions.mean() < 0.08 < 0.3 < truth.turn_regions.mean() < 0.45


def test_the_region_is_what_differs_and_two_pixels_around_it() -> None:
    before = np.zeros((1, 9, 9, 3))
    after = before.copy()
    after[0, 4, 3, 1] = 0.1
    region = np.zeros((1, 9, 9), bool)
    region[0, 2:7, 1:6] = True
    assert np.array_equal(changed_regions(before, after), region)


def test_errors_inside_and_outside_a_region() -> None:
    truth, images, regions = np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4), bool)
    regions[:, :2, :2] = True
    images[0, :2, :2], images[1, 3, 3] = 0.5, 0.6
    found = region_errors(images, truth, regions)
    assert found.inside == pytest.approx(0.25 / 2) and found.outside == pytest.approx(0.36 / 12 / 2)
    assert found.psnr == pytest.approx((10 * np.log10(4 / 0.0625) + 10 * np.log10(4 / (0.36 / 16))) / 2)


def test_edits_are_those_of_the_papers_formulas_as_edit_expression_does_them(
    truth: EditTruth, own: EditScores, networks: tuple[Generator, VGG16]
) -> None:
    neutral, smiling = truth.own[::2], truth.own[1::2]
    pairs = list(itertools.permutations(range(8), 2))
    directions = {j: expression_direction(neutral[j], smiling[j], 1.0, normalise=False) for j in range(8)}
    latents = np.stack([add_direction(neutral[i], directions[j], 1.0) for i, j in pairs])
    after = drawn(smiling_coordinates())[[i for i, _ in pairs]]
    before = drawn(neutral_coordinates())[[i for i, _ in pairs]]
    by_hand = region_errors(shown(latents, networks[0]), after, changed_regions(before, after))
    assert (own.expression.psnr, own.expression.inside, own.expression.outside) == pytest.approx(
        (by_hand.psnr, by_hand.inside, by_hand.outside)
    )
    middles = list(itertools.combinations(range(8), 2))
    between = np.stack([morph(neutral[i], neutral[j], 0.5) for i, j in middles])
    coordinates = neutral_coordinates()
    means = drawn(np.array([(coordinates[i] + coordinates[j]) / 2 for i, j in middles]))
    assert own.morph == pytest.approx(psnr(shown(between, networks[0]), means).mean())


def shown(latents: np.ndarray, generator: Generator) -> np.ndarray:
    return np.stack([image for image in images_of(latents, generator) if image is not None]) / 127.5 - 1


def test_psnr_alone_would_prefer_no_edit_and_the_errors_do_not(truth: EditTruth, own: EditScores) -> None:
    nothing = truth.unedited()
    assert nothing.expression.psnr > own.expression.psnr  # which is why it never judges alone
    assert nothing.expression.inside > 2 * own.expression.inside and nothing.turn.inside > 2 * own.turn.inside
    assert nothing.expression.outside == nothing.turn.outside == 0 and nothing.morph is None


def test_latents_with_errors_of_their_own_edit_worse(truth: EditTruth, own: EditScores) -> None:
    draw = np.random.default_rng(0).standard_normal(truth.own.shape).astype(np.float32)
    spoilt = truth.score(truth.own + 0.4 * draw)
    for clean, damaged in ((own.expression, spoilt.expression), (own.turn, spoilt.turn)):
        assert damaged.inside > clean.inside and damaged.outside > 1.5 * clean.outside


def test_the_saved_latents_have_the_losses_that_are_saved_with_them(
    networks: tuple[Generator, VGG16], saved: dict[str, SolvedImages]
) -> None:
    assert list(saved) == [recipe.name for recipe in BUILT_IN]
    images = {image.name: image for image in drawn_images()}
    for name, solved in saved.items():
        assert set(FACES) <= set(solved.names) and np.isfinite(solved.latents).all()
        some = [images["face-3-smiling"], *(images[each] for each in solved.names[:1])]
        chosen = solved.of([image.name for image in some])
        row = EditBench(networks, some, chosen).figures(name, chosen)
        assert row.classes["face"].loss == pytest.approx(np.median(chosen.losses), rel=1e-3)
        assert row.classes["face"].loss_ratio == pytest.approx(1) and row.edits is None


def test_adams_edits_get_worse_as_its_loss_falls(truth: EditTruth, saved: dict[str, SolvedImages]) -> None:
    """docs/guides/fewer-steps.md says so."""
    few, many = saved["adam-1000"].of(FACES), saved["adam-5000"].of(FACES)
    assert (few.losses > many.losses).all()
    first, last = (truth.score(each.latents) for each in (few, many))
    for one, other in ((first.expression, last.expression), (first.turn, last.turn)):
        assert one.inside < other.inside and one.outside < other.outside


def test_a_recipe_is_read_from_settings() -> None:
    assert recipe_of("optimizer=lbfgs, steps=300").embed == EmbedConfig(optimizer="lbfgs", steps=300)
    assert recipe_of("stop-plateau=0.5").embed == EmbedConfig(stop_plateau=0.5)
    for wrong in ("", "steps", "batch_size=4", "colour=red", "steps=0", "steps=many"):
        with pytest.raises(ConfigError):
            recipe_of(wrong)


def test_a_preset_is_a_recipe_that_needs_a_learned_file(generator: Path, vgg: Path, learned_file: Path) -> None:
    with pytest.raises(ConfigError, match="needs a learned file; add --learned FILE"):
        recipe_of("preset=fast")
    learned = load_learned(learned_file)
    recipe = recipe_of("preset=fast,steps=6,prior=0", learned)
    assert recipe.embed.learned == learned.fingerprint and recipe.embed.optimizer == "lbfgs-learned"
    assert recipe_of("preset=paper", learned) == BenchRecipe("preset=paper", EmbedConfig())
    small = build_generator(read_generator(generator)), build_vgg(read_vgg(vgg))
    usual = recipe_of("steps=6")
    (_, solved), (_, adam) = solve(small, [recipe, usual], drawn_images()[:2], 2)
    assert (solved.losses < adam.losses).all() and (solved.evaluations <= 7).all()


def test_a_longer_recipe_continues_a_shorter_one_to_the_same_latents(generator: Path, vgg: Path) -> None:
    small = build_generator(read_generator(generator)), build_vgg(read_vgg(vgg))
    images = drawn_images()[:3]
    recipes = [BenchRecipe(f"{steps}", EmbedConfig(steps=steps)) for steps in (4, 9)]
    (_, first), (_, second) = solve(small, recipes, images, 2)
    ((_, alone),) = solve(small, recipes[1:], images, 2)
    assert np.array_equal(second.latents, alone.latents) and np.array_equal(second.losses, alone.losses)
    assert first.evaluations.tolist() == [5] * 3 and second.evaluations.tolist() == [10] * 3
    assert second.names == tuple(image.name for image in images) and not np.array_equal(first.latents, second.latents)


def test_latents_are_kept_in_a_file_of_their_networks(tmp_path: Path) -> None:
    solved = SolvedImages(("a", "b"), np.ones((2, 3, 4), np.float32), np.array([0.1, 0.2]), np.array([5, 6]))
    save_solved(tmp_path / "some.npz", {"x": solved, "y": solved.of(["b"])}, ["g", "v"])
    found = load_solved(tmp_path / "some.npz", ["g", "v"])
    assert list(found) == ["x", "y"] and found["x"].names == ("a", "b")
    assert found["y"].losses.tolist() == [0.2] and found["y"].evaluations.tolist() == [6]
    assert found["x"].latents_of(["b", "a"]).shape == (2, 3, 4) and found["y"].latents_of(["a", "b"]) is None
    assert load_solved(tmp_path / "some.npz", ["g", "another"]) == {}
    (tmp_path / "page.npz").write_text("<html>")
    with pytest.raises(DamagedError, match="holds no latents of the edit bench"):
        load_solved(tmp_path / "page.npz", ["g", "v"])


def test_photographs_are_the_images_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no image"):
        read_photographs(tmp_path)
    scene(1, (300, 260)).save(tmp_path / "astronaut.png")  # of which the face alone is used
    scene(2, (90, 60)).save(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    first, second = read_photographs(tmp_path)
    assert (first.name, second.name, second.label) == ("photo-astronaut", "photo-b", "photograph")
    assert first.pixels.shape == second.pixels.shape == (64, 64, 3)


def test_the_bench_compares_a_recipe_and_a_run_with_the_reference(
    truth: EditTruth, networks: tuple[Generator, VGG16], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator's own latents stand for the reference, and the VGG has few channels."""
    images = [image for image in drawn_images() if image.name in (*FACES, "altered-turned")]
    own = SolvedImages(tuple(FACES), truth.own, np.ones(16), np.full(16, 5001))
    monkeypatch.setattr(edit_report, "bench_networks", lambda device: (networks[0], build_vgg(random_vgg(narrow=8))))
    monkeypatch.setattr(edit_report, "bundled_solved", lambda networks: {REFERENCE.name: own})
    monkeypatch.setattr(edit_report, "drawn_images", lambda: images)
    lines: list[str] = []
    plot, save = tmp_path / "plot.svg", tmp_path / "latents.npz"
    found = measure(EditBenchRequest(("steps=1",), batch_size=1, plot=plot, save=save), lines.append)
    rows = {row["recipe"]: row for row in json.loads(json.dumps(found))["rows"]}
    assert list(rows) == ["no edit", "own latents", "adam-5000", "steps=1"]
    assert rows["adam-5000"]["edits"] == rows["own latents"]["edits"] and rows["no edit"]["classes"] == {}
    assert rows["adam-5000"]["classes"]["face"]["loss_ratio"] == 1 and rows["adam-5000"]["evaluations"] == [5001, 5001]
    one = rows["steps=1"]
    assert one["evaluations"] == [2, 2] and one["classes"]["face"]["loss_ratio"] > 2
    assert one["classes"]["altered"]["loss_ratio"] is None and one["edits"]["expression"]["psnr"] < 25
    assert one["seconds"] > 0 and 0 < one["classes"]["face"]["distance"] < 1
    text = "\n".join(lines)
    assert "| steps=1 | 16 face | 2 (2) |" in text and "| no edit | – | 2" in text and "| 1 altered |" in text
    names = [recipe for recipe in rows if recipe not in ("no edit", "own latents")]
    assert all(f"{number}  {name}</text>" in plot.read_text() for number, name in enumerate(names, 1))
    kept = load_solved(save, [networks[0].fingerprint, build_vgg(random_vgg(narrow=8)).fingerprint])
    assert kept["steps=1"].latents.shape == (17, 10, 128)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (EditBenchRequest(("steps=1", "steps=1")), "two recipes have the same name"),
        (EditBenchRequest(plot=Path("plot.pdf")), r"must end in .png or .svg"),
        (EditBenchRequest(save=Path("/none/such/latents.npz")), "there is no folder '/none/such'"),
        (EditBenchRequest(runs=("somewhere",)), "are not NAME=OUT"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_computed(request_: EditBenchRequest, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure(request_, print)
