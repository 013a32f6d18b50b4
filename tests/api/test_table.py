"""open_table(): a table that reads what it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from i2s_batch import ConfigError, EmbedResult, I2SError, open_table, read_latents
from i2s_batch.errors import LatentError, QueryError, StorageError, UnknownImageError
from i2s_batch.table import lazy_table
from i2s_batch.table.lazy_table import OpenTable
from tests.api.conftest import Material
from tests.material import scene


@pytest.fixture(scope="module")
def table(material: Material, tmp_path_factory: pytest.TempPathFactory) -> OpenTable:
    """A table of three images in two files, of which one is no image."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "in").mkdir()
    for number, name in enumerate("ac"):
        scene(number, (24, 24)).save(folder / "in" / f"{name}.png")
    (folder / "in" / "b.png").write_text("no image")
    mine = Material(folder / "in", material.generator, material.vgg)
    mine.embed(folder / "out", shard_size=2, max_failed_fraction=0.5)
    return open_table(folder / "out")


def test_it_counts_names_and_describes(table: OpenTable) -> None:
    assert len(table) == 3 and list(table) == table.ids == ["a.png", "b.png", "c.png"]
    assert "a.png" in table and "d.png" not in table and 3 not in table
    assert {"image_id", "latent", "psnr", "loss_curve"} <= set(table.columns) and table.latent_shape == (6, 16)
    assert repr(table) == f"OpenTable({table.out!r}, 3 rows, latents 6 x 16)" and os.fspath(table) == table.out
    page = table._repr_html_()
    assert "<td>a.png</td>" in page and "<td>unreadable</td>" in page


def test_rows_by_id(table: OpenTable) -> None:
    row = table["c.png"]
    assert (row.image_id, row.status, row.latent.shape) == ("c.png", "ok", (96,))
    assert [row.image_id for row in table.rows(["c.png", "a.png"])] == ["c.png", "a.png"]
    with pytest.raises(KeyError) as missing:
        table["d.png"]
    assert isinstance(missing.value, UnknownImageError) and isinstance(missing.value, I2SError)
    assert str(missing.value) == f"'d.png' is not in {table.out}; did you mean 'c.png' or 'b.png' or 'a.png'?"
    with pytest.raises(ConfigError, match=r"a row is asked for by 0; give the id of an image, such as 'a.png'"):
        table[0]
    with pytest.raises(ConfigError, match=r"ids is 'a.png' \(str\); it must be a sequence of texts"):
        table.rows("a.png")


def test_latents_are_those_of_the_table(table: OpenTable) -> None:
    whole = read_latents(table.out)
    np.testing.assert_array_equal(table.latents(), whole.latents)
    chosen = table.latents(["c.png", "a.png", "c.png"])
    assert chosen.dtype == np.float32
    np.testing.assert_array_equal(chosen, whole.latents[[1, 0, 1]])
    with pytest.raises(LatentError, match=r"'b.png' has no latent: its status is unreadable"):
        table.latents(["a.png", "b.png"])


def test_batches_queries_and_frames(table: OpenTable) -> None:
    assert [batch.ids for batch in table.batches(1)] == [["a.png"], ["c.png"]]
    assert [batch.ids for batch in table.batches(where="image_id > 'b'")] == [["c.png"]]
    found = table.query("SELECT status, count(*) AS n FROM latents GROUP BY status ORDER BY status")
    assert isinstance(found, pa.Table) and found.to_pylist() == [
        {"status": "ok", "n": 2},
        {"status": "unreadable", "n": 1},
    ]
    assert table.query("SELECT image_id FROM latents WHERE false").num_rows == 0
    with pytest.raises(QueryError, match="only reads them"):
        table.query("DROP TABLE latents")
    frame = table.to_pandas(["status", "image_id"])
    assert list(frame.columns) == ["status", "image_id"] and frame["status"].tolist() == ["ok", "unreadable", "ok"]
    assert "latent" not in table.to_pandas() and len(table.to_pandas()) == 3
    with pytest.raises(ConfigError, match="the table has no column 'nothing'; it has image_id"):
        table.to_pandas(["nothing"])


def test_opening_reads_no_rows(embedded: EmbedResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("rows are read")

    for name in ("rows_of_ids", "table_of", "latents_in", "batches_in"):
        monkeypatch.setattr(lazy_table, name, refuse)
    assert len(open_table(embedded.out)) == 3
    with pytest.raises(AssertionError, match="rows are read"):
        open_table(embedded.out).ids  # noqa: B018


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no output of i2s-batch"):
        open_table(tmp_path)
