"""The eight pictures of the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from i2s_batch.demo.faces import render
from i2s_batch.demo.pictures import DAMAGED, NO_FACE, SMILING, demo_faces, write_demo_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "new" / "pictures"
    write_demo_pictures(folder)
    return folder


def face(number: int, size: int) -> np.ndarray:
    return render(demo_faces()[number - 1 : number], size)[0].astype(np.float64)


def test_eight_files_of_the_stated_kinds(folder: Path) -> None:
    kinds = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            kinds[path.name] = (image.format, image.mode, image.size)
    assert kinds == {
        "face-1.png": ("PNG", "RGB", (256, 256)),
        "face-2.jpg": ("JPEG", "RGB", (192, 192)),
        "face-3-wide.png": ("PNG", "RGB", (192, 128)),
        "face-4-exif-rotated.jpg": ("JPEG", "RGB", (160, 160)),
        "face-5-grey.png": ("PNG", "L", (96, 96)),
        SMILING: ("PNG", "RGB", (64, 64)),
        DAMAGED: ("JPEG", "RGB", (256, 256)),
        NO_FACE: ("PNG", "RGB", (256, 256)),
    }


def test_the_damaged_file_breaks_off_and_only_that_one(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            image = Image.open(file)
            if path.name == DAMAGED:
                with pytest.raises(OSError, match="truncated"):
                    image.load()
            else:
                image.load()


def test_orientation_width_and_grey_lead_back_to_the_faces(folder: Path) -> None:
    with Image.open(folder / "face-4-exif-rotated.jpg") as image:
        lying, upright = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    assert np.abs(upright - face(4, 160)).mean() < 4 < 20 < np.abs(lying - face(4, 160)).mean()
    with Image.open(folder / "face-3-wide.png") as image:
        assert (np.asarray(ImageOps.fit(image, (128, 128))) == face(3, 128)).all()
    with Image.open(folder / "face-5-grey.png") as image:
        grey = face(5, 96) @ (0.299, 0.587, 0.114)
        assert np.abs(np.asarray(image) - grey).max() <= 1


def test_the_same_files_every_time(folder: Path, tmp_path: Path) -> None:
    write_demo_pictures(tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    write_demo_pictures(tmp_path)  # over the old ones
    assert len(list(tmp_path.iterdir())) == 8
