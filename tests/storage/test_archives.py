"""Archives as SOURCE: .tar and .zip, by programs that people use and by nobody's."""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from i2s_batch.errors import PictureError, SourceError
from i2s_batch.sources.identity import move_of
from i2s_batch.sources.image_bytes import read_bytes, read_range
from i2s_batch.sources.members import member_of
from i2s_batch.sources.names import path_of_uri, uri_of
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.source import item_in
from i2s_batch.sources.zip_members import read_zip_member
from tests.storage.archive_files import contents, listed, png, run, tar_of, write_samples

LONG = "/".join(["a folder of forty characters, no less!!"] * 6)  # 240 bytes


@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "oldgnu", "v7"])
def test_the_members_of_a_tar_by_the_program_tar(tmp_path: Path, form: str) -> None:
    images = write_samples(tmp_path / "in")
    if form in ("gnu", "posix", "oldgnu"):
        (tmp_path / "in" / LONG).mkdir(parents=True)
        images |= {f"{LONG}/é.png": png(9), "ü.png": png(10)}
        for name in list(images)[-2:]:
            (tmp_path / "in" / name).write_bytes(images[name])
    run("tar", "cf", tmp_path / "a.tar", f"--format={form}", "-C", tmp_path / "in", ".")
    said: list[str] = []
    rows = listed(tmp_path / "a.tar", report=said)
    assert contents(rows) == {f"a.tar/{name}": data for name, data in images.items()} and said == []
    row = rows["a.tar/x/001.png"]
    assert (row["caption"], row["list_width"], row["score"], row["txt"]) == ("no 1", 8, 0.25, "no 1")
    assert rows["a.tar/x/000.png"]["score"] is None


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_that_one_header_cannot_hold_are_found_without_a_search(
    tmp_path: Path, form: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"{LONG}/{number}é.png": png(number) for number in range(3)} | {"日本.png": png(7)}
    rows = listed(tar_of(tmp_path / "a.tar", images, form))
    monkeypatch.setattr("i2s_batch.sources.image_bytes.open_blocks", None)  # with which an archive is searched
    assert contents(rows) == {f"a.tar/{name}": data for name, data in images.items()}


def test_the_members_of_a_zip_by_the_program_zip(tmp_path: Path) -> None:
    images = write_samples(tmp_path / "in")
    (tmp_path / "in" / "flat.bmp").write_bytes(b"BM" + bytes(4000))
    for level in ("-0", "-9"):
        run("zip", "-qr", level, tmp_path / f"a{level}.zip", ".", cwd=tmp_path / "in")
        rows = listed(tmp_path / f"a{level}.zip")
        found = contents(rows)
        assert found.pop(f"a{level}.zip/flat.bmp") == b"BM" + bytes(4000)
        assert found == {f"a{level}.zip/{name}": data for name, data in images.items()}
        assert rows[f"a{level}.zip/x/003.png"]["caption"] == "no 3"


def test_several_archives_by_folder_and_pattern(tmp_path: Path) -> None:
    images = write_samples(tmp_path / "in")
    shards = tmp_path / "shards"
    (shards / "more").mkdir(parents=True)
    for name in ("00.tar", "01.tar", "more/07.tar"):
        run("tar", "cf", shards / name, "-C", tmp_path / "in", "x")
    (shards / "00_stats.json").write_text("{}")  # as img2dataset leaves them
    said: list[str] = []
    every = listed(shards, report=said)
    assert sorted(every) == sorted(f"{tar}/{name}" for tar in ("00.tar", "01.tar", "more/07.tar") for name in images)
    assert said == [f"1 file is left out beside the archives or tables of {str(shards)!r}"]
    first = sorted(f"{tar}/{name}" for tar in ("00.tar", "01.tar") for name in images)
    assert sorted(listed(shards / "{00..03}.tar")) == sorted(listed(shards / "*.tar")) == first
    assert sorted(listed(shards / "{00..03}.tar", SourceOptions(include=("*0.png",), limit=1))) == ["00.tar/x/000.png"]
    with pytest.raises(SourceError, match="stands for more than 10000"):
        listed(shards / "{00..99999}.tar")
    (shards / "photo.png").write_bytes(png(1))
    assert sorted(listed(shards)) == ["00.tar", "00_stats.json", "01.tar", "more/07.tar", "photo.png"]


