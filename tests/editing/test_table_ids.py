"""TABLE:ID: an id of another table, or of one of several that hold it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch import read_latents
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import ListedEdit, Morph, Style
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.editing.strips import load_strips
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import SourceError, UnknownImageError
from i2s_batch.models import build_generator
from i2s_batch.models.loading import generator_weights
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.table.latent_reader import LatentIndex
from i2s_batch.table.other_tables import other_tables
from i2s_batch.table.shards import read_table
from i2s_batch.table.table_ids import is_called, readings
from tests.material import scene
from tests.runs import embed

TABLES = {"people": ("a.png", "b.png", "cats:tabby.png"), "cats": ("a.png", "tabby.png", "x:y.png")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Path:
    """Two tables that both hold an a.png; one holds an id that looks like one of the other."""
    made = tmp_path_factory.mktemp("tables")
    for number, (table, names) in enumerate(TABLES.items()):
        (made / f"in-{table}").mkdir()
        for name in names:
            scene(10 * number + len(name), (16, 16)).save(made / f"in-{table}" / name)
        config = EmbedRunConfig(embed=EmbedConfig(steps=2), batch_size=4)
        embed(EmbedRunRequest(str(made / f"in-{table}"), str(made / table), str(generator), str(vgg), config))
    return made


@pytest.fixture
def job(folder: Path, generator: Path, tmp_path: Path) -> EditRunRequest:
    request = Morph((1.0,), to="cats:x:y.png")
    return EditRunRequest((str(folder / "people"),), str(tmp_path / "out"), str(generator), request, EditConfig())


def carry_out(job: EditRunRequest) -> list[dict]:
    EditRun(job, generator_weights(job.generator), print).execute(InProcessCluster(1))
    return read_table(job.out).to_pylist()


def latent(folder: Path, table: str, image_id: str) -> np.ndarray:
    found = read_latents(str(folder / table))
    return found.latents[found.ids.index(image_id)].ravel()


def test_an_id_of_another_table_by_its_path(
    job: EditRunRequest, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder)
    rows = carry_out(job)
    assert {row["status"] for row in rows} == {"ok"} and len(rows) == 3, "of the images of people alone"
    for row in rows:
        np.testing.assert_array_equal(row["latent"], latent(folder, "cats", "x:y.png"))
    assert json.loads(Path(job.out, "run.json").read_text())["source"] == [str(folder / t) for t in ("people", "cats")]
    assert sorted(row["image_file"] for row in rows) == [
        "pictures/a--cats_x_y.png",
        "pictures/b--cats_x_y.png",
        "pictures/cats_tabby--cats_x_y.png",
    ]
    monkeypatch.chdir(tmp_path)
    strips = load_strips(job.out, lambda: build_generator(generator_weights(job.generator)))
    assert all(image is not None for strip in strips for image in strip.before), "from anywhere"


def test_an_id_that_is_the_whole_name_comes_first(job: EditRunRequest, folder: Path) -> None:
    rows = carry_out(replace(job, request=Morph((1.0,), to="cats:tabby.png"), ids=("b.png",)))
    np.testing.assert_array_equal(rows[0]["latent"], latent(folder, "people", "cats:tabby.png"))
    assert json.loads(Path(job.out, "run.json").read_text())["source"] == [str(folder / "people")]


def test_one_of_several_tables_that_hold_an_id(job: EditRunRequest, folder: Path) -> None:
    both = tuple(str(folder / table) for table in TABLES)
    with pytest.raises(SourceError, match=r"'a.png' is an image of .*people and of .*cats; name one, such as people:a"):
        carry_out(replace(job, latents=both, request=Morph((1.0,), to="a.png"), ids=("b.png",)))
    listed = (ListedEdit(("people:a.png", "cats:a.png")), ListedEdit((f"{folder}/cats:a.png", "b.png")))
    rows = carry_out(replace(job, latents=both, request=Style(listed=listed, layers=(0,))))
    assert [row["status"] for row in rows] == ["ok", "ok"] and len({tuple(row["latent"]) for row in rows}) == 2
    one = replace(job, out=f"{job.out}2", latents=both, request=Morph((0.0,), to="b.png"), ids=("cats:a.png",))
    np.testing.assert_array_equal(carry_out(one)[0]["latent"], latent(folder, "cats", "a.png"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "caats:tabby.png",
            "'caats:tabby.png' names a table 'caats', and there is none; did you mean 'cats:tabby.png'?",
        ),
        ("dogs:a.png", "names a table 'dogs', and there is none; did you mean 'people:a.png' or 'cats:a.png'?"),
        ("cats:taby.png", "'taby.png' is not in {folder}/cats; did you mean 'tabby.png'"),
        ("people:tabby.png", "'tabby.png' is not in {folder}/people; did you mean 'cats:tabby.png'"),
        ("dogs:nobody", "'dogs:nobody' is not in {folder}/people or {folder}/cats"),
    ],
)
def test_the_unknown_part_of_a_name_is_named(job: EditRunRequest, folder: Path, name: str, message: str) -> None:
    both = tuple(str(folder / table) for table in TABLES)
    asked = replace(job, latents=both, request=Morph((1.0,), to=name))
    with pytest.raises(UnknownImageError, match=re.escape(message.format(folder=folder))):
        asked.select([].append)


def test_a_name_with_two_meanings_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "cats", tmp_path / "cats")
    index = LatentIndex([str(folder / "cats"), str(tmp_path / "cats")])
    with pytest.raises(SourceError, match="is an image of"):
        index.location("cats:a.png")
    assert index.location(f"{tmp_path}/cats:a.png") == (1, 0, 0)
    assert index.location("dogs:a.png") is None and index.location("cats:nobody.png") is None


def test_names_that_mention_no_table_open_none(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    people = str(folder / "people")
    names = ["a.png", "s3://bucket/a.png", "C:\\me.png", "cats:tabby.png", "cats:other.png", f"{people}:a.png"]
    assert other_tables([people], names) == ()
    assert other_tables([people], [f"{folder}/cats:nobody.png"]) == (str(folder / "cats"),)


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("a.png", []),
        ("cats:a.png", [("cats", "a.png")]),
        ("s3://b/cats:a.png", [("s3://b/cats", "a.png")]),
        ("s3://b/a.png", []),
        (
            "cats:s3://b/a.png",
            [
                ("cats", "s3://b/a.png"),
            ],
        ),
        ("C:\\cats:a:b", [("C", "\\cats:a:b"), ("C:\\cats", "a:b"), ("C:\\cats:a", "b")]),
        (":a", []),
        ("a:", []),
    ],
)
def test_every_reading_of_a_name(name: str, pairs: list[tuple[str, str]]) -> None:
    assert list(readings(name)) == pairs


@pytest.mark.parametrize(
    ("table", "url", "called"),
    [
        ("cats", "/data/cats", True),
        ("cats/", "/data/cats", True),
        ("../data/cats", "/data/cats", True),
        ("/data/cats", "/data/cats", True),
        ("ats", "/data/cats", False),
        ("dogs/cats", "/data/cats", False),
        ("s3://b/cats", "s3://b/cats", True),
        ("..", "/data/cats", False),
    ],
)
def test_what_a_table_is_called(table: str, url: str, called: bool) -> None:
    assert is_called(table, url) == called
