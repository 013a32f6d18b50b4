"""Every kind of SOURCE gives equal rows for equal pixels."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.editing.originals import Originals
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.sources.options import AS_USUAL, SourceOptions
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import embed

NAMES = ("0.png", "1.jpg", "2.webp")
SAME = ("sha256", "bytes", "format", "mode", "width", "height", "crop_box", "status", "steps")
ALIKE = ("latent", "loss", "psnr")  # but for the rounding of another batch: images are loaded as they come


def _sources(top: Path) -> dict[str, str]:
    """One SOURCE of each kind, all over the same files; what follows the last '/' of an id begins with a number."""
    folder = top / "files"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        scene(number, (40, 32)).save(folder / name)
    data = [(folder / name).read_bytes() for name in NAMES]
    subprocess.run(["tar", "cf", top / "one.tar", "-C", folder, "."], check=True)
    (top / "shards").mkdir()
    for number, name in enumerate(NAMES):
        subprocess.run(["tar", "cf", top / f"shards/s-{number}.tar", "-C", folder, name], check=True)
    subprocess.run(["zip", "-q", top / "one.zip", *NAMES], cwd=folder, check=True)
    structs = [{"bytes": each, "path": name} for each, name in zip(data, NAMES, strict=True)]
    pq.write_table(pa.table({"image": structs, "n": [0, 1, 2]}), top / "hf.parquet")
    saved = pa.table({"image": structs, "n": [0, 1, 2]})
    with pa.ipc.new_stream(top / "hf.arrow", saved.schema) as stream:
        stream.write_table(saved, max_chunksize=2)
    (top / "i2d/00000").mkdir(parents=True)
    for name, content in zip(NAMES, data, strict=True):
        (top / "i2d/00000" / name).write_bytes(content)
        (top / "i2d/00000" / f"{name[0]}.txt").write_text(f"a caption of {name}")
    (top / "i2d/00000_stats.json").write_text("{}")
    pq.write_table(pa.table({"key": ["0", "1", "2"], "jpg": data}), top / "i2d.parquet")
    (top / "list.txt").write_text("".join(f"files/{name}\n" for name in NAMES))
    pq.write_table(pa.table({"path": [f"files/{name}" for name in NAMES]}), top / "list.parquet")
    kinds = ("files", "one.tar", "shards", "shards/s-{0..2}.tar", "one.zip", "hf.parquet", "i2d.parquet", "list.txt")
    return {kind: str(top / kind) for kind in (*kinds, "hf.arrow", "i2d", "list.parquet", "files/*.{png,jpg,webp}")}


def test_every_kind_of_source_gives_the_same_rows(tmp_path: Path, generator: Path, vgg: Path) -> None:
    config = EmbedRunConfig(embed=EmbedConfig(steps=2), precision="fp64")
    found = {}
    for number, (kind, source) in enumerate(_sources(tmp_path).items()):
        out = str(tmp_path / f"out{number}")
        options = SourceOptions(image_column="jpg") if kind == "i2d.parquet" else AS_USUAL
        job = EmbedRunRequest(source, out, str(generator), str(vgg), config, source_options=options)
        assert embed(job).summary.statuses == {"ok": 3}, kind
        rows = read_table(out).to_pylist()
        found[kind] = sorted(rows, key=lambda row: str(row["sha256"]))
        originals = Originals([out])
        for row in rows:
            original = originals.find(row["image_id"])
            assert original is not None and original.read(16) is not None, (kind, row["image_id"])
        again = embed(job)
        assert again.summary.images == 3
    for kind, rows in found.items():
        for row, expected in zip(rows, found["files"], strict=True):
            assert [row[name] for name in SAME] == [expected[name] for name in SAME], kind
            for name in ALIKE:
                np.testing.assert_allclose(row[name], expected[name], rtol=1e-6, err_msg=kind)
