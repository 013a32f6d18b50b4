"""The memory of a piece of work, against work whose memory is known."""

from __future__ import annotations

import sys

import pytest
import torch

from i2s_batch.bench.peak import peak_memory

MEGABYTE = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its highest point")
def test_the_highest_point_counts_and_not_the_end() -> None:
    def work() -> None:
        first = torch.ones(40 * MEGABYTE, dtype=torch.uint8)
        second = torch.ones(60 * MEGABYTE, dtype=torch.uint8)
        del first
        torch.ones(10 * MEGABYTE, dtype=torch.uint8)
        del second

    for _ in range(2):  # what the first time has freed does not hide what the second needs
        peak = peak_memory(work, torch.device("cpu"))
        assert peak is not None and 98 * MEGABYTE <= peak <= 110 * MEGABYTE