def test_what_lies_beside_an_image_in_an_archive(tmp_path: Path) -> None:
    members = {
        "a.png": png(0), "a.cls": b"7", "a.caption": b"one\n", "a.seg.png": png(1),
        "b.png": png(2), "b.json": b'{"n": "text", "deep": {"x": 1}}',
        "c.png": png(3), "c.json": b"{broken",
        "d.png": png(4), "d.json": b'{"n": 5, "half": "\\ud800"}',
        "e.png": png(5), "e.json": b'{"n": 6}',
        "README.txt": b"about",
    }  # fmt: skip
    said: list[str] = []
    rows = listed(tar_of(tmp_path / "a.tar", members), report=said)
    assert (rows["a.tar/a.png"]["cls"], rows["a.tar/a.seg.png"]["caption"]) == (7, "one")
    assert [rows[f"a.tar/{key}.png"]["n"] for key in "abcde"] == [None, '"text"', None, None, "6"]
    assert rows["a.tar/b.png"]["deep"] == {"x": 1} and read_bytes(str(rows["a.tar/README.txt"]["uri"])) == b"about"
    assert said == [
        f"2 images of {str(tmp_path / 'a.tar')!r}: the .json or text beside cannot be read; its columns are null"
    ]
    many = b"{" + b",".join(b'"k%d": 1' % number for number in range(1001)) + b"}"
    with pytest.raises(SourceError, match="more than 1000 different keys"):
        listed(tar_of(tmp_path / "many.tar", {"a.png": png(0), "a.json": many}))


