"""Which files of SOURCE are embedded: patterns, a limit, and never what an earlier run wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2s_batch.errors import RunConflictError, SourceError
from i2s_batch.sources.chosen import alternatives, check_not_narrower
from i2s_batch.sources.options import AS_USUAL, SourceOptions
from i2s_batch.sources.source import list_images

FILES = ("a.png", "b.JPG", "b.txt", "c.jpeg", "sub/d.png", "sub/deep/e.png", "sub/labels.csv")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(source: str | Path, options: SourceOptions = AS_USUAL, said: list[str] | None = None) -> list[str]:
    report = (said if said is not None else []).append
    return list_images(str(source), None, options, report).read()["image_id"].to_pylist()


CHOICES = [
    (SourceOptions(include=("*.{jpg,png}",)), ["a.png", "b.JPG", "sub/d.png", "sub/deep/e.png"]),
    (SourceOptions(include=("*.PNG", "*.jpeg")), ["a.png", "c.jpeg", "sub/d.png", "sub/deep/e.png"]),
    (SourceOptions(include=("sub/*",), exclude=("*.csv",)), ["sub/d.png", "sub/deep/e.png"]),
    (SourceOptions(exclude=("*.{txt,csv}", "?.jp*")), ["a.png", "sub/d.png", "sub/deep/e.png"]),
    (SourceOptions(limit=2), ["a.png", "b.JPG"]),
    (SourceOptions(include=("*.png",), limit=2), ["a.png", "sub/d.png"]),
    (SourceOptions(limit=100), list(FILES)),
]


@pytest.mark.parametrize(("options", "expected"), CHOICES)
def test_files_of_a_folder_are_chosen(tmp_path: Path, options: SourceOptions, expected: list[str]) -> None:
    fill(tmp_path, *FILES)
    assert ids(tmp_path, options) == expected
    (tmp_path / "l.csv").write_text("path,n\n" + "".join(f"{name},{n}\n" for n, name in enumerate(FILES)))
    table = list_images(str(tmp_path / "l.csv"), None, options).read()
    assert table["image_id"].to_pylist() == expected
    assert table["n"].to_pylist() == [FILES.index(name) for name in expected]


def test_objects_of_a_prefix_are_chosen(s3: Any, s3_bucket: str) -> None:
    for name in (*FILES, "old/run.json", "old/manifest/images.parquet", "old/pictures/a.png"):
        s3.client().put_object(Bucket=s3_bucket, Key=f"p/{name}", Body=b"x")
    said: list[str] = []
    for options, expected in CHOICES[:-1]:
        assert ids(f"s3://{s3_bucket}/p", options, said) == expected
    assert said[0].endswith("/p' holds outputs of earlier runs, which are left out: 'old'")
    s3.client().put_object(Bucket=s3_bucket, Key="p/x/run.json", Body=b"x")
    assert ids(f"s3://{s3_bucket}/p") == [*FILES, "x/run.json"], "not every run.json is ours"


def test_none_left_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, *FILES)
    with pytest.raises(SourceError, match=r"none is left; give other --include, --exclude or --where"):
        ids(tmp_path, SourceOptions(include=("*.gif",)))


def test_braces() -> None:
    assert alternatives("*.{jpg,png}") == ["*.jpg", "*.png"]
    assert alternatives("{a,b}/{1,2{x,y}}") == ["a/1", "a/2x", "a/1", "a/2y", "b/1", "b/2x", "b/1", "b/2y"]
    assert alternatives("a{b") == ["a{b"]
    with pytest.raises(SourceError, match="more than 1000"):
        alternatives("{a,b}" * 40)


def test_outputs_of_earlier_runs_are_left_out_and_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "first/run.json", "first/manifest/images.parquet", "first/latents/shard-00000.parquet")
    fill(tmp_path, "first/pictures/x.png", "sub/drawn/run.json", "sub/drawn/latents/s.parquet", "sub/drawn/p/y.png")
    fill(tmp_path, "first-2/run.json", "first-2/b.png", "firs/c.png")
    said: list[str] = []
    assert ids(tmp_path, AS_USUAL, said) == ["a.png", "firs/c.png", "first-2/b.png", "first-2/run.json"]
    assert said == [f"'{tmp_path}' holds outputs of earlier runs, which are left out: 'first', 'sub/drawn'"]
    assert ids(tmp_path / "first" / "pictures") == ["x.png"], "what is named itself is meant"


def test_an_updated_run_is_not_made_narrower(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b.jpg", "c.txt")
    planned = list_images(str(tmp_path), None, SourceOptions(exclude=("*.txt",)))
    for options in (AS_USUAL, SourceOptions(limit=2), SourceOptions(include=("*.{png,jpg,txt}",))):
        check_not_narrower(options, planned)
    with pytest.raises(RunConflictError, match="--limit 1 is less than the 2 images of this run"):
        check_not_narrower(SourceOptions(limit=1), planned)
    with pytest.raises(RunConflictError, match=r"'b\.jpg' is an image of this run, and --include or --exclude"):
        check_not_narrower(SourceOptions(include=("*.png",)), planned)
