"""Names of edited images: what people know, safe everywhere, and never one name for two."""

from __future__ import annotations

import itertools
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2s_batch.editing.image_names import ImageNames
from i2s_batch.editing.recipes import ImageSequence, Recipe
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.readable_names import folded, readable_path


def render(image_id: str) -> ImageSequence:
    return ImageSequence((Recipe("render", (image_id,)),))


def morph(one: str, other: str, *strengths: float) -> ImageSequence:
    return ImageSequence(tuple(Recipe("morph", (one, other), strength) for strength in strengths))


def names_of(sequences: list[ImageSequence]) -> list[str]:
    names = ImageNames(lambda: sequences)
    return [names.of(sequence) for sequence in sequences]


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        (["people/astronaut.png"], "people/astronaut"),
        (["people/astronaut.png", "cats/chelsea.jpg"], "people/astronaut--chelsea"),
        (["a/b.c/x.tar.gz"], "a/b.c/x.tar"),
        (["clip.mp4/000123"], "clip_mp4/000123"),
        (["v1.5"], "v1.5"),
        (["photo.png#face1"], "photo.png_face1"),
        (["/etc/passwd"], "etc/passwd"),
        (["../../etc/passwd"], "etc/passwd"),
        (["./%ff/a.png"], "_ff/a"),
        (["s3://bucket/a.png"], "s3_/bucket/a"),
        (["C:\\Users\\me.png"], "C__Users_me"),
        (["con.png"], "_con"),
        (["aux/LPT1.x.png"], "_aux/_LPT1.x"),
        ([".hidden.png"], "_hidden"),
        (["a /b. .png"], "a/b"),
        (["a.png/b.jpeg"], "a_png/b"),
        (["a.webp.png"], "a_webp"),
        (["..."], "_"),
        (["猫/тест é.png"], "猫/тест é"),
    ],
)
def test_a_name_is_the_path_and_stem_that_people_know(ids: list[str], name: str) -> None:
    assert readable_path(ids) == name


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_every_name_is_safe(ids: list[str]) -> None:
    parts = readable_path(ids).split("/")
    assert all(part not in ("", ".", "..") and len(part.encode()) <= 190 for part in parts)
    assert RunLayout.is_picture(RunLayout.edited("/".join(parts), 7, "png"))
    for part in parts:
        assert not set(part) & set('<>:"\\|?*#%\0\n') and part == part.rstrip(". ") and not part.startswith((".", " "))
        assert part.split(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}


def test_long_ids_are_cut_between_characters() -> None:
    name = readable_path([f"{'é' * 300}/{'å' * 300}.png", f"{'b' * 300}.png"])
    assert all(len(part.encode()) <= 180 for part in name.split("/")) and "--b" in name
    assert len(readable_path(["/".join(["folder"] * 300) + "/a.png"]).encode()) <= 700


def test_only_names_that_collide_have_a_number() -> None:
    sequences = [render(name) for name in ("a.jpg", "a.png", "A.png", "b.png", "a-2.png", "c/a.png")]
    assert names_of(sequences) == ["a-3", "a-4", "A", "b", "a-2", "c/a"]
    accents = [render(unicodedata.normalize(form, "é.png")) for form in ("NFC", "NFD")]
    assert len({folded(name) for name in names_of(accents)}) == 2


def test_names_do_not_depend_on_the_order() -> None:
    sequences = [render(f"{folder}/{stem}.{end}") for folder in "aA" for stem in "xX" for end in ("png", "jpg")]
    named = {each.name: name for each, name in zip(sequences, names_of(sequences), strict=True)}
    assert len({folded(name) for name in named.values()}) == 8
    for seed in range(5):
        shuffled = random.Random(seed).sample(sequences, len(sequences))
        assert {each.name: name for each, name in zip(shuffled, names_of(shuffled), strict=True)} == named


def test_frames_of_a_sequence_never_lie_among_other_images() -> None:
    sequences = [morph("x.png", "x.jpg", 0.0, 1.0), render("x--x/00000.png"), morph("x--x.png", "x--x.png", 0.0, 1.0)]
    names = names_of(sequences)
    keys = [
        RunLayout.edited(name, None if len(each.recipes) == 1 else frame, "png")
        for each, name in zip(sequences, names, strict=True)
        for frame in range(len(each.recipes))
    ]
    assert len({folded(key) for key in keys}) == 5, keys
    for one, other in itertools.permutations(keys, 2):
        assert not one.startswith(f"{other}/")


def test_the_same_sequence_twice_has_one_name() -> None:
    assert names_of([render("a.png"), render("a.png")]) == ["a", "a"]
