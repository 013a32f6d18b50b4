"""The nearest codes: those that a plain computation of all distances in float64 gives, whatever the rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.codec import encode_shard, table_schema
from i2s_batch.storage import Store, open_store
from i2s_batch.table.neighbours import find_neighbours, layer_range
from tests.material import scene
from tests.program import here, i2s_batch, refusal
from tests.runs import embed
from tests.storage.test_table import META, W_DIM, L, latent, out, shard  # noqa: F401

GOOD = [n for n in range(300) if n % 3 != 2]


def expected(query: int, k: int, layers: range, metric: str) -> list[tuple[str, float]]:
    q = latent(query)[layers.start : layers.stop].astype(np.float64).ravel()
    found = []
    for n in GOOD:
        x = latent(n)[layers.start : layers.stop].astype(np.float64).ravel()
        far = np.linalg.norm(x - q) if metric == "euclidean" else 1 - x @ q / np.linalg.norm(x) / np.linalg.norm(q)
        found.append((far, f"{n:05d}.png"))
    return [(name, far) for far, name in sorted(found) if name != f"{query:05d}.png"][:k]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("layers", ["all", "coarse", "0-1", "3"])
def test_the_nearest(out: Store, metric: str, layers: str) -> None:  # noqa: F811
    chosen = layer_range(layers, L)
    for query, k in ((0, 10), (298, 1), (100, 1000)):
        found = find_neighbours(out.url, f"{query:05d}.png", k, layers, metric)
        reference = expected(query, k, chosen, metric)
        assert [n.image_id for n in found.neighbours] == [name for name, _ in reference]
        np.testing.assert_allclose([n.distance for n in found.neighbours], [d for _, d in reference], rtol=1e-12)
        assert (found.rows, found.latent_bytes, found.layers) == (200, 200 * L * W_DIM * 4, chosen)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_differences_below_the_rounding_of_the_product(tmp_path: Path, metric: str) -> None:
    """Codes far from 0 and close together: in float32 the products say nothing, the differences everything."""
    stream = np.random.default_rng(0)
    base = stream.normal(1000, 1, L * W_DIM)
    codes = (base + stream.normal(0, 1e-3, (400, L * W_DIM))).astype(np.float32)
    codes[7] = codes[3]  # equal codes
    codes[9] = 0
    schema = table_schema(L * W_DIM)
    columns = {field.name: pa.nulls(400, field.type) for field in schema}
    columns |= {"image_id": pa.array([f"{n:03d}" for n in range(400)]), "status": pa.array(["ok"] * 400)}
    columns["latent"] = pa.FixedSizeListArray.from_arrays(codes.ravel(), type=schema.field("latent").type)
    open_store(str(tmp_path)).put(RunLayout.shard(0), encode_shard(pa.table(columns, schema), META))
    wide, q = codes.astype(np.float64), codes[3].astype(np.float64)
    if metric == "euclidean":
        distances = np.linalg.norm(wide - q, axis=1)
    else:
        lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(q)
        distances = 1 - np.divide(wide @ q, lengths, out=np.zeros(400), where=lengths > 0)
    found = find_neighbours(str(tmp_path), "003", 20, metric=metric)
    names = [n.image_id for n in found.neighbours]
    assert names[0] == "007" if metric == "euclidean" else "007" in names
    assert found.neighbours[0].distance == pytest.approx(0, abs=1e-15)
    reference = np.delete(np.sort(distances), 0)[:20]
    np.testing.assert_allclose([n.distance for n in found.neighbours], reference, rtol=1e-9, atol=1e-15)
    assert find_neighbours(str(tmp_path), "003", 399, metric=metric).neighbours[-1].image_id == "009"


def test_names_of_layers() -> None:
    assert [layer_range(name, 18) for name in ("all", "coarse", "middle", "fine", "2-5", "17")] == [
        *(range(18), range(4), range(4, 8), range(8, 18), range(2, 6), range(17, 18)),
    ]
    for name, message in (("5-2", "5 to 2"), ("18", "18 to 18"), ("0-18", "0 to 18"), ("x", "'x'"), ("-1", "'-1'")):
        with pytest.raises(ConfigError, match=message):
            layer_range(name, 18)
    with pytest.raises(ConfigError, match=r"'fine' are 8 to 5; the latents here have the layers 0 to 5"):
        layer_range("fine", 6)


def test_what_cannot_be_found(out: Store) -> None:  # noqa: F811
    with pytest.raises(StorageError, match=r"'x.png' is not in "):
        find_neighbours(out.url, "x.png")
    with pytest.raises(StorageError, match=r"'00002.png' has no latent, its status is 'unreadable'"):
        find_neighbours(out.url, "00002.png")
    with pytest.raises(ConfigError, match=r"metric is 'l1'"):
        find_neighbours(out.url, "00000.png", metric="l1")
    with pytest.raises(ConfigError, match=r"the latent has the shape \[4, 8\]; those here have \[32\]"):
        find_neighbours(out.url, latent(0))
    with pytest.raises(ConfigError, match=r"k is 0"):
        find_neighbours(out.url, "00000.png", 0)
    whole = out.get(RunLayout.shard(1))
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    out.put(RunLayout.shard(1), bytes(flipped))
    with pytest.raises(StorageError, match=r"shard-00001.parquet' is damaged"):
        find_neighbours(out.url, "00000.png")


@pytest.mark.slow
def test_the_command_and_its_sheet(tmp_path: Path, generator: Path, vgg: Path) -> None:
    pictures = tmp_path / "in"
    pictures.mkdir()
    for number in range(4):
        scene(number, (40, 40)).save(pictures / f"{number}.png")
    config = EmbedRunConfig(embed=EmbedConfig(steps=3))
    job = EmbedRunRequest(str(pictures), str(tmp_path / "out"), str(generator), str(vgg), config)
    embed(job)
    sheet = tmp_path / "near.png"
    result = i2s_batch("neighbours", tmp_path / "out", "1.png", "-k", "2", "--sheet", sheet)
    assert result.returncode == 0, result.stderr
    header, _, first, second = result.stdout.splitlines()
    assert header.split() == ["rank", "distance", "image_id"] and first.split()[0] == "1"
    assert float(first.split()[1]) <= float(second.split()[1]) and "1.png" not in result.stdout
    assert result.stderr.startswith("4 latents, layers 0 to 5, in ") and result.stderr.endswith("near.png: written\n")
    with Image.open(sheet) as image:
        assert image.size[0] > 3 * 2 * 128
    for arguments, message in (
        (["1.png", "--layers", "fine"], "the latents here have the layers 0 to 5"),
        (["1.png", "-k", "0"], "0 is not in the range"),
        (["1.png", "--metric", "l1"], "'l1' is not one of"),
        (["1.png", "--sheet", "a.jpg"], "ends in .png"),
        (["1.png", "--sheet", tmp_path / "no" / "a.png"], "create it first"),
        (["1.png", "--generator", generator], "--generator is for --sheet and --image"),
        (["1.png", "--steps", "3"], "--vgg, --steps and --learned are for --image"),
        (["1.png", "--image", pictures / "1.png"], "give either IMAGE_ID, an image of OUT, or --image FILE"),
        (["9.png"], "'9.png' is not in "),
    ):
        assert message in here("neighbours", tmp_path / "out", *arguments).stderr
    assert "give either IMAGE_ID, an image of OUT, or --image FILE" in refusal(here("neighbours", tmp_path / "out"))
