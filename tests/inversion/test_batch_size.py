"""How many images are in a batch where the user says `auto`, on a CPU; `test_tuning` has a GPU's."""

from __future__ import annotations

from i2s_batch.inversion.batch_size import cpu_batch_size


def test_a_cpu_is_not_measured() -> None:
    assert [cpu_batch_size(resolution) for resolution in (64, 128, 256, 1024)] == [4, 4, 1, 1]
