"""Names in any script on sheets and figures: legible, or escaped, never boxes."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from i2s_batch.editing.strips import Strip, strip_sheet
from i2s_batch.images.draw.contact_sheet import SheetCell, contact_sheet
from i2s_batch.images.draw.glyphs import glyph
from i2s_batch.images.draw.image_grid import image_grid
from i2s_batch.images.draw.text import LINE_HEIGHT, draw_text, fitted, text_width
from i2s_batch.images.draw.writing import in_visual_order
from i2s_batch.studies.figures import LIGHT, drawn_grid

PAIRS = ["写真", "éè", "йи", "שם", "صض", "กข", "한국", "😀🎉", "\x01\x02", "\U00020000\U00020001"]
GREY = np.full((32, 32, 3), 128, np.uint8)


def drawn(text: str) -> np.ndarray:
    """A line of text in black on white."""
    image = Image.new("L", (text_width(text), LINE_HEIGHT), 255)
    draw_text(ImageDraw.Draw(image), (0, 0), text, "#000000")
    return np.asarray(image) < 128


SHEETS: dict[str, Callable[[str], bytes]] = {
    "a cell's name": lambda name: contact_sheet([SheetCell(GREY, GREY, name, "")], ""),
    "a cell's note": lambda name: contact_sheet([SheetCell(GREY, GREY, "", name)], ""),
    "a sheet's title": lambda name: contact_sheet([SheetCell(GREY, GREY, "", "")], name),
    "a caption": lambda name: image_grid([(name, GREY)], ""),
    "a grid's title": lambda name: image_grid([("", GREY)], name),
    "an edit": lambda name: strip_sheet([Strip(name, name, [GREY], [GREY])]),
    "a study's label": lambda name: drawn_grid([("input", [GREY])], [name], 1, LIGHT).tobytes(),
    "a study's head": lambda name: drawn_grid([(name, [GREY])], ["a"], 1, LIGHT).tobytes(),
}


@pytest.mark.parametrize("sheet", SHEETS)
@pytest.mark.parametrize(
    ("one", "other"), ["写真", "éè", "йи", "שם", "صض", "กข", "한국", "😀🎉", "\x01\x02", "\U00020000\U00020001"]
)
def test_different_names_look_different_on_every_sheet(sheet: str, one: str, other: str) -> None:
    """Two boxes would look the same."""
    assert SHEETS[sheet](one) != SHEETS[sheet](other) != SHEETS[sheet]("")


def test_a_character_is_drawn_as_the_font_has_it() -> None:
    bitmap = glyph("写")
    assert bitmap is not None and bitmap.shape == (16, 16)
    np.testing.assert_array_equal(drawn("写")[1:17], bitmap)
    np.testing.assert_array_equal(drawn("e\u0301"), drawn("é"))


def test_every_assigned_character_of_plane_0_has_a_shape() -> None:
    missing = []
    for code in range(0x20, 0x10000):
        character = chr(code)
        nature = unicodedata.category(character)
        if nature not in ("Cn", "Co", "Cs", "Cc", "Cf", "Zl", "Zp") and glyph(character) is None:
            missing.append(character)
    assert "\ufffc" in missing and len(missing) < 100, "it stands for no character; others are newer than the font"


@given(st.text(st.characters(exclude_categories=()), max_size=8))
def test_whatever_a_name_holds_can_be_drawn(text: str) -> None:
    assert drawn(text).shape[0] == LINE_HEIGHT
    assert text_width(fitted(text, 40)) <= 40 or len(fitted(text, 40)) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\U00020000", r"\U00020000"),
        ("a\nb", r"a\x0ab"),
        ("\udcff", r"\udcff"),
        ("\x9f", r"\x9f"),
        ("\ue000", r"\ue000"),
    ],
)
def test_what_has_no_shape_is_escaped(text: str, shown: str) -> None:
    np.testing.assert_array_equal(drawn(text), drawn(shown))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abc 12", "abc 12"),
        ("אבג 12.png", "גבא 12.png"),
        ("a אב גד b", "a דג בא b"),
        ("אב 12 גד", "דג 12 בא"),
        ("אב (גד)", "(דג) בא"),
        ("سلام", "\ufee1\ufe8e\ufee0\ufeb3"),  # final meem isolated after alef: seen initial, lam medial, alef final
        ("دار", "\ufead\ufe8d\ufea9"),  # letters that do not join the next
    ],
)
def test_scripts_from_right_to_left_stand_as_they_are_read(text: str, shown: str) -> None:
    assert in_visual_order(text) == shown


def test_what_is_too_long_ends_with_an_ellipsis() -> None:
    for name in ("a very long name of an image.png", "写真" * 20):
        short = fitted(name, 100)
        assert short.endswith("…") and name.startswith(short[:-1]) and 70 < text_width(short) <= 100
    assert fitted("short", 100) == "short"


def test_the_font_is_small_and_comes_with_its_licence() -> None:
    folder = files("i2s_batch.images.draw") / "font"
    assert len((folder / "unifont.hex.xz").read_bytes()) < 1_000_000
    licence = (folder / "LICENSE.txt").read_text()
    assert "SIL OPEN FONT LICENSE" in licence and "Copyright 1998-2022 Roman Czyborra" in licence


def test_ascii_needs_no_font_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2s_batch.images.draw.text.glyph", lambda character: pytest.fail("the font was read"))
    assert drawn("plain.png").any()
    assert contact_sheet([SheetCell(GREY, None, "plain.png", "20 dB")], "title").startswith(b"\x89PNG")


def test_every_file_of_the_package_is_in_its_wheel() -> None:
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["i2s_batch"]
    packed = {path for pattern in patterns for path in (root / "i2s_batch").glob(pattern)}
    others = {path for path in (root / "i2s_batch").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert others == packed
