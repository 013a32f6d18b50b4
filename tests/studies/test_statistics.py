"""Means and ratios of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from i2s_batch.studies.statistics import paired_ratio, spread


def test_spread() -> None:
    found = spread([1.0, 2.0, 6.0])
    assert found is not None and (found.n, found.mean) == (3, 3.0)
    assert found.deviation == pytest.approx(math.sqrt(7))
    assert spread([4.0]).deviation is None and spread([]) is None


def test_a_constant_ratio_has_no_doubt() -> None:
    ratio = paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert (ratio.n, ratio.value, ratio.low, ratio.high) == (3, *[pytest.approx(2.0)] * 3)


def test_the_interval_by_hand() -> None:
    logs = np.array([0.1, 0.3, 0.8])
    half = 4.303 * logs.std(ddof=1) / math.sqrt(3)
    ratio = paired_ratio(np.exp(logs), np.ones(3))
    assert (ratio.low, ratio.high) == pytest.approx((math.exp(0.4 - half), math.exp(0.4 + half)))


@pytest.mark.parametrize("pictures", [2, 5, 25, 60])
def test_the_interval_holds_the_truth_in_95_of_100_studies(pictures: int) -> None:
    stream = np.random.default_rng(pictures)
    ratios = [paired_ratio(np.exp(logs), np.ones(pictures)) for logs in stream.normal(0.7, 0.5, (4000, pictures))]
    inside = np.mean([ratio.low <= math.exp(0.7) <= ratio.high for ratio in ratios])
    assert abs(inside - 0.95) < 0.011  # three standard errors


def test_pairs_that_say_nothing_are_left_out() -> None:
    ratio = paired_ratio([2.0, math.nan, math.inf, 0.0, 6.0], [1.0, 1.0, 1.0, 1.0, 3.0])
    assert (ratio.n, ratio.value) == (2, pytest.approx(2.0))
    assert paired_ratio([0.0], [1.0]) is None and paired_ratio([], []) is None
    one = paired_ratio([3.0], [1.5])
    assert (one.n, one.value, one.low, one.high) == (1, 2.0, None, None)
