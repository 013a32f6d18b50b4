"""Data sets of Hugging Face as SOURCE: saved to disk, in the library's cache, and on a hub by name."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from i2s_batch.errors import PictureError, SourceError
from i2s_batch.sources.arrow_images import opened_arrow
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.options import SourceOptions
from tests.storage.archive_files import contents, listed, png
from tests.storage.hub import hub_of

datasets = pytest.importorskip("datasets")

SIDE = 8
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two splits, the first in two files, as the library saves it."""
    datasets.disable_progress_bars()
    folder = tmp_path_factory.mktemp("hf")
    images = [Image.fromarray(np.full((SIDE, SIDE, 3), 40 * number, np.uint8)) for number in range(5)]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "width": datasets.Value("int32"),
        }
    )
    values = {"image": [*images[:4], None], "label": [0, 1, 0, 1, 1], "width": [1, None, 3, 4, 5]}
    whole = datasets.Dataset.from_dict(values, features=features)
    whole.save_to_disk(folder / "one", num_shards=2)
    datasets.DatasetDict({"train": whole, "test": whole.select(range(2))}).save_to_disk(folder / "splits")
    return folder


def colour(data: bytes) -> int:
    return int(np.asarray(Image.open(io.BytesIO(data)))[0, 0, 0])


def test_a_data_set_that_was_saved_to_disk(saved: Path) -> None:
    said: list[str] = []
    rows = listed(saved / "one", report=said)
    ids = [f"data-0000{file}-of-00002.arrow/{row:08d}" for file, count in ((0, 3), (1, 2)) for row in range(count)]
    assert list(rows) == ids
    assert said == [f"2 files are left out beside the archives or tables of {str(saved / 'one')!r}"]
    assert [(row["label"], row["list_width"]) for row in rows.values()] == [(0, 1), (1, None), (0, 3), (1, 4), (1, 5)]
    assert [colour(read_bytes(str(rows[image_id]["uri"]))) for image_id in ids[:4]] == [0, 40, 80, 120]
    with pytest.raises(PictureError, match=r"'00000001' in '.*data-00001-of-00002\.arrow' is null"):
        read_bytes(str(rows[ids[4]]["uri"]))
    first = datasets.load_from_disk(str(saved / "one")).cast_column("image", datasets.Image(decode=False))[0]
    assert read_bytes(str(rows[ids[0]]["uri"])) == first["image"]["bytes"]


def test_the_splits_of_a_data_set_are_folders(saved: Path) -> None:
    assert len(listed(saved / "splits")) == 7
    test = listed(saved / "splits", SourceOptions(include=("test/*",)))
    assert list(test) == [f"test/data-00000-of-00001.arrow/0000000{row}" for row in range(2)]


