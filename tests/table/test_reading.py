"""Reading a table: whole, in batches, as PyTorch datasets, as files for other programs, and by other libraries."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from i2s_batch import LatentDataset, LatentStream, iter_latents, read_latents
from i2s_batch.errors import ConfigError, I2SError, QueryError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.codec import encode_shard
from i2s_batch.storage import Store, open_store
from i2s_batch.table.export import export_latents
from i2s_batch.table.selection import chosen_ids
from tests.documents.pages import DOCS, blocks
from tests.program import i2s_batch, refusal
from tests.storage.test_table import META, W_DIM, L, latent, out, row, shard  # noqa: F401

GOOD = [n for n in range(300) if n % 3 != 2]
IDS = [f"{n:05d}.png" for n in GOOD]


def test_some_columns_and_rows(out: Store) -> None:  # noqa: F811
    table = read_latents(out.url, columns=["psnr", "label"], where="loss >= 1 AND image_id < '00100.png' -- so far")
    numbers = [n for n in GOOD if n / 7 >= 1 and n < 100]
    assert table.ids == [f"{n:05d}.png" for n in numbers]
    np.testing.assert_array_equal(table.latents, np.stack([latent(n) for n in numbers]))
    assert table.table.column_names == ["image_id", "latent", "psnr", "label"] and list(table.metrics) == ["psnr"]
    near = read_latents(out.url, [], "euclidean(latent, latent_of('00010.png')) < 1e-6")
    assert near.ids == ["00010.png"] and near.metrics == {}
    assert read_latents(out.url, where="false").latents.shape == (0, L, W_DIM)


def test_batches(out: Store) -> None:  # noqa: F811
    for size in (1, 7, 128, 200, 1000):
        tables = list(iter_latents(out.url, size, columns=["loss"]))
        assert [len(table.ids) for table in tables[:-1]] == [size] * (len(tables) - 1) and len(tables[-1].ids) <= size
        assert [image_id for table in tables for image_id in table.ids] == IDS
        np.testing.assert_array_equal(np.concatenate([t.latents for t in tables]), np.stack([latent(n) for n in GOOD]))
        np.testing.assert_array_equal(np.concatenate([t.metrics["loss"] for t in tables]), np.array(GOOD) / 7)
    assert [len(table.ids) for table in iter_latents(out.url, 5, where="loss > 42")] == [3]
    assert list(iter_latents(out.url, where="false")) == []


def test_what_cannot_be_read(out: Store) -> None:  # noqa: F811
    with pytest.raises(ConfigError, match=r"no column 'lozz'; it has image_id, uri, .*, label, age"):
        read_latents(out.url, columns=["lozz"])
    with pytest.raises(QueryError, match=r'"lozz" not found'):
        read_latents(out.url, where="lozz > 1")
    for hostile in ("true) UNION SELECT content FROM read_text('/etc/passwd') --", "1 IN (FROM '/etc/passwd')"):
        with pytest.raises(QueryError):
            read_latents(out.url, where=hostile)
    # Each is SQL between the parentheses of the query, where it chooses other rows than a condition could.
    for more in ("status = 'unreadable') OR (true", "loss > 0) LIMIT (2", "", "true; SELECT 1"):
        with pytest.raises(QueryError, match=r"give one condition|is not a condition in SQL"):
            read_latents(out.url, where=more)
        with pytest.raises(QueryError, match=r"give one condition|is not a condition in SQL"):
            chosen_ids(out.url, more)
    with pytest.raises(ConfigError, match=r"batch size is 0"):
        next(iter_latents(out.url, 0))
    with pytest.raises(ConfigError, match=r"column 'loss_curve' holds list"):
        LatentDataset(out.url, ["loss_curve"])
    with pytest.raises(StorageError, match=r"holds no output"):
        LatentStream(f"{out.url}-nowhere")


def test_a_row_without_its_code_is_named(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    store = open_store(str(tmp_path))
    table = pq.read_table(pa.BufferReader(shard(range(9))))
    codes = pa.array([None if n == 4 else latent(n).ravel() for n in range(9)], table.schema.field("latent").type)
    lost = table.set_column(table.schema.get_field_index("latent"), table.schema.field("latent"), codes)
    store.put(RunLayout.shard(0), encode_shard(lost, META))
    with pytest.raises(StorageError, match=r"shard-00000.parquet': '00004.png' has status 'ok' but no latent"):
        read_latents(str(tmp_path))


def test_by_index(out: Store) -> None:  # noqa: F811
    dataset = LatentDataset(out.url, columns=["loss", "lpips", "label"])
    assert len(dataset) == 200
    for index in (0, 1, 127, 133, 134, 199, -1):
        item = dataset[index]
        n = GOOD[index]
        assert (item["image_id"], item["loss"], item["label"]) == (f"{n:05d}.png", n / 7, "q") and np.isnan(
            item["lpips"]
        )
        assert item["latent"].dtype == torch.float32
        np.testing.assert_array_equal(item["latent"], latent(n))
    for outside in (200, -201):
        with pytest.raises(IndexError, match=r"out of range for 200 images"):
            dataset[outside]
    assert [item["image_id"] for item in dataset.__getitems__([5, 199, 5])] == [IDS[5], IDS[199], IDS[5]]
    assert pickle.loads(pickle.dumps(dataset))[3]["image_id"] == IDS[3]


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_each_row_once(out: Store, workers: int) -> None:  # noqa: F811
    shuffled = DataLoader(LatentDataset(out.url, ["loss"]), batch_size=32, shuffle=True, num_workers=workers)
    batches = list(shuffled)
    assert batches[0]["latent"].shape == (32, L, W_DIM) and batches[0]["loss"].dtype == torch.float64
    assert sorted(image_id for batch in batches for image_id in batch["image_id"]) == IDS
    seen: list[str] = []
    for rank in range(3):
        stream = LatentStream(out.url, where="loss > 1", rank=rank, world_size=3)
        mine = [i for batch in DataLoader(stream, batch_size=9, num_workers=workers) for i in batch["image_id"]]
        assert len(mine) == len(stream)
        seen += mine
    assert sorted(seen) == [f"{n:05d}.png" for n in GOOD if n > 7]


def test_parts_of_a_stream_are_even_and_in_order(out: Store) -> None:  # noqa: F811
    for world_size in (1, 7, 200, 333):
        ranks = [LatentStream(out.url, rank=rank, world_size=world_size) for rank in range(0, world_size, 50)]
        assert {len(stream) for stream in ranks} <= {200 // world_size, -(-200 // world_size)}
    one = [item["image_id"] for item in LatentStream(out.url)]
    assert one == IDS
    for arguments in ({"rank": 1}, {"world_size": 2}, {"rank": 2, "world_size": 2}, {"rank": -1, "world_size": 2}):
        with pytest.raises(ConfigError, match=r"rank"):
            LatentStream(out.url, **arguments)


def test_files_for_other_programs(out: Store, tmp_path: Path) -> None:  # noqa: F811
    codes = np.stack([latent(n) for n in GOOD])
    for name in ("a.npy", "a.npz", "a.pt"):
        assert export_latents(out.url, str(tmp_path / name)) == 200
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), codes)
    assert np.load(tmp_path / "a.npy", mmap_mode="r").flags["C_CONTIGUOUS"]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["w"], codes)
        assert file["image_id"].tolist() == IDS and np.isnan(file["lpips"]).all()
        np.testing.assert_array_equal(file["loss"], np.array(GOOD) / 7)
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    np.testing.assert_array_equal(content["w"], codes)
    assert content["image_id"] == IDS and content["loss"][1] == 1 / 7
    for name in ("b.npy", "b.npz", "b.pt"):
        for where, count in (("loss > 42", 3), ("false", 0)):
            assert export_latents(out.url, str(tmp_path / name), where) == count
    assert np.load(tmp_path / "b.npy").shape == (0, L, W_DIM)


def test_the_command(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    store.put(RunLayout.shard(0), shard(range(9)))
    result = i2s_batch("export", store.url, tmp_path / "a.npz", "--where", "loss > 1")
    assert (result.returncode, result.stdout) == (0, f"{tmp_path / 'a.npz'}: 0 latents\n"), result.stderr
    assert "Missing argument 'FILE'" in refusal(i2s_batch("export", store.url))
    for url, name, where, message in (
        (store.url, "a.h5", None, "FILE is 'a.h5'; give a path on this machine that ends in .npy, .npz or .pt"),
        (store.url, "s3://bucket/a.npy", None, "a path on this machine"),
        (store.url, str(tmp_path / "no" / "a.npy"), None, "create it first"),
        (store.url, str(tmp_path / "b.npz"), "lozz", '"lozz" not found'),
        (store.url, str(tmp_path / "b.npz"), "", "is not a condition in SQL"),
        (str(tmp_path / "nowhere"), str(tmp_path / "b.npz"), None, "holds no output"),
    ):
        with pytest.raises(I2SError) as refused:
            export_latents(url, name, where)
        assert message in str(refused.value) and "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "out"], "nothing half-written"


PAGE = DOCS / "guides/query.md"
SNIPPETS = {
    block.text.partition("\n")[0].split()[1]: block.text
    for block in blocks(PAGE)
    if block.language == "python" and block.text.startswith("# ")
}


@pytest.mark.parametrize("library", ["duckdb", "pandas", "polars", "datasets"])
def test_snippets_for_other_libraries(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    store = open_store(str(tmp_path / "latents"))
    store.put(RunLayout.shard(0), shard(range(9)))
    code = f"import warnings; warnings.simplefilter('ignore')\n{SNIPPETS[library]}\nprint(latents.shape, latents.dtype)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.stdout.splitlines()[-1:] == [f"(6, {L * W_DIM}) float32"], result.stderr


def test_there_is_a_snippet_of_each() -> None:
    assert sorted(SNIPPETS) == ["datasets", "duckdb", "pandas", "polars", "spark"]
