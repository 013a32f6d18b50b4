from __future__ import annotations

from i2s_batch.storage.layout import RunLayout


def test_keys_and_back() -> None:
    layout = RunLayout
    assert layout.shard(3) == "latents/shard-00003.parquet"
    assert layout.row(250) == "work/rows/00000/00000250.arrow"
    assert layout.row(2500) == "work/rows/00002/00002500.arrow"
    assert layout.row(250).startswith(layout.all_rows_prefix)
    assert layout.checkpoint(7) == "work/checkpoints/00000007.npz"
    assert layout.checksum(3) == "manifest/checksums/shard-00003.json"
    assert layout.publishing(3).startswith(layout.publishing_prefix)
    for index in (0, 99, 100, 12_345_678, 123_456_789):
        assert RunLayout.row_index(layout.row(index)) == index
        assert RunLayout.checkpoint_index(layout.checkpoint(index)) == index
        assert RunLayout.shard_index(layout.shard(index)) == index
        assert RunLayout.publishing_index(layout.publishing(index)) == index
    for key in ("latents/other.parquet", "work/deaths.json", "work/rows/x", "latents/shard-1.parquet"):
        assert RunLayout.row_index(key) is None
        assert RunLayout.checkpoint_index(key) is None
        assert RunLayout.shard_index(key) is None
        assert RunLayout.publishing_index(key) is None
