"""Properties of ids, uris, names of files and keys: what differs stays apart, and every way back gives what came in."""

from __future__ import annotations

import os
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from i2s_batch.output.layout import RunLayout, file_name
from i2s_batch.sources.names import (
    image_id_of,
    is_text,
    path_of_image_id,
    path_of_uri,
    uri_of,
)

# Names of Linux: any bytes but '/' and 0. Those that look like an escape or a scheme are drawn often.
NAMES = st.one_of(
    st.sampled_from([b"a", b"%41", b"%", b"%25", b"\xff", b"%FF", b"file:", b"...", b"caf\xc3\xa9", b"\xc3"]),
    st.binary(min_size=1, max_size=12).map(lambda name: name.replace(b"/", b"-").replace(b"\0", b"-")),
).filter(lambda name: name not in (b".", b".."))
RELATIVE = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: os.fsdecode(b"/".join(parts)))

# Ids come from lists too, where they are any text, and beside each other where they nearly meet.
PARTS = st.one_of(
    st.sampled_from(["", ".", "..", "a", "a.png", "b.png", "_other", "n" * 251, "n" * 255, "s3:", "ä", "\0", "\udcff"]),
    st.text(st.characters(), max_size=8),
)
IDS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
SUFFIXES = st.sampled_from(["png", "jpeg", "webp", "mp4"])


@given(RELATIVE)
def test_a_path_comes_back_from_its_id_and_from_its_uri(path: str) -> None:
    image_id, uri = image_id_of(path), uri_of(f"/{path}")
    assert path_of_image_id(image_id) == path and path_of_uri(uri) == f"/{path}"
    assert is_text(image_id) and is_text(uri), "Arrow, JSON and SQL hold text"
    assert image_id == path or not is_text(path), "a name that is text stays as it is"


@given(st.lists(RELATIVE, unique=True, min_size=2, max_size=20))
def test_two_files_never_share_an_id_or_a_uri(paths: list[str]) -> None:
    assert len(set(map(image_id_of, paths))) == len(paths)
    assert len({uri_of(f"/{path}") for path in paths}) == len(paths)


@given(st.sets(IDS, min_size=1, max_size=30), SUFFIXES)
def test_no_name_is_that_of_another_id_or_a_folder_of_it(ids: set[str], suffix: str) -> None:
    # The names of files, as ids again, are what an id of a list can be at worst.
    ids |= {file_name(image_id, suffix).removesuffix(f".{suffix}") for image_id in ids}
    ids |= {f"{file_name(image_id, suffix)}/{image_id}" for image_id in ids}
    names = sorted(tuple(file_name(image_id, suffix).split("/")) for image_id in ids)
    for one, other in pairwise(names):  # what begins with the parts of a name follows it at once
        assert other[: len(one)] != one, f"{one} is {other}, or a folder of it"


@given(IDS, SUFFIXES)
def test_every_name_can_be_written_below_its_folder(image_id: str, suffix: str) -> None:
    name = file_name(image_id, suffix)
    parts = name.split("/")
    assert not {"", ".", ".."} & set(parts) and "\0" not in name and name.endswith(f".{suffix}")
    assert all(len(part.encode()) <= 255 for part in parts) and len(name.encode()) <= 800


@given(st.integers(0, 10**12))
def test_an_index_comes_back_from_each_of_its_keys(index: int) -> None:
    assert RunLayout.row_index(RunLayout.row(index)) == index
    assert RunLayout.checkpoint_index(RunLayout.checkpoint(index)) == index
    assert RunLayout.shard_index(RunLayout.shard(index)) == index
    assert RunLayout.publishing_index(RunLayout.publishing(index)) == index
    for key in (RunLayout.row(index), RunLayout.checkpoint(index), RunLayout.publishing(index)):
        assert RunLayout.is_work(key) and RunLayout.names(key)


@given(
    st.sampled_from(["work/rows/00000/", "work/checkpoints/", "latents/shard-", "work/publishing/shard-"]),
    st.from_regex(r"\d{0,9}(/\d{0,9})?\.(arrow|npz|parquet|json)\n?", fullmatch=True),
)
def test_a_key_has_an_index_only_if_it_is_spelt_as_the_index_is(folder: str, name: str) -> None:
    key = folder + name
    ways = [
        (RunLayout.row_index, RunLayout.row),
        (RunLayout.checkpoint_index, RunLayout.checkpoint),
        (RunLayout.shard_index, RunLayout.shard),
        (RunLayout.publishing_index, RunLayout.publishing),
    ]
    found = [key_of(index) for index_of, key_of in ways if (index := index_of(key)) is not None]
    assert found in ([], [key])
