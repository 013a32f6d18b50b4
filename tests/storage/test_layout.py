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


def test_only_keys_that_are_spelt_as_a_run_spells_them_are_its_own() -> None:
    work = [RunLayout.row(2500), RunLayout.checkpoint(7), RunLayout.publishing(3), RunLayout.lease, RunLayout.deaths]
    work.append(f"work/probe-{'0a' * 16}")
    assert all(map(RunLayout.is_work, work))
    for key in (
        *("work/thesis.tex", "work/", "work", "", "work/rows/00002/", "work/rows/00002/2500.arrow", "lease.json"),
        *("work/rows/00001/00002500.arrow", "work/rows/00000/0000000001.arrow", "work/checkpoints/٠٠٠٠٠٠٠٧.npz"),
        *("work/probe-1", "mine/work/lease.json", "work/lease.json.bak", "work/rows/00002/00002500.arrow\n"),
        *(f"work/probe-{'0A' * 16}", "work/publishing/shard-0.json", "latents/shard-00000.parquet"),
    ):
        assert not RunLayout.is_work(key), key


def test_what_a_run_keeps_to_itself() -> None:
    for key in (
        "run.json",
        "report.html",
        "study.md",
        "latents/x",
        "work/x",
        "pictures/a/b.png",
        "manifest",
        "inputs/x",
    ):
        assert RunLayout.names(key), key
    for key in ("notes.txt", "morphs/run.json", "latents.csv", "", "run.json.bak"):
        assert not RunLayout.names(key), key
    assert all(map(RunLayout.is_folder, ("", "work", "work/rows/00000", "pictures/a/b", "figures")))
    assert not any(map(RunLayout.is_folder, ("mine", "mine/work", "working")))