def test_a_tar_that_ends_early_or_holds_nonsense(tmp_path: Path) -> None:
    images = {f"{number}.png": png(number) for number in range(4)}
    whole = tar_of(tmp_path / "whole.tar", images).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[:2600])  # the third image: header at 2048, data from 2560 on
    said: list[str] = []
    rows = listed(cut, report=said)
    assert sorted(rows) == ["cut.tar", "cut.tar/0.png", "cut.tar/1.png", "cut.tar/2.png"]
    with pytest.raises(PictureError, match=r"cut.tar' ends in the middle of '2.png': 40 of \d+ bytes are there"):
        read_bytes(str(rows["cut.tar/2.png"]["uri"]))
    with pytest.raises(PictureError, match=r"cut.tar': the archive cannot be read from byte \d+ on; write it again"):
        read_bytes(str(rows["cut.tar"]["uri"]))
    assert len(said) == 1 and said[0].startswith("damaged, each a row of its own: ")
    cases = {
        "garbage.tar": whole[:1024] + b"x" * 4096,
        "text.tar": b"no tar" * 999,
        "short.tar": whole[:700],
        "no.zip": b"PK",
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        assert name in listed(tmp_path / name), name
    (tmp_path / "none.tar").write_bytes(b"")
    assert list(listed(tmp_path / "none.tar")) == ["none.tar"]
    (tmp_path / "end.tar").write_bytes(whole[:-1024].rstrip(b"\0") + bytes(200))
    assert "end.tar/3.png" in listed(tmp_path / "end.tar")
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(SourceError, match="compressed as a whole"):
        listed(tmp_path / "a.tar.gz")


def _patched(path: Path, offset: int, size: int, kind: bytes = b"0") -> None:
    """Write another size and type into a header, with its checksum."""
    data = bytearray(path.read_bytes())
    data[offset + 124 : offset + 136] = b"%011o\0" % size
    data[offset + 156 : offset + 157] = kind
    data[offset + 148 : offset + 156] = b" " * 8
    data[offset + 148 : offset + 156] = b"%06o\0 " % sum(data[offset : offset + 512])
    path.write_bytes(data)


@pytest.mark.parametrize("size", [10_000, 1 << 32])
def test_a_member_that_lies_about_its_length(tmp_path: Path, size: int) -> None:
    path = tar_of(tmp_path / "a.tar", {f"{number}.png": png(number) for number in range(4)})
    _patched(path, 1024, size)
    rows = listed(path)
    assert set(rows) == {"a.tar", "a.tar/0.png", "a.tar/1.png"}
    with pytest.raises(PictureError, match=r"ends in the middle|the limit is 536870912"):
        read_bytes(str(rows["a.tar/1.png"]["uri"]))
    assert read_bytes(str(rows["a.tar/0.png"]["uri"])) == png(0)


def test_headers_that_announce_gigabytes_are_not_read(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", {f"{number}.png": png(number) for number in range(4)})
    os.truncate(path, 12 << 30)  # sparse
    for kind in (b"x", b"L", b"g"):
        _patched_head = path.open("r+b")
        with _patched_head as file:
            head = bytearray(file.read(512))
            head[124:136], head[156:157], head[148:156] = b"%011o\0" % (2 << 30), kind, b" " * 8
            head[148:156] = b"%06o\0 " % sum(head)
            file.seek(0)
            file.write(head)
        assert list(listed(path)) == ["a.tar"], kind


def test_links_devices_and_sparse_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(1))
    (folder / "hard.png").hardlink_to(folder / "a.png")
    (folder / "soft.png").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.png")
    with (folder / "holes.png").open("wb") as file:
        file.truncate(1 << 20)
    run("tar", "cf", tmp_path / "a.tar", "--sparse", "--sort=name", "-C", folder, ".")
    said: list[str] = []
    rows = listed(tmp_path / "a.tar", report=said)
    assert sorted(rows) == ["a.tar/a.png", "a.tar/holes.png"] and said == ["3 links and devices are left out, in a.tar"]
    with pytest.raises(PictureError, match="stored as a sparse file; write the archive without --sparse"):
        read_bytes(str(rows["a.tar/holes.png"]["uri"]))


def test_names_that_would_lead_out_of_a_folder(tmp_path: Path) -> None:
    names = [
        "../../up.png",
        "/etc/passwd.png",
        "a/../../b.png",
        "C:\\x\\y.png",
        "nul\0.png",
        "./plain.png",
        "\udcff.png",
    ]
    rows = listed(tar_of(tmp_path / "a.tar", [(name, png(number)) for number, name in enumerate(names)]))
    assert sorted(rows) == sorted(
        f"a.tar/{name}"
        for name in (
            "%2E%2E/%2E%2E/up.png",
            "etc/passwd.png",
            "a/%2E%2E/%2E%2E/b.png",
            "C:\\x\\y.png",
            "nul",
            "plain.png",
            "\\xff.png",
        )
    )
    assert set(contents(rows).values()) == {png(number) for number in range(7)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("..\\win\\a.png", png(1))
    assert list(listed(tmp_path / "a.zip")) == ["a.zip/%2E%2E/win/a.png"]


def test_two_members_of_one_name_are_an_error_of_the_plan(tmp_path: Path) -> None:
    tar_of(tmp_path / "a.tar", [("x/a.png", png(1)), ("b.png", png(2)), ("./x/a.png", png(3))])
    with pytest.raises(SourceError, match=r"holds 'a.tar/x/a.png' twice, at '\S+#tar=\d+\S+' and at '\S+#tar=\d+\S+'"):
        listed(tmp_path / "a.tar")


def test_what_file_managers_add_is_no_image(tmp_path: Path) -> None:
    names = ("a.png", "__MACOSX/._a.png", "._b.png", "x/.hidden/c.png", "x/Thumbs.db", ".DS_Store")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, png(1))
    assert list(listed(tmp_path / "a.zip")) == ["a.zip/a.png"]
    assert list(listed(tar_of(tmp_path / "a.tar", dict.fromkeys(names, png(1))))) == ["a.tar/a.png"]


def _zip(path: Path, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", data)
        archive.writestr("b.png", png(2))
    return path


def _only(path: Path) -> str:
    """The uri of the member a.png."""
    rows = listed(path)
    assert read_bytes(str(rows[f"{path.name}/b.png"]["uri"])) == png(2)
    return str(rows[f"{path.name}/a.png"]["uri"])


def test_zips_that_are_hostile_or_damaged(tmp_path: Path) -> None:
    bomb = _only(_zip(tmp_path / "bomb.zip", bytes(64 << 20)))
    with pytest.raises(PictureError, match=r"would expand to 67108864 bytes, \d+ times as many; the limit is 200"):
        read_bytes(bomb)
    with pytest.raises(PictureError, match="has 67108864 bytes; the limit is 1000"):
        read_bytes(bomb, 1000)
    member = member_of(bomb)
    assert member is not None
    for claimed in (1000, 16 << 20):  # less than it expands to
        numbers = (*member.numbers[:2], claimed, *member.numbers[3:])
        with pytest.raises(PictureError, match=f"should have {claimed} bytes and has more"):
            read_zip_member(replace(member, numbers=numbers), partial(read_range, member.container), iter(()))
    data = bytearray(_zip(tmp_path / "flip.zip", png(1), zipfile.ZIP_STORED).read_bytes())
    data[60] ^= 1
    (tmp_path / "flip.zip").write_bytes(data)
    with pytest.raises(PictureError, match="its checksum differs"):
        read_bytes(_only(tmp_path / "flip.zip"))
    with pytest.raises(PictureError, match="compressed by a method other than deflate"):
        read_bytes(str(listed(_zip(tmp_path / "bz.zip", png(1), zipfile.ZIP_BZIP2))["bz.zip/a.png"]["uri"]))
    (tmp_path / "a.png").write_bytes(png(1))
    run("zip", "-q", "-P", "secret", "locked.zip", "a.png", cwd=tmp_path)
    with pytest.raises(PictureError, match="it is encrypted; write the archive without a password"):
        read_bytes(str(listed(tmp_path / "locked.zip")["locked.zip/a.png"]["uri"]))


def test_a_zip_with_large_fields_before_its_data(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.extra = struct.pack("<HH", 0xFFFE, 9000) + bytes(9000)
        archive.writestr(info, png(5))
    assert contents(listed(tmp_path / "a.zip")) == {"a.zip/a.png": png(5)}


@pytest.mark.parametrize("suffix", ["tar", "zip"])
def test_an_archive_that_was_written_again_since_the_plan(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"

    def write(names: dict[str, bytes]) -> None:
        path.unlink(missing_ok=True)
        for name, data in names.items():
            (tmp_path / name).write_bytes(data)
        run(*(("tar", "cf") if suffix == "tar" else ("zip", "-q")), path, *names, cwd=tmp_path)

    write({"a.png": png(1), "b.png": png(2)})
    rows = listed(path)
    write({"c.png": png(3, 30), "b.png": png(4, 20)})  # the uris lead into the middle of something else
    assert read_bytes(str(rows[f"a.{suffix}/b.png"]["uri"])) == png(4, 20)
    with pytest.raises(PictureError, match=r"holds no 'a.png' any more.*; it was written again"):
        read_bytes(str(rows[f"a.{suffix}/a.png"]["uri"]))
    path.unlink()
    with pytest.raises(PictureError, match="does not exist"):
        read_bytes(str(rows[f"a.{suffix}/b.png"]["uri"]))


def test_a_path_that_looks_like_a_member_is_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "a.tar#tar=0+3"
    folder.mkdir()
    (folder / "b%.png").write_bytes(png(1))
    (row,) = listed(folder).values()
    assert read_bytes(str(row["uri"])) == png(1) and path_of_uri(str(row["uri"])) == str(folder / "b%.png")
    run("tar", "cf", folder / "in.tar", "-C", folder, "b%.png")
    (folder / "b%.png").unlink()
    assert contents(listed(folder)) == {"in.tar/b%.png": png(1)}
    assert uri_of("/a#1/b.png") == "/a#1/b.png"


def test_the_id_of_a_member_is_that_of_the_run_and_archives_move_with_their_folder(tmp_path: Path) -> None:
    for name in ("s0.tar", "s1.tar"):
        tar_of(tmp_path / name, {"x/a.png": png(1)})
    for source in (tmp_path, tmp_path / "s0.tar", tmp_path / "s{0..1}.tar", tmp_path / "*.tar"):
        for image_id, row in listed(source).items():
            assert item_in(str(source), str(row["uri"])) == (image_id, row["uri"])
    for source in ("s0.tar", "s{0..1}.tar", "*.tar", ""):
        assert move_of(f"{tmp_path}/{source}".rstrip("/"), f"/mnt/new/{source}".rstrip("/"))[0] == str(tmp_path)
        assert move_of(f"s3://old/p/{source}".rstrip("/"), f"/mnt/new/{source}".rstrip("/"))[0] == "s3://old/p"
