"""What Embedder.embed takes for an image: as a file of the same content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2s_batch import ConfigError, EmbedConfig, Embedder
from i2s_batch.errors import PictureError
from i2s_batch.images.inputs import read_input
from i2s_batch.images.read.decoding import decode_image
from tests.inversion.linear import LinearGenerator, features
from tests.material import scene


def as_file(image: Image.Image, kind: str, **options: object) -> np.ndarray:
    """What a file of the image is decoded to."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return decode_image(stream.getvalue())


def test_paths_images_arrays_and_pairs_may_be_mixed(tmp_path: Path) -> None:
    image = scene(0, (8, 8))
    image.save(tmp_path / "a.png")
    array = np.asarray(image)

    def items() -> Iterator[object]:
        yield ("mine", array)
        yield str(tmp_path / "a.png")
        yield image
        yield array
        yield ("file", tmp_path / "a.png")
        yield ("pillow", image)

    results = {r.image_id: r for r in Embedder(LinearGenerator(), features, EmbedConfig(steps=3)).embed(items())}
    assert list(results) == ["mine", str(tmp_path / "a.png"), "2", "3", "file", "pillow"]
    for result in results.values():  # one image, whatever it came as
        np.testing.assert_allclose(result.latent, results["mine"].latent, rtol=1e-12)


def test_a_path_keeps_its_text_as_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene(0, (8, 8)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert [read_input(item, 4)[0] for item in ("a.png", "./a.png", Path("a.png"))] == ["a.png", "./a.png", "a.png"]


def test_an_array_with_three_channels_is_taken_as_it_is() -> None:
    array = np.asarray(scene(0, (8, 8)))
    assert read_input(array, 0)[1] is array


@pytest.mark.parametrize("shape", [(), (1,), (2,), (4,)])
def test_grey_and_alpha_are_treated_as_in_files(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, (6, 5, *shape), np.uint8)
    image = Image.fromarray(array[:, :, 0] if shape == (1,) else array)
    pixels = read_input(array, 0)[1]
    np.testing.assert_array_equal(pixels, as_file(image, "PNG"))
    assert pixels.shape == (6, 5, 3) and pixels.dtype == np.uint8
    if shape in ((), (1,)):
        np.testing.assert_array_equal(pixels, np.repeat(array.reshape(6, 5, 1), 3, axis=2))
    else:  # transparent is white
        alpha = array[:, :, -1:].astype(float) / 255
        expected = array[:, :, :-1] * alpha + 255 * (1 - alpha)
        assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F"])
def test_pillow_images_of_every_mode(mode: str) -> None:
    grey = scene(3, (12, 9)).convert("L")
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray(np.asarray(grey).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    elif mode == "LAB":
        image = Image.merge("LAB", [grey, *[Image.new("L", grey.size, 128)] * 2])
    else:
        image = scene(3, (12, 9)).convert(mode)
    pixels = read_input(image, 0)[1]
    assert image.mode == mode and pixels.shape == (9, 12, 3) and pixels.dtype == np.uint8
    if mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        np.testing.assert_array_equal(pixels, as_file(image, "PNG"))
    elif mode in ("YCbCr", "HSV"):
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
    else:
        np.testing.assert_array_equal(pixels, as_file(image, "TIFF"))


def test_an_opened_file_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(0, (12, 8)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        pixels = read_input(image, 0)[1]
    assert pixels.shape == (12, 8, 3)
    np.testing.assert_array_equal(pixels, read_input(tmp_path / "turned.png", 0)[1])


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (3, ConfigError, r"image 5 \('5'\): it is of type int, which is not an image; give a path"),
        ({"a": 1}, ConfigError, "of type dict"),
        (None, ConfigError, "of type NoneType"),
        (("a", 3), ConfigError, r"image 5 \('a'\): it is of type int"),
        (
            (1, np.zeros((4, 4, 3), np.uint8)),
            ConfigError,
            r"image 5 is a tuple of \(int, ndarray\); give \(id, image\)",
        ),
        (("a", "b", "c"), ConfigError, r"is a tuple of \(str, str, str\)"),
        (np.zeros((4, 4, 3), np.float32), ConfigError, r"float32 \[4, 4, 3\]; it must be uint8 \[H, W, 3\]"),
        (np.zeros((4, 4, 5), np.uint8), ConfigError, r"uint8 \[4, 4, 5\]; it must be"),
        (np.zeros((0, 4), np.uint8), ConfigError, r"uint8 \[0, 4\]; it must be"),
        ("missing.png", PictureError, r"image 5 \('missing.png'\): it cannot be read: No such file or directory"),
        (__file__, PictureError, r"image 5 \(.*test_inputs.py'\): the file is no.*"),
        (Image.new("RGB", (0, 4)), PictureError, "image 5 .*cannot be read"),
    ],
)
def test_what_cannot_be_an_image_is_named(item: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        read_input(item, 5)
    assert "\n" not in str(raised.value)


def test_a_damaged_file_behind_a_pillow_image_is_named(tmp_path: Path) -> None:
    scene(0, (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    with Image.open(tmp_path / "a.png") as image, pytest.raises(PictureError, match=r"image 0 .*cannot be read"):
        read_input(image, 0)


def test_the_error_of_an_item_reaches_who_iterates() -> None:
    embedder = Embedder(LinearGenerator(), features, EmbedConfig(steps=3, batch_size=2))
    images = [np.zeros((8, 8, 3), np.uint8), "nothing.png"]
    with pytest.raises(PictureError, match=r"image 1 \('nothing.png'\)"):
        list(embedder.embed(images))


def test_one_path_is_not_taken_for_its_characters() -> None:
    embedder = Embedder(LinearGenerator(), features, EmbedConfig(steps=3, batch_size=2))
    for path in ("photo.png", Path("photo.png")):
        with pytest.raises(ConfigError, match=r"images is the path 'photo.png'; give several, or \[path\]"):
            next(embedder.embed(path))
