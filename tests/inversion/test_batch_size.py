"""How the batch size is chosen where the user says `auto`. The machine's times are scripted, but for one test."""

from __future__ import annotations

import pytest
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.batch_size import cpu_batch_size, fastest_batch_size, step_seconds
from tests.inversion.linear import LinearGenerator, features


@pytest.mark.parametrize(
    ("times", "limit", "chosen", "tried"),
    [
        ([1.0, 0.6, 0.5, 0.45, 0.44, 0.4], 100, 8, 5),  # 16 gain too little: 32 are not tried
        ([1.0, 1.1], 100, 1, 2),
        ([1.0, 0.5, 0.3, 0.2, 0.1, 0.05], 100, 32, 6),
        ([1.0, 0.5, 0.3, 0.2], 7, 4, 3),  # of seven images eight cannot be side by side
        ([1.0, 0.5], 100, 2, 3),  # more do not fit
        ([], 100, 1, 1),  # not even one: its own step will say so
    ],
)
def test_the_batch_is_doubled_while_that_pays_and_fits(times: list[float], limit: int, chosen: int, tried: int) -> None:
    sizes: list[int] = []

    def seconds(size: int) -> float:
        sizes.append(size)
        if len(sizes) > len(times):
            raise torch.OutOfMemoryError("scripted")
        return times[len(sizes) - 1]

    assert fastest_batch_size(seconds, limit) == chosen
    assert sizes == [1, 2, 4, 8, 16, 32][:tried]


def test_a_cpu_is_not_measured() -> None:
    assert [cpu_batch_size(resolution) for resolution in (64, 128, 256, 1024)] == [4, 4, 1, 1]


def test_a_size_is_timed_and_the_time_is_of_one_image() -> None:
    assert step_seconds(LinearGenerator(), features, EmbedConfig(steps=1), 4) > 0
