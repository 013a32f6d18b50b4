"""The memory of a piece of work, against work whose memory is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEGABYTE = 1 << 20

# In a process of its own: what other tests have freed, and this one would take again, is not seen.
WORK = """
import torch
from i2s_batch.bench.peak import peak_memory

def work():
    first = torch.ones(40 << 20, dtype=torch.uint8)
    second = torch.ones(60 << 20, dtype=torch.uint8)
    del first
    torch.ones(10 << 20, dtype=torch.uint8)
    del second

# What the first time has freed does not hide what the second needs.
print(*(peak_memory(work, torch.device("cpu")) for _ in range(2)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its highest point")
def test_the_highest_point_counts_and_not_the_end() -> None:
    said = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True).stdout
    peaks = [int(word) for word in said.split()]
    assert len(peaks) == 2 and all(98 * MEGABYTE <= peak <= 110 * MEGABYTE for peak in peaks)
