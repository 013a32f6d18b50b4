"""Moving, turning, scaling and damaging pictures."""

from __future__ import annotations

import numpy as np
import pytest

from i2s_batch.images.alterations import ALTERATIONS, DEFECTS, TRANSFORMS, alter, defect_mask

SIDE = 64
PICTURE = np.random.default_rng(1).integers(1, 256, (SIDE, SIDE, 3), np.uint8)


def altered(alteration: str, picture: np.ndarray = PICTURE) -> np.ndarray:
    return alter(picture, alteration, "a.png", 0)


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_every_alteration_keeps_shape_and_type_and_is_made_again(alteration: str) -> None:
    before = PICTURE.copy()
    found = altered(alteration)
    assert found.shape == PICTURE.shape and found.dtype == np.uint8 and not np.array_equal(found, PICTURE)
    np.testing.assert_array_equal(found, altered(alteration))
    np.testing.assert_array_equal(PICTURE, before)


def test_moved_by_the_papers_share_of_the_width() -> None:
    right, left = altered("right-140"), altered("left-160")
    np.testing.assert_array_equal(right[:, 9:], PICTURE[:, :-9])  # 140 / 1024 of 64 pixels
    assert not right[:, :9].any()
    np.testing.assert_array_equal(left[:, :-10], PICTURE[:, 10:])
    assert not left[:, -10:].any()


def test_turned() -> None:
    quarter = altered("rotate-90")
    np.testing.assert_array_equal(quarter[0], PICTURE[::-1, 0])  # clockwise: the left column becomes the top row
    np.testing.assert_array_equal(altered("rotate-90", quarter), altered("rotate-180"))
    np.testing.assert_array_equal(altered("rotate-180", altered("rotate-180")), PICTURE)


def test_zoomed() -> None:
    smooth = np.broadcast_to(np.linspace(0, 252, SIDE).astype(np.uint8)[None, :, None], (SIDE, SIDE, 3))
    out, into = altered("zoom-out-2x", smooth), altered("zoom-in-2x", smooth)
    assert not out[:16].any() and not out[:, :16].any() and not out[48:].any() and not out[:, 48:].any()
    np.testing.assert_allclose(out[32, 16:48, 0], smooth[0, ::2, 0], atol=4)
    np.testing.assert_allclose(
        into[32, :, 0], np.interp(np.arange(64) / 2 + 15.75, np.arange(64), smooth[0, :, 0]), atol=3
    )


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_changes_its_place_and_nothing_else(defect: str) -> None:
    mask = defect_mask(defect, SIDE, "a.png", 0)
    found = altered(defect)
    np.testing.assert_array_equal(found[~mask], PICTURE[~mask])
    assert (found[mask] != PICTURE[mask]).any(axis=1).mean() > 0.95
    others = [defect_mask(defect, SIDE, name, seed) for name, seed in (("b.png", 0), ("a.png", 1))]
    assert all((other != mask).any() for other in others), "its place follows from the picture and the seed"


def test_how_large_defects_are() -> None:
    sides = {"hole-8th": 8, "hole-4th": 16, "hole-half": 32, "blur-4th": 16, "noise-4th": 16}
    assert {d: np.sqrt(defect_mask(d, SIDE, "a.png", 0).sum()) for d in sides} == sides
    assert 0 < defect_mask("scribble", SIDE, "a.png", 0).mean() < 0.3
    assert not any(defect_mask(name, SIDE, "a.png", 0).any() for name in (*TRANSFORMS, ""))


def test_defects_of_one_size_lie_in_one_place() -> None:
    hole, blur, noise = (defect_mask(name, SIDE, "a.png", 0) for name in ("hole-4th", "blur-4th", "noise-4th"))
    np.testing.assert_array_equal(hole, blur)
    np.testing.assert_array_equal(hole, noise)
