"""Networks small enough for a test, and a folder of drawn pictures of many kinds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.storage import open_store

DATA = Path(__file__).parent / "data"

# Files of `draw_pictures` that are no pictures, and why.
BAD = {"bad/empty.png", "bad/page.jpg", "bad/truncated.jpg"}


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random StyleGAN1 at 16 x 16."""
    path = tmp_path_factory.mktemp("networks") / "tiny.safetensors"
    write_small_generator(path)
    return path


@pytest.fixture(scope="session")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The narrow VGG-16 of the parity data as a torchvision state dict."""
    path = tmp_path_factory.mktemp("networks") / "vgg.pth"
    write_small_vgg(path)
    return path


def write_small_generator(path: Path) -> None:
    """Write a random StyleGAN1 at 16 x 16."""
    write_safetensors(random_generator("stylegan1", 16, seed=3, width=16, channel_base=256), path)


def write_small_vgg(path: Path) -> None:
    """Write the narrow VGG-16 of the parity data as a torchvision state dict."""
    with np.load(DATA / "vgg16_small_random.npz", allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith("features.")]
        torch.save({name: torch.from_numpy(file[name]) for name in names}, path)


def scene(number: int, size: tuple[int, int]) -> Image.Image:
    """A landscape with a sun and a house; every number gives another one."""
    stream = np.random.default_rng(number)
    width, height = size
    down = np.linspace(0, 1, height)[:, None, None]
    top, bottom = stream.integers(60, 256, (2, 3))
    sky = np.broadcast_to(top * (1 - down) + bottom * down, (height, width, 3))
    image = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    horizon = int(height * stream.uniform(0.5, 0.8))
    draw.rectangle((0, horizon, width, height), fill=tuple(stream.integers(20, 140, 3).tolist()))
    x, y, r = stream.uniform(0.2, 0.8) * width, stream.uniform(0.1, 0.4) * height, 0.1 * height
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 230, 120))
    left, side = stream.uniform(0.1, 0.6) * width, 0.25 * width
    draw.rectangle((left, horizon - side / 2, left + side, horizon + side / 2), fill=(150, 60, 50))
    roof = [(left, horizon - side / 2), (left + side / 2, horizon - side), (left + side, horizon - side / 2)]
    draw.polygon(roof, fill=(90, 40, 40))
    return image


def draw_pictures(folder: Path) -> set[str]:
    """Write 26 files under `folder`; their image ids."""
    for name in ("a", "b", "kinds", "bad"):
        (folder / name).mkdir(parents=True)
    for number in range(6):
        scene(number, (48, 48)).save(folder / "a" / f"{number}.png")
        scene(10 + number, (80, 56)).save(folder / "b" / f"{number}.png")  # the same base names as in a/
    kinds = folder / "kinds"
    wide = scene(20, (90, 60))
    wide.save(kinds / "photo.jpg", quality=90)
    wide.convert("L").save(kinds / "grey.jpg")
    wide.convert("CMYK").save(kinds / "print.jpg")
    wide.convert("P").save(kinds / "palette.gif")
    wide.convert("1").save(kinds / "bilevel.bmp")
    wide.save(kinds / "photo.webp")
    wide.save(kinds / "photo.tif")
    alpha = wide.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(wide.size))
    alpha.save(kinds / "alpha.png")
    deep = np.asarray(wide.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(kinds / "sixteen bits.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    wide.save(kinds / "turned.jpg", exif=exif)
    scene(21, (300, 20)).save(kinds / "panorama.png")
    (folder / "bad/empty.png").touch()
    (folder / "bad/page.jpg").write_text("<!DOCTYPE html><html>quota exceeded</html>")
    (folder / "bad/truncated.jpg").write_bytes((kinds / "photo.jpg").read_bytes()[:700])
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}


def open_to_others(folder: Path) -> None:
    """Let others reach `folder`: pytest makes its folders, however many lie above, for its user alone."""
    for each in (folder, *folder.parents):
        mode = each.stat().st_mode
        if mode & 0o055 != 0o055:
            each.chmod(stat.S_IMODE(mode) | 0o055)


@contextmanager
def without_power() -> Iterator[None]:
    """Root may read everything: be somebody else meanwhile. Others are already."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def upload(folder: Path, url: str) -> None:
    """Copy a folder under an s3:// prefix."""
    store = open_store(url)
    for path in folder.rglob("*.*"):
        store.put(path.relative_to(folder).as_posix(), path.read_bytes())


def download(url: str, folder: Path) -> None:
    """Copy what is under an s3:// prefix into a folder."""
    store = open_store(url)
    for info in store.list():
        path = folder / info.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(info.key))


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, set[str]]:
    folder = tmp_path / "pictures"
    return folder, draw_pictures(folder)