def test_the_cache_of_the_library_holds_what_it_has_loaded(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.png").write_bytes(png(number))
    source = {"path": [str(tmp_path / "photos" / f"{number}.png") for number in range(3)]}

    def rows():
        for path in source["path"]:
            yield {"image": {"bytes": Path(path).read_bytes(), "path": Path(path).name}}

    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_generator(rows, features=features, cache_dir=str(tmp_path / "cache"))
    found = contents(listed(tmp_path / "cache"))
    assert {name.rpartition("/")[2]: data for name, data in found.items()} == {f"{n}.png": png(n) for n in range(3)}


def stream(path: Path, batches: list[list[bytes | None]], is_ended: bool = True) -> Path:
    """Write a stream of batches of images, as a writer does that ends or is killed after the last."""
    sink = io.BytesIO()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    with pa.ipc.new_stream(sink, pa.schema([("image", kind)])) as writer:
        for images in batches:
            values = [None if each is None else {"bytes": each or None, "path": None} for each in images]
            writer.write_batch(pa.record_batch([pa.array(values, kind)], names=["image"]))
        unfinished = sink.getvalue()
    path.write_bytes(sink.getvalue() if is_ended else unfinished)
    return path


def test_a_file_with_other_images_of_the_same_size_is_not_the_file_of_the_plan(tmp_path: Path) -> None:
    cat, dog = png(1), png(2)
    length = max(len(cat), len(dog))
    cat, dog = (each + bytes(length - len(each)) for each in (cat, dog))  # which decoders ignore
    path = stream(tmp_path / "a.arrow", [[cat, dog]])
    os.utime(path, ns=(0, 10**18))
    uri = str(listed(path)["a.arrow/00000001"]["uri"])
    assert read_bytes(uri) == dog
    size = path.stat().st_size
    assert stream(path, [[dog, cat]]).stat().st_size == size
    with pytest.raises(PictureError, match="was written or copied again after the run was planned"):
        read_bytes(uri)


def test_what_a_killed_writer_left_out_is_a_row(tmp_path: Path) -> None:
    rows = listed(stream(tmp_path / "a.arrow", [[png(1), png(2)], [png(3)]], is_ended=False))
    assert list(rows) == ["a.arrow", *(f"a.arrow/{number:08d}" for number in range(3))]
    with pytest.raises(PictureError, match="the archive cannot be read from byte"):
        read_bytes(str(rows["a.arrow"]["uri"]))


def test_a_batch_without_an_image_is_no_compressed_file(tmp_path: Path) -> None:
    rows = listed(stream(tmp_path / "a.arrow", [[png(1)], [None, None], [b""]]))
    assert read_bytes(str(rows["a.arrow/00000000"]["uri"])) == png(1)
    for number in (1, 2, 3):
        with pytest.raises(PictureError, match="is null"):
            read_bytes(str(rows[f"a.arrow/{number:08d}"]["uri"]))


def test_files_that_cannot_be_read_or_were_written_again(saved: Path, tmp_path: Path) -> None:
    source = saved / "one" / "data-00000-of-00002.arrow"
    path = tmp_path / "a.arrow"
    path.write_bytes(source.read_bytes())
    rows = listed(path)
    assert list(rows) == [f"a.arrow/{row:08d}" for row in range(3)]
    uri = str(rows["a.arrow/00000001"]["uri"])
    with pytest.raises(PictureError, match="the limit is 10"):
        read_bytes(uri, 10)
    path.write_bytes(source.read_bytes() + bytes(8))
    with pytest.raises(PictureError, match="it was written again"):
        read_bytes(uri)
    for name, damaged in {"none": b"", "text": b"no arrow" * 99, "head": source.read_bytes()[:200]}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "0.arrow").write_bytes(source.read_bytes())
        (folder / "1.arrow").write_bytes(damaged)
        rows = listed(folder)
        assert list(rows) == [*(f"0.arrow/{row:08d}" for row in range(3)), "1.arrow"], name
        with pytest.raises(PictureError, match=r"1\.arrow': the archive cannot be read from byte 0 on"):
            read_bytes(str(rows["1.arrow"]["uri"]))


def test_what_can_be_read_of_a_file_that_is_cut_off_is(tmp_path: Path) -> None:
    table = pa.table({"image": [png(number) for number in range(4)], "n": [0, 1, 2, 3]})
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    path.write_bytes(path.read_bytes()[:-200])
    rows = listed(path)
    assert {name: row["n"] for name, row in rows.items()} == {
        "a.arrow": None,
        "a.arrow/00000000": 0,
        "a.arrow/00000001": 1,
    }
    assert read_bytes(str(rows["a.arrow/00000001"]["uri"])) == png(1)


def test_files_of_other_forms(tmp_path: Path) -> None:
    table = pa.table({"image": [png(1), png(2)]})
    with pa.OSFile(str(tmp_path / "z.arrow"), "wb") as sink:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
    with pytest.raises(SourceError, match="is compressed; write it as Parquet"):
        listed(tmp_path / "z.arrow")
    with pa.OSFile(str(tmp_path / "f.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert contents(listed(tmp_path / "f.arrow")) == {f"f.arrow/0000000{n}": png(n + 1) for n in range(2)}
    with pytest.raises(SourceError, match="is an Arrow file in a store"), opened_arrow("s3://bucket/x.arrow"):
        pass


READ = """
import json, sys
from tests.storage.archive_files import contents, listed
found = {}
for source in sys.argv[1:]:
    rows = listed(source)
    found[source] = {name: [rows[name]["label"], data.hex()] for name, data in contents(rows).items()}
print(json.dumps(found))
"""


def test_a_data_set_of_a_hub_by_its_name(tmp_path: Path) -> None:
    """The requests are those that huggingface_hub makes; what a real hub adds to them could not be tried."""
    images, file, content = [{"bytes": png(n), "path": f"{n}.png"} for n in range(3)], "train.parquet", io.BytesIO()
    pq.write_table(pa.table({"image": images, "label": [0, 1, 1]}), content)
    sources = ["hf://datasets/user/faces", f"hf://datasets/user/faces@main/data/{file}"]
    with hub_of({"README.md": b"# faces", f"data/{file}": content.getvalue()}) as endpoint:
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", READ, *sources]
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = {f"{n}.png": [label, png(n).hex()] for n, label in enumerate((0, 1, 1))}
    assert json.loads(done.stdout.splitlines()[-1]) == {
        sources[0]: {f"data/{file}/{name}": values for name, values in expected.items()},
        sources[1]: {f"{file}/{name}": values for name, values in expected.items()},
    }
