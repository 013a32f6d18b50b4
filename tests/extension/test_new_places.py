"""A store and a kind of SOURCE of another program, each in one file, added and removed."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis.stateful import run_state_machine_as_test

from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import RunConflictError, SourceError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.sources.registered import SOURCES
from i2s_batch.sources.source import list_images
from i2s_batch.storage import Store, open_store
from i2s_batch.storage.schemes import SCHEMES
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.extension.drawn_source import DRAWN
from tests.extension.memory_store import MEMORY
from tests.material import scene
from tests.runs import embed
from tests.storage.store_contract import StoreContract

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=2), shard_size=2)


class MemoryContract(StoreContract):
    def new_store(self) -> Store:
        return open_store(f"memory://{uuid.uuid4().hex}/run/")


def test_a_store_from_outside_keeps_the_contract() -> None:
    with SCHEMES.added(MEMORY):
        run_state_machine_as_test(MemoryContract)


def test_a_run_reads_and_writes_a_store_from_outside(tmp_path: Path, generator: Path, vgg: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    with SCHEMES.added(MEMORY):
        for number in range(3):
            scene(number, (40, 40)).save(tmp_path / "image.png")
            open_store(f"{root}/in").put(f"faces/{number}.png", (tmp_path / "image.png").read_bytes())
        request = EmbedRunRequest(f"{root}/in", f"{root}/out", str(generator), str(vgg), CONFIG)
        embed(request)
        table = read_table(f"{root}/out")
        assert table["image_id"].to_pylist() == [f"faces/{number}.png" for number in range(3)]
        assert table["uri"].to_pylist() == [f"{root}/in/faces/{number}.png" for number in range(3)]
        assert read_latents(f"{root}/out").ids == table["image_id"].to_pylist()
        found = verify(f"{root}/out", generator=str(generator), vgg=str(vgg))
        assert found.sound and found.rendered == 3
        assert open_store(f"{root}/out").get(RunLayout.run_json)
        with pytest.raises(SourceError, match="lies in OUT"):
            list_images(f"{root}/in/faces", exclude=f"{root}/in")
        with pytest.raises(RunConflictError, match="lies where the run at"):
            embed(EmbedRunRequest(f"{root}/in", f"{root}/out/latents/more", str(generator), str(vgg), CONFIG))
    with pytest.raises(StorageError, match="cannot be opened; give a local path or a url such as s3://bucket/prefix"):
        open_store(f"{root}/out")


def test_a_kind_of_source_from_outside(tmp_path: Path, generator: Path, vgg: Path) -> None:
    (tmp_path / "drawn").mkdir()
    source, out = f"drawn:{tmp_path / 'drawn'}:3", str(tmp_path / "out")
    with pytest.raises(SourceError, match="does not exist"):
        list_images(source)
    with SOURCES.added(DRAWN, before="files"):  # the kind that takes every path
        embed(EmbedRunRequest(source, out, str(generator), str(vgg), CONFIG))
    assert read_table(out)["image_id"].to_pylist() == ["00.ppm", "01.ppm", "02.ppm"]
    assert SOURCES.names == ("list", "prefix", "files")
