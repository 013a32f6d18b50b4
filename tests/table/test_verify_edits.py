"""`verify` of what `edit` and `render` leave: the stored pictures against their rows, and against their codes."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2s_batch.api.verification import verify
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError
from i2s_batch.images.read.decoding import decode_image, encode_image
from i2s_batch.maintenance.verification.table_checks import Verification
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import open_store
from i2s_batch.table.shards import read_shard, read_table
from tests.material import scene
from tests.runs import embed, rewrite_shard


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> dict[str, Path]:
    """Six morphs of two pictures in each format, three rows a shard."""
    folder = tmp_path_factory.mktemp("edits")
    (folder / "in").mkdir()
    for number in range(2):
        scene(number, (40, 40)).save(folder / "in" / f"{number}.png")
    config = EmbedRunConfig(embed=EmbedConfig(steps=6))
    embed(EmbedRunRequest(str(folder / "in"), str(folder / "latents"), str(generator), str(vgg), config))
    request = Morph((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), "all-pairs")
    job = EditRunRequest((str(folder / "latents"),), "", str(generator), request, EditConfig(shard_size=3))
    for kind in ("png", "jpeg", "webp"):
        here = replace(job, out=str(folder / kind), config=replace(job.config, picture_format=kind))
        EditRun(here, generator_weights(generator), [].append).execute(InProcessCluster())
    return {kind: folder / kind for kind in ("png", "jpeg", "webp")}


@pytest.fixture
def out(made: dict[str, Path], tmp_path: Path) -> str:
    """A copy of the PNGs, to be spoilt. Its rows still name the pictures of the original."""
    shutil.copytree(made["png"], tmp_path / "out")
    return str(tmp_path / "out")


def told(found: Verification) -> list[tuple[str | None, str]]:
    assert all("\n" not in finding.what and len(finding.what) < 400 for finding in found.findings)
    return [(finding.row, finding.what) for finding in found.findings]


def ids(out: str) -> list[str]:
    return read_table(out, ["image_id"])["image_id"].to_pylist()


def picture(out: str, place: int) -> Path:
    return Path(out, read_table(out, ["image_id", "image_file"])["image_file"][place].as_py())


def change(out: str, place: int, **values: object) -> None:
    """Publish a shard with other values in one of its rows."""
    store = open_store(out)
    shard, row = divmod(place, 3)
    table = read_shard(store, RunLayout.shard(shard))
    rows = table.to_pylist()
    rows[row] |= values
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    rewrite_shard(store, shard, table.from_pylist(rows, table.schema), metadata)


@pytest.mark.parametrize(("kind", "within"), [("png", 0.5), ("jpeg", 1.5), ("webp", 2)])
def test_sound_edits(made: dict[str, Path], kind: str, within: float) -> None:
    found = verify(str(made[kind]), sample=4)
    assert told(found) == [] and found.sound and found.unchecked == []
    assert (found.planned, found.files, found.as_written, found.latents, found.rendered) == (6, 2, 2, 6, 4)
    assert found.within == f"{within} levels of 255"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_code_of_another_picture(made: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """The next frame's, a fifth of the way farther: everything else fits, its distance too."""
    out = str(tmp_path / "out")
    shutil.copytree(made[kind], out)
    other = read_table(out).to_pylist()[1]
    change(out, 0, latent=other["latent"], w_distance=other["w_distance"])
    ((row, what),) = told(verify(out))
    assert row == ids(out)[0] and f".{kind}' is " in what and " levels from what its latent gives; " in what


def test_a_vgg_has_no_part_in_an_edit(out: str) -> None:
    with pytest.raises(ConfigError, match="edits use no VGG-16; 'random' is given, leave it out"):
        verify(out, vgg="random")


def test_one_level_is_a_rounding_and_more_is_not(out: str) -> None:
    """Pictures that agree with their rows' sha256, and are not quite those of the codes."""
    path = picture(out, 0)
    pixels = decode_image(path.read_bytes()).astype(np.int16)
    near = pixels.copy()
    near[::5] += np.where(near[::5] < 128, 1, -1)  # a fifth of the values
    for shown, sound in ((near, True), (pixels + np.where(pixels < 128, 2, -2), False)):
        data = encode_image(shown.astype(np.uint8), "png")
        path.write_bytes(data)
        change(out, 0, sha256=sha256(data))
        assert verify(out).sound == sound


def test_pictures_that_are_spoilt_or_gone(out: str) -> None:
    """Four rows, four faults; none hides another."""
    first, second, third, fourth = ids(out)[:4]
    Image.new("RGB", (16, 16)).save(picture(out, 0))
    picture(out, 1).unlink()
    picture(out, 2).write_bytes(b"no picture")
    change(out, 2, sha256=sha256(b"no picture"))
    small = encode_image(np.zeros((8, 8, 3), np.uint8), "png")
    picture(out, 3).write_bytes(small)
    change(out, 3, sha256=sha256(small))
    findings = dict(told(verify(out)))
    assert set(findings) == {first, second, third, fourth}
    assert findings[first].startswith("its sha256 is ") and str(picture(out, 0)) in findings[first]
    assert findings[second] == f"its image {str(picture(out, 1))!r} is missing"
    assert "is damaged (the file is not an image but text" in findings[third]
    assert findings[fourth].startswith("its row gives 16 x 16, ")
    assert f"; {str(picture(out, 3))!r} is 8 x 8, {len(small)} bytes of PNG" in findings[fourth]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
