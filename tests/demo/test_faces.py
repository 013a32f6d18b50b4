"""The renderer: the same picture every time, a moderate one for every number, a small change for a small change."""

from __future__ import annotations

import numpy as np
import pytest

from i2s_batch.demo.faces import CHUNK, NAMES, RANGES, physical, render


def normal(count: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal((count, len(NAMES)))


def test_there_are_24_parameters_and_the_pictures_have_the_stated_shape_and_type() -> None:
    assert len(NAMES) == 24
    for size in (16, 64, 97):
        faces = render(normal(3), size)
        assert faces.shape == (3, size, size, 3) and faces.dtype == np.uint8
    with pytest.raises(ValueError, match=r"\[3, 23\]; they must be \[N, 24\]"):
        render(normal(3)[:, :23])


def test_a_face_is_the_same_every_time_and_whatever_its_neighbours() -> None:
    coordinates = normal(CHUNK + 3)
    faces = render(coordinates)
    assert (render(coordinates) == faces).all()
    for i in (0, CHUNK - 1, CHUNK, CHUNK + 2):
        assert (render(coordinates[i : i + 1])[0] == faces[i]).all()


def test_parameters_stay_in_their_ranges_and_fill_them_evenly() -> None:
    face = physical(np.concatenate([normal(4000), np.full((1, 24), -30.0), np.full((1, 24), 30.0)]))
    for name, (low, high) in RANGES.items():
        values = (face[name].reshape(-1) - low) / (high - low)
        assert values.min() >= -1e-5 and values.max() <= 1 + 1e-5
        counts = np.histogram(values, 10, (-1e-5, 1 + 1e-5))[0]
        assert counts.min() > 300 and counts.max() < 500, name


def test_pictures_are_neither_flat_nor_burnt_out() -> None:
    faces = render(normal(64))
    assert (faces.std((1, 2)).mean(1) > 20).all()
    assert ((faces == 255) | (faces == 0)).mean() < 0.05


def test_every_parameter_shows_and_none_jumps() -> None:
    """A step of 0.01 in one coordinate moves no picture by more than 1.5 levels on average; a step of 2 is seen."""
    middle = normal(8, seed=1) * 0.5
    base = render(middle).astype(np.float64)
    for i, name in enumerate(NAMES):
        for step, least, most in ((0.01, 0.0, 1.5), (2.0, 0.1, 80.0)):
            moved = middle.copy()
            moved[:, i] += step
            change = np.abs(render(moved) - base).mean((1, 2, 3))
            assert least <= change.mean() and change.max() < most, (name, step, change)


def test_the_difference_quotient_settles() -> None:
    """Smooth, not only continuous: halving a step along a random line halves the change, to a third."""
    start, direction = normal(16, seed=2), normal(16, seed=3) / np.sqrt(len(NAMES))
    base = render(start, 128).astype(np.float64)
    whole, half = (np.abs(render(start + step * direction, 128) - base).mean() for step in (0.2, 0.1))
    assert whole / half == pytest.approx(2, rel=1 / 3)


def test_a_large_face_made_small_is_the_small_face() -> None:
    small, large = render(normal(8), 64).astype(np.float64), render(normal(8), 256)
    means = large.reshape(8, 64, 4, 64, 4, 3).mean((2, 4))
    assert np.sqrt(((means - small) ** 2).mean((1, 2, 3))).max() < 8  # levels
