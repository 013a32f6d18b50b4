"""The formulas of the edits, for numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from i2s_batch.editing import add_direction, crossover, expression_direction, morph
from i2s_batch.errors import ConfigError

STREAM = np.random.default_rng(0)
A, B = STREAM.normal(size=(2, 3, 18, 512)).astype(np.float32)


@pytest.fixture(params=["numpy", "torch"])
def kind(request: pytest.FixtureRequest):
    return np.asarray if request.param == "numpy" else torch.as_tensor


def same(made, wanted: np.ndarray, kind) -> None:
    assert type(made) is type(kind(wanted)) and made.dtype == kind(wanted).dtype
    np.testing.assert_allclose(np.asarray(made), wanted, rtol=1e-6, atol=1e-6)


def test_morph(kind) -> None:
    same(morph(kind(A), kind(B), 1.0), A, kind)
    same(morph(kind(A), kind(B), 0.0), B, kind)
    same(morph(kind(A), kind(B), 0.25), 0.25 * A + 0.75 * B, kind)
    own = np.float32([0, 0.5, 1]).reshape(3, 1, 1)
    same(morph(kind(A), kind(B), kind(own)), own * A + (1 - own) * B, kind)


@pytest.mark.parametrize("layers", [1, 9, 10, 14, 18])
def test_crossover_keeps_half_by_default(kind, layers: int) -> None:
    content, style = A[:, :layers], B[:, :layers]
    half = layers // 2
    same(crossover(kind(content), kind(style)), np.concatenate([content[:, :half], style[:, half:]], 1), kind)


def test_crossover_by_split_and_by_layers(kind) -> None:
    same(crossover(kind(A), kind(B), 0), B, kind)
    same(crossover(kind(A), kind(B), 18), A, kind)
    mixed = A.copy()
    mixed[:, [0, 17]] = B[:, [0, 17]]
    before = A.copy()
    same(crossover(kind(A), kind(B), layers=[17, 0, 17]), mixed, kind)
    np.testing.assert_array_equal(A, before)
    one_style = crossover(kind(A), kind(B[0]), 9)
    same(one_style, np.concatenate([A[:, :9], np.broadcast_to(B[0, 9:], (3, 9, 512))], 1), kind)


def test_expression(kind) -> None:
    neutral, difference = A, np.zeros_like(A)
    difference[:, 4, :2] = 3, 4  # norm 5
    difference[:, 7, 0] = 0.99  # below the threshold
    expressive = neutral + difference
    kept = difference.copy()
    kept[:, 7] = 0
    plain = expression_direction(kind(neutral), kind(expressive), normalise=False)
    same(plain, kept, kind)
    unit = expression_direction(kind(neutral), kind(expressive))
    same(unit, kept / 5, kind)
    same(expression_direction(kind(neutral), kind(expressive), threshold=0.5, normalise=False), difference, kind)
    same(add_direction(kind(B), unit, 2.5), B + kept / 2, kind)
    same(expression_direction(kind(neutral), kind(neutral)), np.zeros_like(A), kind)
    whole = ((np.asarray(unit) ** 2).sum((1, 2))) ** 0.5
    np.testing.assert_allclose(whole, 1, rtol=1e-6)


def test_what_does_not_fit_is_refused(kind) -> None:
    for edit in (crossover, expression_direction, lambda a, b: morph(a, b, 0.5), lambda a, b: add_direction(a, b, 1)):
        with pytest.raises(ConfigError, match=r"\[3, 18, 512\] and \[3, 14, 512\]"):
            edit(kind(A), kind(A[:, :14]))
    with pytest.raises(ConfigError, match=r"layer 18 .* 0 to 17"):
        crossover(kind(A), kind(B), layers=[18])
    with pytest.raises(ConfigError, match="between 0 and 18"):
        crossover(kind(A), kind(B), 19)
    with pytest.raises(ConfigError, match="not both"):
        crossover(kind(A), kind(B), 9, [1])
